"""The ASGI application for a server's start and end. Mount it beside the two others::

    from openrouter_app.routing import lifespan_application, websocket_application

    application = ProtocolTypeRouter(
        {"http": http, "websocket": websocket_application, "lifespan": lifespan_application}
    )

At the start it ends the runs that an earlier process left behind, and goes on to look for such;
at the end it lets the runs of this process go on for ``DRAIN_TIMEOUT`` seconds and closes the
connections to OpenRouter. Without it everything works but these: a server that ends takes its
runs with it, runs of a lost process end when somebody looks at them, and calls that nobody decided on in
time wait for ``manage.py openrouter_reap``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from . import runs
from .engine import client
from .runs import notices

log = logging.getLogger("openrouter_app.runs")

Message = dict[str, Any]


async def lifespan_application(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[Message]],
    send: Callable[[Message], Awaitable[None]],
) -> None:
    """`Lifespan <https://asgi.readthedocs.io/en/latest/specs/lifespan.html>`_ of one server process."""
    reaper: asyncio.Task[None] | None = None
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            runs.reopen()
            reaper = asyncio.create_task(runs.reap_for_ever(), name="openrouter reaper")
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            try:
                await _shut_down(reaper)
            except Exception:
                log.exception("the runs of this process could not be ended well")
            await send({"type": "lifespan.shutdown.complete"})
            return


async def _shut_down(reaper: asyncio.Task[None] | None) -> None:
    if reaper is not None:
        reaper.cancel()
        with suppress(asyncio.CancelledError):
            await reaper
    await runs.drain()
    await client.aclose()
    # Receivers of signals may need what an ending interpreter has not got any more.
    await asyncio.to_thread(notices.settled, notices.AT_EXIT)
