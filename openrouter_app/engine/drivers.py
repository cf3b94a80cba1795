"""The two drivers of flows: `drive` in a thread, `adrive` on asyncio.

They own what effects opened: however a flow ends, its connections are closed, its tasks are over.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import suppress
from typing import Any

from .branches import AsyncBranches, SequentialBranches, Stop, ThreadBranches
from .connections import AsyncConnection, Connection, open_async, open_sync
from .errors import UsageError
from .flows import Close, Effect, Finish, Flow, Fork, Invoke, Next, Open, Read, Sleep, Transform
from .patience import Alarm, protected, resumed, tidily
from .threads import run_in_thread
from .transforms import AsyncTransformed, Transformed


def drive(flow: Flow, stop: Stop | None = None) -> Generator[Any, None, None]:
    """Run a flow in this thread; iterate over its items. Closing the iterator closes its connections.

    Once another thread sets ``stop``, it ends at the next effect, and its open reads are cut short.
    """
    driver = _Driver(stop or Stop())
    value: Any = None
    failure: Exception | None = None
    try:
        while True:
            try:
                out = flow.send(value) if failure is None else flow.throw(failure)
            except StopIteration:
                return
            value = failure = None
            if not isinstance(out, Effect):
                yield out
                continue
            try:
                value = driver.perform(out)
            except Exception as error:
                failure = error
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
                self._forget(effect.connection)
            case Close():
                effect.connection.close()
                self._forget(effect.connection)
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

    def _forget(self, connection: Connection) -> None:
        self._connections.remove(connection)
        self._stop.discard(connection)

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
    send = flow.send
    value: Any = None
    failure: Exception | None = None
    try:
        while True:
            try:
                out = send(value) if failure is None else flow.throw(failure)
            except StopIteration:
                return
            value = failure = None
            is_read = type(out) is Read  # nearly all that are no items
            if not is_read and not isinstance(out, Effect):
                yield out
                continue
            try:
                if is_read:
                    awaited = out.connection.next()
                    try:
                        waiting = awaited.send(None)
                    except StopIteration as stop:  # bytes that were there already
                        value = stop.value
                    else:
                        alarm.set(out.due)
                        value = await resumed(awaited, waiting)
                        alarm.task = None
                else:
                    value = await driver.perform(out)
            except StopAsyncIteration:
                alarm.task = None
                value = b""
            except Exception as error:
                alarm.task = None
                failure = out.connection.failure(error) if is_read else error
            except asyncio.CancelledError:
                if not alarm.rang():
                    raise
                failure = TimeoutError()
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
                self._connections.remove(effect.connection)
            case Close():
                await effect.connection.close()
                self._connections.remove(effect.connection)
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
