"""A run's row and its log, read as what a page shows: for runs that have ended, or are executed elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import msgspec
from django.db.models import BooleanField, ExpressionWrapper

from ..models import Run, RunEvent
from .conversing import PLACE, about_run
from .events import Event
from .leases import GIVEN_UP
from .live import Snapshot
from .log import decode
from .state import RunState

Row = tuple[int, int, list[Event]]
"""A row of the log: (after, seq, events)."""


class Reading(msgspec.Struct, frozen=True):
    """A run as the database has it: how it ended, or its log behind ``after``."""

    fence: int
    process: str
    after: int
    rows: list[Row]
    is_given_up: bool
    whole: Snapshot | None
    """Set once the run has ended."""


def read(run: UUID, after: int = 0, fence: int = 0) -> Reading | None:
    """What came after ``after``; everything where the fence is another than the one given. None: no such row.

    The log is read first and the row then: what ends between the two has a row that says it all.
    """
    rows = list(events_of(run, after))
    row = (
        Run.objects.filter(uuid=run)
        .annotate(is_given_up=ExpressionWrapper(GIVEN_UP, output_field=BooleanField()))
        .values_list("fence", "owner_process", "status", "is_given_up")
        .first()
    )
    if row is None:
        return None
    now, process, status, is_given_up = row
    if status in Run.FINAL:
        return Reading(now, process, after, [], False, snapshot_of_row(run))
    if after and now != fence:
        return read(run)
    return Reading(now, process, after, rows, bool(is_given_up), None)


def events_of(run: UUID, after: int = 0) -> Iterator[Row]:
    """The log behind a seq; its first row may have begun before that."""
    found = RunEvent.objects.filter(run__uuid=run, seq__gt=after).order_by("seq")
    for first, seq, text in found.values_list("after", "seq", "events"):
        yield first, seq, decode(text)


def parts_so_far(run: UUID) -> list[dict[str, Any]]:
    """The parts of a run that has not ended, as far as its log goes."""
    state = RunState()
    for _after, _seq, events in events_of(run):
        for event in events:
            state.apply(event)
    return state.parts()


def new_state_of(run: UUID) -> Callable[[], RunState] | None:
    """What makes the run's state at seq 0; None where there is no row."""
    row = Run.objects.select_related("chain", "version", *PLACE).filter(uuid=run).first()
    if row is None:
        return None
    chain, version, given, place = row.chain.slug, row.version.number, row.input, about_run(row)
    return lambda: RunState(chain=chain, version=version, input=given, about=place)


def snapshot_of_row(run: UUID) -> Snapshot | None:
    """The state the row of a run holds that has ended, None where the row is gone."""
    row = Run.objects.select_related("chain", "version", *PLACE).filter(uuid=run).first()
    return None if row is None else Snapshot(row.uuid, row.last_seq, state_of_row(row))


def _lasted(row: Run) -> int:
    """Milliseconds from a run's start to its end."""
    if row.started is None or row.ended is None:
        return 0
    return max(round((row.ended - row.started).total_seconds() * 1000), 0)


def state_of_row(row: Run) -> dict[str, Any]:
    """The protocol's state of a run that has ended; its chain, its version and its place are read."""
    state: dict[str, Any] = {
        "status": row.status,
        "chain": row.chain.slug,
        "version": row.version.number,
        **about_run(row),
        "input": row.input,
        "parts": row.parts,
    }
    if "ms" in row.private or row.cost is not None:
        state["usage"] = {
            "prompt_tokens": row.prompt_tokens or 0,
            "completion_tokens": row.completion_tokens or 0,
            "cost": None if row.cost is None else format(row.cost.normalize(), "f"),
            "estimated": row.cost_estimated,
            "model": row.model,
            "provider": row.provider,
            "ms": row.private["ms"] if "ms" in row.private else _lasted(row),
        }
    if row.status == Run.Status.DONE:
        state["reason"] = row.reason
        if row.output is not None:
            state["output"] = row.output
    if row.error_code:
        state["error"] = {"code": row.error_code, "message": row.error_message, "retryable": row.retryable}
        if "details" in row.private:
            state["error"]["details"] = row.private["details"]
    return state
