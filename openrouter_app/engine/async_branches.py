"""Flows at the same time in tasks, and generator functions over the items of a flow, on a loop."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

from .branches import WAITING, Failed, first_of
from .flows import Flow, Fork, Transform
from .threads import run_in_thread
from .transforms import END


class AsyncBranches:
    """Tasks, as many as there is work for, each taking one flow after another."""

    def __init__(self, fork: Fork, drive: Callable[[Flow], AsyncGenerator[Any, None]]) -> None:
        self._flows = iter(fork.flows)
        self._drive = drive
        self._items: asyncio.Queue[Any] = asyncio.Queue(WAITING)
        self._workers = [
            asyncio.create_task(self._work(first)) for first in first_of(self._flows, fork.limit)
        ]
        self._working = len(self._workers)

    async def next(self) -> Any:
        """``(key, item)``, or None at the end."""
        while self._working:
            item = await self._items.get()
            if isinstance(item, Failed):
                raise item.error
            if item is not None:
                return item
            self._working -= 1
        return None

    async def close(self) -> None:
        """End those that still run."""
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)

    async def _work(self, taken: Any) -> None:
        try:
            while taken is not None:
                key, flow = taken
                async with aclosing(self._drive(flow)) as items:
                    async for item in items:
                        await self._items.put((key, item))
                taken = next(self._flows, None)
        except Exception as error:
            await self._items.put(Failed(error))
        await self._items.put(None)


class AsyncTransformed:
    """On a loop. A sync generator function runs in threads, once all items have come."""

    def __init__(self, effect: Transform, drive: Callable[[Flow], AsyncGenerator[Any, None]]) -> None:
        self._source = drive(effect.flow)
        self._function = effect.function
        self._made: Any = None
        self._is_async = inspect.isasyncgenfunction(effect.function)
        if self._is_async:
            self._made = effect.function(self._source)

    async def next(self) -> Any:
        """``(None, item)``, or None at the end."""
        if self._is_async:
            item = await anext(self._made, END)
        else:
            if self._made is None:
                items = [item async for item in self._source]
                self._made = iter(self._function(iter(items)))
            item = await run_in_thread(next, self._made, END)
        return None if item is END else (None, item)

    async def close(self) -> None:
        """Leave the function, then the flow it reads."""
        if self._is_async:
            await self._made.aclose()
        await self._source.aclose()
