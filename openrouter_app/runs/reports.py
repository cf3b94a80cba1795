"""What receivers of `openrouter_app.signals` are told of a run that is executed here, or was reaped."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from ..models import Run
from ..signals import run_started
from .endings import Outcome, status_of
from .events import LastEvent
from .live import LiveRun
from .notices import BY_STATUS, notify


def started(live: LiveRun) -> None:
    """It runs."""
    facts = {"run": live.run, "chain": live.state.chain, "status": Run.Status.RUNNING, "origin": live.origin}
    notify(run_started, **facts)


def ended(live: LiveRun, outcome: Outcome, last: LastEvent, seconds: float) -> None:
    """It has ended, and its row says the same."""
    call, usage = outcome.call, live.state.usage
    waited: float | None = None
    if outcome.first_token is not None and outcome.begun is not None:
        waited = (outcome.first_token - outcome.begun).total_seconds()
    _tell(
        last,
        run=live.run,
        chain=live.state.chain,
        origin=live.origin,
        seconds=seconds,
        first_token_seconds=waited,
        model=call.model if call is not None else "",
        provider=call.provider if call is not None else "",
        prompt_tokens=usage["prompt_tokens"] if usage is not None else None,
        completion_tokens=usage["completion_tokens"] if usage is not None else None,
        cost=Decimal(usage["cost"]) if usage is not None and usage["cost"] is not None else None,
    )


def ended_elsewhere(row: Run, last: LastEvent, seconds: float) -> None:
    """A run that no process executes was ended: of it only the row is known."""
    _tell(
        last,
        run=row.uuid,
        chain=row.chain.slug,
        origin=row.origin,
        seconds=seconds,
        first_token_seconds=None,
        model="",
        provider="",
        prompt_tokens=None,
        completion_tokens=None,
        cost=None,
    )


def _tell(last: LastEvent, **facts: Any) -> None:
    status = status_of(last)
    notify(BY_STATUS[status], status=status, error_code=getattr(last, "code", ""), **facts)
