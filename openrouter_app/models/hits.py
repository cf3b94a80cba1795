"""What counts against a limit a minute."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from .chains import Chain


class Hit(models.Model):
    """Something that somebody has just done. `openrouter_app.limits` makes these rows and deletes them.

    Apart from what came of it, and of who it was: deleting those makes no room for more. It has no word of
    anybody, and is over after a minute.
    """

    class Kind(models.TextChoices):
        """What it was."""

        START = "start", _("a run was started")
        KEY_CHECK = "key_check", _("OpenRouter was asked about a key")

    kind = models.CharField(_("kind"), max_length=10, choices=Kind, editable=False)
    # Each of these has an index of its own below. Only what is limited is noted.
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        editable=False,
        db_index=False,
        related_name="+",
        verbose_name=_("user"),
    )
    visitor = models.UUIDField(_("visitor"), null=True, editable=False)
    chain = models.ForeignKey(
        Chain,
        on_delete=models.SET_NULL,
        null=True,
        editable=False,
        db_index=False,
        related_name="+",
        verbose_name=_("chain"),
    )
    created = models.DateTimeField(_("created"), default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("hit")
        verbose_name_plural = _("hits")
        default_permissions = ()
        indexes = [
            models.Index(
                fields=["user", "-created"], condition=Q(user__isnull=False), name="openrouter_hit_user"
            ),
            models.Index(
                fields=["visitor", "-created"],
                condition=Q(visitor__isnull=False),
                name="openrouter_hit_visitor",
            ),
            models.Index(
                fields=["chain", "-created"], condition=Q(chain__isnull=False), name="openrouter_hit_chain"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()}, {self.created}"
