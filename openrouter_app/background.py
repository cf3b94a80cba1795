"""One event loop in a daemon thread, for what must go on after its caller's loop has ended.

Under WSGI a request's loop ends with its answer, and a signal's receiver has none that lasts; a run that
is started there would be cut short. The loop begins when it is first needed, and in a forked process anew.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

from django.utils.translation import get_language, override

Result = TypeVar("Result")


PATIENCE = 1.0
"""Seconds that the end of a process waits for the loop to close what it holds."""


class _Loop:
    def __init__(self) -> None:
        self._beginning = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def submit(self, coroutine: Coroutine[Any, Any, Result]) -> Future[Result]:
        with self._beginning:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(
                    target=self._loop.run_forever, name="openrouter background", daemon=True
                ).start()
        return asyncio.run_coroutine_threadsafe(_speaking(get_language(), coroutine), self._loop)

    def end(self) -> None:
        """At the process's end: what was kept open on the loop, the connections to OpenRouter, is closed."""
        if self._loop is not None:
            closing = asyncio.run_coroutine_threadsafe(self._loop.shutdown_asyncgens(), self._loop)
            with suppress(Exception):
                closing.result(PATIENCE)


async def _speaking(language: str | None, coroutine: Coroutine[Any, Any, Result]) -> Result:
    """What is said to people there is said in the language that was active where it began."""
    with override(language):
        return await coroutine


_loop = _Loop()


def in_background(coroutine: Coroutine[Any, Any, Result]) -> Future[Result]:
    """Run it on the background loop, from any thread; answers its result to wait for, or to leave alone."""
    return _loop.submit(coroutine)


def _begin_anew() -> None:
    """A forked process has its parent's loop without the thread that ran it."""
    global _loop
    _loop = _Loop()


atexit.register(lambda: _loop.end())

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
