"""One row that stops everything, without a deploy."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _


class KillSwitch(models.Model):
    """While it is on nobody can start a run. There is one row at most, with the primary key 1."""

    is_on = models.BooleanField(_("stop everything"), default=False)
    reason = models.CharField(
        _("what visitors are told"),
        max_length=200,
        blank=True,
        help_text=_("Empty: that the models are switched off for now."),
    )
    changed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("changed by"),
    )
    changed_at = models.DateTimeField(_("changed"), auto_now=True)

    class Meta:
        verbose_name = _("kill switch")
        verbose_name_plural = _("kill switch")
        constraints = [
            models.CheckConstraint(condition=Q(pk=1), name="openrouter_app_kill_switch_one_row"),
        ]

    def __str__(self) -> str:
        return str(_("On: nobody can start a run") if self.is_on else _("Off"))
