"""Synchronous database code, called from asyncio: in the database thread, its connection given back after.

Outside a request nobody closes old connections, so each call here does. Keep what is called short,
and whole: a transaction begins and ends inside it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar, cast

from channels.db import database_sync_to_async

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def in_database_thread(function: Callable[Parameters, Result]) -> Callable[Parameters, Awaitable[Result]]:
    """The function as a coroutine function that runs it in the database thread."""
    return cast(Callable[Parameters, Awaitable[Result]], database_sync_to_async(function))
