"""Users' own keys at OpenRouter, and sign-ins there that have begun. Neither row holds a secret in clear."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from ..engine.secret import Secret
from .fields import OutsideTextField
from .sealed import SealedTextField


class UserKey(models.Model):
    """The key of one user. `openrouter_app.keys` is how it comes here, is used and goes."""

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
    ciphertext = SealedTextField(_("ciphertext"), bound_to=("user_id", "uuid"))
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

    def opened(self) -> Secret | None:
        """The key; None where the row was tampered with, or its encryption key is not set any more."""
        return UserKey._meta.get_field("ciphertext").opened(self)


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
    verifier = SealedTextField(_("verifier"), bound_to=("nonce_hash",))
    next = models.CharField(_("page to go back to"), max_length=2_000, blank=True)
    created = models.DateTimeField(_("created"), default=timezone.now, db_index=True, editable=False)

    class Meta:
        verbose_name = _("sign-in at OpenRouter")
        verbose_name_plural = _("sign-ins at OpenRouter")

    def __str__(self) -> str:
        return self.nonce_hash[:8]

    def opened(self) -> Secret | None:
        """The verifier; None where the row was tampered with."""
        return SignIn._meta.get_field("verifier").opened(self)


class OfferedKey(models.Model):
    """A key that came while its user had another one: within ten minutes he says which of the two stays."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+", verbose_name=_("user")
    )
    ciphertext = SealedTextField(_("ciphertext"), bound_to=("user_id", "key_hash"))
    key_hash = models.CharField(_("SHA-256 of the key"), max_length=64, editable=False)
    origin = models.CharField(_("origin"), max_length=10, choices=UserKey.Origin)
    label = OutsideTextField(_("label"), max_length=200, blank=True)
    next = models.CharField(_("page to go back to"), max_length=2_000, blank=True)
    created = models.DateTimeField(_("created"), default=timezone.now, db_index=True, editable=False)

    class Meta:
        verbose_name = _("key to choose")
        verbose_name_plural = _("keys to choose")

    def __str__(self) -> str:
        return self.label or self.key_hash[:8]

    def opened(self) -> Secret | None:
        """The key; None where the row was tampered with."""
        return OfferedKey._meta.get_field("ciphertext").opened(self)
