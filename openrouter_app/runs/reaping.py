"""Runs whose process is gone: their lease ran out, or nobody ever took them up.

What the log has of them is kept: it is folded into the row, which then says ``interrupted``, or
``stopped`` where somebody had asked for that. Never asked again is the provider: a person may.
"""

from __future__ import annotations

import json
import logging
from uuid import UUID

from django.db import DatabaseError, connections, router, transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from ..database import LOST_DATABASE
from ..models import Run
from . import costs, reports
from .endings import Outcome, fields_at_end
from .events import Failed, Interrupted, LastEvent, Stopped
from .leases import GIVEN_UP, end
from .rows import events_of
from .state import RunState

log = logging.getLogger("openrouter_app.runs")

MOST = 100
"""Runs ended in one go."""


def reap(run: UUID | None = None) -> list[UUID]:
    """End every run that was given up (or this one, if it was); answers which. Synchronous."""
    lost = Run.objects.filter(GIVEN_UP, **({} if run is None else {"uuid": run}))
    return [one for one in lost.values_list("uuid", flat=True)[:MOST] if _reaped(one)]


def unlocked() -> QuerySet[Run]:
    """Runs, locked for us; without those that somebody else has locked. He may be frozen with the lock in his
    hand, and whoever looks after everybody's runs must not wait for him.
    """
    features = connections[router.db_for_write(Run)].features
    return Run.objects.select_for_update(of=("self",), skip_locked=features.has_select_for_update_skip_locked)


def _reaped(run: UUID) -> bool:
    """Whether it was ended. One that cannot be, whatever is odd about its rows, keeps no other waiting."""
    try:
        return _reap(run)
    except LOST_DATABASE:
        raise
    except Exception:
        log.exception("run %s could not be given up", run)
        return False


def _reap(run: UUID) -> bool:
    with transaction.atomic():
        found = unlocked().filter(GIVEN_UP, uuid=run)
        row = found.select_related("chain").first()
        if row is None:
            return False
        last = _verdict(row)
        ended = close_with(row, last)
    if ended:
        log.warning("run %s was given up: %s", run, type(last).__name__.lower())
        reports.ended_elsewhere(row, last, (timezone.now() - (row.started or row.created)).total_seconds())
    return ended


def _verdict(row: Run) -> LastEvent:
    if row.stop_requested_at is not None:
        return Stopped("user")
    if row.status == Run.Status.QUEUED:
        return Failed("busy", _("Nobody took this up in time. Try again later."), True)
    return Interrupted("provider", _("The server was lost in mid-answer. Try again."), True)


def close_with(row: Run, last: LastEvent) -> bool:
    """End a run that no process executes: what its log has is kept. False where it has moved on."""
    state = RunState()
    seq = 0
    try:
        for _after, reached, events in events_of(row.uuid):
            for event in events:
                state.apply(event)
            seq = reached
    except DatabaseError:
        raise
    except Exception:
        # It has to end all the same: otherwise every look would fail at it, and reach no other run.
        log.exception("the log of run %s makes no sense after event %d", row.uuid, seq)
    with transaction.atomic():
        totals = costs.close_open(row.uuid, said_since_step(state))
        if totals.cost is not None and not totals.is_told(state.usage):
            told = state.usage or {"model": "", "provider": "", "ms": 0}
            state.apply(totals.event(model=told["model"], provider=told["provider"], ms=told["ms"]))
            seq += 1
        return end(row.pk, row.fence, row.status, fields_at_end(state, seq + 1, last, Outcome()))


def said_since_step(state: RunState) -> int:
    """About how many bytes a model has said in the step that a log breaks off in."""
    size = 0
    for part in reversed(state.parts()):
        match part["type"]:
            case "step":
                break
            case "text" | "reasoning":
                size += costs.size_of(part["text"])
            case "call":
                size += costs.size_of(json.dumps(part["arguments"]))
    return size
