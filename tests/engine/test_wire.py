"""Chunks add up to events: what hosts send, and what we make of it."""

from __future__ import annotations

import json
from contextlib import suppress
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openrouter_app.engine import fold
from openrouter_app.engine.arguments import MAX_TOOL_CALLS
from openrouter_app.engine.errors import BrokenStreamError, OpenRouterError, UpstreamError
from openrouter_app.engine.messages import (
    AnnotationReady,
    ImageReady,
    ReasoningDelta,
    RefusalDelta,
    ReplyFinished,
    ReplyStarted,
    TextDelta,
    ToolCallDelta,
    ToolCallInvalid,
    ToolCallReady,
    ToolCallStarted,
    Usage,
)
from openrouter_app.engine.wire import ReplyDecoder, decode_completion


def chunk(delta=None, *, finish=None, **members):
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish}
    return {"id": "gen-1", "model": "a/b", "provider": "P", "choices": [choice], **members}


def call(text=None, *, index=0, id=None, name=None):
    function = {key: value for key, value in (("name", name), ("arguments", text)) if value is not None}
    delta = {"index": index, "id": id, "type": "function", "function": function}
    return chunk({"tool_calls": [{key: value for key, value in delta.items() if value is not None}]})


def stream(*chunks, done=True):
    events = [f"data: {item if isinstance(item, str) else json.dumps(item)}\n\n" for item in chunks]
    return "".join([*events, "data: [DONE]\n\n" if done else ""]).encode()


def fed(decoder, data):
    events = []
    decoder.feed(data, events)
    return events


def events_of(*chunks, done=True):
    decoder, events = ReplyDecoder(), []
    decoder.feed(stream(*chunks, done=done), events)
    decoder.close(events)
    return events


def events_of_body(body):
    events = []
    decode_completion(body if isinstance(body, bytes) else json.dumps(body).encode(), events)
    return events


def of_type(kind, events):
    return [event for event in events if isinstance(event, kind)]


def test_text_comes_piece_by_piece_and_ends_with_what_served_it():
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "cost": 0.0000125}
    events = events_of(
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": "Hel"}),
        chunk({"content": "lo"}),
        chunk({"content": ""}, finish="stop"),
        chunk({"content": ""}, finish="stop", usage=usage),
    )
    assert events == [
        ReplyStarted("gen-1", "a/b", "P"),
        TextDelta("Hel"),
        TextDelta("lo"),
        ReplyFinished("stop", "", Usage(3, 2, Decimal("0.0000125")), "gen-1", "a/b", "P"),
    ]


def test_cost_is_exactly_what_was_written():
    raw = '{"choices": [], "usage": {"cost": 0.000012345678901234567}}'
    (finished,) = of_type(ReplyFinished, events_of(chunk({"content": "x"}, finish="stop"), raw))
    assert finished.usage.cost == Decimal("0.000012345678901234567")


@pytest.mark.parametrize(
    "cost", [-1, "NaN", "Infinity", 10**6, 10**400, "1e-60", "0e999999", "0." + "1" * 51, [], "much"]
)
def test_absurd_costs_are_not_believed(cost):
    events = events_of(chunk({"content": "x"}, finish="stop", usage={"prompt_tokens": 1, "cost": cost}))
    assert events[-1].usage == Usage(1, 0, None)


def test_minus_nothing_is_nothing():
    (*_, finished) = events_of('{"choices": [{"finish_reason": "stop"}], "usage": {"cost": -0.0}}')
    assert str(finished.usage.cost) == "0.0"


def test_usage_says_what_was_cached_thought_and_paid_elsewhere():
    usage = {
        "prompt_tokens": 9,
        "completion_tokens": 8,
        "cost": 0,
        "is_byok": True,
        "prompt_tokens_details": {"cached_tokens": 7, "cache_write_tokens": 6, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 5},
        "cost_details": {"upstream_inference_cost": 0.004},
    }
    events = events_of(chunk({"content": "x"}, finish="stop", usage=usage))
    assert events[-1].usage == Usage(9, 8, Decimal(0), 7, 6, 5, Decimal("0.004"), True)


def test_usage_may_come_in_pieces_and_the_last_word_counts():
    events = events_of(
        chunk({"content": "x"}, usage={"prompt_tokens": 3, "cost": 0.5, "is_byok": True}),
        chunk(finish="stop", usage={"prompt_tokens": -1, "completion_tokens": 4, "cost": None}),
        {"choices": [], "usage": {"completion_tokens": 5, "prompt_tokens_details": None}},
    )
    assert events[-1].usage == Usage(3, 5, Decimal("0.5"), is_byok=True)


def test_who_answers_may_be_said_late_and_counts_once():
    events = events_of(
        {"choices": [{"delta": {"content": "x"}}]},
        {"id": "gen-2", "provider": "", "created": 1760532578, "choices": [{"delta": {"content": "y"}}]},
        {"id": "gen-3", "model": "a/b", "created": 5, "choices": [{"delta": {}, "finish_reason": "stop"}]},
        {"provider": "P", "model": "c/d", "choices": []},
    )
    assert events[0] == ReplyStarted("", "", "")
    assert len(of_type(ReplyStarted, events)) == 1
    assert events[-1] == ReplyFinished("stop", "", None, "gen-2", "a/b", "P", 1760532578)


@pytest.mark.parametrize(
    ("created", "seconds"),
    [(7, 7), (7.9, 7), ("7", 7), (0, 0), (-7, 0), (10**12, 0), (10**400, 0), ("soon", 0), ([], 0), (None, 0)],
)
def test_created_is_a_time_or_nothing(created, seconds):
    events = events_of(chunk({"content": "x"}, finish="stop", created=created))
    assert events[-1].created == seconds
    assert of_type(TextDelta, events) == [TextDelta("x")]


