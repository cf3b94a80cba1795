"""The row of a run at its end: everything that a page may ask for later, and what only staff see."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
from django.db.models import Value
from django.db.models.functions import Coalesce, Now
from django.utils import timezone

from ..models import Run
from .costs import Called, Totals, money
from .events import Failed, Finished, Interrupted, LastEvent, Stopped
from .state import RunState

_STATUS = {
    Finished: Run.Status.DONE,
    Stopped: Run.Status.STOPPED,
    Failed: Run.Status.FAILED,
    Interrupted: Run.Status.INTERRUPTED,
}


class Outcome(msgspec.Struct):
    """What the row keeps beside the state."""

    begun: datetime | None = None
    first_token: datetime | None = None
    calls: list[Called] = []
    """The model calls of this execution, the last one perhaps not ended."""
    earlier: Totals = Totals()
    """Of those before it waited."""
    detail: str = ""
    is_lost: bool = False
    """No database takes what was said: the row has the end alone."""

    @property
    def totals(self) -> Totals:
        """Of all model calls of the run so far."""
        return Totals.of(self.calls, self.earlier)

    @property
    def call(self) -> Called | None:
        """The last call."""
        return self.calls[-1] if self.calls else None


def status_of(last: LastEvent) -> str:
    """The final status a last event stands for."""
    return _STATUS[type(last)]


def fields_at_end(
    state: RunState, seq: int, last: LastEvent, outcome: Outcome, *, parts: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    """The row's fields: ``state`` is that before ``last``, event ``seq``. ``parts`` replace the state's."""
    private: dict[str, Any] = {}
    fields: dict[str, Any] = {
        "status": status_of(last),
        "ended": timezone.now(),
        "last_seq": seq,
        "parts": state.parts_at_end() if parts is None else parts,
        "private": private,
        "error_detail": outcome.detail,
        **fields_of_usage(state, outcome),
    }
    if state.usage is not None and parts is None:
        private["ms"] = state.usage["ms"]
    match last:
        case Finished(reason, output):
            fields.update(reason=reason, output=output)
        case Stopped(by):
            fields.update(reason=by, stop_requested_at=Coalesce("stop_requested_at", Now()))
        case Failed() | Interrupted():
            fields.update(error_code=last.code, error_message=last.message, retryable=last.retryable)
    if isinstance(last, Failed) and last.details:
        private["details"] = last.details
    return fields


def fields_of_usage(state: RunState, outcome: Outcome) -> dict[str, Any]:
    """Of the row's fields those that say what it has cost so far, and whom it was asked of."""
    fields: dict[str, Any] = {}
    if outcome.first_token is not None:
        fields["first_token"] = Coalesce("first_token", Value(outcome.first_token))
    if (call := outcome.call) is not None:
        fields.update(generation_id=call.generation_id, model=call.model, provider=call.provider)
    if (usage := state.usage) is not None:  # the row says what its events said
        names = ("prompt_tokens", "completion_tokens", "model", "provider")
        fields.update({name: usage[name] for name in names}, cost_estimated=usage["estimated"])
        fields["cost"] = None if usage["cost"] is None else money(Decimal(usage["cost"]))
    return fields
