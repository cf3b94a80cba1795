"""A run that a test owns, with its writer: for what a flush does, without a provider."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from asgiref.sync import sync_to_async

from openrouter_app.models import Run, RunEvent
from openrouter_app.runs import leases
from openrouter_app.runs.live import LiveRun
from openrouter_app.runs.log import decode
from openrouter_app.runs.writer import Writer
from tests.factories import make_run
from tests.followers import parts_of, until
from tests.run_logs import new_state


@asynccontextmanager
async def owned() -> AsyncIterator[tuple[LiveRun, Writer]]:
    """A run that is executed here, and its writer; nobody flushes but the test."""
    row = await sync_to_async(make_run)("running", owner_process="me")
    live = LiveRun(row.uuid, row.pk, new_state())
    live.fence = row.fence
    writer = Writer()
    writer.process = "me"
    writer._runs[live.pk] = live
    yield live, writer
    await asyncio.wrap_future(writer._thread.submit(leases.close_connections))
    writer._thread.shutdown()


async def says(run: UUID, text: str) -> None:
    """Wait until the run, which is executed here, has said this."""
    await until(lambda: any(part.get("text") == text for part in parts_of(run)))


@sync_to_async
def log_of(run: UUID) -> list[tuple[int, int, list[Any]]]:
    """The rows of the run's log."""
    rows = RunEvent.objects.filter(run__uuid=run).order_by("seq")
    return [(row.after, row.seq, decode(row.events)) for row in rows]


@sync_to_async
def row_of(run: UUID) -> Run:
    """The run as the database has it."""
    return Run.objects.get(uuid=run)