@pytest.mark.parametrize("tokens", [10**30, -1, 10**9])
def test_absurd_token_counts_are_not_believed(tokens):
    events = events_of(
        chunk({"content": "x"}, finish="stop", usage={"prompt_tokens": tokens, "completion_tokens": 3})
    )
    assert events[-1].usage == Usage(0, 3, None)


def test_last_usage_wins_and_is_not_added_up():
    events = events_of(
        chunk({"content": "x"}, usage={"prompt_tokens": 1, "completion_tokens": 1}),
        chunk(finish="stop", usage={"prompt_tokens": 5, "completion_tokens": 7}),
    )
    assert events[-1].usage == Usage(5, 7, None)


def test_reasoning_is_shown_once_where_it_comes_twice():
    details = [{"type": "reasoning.text", "text": "hm"}]
    events = events_of(chunk({"reasoning": "hm", "reasoning_details": details}), chunk(finish="stop"))
    assert of_type(ReasoningDelta, events) == [ReasoningDelta("hm")]
    events = events_of(chunk({"reasoning_details": details}), chunk(finish="stop"))
    assert of_type(ReasoningDelta, events) == [ReasoningDelta("hm")]


def test_reasoning_that_was_shown_is_not_shown_again_when_its_block_comes():
    details = [{"type": "reasoning.text", "text": "hm, yes", "signature": "s"}]
    events = events_of(
        chunk({"reasoning": "hm,"}),
        chunk({"reasoning": " yes"}),
        chunk({"reasoning_details": details}),
        chunk(finish="stop"),
    )
    assert of_type(ReasoningDelta, events) == [ReasoningDelta("hm,"), ReasoningDelta(" yes")]
    assert events[-1].reasoning_details == tuple(details)


def test_reasoning_may_have_the_name_other_hosts_give_it():
    events = events_of(chunk({"reasoning_content": "hm"}), chunk({"content": "x"}, finish="stop"))
    assert of_type(ReasoningDelta, events) == [ReasoningDelta("hm")]


def test_reasoning_details_are_none_where_nothing_was_said_of_them():
    assert events_of(chunk({"content": "x"}, finish="stop"))[-1].reasoning_details is None
    assert events_of(chunk({"content": "x", "reasoning_details": None}))[-1].reasoning_details is None
    assert (
        events_of(chunk({"content": "x"}), chunk({"content": "y", "reasoning_details": []}))[
            -1
        ].reasoning_details
        == ()
    )


TEXT, SUMMARY, ENCRYPTED, SERVED = (
    "reasoning.text",
    "reasoning.summary",
    "reasoning.encrypted",
    "reasoning.server_tool_call",
)


def block(type, index=None, **members):
    return {"type": type, **({} if index is None else {"index": index}), **members}


@pytest.mark.parametrize(
    ("fragments", "blocks"),
    [
        pytest.param(
            [
                block(TEXT, 0, text="", signature="", format="f"),
                block(TEXT, 0, text="a", format="f"),
                block(TEXT, 0, text="b", format="f", id=None),
                block(TEXT, 0, signature="s", format="f"),
            ],
            [block(TEXT, 0, text="ab", signature="s", format="f", id=None)],
            id="one text, signed at its end",
        ),
        pytest.param(
            [block(TEXT, 0, text="a"), block(TEXT, 1, text="b"), block(TEXT, 0, text="c", signature="s")],
            [block(TEXT, 0, text="ac", signature="s"), block(TEXT, 1, text="b")],
            id="two texts by turns",
        ),
        pytest.param(
            [
                block(SUMMARY, 0, summary="a"),
                block(SUMMARY, 0, summary="b"),
                block(ENCRYPTED, 0, data="x", id="1"),
            ],
            [block(SUMMARY, 0, summary="ab"), block(ENCRYPTED, 0, data="x", id="1")],
            id="an index is a type's own",
        ),
        pytest.param(
            [
                block(TEXT, text="a"),
                block(SUMMARY, summary="b"),
                block(TEXT, text="c"),
                block(TEXT, signature="s"),
            ],
            [block(TEXT, text="ac", signature="s"), block(SUMMARY, summary="b")],
            id="without an index, the last of its type goes on",
        ),
        pytest.param(
            [block(TEXT, text="a", signature="s"), block(TEXT, text="b", signature="t")],
            [block(TEXT, text="a", signature="s"), block(TEXT, text="b", signature="t")],
            id="without an index, what is signed is complete",
        ),
        pytest.param(
            [block(TEXT, text="a", id="1"), block(TEXT, text="b", id="1"), block(TEXT, text="c", id="2")],
            [block(TEXT, text="ab", id="1"), block(TEXT, text="c", id="2")],
            id="without an index, a new id begins another",
        ),
        pytest.param(
            [block(TEXT, text="a"), block(TEXT, signature="s", id="1")],
            [block(TEXT, text="a", signature="s", id="1")],
            id="an id may come with the signature",
        ),
        pytest.param(
            [block(ENCRYPTED, data="x"), block(ENCRYPTED, data="y"), block(ENCRYPTED, data="y")],
            [block(ENCRYPTED, data="x"), block(ENCRYPTED, data="y")],
            id="other data is another block, the same is not",
        ),
        pytest.param(
            [block(ENCRYPTED, 0, data="x", id="1"), block(ENCRYPTED, 0, data="xy", id="1")],
            [block(ENCRYPTED, 0, data="xy", id="1")],
            id="data of the same id is what was said last",
        ),
        pytest.param(
            [
                block(SERVED, 0, tool_call_id="1", arguments="{}"),
                block(SERVED, 0, tool_call_id="1", result="r"),
                block(SERVED, 0, tool_call_id="2", result="q"),
            ],
            [
                block(SERVED, 0, tool_call_id="1", arguments="{}", result="r"),
                block(SERVED, 0, tool_call_id="2", result="q"),
            ],
            id="calls of OpenRouter's own tools",
        ),
        pytest.param(
            [block(TEXT, 0, text="a", extra={"n": 1}), block(TEXT, 0, text="b", extra={"n": 2}, more=None)],
            [block(TEXT, 0, text="ab", extra={"n": 2}, more=None)],
            id="members not known here are kept",
        ),
        pytest.param(
            [block(TEXT, 0, text=None), block(TEXT, 1, text=7), {"text": "b"}, block(7, text="c")],
            [block(TEXT, 0), block(TEXT, 1)],
            id="what is no text, and what has no type",
        ),
        pytest.param([block(TEXT, 10**9, text="a")], [block(TEXT, 10**9, text="a")], id="a wild index"),
        pytest.param([block("new.kind", 0, text="a")], [block("new.kind", 0, text="a")], id="a new type"),
    ],
)
def test_reasoning_details_become_the_blocks_that_go_back(fragments, blocks):
    chunks = [chunk({"reasoning_details": [fragment]}) for fragment in fragments]
    assert events_of(*chunks, chunk(finish="stop"))[-1].reasoning_details == tuple(blocks)
    assert events_of(chunk({"reasoning_details": fragments}))[-1].reasoning_details == tuple(blocks)


