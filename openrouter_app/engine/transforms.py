"""Generator functions over the items of a flow, in a thread; and async functions there."""

from __future__ import annotations

import inspect
import sys
from collections.abc import AsyncGenerator, Coroutine, Iterator
from typing import TYPE_CHECKING, Any

from .branches import Drive, Stop
from .flows import NoLoopHere, Transform

if TYPE_CHECKING:
    import asyncio

END = object()
"""What stands for an item where there is none any more."""


def own_loop() -> asyncio.Runner:
    """A loop for async functions in a chain that is run without one.

    Raises `NoLoopHere` where this thread runs a loop already.
    """
    # a loop that runs has loaded asyncio
    if (loaded := sys.modules.get("asyncio")) is not None and loaded._get_running_loop() is not None:
        raise NoLoopHere("An event loop runs in this thread: use ainvoke, astream or abatch.")
    import asyncio

    return asyncio.Runner()


class Transformed:
    """In a thread: a sync generator function in this one, an async one on a loop of its own."""

    def __init__(self, effect: Transform, drive: Drive, stop: Stop) -> None:
        self._source = drive(effect.flow, stop)
        self._made: Iterator[Any] | _OnLoop
        if inspect.isasyncgenfunction(effect.function):
            self._made = _OnLoop(effect.function, self._source)
        else:
            self._made = iter(effect.function(self._source))

    def next(self) -> Any:
        """``(None, item)``, or None at the end."""
        item = next(self._made, END)
        return None if item is END else (None, item)

    def close(self) -> None:
        """Leave the function, then the flow it reads."""
        try:
            if hasattr(self._made, "close"):
                self._made.close()
        finally:
            self._source.close()


class _OnLoop:
    """What an async generator function makes of items, as an iterator.

    The loop stands still while the next item is fetched for it: what comes before may need one, too.
    """

    def __init__(self, function: Any, source: Iterator[Any]) -> None:
        self._source = source
        self._runner = own_loop()
        self._wish: asyncio.Future[Any] | None = None  # for an item of the source
        self._wished: asyncio.Future[None] | None = None
        self._made: AsyncGenerator[Any, None] = function(self._wishes())

    def __iter__(self) -> _OnLoop:
        return self

    def __next__(self) -> Any:
        item = self._run(_following(self._made))
        if item is END:
            raise StopIteration
        return item

    def close(self) -> None:
        try:
            self._run(self._made.aclose())
        finally:
            self._runner.close()

    async def _wishes(self) -> AsyncGenerator[Any, None]:
        import asyncio

        while True:
            self._wish = asyncio.get_running_loop().create_future()
            if self._wished is not None and not self._wished.done():
                self._wished.set_result(None)
            if (item := await self._wish) is END:
                return
            yield item

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        task = self._runner.get_loop().create_task(work)
        while True:
            self._runner.run(self._until_wished(task))
            if task.done():
                return task.result()
            wish, self._wish = self._wish, None
            if wish is not None:
                try:
                    wish.set_result(next(self._source, END))
                except Exception as error:
                    wish.set_exception(error)

    async def _until_wished(self, task: asyncio.Task[Any]) -> None:
        import asyncio

        self._wished = asyncio.get_running_loop().create_future()
        if self._wish is None:  # the task ran first, and may have wished already
            await asyncio.wait({task, self._wished}, return_when=asyncio.FIRST_COMPLETED)


async def _following(items: AsyncGenerator[Any, None]) -> Any:
    return await anext(items, END)
