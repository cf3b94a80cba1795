"""Generator functions over the items of a flow, on both drivers."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any

from .errors import UsageError
from .flows import Flow, Transform
from .threads import run_in_thread

_END = object()


class Transformed:
    """In a thread. An async generator function gets a loop of its own."""

    def __init__(self, effect: Transform, drive: Callable[[Flow], Generator[Any, None, None]]) -> None:
        self._source = drive(effect.flow)
        self._runner: asyncio.Runner | None = None
        if inspect.isasyncgenfunction(effect.function):
            if asyncio._get_running_loop() is not None:
                raise UsageError("An event loop runs in this thread: use astream or ainvoke.")
            self._runner = asyncio.Runner()
            self._made: Any = effect.function(self._as_async())
        else:
            self._made = iter(effect.function(self._source))

    async def _as_async(self) -> AsyncGenerator[Any, None]:
        for item in self._source:
            yield item

    def next(self) -> Any:
        """``(None, item)``, or None at the end."""
        if self._runner is None:
            item = next(self._made, _END)
        else:
            item = self._runner.run(_following(self._made))
        return None if item is _END else (None, item)

    def close(self) -> None:
        """Leave the function, then the flow it reads."""
        if self._runner is not None:
            self._runner.run(self._made.aclose())
            self._runner.close()
        elif hasattr(self._made, "close"):
            self._made.close()
        self._source.close()


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
            item = await anext(self._made, _END)
        else:
            if self._made is None:
                items = [item async for item in self._source]
                self._made = iter(self._function(iter(items)))
            item = await run_in_thread(next, self._made, _END)
        return None if item is _END else (None, item)

    async def close(self) -> None:
        """Leave the function, then the flow it reads."""
        if self._is_async:
            await self._made.aclose()
        await self._source.aclose()


async def _following(items: AsyncGenerator[Any, None]) -> Any:
    return await anext(items, _END)