def test_detail_nested_too_deep_is_left_out_and_the_rest_is_kept():
    deep = "[" * 100 + "]" * 100
    raw = f'{{"choices": [{{"delta": {{"reasoning_details": [{{"type": "t", "id": "1", "x": {deep}}}]}}}}]}}'
    assert events_of(raw)[-1].reasoning_details == ({"type": "t", "id": "1"},)


texts = st.text(max_size=5)


@given(
    st.lists(
        st.tuples(st.sampled_from([TEXT, SUMMARY]), st.integers(0, 2), texts.filter(bool)),
        min_size=1,
        max_size=15,
    )
)
def test_fragments_add_up_by_type_and_index_in_any_order(fragments):
    names = {TEXT: "text", SUMMARY: "summary"}
    expected = {}
    for kind, index, text in fragments:
        whole = expected.setdefault((kind, index), block(kind, index, **{names[kind]: ""}))
        whole[names[kind]] += text
    details = [block(kind, index, **{names[kind]: text}) for kind, index, text in fragments]
    events = events_of(*[chunk({"reasoning_details": [detail]}) for detail in details])
    assert events[-1].reasoning_details == tuple(expected.values())


def test_refusal_is_an_event_of_its_own():
    events = events_of(chunk({"refusal": "No."}), chunk(finish="stop"))
    assert of_type(RefusalDelta, events) == [RefusalDelta("No.")]


PICTURE = {
    "type": "image_url",
    "image_url": {"url": "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAAA="},
}
URL = PICTURE["image_url"]["url"]


def test_pictures_are_events_whatever_way_they_come():
    odd = [{"type": "image_url"}, {"image_url": 7}, {"image_url": {"url": ""}}, {"image_url": URL}, "no"]
    assert of_type(ImageReady, events_of(chunk({"images": [PICTURE]}))) == [ImageReady(URL)]
    assert of_type(ImageReady, events_of(chunk({"images": odd}))) == [ImageReady(URL)]
    message = {"content": "x", "images": [PICTURE, PICTURE]}
    events = events_of_body({"choices": [{"message": message}]})
    assert of_type(ImageReady, events) == [ImageReady(URL)] * 2
    parts = [{"type": "text", "text": "x"}, PICTURE, 7]
    events = events_of_body({"choices": [{"message": {"content": parts, "images": [PICTURE]}}]})
    assert of_type(ImageReady, events) == [ImageReady(URL)] * 2
    assert of_type(TextDelta, events) == [TextDelta("x")]


def test_picture_alone_is_content():
    decoder = ReplyDecoder()
    assert fed(decoder, stream(chunk({"images": [PICTURE]}), done=False))[-1] == ImageReady(URL)
    assert decoder.fold.has_content
    with pytest.raises(BrokenStreamError):
        decoder.close([])


def nested(levels):
    return [nested(levels - 1)] if levels else 0


def test_sources_are_events_and_malformed_ones_are_not():
    good = [
        {"type": "url_citation", "url_citation": {"url": "https://a.example", "start_index": 0}},
        {"type": "file", "file": {"hash": "h", "name": "a.pdf", "content": [{"type": "text", "text": "x"}]}},
        {"type": "of a new type", "x": nested(20)},
    ]
    bad = [
        {"type": "url_citation", "url_citation": {"title": "t"}},
        {"type": "url_citation", "url": "https://a.example"},
        {"type": "url_citation", "url_citation": {"url": 7}},
        {"type": "file", "file": []},
        {"type": ["file"]},
        {},
        {"type": "deep", "x": nested(40)},
    ]
    expected = [AnnotationReady(annotation) for annotation in good]
    assert of_type(AnnotationReady, events_of(chunk({"annotations": [*bad, *good]}))) == expected
    assert of_type(AnnotationReady, events_of(chunk({"annotations": [7, *good]}))) == expected
    body = {"choices": [{"message": {"content": "x", "annotations": good}}]}
    assert of_type(AnnotationReady, events_of_body(body)) == expected


