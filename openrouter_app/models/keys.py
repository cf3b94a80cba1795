"""Users' own keys at OpenRouter, and sign-ins there that have begun. Neither row holds a secret in clear."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from .fields import OutsideTextField


class UserKey(models.Model):
    """The key of one user. ``ciphertext`` is opened by `openrouter_app.keys` alone, for this row alone."""

    class Origin(models.TextChoices):
        """How it came here."""

        OAUTH = "oauth", _("Signed in at OpenRouter")
        PASTED = "pasted", _("Pasted by the user")

    uuid = models.UUIDField(_("UUID"), default=uuid.uuid4, unique=True, editable=False)
    user = models.OneToOneField(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        related_name="openrouter_key",
        verbose_name=_("user"),
    )
    ciphertext = models.TextField(_("ciphertext"), editable=False)
    key_hash = models.CharField(_("SHA-256 of the key"), max_length=64, db_index=True, editable=False)
    origin = models.CharField(_("origin"), max_length=10, choices=Origin, default=Origin.OAUTH)
    label = OutsideTextField(_("label"), max_length=200, blank=True)
    limit = models.DecimalField(_("limit (US$)"), max_digits=18, decimal_places=10, null=True, blank=True)
    limit_reset = OutsideTextField(_("limit starts anew"), max_length=20, blank=True)
    remaining = models.DecimalField(_("left (US$)"), max_digits=18, decimal_places=10, null=True, blank=True)
    usage = models.DecimalField(_("spent (US$)"), max_digits=18, decimal_places=10, null=True, blank=True)
    expires = models.DateTimeField(_("expires"), null=True, blank=True)
    checked_at = models.DateTimeField(_("checked"), null=True, blank=True)
    created = models.DateTimeField(_("connected"), default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("user's key")
        verbose_name_plural = _("users' keys")
        ordering = ["-created", "-pk"]

    def __str__(self) -> str:
        return self.label or self.key_hash[:8]


class SignIn(models.Model):
    """A sign-in at OpenRouter that has begun: what has to come back, and from whom. Used once.

    ``nonce_hash`` and ``session_hash`` are SHA-256 of what stands in the callback's path and in the
    browser's session; ``verifier`` is PKCE's, sealed. A row is good for ten minutes.
    """

    nonce_hash = models.CharField(_("nonce"), max_length=64, unique=True, editable=False)
    session_hash = models.CharField(_("session"), max_length=64, editable=False)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+", verbose_name=_("user")
    )
    verifier = models.TextField(_("verifier"), editable=False)
    next = models.CharField(_("page to go back to"), max_length=2_000, blank=True)
    created = models.DateTimeField(_("created"), default=timezone.now, db_index=True, editable=False)

    class Meta:
        verbose_name = _("sign-in at OpenRouter")
        verbose_name_plural = _("sign-ins at OpenRouter")

    def __str__(self) -> str:
        return self.nonce_hash[:8]
