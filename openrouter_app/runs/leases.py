"""Who may execute a run, in the database's own time: claim, renew, write, end. All of it synchronous.

A claim raises the run's ``fence``; whoever writes names the fence it was given, and a write with
an older one changes nothing. Only ``queued`` runs are claimed, and final states never change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from functools import reduce
from operator import or_
from types import MappingProxyType
from typing import Any
from uuid import UUID

import msgspec
from django.db import connections, router, transaction
from django.db.models import DateTimeField, ExpressionWrapper, F, Q
from django.db.models.functions import Coalesce, Now

from .. import limits
from ..models import ModelCall, Run, RunEvent, ToolCall
from . import costs
from .live import Batch
from .log import encode

ROWS_A_STATEMENT = 200
"""Of the log; SQLite takes no more than 999 parameters in some builds."""
_COLUMNS = ("run_id", "after", "seq", "events")

GIVEN_UP = Q(status=Run.Status.RUNNING) & (Q(lease_until__lt=Now()) | Q(lease_until=None)) | Q(
    status=Run.Status.QUEUED
) & (Q(deadline__lt=Now()) | Q(deadline=None))
"""Runs that are nobody's any more: to be reaped, whoever sees them first."""


def database_time(seconds: float = 0) -> Any:
    """The database's clock, so many seconds from now: machines need not agree on theirs."""
    return ExpressionWrapper(Now() + timedelta(seconds=seconds), output_field=DateTimeField())


def claim(run: UUID, process: str, *, fence: int, lease: float, total: float) -> int | None:
    """Take a queued run as it was under ``fence``; answers its new fence. None where it is not queued any
    more, or has been elsewhere meanwhile: then what is known of it is old.

    Asked again where nobody knows what became of the first time, it finds that the run is taken. Raises
    `Refused` where all, or this chain, was switched off meanwhile.
    """
    with transaction.atomic():
        there = Run.objects.filter(uuid=run)
        if (chain := there.values_list("chain", flat=True).first()) is not None:
            limits.check_kill_switch(chain)
        taken = there.filter(status=Run.Status.QUEUED, fence=fence).update(
            status=Run.Status.RUNNING,
            owner_process=process,
            fence=F("fence") + 1,
            lease_until=database_time(lease),
            deadline=database_time(total),
            started=Coalesce("started", Now()),
        )
        mine = there.filter(status=Run.Status.RUNNING, owner_process=process, fence=fence + 1)
        return fence + 1 if taken or mine.exists() else None