@pytest.mark.parametrize(
    ("limit", "delta"),
    [
        ("MAX_PICTURES", {"images": [PICTURE] * 3}),
        ("MAX_SOURCES", {"annotations": [{"type": "x", "y": "z" * 30}] * 3}),
        ("MAX_REASONING", {"reasoning_details": [block(TEXT, 0, text="z" * 90)] * 3}),
        ("MAX_ARGUMENTS", {"tool_calls": [{"index": 0, "function": {"arguments": "z" * 90}}] * 3}),
        ("MAX_ARGUMENTS", {"tool_calls": [{"index": 0, "function": {"name": "n" * 101}}]}),
    ],
)
def test_what_must_be_kept_is_bounded(monkeypatch, limit, delta):
    monkeypatch.setattr(fold, limit, 100)
    monkeypatch.setattr("openrouter_app.engine.reasoning._BLOCK_COST", 0)
    with pytest.raises(UpstreamError, match="The answer is too large"):
        events_of(chunk(delta))


def test_tool_call_is_started_written_and_ready():
    events = events_of(
        call("", id="c1", name="joke"), call('{"setup": '), call('"Why?"}'), chunk(finish="tool_calls")
    )
    assert events[1:-1] == [
        ToolCallStarted("c1", "joke"),
        ToolCallDelta("c1", '{"setup": '),
        ToolCallDelta("c1", '"Why?"}'),
        ToolCallReady("c1", "joke", {"setup": "Why?"}),
    ]


def test_parallel_calls_are_kept_apart_by_index():
    events = events_of(
        call("{", id="a", name="f"),
        call("{", index=1, id="b", name="g"),
        call('"x": 1}'),
        call('"y": 2}', index=1),
        chunk(finish="tool_calls"),
    )
    assert of_type(ToolCallReady, events) == [
        ToolCallReady("a", "f", {"x": 1}),
        ToolCallReady("b", "g", {"y": 2}),
    ]


@pytest.mark.parametrize(
    "chunks",
    [
        pytest.param(
            [call("{}", id="a", name="f"), call("{}", index=0, id="b", name="g")], id="same index, new id"
        ),
        pytest.param(
            [call("{}", index=None, id="a", name="f"), call("{}", index=None, id="b", name="g")],
            id="no index",
        ),
        pytest.param([call("{}", id="", name="f"), call("{}", index=1, id="", name="g")], id="empty ids"),
        pytest.param(
            [call("{}", id="a", name="f"), call("{}", index=1, id="a", name="g")], id="one id for both"
        ),
        pytest.param(
            [call("{}", index=3, id="a", name="f"), call("{}", index=9, id="b", name="g")], id="odd index"
        ),
        pytest.param(
            [call("{}", index=-1, id="a", name="f"), call("{}", index=10**9, id="b", name="g")],
            id="wild index",
        ),
    ],
)
def test_two_calls_stay_two_with_ids_of_their_own(chunks):
    ready = of_type(ToolCallReady, events_of(*chunks, chunk(finish="tool_calls")))
    assert [event.name for event in ready] == ["f", "g"]
    assert len({event.id for event in ready}) == 2


def test_known_id_finds_its_call_whatever_the_index_says():
    events = events_of(
        call('{"a"', index=0, id="a", name="f"),
        call('{"b"', index=1, id="b", name="g"),
        call(": 1}", index=7, id="a"),
        call(": 2}", index=0, id="b"),
        chunk(finish="tool_calls"),
    )
    assert [event.arguments for event in of_type(ToolCallReady, events)] == [{"a": 1}, {"b": 2}]


def test_another_name_at_the_same_index_is_another_call_once_arguments_came():
    events = events_of(
        call("{}", name="f"),
        call("{}", name="g"),
        call("", name="h"),
        call("", name="i"),
        call("{}", name="h"),
    )
    assert [event.name for event in of_type(ToolCallReady, events)] == ["f", "g", "h"]


def test_delta_without_id_and_index_belongs_to_the_call_that_was_written_last():
    events = events_of(
        call('{"a"', index=0, id="a", name="f"),
        call('{"b"', index=1, id="b", name="g"),
        call(": 1", index=0),
        call("}", index=None),
        call(": 2}", index=1),
    )
    assert [event.arguments for event in of_type(ToolCallReady, events)] == [{"a": 1}, {"b": 2}]


def test_call_without_a_function_and_one_without_a_name_are_invalid():
    events = events_of(chunk({"tool_calls": [{"index": 0, "id": "a"}]}), call("{}", index=1, id="b"))
    invalid = of_type(ToolCallInvalid, events)
    assert [(event.id, event.name, event.raw) for event in invalid] == [
        ("a", "unnamed", ""),
        ("b", "unnamed", "{}"),
    ]
    assert {event.message for event in invalid} == {"The model called a tool without naming it."}


@pytest.mark.parametrize(
    ("finish", "native"), [("length", None), ("tool_calls", "max_output_tokens"), ("stop", "MAX_TOKENS")]
)
def test_arguments_cut_at_the_length_limit_say_so(finish, native):
    end = chunk(finish=finish)
    end["choices"][0]["native_finish_reason"] = native
    (invalid,) = of_type(ToolCallInvalid, events_of(call('{"a": "cut', id="c", name="f"), end))
    assert invalid.message == "The tool's arguments were cut off at the length limit."


@pytest.mark.parametrize("id", ["x" * 129, "call_0", ""])
def test_ids_of_calls_are_short_and_their_own(id):
    events = events_of(call("{}", index=0, id=id, name="f"), call("{}", index=1, id=id, name="g"))
    ids = [event.id for event in of_type(ToolCallReady, events)]
    assert len(set(ids)) == 2
    assert max(map(len, ids)) <= 128


