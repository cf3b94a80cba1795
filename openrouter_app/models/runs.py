"""Runs: who asked which version what, and what came of it."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from .chains import Chain
from .conversations import Conversation, Message
from .fields import JSONTextField, OutsideTextField
from .owners import Owner
from .versions import ChainVersion


class RunQuerySet(models.QuerySet["Run"]):
    """Runs, by who may see them."""

    def for_owner(self, owner: Owner) -> RunQuerySet:
        """The owner's runs and no others; this is the permission check. The system owns none."""
        if owner.user_id is not None:
            return self.filter(user_id=owner.user_id)
        if owner.visitor is not None:
            return self.filter(visitor=owner.visitor)
        return self.none()


class Run(models.Model):
    """One execution of one version. Final states never change; ``ended`` is set when one is reached."""

    class Status(models.TextChoices):
        """Where a run stands: ``queued -> running -> (waiting -> queued -> running)* -> final``."""

        QUEUED = "queued", _("Queued")
        RUNNING = "running", _("Running")
        WAITING = "waiting", _("Waiting")
        DONE = "done", _("Done")
        STOPPED = "stopped", _("Stopped")
        FAILED = "failed", _("Failed")
        INTERRUPTED = "interrupted", _("Interrupted")

    class Origin(models.TextChoices):
        """Which face started it."""

        WEBSOCKET = "websocket", _("Websocket")
        COMMAND = "command", _("Command line")
        ADMIN = "admin", _("Admin")
        PYTHON = "python", _("Python")
        TASK = "task", _("Background task")

    class Payer(models.TextChoices):
        """Whose key it used."""

        SITE = "site", _("the site")
        USER = "user", _("the user")

    FINAL = frozenset({Status.DONE, Status.STOPPED, Status.FAILED, Status.INTERRUPTED})
    UNFINISHED = frozenset({Status.QUEUED, Status.RUNNING, Status.WAITING})

    uuid = models.UUIDField(_("UUID"), default=uuid.uuid4, unique=True, editable=False)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="openrouter_runs",
        verbose_name=_("user"),
    )
    visitor = models.UUIDField(_("visitor"), null=True, blank=True)
    # NULL, not "": the owner's ids are unique, and a run of the system has none
    client_id = models.CharField(_("client's id"), max_length=64, null=True, blank=True)  # noqa: DJ001
    origin = models.CharField(_("origin"), max_length=10, choices=Origin, default=Origin.PYTHON)
    chain = models.ForeignKey(Chain, on_delete=models.PROTECT, related_name="runs", verbose_name=_("chain"))
    version = models.ForeignKey(
        ChainVersion, on_delete=models.PROTECT, related_name="runs", verbose_name=_("version")
    )
    label = models.CharField(_("label"), max_length=50, blank=True)
    conversation = models.ForeignKey(
        Conversation,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="runs",
        verbose_name=_("conversation"),
    )
    message = models.OneToOneField(
        Message,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="run",
        verbose_name=_("message"),
        help_text=_("The answer that this run writes."),
    )
    input = JSONTextField(_("input"), default=dict, blank=True)
    options = JSONTextField(_("options"), default=dict, blank=True)
    payer = models.CharField(_("paid by"), max_length=5, choices=Payer, default=Payer.SITE)
    left_out = models.PositiveIntegerField(_("earlier messages left out"), default=0)

    status = models.CharField(_("status"), max_length=12, choices=Status, default=Status.QUEUED)
    stop_requested_at = models.DateTimeField(_("stop requested"), null=True, blank=True)
    owner_process = models.CharField(_("process"), max_length=150, blank=True, editable=False)
    lease_until = models.DateTimeField(_("lease until"), null=True, blank=True, editable=False)
    fence = models.PositiveIntegerField(_("fence"), default=0, editable=False)
    last_seq = models.PositiveBigIntegerField(_("last event"), default=0)
    deadline = models.DateTimeField(_("deadline"), null=True, blank=True, editable=False)
    created = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    started = models.DateTimeField(_("started"), null=True, blank=True)
    first_token = models.DateTimeField(_("first token"), null=True, blank=True)
    ended = models.DateTimeField(_("ended"), null=True, blank=True)

    parts = JSONTextField(_("parts"), default=list, blank=True)
    private = JSONTextField(_("private"), default=dict, blank=True)
    output = JSONTextField(_("output"), null=True, blank=True)
    reason = OutsideTextField(_("reason"), max_length=100, blank=True)
    error_code = models.CharField(_("error code"), max_length=32, blank=True)
    error_message = OutsideTextField(_("error"), max_length=2_000, blank=True)
    error_detail = OutsideTextField(_("error detail"), max_length=20_000, blank=True)
    retryable = models.BooleanField(_("may succeed when tried again"), default=False)
    prompt_tokens = models.PositiveBigIntegerField(_("prompt tokens"), null=True, blank=True)
    completion_tokens = models.PositiveBigIntegerField(_("completion tokens"), null=True, blank=True)
    cost = models.DecimalField(_("cost (US$)"), max_digits=18, decimal_places=10, null=True, blank=True)
    cost_estimated = models.BooleanField(_("cost is an estimate"), default=False)
    model = OutsideTextField(_("model"), max_length=200, blank=True)
    provider = OutsideTextField(_("provider"), max_length=200, blank=True)
    generation_id = OutsideTextField(_("generation id"), max_length=200, blank=True)

    objects = RunQuerySet.as_manager()

    class Meta:
        verbose_name = _("run")
        verbose_name_plural = _("runs")
        ordering = ["-created", "-pk"]
        get_latest_by = "created"
        constraints = [
            models.UniqueConstraint(
                fields=["user", "client_id"],
                condition=Q(user__isnull=False, client_id__isnull=False),
                name="openrouter_app_run_unique_user_client",
            ),
            models.UniqueConstraint(
                fields=["visitor", "client_id"],
                condition=Q(visitor__isnull=False, client_id__isnull=False),
                name="openrouter_app_run_unique_visitor_client",
            ),
            models.UniqueConstraint(
                fields=["conversation"],
                condition=Q(status__in=["queued", "running", "waiting"]),
                name="openrouter_app_run_one_a_conversation",
            ),
            models.CheckConstraint(
                condition=Q(user__isnull=True) | Q(visitor__isnull=True),
                name="openrouter_app_run_at_most_one_owner",
            ),
            models.CheckConstraint(
                condition=(
                    Q(status__in=["done", "stopped", "failed", "interrupted"], ended__isnull=False)
                    | Q(status__in=["queued", "running", "waiting"], ended__isnull=True)
                ),
                name="openrouter_app_run_final_means_ended",
            ),
            models.CheckConstraint(
                condition=Q(lease_until__isnull=True) | Q(status="running"),
                name="openrouter_app_run_lease_only_while_running",
            ),
        ]
        indexes = [
            models.Index(fields=["status", "lease_until"], name="openrouter_run_status_lease"),
            models.Index(fields=["user", "-created"], name="openrouter_run_user_created"),
            models.Index(fields=["visitor", "-created"], name="openrouter_run_visitor_created"),
            models.Index(fields=["version", "-created"], name="openrouter_run_version_created"),
        ]

    def __str__(self) -> str:
        return str(self.uuid)

    @property
    def is_final(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.status in self.FINAL

    @property
    def owner(self) -> Owner:
        """Who it belongs to."""
        return Owner(user_id=self.user_id, visitor=self.visitor)


class RunEvent(models.Model):
    """A row of an unfinished run's log: the events that take its state from ``after`` to ``seq``.

    Rows of one run tile. They are public by construction, and gone once the run has ended: its own
    row says everything then. ``events`` is the JSON text of `openrouter_app.runs.log`, which alone
    writes and reads it.
    """

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="events", verbose_name=_("run"))
    after = models.PositiveBigIntegerField(_("after event"))
    seq = models.PositiveBigIntegerField(_("to event"))
    events = models.TextField(_("events"))

    class Meta:
        verbose_name = _("run event")
        verbose_name_plural = _("run events")
        ordering = ["run", "seq"]
        constraints = [
            models.UniqueConstraint(fields=["run", "after"], name="openrouter_app_event_unique_after"),
            models.UniqueConstraint(fields=["run", "seq"], name="openrouter_app_event_unique_seq"),
            models.CheckConstraint(
                condition=Q(after__lt=models.F("seq")), name="openrouter_app_event_after_lt_seq"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.after}-{self.seq}"
