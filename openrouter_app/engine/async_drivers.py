"""The driver of flows on asyncio: `adrive`. A module of its own, so that what runs in threads alone does
not load asyncio.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from typing import Any

from .async_branches import AsyncBranches, AsyncTransformed
from .async_connections import open_async
from .flows import (
    Close,
    CloseSince,
    Effect,
    Finish,
    Flow,
    Fork,
    Invoke,
    Next,
    Open,
    Opened,
    Read,
    Sleep,
    Transform,
)
from .patience import Alarm, protected, resumed, tidily, within
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
            except Exception as error:
                alarm.task = None
                if not is_read:
                    failure = error
                elif isinstance(error, StopAsyncIteration):
                    value = b""
                else:
                    failure = out.connection.failure(error)
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
        self._opened: list[Any] = []

    async def perform(self, effect: Effect) -> Any:
        match effect:
            case Open():
                self.alarm.set(effect.due)
                connection = await tidily(open_async(effect.request, effect.due))
                self.alarm.task = None
                return self._kept(connection)
            case Finish():
                await tidily(effect.connection.finish())
                self._forget(effect.connection)
            case Close():
                await protected(self._close(effect.opened))
            case Opened():
                return tuple(self._opened)
            case CloseSince():
                for opened in [opened for opened in self._opened if opened not in effect.mark]:
                    await protected(self._close(opened))
            case Sleep():
                await asyncio.sleep(effect.seconds)
            case Invoke():
                return await self._invoke(effect)
            case Fork():
                return self._kept(AsyncBranches(effect, adrive))
            case Next():
                return await effect.branches.next()
            case Transform():
                return self._kept(AsyncTransformed(effect, adrive))
        return None

    async def close(self) -> None:
        """Close all that is open, whatever one of them raises."""
        self.alarm.close()
        async with AsyncExitStack() as closing:
            for opened in self._opened:
                closing.push_async_callback(self._close, opened)

    def _kept(self, opened: Any) -> Any:
        self._opened.append(opened)
        return opened

    async def _close(self, opened: Any) -> None:
        self._forget(opened)
        await opened.close()

    def _forget(self, opened: Any) -> None:
        self._opened = [other for other in self._opened if other is not opened]

    async def _invoke(self, call: Invoke) -> Any:
        if inspect.iscoroutinefunction(call.function):
            return await within(call.function(*call.arguments, **call.named), call.timeout)
        result = await within(run_in_thread(call.function, *call.arguments, **call.named), call.timeout)
        return await within(result, call.timeout) if inspect.isawaitable(result) else result
