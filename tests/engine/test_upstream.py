"""How items add up, on both faces: the same whether a chain is invoked, streamed or read by a step."""

from __future__ import annotations

import pytest

from openrouter_app.engine.chains import (
    Branch,
    ChatPromptTemplate,
    FunctionStep,
    ItemFromMap,
    JsonOutputParser,
    MapFromInput,
    ParallelMap,
    Passthrough,
    Router,
    StringOutputParser,
    ToolsOutputParser,
)
from openrouter_app.engine.chains.steps import Step
from openrouter_app.engine.errors import InputError, UsageError
from openrouter_app.engine.messages import Reset, TextDelta, ToolCallDelta, ToolCallReady, ToolCallStarted

from .scripted import FINISHED, InTurn, Says, faces

READ = ChatPromptTemplate.from_template("Human said {setup}") | StringOutputParser()


def joke():
    pieces = (TextDelta('{"setup": "Wh'), TextDelta('y?"'), TextDelta("}"))
    return Says(*pieces, FINISHED) | JsonOutputParser()


def silence():
    return Says(FINISHED) | StringOutputParser()


def calls():
    events = [
        event
        for name in "fg"
        for event in (
            ToolCallStarted(name, name),
            ToolCallDelta(name, "{}"),
            ToolCallReady(name, name, {}),
        )
    ]
    return Says(*events, FINISHED) | ToolsOutputParser()


WRAPPED = {
    "fallbacks": lambda step: step.with_fallbacks(Says("never")),
    "the second of fallbacks": lambda step: Says(UsageError("no")).with_fallbacks(step),
    "a retry": lambda step: step.with_retry(),
    "a branch": lambda step: Branch(default=step),
    "a router": lambda step: Router(lambda _: step),
    "a passthrough": lambda step: step | Passthrough(),
    "a function": lambda step: step | (lambda value: value),
    "a generator function": lambda step: step | FunctionStep(stream=iter),
    "a map and back": lambda step: step | MapFromInput("key") | ItemFromMap("key"),
    "a member of a map": lambda step: ParallelMap({"a": step, "b": Passthrough()}) | ItemFromMap("a"),
    "a branch of a router": lambda step: Branch(default=Router(lambda _: step.bind(temperature=1))),
}


@pytest.mark.parametrize("how", WRAPPED)
@pytest.mark.parametrize("verb", ["invoke", "stream"])
async def test_snapshots_that_pass_other_steps_add_up_to_the_last(how, verb):
    answer = await faces(lambda: WRAPPED[how](joke()) | READ, "x", verb)
    assert "".join(answer) == "Human: Human said Why?"


@pytest.mark.parametrize("how", WRAPPED)
@pytest.mark.parametrize("verb", ["invoke", "stream"])
async def test_lists_of_calls_that_pass_other_steps_add_up_to_the_last(how, verb):
    names = Router(lambda found: "".join(call.name for call in found))
    assert "".join(await faces(lambda: WRAPPED[how](calls()) | names, "x", verb)) == "fg"


@pytest.mark.parametrize("how", [how for how in WRAPPED if how != "a generator function"])
async def test_an_empty_text_passes_other_steps(how):
    assert await faces(lambda: WRAPPED[how](silence()), "x", "invoke") == ""
    for verb in ("invoke", "stream"):
        shown = await faces(lambda: WRAPPED[how](silence()) | Router(repr), "x", verb)
        assert "".join(shown) == "''"


async def test_an_empty_text_stands_under_its_key():
    assert await faces(lambda: silence() | MapFromInput("text"), "x", "invoke") == {"text": ""}
    map_of_it = {"text": silence() | Passthrough(), "asked": Passthrough()}
    assert await faces(lambda: ParallelMap(map_of_it), "x", "invoke") == {"text": "", "asked": "x"}


async def test_a_member_of_what_snapshots_show_adds_up_to_the_last():
    assert await faces(lambda: joke() | ItemFromMap("setup") | Router(str.upper), "x", "stream") == ["WHY?"]
    assert await faces(lambda: joke() | ItemFromMap("setup"), "x", "invoke") == "Why?"


@pytest.mark.parametrize("verb", ["invoke", "stream"])
async def test_a_member_that_is_not_there_is_said(verb):
    answer = await faces(lambda: joke() | ItemFromMap("punchline"), "x", verb)
    assert answer == (InputError, "The input has no 'punchline'.")


async def test_what_came_before_a_reset_does_not_add_up():
    again = InTurn([TextDelta("wrong"), OSError("cut")], [TextDelta("right"), FINISHED])

    def make():
        again.runs = 0
        step = (again | StringOutputParser()).with_retry(delays=[0], jitter=False, reset=True)
        return step | MapFromInput("text") | ItemFromMap("text") | Router(str.upper)

    assert await faces(make, "x", "stream") == ["RIGHT"]
    parts = InTurn([TextDelta("a"), OSError("cut")], [TextDelta("b"), FINISHED])
    step = (parts | StringOutputParser()).with_retry(delays=[0], jitter=False, reset=True)
    assert list(step.stream("x")) == ["a", Reset(), "b"]


async def test_a_function_behind_a_filter_is_not_called_for_nothing():
    def none_of(items):
        return iter(())

    called = []
    assert await faces(lambda: FunctionStep(stream=none_of) | called.append, "x", "stream") == []
    assert called == []


def test_a_step_says_how_it_runs():
    with pytest.raises(TypeError, match="Silent must say how it runs"):

        class Silent(Step):
            pass
