"""The tool loop, on both faces: running, refusing, limits, pausing and going on elsewhere."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from openrouter_app.engine.chains import FunctionStep, Router, StringOutputParser
from openrouter_app.engine.chains.tool_loop import ToolLoop
from openrouter_app.engine.errors import OpenRouterError, ToolError, UpstreamError, UsageError
from openrouter_app.engine.flows import NoLoopHere
from openrouter_app.engine.loops import LoopState, StepFinished, ToolFinished, ToolRunning, unanswered
from openrouter_app.engine.messages import (
    AIMessage,
    HumanMessage,
    ImagePart,
    Reply,
    ReplyFinished,
    Reset,
    TextDelta,
    TextPart,
    ToolCall,
    ToolCallDelta,
    ToolCallInvalid,
    ToolCallReady,
    ToolCallStarted,
    ToolMessage,
    Usage,
)
from openrouter_app.engine.tools import Tool, ToolSpec, tool

from .scripted import FINISHED, InTurn, Says, faces


def finished(reason="stop", cost=None, details=None):
    usage = None if cost is None else Usage(10, 5, Decimal(cost))
    return ReplyFinished(reason, "", usage, "gen", "a/b", "P", 0, details)


def call(id, name, **arguments):
    return [
        ToolCallStarted(id, name),
        ToolCallDelta(id, json.dumps(arguments)),
        ToolCallReady(id, name, arguments),
    ]


def calls(*many, cost=None, details=None):
    return [*(event for one in many for event in one), finished("tool_calls", cost, details)]


def says(text, cost=None):
    return [TextDelta(text), finished(cost=cost)]


def results_of(state):
    return {
        message.tool_call_id: message.content
        for message in state.messages
        if isinstance(message, ToolMessage)
    }


@tool
def weather(city: str) -> dict:
    """The weather in a city.

    Args:
        city: Its name.
    """
    if city == "Atlantis":
        raise ToolError("Nobody knows that city.")
    if city == "Hades":
        raise ValueError("secret")
    return {"temperature": 22, "city": city}


BOSTON = call("c", "weather", city="Boston")


def loop(*turns, tools=(weather,), **limits):
    return ToolLoop(InTurn(*turns), list(tools), **limits)


async def test_tool_runs_and_its_result_goes_to_the_model():
    model = InTurn(calls(BOSTON, cost="0.1"), says("It is 22.", cost="0.25"))
    state = await ToolLoop(model, [weather]).ainvoke("How warm is it in Boston?")
    result = ToolMessage('{"temperature":22,"city":"Boston"}', "c")
    assert state.messages == (
        HumanMessage("How warm is it in Boston?"),
        AIMessage("", (ToolCall("c", "weather", {"city": "Boston"}),)),
        result,
        AIMessage("It is 22."),
    )
    assert (state.text, state.reason, state.steps, state.calls, state.errors) == (
        "It is 22.",
        "finished",
        2,
        1,
        0,
    )
    assert state.usage == Usage(20, 10, Decimal("0.35"))
    assert model.turns[1].inputs == [state.messages[:3]]
    assert [spec.name for spec in model.turns[0].calls[0].options["tools"]] == ["weather"]


async def test_both_faces_stream_the_same_events():
    items = await faces(lambda: loop(calls(BOSTON), says("22")), "Boston?", "stream")
    assert items[:-1] == [
        *calls(BOSTON),
        StepFinished(AIMessage("", (ToolCall("c", "weather", {"city": "Boston"}),))),
        ToolRunning("c", "weather"),
        ToolFinished("c", "weather", '{"temperature":22,"city":"Boston"}'),
        *says("22"),
        StepFinished(AIMessage("22")),
    ]
    assert isinstance(items[-1], LoopState)
    text = await faces(lambda: loop(calls(BOSTON), says("22")) | StringOutputParser(), "Boston?", "stream")
    assert text == ["22"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (call("c", "weather", city=3), "city"),
        (call("c", "weather", town="Boston"), "city"),
        (call("c", "forecast", city="Boston"), "There is no tool of this name. There are: weather."),
        (call("c", "weather", city="Atlantis"), "Nobody knows that city."),
        (call("c", "weather", city="Hades"), "The tool failed."),
        ([ToolCallInvalid("c", "weather", '{"city": "Bos', "The arguments were cut off.")], "cut off"),
    ],
)
async def test_call_that_goes_wrong_is_told_to_the_model_and_counted(wrong, said):
    state = await faces(lambda: loop(calls(wrong), says("Sorry.")), "Boston?", "invoke")
    assert (state.reason, state.errors, state.calls) == ("finished", 1, 1)
    result = state.messages[2]
    assert result.is_error
    assert said in result.content
    assert "secret" not in result.content
    assert state.messages[1].tool_calls[0].id == "c"


async def test_arguments_that_were_cut_never_run():
    ran = []

    @tool
    def pay(amount: int) -> None:
        ran.append(amount)

    cut = [
        ToolCallStarted("c", "pay"),
        ToolCallInvalid("c", "pay", '{"amount": 10', "cut"),
        finished("length"),
    ]
    state = await faces(lambda: loop(cut, says("x"), tools=[pay]), "Pay!", "invoke")
    assert ran == []
    # nor when the history is gone on from elsewhere: the call has its result
    again = loop(says("x"), tools=[pay])
    await again.ainvoke(list(state.messages[:3]))
    assert ran == []


async def test_calls_of_one_turn_run_at_once_unless_a_tool_says_otherwise():
    running = most = 0

    def make(parallel):
        @tool(parallel=parallel, name=f"wait_{parallel}")
        async def wait(number: int) -> int:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.05)
            running -= 1
            return number

        return wait

    for parallel, expected in ((True, 4), (False, 1)):
        most = 0
        four = calls(*(call(f"c{n}", f"wait_{parallel}", number=n) for n in range(4)))
        state = await loop(four, says("x"), tools=[make(parallel)]).ainvoke("go")
        assert most == expected
        assert {message.content for message in state.messages[2:6]} == {"0", "1", "2", "3"}


async def test_tool_that_runs_alone_parts_the_others():
    order = []

    @tool
    async def together(n: int) -> None:
        order.append(f"begin {n}")
        await asyncio.sleep(0.02)
        order.append(f"end {n}")

    @tool(parallel=False)
    async def alone(n: int) -> None:
        order.append(f"alone {n}")

    turn = calls(
        call("a", "together", n=1),
        call("b", "together", n=2),
        call("c", "alone", n=3),
        call("d", "together", n=4),
    )
    await loop(turn, says("x"), tools=[together, alone]).ainvoke("go")
    assert order[4:] == ["alone 3", "begin 4", "end 4"]
    assert order[:2] == ["begin 1", "begin 2"]


async def test_sync_functions_run_in_a_thread_or_in_the_callers_own():
    seen = []

    @tool
    def where() -> None:
        seen.append(threading.current_thread())

    turns = calls(call("c", "where")), says("x")
    await loop(*turns, tools=[where]).ainvoke("go")
    loop(*turns, tools=[where]).invoke("go")
    assert seen[0] is not threading.current_thread()
    assert seen[1] is threading.current_thread()


async def test_tool_that_takes_too_long_is_left_behind():
    released = threading.Event()
    holds = 20.0

    @tool(timeout=0.1)
    def slow() -> str:
        released.wait(holds)
        return "too late"

    @tool(timeout=0.1)
    async def aslow() -> str:
        await asyncio.sleep(20)
        return "too late"

    turn = calls(call("a", "slow"), call("b", "aslow"))
    begun = time.monotonic()
    state = await loop(turn, says("x"), tools=[slow, aslow]).ainvoke("go")
    assert time.monotonic() - begun < 10
    assert set(results_of(state).values()) == {"The tool took longer than 0.1 seconds."}
    # the caller's own thread has waited for it: then what came counts
    holds = 0.2
    state = await asyncio.to_thread(loop(turn, says("x"), tools=[slow, aslow]).invoke, "go")
    assert results_of(state) == {"a": "too late", "b": "The tool took longer than 0.1 seconds."}
    released.set()


async def test_loop_stops_at_its_step_limit_and_goes_on_with_a_larger_one():
    def make():
        return loop(calls(BOSTON), max_steps=3)

    state = await faces(make, "go", "invoke")
    assert (state.reason, state.steps, state.calls) == ("steps", 3, 3)
    more = await loop(says("done"), max_steps=5).ainvoke(state)
    assert (more.reason, more.steps, more.text) == ("finished", 4, "done")


async def test_loop_stops_at_its_call_limit_before_the_call_that_is_too_many():
    state = await faces(lambda: loop(calls(BOSTON), max_calls=2), "go", "invoke")
    assert (state.reason, state.calls) == ("calls", 2)
    assert [call.name for call in state.pending] == ["weather"]
    assert len(unanswered(state.messages)) == 1
    more = await loop(says("done"), max_calls=3).ainvoke(state)
    assert (more.reason, more.calls) == ("finished", 3)


async def test_loop_stops_at_its_cost_limit():
    state = await faces(lambda: loop(calls(BOSTON, cost="0.3"), max_cost=Decimal("0.5")), "go", "invoke")
    assert (state.reason, state.usage.cost, state.steps) == ("cost", Decimal("0.6"), 2)
    # an answer that is there is not thrown away for what it cost
    state = await faces(lambda: loop(says("x", cost="9"), max_cost=Decimal("0.5")), "go", "invoke")
    assert state.reason == "finished"


async def test_loop_stops_at_its_deadline():
    @tool
    async def slow() -> None:
        await asyncio.sleep(20)

    begun = time.monotonic()
    state = await loop(calls(call("c", "slow")), tools=[slow], deadline=0.2).ainvoke("go")
    assert time.monotonic() - begun < 2
    assert (state.reason, state.errors) == ("deadline", 1)
    model = InTurn(says("x"))
    await ToolLoop(model, [], deadline=30).ainvoke("go")
    assert 25 < model.turns[0].calls[0].due - time.monotonic() <= 30


async def test_error_at_the_deadline_is_the_deadline():
    class Late(Says):
        def flow(self, upstream, call):
            time.sleep(0.15)
            yield from super().flow(upstream, call)

    state = await faces(lambda: ToolLoop(Late(UpstreamError("cut")), [], deadline=0.1), "go", "invoke")
    assert state.reason == "deadline"


@tool(needs_approval=True)
def delete(path: str) -> str:
    return f"deleted {path}"


DELETE = calls(call("d", "delete", path="/tmp/x"), BOSTON)


async def test_loop_pauses_before_a_call_that_needs_approval_and_hands_out_what_it_has():
    state = await faces(lambda: loop(DELETE, tools=[delete, weather]), "go", "invoke")
    assert state.reason == "approval"
    assert state.pending == (ToolCall("d", "delete", {"path": "/tmp/x"}),)
    assert [message.tool_call_id for message in state.messages if isinstance(message, ToolMessage)] == ["c"]


@pytest.mark.parametrize("approved", [True, False])
async def test_stored_loop_goes_on_without_repeating_a_call(approved):
    ran = []

    @tool
    def count() -> str:
        ran.append("count")
        return "1"

    @tool(needs_approval=True)
    def wipe() -> str:
        ran.append("wipe")
        return "wiped"

    turn = calls(call("w", "wipe"), call("n", "count"))
    paused = await loop(turn, tools=[count, wipe]).ainvoke("go")
    assert ran == ["count"]
    stored = LoopState.load(paused.dump())
    assert stored == paused
    decided = stored.approve("w") if approved else stored.deny(reason="Not on a Friday.")
    state = await loop(says("done"), tools=[count, wipe]).ainvoke(LoopState.load(decided.dump()))
    assert ran == (["count", "wipe"] if approved else ["count"])
    assert state.reason == "finished"
    last = [message for message in state.messages if isinstance(message, ToolMessage)][-1]
    expected = "wiped" if approved else "A person refused this call: Not on a Friday."
    assert (last.content, last.tool_call_id, last.is_error) == (expected, "w", not approved)
    assert state.decisions == {}


async def test_approval_can_depend_on_the_arguments_and_is_asked_for_where_nobody_can_tell():
    def over_100(arguments):
        return 1 / arguments["amount"] < 1 / 100

    @tool(needs_approval=over_100)
    def refund(amount: int) -> str:
        return "paid"

    for amount, reason in ((50, "finished"), (200, "approval"), (0, "approval")):
        turns = calls(call("r", "refund", amount=amount)), says("x")
        state = await faces(lambda turns=turns: loop(*turns, tools=[refund]), "go", "invoke")
        assert state.reason == reason
    turns = calls(call("r", "refund", amount="much")), says("x")
    state = await faces(lambda: loop(*turns, tools=[refund]), "go", "invoke")
    assert (state.reason, state.errors) == ("finished", 1)  # no person is asked about nonsense


async def test_stored_history_that_ends_in_calls_runs_those_that_lack_a_result():
    history = [
        HumanMessage("go"),
        AIMessage(
            "", (ToolCall("a", "weather", {"city": "Rome"}), ToolCall("b", "weather", {"city": "Bonn"}))
        ),
        ToolMessage("sunny", "a"),
    ]
    state = await loop(says("done")).ainvoke(history)
    assert [m.content for m in state.messages[2:]] == [
        "sunny",
        '{"temperature":22,"city":"Bonn"}',
        "done",
    ]
    assert unanswered([*history, HumanMessage("never mind")]) == ()


async def test_finished_loop_is_not_asked_again():
    model = InTurn(says("done"))
    state = await ToolLoop(model, []).ainvoke("go")
    assert await ToolLoop(model, []).ainvoke(state) == state
    assert model.runs == 1


async def test_reasoning_details_go_back_unchanged():
    details = ({"type": "reasoning.encrypted", "data": "xyz", "index": 0, "id": "r"},)
    model = InTurn(calls(BOSTON, details=details), says("x"))
    await ToolLoop(model, [weather]).ainvoke("go")
    assert model.turns[1].inputs[0][1].reasoning_details == details


async def test_ids_are_unique_in_the_whole_history():
    turns = (
        calls(call("call_0", "weather", city="Rome")),
        calls(call("call_0", "weather", city="Bonn")),
        says("x"),
    )
    state = await faces(lambda: loop(*turns), "go", "invoke")
    ids = [message.tool_call_id for message in state.messages if isinstance(message, ToolMessage)]
    assert ids == ["call_0", "call_0_2"]
    items = await faces(lambda: loop(*turns), "go", "stream")
    assert [item.id for item in items if isinstance(item, ToolCallDelta | ToolFinished)] == [
        "call_0",
        "call_0",
        "call_0_2",
        "call_0_2",
    ]


async def test_call_dropped_by_a_reset_gives_its_id_to_no_other():
    turn = [*BOSTON[:2], Reset("b"), *BOSTON, finished()]
    items = await faces(lambda: loop(turn, says("x")), "go", "stream")
    assert [item.id for item in items if isinstance(item, ToolCallStarted)] == ["c", "c_2"]
    assert items[-1].messages[1].tool_calls == (ToolCall("c_2", "weather", {"city": "Boston"}),)


async def test_error_of_the_model_carries_what_has_been_done():
    with pytest.raises(UpstreamError) as caught:
        await loop(calls(BOSTON), [UpstreamError("down")]).ainvoke("go")
    state = caught.value.state
    assert (state.reason, state.calls) == ("error", 1)
    more = await loop(says("done")).ainvoke(LoopState.load(state.dump()))
    assert (more.reason, more.calls, more.text) == ("finished", 1, "done")


def test_loop_says_what_is_wrong_with_it():
    with pytest.raises(UsageError, match="same name"):
        loop(tools=[weather, weather])
    with pytest.raises(UsageError, match="without a parser"):
        ToolLoop(Says("text"), []).invoke("go")
    with pytest.raises(UsageError, match="no answer"):
        ToolLoop(Says(TextDelta("x")), []).invoke("go")
    assert repr(ToolLoop(Says(), [weather])).endswith("[weather])")
    assert issubclass(ToolError, OpenRouterError)
    assert LoopState(messages=()).text == ""
    assert FINISHED.reason == "stop"


async def test_steps_that_add_up_by_themselves_are_models_too():
    again = calls(call("call_0", "weather", city="Rome"))

    def make():
        turns = InTurn(again, again, says("x"))
        return ToolLoop(Router(lambda _: turns), [weather])

    state = await faces(make, "go", "invoke")
    ids = [message.tool_call_id for message in state.messages if isinstance(message, ToolMessage)]
    assert (state.text, ids) == ("x", ["call_0", "call_0_2"])
    fallback = InTurn([UpstreamError("down")]).with_fallbacks(Says(*says("x")))
    assert (await faces(lambda: ToolLoop(fallback, []), "go", "invoke")).text == "x"


async def test_functions_are_made_into_tools_and_specs_are_refused():
    def forecast(city: str) -> str:
        return f"Sunny in {city}."

    state = await loop(calls(call("f", "forecast", city="Rome")), says("x"), tools=[forecast]).ainvoke("go")
    assert state.messages[2].content == "Sunny in Rome."
    with pytest.raises(UsageError, match="it got ToolSpec"):
        loop(tools=[weather.spec])


# What a tool's function does wrong


async def result_of(function, *, arguments=None, **options):
    """What both faces tell the model of a call of this function."""

    def make():
        made = function if isinstance(function, Tool) else tool(function, name="f", **options)
        return loop(calls(call("c", "f", **(arguments or {}))), says("x"), tools=[made])

    state = await asyncio.wait_for(faces(make, "go", "invoke"), 30)
    assert (state.reason, state.calls) == ("finished", 1)
    return state.messages[2].content


class Unprepared(Tool):
    def prepare(self, arguments):
        raise KeyError("secret")


async def test_arguments_that_cannot_be_prepared_are_a_failure_of_the_tool(caplog):
    odd = Unprepared(ToolSpec("f", "", {"type": "object", "properties": {}}), lambda: "x")
    assert await result_of(odd, arguments={}) == "The tool failed."
    assert "the tool f failed" in caplog.text


@pytest.mark.parametrize("timeout", [None, 60])
async def test_timeout_of_a_tools_own_is_a_failure_like_others(timeout, caplog):
    def fetch() -> str:
        raise TimeoutError("the socket")

    async def afetch() -> str:
        async with asyncio.timeout(0.01):
            await asyncio.sleep(20)
        return "x"

    for function in (fetch, afetch):
        caplog.clear()
        assert await result_of(function, timeout=timeout) == "The tool failed."
        assert "TimeoutError" in caplog.text


async def test_tool_that_awaits_what_somebody_cancelled_has_failed():
    async def wait() -> str:
        task = asyncio.create_task(asyncio.sleep(20))
        asyncio.get_running_loop().call_soon(task.cancel)
        await task
        return "x"

    assert await result_of(wait) == "The tool failed."


async def test_tool_that_exits_has_failed(caplog):
    def parse() -> str:
        sys.exit("usage: ...")

    async def aparse() -> str:
        sys.exit("usage: ...")

    class Lazy:
        def __str__(self):
            sys.exit("usage: ...")

    def lazy() -> Any:
        return Lazy()

    for function in (parse, aparse, lazy):
        assert await result_of(function) == "The tool failed."
    assert "SystemExit: usage" in caplog.text

    def asks(arguments):
        sys.exit("usage: ...")

    turns = calls(call("c", "f")), says("x")
    tools = [tool(lambda: "x", name="f", needs_approval=asks)]
    assert (await faces(lambda: loop(*turns, tools=tools), "go", "invoke")).reason == "approval"


@pytest.mark.parametrize("verb", ["invoke", "ainvoke"])
def test_interrupt_comes_through(verb):
    def interrupted() -> str:
        raise KeyboardInterrupt

    made = loop(calls(call("c", "interrupted")), tools=[interrupted])
    with pytest.raises(KeyboardInterrupt):
        made.invoke("go") if verb == "invoke" else asyncio.run(made.ainvoke("go"))


async def test_async_tool_without_a_loop_of_its_own_is_the_callers_mistake():
    ran = []

    @tool
    async def wait() -> None:
        ran.append("wait")

    turns = calls(BOSTON, call("d", "wait")), says("x")
    with pytest.raises(NoLoopHere, match="use ainvoke") as caught:
        loop(*turns, tools=[weather, wait]).invoke("go")
    assert [call.id for call in caught.value.state.pending] == ["d"]
    more = await loop(says("x"), tools=[weather, wait]).ainvoke(caught.value.state)
    assert (more.reason, more.calls, ran) == ("finished", 2, ["wait"])

    async def no(arguments):
        return False

    with pytest.raises(NoLoopHere):
        loop(*turns, tools=[weather, tool(lambda: "x", name="wait", needs_approval=no)]).invoke("go")


async def test_mistake_in_a_chain_that_a_tool_runs_is_a_failure_of_the_tool():
    async def inner(value):
        return value

    def ask() -> str:
        return FunctionStep(inner).invoke("x")  # in a thread where a loop runs

    state = loop(calls(call("c", "ask")), says("x"), tools=[ask]).invoke("go")
    assert results_of(state) == {"c": "The tool failed."}

    def misuse() -> str:
        raise UsageError("no model")

    assert await result_of(misuse) == "The tool failed."


async def test_tool_that_changes_its_arguments_does_not_change_the_history():
    def sort(options: dict, items: Any) -> str:
        options["a"].clear()
        items.append(9)
        return "x"

    def judge(arguments):
        arguments["options"].clear()
        return False

    given = {"options": {"a": {"b": 1}}, "items": [1, 2]}
    before = json.dumps(given)
    for made in (tool(sort, needs_approval=judge), Tool(ToolSpec("sort"), sort, needs_approval=judge)):
        for verb in ("invoke", "ainvoke"):
            model = InTurn(calls(call("c", "sort", **given)), says("x"))
            state = getattr(ToolLoop(model, [made]), verb)("go")
            state = await state if verb == "ainvoke" else state
            assert results_of(state) == {"c": "x"}
            assert json.dumps(model.turns[1].inputs[0][1].tool_calls[0].arguments) == before


async def test_result_that_is_lazy_is_read_where_no_loop_runs():
    where = []

    class Lazy:
        def __str__(self):
            try:
                asyncio.get_running_loop()
            except RuntimeError:
                where.append(threading.current_thread())
                return "found"
            raise AssertionError("A query cannot be made here.")

    def query() -> Any:
        ran.append(threading.current_thread())
        return Lazy()

    async def aquery() -> Any:
        return {"all": [Lazy()]}

    ran: list[Any] = []
    assert await result_of(query) == '"found"'
    assert where == ran  # its own thread, which has its own connection to the database
    assert await result_of(aquery) == '{"all":["found"]}'


async def test_result_can_be_content_parts():
    picture = ImagePart("https://example.com/a.png")

    def look() -> Any:
        return TextPart("Look:"), picture

    assert await result_of(look) == (TextPart("Look:"), picture)
    state = await loop(calls(call("c", "look")), says("x"), tools=[look]).ainvoke("go")
    assert LoopState.load(state.dump()) == state


async def test_function_that_returns_what_must_be_awaited_is_a_tool():
    async def wait(fails):
        if fails:
            raise ToolError("Nothing found.")
        return ["found"]

    assert await result_of(lambda: wait(False)) == '["found"]'
    assert await result_of(lambda: wait(True)) == "Nothing found."


# Deadlines


@pytest.mark.parametrize("parallel", [True, False])
async def test_call_that_did_not_begin_before_the_deadline_waits_to_be_gone_on_with(parallel):
    ran: list[int] = []

    @tool(parallel=parallel)
    def slow(n: int) -> str:
        ran.append(n)
        time.sleep(0.25)
        return f"done {n}"

    slow.prepare({"n": 1})
    turn = calls(*(call(f"c{n}", "slow", n=n) for n in range(4)))
    cut = "The tool was cut short: the time is over."

    items = await asyncio.to_thread(list, loop(turn, tools=[slow], deadline=0.2).stream("go"))
    state = items[-1]
    assert state.reason == "deadline"
    assert results_of(state) == {"c0": "done 0"}  # it has arrived, if late
    assert [call.id for call in state.pending] == ["c1", "c2", "c3"]
    assert [item.id for item in items if isinstance(item, ToolRunning)] == ["c0"]
    assert ran == [0]
    more = await asyncio.to_thread(loop(says("x"), tools=[slow]).invoke, LoopState.load(state.dump()))
    assert (more.reason, more.calls, more.errors, ran) == ("finished", 4, 0, [0, 1, 2, 3])

    ran.clear()
    state = await loop(turn, tools=[slow], deadline=0.2).ainvoke("go")
    begun = ["c0", "c1", "c2", "c3"] if parallel else ["c0"]
    assert state.reason == "deadline"
    assert results_of(state) == dict.fromkeys(begun, cut)
    assert sorted(ran) == [int(id[1]) for id in begun]
    assert [call.id for call in state.pending] == [f"c{n}" for n in range(len(begun), 4)]


async def test_result_that_came_before_the_deadline_is_kept():
    @tool
    async def wait(seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "done"

    wait.prepare({"seconds": 0})
    turn = calls(call("a", "wait", seconds=0), call("b", "wait", seconds=20))
    state = await faces(lambda: loop(turn, tools=[wait], deadline=0.2), "go", "invoke")
    assert (state.reason, state.pending) == ("deadline", ())
    assert results_of(state) == {"a": "done", "b": "The tool was cut short: the time is over."}


@dataclass
class Slow:
    a: int

    def __post_init__(self):
        time.sleep(0.25)


async def test_what_comes_before_a_call_is_bounded_by_the_deadline():
    ran = []
    released = threading.Event()
    holds = 0.3

    @dataclass
    class Held:
        a: int

        def __post_init__(self):
            released.wait(holds)

    def typed(h: Any) -> None:
        ran.append(h)

    typed.__annotations__["h"] = Held

    @tool(needs_approval=lambda arguments: released.wait(holds) and False)
    def judged() -> None:
        ran.append(1)

    @tool(needs_approval=True)
    def asks() -> None: ...

    judged.prepare({})
    tools = [tool(typed), judged, asks]
    both = calls(call("a", "asks"), call("b", "typed", h={"a": 1}), call("c", "judged"))
    for script, pending in ((both, ["a", "b", "c"]), (calls(call("c", "judged")), ["c"])):
        holds = 0.3
        state = await asyncio.to_thread(loop(script, tools=tools, deadline=0.15).invoke, "go")
        # not "approval": a person decides once all the calls were looked at
        assert (state.reason, [call.id for call in state.pending], ran) == ("deadline", pending, [])
        holds = 20
        begun = time.monotonic()
        assert await loop(script, tools=tools, deadline=0.15).ainvoke("go") == state
        assert time.monotonic() - begun < 10
    released.set()
    more = await loop(says("x"), tools=tools, deadline=30).ainvoke(state)
    assert (more.reason, ran) == ("finished", [1])


async def test_preparing_does_not_count_as_the_tools_own_time():
    @tool(timeout=0.2, parallel=False)
    def typed(s: Slow) -> str:
        return "done"

    @tool(timeout=0.2, parallel=False, needs_approval=lambda arguments: time.sleep(0.25))
    def judged() -> str:
        return "done"

    turn = calls(call("a", "typed", s={"a": 1}), call("b", "judged"))
    state = await faces(lambda: loop(turn, says("x"), tools=[typed, judged]), "go", "invoke")
    assert results_of(state) == {"a": "done", "b": "done"}


async def test_arguments_that_take_too_long_to_prepare_are_too_large(monkeypatch):
    monkeypatch.setattr("openrouter_app.engine.chains.tool_loop.PATIENCE", 0.1)

    @tool
    def typed(s: Slow) -> None: ...

    @tool(needs_approval=lambda arguments: time.sleep(0.25))
    def judged() -> None: ...

    judged.prepare({})
    turn = calls(call("a", "typed", s={"a": 1}), call("b", "judged"))
    state = await loop(turn, tools=[typed, judged]).ainvoke("go")
    assert results_of(state) == {"a": "The arguments are too large."}
    assert (state.reason, [call.id for call in state.pending]) == ("approval", ["b"])


# Other limits


async def test_calls_without_arguments_count_for_the_limit():
    bad = [
        event
        for id in ("c", "d")
        for event in (ToolCallStarted(id, "weather"), ToolCallInvalid(id, "weather", "{bad", "No JSON."))
    ]
    made = []

    def make():
        made.append(InTurn([*bad, finished()]))
        return ToolLoop(made[-1], [weather], max_calls=2, max_steps=4)

    state = await faces(make, "go", "invoke")
    # the first two are as many as may be, and the model may still answer
    assert (state.reason, state.steps, state.calls, made[0].runs) == ("calls", 2, 4, 2)
    state = await faces(lambda: loop(calls(BOSTON), says("22"), max_calls=1), "go", "invoke")
    assert (state.reason, state.calls, state.text) == ("finished", 1, "22")


async def test_cost_may_be_written_as_a_float():
    state = await faces(lambda: loop(calls(BOSTON, cost="0.1"), max_cost=0.2), "go", "invoke")
    assert (state.reason, state.usage.cost, state.steps) == ("cost", Decimal("0.2"), 2)
    with pytest.raises(UsageError, match="max_steps is a whole number"):
        loop(max_steps=None)


# Going on


def counting(ran):
    """A tool that notes that it ran."""

    @tool
    def count() -> str:
        ran.append(1)
        return "1"

    return count


async def test_finished_loop_answers_what_was_said_since():
    state = await loop(says("done")).ainvoke("go")
    asked = msgspec.structs.replace(state, messages=(*state.messages, HumanMessage("next")))
    more = await faces(lambda: loop(says("again")), asked, "invoke")
    assert (more.text, more.steps, more.reason) == ("again", 2, "finished")


async def test_calls_that_were_left_behind_are_told_as_not_run():
    paused = await loop(DELETE, tools=[delete, weather]).ainvoke("go")
    model = InTurn(says("ok"))
    await ToolLoop(model, [delete, weather]).ainvoke([*paused.messages, HumanMessage("never mind")])
    assert model.turns[0].inputs[0] == (
        *paused.messages,
        ToolMessage("This call was not run.", "d", True),
        HumanMessage("never mind"),
    )
    asked = msgspec.structs.replace(paused.approve(), messages=(*paused.messages, HumanMessage("never mind")))
    state = await ToolLoop(model, [delete, weather]).ainvoke(asked)
    assert (results_of(state)["d"], state.decisions) == ("This call was not run.", {})


@pytest.mark.parametrize("error", [UpstreamError("down"), RuntimeError("bug"), UsageError("mistake")])
async def test_every_error_carries_what_has_been_done(error):
    for verb in ("invoke", "ainvoke"):
        ran: list[int] = []
        count = counting(ran)
        made = loop(calls(call("c", "count")), [error], tools=[count])
        with pytest.raises(type(error)) as caught:
            await made.ainvoke("go") if verb == "ainvoke" else made.invoke("go")
        state = LoopState.load(caught.value.state.dump())
        assert (state.reason, state.calls, ran) == ("error", 1, [1])
        more = loop(says("done"), tools=[count])
        state = await more.ainvoke(state) if verb == "ainvoke" else more.invoke(state)
        assert (state.reason, state.text, ran) == ("finished", "done", [1])


async def test_retry_does_not_repeat_a_call():
    def make():
        ran.clear()
        turns = calls(call("c", "count")), [UpstreamError("down")], says("done")
        return loop(*turns, tools=[counting(ran)]).with_retry(delays=[0], jitter=False)

    ran: list[int] = []
    state = await faces(make, "go", "invoke")
    assert (state.text, state.calls, ran) == ("done", 1, [1])


async def test_state_after_each_item_is_the_loops_own():
    turn = [
        ToolCallStarted("bad", "weather"),
        ToolCallInvalid("bad", "weather", "{", "No JSON."),
        *BOSTON,
        *call("d", "weather", city="Hades"),
        finished(cost="0.1"),
    ]
    start = LoopState(messages=(HumanMessage("go"),))
    for items in (
        list(loop(turn, says("x", cost="0.2")).stream(start)),
        [item async for item in loop(turn, says("x", cost="0.2")).astream(start)],
    ):
        states = [start]
        for item in items:
            state = states[-1].after(item)
            if state is not states[-1]:
                states.append(state)
        assert states[-1] is items[-1]
        assert msgspec.structs.replace(states[-2], reason="finished") == items[-1]
        # each of them can be gone on from, and no call that has its result runs again
        for state in states:
            turns = [says("x")] if state.steps else [turn, says("x")]
            ended = await loop(*turns).ainvoke(LoopState.load(state.dump()))
            assert (ended.reason, ended.text, ended.calls, ended.errors) == ("finished", "x", 3, 2)
            assert results_of(ended) == results_of(items[-1])


async def test_approval_can_be_judged_by_an_async_function():
    async def over_100(arguments):
        await asyncio.sleep(0)
        return arguments["amount"] > 100

    @tool(needs_approval=over_100)
    def refund(amount: int) -> str:
        return "paid"

    for amount, reason in ((50, "finished"), (200, "approval")):
        turns = calls(call("r", "refund", amount=amount)), says("x")
        state = await faces(lambda turns=turns: loop(*turns, tools=[refund]), "go", "invoke")
        assert state.reason == reason


async def test_answer_of_a_step_that_adds_up_by_itself_is_shown():
    whole = Reply(AIMessage("It is 22."), "stop", "", None, "gen", "a/b", "P")
    text = await faces(lambda: ToolLoop(Says(whole), []) | StringOutputParser(), "go", "invoke")
    assert text == "It is 22."


# Processes

PROCESS = """
import asyncio, sys
from pathlib import Path
from openrouter_app.engine.chains.tool_loop import ToolLoop
from openrouter_app.engine.loops import LoopState
from openrouter_app.engine.tools import tool
from tests.engine.scripted import InTurn
from tests.engine.test_tool_loop import call, calls, says