def test_arguments_sent_whole_each_time_are_told_once():
    events = events_of(
        call('{"a"', id="c", name="f"),
        call('{"a":1', id="c", name="f"),
        call('{"a":1,"b":2}', id="c", name="f"),
        call('{"a":1,"b":2}', id="c", name="f"),
        chunk(finish="tool_calls"),
    )
    assert events[2:-1] == [
        ToolCallDelta("c", '{"a"'),
        ToolCallDelta("c", ":1"),
        ToolCallDelta("c", ',"b":2}'),
        ToolCallReady("c", "f", {"a": 1, "b": 2}),
    ]


def test_delta_that_could_be_either_is_told_when_it_is_known_what_it_is():
    same = [call('{"a":', id="c", name="f"), call('{"a":1}', id="c")]
    assert of_type(ToolCallDelta, events_of(*same, call("}", id="c"))) == [
        ToolCallDelta("c", '{"a":'),
        ToolCallDelta("c", '{"a":1}}'),
    ]
    events = events_of(*same)
    assert of_type(ToolCallDelta, events) == [ToolCallDelta("c", '{"a":'), ToolCallDelta("c", "1}")]
    assert of_type(ToolCallReady, events) == [ToolCallReady("c", "f", {"a": 1})]
    nameless = [call('{"a":', id="c"), call('{"a":1}', id="c")]
    assert of_type(ToolCallInvalid, events_of(*nameless))[0].raw == '{"a":1}'


def test_name_may_come_after_arguments():
    events = events_of(call('{"a"', id="c"), call(": 1}", name="f"), chunk(finish="tool_calls"))
    assert events[1:4] == [
        ToolCallStarted("c", "f"),
        ToolCallDelta("c", '{"a": 1}'),
        ToolCallReady("c", "f", {"a": 1}),
    ]


def test_later_empty_id_changes_nothing():
    events = events_of(call("{", id="c", name="f"), call("}", id=""), chunk(finish="tool_calls"))
    assert of_type(ToolCallReady, events) == [ToolCallReady("c", "f", {})]


def test_no_arguments_mean_an_empty_object():
    events = events_of(call("", id="c", name="f"), chunk(finish="tool_calls"))
    assert of_type(ToolCallReady, events) == [ToolCallReady("c", "f", {})]


@pytest.mark.parametrize("text", ['{"a": "cut', "[1]", '"abc"', '{"a": 1e400}', "{]"])
def test_arguments_that_are_no_object_are_invalid_and_kept(text):
    events = events_of(call(text, id="c", name="f"), chunk(finish="tool_calls"))
    (invalid,) = of_type(ToolCallInvalid, events)
    assert invalid.raw == text
    assert not of_type(ToolCallReady, events)


def test_more_calls_than_the_limit_end_the_answer():
    calls = [call("{}", index=i, id=f"c{i}", name="f") for i in range(MAX_TOOL_CALLS + 1)]
    with pytest.raises(UpstreamError, match="more than 128 tools"):
        events_of(*calls)


def test_end_without_finish_or_done_is_no_success():
    decoder = ReplyDecoder()
    assert fed(decoder, stream(chunk({"content": "Hel"}), done=False))[-1] == TextDelta("Hel")
    with pytest.raises(BrokenStreamError) as caught:
        decoder.close([])
    assert (caught.value.generation_id, caught.value.provider) == ("gen-1", "P")


def test_finish_without_done_is_an_end():
    assert events_of(chunk({"content": "x"}, finish="stop"), done=False)[-1].reason == "stop"


@pytest.mark.parametrize("last", [chunk({"content": "lo"}, finish="stop"), "[DONE]"])
def test_last_event_counts_without_its_blank_line_where_it_is_whole(last):
    data = stream(chunk({"content": "Hel"}), last, done=False).removesuffix(b"\n\n")
    decoder, events = ReplyDecoder(), []
    decoder.feed(data, events)
    decoder.close(events)
    assert events[-1].reason == "stop"
    decoder.close(events)
    assert len(of_type(ReplyFinished, events)) == 1


def test_end_without_anything_is_an_error_of_the_provider():
    decoder = ReplyDecoder()
    assert fed(decoder, b": OPENROUTER PROCESSING\n\n") == []
    with pytest.raises(UpstreamError):
        decoder.close([])


def test_done_without_finish_is_an_end():
    assert events_of(chunk({"content": "x"}))[-1].reason == "stop"


def test_what_comes_after_done_is_ignored():
    decoder = ReplyDecoder()
    data = stream(chunk({"content": "x"}, finish="stop")) + stream(chunk({"content": "y"}))
    events = []
    decoder.feed(data, events)
    decoder.feed(stream(chunk({"content": "z"})), events)
    decoder.close(events)
    assert of_type(TextDelta, events) == [TextDelta("x")]
    assert len(of_type(ReplyFinished, events)) == 1


ERROR = {"code": 502, "message": "Provider disconnected", "metadata": {"provider_name": "Acme"}}


@pytest.mark.parametrize(
    "last",
    [
        pytest.param(chunk(finish="error", error=ERROR), id="finish error"),
        pytest.param({"id": "gen-1", "choices": [], "error": ERROR}, id="choices empty"),
        pytest.param({"error": ERROR}, id="bare"),
        pytest.param({"choices": [{"delta": {}, "error": ERROR}]}, id="in the choice"),
        pytest.param(chunk(finish="error"), id="finish error alone"),
    ],
)
def test_error_in_mid_stream_is_raised_after_what_came_before(last):
    decoder = ReplyDecoder()
    events = []
    with pytest.raises(UpstreamError) as caught:
        decoder.feed(stream(chunk({"content": "Hel"}), last), events)
    assert TextDelta("Hel") in events
    assert caught.value.generation_id == "gen-1"


def test_error_after_a_finish_is_an_error_all_the_same():
    with pytest.raises(UpstreamError) as caught:
        events_of(chunk({"content": "x"}, finish="length"), chunk(finish="error"))
    assert caught.value.provider == "P"


