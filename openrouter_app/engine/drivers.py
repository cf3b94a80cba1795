"""The two drivers of flows: `drive` in a thread, `adrive` on asyncio.

They own what effects opened: however a flow ends, its connections are closed, its tasks are over.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import suppress
from typing import Any

from .branches import AsyncBranches, SequentialBranches, Stop, ThreadBranches
from .connections import AsyncConnection, Connection, open_async, open_sync
from .errors import UsageError
from .flows import Close, Effect, Finish, Flow, Fork, Invoke, Next, Open, Read, Sleep, Transform
from .patience import Alarm, protected, tidily
from .threads import run_in_thread
from .transforms import AsyncTransformed, Transformed


def drive(flow: Flow, stop: Stop | None = None) -> Generator[Any, None, None]:
    """Run a flow in this thread; iterate over its items. Closing the iterator closes its connections.

    Once another thread sets ``stop``, it ends at the next effect, and its open reads are cut short.
    """
    driver = _Driver(stop or Stop())
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
                value = driver.perform(out)
            except Exception as error:
                resume, value = flow.throw, error
    finally:
        flow.close()
        driver.close()


class _Driver:
    """What a sync flow has open, and how its effects are performed."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self._connections: list[Connection] = []
        self._branches: list[Any] = []
        self._runner: asyncio.Runner | None = None

    def perform(self, effect: Effect) -> Any:
        if self._stop.is_set():
            raise UsageError("The chain was left before its end.")
        match effect:
            case Read():
                return effect.connection.read(effect.due)
            case Open():
                connection = open_sync(effect.request, effect.due)
                self._connections.append(connection)
                self._stop.add(connection)
                return connection
            case Finish():
                effect.connection.finish()
            case Close():
                effect.connection.close()
            case Sleep():
                self._stop.wait(effect.seconds)
            case Invoke():
                return self._invoke(effect)
            case Fork():
                alone = effect.here or effect.limit == 1
                branches = SequentialBranches(effect, drive) if alone else ThreadBranches(effect, drive)
                self._branches.append(branches)
                return branches
            case Next():
                return effect.branches.next()
            case Transform():
                transformed = Transformed(effect, drive)
                self._branches.append(transformed)
                return transformed
        return None

    def close(self) -> None:
        for branches in self._branches:
            branches.close()
        for connection in self._connections:
            self._stop.discard(connection)
            connection.close()
        if self._runner is not None:
            self._runner.close()

    def _invoke(self, call: Invoke) -> Any:
        begun = time.monotonic()
        result = call.function(*call.arguments, **call.named)
        if inspect.isawaitable(result):
            return self._awaited(result, call.timeout)
        if call.timeout is not None and time.monotonic() - begun > call.timeout:
            raise TimeoutError
        return result

    def _awaited(self, awaitable: Any, timeout: float | None) -> Any:
        """The result of an async function, on a loop of this flow's own."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            pass
        else:
            if inspect.iscoroutine(awaitable):
                awaitable.close()
            raise UsageError("An event loop runs in this thread: use ainvoke or astream.")
        if self._runner is None:
            self._runner = asyncio.Runner()
        return self._runner.run(_within(awaitable, timeout))


async def adrive(flow: Flow) -> AsyncGenerator[Any, None]:
    """Run a flow on the running loop; iterate over its items. Cancelling closes its connections."""
    driver = _AsyncDriver()
    alarm = driver.alarm
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
                if type(out) is Read:  # nearly all of them
                    alarm.set(out.due)
                    value = await tidily(out.connection.next())
                    alarm.task = None
                else:
                    value = await driver.perform(out)
            except StopAsyncIteration:
                alarm.task = None
                value = b""
            except Exception as error:
                alarm.task = None
                if type(out) is Read:
                    error = out.connection.failure(error)
                resume, value = flow.throw, error
            except asyncio.CancelledError:
                if not alarm.rang():
                    raise
                resume, value = flow.throw, TimeoutError()
    finally:
        flow.close()
        await protected(driver.close())


class _AsyncDriver:
    """What a flow on a loop has open, and how its rarer effects are performed."""

    def __init__(self) -> None:
        self.alarm = Alarm()
        self._connections: list[AsyncConnection] = []
        self._branches: list[AsyncBranches | AsyncTransformed] = []

    async def perform(self, effect: Effect) -> Any:
        match effect:
            case Open():
                self.alarm.set(effect.due)
                connection = await tidily(open_async(effect.request, effect.due))
                self.alarm.task = None
                self._connections.append(connection)
                return connection
            case Finish():
                await effect.connection.finish()
            case Close():
                await effect.connection.close()
            case Sleep():
                await asyncio.sleep(effect.seconds)
            case Invoke():
                return await self._invoke(effect)
            case Fork():
                branches = AsyncBranches(effect, adrive)
                self._branches.append(branches)
                return branches
            case Next():
                return await effect.branches.next()
            case Transform():
                transformed = AsyncTransformed(effect, adrive)
                self._branches.append(transformed)
                return transformed
        return None

    async def _invoke(self, call: Invoke) -> Any:
        if inspect.iscoroutinefunction(call.function):
            return await _within(call.function(*call.arguments, **call.named), call.timeout)
        result = await _within(run_in_thread(call.function, *call.arguments, **call.named), call.timeout)
        return await _within(result, call.timeout) if inspect.isawaitable(result) else result

    async def close(self) -> None:
        self.alarm.close()
        for branches in self._branches:
            await branches.close()
        for connection in self._connections:
            with suppress(Exception):
                await connection.close()


async def _within(awaitable: Any, timeout: float | None) -> Any:
    async with asyncio.timeout(timeout):
        return await awaitable


