"""Generator functions over the items of a flow, in a thread; and async functions there."""

from __future__ import annotations

import inspect
import sys
from collections.abc import AsyncGenerator, Callable, Generator
from typing import TYPE_CHECKING, Any

from .errors import UsageError
from .flows import Flow, Transform

if TYPE_CHECKING:
    import asyncio

END = object()
"""What stands for an item where there is none any more."""


def own_loop() -> asyncio.Runner:
    """A loop for async functions in a chain that is run without one.

    Raises `UsageError` where this thread runs a loop already.
    """
    # a loop that runs has loaded asyncio
    if (loaded := sys.modules.get("asyncio")) is not None and loaded._get_running_loop() is not None:
        raise UsageError("An event loop runs in this thread: use ainvoke, astream or abatch.")
    import asyncio

    return asyncio.Runner()


class Transformed:
    """In a thread. An async generator function gets a loop of its own."""

    def __init__(self, effect: Transform, drive: Callable[[Flow], Generator[Any, None, None]]) -> None:
        self._source = drive(effect.flow)
        self._runner: asyncio.Runner | None = None
        if inspect.isasyncgenfunction(effect.function):
            self._runner = own_loop()
            self._made: Any = effect.function(self._as_async())
        else:
            self._made = iter(effect.function(self._source))

    async def _as_async(self) -> AsyncGenerator[Any, None]:
        for item in self._source:
            yield item

    def next(self) -> Any:
        """``(None, item)``, or None at the end."""
        made, runner = self._made, self._runner
        item = next(made, END) if runner is None else runner.run(_following(made))
        return None if item is END else (None, item)

    def close(self) -> None:
        """Leave the function, then the flow it reads."""
        if self._runner is not None:
            self._runner.run(self._made.aclose())
            self._runner.close()
        elif hasattr(self._made, "close"):
            self._made.close()
        self._source.close()


async def _following(items: AsyncGenerator[Any, None]) -> Any:
    return await anext(items, END)