def test_error_that_says_nothing_is_none():
    assert events_of(chunk({"content": "x"}, finish="stop", error={}))[-1].reason == "stop"


def test_key_in_what_makes_no_sense_stays_out_of_the_log():
    with pytest.raises(UpstreamError) as caught:
        events_of("{Bearer sk-or-v1-0123456789abcdef}")
    assert "0123456789" not in caught.value.detail
    assert "[redacted]" in caught.value.detail
    with pytest.raises(UpstreamError) as caught:
        events_of_body(b'["sk-or-v1-0123456789abcdef"]')
    assert "0123456789" not in caught.value.detail


def test_message_after_deltas_is_not_the_answer_again():
    message = {"choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]}
    assert of_type(TextDelta, events_of(chunk({"content": "Hello"}), message)) == [TextDelta("Hello")]
    assert of_type(TextDelta, events_of(message)) == [TextDelta("Hello")]


def test_chunk_may_have_no_delta_at_all():
    assert events_of({"choices": [{"finish_reason": "stop"}]}, {"choices": None}, {})[-1].reason == "stop"


def test_members_of_odd_types_do_not_lose_the_rest():
    odd = {
        "id": 7,
        "choices": [{"delta": {"content": "x", "tool_calls": "no"}, "finish_reason": 3}],
        "usage": "?",
    }
    events = events_of(odd, chunk(finish="stop"))
    assert of_type(TextDelta, events) == [TextDelta("x")]


def test_content_in_parts_and_arguments_as_an_object_are_read():
    parts = [{"type": "text", "text": "Hel"}, {"type": "image"}, {"type": "text", "text": "lo"}]
    assert of_type(TextDelta, events_of(chunk({"content": parts}))) == [TextDelta("Hello")]
    events = events_of(call({"a": 1}, id="c", name="f"), chunk(finish="tool_calls"))
    assert of_type(ToolCallReady, events) == [ToolCallReady("c", "f", {"a": 1})]


def test_two_objects_glued_in_one_event_are_both_read():
    glued = json.dumps(chunk({"content": "a"})) + json.dumps(chunk({"content": "b"}))
    assert of_type(TextDelta, events_of(glued)) == [TextDelta("a"), TextDelta("b")]


def test_event_of_a_great_many_objects_is_refused_at_once():
    with pytest.raises(UpstreamError, match="is no answer"):
        events_of("{}" * 10_000)
    with pytest.raises(UpstreamError, match="too much in it"):
        events_of("{}" * 100_000)


def test_event_of_a_great_many_members_is_refused_before_it_is_read():
    half = b'data: {"choices": [' + b"{}," * 100_000 + b"{}\n"
    with pytest.raises(UpstreamError, match="too much in it"):
        fed(ReplyDecoder(), half + b"data: " + b",{}" * 100_000 + b"]}\n\n")


def test_lone_surrogates_deep_inside_become_replacement_characters_too():
    raw = (
        r'{"choices": [{"delta": {"content": "\ud83d\ude00", "reasoning_details": '
        r'[{"type": "t", "\uD800": ["\udfff", 1]}]}}]}'
    )
    events = events_of(raw)
    assert of_type(TextDelta, events) == [TextDelta("😀")]
    assert events[-1].reasoning_details == ({"type": "t", "\ufffd": ["\ufffd", 1]},)


def test_lone_surrogate_in_text_becomes_the_replacement_character():
    raw = '{"choices": [{"delta": {"content": "a\\ud800b"}}]}'
    assert of_type(TextDelta, events_of(raw)) == [TextDelta("a\ufffdb")]


@pytest.mark.parametrize("raw", ["{unparsable}", "[1]", "7", '{"a": ' * 100_000])
def test_payload_that_is_no_chunk_is_a_typed_error(raw):
    with pytest.raises(UpstreamError):
        events_of(raw)


def test_whole_body_gives_the_same_events_as_its_stream():
    message = {
        "role": "assistant",
        "content": "Hi",
        "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{}"}}],
    }
    body = {
        "id": "gen-1",
        "model": "a/b",
        "provider": "P",
        "choices": [{"message": message, "finish_reason": None}],
    }
    assert events_of_body(b"  \n\xef\xbb\xbf" + json.dumps(body).encode()) == [
        ReplyStarted("gen-1", "a/b", "P"),
        TextDelta("Hi"),
        ToolCallStarted("c", "f"),
        ToolCallDelta("c", "{}"),
        ToolCallReady("c", "f", {}),
        ReplyFinished("tool_calls", "", None, "gen-1", "a/b", "P"),
    ]


@pytest.mark.parametrize(
    "body", [b"", b"   ", b"<html>", b"{}", b'{"choices": []}', b'{"choices": null, "error": {"code": 502}}']
)
def test_body_without_an_answer_is_a_typed_error(body):
    with pytest.raises(OpenRouterError):
        events_of_body(body)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.sampled_from([10**400, 1e308, 502])
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "id",
                    "choices",
                    "delta",
                    "content",
                    "tool_calls",
                    "function",
                    "name",
                    "arguments",
                    "index",
                    "error",
                    "usage",
                    "finish_reason",
                    "cost",
                    "code",
                    "metadata",
                    "headers",
                    "Retry-After",
                    "prompt_tokens",
                    "prompt_tokens_details",
                    "cached_tokens",
                    "cost_details",
                    "upstream_inference_cost",
                    "is_byok",
                    "created",
                    "message",
                    "reasoning",
                    "reasoning_details",
                    "images",
                    "image_url",
                    "url",
                    "annotations",
                    "text",
                    "type",
                    "data",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.lists(json_values, max_size=4), st.data())