verb, state, ran, *decisions = sys.argv[1:]
state, ran = Path(state), Path(ran)

@tool(needs_approval=True)
def wipe(n: int) -> str:
    with ran.open("a") as file:
        file.write(f"wipe {n}\\n")
    return f"wiped {n}"

@tool
def count(n: int) -> str:
    with ran.open("a") as file:
        file.write(f"count {n}\\n")
    return f"counted {n}"

value, turns = "go", [calls(*(call(f"w{n}", "wipe", n=n) for n in (1, 2, 3)), call("n", "count", n=4))]
if state.exists():
    value, turns = LoopState.load(state.read_bytes()), [says("done")]
    for decision in decisions:
        how, id = decision.split(":")
        value = value.approve(id) if how == "approve" else value.deny(id, reason="Not on a Friday.")
loop = ToolLoop(InTurn(*turns), [wipe, count])
ended = loop.invoke(value) if verb == "invoke" else asyncio.run(loop.ainvoke(value))
state.write_text(ended.dump())
"""


@pytest.mark.parametrize("verbs", [("invoke", "ainvoke", "invoke"), ("ainvoke", "invoke", "ainvoke")])
def test_loop_goes_on_in_other_processes_and_repeats_nothing(verbs, tmp_path):
    stored, ran = tmp_path / "state.json", tmp_path / "ran"

    def process(verb, *decisions):
        subprocess.run(
            [sys.executable, "-c", PROCESS, verb, str(stored), str(ran), *decisions],
            cwd=Path(__file__).parents[2],
            check=True,
            timeout=60,
        )
        return LoopState.load(stored.read_bytes()), ran.read_text().splitlines()

    state, done = process(verbs[0])
    assert (state.reason, [call.id for call in state.pending]) == ("approval", ["w1", "w2", "w3"])
    assert done == ["count 4"]
    state, done = process(verbs[1], "approve:w1", "deny:w2")
    assert (state.reason, [call.id for call in state.pending]) == ("approval", ["w3"])
    assert done == ["count 4", "wipe 1"]
    state, done = process(verbs[2], "approve:w3")
    assert (state.reason, state.text, state.calls, state.errors) == ("finished", "done", 4, 1)
    assert done == ["count 4", "wipe 1", "wipe 3"]
    assert results_of(state) == {
        "n": "counted 4",
        "w1": "wiped 1",
        "w2": "A person refused this call: Not on a Friday.",
        "w3": "wiped 3",
    }
