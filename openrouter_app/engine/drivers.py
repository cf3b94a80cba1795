"""The driver of flows in a thread: `drive`. It owns what effects opened: however a flow ends, its
connections are closed and its threads are told to stop. `engine.async_drivers` has the one for asyncio;
there is no third place where a chain is run.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Generator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from .branches import LEFT, SequentialBranches, Stop, ThreadBranches
from .connections import open_sync
from .errors import UsageError
from .flows import (
    Close,
    CloseSince,
    Effect,
    Finish,
    Flow,
    Fork,
    Invoke,
    Next,
    NoLoopHere,
    Open,
    Opened,
    Read,
    Sleep,
    TimedOut,
    Transform,
)
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
        self._opened: list[Any] = []
        self._runner: asyncio.Runner | None = None

    def perform(self, effect: Effect) -> Any:
        if self._stop.is_set():
            raise UsageError(LEFT)
        match effect:
            case Read():
                return effect.connection.read(effect.due)
            case Open():
                return self._cut_short(open_sync(effect.request, effect.due))
            case Finish():
                effect.connection.finish()
                self._forget(effect.connection)
            case Close():
                self._close(effect.opened)
            case Opened():
                return tuple(self._opened)
            case CloseSince():
                for opened in [opened for opened in self._opened if opened not in effect.mark]:
                    self._close(opened)
            case Sleep():
                self._stop.wait(effect.seconds)
            case Invoke():
                return self._invoke(effect)
            case Fork():
                if effect.here or effect.limit == 1:
                    return self._kept(SequentialBranches(effect, drive, self._stop))
                return self._cut_short(ThreadBranches(effect, drive))
            case Next():
                return effect.branches.next()
            case Transform():
                return self._kept(Transformed(effect, drive, self._stop))
        return None

    def close(self) -> None:
        """Close all that is open, whatever one of them raises."""
        with ExitStack() as closing:
            if self._runner is not None:
                closing.callback(self._runner.close)
            for opened in self._opened:
                closing.callback(self._close, opened)

    def _kept(self, opened: Any) -> Any:
        self._opened.append(opened)
        return opened

    def _cut_short(self, opened: Any) -> Any:
        """Kept, and aborted when another thread sets the stop."""
        self._stop.add(opened)
        return self._kept(opened)

    def _close(self, opened: Any) -> None:
        self._forget(opened)
        opened.close()

    def _forget(self, opened: Any) -> None:
        self._opened = [other for other in self._opened if other is not opened]
        self._stop.discard(opened)

    def _invoke(self, call: Invoke) -> Any:
        begun = time.monotonic()
        result = call.function(*call.arguments, **call.named)
        if inspect.isawaitable(result):
            return self._awaited(result, call.timeout)
        if call.timeout is not None and not call.keep_late and time.monotonic() - begun > call.timeout:
            raise TimedOut
        return result

    def _awaited(self, awaitable: Any, timeout: float | None) -> Any:
        """The result of an async function, on a loop of this flow's own."""
        from .patience import within

        if self._runner is None:
            try:
                self._runner = own_loop()
            except NoLoopHere:
                if inspect.iscoroutine(awaitable):
                    awaitable.close()  # else it warns that nobody awaited it
                raise
        return self._runner.run(within(awaitable, timeout))