class Standing(msgspec.Struct, frozen=True):
    """What the row says of a run."""

    fence: int
    status: str
    is_stop_requested: bool

    @property
    def is_final(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.status in Run.FINAL


def write(
    batches: Mapping[int, tuple[int, Batch]],
    watched: Iterable[int],
    renew: tuple[str, float] | None = None,
    *,
    again: bool = False,
    calls: Mapping[int, tuple[int, list[ModelCall]]] = MappingProxyType({}),
) -> dict[int, Standing]:
    """One transaction for all runs of a process: their rows' standing, and their events.

    ``batches`` maps a run's primary key to the fence it was claimed with and what is new;
    ``watched`` are all runs to be looked at; ``renew`` is a process and the seconds for which its
    leases of these are renewed: that of a run it gave up may run out. Runs whose fence is another
    now, or that do not run, get no events. ``again``: nobody knows what became of the last call, so
    what it may have written is written anew. ``calls`` are the model calls of these runs that have begun or
    ended since, with the fence again. The number of statements does not depend on how many runs there are.
    """
    watched = list(watched)
    if not batches and not calls and renew is None:
        return _standing(watched)  # nothing is written, so no lock is taken
    with transaction.atomic(using=router.db_for_write(RunEvent)):
        if renew is not None:
            process, seconds = renew
            owned = Run.objects.filter(pk__in=watched, owner_process=process, status=Run.Status.RUNNING)
            owned.update(lease_until=database_time(seconds))
        standing = _standing(watched, lock=bool(batches or calls))
        running = {pk: row.fence for pk, row in standing.items() if row.status == Run.Status.RUNNING}
        mine = {pk: batch for pk, (fence, batch) in batches.items() if running.get(pk) == fence}
        if again and mine:
            written = (Q(run_id=pk, after__gte=batch.after) for pk, batch in mine.items())
            RunEvent.objects.filter(reduce(or_, written)).delete()
        _append([(pk, batch.after, batch.seq, encode(batch.events)) for pk, batch in mine.items()])
        costs.store([row for pk, (fence, rows) in calls.items() if running.get(pk) == fence for row in rows])
    return standing


def _append(rows: list[tuple[int, int, int, str]]) -> None:
    """Insert rows of the log. In SQL: it is done four times a second for every run there is, and with
    `bulk_create` a flush costs twice as much.
    """
    connection = connections[router.db_for_write(RunEvent)]
    quote = connection.ops.quote_name
    columns = ", ".join(map(quote, _COLUMNS))
    with connection.cursor() as cursor:
        for first in range(0, len(rows), ROWS_A_STATEMENT):
            some = rows[first : first + ROWS_A_STATEMENT]
            values = ", ".join(["(%s, %s, %s, %s)"] * len(some))
            cursor.execute(
                f"INSERT INTO {quote(RunEvent._meta.db_table)} ({columns}) VALUES {values}",  # noqa: S608
                [value for row in some for value in row],
            )


def _standing(runs: Iterable[int], *, lock: bool = False) -> dict[int, Standing]:
    rows = Run.objects.filter(pk__in=list(runs)).order_by("pk")
    if lock:
        rows = rows.select_for_update()
    return {
        pk: Standing(fence, status, stop is not None)
        for pk, fence, status, stop in rows.values_list("pk", "fence", "status", "stop_requested_at")
    }


def end(pk: int, fence: int, status: str, fields: dict[str, Any], calls: Sequence[costs.Called] = ()) -> bool:
    """Write a run's end and its model calls, settle what it has cost and drop its log, in one transaction.
    False where it was taken, or has ended.
    """
    with transaction.atomic():
        ended = Run.objects.filter(pk=pk, fence=fence, status=status).update(lease_until=None, **fields)
        if ended:
            RunEvent.objects.filter(run_id=pk).delete()
            if not calls:  # what is stored of one would be open for ever, and its reservation kept
                costs.close_open(Run.objects.values_list("uuid", flat=True).get(pk=pk), said=0)
            settle(pk, calls, final=True)
            if fields["status"] != Run.Status.DONE:
                _leave_calls(pk)
    return bool(ended)


def settle(pk: int, calls: Iterable[costs.Called] = (), *, final: bool) -> None:
    """Store these calls, charge what the run's row says it has cost so far, and give back what was reserved
    for it: when it ends, all but what a call may turn out to have cost that OpenRouter is still asked about.
    """
    row = Run.objects.filter(pk=pk).values_list("uuid", "cost", "cost_estimated", "model").get()
    run, cost, estimated, model = row
    costs.store([call.row(run, pk) for call in calls])
    hold = final and (estimated or cost is None) and limits.is_unsettled(run)
    limits.settle(run, cost or Decimal(0), model=model, estimated=estimated, final=final, hold=hold)


def settle_gone(run: UUID, calls: Sequence[costs.Called], earlier: costs.Totals) -> bool:
    """Charge what a run has cost whose row was deleted while it went on, with ``earlier`` calls before it
    waited; False: it is still there.
    """
    with transaction.atomic():
        if Run.objects.filter(uuid=run).exists():
            return False
        stored = ModelCall.objects.select_for_update().filter(run_uuid=run).order_by("number")
        known = {number: at is not None for number, at in stored.values_list("number", "settled_at")}
        rows = [call.row(run, None) for call in calls if not known.get(call.number)]
        if earlier.calls and min(known, default=earlier.calls + 1) > earlier.calls:
            rows.append(earlier.row(run))  # they went with it: their cost was known
        costs.store(rows)
        charge_gone(run, costs.Totals.of(stored.all()), model=calls[-1].model if calls else "")
    return True


def charge_gone(run: UUID, totals: costs.Totals, *, model: str = "") -> None:
    """Charge what a run has cost that has no row any more."""
    cost, hold = totals.cost or Decimal(0), limits.is_unsettled(run)
    limits.settle(run, cost, model=model, estimated=totals.is_estimated, hold=hold)


def _leave_calls(pk: int) -> None:
    """Of a call that was running nobody knows how far it came; others will not run any more."""
    calls = ToolCall.objects.filter(run_id=pk)
    calls.filter(status=ToolCall.Status.RUNNING).update(status=ToolCall.Status.INTERRUPTED, ended=Now())
    calls.filter(status__in=[ToolCall.Status.WAITING, ToolCall.Status.APPROVED]).update(
        status=ToolCall.Status.CANCELLED, ended=Now()
    )


def close_connections() -> None:
    """Close what this thread holds open."""
    connections.close_all()
