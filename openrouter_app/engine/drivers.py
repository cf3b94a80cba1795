"""The driver of flows in a thread: `drive`. It owns what effects opened: however a flow ends, its
connections are closed and its threads are told to stop. `engine.async_drivers` has the one for asyncio;
there is no third place where a chain is run.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from .branches import SequentialBranches, Stop, ThreadBranches
from .connections import Connection, open_sync
from .errors import UsageError
from .flows import Close, Effect, Finish, Flow, Fork, Invoke, Next, Open, Read, Sleep, Transform
from .transforms import Transformed, own_loop

if TYPE_CHECKING:
    import asyncio


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
        if self._runner is None:
            try:
                self._runner = own_loop()
            except UsageError:
                if inspect.iscoroutine(awaitable):
                    awaitable.close()  # else it warns that nobody awaited it
                raise
        return self._runner.run(_within(awaitable, timeout))


async def _within(awaitable: Any, timeout: float | None) -> Any:
    import asyncio

    async with asyncio.timeout(timeout):
        return await awaitable
