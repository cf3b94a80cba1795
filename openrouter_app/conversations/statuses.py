"""How far a call or an answer has come, in words. The scripts' own stand in ``strings.html``: the same."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

CALLS = {
    "writing": _("Writing"),
    "ready": _("Complete"),
    "invalid": _("Not usable"),
    "waiting": _("Waiting for approval"),
    "approved": _("Approved"),
    "denied": _("Denied"),
    "running": _("Running"),
    "done": _("Done"),
    "failed": _("Failed"),
    "cancelled": _("Cancelled"),
}
ANSWERS = {
    "queued": _("Waiting for its turn"),
    "running": _("Answering"),
    "waiting": _("Waiting for a decision"),
    "done": _("Done"),
    "stopped": _("Stopped"),
    "failed": _("Failed"),
    "interrupted": _("Interrupted"),
}


def call_status(status: str) -> str:
    """Of a call part; a status without a word is shown itself."""
    return str(CALLS.get(status, status))


def answer_status(status: str) -> str:
    """Of an answer, the same way."""
    return str(ANSWERS.get(status, status))
