"""Why a run was not started, followed or stopped: nothing was left behind."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.utils.translation import gettext as _

from .engine.errors import OpenRouterError


class Refused(OpenRouterError):
    """A request this app refuses. ``code`` is the protocol's, ``message`` a sentence for people.

    Codes: ``not_found`` (also for what is somebody else's), ``forbidden``, ``unpublished``,
    ``invalid_input`` (``details`` may name ``variables`` or ``options``), ``limit`` and ``busy``
    (``details`` may have ``retry_after``, seconds; ``run`` is the one that a conversation is busy with),
    ``decided`` and ``expired`` of decisions that come too late, ``budget`` (``details`` have ``left``, US
    dollars as text, and ``resets``, ISO 8601) and ``needs_key``; ``connect`` in ``details`` says that an
    OpenRouter account of the user's own would help.
    """

    def __init__(
        self, code: str, message: str, details: dict[str, Any] | None = None, *, run: UUID | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.details = details
        self.run = run


def gone() -> Refused:
    """What is told of a run that is not there, and of somebody else's: the same."""
    return Refused("not_found", _("There is no such run."))