def test_hostile_chunks_give_events_or_our_errors_the_same_in_any_cut(chunks, data):
    raw = stream(*[json.dumps(item) for item in chunks])
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=5)))
    pieces = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]

    def outcome(parts):
        decoder, events = ReplyDecoder(), []
        try:
            for part in parts:
                decoder.feed(part, events)
            decoder.close(events)
        except OpenRouterError as error:
            return events, str(error)
        return events, None

    assert outcome(pieces) == outcome([raw])


def test_two_calls_under_one_index_and_one_id_stay_two():
    one, two = call('{"a": 1}', id="x", name="f"), call('{"a": 2}', id="x", name="f")
    ready = of_type(ToolCallReady, events_of(one, two, chunk(finish="tool_calls")))
    assert [event.arguments for event in ready] == [{"a": 1}, {"a": 2}]
    assert len({event.id for event in ready}) == 2
    cut = [call('{"a": {"b"', id="x", name="f"), call(': {"c": 1}}}', id="x", name="f")]
    ready = of_type(ToolCallReady, events_of(*cut, chunk(finish="tool_calls")))
    assert [event.arguments for event in ready] == [{"a": {"b": {"c": 1}}}]


CUT_BY = {"delta": {}, "finish_reason": "tool_calls", "native_finish_reason": "max_output_tokens"}


@pytest.mark.parametrize("end", [chunk(finish="length"), {"choices": [CUT_BY]}])
def test_call_cut_off_before_its_first_argument_does_not_run(end):
    events = events_of(call("", id="a", name="f"), end)
    assert [event.message for event in of_type(ToolCallInvalid, events)] == [
        "The tool's arguments were cut off at the length limit."
    ]
    events = events_of(call("", id="a", name="f"), call('{"b"', index=1, id="b", name="g"), end)
    assert [event.id for event in of_type(ToolCallReady, events)] == ["a"]  # the last was cut, not this one


WHOLE_DETAILS = [
    [{"type": "reasoning.summary", "summary": "A"}, {"type": "reasoning.summary", "summary": "B"}],
    [
        {"type": "reasoning.text", "text": "A"},
        {"type": "reasoning.encrypted", "data": "E"},
        {"type": "reasoning.text", "text": "B"},
    ],
    [
        {"type": "reasoning.text", "text": "A", "signature": "s1", "index": 0},
        {"type": "reasoning.text", "text": "B", "signature": "s2", "index": 0},
    ],
    [{"type": "reasoning.encrypted", "data": "E", "id": i} for i in "ab"],
    [{"type": "reasoning.text", "text": None, "signature": "s"}],
    [],
]


@pytest.mark.parametrize("details", WHOLE_DETAILS)
def test_reasoning_of_a_whole_answer_goes_back_as_it_came(details):
    message = {"content": "x", "reasoning_details": details}
    events = events_of_body({"choices": [{"message": message, "finish_reason": "stop"}]})
    assert events[-1].reasoning_details == tuple(details)


def test_reasoning_of_another_id_is_another_block_even_at_the_same_index():
    details = [{"type": "reasoning.text", "text": t, "id": i, "index": 0} for t, i in ("Aa", "Bb")]
    events = events_of(*(chunk({"reasoning_details": [detail]}) for detail in details), chunk(finish="stop"))
    assert [block["text"] for block in events[-1].reasoning_details] == ["A", "B"]


@pytest.mark.parametrize(
    "body", [{"choices": [{}]}, {"choices": [{"message": {"content": ""}}]}, {"choices": [{}], "error": {}}]
)
def test_answer_in_which_nothing_is_said_is_no_answer(body):
    with pytest.raises(UpstreamError, match="without content"):
        events_of_body(body)
    with pytest.raises(UpstreamError, match="without content"):
        events_of(body)
    assert UpstreamError("x").retryable


def test_stream_of_an_end_alone_is_no_answer():
    with pytest.raises(UpstreamError, match="without content"):
        events_of()


def test_end_without_a_blank_line_before_it_is_an_end():
    decoder, events = ReplyDecoder(), []
    data = json.dumps(chunk({"content": "Hi"})).encode()
    decoder.feed(b"data: %s\ndata: [DONE]\n\n" % data, events)
    assert decoder.done
    assert of_type(TextDelta, events) == [TextDelta("Hi")]


def test_cost_is_exact_in_an_answer_that_is_odd_elsewhere():
    cost = "0.1234567890123456789"
    odd = f'{{"id": 7, "choices": [{{"delta": {{"content": "x"}}}}], "usage": {{"cost": {cost}}}}}'
    assert events_of(odd)[-1].usage.cost == Decimal(cost)


def test_what_others_chose_is_kept_short():
    long = "x" * 100_000
    choice = {"delta": {"content": "x"}, "finish_reason": long, "native_finish_reason": long}
    events = events_of({"id": long, "model": long, "provider": long, "choices": [choice]})
    end = events[-1]
    assert {len(end.id), len(end.model), len(end.provider), len(end.reason), len(end.native_reason)} == {200}
    broken = {"choices": [{"delta": {}, "finish_reason": "error", "native_finish_reason": long}]}
    with pytest.raises(UpstreamError) as caught:
        events_of(broken)
    assert len(caught.value.detail) == 200


def test_arguments_that_came_as_an_object_nested_too_deep_are_a_typed_error():
    deep = '{"choices": [{"delta": {"tool_calls": [{"function": {"name": "f", "arguments": %s}}]}}]}'
    for depth in (500, 980, 2000):
        with suppress(OpenRouterError):
            events_of(deep % ('{"a":' * depth + "1" + "}" * depth))


