"""A function in a thread of its own, awaited.

Not the loop's executor: that has a few threads for everything, so that a handful of stuck tools would
stop name resolution for the whole process; and it is joined at exit.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any


async def run_in_thread(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """What ``function(*arguments, **named)`` returns or raises, with this task's context variables.

    Cancelled, the await ends at once; the thread runs on, and its result is dropped.
    """
    loop = asyncio.get_running_loop()
    result: asyncio.Future[Any] = loop.create_future()
    context = contextvars.copy_context()

    def tell(error: BaseException | None, value: Any) -> None:
        if result.done():
            return
        if error is None:
            result.set_result(value)
        elif isinstance(error, StopIteration):  # a future cannot carry it
            result.set_exception(RuntimeError("the function raised StopIteration"))
        else:
            result.set_exception(error)

    def run() -> None:
        error, value = None, None
        try:
            value = context.run(function, *arguments, **named)
        except BaseException as raised:
            error = raised
        with suppress(RuntimeError):  # the loop may be closed by now
            loop.call_soon_threadsafe(tell, error, value)

    name = getattr(function, "__name__", type(function).__name__)
    threading.Thread(target=run, name=f"openrouter {name}", daemon=True).start()
    return await result
