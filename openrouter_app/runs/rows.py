"""A run's row, read as what a page shows: for runs that have ended, or are executed elsewhere."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from ..models import Run
from .live import Snapshot


def snapshot_of_row(run: UUID) -> Snapshot | None:
    """The state the row holds, None where the row is gone."""
    row = Run.objects.select_related("chain", "version").filter(uuid=run).first()
    return None if row is None else Snapshot(row.uuid, row.last_seq, _state(row))


def _state(row: Run) -> dict[str, Any]:
    state: dict[str, Any] = {
        "status": row.status,
        "chain": row.chain.slug,
        "version": row.version.number,
        "conversation": None,
        "message": None,
        "parent": None,
        "input": row.input,
        "parts": row.parts,
    }
    if "ms" in row.private:
        state["usage"] = {
            "prompt_tokens": row.prompt_tokens or 0,
            "completion_tokens": row.completion_tokens or 0,
            "cost": None if row.cost is None else format(row.cost.normalize(), "f"),
            "estimated": row.cost_estimated,
            "model": row.model,
            "provider": row.provider,
            "ms": row.private["ms"],
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
