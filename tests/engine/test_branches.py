"""Flows at the same time: whatever ends them ends the chain, and nothing they opened outlives it."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
import time

import pytest

from openrouter_app.engine.chains import FunctionStep, ParallelMap
from openrouter_app.engine.errors import UpstreamError, UsageError
from openrouter_app.engine.flows import Cancelled, NoLoopHere

from .scripted import Says, faces, outcome

SOON = 10
"""Seconds in which what must end has ended, however busy the machine is."""


async def awaits_a_cancelled_future(_):
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


def exits(_):
    sys.exit(3)


def eventually(condition):
    end = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


CHAINS = {
    "a step": lambda function: FunctionStep(function),
    "a map": lambda function: ParallelMap({"a": function, "b": len}),
    "a map in a map": lambda function: ParallelMap({"a": ParallelMap({"b": function}), "b": len}),
}


@pytest.mark.parametrize("chain", CHAINS)
async def test_function_that_awaits_what_was_cancelled_ends_the_chain_with_an_error(chain):
    made = CHAINS[chain](awaits_a_cancelled_future)
    with pytest.raises(Cancelled):
        await asyncio.wait_for(made.ainvoke("x"), SOON)
    with pytest.raises(Cancelled):
        await asyncio.to_thread(made.invoke, "x")


async def test_error_of_any_kind_stands_in_its_place_in_a_batch():
    step = FunctionStep(awaits_a_cancelled_future)
    for found in (
        await asyncio.wait_for(step.abatch(["x"], return_errors=True), SOON),
        await asyncio.to_thread(step.batch, ["x", "y"], return_errors=True),
    ):
        assert {type(error) for error in found} == {Cancelled}


async def test_exit_in_a_branch_reaches_the_caller():
    for chain in (FunctionStep(exits), ParallelMap({"a": exits, "b": len})):
        with pytest.raises(SystemExit):
            await asyncio.to_thread(chain.batch, ["x", "y"])


async def test_cancelling_a_chain_is_no_error_of_its_functions():
    begun = asyncio.Event()

    async def waits(_):
        begun.set()
        await asyncio.sleep(60)

    task = asyncio.create_task(ParallelMap({"a": waits, "b": len}).ainvoke("x"))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_function_that_raises_stop_async_iteration_gives_no_result():
    async def nothing():
        return
        yield

    async def first(_):
        return await anext(nothing())

    for answer in (
        await outcome(FunctionStep(first).ainvoke("x")),
        await outcome(asyncio.to_thread(FunctionStep(first).invoke, "x")),
    ):
        assert answer[0] in (StopAsyncIteration, RuntimeError)


@pytest.mark.parametrize("max_concurrency", [1, 2])
async def test_each_input_of_a_batch_sees_context_variables_of_its_own(max_concurrency):
    seen = contextvars.ContextVar("seen", default="?")

    def look(letter):
        before = seen.get()
        seen.set(letter)
        return before

    step = FunctionStep(look)
    seen.set("outer")
    found = await step.abatch("abcd", max_concurrency=max_concurrency)
    context = contextvars.copy_context()
    found += context.run(step.batch, "abcd", max_concurrency=max_concurrency)
    assert found == ["outer"] * 8
    assert context[seen] == seen.get() == "outer"


async def test_thread_that_cannot_be_started_leaves_no_others(monkeypatch):
    start, started = threading.Thread.start, []

    def no_third(thread):
        if thread.name.startswith("openrouter branch"):
            started.append(thread)
            if len(started) == 3:
                raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", no_third)
    endless = FunctionStep(stream=lambda items: iter(int, 1))
    chain = ParallelMap({"a": endless, "b": endless, "c": endless})
    with pytest.raises(RuntimeError, match="can't start"):
        list(chain.stream("x"))
    eventually(lambda: not any(thread.is_alive() for thread in started[:2]))


async def test_generator_function_may_stand_behind_async_ones_without_a_loop():
    async def shout(text):
        return text.upper()

    async def twice(items):
        async for item in items:
            await asyncio.sleep(0)
            yield item
            yield item

    chain = FunctionStep(shout) | FunctionStep(stream=twice) | shout | FunctionStep(stream=twice)
    assert await faces(lambda: chain, "x", "stream") == ["X"] * 4


async def test_error_before_an_async_generator_function_passes_through_it():
    async def told(items):
        try:
            async for item in items:
                yield item
        except UpstreamError as error:
            yield error.message

    source = Says("a", UpstreamError("cut"))
    assert await faces(lambda: source | FunctionStep(stream=told), "x", "stream") == ["a", "cut"]


async def test_async_function_in_a_thread_that_runs_a_loop_says_which_verb_to_use():
    async def shout(text):
        return text.upper()

    async def same(items):
        async for item in items:
            yield item

    for step in (FunctionStep(shout), FunctionStep(stream=same)):
        with pytest.raises(NoLoopHere, match="use ainvoke"):
            step.invoke("x")


async def test_sync_generator_function_keeps_up_with_a_stream_on_a_loop():
    asked = []

    async def slowly(items):
        async for _ in items:
            for number in range(3):
                asked.append(number)
                yield number

    def seen(items):
        for item in items:
            yield item, len(asked)

    chain = FunctionStep(stream=slowly) | FunctionStep(stream=seen)
    assert [item async for item in chain.astream("x")] == [(0, 1), (1, 2), (2, 3)]


async def test_sync_generator_function_runs_in_one_thread_that_is_not_the_loops():
    threads = set()

    def look(items):
        try:
            for item in items:
                threads.add(threading.get_ident())
                yield item
        finally:
            threads.add(threading.get_ident())
            ended.set()

    for whole in (True, False):
        ended = threading.Event()
        threads.clear()
        stream = (Says("a", "b", "c") | FunctionStep(stream=look)).astream("x")
        async for _ in stream:
            if not whole:
                break
        await stream.aclose()
        assert ended.is_set()
        assert len(threads) == 1
        assert threads != {threading.get_ident()}


async def test_plain_function_of_all_items_blocks_no_loop():
    threads = []

    def in_order(items):
        threads.append(threading.get_ident())
        return sorted(items)

    assert [item async for item in (Says(2, 1) | FunctionStep(stream=in_order)).astream("x")] == [1, 2]
    assert threads != [threading.get_ident()]


async def test_cancelling_does_not_wait_for_a_generator_function_that_is_busy():
    busy, go_on = threading.Event(), threading.Event()

    def blocks(items):
        busy.set()
        go_on.wait(SOON)
        yield from items

    task = asyncio.create_task((Says("a") | FunctionStep(stream=blocks)).ainvoke("x"))
    await asyncio.to_thread(busy.wait, SOON)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, SOON)
    assert not go_on.is_set()
    go_on.set()


async def test_generator_function_that_waits_for_an_item_is_left_with_an_error():
    told, waiting = [], asyncio.Event()

    async def never(items):
        waiting.set()
        await asyncio.sleep(60)
        yield

    def reads(items):
        try:
            yield from items
        except UsageError as error:
            told.append(error.message)
            raise

    task = asyncio.create_task((FunctionStep(stream=never) | FunctionStep(stream=reads)).ainvoke("x"))
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, SOON)
    await asyncio.to_thread(eventually, lambda: told == ["The chain was left before its end."])
