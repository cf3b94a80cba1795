"""Synchronous database code, called from asyncio: in the database thread, its connection given back after.

Outside a request nobody closes old connections, so each call here does. Keep what is called short,
and whole: a transaction begins and ends inside it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import ParamSpec, TypeVar, cast

from channels.db import database_sync_to_async
from django.db import InterfaceError, InternalError, OperationalError, reset_queries

log = logging.getLogger("openrouter_app.database")

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

LOST_DATABASE = (OperationalError, InterfaceError, InternalError)
"""What says nothing about what was asked: the same may well succeed later."""


def in_database_thread(function: Callable[Parameters, Result]) -> Callable[Parameters, Awaitable[Result]]:
    """The function as a coroutine function that runs it in the database thread."""

    @wraps(function)
    def call(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        try:
            return function(*args, **kwargs)
        finally:
            reset_queries()  # with DEBUG, Django keeps each statement until a request begins

    return cast(Callable[Parameters, Awaitable[Result]], database_sync_to_async(call))


def again_in_database_thread(
    function: Callable[Parameters, Result],
) -> Callable[Parameters, Awaitable[Result]]:
    """The same, and once more where the connection was lost: for what may be done twice.

    A connection that stood for a while is closed by a server that restarts, a proxy, or an administrator;
    nobody knows before it is used.
    """
    once = in_database_thread(function)

    @wraps(function)
    async def call(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        try:
            return await once(*args, **kwargs)
        except LOST_DATABASE as error:
            log.info("the database is asked again: %s", type(error).__name__)
            return await once(*args, **kwargs)

    return call
