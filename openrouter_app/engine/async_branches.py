"""Flows at the same time in tasks, and generator functions over the items of a flow, on a loop."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import queue
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from functools import partial
from typing import Any

from .branches import LEFT, WAITING, Failed
from .errors import UsageError
from .flows import Flow, Fork, Transform
from .threads import Worker
from .transforms import END

Drive = Callable[[Flow], AsyncGenerator[Any, None]]


class AsyncBranches:
    """A task for each flow, as many at once as may be; where one ends the next begins."""

    def __init__(self, fork: Fork, drive: Drive) -> None:
        self._flows = iter(fork.flows)
        self._drive = drive
        self._context = contextvars.copy_context()
        self._items: asyncio.Queue[Any] = asyncio.Queue(WAITING)
        self._tasks: set[asyncio.Task[None]] = set()
        self._running = 0
        self._is_closed = False
        while self._running < fork.limit and self._begin():
            pass

    async def next(self) -> Any:
        """``(key, item)``, or None at the end."""
        while self._running:
            item = await self._items.get()
            if isinstance(item, Failed):
                raise item.error
            if item is not None:
                return item
            self._running -= 1
        return None

    async def close(self) -> None:
        """End those that still run."""
        self._is_closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self) -> bool:
        """Begin the next flow, if there is one."""
        taken = next(self._flows, None)
        if taken is None:
            return False
        self._running += 1
        task = asyncio.create_task(self._run(*taken), context=self._context.copy())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def _run(self, key: Any, flow: Flow) -> None:
        try:
            async with aclosing(self._drive(flow)) as items:
                async for item in items:
                    await self._items.put((key, item))
        except BaseException as error:  # a cancellation too, where it was not ours
            if self._is_closed:
                raise
            await self._items.put(Failed(error))
        else:
            self._begin()
        await self._items.put(None)


class AsyncTransformed:
    """On a loop. A sync generator function runs in a thread of its own."""

    def __init__(self, effect: Transform, drive: Drive) -> None:
        self._source = drive(effect.flow)
        self._made: Any
        if inspect.isasyncgenfunction(effect.function):
            self._made = effect.function(self._source)
        else:
            self._made = _InThread(effect.function, self._source)

    async def next(self) -> Any:
        """``(None, item)``, or None at the end."""
        item = await anext(self._made, END)
        return None if item is END else (None, item)

    async def close(self) -> None:
        """Leave the function, then the flow it reads."""
        try:
            await self._made.aclose()
        finally:
            await self._source.aclose()


class _InThread:
    """What a sync generator function makes of items, as an async iterator.

    Its thread waits while the next item is fetched for it, on the loop.
    """

    def __init__(self, function: Callable[[Any], Any], source: AsyncGenerator[Any, None]) -> None:
        self._source = source
        self._wishes = _Wishes(asyncio.get_running_loop())
        self._thread = Worker(getattr(function, "__name__", type(function).__name__))
        self._begin = partial(function, self._wishes)
        self._made: Iterator[Any] | None = None
        self._is_busy = False

    async def __anext__(self) -> Any:
        item = await self._run(self._next)
        if item is END:
            raise StopAsyncIteration
        return item

    async def aclose(self) -> None:
        """Leave it; a thread that is busy is not waited for."""
        self._wishes.refuse()
        if not self._is_busy:
            await self._run(self._close)
        self._thread.end()

    def _next(self) -> Any:
        if self._made is None:
            self._made = iter(self._begin())
        return next(self._made, END)

    def _close(self) -> None:
        if hasattr(self._made, "close"):
            self._made.close()  # type: ignore[union-attr]

    async def _run(self, function: Callable[[], Any]) -> Any:
        """In the thread; what it wants of the source is fetched here."""
        self._is_busy = True
        done = asyncio.ensure_future(self._thread.run(function))
        try:
            while True:
                wished = self._wishes.wished()
                await asyncio.wait({done, wished}, return_when=asyncio.FIRST_COMPLETED)
                if done.done():
                    break
                try:
                    self._wishes.grant(await anext(self._source, END))
                except Exception as error:
                    self._wishes.grant(Failed(error))
        except BaseException:
            self._wishes.refuse()
            done.cancel()
            raise
        self._is_busy = False
        return done.result()


class _Wishes:
    """The items of a flow on a loop, as an iterator for a thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._wished = loop.create_future()
        self._granted: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._is_refused = False

    # On the loop.
    def wished(self) -> asyncio.Future[None]:
        """Done when an item is wanted."""
        if self._wished.done():
            self._wished = self._loop.create_future()
        return self._wished

    def grant(self, item: Any) -> None:
        """Answer a wish."""
        self._granted.put(item)

    def refuse(self) -> None:
        """Answer every wish from now on with an error."""
        self._is_refused = True
        self._granted.put(Failed(UsageError(LEFT)))

    # In the thread.
    def __iter__(self) -> _Wishes:
        return self

    def __next__(self) -> Any:
        if self._is_refused:
            raise UsageError(LEFT)
        self._loop.call_soon_threadsafe(self._wish)
        item = self._granted.get()
        if isinstance(item, Failed):
            raise item.error
        if item is END:
            raise StopIteration
        return item

    def _wish(self) -> None:
        if not self._wished.done():
            self._wished.set_result(None)
