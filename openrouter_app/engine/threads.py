"""Functions in threads of their own, awaited.

Not the loop's executor: that has a few threads for everything, so that a handful of stuck tools would
stop name resolution for the whole process; and it is joined at exit.
"""

from __future__ import annotations

import contextvars
import logging
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

log = logging.getLogger("openrouter_app.threads")

_at_end: list[Callable[[], object]] = []


def at_thread_end(function: Callable[[], object]) -> None:
    """Call this at the end of each thread of the engine, in it: to close what is kept for each thread."""
    _at_end.append(function)


def end_thread() -> None:
    """What a thread of the engine calls last."""
    for function in _at_end:
        try:
            function()
        except Exception:
            log.exception("what closes something at a thread's end failed")


class Worker:
    """A daemon thread that calls one function after another: ``await worker.run(function)``, ``end()``."""

    def __init__(self, name: str) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        threading.Thread(target=self._work, name=f"openrouter {name}", daemon=True).start()

    async def run(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Any:
        """What ``function(*arguments, **named)`` returns or raises, with this task's context variables.

        Cancelled, the await ends at once; the thread runs on, and its result is dropped.
        """
        import asyncio  # not before there is a loop: branches that are threads need none

        loop = asyncio.get_running_loop()
        result: asyncio.Future[Any] = loop.create_future()
        call = partial(contextvars.copy_context().run, function, *arguments, **named)
        self._jobs.put(partial(_told, call, loop, result))
        return await result

    def end(self) -> None:
        """End the thread, once it has done what it was given."""
        self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
            del job  # it holds what it returned
        end_thread()


async def run_in_thread(function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Any:
    """`Worker.run`, in a thread for this call alone."""
    worker = Worker(getattr(function, "__name__", type(function).__name__))
    try:
        return await worker.run(function, *arguments, **named)
    finally:
        worker.end()


def _told(call: Callable[[], Any], loop: asyncio.AbstractEventLoop, result: asyncio.Future[Any]) -> None:
    """Call, and say on the loop what came of it."""
    error, value = None, None
    try:
        value = call()
    except BaseException as raised:
        error = raised
    with suppress(RuntimeError):  # the loop may be closed by now
        loop.call_soon_threadsafe(_settle, result, error, value)


def _settle(result: asyncio.Future[Any], error: BaseException | None, value: Any) -> None:
    if result.done():
        return
    if error is None:
        result.set_result(value)
    elif isinstance(error, StopIteration):  # a future cannot carry it
        result.set_exception(RuntimeError("the function raised StopIteration"))
    else:
        result.set_exception(error)
