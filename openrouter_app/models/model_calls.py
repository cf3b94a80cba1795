"""Calls of models: what was asked of whom in a run, and what it cost."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from .fields import OutsideTextField
from .runs import Run

UNSETTLED = Q(settled_at=None) & (Q(ended=None) | Q(ask_after__isnull=False))
"""Calls whose cost is not known yet: it is being answered, or OpenRouter is still asked about it."""


def keep_unsettled(collector: Any, field: Any, calls: Any, using: str) -> None:
    """``on_delete``: calls go with their run. While the cost of one is not known all of them stay behind
    without it: to delete an answer makes it no cheaper.
    """
    staying = calls.filter(UNSETTLED).order_by().values("run")
    models.CASCADE(collector, field, calls.exclude(run__in=staying), using)
    models.SET_NULL(collector, field, calls.filter(run__in=staying), using)


# As Django's own SET_NULL has it: which calls there are is looked at when they are deleted, not before.
keep_unsettled.lazy_sub_objs = True  # type: ignore[attr-defined]


class ModelCall(models.Model):
    """One generation of a run; a run whose tools act has several. Written when the run ends or waits.

    ``settled_at`` is empty while the cost is not known for certain: then OpenRouter is asked for it. Until
    then it outlives its run.
    """

    run = models.ForeignKey(
        Run,
        on_delete=keep_unsettled,
        null=True,
        blank=True,
        related_name="model_calls",
        verbose_name=_("run"),
    )
    run_uuid = models.UUIDField(_("run's UUID"))
    number = models.PositiveIntegerField(_("number"))
    generation_id = OutsideTextField(_("generation id"), max_length=200, blank=True)
    key_hash = models.CharField(_("SHA-256 of the key"), max_length=64, blank=True, editable=False)
    requested = OutsideTextField(_("model asked for"), max_length=200, blank=True)
    model = OutsideTextField(_("model"), max_length=200, blank=True)
    provider = OutsideTextField(_("provider"), max_length=200, blank=True)
    finish = OutsideTextField(_("reason it ended"), max_length=100, blank=True)
    native_finish = OutsideTextField(_("reason in the provider's words"), max_length=100, blank=True)
    prompt_tokens = models.PositiveBigIntegerField(_("prompt tokens"), null=True, blank=True)
    completion_tokens = models.PositiveBigIntegerField(_("completion tokens"), null=True, blank=True)
    cost = models.DecimalField(_("cost (US$)"), max_digits=18, decimal_places=10, null=True, blank=True)
    settled_at = models.DateTimeField(_("settled"), null=True, blank=True)
    attempts = models.PositiveIntegerField(_("times asked for its cost"), default=0)
    ask_after = models.DateTimeField(_("ask again after"), null=True, blank=True)
    started = models.DateTimeField(_("started"), null=True, blank=True)
    ended = models.DateTimeField(_("ended"), null=True, blank=True)
    error = OutsideTextField(_("error"), max_length=2_000, blank=True)

    class Meta:
        verbose_name = _("model call")
        verbose_name_plural = _("model calls")
        ordering = ["run", "number"]
        constraints = [
            models.UniqueConstraint(
                fields=["run_uuid", "number"], name="openrouter_app_modelcall_unique_number"
            ),
        ]
        indexes = [
            models.Index(
                fields=["ask_after"], condition=Q(settled_at=None), name="openrouter_call_unsettled"
            ),
        ]

    def __str__(self) -> str:
        return self.generation_id or f"{self.run_uuid}/{self.number}"
