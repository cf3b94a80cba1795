"""Runs: the one service. Views, the consumer and commands call it and hold no logic of their own.

::

    run = await runs.start(Start(owner, chain="joke", input={"foo": "bears"}))
    async for update in runs.follow(owner, run):   # a Snapshot, then Ranges, until it has ended
        ...
    await runs.stop(owner, run)                     # from anywhere; leaving the loop stops nothing

A run belongs to a task of some process, never to who started it: it can be followed and stopped
from every process on the same database. To an owner whose run it is not, a run does not exist.

What happens to it stands in its log (`RunEvent`), a quarter of a second behind at most, until it has
ended; then its row says everything. The channel layer only makes the way from process to process
shorter. ``docs/reliability.md`` says what holds when something breaks.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any
from uuid import UUID, uuid4

from ..database import again_in_database_thread
from ..limits import release_orphans as release_reservations
from ..models import Owner, Run
from ..refusals import Refused, gone
from . import draining, pausing
from . import live as registry
from .conversing import NEW
from .draining import drain, is_draining, reopen
from .execution import launch, take_up
from .live import LiveRun, Range, Snapshot, Turn, Update
from .mirrors import updates_elsewhere
from .pausing import expire
from .reaping import reap
from .relay import join
from .rendered import updates_of, with_blocks
from .rows import parts_so_far, snapshot_of_row
from .settling import settle
from .slots import slots
from .starting import Prepared, Start, prepare, prepare_stored
from .stopping import request_stop, stop_everywhere
from .tending import reap_for_ever
from .watching import Place, changed, follow_conversation
from .writer import log_is_failing

__all__ = [
    "NEW",
    "Place",
    "Range",
    "Refused",
    "Snapshot",
    "Start",
    "Turn",
    "Update",
    "changed",
    "check_owner",
    "conversation_of",
    "decide",
    "decide_as_staff",
    "drain",
    "execute",
    "executing_count",
    "expire",
    "follow",
    "follow_conversation",
    "is_draining",
    "is_executing",
    "log_is_failing",
    "parts_so_far",
    "queue",
    "reap",
    "reap_for_ever",
    "release_reservations",
    "reopen",
    "settle",
    "start",
    "stop",
    "stop_everywhere",
    "stop_here",
    "unfinished_of",
    "wait",
]


async def start(request: Start) -> UUID:
    """Start a run and answer its id at once; the run goes on by itself.

    A ``client_id`` that this owner has used answers with the run of then. Raises `Refused`; a
    refused start leaves nothing behind.
    """
    beginning = asyncio.create_task(_begin(request))
    draining.begin(beginning)
    # Shielded: who asked may leave, but a row that is made must also be executed.
    return await asyncio.shield(beginning)


async def _begin(request: Start) -> UUID:
    draining.check()
    places = slots()
    places.promise()
    try:
        process = await join()
        prepared = await again_in_database_thread(prepare)(request, uuid4(), process)
        if not isinstance(prepared, Prepared):
            return prepared
        changed(prepared.about["conversation"])
        return launch(prepared).run
    finally:
        places.release_promise()


async def queue(request: Start) -> tuple[UUID, bool]:
    """Make a run for some other process to `execute`; answers its id, and whether it is new."""
    prepared = await again_in_database_thread(prepare)(request, uuid4())
    return (prepared.run, True) if isinstance(prepared, Prepared) else (prepared, False)


async def execute(run: UUID) -> None:
    """Execute a queued run here until it has ended or waits. Does nothing where it is not queued any more."""
    prepared = await again_in_database_thread(prepare_stored)(run)
    if prepared is None or registry.executing(run) is not None:
        return
    live: LiveRun | None = launch(prepared)
    while live is not None and live.task is not None:
        await asyncio.wait([live.task])
        live = registry.find(run)  # it waited, and was decided on at once


async def follow(
    owner: Owner, run: UUID, turn: Turn | None = None, *, html: bool = False
) -> AsyncGenerator[Update, None]:
    """One snapshot, then every change, until the run has ended. Raises `Refused` (``not_found``).

    A `Snapshot` in between replaces everything: the reader was too slow, or the run went to
    another process. ``turn`` is for a reader that follows many runs; ``html`` for one that wants
    finished blocks of text rendered.
    """
    status = await check_owner(owner, run)
    live = registry.find(run)
    if live is None and status in Run.FINAL:
        if (snapshot := await again_in_database_thread(snapshot_of_row)(run)) is not None:
            yield await with_blocks(snapshot) if html else snapshot
        return
    while True:
        if live is not None:
            async with aclosing(updates_of(live, turn, html=html)) as updates:
                async for update in updates:
                    yield update
                    del update  # as long as the answer, perhaps; not to be kept while nothing comes
            if not live.has_moved:
                return
        async with aclosing(updates_elsewhere(run, turn, html=html)) as updates:
            async for update in updates:
                yield update
                del update
        live = registry.find(run)
        if live is None or live.has_moved:
            return


async def stop(owner: Owner, run: UUID, *, by: str = "user") -> None:
    """Ask a run to stop; a run that has ended stays as it is. Raises `Refused` (``not_found``)."""
    await check_owner(owner, run)
    await request_stop(run, by=by)


async def decide(owner: Owner, run: UUID, call: str, *, approve: bool, reason: str = "") -> None:
    """The owner allows a call that waits, or denies it; the run goes on. The same again does nothing.

    Raises `Refused`: ``not_found``, ``decided`` (another way), ``expired``, ``forbidden``.
    """
    if await again_in_database_thread(pausing.decide)(owner, run, call, approve=approve, reason=reason):
        await take_up(run)


async def decide_as_staff(user: Any, key: UUID, *, approve: bool, reason: str = "") -> None:
    """The same by a member of the staff, for anybody's call; ``key`` is the `ToolCall`'s uuid.

    Raises `Refused` as `decide`, ``forbidden`` without the permission ``decide_toolcall``.
    """
    run = await again_in_database_thread(pausing.decide_as_staff)(user, key, approve=approve, reason=reason)
    if run is not None:
        await take_up(run)


def stop_here(run: UUID) -> None:
    """Ask a run to stop that is executed in this process, without a look at the database; others are left.

    For whoever has seen before that it is the owner who asks; `stop` has to follow.
    """
    if (live := registry.executing(run)) is not None:
        live.loop.call_soon_threadsafe(live.stop, "user")


def is_executing(run: UUID) -> bool:
    """Whether the run is being executed in this process."""
    return registry.executing(run) is not None


def executing_count() -> int:
    """How many runs this process has that have not ended."""
    return len(registry.all_executing())


async def wait(run: UUID) -> None:
    """Until a run that is executed here has ended and its row says so."""
    if (live := registry.find(run)) is not None and live.task is not None:
        await asyncio.wait([live.task])


@again_in_database_thread
def conversation_of(run: UUID) -> UUID | None:
    """The conversation a run belongs to."""
    return Run.objects.filter(uuid=run).values_list("conversation__uuid", flat=True).first()


@again_in_database_thread
def unfinished_of(owner: Owner) -> list[UUID]:
    """The owner's runs that have not ended, those that wait for a decision included."""
    unfinished = Run.objects.for_owner(owner).filter(status__in=Run.UNFINISHED)
    return list(unfinished.values_list("uuid", flat=True))


@again_in_database_thread
def check_owner(owner: Owner, run: UUID) -> str:
    """The run's status; `Refused` (``not_found``) where it is not this owner's, or is not at all."""
    mine = Run.objects.all() if owner.is_system else Run.objects.for_owner(owner)
    status = mine.filter(uuid=run).values_list("status", flat=True).first()
    if status is None:
        raise gone()
    return status
