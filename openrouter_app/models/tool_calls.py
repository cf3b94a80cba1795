"""Calls of tools that act: what was called, whether a person allowed it, and what came of it."""

from __future__ import annotations

import hashlib
import uuid

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from .fields import JSONTextField, OutsideTextField
from .runs import Run
from .tools import Approval


def arguments_hash(name: str, arguments: str) -> str:
    """What an approval is bound to: SHA-256 of the tool's name and the arguments' text."""
    return hashlib.sha256(f"{name}\n{arguments}".encode("utf-8", "surrogatepass")).hexdigest()


class ToolCall(models.Model):
    """One call whose tool has a handler. ``uuid`` is the handler's idempotency key.

    A row is there before its handler starts, and before a page is told that the call waits.
    """

    class Status(models.TextChoices):
        """``waiting -> approved | denied``, ``approved -> running -> done | failed``."""

        WAITING = "waiting", _("Waiting for approval")
        APPROVED = "approved", _("Approved")
        DENIED = "denied", _("Denied")
        RUNNING = "running", _("Running")
        DONE = "done", _("Done")
        FAILED = "failed", _("Failed")
        INTERRUPTED = "interrupted", _("Interrupted")
        CANCELLED = "cancelled", _("Cancelled")

    uuid = models.UUIDField(_("UUID"), default=uuid.uuid4, unique=True, editable=False)
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="tool_calls", verbose_name=_("run"))
    call = OutsideTextField(_("call"), max_length=200)
    name = models.CharField(_("tool"), max_length=64)
    arguments = OutsideTextField(_("arguments"))
    hash = models.CharField(_("hash"), max_length=64, editable=False)
    status = models.CharField(_("status"), max_length=12, choices=Status)
    approval = models.CharField(_("approval by"), max_length=10, choices=Approval, default=Approval.NONE)
    approval_expires = models.DateTimeField(_("approval expires"), null=True, blank=True)
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("decided by"),
    )
    decided_at = models.DateTimeField(_("decided"), null=True, blank=True)
    reason = models.TextField(_("reason"), blank=True)
    started = models.DateTimeField(_("started"), null=True, blank=True)
    ended = models.DateTimeField(_("ended"), null=True, blank=True)
    output = JSONTextField(_("output"), null=True, blank=True)
    error = OutsideTextField(_("error"), max_length=2_000, blank=True)

    class Meta:
        verbose_name = _("tool call")
        verbose_name_plural = _("tool calls")
        ordering = ["-pk"]
        permissions = [("decide_toolcall", _("Can approve and deny tool calls"))]
        constraints = [
            models.UniqueConstraint(fields=["run", "call"], name="openrouter_app_toolcall_unique_call"),
        ]
        indexes = [
            models.Index(fields=["status", "approval_expires"], name="openrouter_call_status_expires"),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.uuid}"
