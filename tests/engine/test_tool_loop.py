"""The tool loop, on both faces: running, refusing, limits, pausing and going on elsewhere."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from decimal import Decimal

import pytest

from openrouter_app.engine.chains import Router, StringOutputParser
from openrouter_app.engine.chains.tool_loop import ToolLoop
from openrouter_app.engine.errors import OpenRouterError, ToolError, UpstreamError, UsageError
from openrouter_app.engine.loops import LoopState, StepFinished, ToolFinished, ToolRunning, unanswered
from openrouter_app.engine.messages import (
    AIMessage,
    HumanMessage,
    ReplyFinished,
    Reset,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolCallInvalid,
    ToolCallReady,
    ToolCallStarted,
    ToolMessage,
    Usage,
)
from openrouter_app.engine.tools import tool

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
    @tool(timeout=0.1)
    def slow() -> str:
        time.sleep(0.5)
        return "too late"

    @tool(timeout=0.1)
    async def aslow() -> str:
        await asyncio.sleep(20)
        return "too late"

    turn = calls(call("a", "slow"), call("b", "aslow"))
    begun = time.monotonic()
    state = await loop(turn, says("x"), tools=[slow, aslow]).ainvoke("go")
    assert time.monotonic() - begun < 0.45
    assert {message.content for message in state.messages[2:4]} == {"The tool took longer than 0.1 seconds."}
    # the caller's own thread has waited for it: then what came counts
    state = await asyncio.to_thread(loop(turn, says("x"), tools=[slow, aslow]).invoke, "go")
    assert results_of(state) == {"a": "too late", "b": "The tool took longer than 0.1 seconds."}


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
async def test_paused_loop_goes_on_in_another_process_without_repeating_a_call(approved):
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
