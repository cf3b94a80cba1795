"""What a server looks after all the time, whoever's runs they are: given up, overdue, waiting to go on, or
ended with a cost that is not known for certain.
"""

from __future__ import annotations

import asyncio
import logging

from .. import limits
from ..conf import get_settings
from ..database import in_database_thread
from .execution import take_up
from .pausing import expire, woken
from .reaping import reap
from .settling import settle

log = logging.getLogger("openrouter_app.runs")


async def reap_for_ever() -> None:
    """Look every ``REAP_INTERVAL`` seconds, at once to begin with, until cancelled."""
    settling: asyncio.Task[None] | None = None
    try:
        while True:
            for look in (_reap, _expire, _take_up_woken):
                try:
                    await look()
                except Exception:
                    log.exception("runs that nobody has could not be looked for")
            if settling is None or settling.done():  # it waits for OpenRouter: nothing else may wait for it
                settling = asyncio.create_task(_settle(), name="openrouter settling")
            await asyncio.sleep(get_settings().REAP_INTERVAL)
    finally:
        if settling is not None:
            settling.cancel()
            await asyncio.wait([settling])


async def _reap() -> None:
    await in_database_thread(_reaped)()


def _reaped() -> None:
    reap()
    limits.release_orphans()  # a belt: whoever ends a run gives back what it had reserved
    limits.forget_hits()


async def _expire() -> None:
    await in_database_thread(expire)()


async def _settle() -> None:
    try:
        await settle()
    except Exception:
        log.exception("what ended runs have cost could not be looked for")


async def _take_up_woken() -> None:
    """Go on with runs that were decided on where nobody did: a command, or a process that is gone."""
    for run in await in_database_thread(woken)():
        await take_up(run)