def test_other_name_after_a_whole_object_is_another_call_under_the_same_index_and_id():
    events = events_of(
        call('{"a": 1}', id="x", name="f"),
        call("", id="x", name="g"),
        call('{"b": 2}', id="x"),
        chunk(finish="tool_calls"),
    )
    ready = of_type(ToolCallReady, events)
    assert [(event.name, event.arguments) for event in ready] == [("f", {"a": 1}), ("g", {"b": 2})]


def test_name_said_again_with_every_delta_begins_no_other_call():
    deltas = ['{"a": {"b": 1}', ', "c": ', '{"d": 2}', "}", ""]
    ready = of_type(ToolCallReady, events_of(*[call(text, id="x", name="f") for text in deltas]))
    assert [event.arguments for event in ready] == [{"a": {"b": 1}, "c": {"d": 2}}]


@pytest.mark.parametrize("index", [0, None])
def test_other_signature_with_text_of_its_own_is_another_block(index):
    details = [block(TEXT, index, text=text, signature=s) for text, s in (("A", "s1"), ("B", "s2"))]
    events = events_of(*(chunk({"reasoning_details": [detail]}) for detail in details), chunk(finish="stop"))
    assert events[-1].reasoning_details == tuple(details)


def test_deep_detail_of_a_whole_answer_is_left_out_and_the_rest_is_kept():
    good = {"type": "t", "id": "1"}
    message = {"content": "x", "reasoning_details": [{"type": "t", "x": nested(100)}, good]}
    events = events_of_body({"choices": [{"message": message, "finish_reason": "stop"}]})
    assert events[-1].reasoning_details == (good,)


@pytest.mark.parametrize(
    "end", [b"data: [DONE]\ndata: [DONE]\n\n", b"data: [DONE]\ndata: {}\n\n", b"data: [DONE]\n"]
)
def test_end_said_again_in_one_event_is_one_end(end):
    decoder, events = ReplyDecoder(), []
    decoder.feed(stream(chunk({"content": "Hi"}), done=False)[:-1] + end, events)
    decoder.close(events)
    assert of_type(TextDelta, events) == [TextDelta("Hi")]
    assert len(of_type(ReplyFinished, events)) == 1


def test_ends_without_an_end_are_no_answer():
    with pytest.raises(UpstreamError, match="without content"):
        fed(ReplyDecoder(), b"data: [DONE]\n" * 40_000 + b"\n")


def test_blocks_that_were_announced_and_never_came_are_no_answer():
    with pytest.raises(UpstreamError, match="without content"):
        events_of(chunk({"reasoning_details": []}))


def test_nothing_is_done_where_nothing_was_said():
    decoder = ReplyDecoder()
    with pytest.raises(UpstreamError) as caught:
        decoder.feed(stream(chunk({"content": ""})), [])
    assert (decoder.done, caught.value.retryable) == (False, True)


def test_events_before_a_line_that_is_too_long_are_handed_out_first():
    decoder, events = ReplyDecoder(), []
    with pytest.raises(UpstreamError, match="a line of more than"):
        decoder.feed(stream(chunk({"content": "Hi"}), done=False) + b"x" * 1_000_001, events)
    assert of_type(TextDelta, events) == [TextDelta("Hi")]


def test_choice_that_is_none_hides_no_other():
    events = events_of({"choices": [None, {"delta": {"content": "x"}}]})
    assert of_type(TextDelta, events) == [TextDelta("x")]


@pytest.mark.parametrize("id", ["7", r'"\ud800"'])
def test_numbers_in_what_is_handed_on_stay_numbers_in_an_odd_answer(id):
    source = '{"type": "x", "n": 1.5, "m": 12345678901234567890123}'
    raw = f'{{"id": {id}, "choices": [{{"delta": {{"content": "x", "annotations": [{source}]}}}}]}}'
    (found,) = of_type(AnnotationReady, events_of(raw))
    assert found.annotation == {"type": "x", "n": 1.5, "m": 12345678901234567890123}
    assert type(found.annotation["n"]) is float


def test_arguments_that_came_as_an_object_keep_what_they_say():
    arguments = '{"a": 0.10, "b": "\\u00e9"}'
    function = f'{{"name": "f", "arguments": {arguments}}}'
    raw = f'{{"choices": [{{"delta": {{"tool_calls": [{{"function": {function}}}]}}}}]}}'
    (ready,) = of_type(ToolCallReady, events_of(raw))
    assert ready.arguments == {"a": 0.1, "b": "\u00e9"}


@pytest.mark.parametrize("name", ["url", "image_url"])
@pytest.mark.parametrize("before", ["", " \n"])
def test_large_pictures_of_one_body_are_whole_and_in_their_places(name, before):
    pictures = [f"data:image/png;base64,{letter * 1_700_000}" for letter in "abc"]
    shown = [{"image_url": {"url": url} if name == "url" else url} for url in pictures[:2]]
    source = {
        "type": "file",
        "file": {"hash": "h", "content": [{"image_url": {"url": pictures[2][:1_900_000]}}]},
    }
    message = {"content": 'a "url": "data:#0" b', "images": shown, "annotations": [source]}
    body = {"choices": [{"message": message, "finish_reason": "stop"}]}
    events = events_of_body(before.encode() + json.dumps(body).encode())
    assert [event.url for event in of_type(ImageReady, events)] == pictures[:2]
    assert of_type(AnnotationReady, events) == [AnnotationReady(source)]
    assert of_type(TextDelta, events) == [TextDelta(message["content"])]
    parts = [{"type": "text", "text": "x"}, *({"type": "image_url", **picture} for picture in shown)]
    body = {"id": 7, "choices": [{"message": {"content": [*parts, *parts[1:]]}, "finish_reason": "stop"}]}
    assert [event.url for event in of_type(ImageReady, events_of_body(body))] == pictures[:2] * 2
