"""What a server looks after all the time, whoever's runs they are: given up, overdue, or waiting to go on."""

from __future__ import annotations

import asyncio
import logging

from ..conf import get_settings
from ..database import in_database_thread
from .execution import take_up
from .pausing import expire, woken
from .reaping import reap

log = logging.getLogger("openrouter_app.runs")


async def reap_for_ever() -> None:
    """Look every ``REAP_INTERVAL`` seconds, at once to begin with, until cancelled."""
    while True:
        for look in (_reap, _expire, _take_up_woken):
            try:
                await look()
            except Exception:
                log.exception("runs that nobody has could not be looked for")
        await asyncio.sleep(get_settings().REAP_INTERVAL)


async def _reap() -> None:
    await in_database_thread(reap)()


async def _expire() -> None:
    await in_database_thread(expire)()


async def _take_up_woken() -> None:
    """Go on with runs that were decided on where nobody did: a command, or a process that is gone."""
    for run in await in_database_thread(woken)():
        await take_up(run)
