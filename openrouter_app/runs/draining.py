"""A process that shuts down: no new runs, some time for those there are, and an honest end for the rest."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from django.utils.translation import gettext as _

from ..conf import get_settings
from ..refusals import Refused
from . import live as registry

log = logging.getLogger("openrouter_app.runs")

_state = {"draining": False}
_beginnings: set[asyncio.Task[Any]] = set()


def begin(task: asyncio.Task[Any]) -> None:
    """A run is being made: a process that leaves waits for that, too, or it would be left in the queue."""
    _beginnings.add(task)
    task.add_done_callback(_beginnings.discard)


def is_draining() -> bool:
    """Whether this process takes no new runs any more."""
    return _state["draining"]


def check() -> None:
    """Raise `Refused` (``busy``) where it does not."""
    if is_draining():
        raise Refused("busy", _("This server is restarting. Try again in a moment."), {"retry_after": 1})


async def drain(seconds: float | None = None) -> None:
    """Wait for the runs of this loop, ``DRAIN_TIMEOUT`` seconds at most; the rest ends as ``interrupted``."""
    _state["draining"] = True
    here = asyncio.get_running_loop()
    until = here.time() + (get_settings().DRAIN_TIMEOUT if seconds is None else seconds)
    if beginning := {task for task in _beginnings if task.get_loop() is here}:
        # Longer than the runs themselves, if need be: a row that is left in the queue waits for its deadline.
        await asyncio.wait(beginning, timeout=max(until - here.time(), get_settings().DATABASE_PATIENCE))
    tasks = {live.task for live in registry.all_executing() if live.loop is here and live.task is not None}
    if not tasks:
        return
    log.info("%d runs are given time to end", len(tasks))
    _ended, left = await asyncio.wait(tasks, timeout=max(until - here.time(), 0))
    await asyncio.sleep(0)  # a task that has not begun would be cancelled without a word of what it was for
    for task in left:
        task.cancel()
    if left:
        log.warning("%d runs were cut short", len(left))
        await asyncio.wait(left, timeout=get_settings().DATABASE_PATIENCE)


def reopen() -> None:
    """Take new runs again; for a server that is started anew in the same process."""
    _state["draining"] = False
