"""Awaiting: deadlines that ring once, tidying up that nobody cuts off."""

from __future__ import annotations

import asyncio
import time

import anyio
import pytest

from openrouter_app.engine.patience import Alarm, protected, tidily


async def guarded(alarm, awaitable, due):
    alarm.set(due)
    try:
        return await awaitable
    except asyncio.CancelledError:
        if alarm.rang():
            raise TimeoutError from None
        raise
    finally:
        alarm.task = None


async def test_alarm_rings_at_the_deadline_and_not_before():
    alarm = Alarm()
    assert await guarded(alarm, asyncio.sleep(0.01, "done"), time.monotonic() + 5) == "done"
    with pytest.raises(TimeoutError):
        await guarded(alarm, asyncio.sleep(30), time.monotonic() + 0.05)
    # a later deadline after an earlier one, and an earlier one after a later one
    assert await guarded(alarm, asyncio.sleep(0.1, "done"), time.monotonic() + 5) == "done"
    with pytest.raises(TimeoutError):
        await guarded(alarm, asyncio.sleep(30), time.monotonic() + 0.05)
    assert asyncio.current_task().cancelling() == 0
    alarm.close()


async def test_alarm_that_rings_while_nobody_waits_is_not_heard():
    alarm = Alarm()
    assert await guarded(alarm, asyncio.sleep(0, "done"), time.monotonic() + 0.02) == "done"
    await asyncio.sleep(0.05)
    assert await guarded(alarm, asyncio.sleep(0.01, "done"), time.monotonic() + 5) == "done"
    alarm.close()


async def test_alarm_set_to_a_later_deadline_rings_then():
    alarm = Alarm()
    assert await guarded(alarm, asyncio.sleep(0, "done"), time.monotonic() + 0.05) == "done"
    begun = time.monotonic()
    with pytest.raises(TimeoutError):
        await guarded(alarm, asyncio.sleep(30), begun + 0.15)
    assert time.monotonic() - begun > 0.14
    alarm.close()


async def test_alarm_lets_a_cancellation_by_others_pass():
    alarm = Alarm()
    task = asyncio.create_task(guarded(alarm, asyncio.sleep(30), time.monotonic() + 20))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    alarm.close()


async def test_alarm_keeps_silent_where_somebody_cancelled_before_it():
    alarm = Alarm()
    tidied = asyncio.Event()

    async def slow_to_end():
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            await asyncio.sleep(0.1)  # the deadline passes in here
            tidied.set()
            raise

    task = asyncio.create_task(guarded(alarm, slow_to_end(), time.monotonic() + 0.05))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert tidied.is_set()
    alarm.close()


async def tidies(log):
    try:
        await asyncio.sleep(30)
    finally:
        log.append("begin")
        for _ in range(3):
            await asyncio.sleep(0.01)
            await asyncio.sleep(0)
        log.append("end")


@pytest.mark.parametrize("cancellations", [1, 2, 5])
async def test_tidying_up_goes_to_its_end_however_often_it_is_cancelled(cancellations):
    log = []

    async def run():
        await tidily(tidies(log))

    task = asyncio.create_task(run())
    await asyncio.sleep(0.01)
    for _ in range(cancellations):
        task.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert log == ["begin", "end"]


async def test_a_cancellation_that_was_withdrawn_leaves_the_next_one_its_effect():
    async def waits():
        with anyio.move_on_after(0.01):  # cancels this task, and withdraws it
            await asyncio.sleep(30)
        await asyncio.sleep(30)

    async def run():
        await tidily(waits())

    task = asyncio.create_task(run())
    await asyncio.sleep(0.1)
    begun = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - begun < 5


async def test_tidily_passes_results_errors_and_the_end_of_a_generator_on():
    async def gives():
        await asyncio.sleep(0)
        return 3

    async def fails():
        await asyncio.sleep(0)
        raise ValueError("no")

    async def items():
        await asyncio.sleep(0)
        yield 1

    async def run(awaitable):
        return await tidily(awaitable)

    assert await run(gives()) == 3
    with pytest.raises(ValueError, match="no"):
        await run(fails())
    stream = items()
    assert await run(stream.__anext__()) == 1
    with pytest.raises(StopAsyncIteration):
        await run(stream.__anext__())


async def test_a_failed_future_raises_in_the_coroutine_that_waits_for_it():
    future = asyncio.get_running_loop().create_future()

    async def waits():
        try:
            await future
        except ValueError:
            return "heard"

    async def run():
        return await tidily(waits())

    task = asyncio.create_task(run())
    await asyncio.sleep(0)
    future.set_exception(ValueError())
    assert await task == "heard"


async def test_closing_the_waiter_closes_the_coroutine():
    closed = []

    async def waits():
        try:
            await asyncio.sleep(30)
        finally:
            closed.append(True)

    async def run():
        await tidily(waits())

    coroutine = run()
    coroutine.send(None)
    coroutine.close()
    assert closed == [True]


async def test_protected_ends_what_it_awaits_then_raises_the_cancellation():
    log = []

    async def work():
        log.append("begin")
        await asyncio.sleep(0)
        await asyncio.sleep(0.05)
        log.append("end")
        return 3

    async def run():
        log.append(await protected(work()))

    task = asyncio.create_task(run())
    await asyncio.sleep(0)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0.005)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert log == ["begin", "end"]
    assert await protected(work()) == 3
