"""Parsers on scripted events: text, tools and JSON, as they come and added up."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, TypedDict

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openrouter_app.engine.chains.parsers import JsonOutputParser, StringOutputParser, ToolsOutputParser
from openrouter_app.engine.chains.steps import Call, Upstream
from openrouter_app.engine.chat_prompts import PromptValue
from openrouter_app.engine.errors import InputError, OutputError
from openrouter_app.engine.loops import LoopState, ToolFinished, ToolRunning
from openrouter_app.engine.messages import (
    AIMessage,
    HumanMessage,
    ReasoningDelta,
    RefusalDelta,
    Reply,
    ReplyFinished,
    ReplyStarted,
    Reset,
    TextDelta,
    TextPart,
    ToolCall,
    ToolCallDelta,
    ToolCallInvalid,
    ToolCallReady,
    ToolCallStarted,
)
from openrouter_app.engine.operations import MISSING, apply

from .scripted import FINISHED, Says, faces

STARTED = ReplyStarted("gen-1", "a/b", "P")
CUT = ReplyFinished("length", "MAX_TOKENS", None, "gen-1", "a/b", "P")


def texts(*parts: str) -> list[Any]:
    return [STARTED, *map(TextDelta, parts), FINISHED]


def reply(message: AIMessage, reason: str = "stop", **more: Any) -> Reply:
    return Reply(message, reason, "", None, "gen-1", "a/b", "P", **more)


def streamed(parser: Any, *events: Any) -> list[Any]:
    return list((Says(*events) | parser).stream("x"))


def invoked(parser: Any, *events: Any) -> Any:
    return (Says(*events) | parser).invoke("x")


# --- Text -----------------------------------------------------------------------------------------


def test_text_streams_in_non_empty_pieces_and_adds_up_to_all_of_it():
    events = [STARTED, ReasoningDelta("hm"), TextDelta("A"), TextDelta("B"), TextDelta("C"), FINISHED]
    assert streamed(StringOutputParser(), *events) == ["A", "B", "C"]
    assert invoked(StringOutputParser(), *events) == "ABC"


def test_text_of_an_answer_without_text_is_empty():
    assert invoked(StringOutputParser()) == ""
    assert invoked(StringOutputParser(), STARTED, ToolCallStarted("c", "f"), FINISHED) == ""
    assert streamed(StringOutputParser(), STARTED, FINISHED) == []


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("hi", "hi"),
        ("", ""),
        (None, ""),
        (3, "3"),
        (AIMessage("hi"), "hi"),
        (AIMessage("", refusal="No."), "No."),
        (AIMessage((TextPart("a"), TextPart("b"))), "ab"),
        (HumanMessage("hi"), "hi"),
        (reply(AIMessage("hi")), "hi"),
        (PromptValue((HumanMessage("hi"),)), "Human: hi"),
    ],
)
def test_text_of_anything_else(value, text):
    assert StringOutputParser().invoke(value) == text


def test_refusal_is_text():
    assert streamed(StringOutputParser(), RefusalDelta("I "), RefusalDelta("won't.")) == ["I ", "won't."]


def test_text_before_a_reset_does_not_count():
    events = [TextDelta("A"), Reset("c/d"), TextDelta("B"), TextDelta("C"), FINISHED]
    assert streamed(StringOutputParser(), *events) == ["A", Reset("c/d"), "B", "C"]
    assert invoked(StringOutputParser(), *events) == "BC"
    assert invoked(StringOutputParser(), TextDelta("A"), Reset()) == ""


# --- Tools ----------------------------------------------------------------------------------------


def tool_events(*parts: str, id: str = "c", name: str = "calc") -> list[Any]:
    return [ToolCallStarted(id, name), *(ToolCallDelta(id, part) for part in parts)]


def arguments(items: list[Any]) -> list[Any]:
    return [item if isinstance(item, Reset) else [call.arguments for call in item] for item in items]


def test_tools_show_what_visibly_changed():
    events = tool_events('{"foo":"bar"', ", ", '"bar":"foo"}')
    ready = ToolCallReady("c", "calc", {"foo": "bar", "bar": "foo"})
    items = streamed(ToolsOutputParser(), STARTED, *events, ready, FINISHED)
    assert arguments(items) == [[{}], [{"foo": "bar"}], [{"foo": "bar", "bar": "foo"}]]
    whole = [ToolCall("c", "calc", {"foo": "bar", "bar": "foo"})]
    assert invoked(ToolsOutputParser(), *events, ready, FINISHED) == whole


def test_tools_added_up_are_all_calls_and_not_the_last():
    events = [*tool_events('{"a": 1}', id="1"), *tool_events('{"a": 2}', id="2", name="other")]
    assert invoked(ToolsOutputParser(), *events) == [
        ToolCall("1", "calc", {"a": 1}),
        ToolCall("2", "other", {"a": 2}),
    ]


def test_tools_are_cumulative_and_interleaved_deltas_find_their_call():
    events = [
        *tool_events('{"input": "3 * ', id="1"),
        *tool_events('{"input": ', id="2"),
        ToolCallDelta("1", '12"}'),
        ToolCallDelta("2", '{"a": 1}'),
    ]
    assert arguments(streamed(ToolsOutputParser(), *events)) == [
        [{}],
        [{"input": "3 * "}],
        [{"input": "3 * "}, {}],
        [{"input": "3 * 12"}, {}],
        [{"input": "3 * 12"}, {"input": {"a": 1}}],
    ]


def test_no_tool_gives_one_empty_list():
    assert streamed(ToolsOutputParser(), *texts("hi")) == [[]]
    assert invoked(ToolsOutputParser(), *texts("hi")) == []
    assert ToolsOutputParser().invoke(AIMessage("hi")) == []
    assert ToolsOutputParser().reduce([]) == []


def test_tools_of_a_whole_answer():
    calls = (ToolCall("1", "f", {"a": [1]}), ToolCall("2", "g", {}))
    for value in (AIMessage("", calls), reply(AIMessage("", calls))):
        found = ToolsOutputParser().invoke(value)
        assert found == list(calls)
        assert found[0].arguments["a"] is not calls[0].arguments["a"]
    invalid = (ToolCallInvalid("1", "f", '"abc"', "no object"),)
    with pytest.raises(OutputError, match="no object") as caught:
        ToolsOutputParser().invoke(reply(AIMessage(""), invalid_tool_calls=invalid))
    assert caught.value.raw == '"abc"'


@pytest.mark.parametrize("raw", ['"abc"', "[1", '{"a": 1]'])
def test_arguments_that_are_no_object_are_an_error_behind_the_last_snapshot(raw):
    seen = []
    events = [*tool_events(raw), ToolCallInvalid("c", "calc", raw, "no object"), FINISHED]
    with pytest.raises(OutputError, match="no object") as caught:
        seen.extend((Says(*events) | ToolsOutputParser()).stream("x"))
    assert caught.value.raw == raw
    assert arguments(seen)[0] == [{}]


def test_tools_before_a_reset_do_not_count():
    events = [*tool_events('{"a": 1'), Reset(), *tool_events('{"b": 2}')]
    assert arguments(streamed(ToolsOutputParser(), *events)) == [[{}], Reset(), [{}], [{"b": 2}]]
    assert invoked(ToolsOutputParser(), *events) == [ToolCall("c", "calc", {"b": 2})]
    assert streamed(ToolsOutputParser(), *tool_events(), Reset())[1:] == [Reset(), []]


# --- JSON -----------------------------------------------------------------------------------------


def test_json_shows_what_visibly_changed():
    parser = JsonOutputParser()
    events = texts('{"name": "John"', ", ", '"age": 30}', "\n")
    for _ in range(2):
        assert streamed(parser, *events) == [{"name": "John"}, {"name": "John", "age": 30}]
        assert invoked(parser, *events) == {"name": "John", "age": 30}


async def test_json_is_the_same_on_a_loop():
    def make():
        return Says(*texts("Sure:\n```json\n", '{"a": [1', ", 2]}\n```")) | JsonOutputParser()

    assert await faces(make, "x", "stream") == [{"a": []}, {"a": [1, 2]}]
    assert await faces(make, "x", "invoke") == {"a": [1, 2]}


def test_json_items_share_nothing():
    items = streamed(JsonOutputParser(), *texts('{"list": [1, ', "2, ", "3]}"))
    assert items == [{"list": [1]}, {"list": [1, 2]}, {"list": [1, 2, 3]}]
    items[0]["list"].append("mine")
    assert items[1] == {"list": [1, 2]}
    seen = []
    for item in (Says(*texts('{"list": [1, ', "2, ", "3]}")) | JsonOutputParser()).stream("x"):
        seen.append(len(item["list"]))
        item["list"].clear()
    assert seen == [1, 2, 3]


def test_json_that_is_found_again_is_not_shown_again():
    assert streamed(JsonOutputParser(), *texts('{"a": "x"}', '\n```\n{"a": "x"}\n```')) == [{"a": "x"}]
    assert streamed(JsonOutputParser(), *texts('{"a": 1}', '\n```\n{"a": true}')) == [{"a": 1}, {"a": True}]


def test_json_scalars_come_at_the_end():
    assert streamed(JsonOutputParser(), *texts("4", "2")) == [42]
    assert streamed(JsonOutputParser(operations=True), *texts("4", "2")) == [
        [{"op": "add", "path": "", "value": 42}]
    ]


@pytest.mark.parametrize(
    "value",
    [
        '{"a": 1}',
        AIMessage('{"a": 1}'),
        AIMessage((TextPart('{"a": '), TextPart("1}"))),
        reply(AIMessage('{"a": 1}')),
    ],
)
def test_json_of_a_whole_answer(value):
    assert JsonOutputParser().invoke(value) == {"a": 1}
    assert list(JsonOutputParser().stream(value)) == [{"a": 1}]
    assert JsonOutputParser(operations=True).invoke(value) == {"a": 1}


def test_json_reads_text_that_another_step_gives_in_pieces():
    chain = Says(*texts('{"a": "x', 'y"}')) | StringOutputParser() | JsonOutputParser()
    assert list(chain.stream("x")) == [{"a": "x"}, {"a": "xy"}]


@pytest.mark.parametrize("value", [3, None, {"a": 1}, [1]])
def test_json_of_what_is_no_answer_is_refused(value):
    with pytest.raises(InputError, match=type(value).__name__):
        JsonOutputParser().invoke(value)


def test_json_leaves_out_what_is_no_text_of_the_answer():
    events = [STARTED, ReasoningDelta('{"b": 2}'), *tool_events('{"c": 3}'), TextDelta('{"a": 1}'), FINISHED]
    assert streamed(JsonOutputParser(), *events) == [{"a": 1}]


def test_json_operations_make_the_value():
    parser = JsonOutputParser(operations=True)
    events = texts('{"setup": "Wh', 'y?"', ", ", '"n": 1}')
    items = streamed(parser, *events)
    assert items == [
        [{"op": "add", "path": "", "value": {}}, {"op": "add", "path": "/setup", "value": "Wh"}],
        [{"op": "append", "path": "/setup", "value": "y?"}],
        [{"op": "add", "path": "/n", "value": 1}],
    ]
    assert parser.reduce(items) == invoked(parser, *events) == {"setup": "Why?", "n": 1}


@given(st.lists(st.sampled_from(['{"a":', '["x"', "1", "]}", ", ", "]", "\n```json\n", "\n```\n", "so"])))
def test_json_operations_and_snapshots_tell_the_same(parts):
    def outcome(parser, verb):
        try:
            made = getattr(Says(*texts(*parts)) | parser, verb)("x")
            return list(made) if verb == "stream" else made
        except OutputError as error:
            return error.message

    snapshots = outcome(JsonOutputParser(), "stream")
    operations = outcome(JsonOutputParser(operations=True), "stream")
    invoked = outcome(JsonOutputParser(), "invoke")
    assert outcome(JsonOutputParser(operations=True), "invoke") == invoked
    if isinstance(snapshots, str):
        assert operations == invoked == snapshots
    else:
        value = MISSING
        for item in operations:
            value = apply(value, item)
        assert value == snapshots[-1] == invoked


def test_text_without_json_is_an_error_with_the_text():
    for parser in (JsonOutputParser(), JsonOutputParser(operations=True)):
        with pytest.raises(OutputError, match="no JSON") as caught:
            invoked(parser, *texts("I ", "do not know."))
        assert caught.value.raw == "I do not know."
        with pytest.raises(OutputError, match="no JSON"):
            parser.reduce([])


def test_json_that_is_cut_off_is_an_error_behind_the_last_snapshot():
    for end, message in ((CUT, "cut off at the length limit"), (FINISHED, "ends before its JSON does")):
        seen = []
        chain = Says(TextDelta('{"a": "x'), TextDelta('y", "b": 1'), end) | JsonOutputParser()
        with pytest.raises(OutputError, match=message) as caught:
            seen.extend(chain.stream("x"))
        assert seen == [{"a": "x"}, {"a": "xy"}]
        assert caught.value.raw == '{"a": "xy", "b": 1'
    with pytest.raises(OutputError, match="cut off at the length limit"):
        JsonOutputParser().invoke(reply(AIMessage('{"a": "x'), "length"))


def test_json_that_is_whole_may_be_followed_by_text_that_is_cut_off():
    assert invoked(JsonOutputParser(), TextDelta('{"a": 1} This mea'), CUT) == {"a": 1}


def test_refusal_is_an_error_with_its_sentence():
    events = [RefusalDelta("I cannot "), RefusalDelta("help with that."), FINISHED]
    for parser in (JsonOutputParser(), JsonOutputParser(operations=True), JsonOutputParser(type=int)):
        with pytest.raises(OutputError, match=r"^I cannot help with that\.$"):
            streamed(parser, *events)
    with pytest.raises(OutputError, match="No, no"):
        JsonOutputParser().invoke(reply(AIMessage("", refusal="No, no.")))


@pytest.mark.parametrize("operations", [False, True])
def test_json_before_a_reset_does_not_count(operations):
    parser = JsonOutputParser(operations=operations)
    events = [TextDelta('{"a": "x"'), Reset("c/d"), TextDelta('{"a": "x"'), TextDelta("}"), FINISHED]
    one = [{"op": "add", "path": "", "value": {"a": "x"}}] if operations else {"a": "x"}
    assert streamed(parser, *events) == [one, Reset("c/d"), one]
    assert invoked(parser, *events) == {"a": "x"}
    assert parser.reduce(streamed(parser, *events)) == {"a": "x"}
    for ending in ([Reset()], [RefusalDelta("No."), Reset(), *texts("none")]):
        with pytest.raises(OutputError, match="holds no JSON"):
            invoked(parser, TextDelta('{"a": 1}'), *ending)


def test_of_several_answers_the_last_one_counts():
    events = [*texts('{"call": "first"}'), *texts('{"a": ', "1}")]
    assert streamed(JsonOutputParser(), *events) == [{"call": "first"}, {}, {"a": 1}]
    assert invoked(JsonOutputParser(), *events) == {"a": 1}
    with pytest.raises(OutputError, match="holds no JSON"):
        invoked(JsonOutputParser(), *texts('{"call": "first"}'), *texts("Done."))


# --- JSON of a type -------------------------------------------------------------------------------


@dataclass
class Point:
    x: int
    y: int = 0


class Named(TypedDict):
    name: str


class Joke(msgspec.Struct):
    setup: str
    points: list[Point] = []


@pytest.mark.parametrize(
    ("type", "text", "value"),
    [
        (Point, '{"x": 1}', Point(1)),
        (Named, '{"name": "n"}', {"name": "n"}),
        (Joke, '{"setup": "s", "points": [{"x": 1, "y": 2}]}', Joke("s", [Point(1, 2)])),
        (list[Point], '[{"x": 1}, {"x": 2}]', [Point(1), Point(2)]),
        (tuple[int, ...], "[1, 2]", (1, 2)),
        (int, "42", 42),
    ],
)
def test_json_becomes_the_type(type, text, value):
    assert JsonOutputParser(type=type).invoke(text) == value
    assert JsonOutputParser(type=type, operations=True).invoke(text) == value


def test_snapshots_are_plain_and_the_last_item_is_of_the_type():
    events = texts('{"setup": "Wh', 'y?"}')
    items = streamed(JsonOutputParser(type=Joke), *events)
    assert items == [{"setup": "Wh"}, {"setup": "Why?"}, Joke("Why?")]
    assert all(
        isinstance(item, list) for item in streamed(JsonOutputParser(type=Joke, operations=True), *events)
    )


def test_json_that_does_not_fit_the_type_is_an_error_behind_the_last_snapshot():
    for parser in (JsonOutputParser(type=Point), JsonOutputParser(type=Point, operations=True)):
        seen = []
        with pytest.raises(OutputError, match=r"\$\.x") as caught:
            seen.extend((Says(*texts('So: {"x": "one"}')) | parser).stream("x"))
        assert len(seen) == 1
        assert caught.value.raw == 'So: {"x": "one"}'


# --- Many runs at once ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parser", "make", "last"),
    [
        (StringOutputParser(), lambda n: texts(*f"text {n}"), lambda n: f"{n}"[-1]),
        (
            ToolsOutputParser(),
            lambda n: tool_events(*f'{{"n": "{n}"}}'),
            lambda n: [ToolCall("c", "calc", {"n": str(n)})],
        ),
        (JsonOutputParser(), lambda n: texts(*f'So: {{"n": "{n}"}}'), lambda n: {"n": str(n)}),
        (JsonOutputParser(type=dict), lambda n: texts(*f'{{"n": "{n}"}}'), lambda n: {"n": str(n)}),
    ],
)
def test_one_parser_serves_many_flows_in_turn(parser, make, last):
    def flow(n):
        return parser.flow(Upstream(iter_flow(make(n)), None), Call(True, {}))

    def iter_flow(events):
        yield from events

    flows = {n: flow(n) for n in range(50)}
    items: dict[int, list[Any]] = {n: [] for n in flows}
    while flows:
        for n in list(flows):
            try:
                items[n].append(next(flows[n]))
            except StopIteration:
                del flows[n]
    for n, seen in items.items():
        assert seen == list(flow(n))
        assert seen[-1] == last(n)


async def test_one_chain_serves_many_tasks():
    chain = Says(*texts(*'{"a": [1, 2, "three"]}')) | JsonOutputParser()
    found = await asyncio.gather(*(chain.ainvoke("x") for _ in range(50)))
    assert found == [{"a": [1, 2, "three"]}] * 50


def test_parsers_say_what_they_are():
    chain = StringOutputParser() | ToolsOutputParser() | JsonOutputParser()
    assert repr(chain) == "StringOutputParser() | ToolsOutputParser() | JsonOutputParser()"


class NoAnswer(msgspec.Struct):
    name: str


@pytest.mark.parametrize("verb", ["invoke", "stream"])
async def test_r3_what_is_no_answer_is_refused_by_its_type(verb):
    for parser in (JsonOutputParser(), ToolsOutputParser()):
        for wrong in (NoAnswer("a"), PromptValue(()), {"a": 1}, 3):
            answer = await faces(lambda parser=parser, wrong=wrong: Says(wrong) | parser, "x", verb)
            assert answer[0] is InputError
            assert type(wrong).__name__ in answer[1]
    assert (await faces(lambda: Says("text") | ToolsOutputParser(), "x", verb))[0] is InputError
    text = await faces(lambda: Says(NoAnswer("a")) | StringOutputParser(), "x", verb)
    assert "".join(text) == "NoAnswer(name='a')"


@pytest.mark.parametrize("verb", ["invoke", "stream"])
async def test_parsers_pass_over_what_a_tool_loop_says_beside_its_answers(verb):
    state = LoopState(messages=())
    events = (ToolRunning("c1", "f"), ToolFinished("c1", "f", "3"), TextDelta('"3"'), FINISHED, state)
    assert await faces(lambda: Says(*events) | JsonOutputParser(), "x", "invoke") == "3"
    assert "".join(await faces(lambda: Says(*events) | StringOutputParser(), "x", verb)) == '"3"'
    calls = await faces(lambda: Says(*events) | ToolsOutputParser(), "x", verb)
    assert calls == ([] if verb == "invoke" else [[]])
