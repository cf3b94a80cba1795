"""The driver of flows on asyncio: `adrive`. A module of its own, so that what runs in threads alone does
not load asyncio.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any

from .async_branches import AsyncBranches, AsyncTransformed
from .async_connections import AsyncConnection, open_async
from .flows import Close, Effect, Finish, Flow, Fork, Invoke, Next, Open, Read, Sleep, Transform
from .patience import Alarm, protected, resumed, tidily
from .threads import run_in_thread


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
