"""Awaiting what others wrote: until a deadline, and without cutting off its tidying up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Generator
from types import coroutine
from typing import Any

from .flows import Cancelled, TimedOut


class Alarm:
    """Deadlines for one await after another, with one timer for all of them.

    `asyncio.timeout` would make and cancel a timer for each chunk of a stream; this one is set again
    only when a deadline comes nearer, or when it rings too early. ``set(due)`` (`time.monotonic`)
    before the await, ``task = None`` after it; a `CancelledError` is a deadline that has passed where
    ``rang()`` says so.
    """

    __slots__ = ("_cancelling", "_due", "_loop", "_rang", "_timer", "_when", "task")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._when = float("inf")
        self._due = 0.0
        self._rang = False
        self._cancelling = 0
        self.task: asyncio.Task[Any] | None = None

    def set(self, due: float) -> None:
        """The task that runs now is going to wait, until ``due`` at most."""
        self.task = task = asyncio.current_task(self._loop)
        self._cancelling = task.cancelling() if task is not None else 0
        self._due = due
        if due < self._when:
            self._start()

    def rang(self) -> bool:
        """Whether the cancellation that has just come is ours, and only ours."""
        task, self.task = self.task, None
        rang, self._rang = self._rang, False
        return rang and task is not None and task.uncancel() <= self._cancelling

    def close(self) -> None:
        """Ring no more."""
        if self._timer is not None:
            self._timer.cancel()
        self._when = float("inf")

    def _start(self) -> None:
        self.close()
        self._when = self._due
        self._timer = self._loop.call_later(max(self._due - time.monotonic(), 0), self._ring)

    def _ring(self) -> None:
        self._timer, self._when = None, float("inf")
        task = self.task
        if task is None:
            return  # nobody waits; the next one sets it again
        if time.monotonic() < self._due:
            self._start()
        elif task.cancelling() <= self._cancelling:  # else somebody was faster
            self._rang = True
            task.cancel()


async def within(awaitable: Any, timeout: float | None) -> Any:
    """What a function of somebody's answers, awaited for so many seconds at most.

    Raises `TimedOut`, and `Cancelled` where it ends in a cancellation that was not meant for this task.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task is not None else 0
    patience = asyncio.timeout(timeout)
    try:
        async with patience:
            return await awaitable
    except TimeoutError:
        if patience.expired():
            raise TimedOut from None
        raise
    except asyncio.CancelledError as error:
        if task is None or task.cancelling() > before:
            raise
        raise Cancelled("A function awaited something that was cancelled.") from error


async def tidily(awaited: Any) -> Any:
    """Await a coroutine; when cancelled, let it tidy up undisturbed, however often cancelling is repeated.

    httpcore gives a connection back to its pool in several awaits. A second cancellation between
    them would leave the slot taken for ever. A cancellation that is withdrawn (anyio's timeouts
    cancel, catch and withdraw) leaves the coroutine open to the next one.
    """
    try:
        waiting = awaited.send(None)
    except StopIteration as stop:
        return stop.value
    return await resumed(awaited, waiting)


@coroutine
def resumed(awaited: Any, waiting: Any) -> Generator[Any, Any, Any]:
    """`tidily` for a coroutine that has been begun: ``waiting`` is what its first ``send`` answered."""
    send, throw = awaited.send, awaited.throw
    task: asyncio.Task[Any] | None = None
    withdrawn = 0
    try:
        while True:
            try:
                yield waiting
            except GeneratorExit:
                awaited.close()
                raise
            except asyncio.CancelledError as error:
                task = asyncio.current_task()
                withdrawn = max(task.cancelling() - 1, 0) if task is not None else 0
                waiting = throw(error)
            except BaseException as error:
                waiting = throw(error)
            else:
                waiting = send(None)
            while task is not None:
                if task.cancelling() <= withdrawn:
                    task = None
                    break
                yield from _settled(waiting)
                waiting = send(None)
    except StopIteration as stop:
        return stop.value


@coroutine
def protected(awaited: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """Await a coroutine to its end whatever happens, then raise the cancellation that came meanwhile."""
    cancelled: asyncio.CancelledError | None = None
    try:
        while True:
            cancelled = (yield from _settled(awaited.send(None))) or cancelled
    except StopIteration as stop:
        if cancelled is not None:
            raise cancelled from None
        return stop.value


def _settled(waiting: Any) -> Generator[Any, Any, asyncio.CancelledError | None]:
    """Wait until what a coroutine waits for has come, whoever cancels; the last cancellation, if any."""
    cancelled: asyncio.CancelledError | None = None
    if waiting is None:
        try:
            yield
        except asyncio.CancelledError as error:
            cancelled = error
        return cancelled
    waiting._asyncio_future_blocking = False
    while not waiting.done():
        # not the future itself: cancelling the task would cancel that too
        woken = asyncio.get_running_loop().create_future()
        waiting.add_done_callback(lambda _, woken=woken: woken.done() or woken.set_result(None))
        try:
            yield from woken
        except asyncio.CancelledError as error:
            cancelled = error
    return cancelled
