"""Stop a run, whoever executes it: here, in another process, or nobody yet."""

from __future__ import annotations

from uuid import UUID

from django.db import transaction
from django.utils import timezone

from ..database import again_in_database_thread
from ..models import Run
from . import live as registry
from . import reports
from .events import Stopped
from .reaping import close_with
from .relay import relay


async def request_stop(run: UUID, *, by: str = "user") -> None:
    """Ask for it in the row, and tell who executes it. What nobody executes is ended at once."""
    live = registry.executing(run)
    if live is not None:
        # first: a stop must not wait for the database
        live.loop.call_soon_threadsafe(live.stop, by)
    owner = await again_in_database_thread(_request)(run, by)
    if live is None and owner:
        await relay().ask_to_stop(owner, run, by)


def _request(run: UUID, by: str) -> str:
    """Note the request; answers the process that has the run, "" where there is nobody to be told."""
    unfinished = Run.objects.filter(uuid=run, status__in=Run.UNFINISHED)
    with transaction.atomic():
        row = unfinished.select_for_update(of=("self",)).select_related("chain").first()
        if row is None:
            return ""
        if row.stop_requested_at is None:
            unfinished.update(stop_requested_at=timezone.now())
        if row.status == Run.Status.RUNNING:
            return row.owner_process
        # What waits is executed by nobody, though the process that has put it down may not know that yet.
        if row.status == Run.Status.WAITING or registry.executing(run) is None:
            last = Stopped(by)
            if close_with(row, last):
                seconds = (timezone.now() - row.created).total_seconds()
                transaction.on_commit(lambda: reports.ended_elsewhere(row, last, seconds))
    return ""


async def stop_everywhere(runs: list[UUID]) -> None:
    """Stop many, as ``manage.py openrouter_stop`` does."""
    for run in runs:
        await request_stop(run)
