"""A flow is written once and driven twice.

A flow is a generator. It yields *items*, which are for whoever reads the chain, and *effects*,
which are for the driver: open a connection, read from it. The driver performs an effect and sends
its result in, or throws its error in. `drive` does so without a loop, `adrive` on asyncio; there is
no third place where a chain is run. (httpx's ``auth_flow`` has the same shape.)

The drivers own what effects opened: however a flow ends, its connections are closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable
from typing import Any, cast

from .client import AsyncConnection, Connection, Request, open_async, open_sync

Flow = Generator[Any, Any, None]


class Effect:
    """What a flow asks its driver for; everything else it yields is an item."""

    __slots__ = ()


class Open(Effect):
    """Effect: send the request. Its result is the connection, with status and headers read.

    ``due`` (`time.monotonic`, seconds) is when the driver throws a `TimeoutError` in instead.
    """

    __slots__ = ("due", "request")

    def __init__(self, request: Request, due: float) -> None:
        self.request = request
        self.due = due


class Read(Effect):
    """Effect: the next bytes of a connection, ``b""`` at its end. ``due`` as for `Open`."""

    __slots__ = ("connection", "due")

    def __init__(self, connection: Any, due: float) -> None:
        self.connection = connection
        self.due = due


class Finish(Effect):
    """Effect: the answer is complete; leave the connection ready for the next one where it can be."""

    __slots__ = ("connection",)

    def __init__(self, connection: Any) -> None:
        self.connection = connection


def pump(flow: Flow, take: Callable[[Any], Iterable[Any]]) -> Flow:
    """Run ``flow`` inside another flow: its effects pass through, its items go through ``take``."""
    resume: Callable[[Any], Any] = flow.send
    value: Any = None
    try:
        while True:
            try:
                out = resume(value)
            except StopIteration:
                return
            resume, value = flow.send, None
            if isinstance(out, Effect):
                try:
                    value = yield out
                except Exception as error:
                    resume, value = flow.throw, error
            else:
                yield from take(out)
    finally:
        flow.close()


def collected(flow: Flow) -> Generator[Any, Any, list[Any]]:
    """Every item of a flow, as a list, once it has ended: ``items = yield from collected(flow)``."""
    items: list[Any] = []

    def take(item: Any) -> Iterable[Any]:
        items.append(item)
        return ()

    yield from pump(flow, take)
    return items


def drive(flow: Flow) -> Generator[Any, None, None]:
    """Run a flow in this thread; iterate over its items. Closing the iterator closes its connections."""
    connections: list[Connection] = []
    resume: Callable[[Any], Any] = flow.send
    value: Any = None
    try:
        while True:
            try:
                out = resume(value)
            except StopIteration:
                return
            resume, value = flow.send, None
            if not isinstance(out, Effect):
                yield out
                continue
            try:
                match out:
                    case Read():
                        value = out.connection.read()
                    case Open():
                        value = open_sync(out.request)
                        connections.append(value)
                    case Finish():
                        out.connection.finish()
            except Exception as error:
                resume, value = flow.throw, error
    finally:
        flow.close()
        for connection in connections:
            connection.close()


async def adrive(flow: Flow) -> AsyncGenerator[Any, None]:
    """Run a flow on the running loop; iterate over its items. Cancelling closes its connections."""
    connections: list[AsyncConnection] = []
    alarm = _Alarm()
    resume: Callable[[Any], Any] = flow.send
    value: Any = None
    try:
        while True:
            try:
                out = resume(value)
            except StopIteration:
                return
            resume, value = flow.send, None
            if not isinstance(out, Effect):
                yield out
                continue
            try:
                match out:
                    case Read():
                        value = await alarm.guard(out.connection.read(), out.due)
                    case Open():
                        value = await alarm.guard(open_async(out.request), out.due)
                        connections.append(value)
                    case Finish():
                        await out.connection.finish()
            except Exception as error:
                resume, value = flow.throw, error
    finally:
        flow.close()
        alarm.close()
        for connection in connections:
            # Shielded: a second cancellation must not leave the socket open.
            await asyncio.shield(connection.close())


class _Alarm:
    """Deadlines for one await after another, with one timer for all of them.

    `asyncio.timeout` would make and cancel a timer for each chunk of a stream; this one is set again
    only when it rings too early.
    """

    __slots__ = ("_due", "_loop", "_rang", "_task", "_timer")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[Any] | None = None
        self._due = 0.0
        self._rang = False

    async def guard(self, awaitable: Awaitable[Any], due: float) -> Any:
        """Await it until ``due``, then raise TimeoutError. A cancellation by others passes through."""
        self._task = task = cast("asyncio.Task[Any]", asyncio.current_task())
        self._due = due
        cancelling = task.cancelling()
        if self._timer is None or due < self._timer.when():
            self._set()
        try:
            return await awaitable
        except asyncio.CancelledError:
            if self._rang and task.uncancel() <= cancelling:
                raise TimeoutError from None
            raise
        finally:
            self._task = None
            self._rang = False

    def close(self) -> None:
        """Ring no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _set(self) -> None:
        self.close()
        self._timer = self._loop.call_at(self._due, self._ring)

    def _ring(self) -> None:
        self._timer = None
        if self._task is None:
            return  # nobody waits; the next one sets it again
        if self._loop.time() < self._due:
            self._set()
        else:
            self._rang = True
            self._task.cancel()
