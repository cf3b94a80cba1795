"""Runs: the one service. Views, the consumer and commands call it and hold no logic of their own.

::

    run = await runs.start(Start(owner, chain="joke", input={"foo": "bears"}))
    async for update in runs.follow(owner, run):   # a Snapshot, then Ranges, until it has ended
        ...
    await runs.stop(owner, run)                     # from anywhere; leaving the loop stops nothing

A run belongs to a task of this process, never to who started it. To an owner whose run it is not,
a run does not exist.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from uuid import UUID

from django.utils import timezone
from django.utils.translation import gettext as _

from ..database import in_database_thread
from ..models import Owner, Run
from . import live as registry
from .execution import launch
from .live import Range, Snapshot, Update, row_updates
from .refusals import Refused
from .rows import snapshot_of_row
from .starting import Prepared, Start, prepare

__all__ = [
    "Range",
    "Refused",
    "Snapshot",
    "Start",
    "Update",
    "check_owner",
    "follow",
    "is_executing",
    "start",
    "stop",
    "wait",
]


async def start(request: Start) -> UUID:
    """Start a run and answer its id at once; the run goes on by itself.

    A ``client_id`` that this owner has used answers with the run of then. Raises `Refused`; a
    refused start leaves nothing behind.
    """
    beginning = asyncio.create_task(_begin(request))
    _beginnings.add(beginning)
    beginning.add_done_callback(_beginnings.discard)
    # Shielded: who asked may leave, but a row that is made must also be executed.
    return await asyncio.shield(beginning)


_beginnings: set[asyncio.Task[UUID]] = set()


async def _begin(request: Start) -> UUID:
    prepared = await in_database_thread(prepare)(request)
    return launch(prepared).run if isinstance(prepared, Prepared) else prepared


async def follow(owner: Owner, run: UUID) -> AsyncGenerator[Update, None]:
    """One snapshot, then every change, until the run has ended. Raises `Refused` (``not_found``)."""
    await check_owner(owner, run)
    if (live := registry.find(run)) is not None:
        updates = live.updates()
    else:
        updates = row_updates(in_database_thread(lambda: snapshot_of_row(run)))
    async with aclosing(updates) as changes:
        async for update in changes:
            yield update


async def stop(owner: Owner, run: UUID, *, by: str = "user") -> None:
    """Ask a run to stop; a run that has ended stays as it is. Raises `Refused` (``not_found``)."""
    await check_owner(owner, run)
    await _request_stop(run)
    if (live := registry.executing(run)) is not None:
        live.loop.call_soon_threadsafe(live.stop, by)


def is_executing(run: UUID) -> bool:
    """Whether the run is being executed in this process."""
    return registry.executing(run) is not None


async def wait(run: UUID) -> None:
    """Until a run that is executed here has ended and its row says so."""
    if (live := registry.find(run)) is not None and live.task is not None:
        await asyncio.wait([live.task])


@in_database_thread
def _request_stop(run: UUID) -> None:
    unfinished = Run.objects.filter(uuid=run, stop_requested_at=None).exclude(status__in=Run.FINAL)
    unfinished.update(stop_requested_at=timezone.now())


@in_database_thread
def check_owner(owner: Owner, run: UUID) -> None:
    """Raise `Refused` (``not_found``) where the run is not this owner's, or is not at all."""
    mine = Run.objects.all() if owner.is_system else Run.objects.for_owner(owner)
    if not mine.filter(uuid=run).exists():
        raise Refused("not_found", _("There is no such run."))
