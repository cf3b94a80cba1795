"""What a chain was when it was published: immutable versions, and the labels that point to them."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from ..engine.errors import UsageError
from .fields import JSONTextField

DEFAULT_LABEL = "production"
"""The label whose version runs when nothing else is asked for."""


class ImmutableError(UsageError):
    """A published version was to be changed or deleted. Publish a new one, or switch the chain off."""


def body_hash(body: Mapping[str, Any]) -> str:
    """SHA-256 of the body's canonical JSON: ASCII, no spaces, members in the order they have.

    The order counts: a model fills a schema's properties in their order, and a page shows them so,
    hence the same properties in another order are another version.
    """
    text = json.dumps(body, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


class ChainVersionQuerySet(models.QuerySet["ChainVersion"]):
    """Versions, which are written once."""

    def update(self, **kwargs: Any) -> int:
        """Only what is no part of the version (number, author, note) can change."""
        _refuse_frozen(kwargs)
        return super().update(**kwargs)

    def bulk_update(
        self, objs: Iterable[ChainVersion], fields: Iterable[str], batch_size: int | None = None
    ) -> int:
        """The same rule as for `update`."""
        fields = list(fields)
        _refuse_frozen(fields)
        return super().bulk_update(objs, fields, batch_size)

    def delete(self) -> tuple[int, dict[str, int]]:
        """Refused: runs name the version they ran."""
        raise ImmutableError("A published version is never deleted. Switch its chain off instead.")

    delete.queryset_only = True  # type: ignore[attr-defined]  # a manager must not offer it either


class ChainVersion(models.Model):
    """A chain by value: messages, tools, model and options as they were. Runs execute this.

    ``body``::

        {"messages": [[role, text], ...],
         "tools": [{"name", "description", "schema", "strict"}, ...],
         "tool_choice": "none" | "auto" | "required" | {"forced": name} | null,
         "model": "vendor/model", "options": {...}, "parser": "text" | "tools",
         "client_options": [name, ...]}

    Who may run it, and whether, stands on the chain: a rollback must not bring old rights back.
    """

    uuid = models.UUIDField(_("UUID"), default=uuid.uuid4, unique=True, editable=False)
    chain = models.ForeignKey(
        "openrouter_app.Chain", on_delete=models.PROTECT, related_name="versions", verbose_name=_("chain")
    )
    number = models.PositiveIntegerField(
        _("number"), null=True, blank=True, help_text=_("Counts from 1 in each chain; a draft has none.")
    )
    body = JSONTextField(_("body"))
    hash = models.CharField(_("hash"), max_length=64)
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("author"),
    )
    note = models.TextField(_("note"), blank=True)
    created = models.DateTimeField(_("created"), default=timezone.now, editable=False)

    objects = ChainVersionQuerySet.as_manager()

    class Meta:
        verbose_name = _("chain version")
        verbose_name_plural = _("chain versions")
        ordering = ["-created", "-pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["chain", "number"],
                condition=Q(number__isnull=False),
                name="openrouter_app_chainversion_unique_number",
            ),
            models.UniqueConstraint(fields=["chain", "hash"], name="openrouter_app_chainversion_unique_hash"),
        ]

    def __str__(self) -> str:
        return f"v{self.number}" if self.number else str(_("draft"))

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Once; later only with ``update_fields`` that are no part of the version."""
        if not self._state.adding:
            fields = kwargs.get("update_fields")
            _refuse_frozen(_FROZEN if fields is None else fields)
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """Refused: runs name the version they ran."""
        raise ImmutableError("A published version is never deleted. Switch its chain off instead.")


_FROZEN = frozenset({"uuid", "chain", "chain_id", "body", "hash", "created"})


def _refuse_frozen(fields: Iterable[str]) -> None:
    if frozen := sorted(_FROZEN.intersection(fields)):
        raise ImmutableError(f"A published version never changes ({', '.join(frozen)}). Publish a new one.")


class LabelManager(models.Manager["Label"]):
    """Labels come with their version: nobody asks for a label without it."""

    def get_queryset(self) -> models.QuerySet[Label]:
        """With the version joined in."""
        return super().get_queryset().select_related("version")


class Label(models.Model):
    """A name that points to one version of a chain, such as ``production``."""

    chain = models.ForeignKey(
        "openrouter_app.Chain", on_delete=models.CASCADE, related_name="labels", verbose_name=_("chain")
    )
    name = models.CharField(_("name"), max_length=50)
    version = models.ForeignKey(
        ChainVersion, on_delete=models.PROTECT, related_name="labels", verbose_name=_("version")
    )

    objects = LabelManager()

    class Meta:
        verbose_name = _("label")
        verbose_name_plural = _("labels")
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(fields=["chain", "name"], name="openrouter_app_label_unique_name"),
        ]

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Raises `ValidationError` for a version of another chain, however the label is written."""
        self.clean()
        super().save(*args, **kwargs)

    def clean(self) -> None:
        """The version is one of this chain's."""
        super().clean()
        if self.version_id and self.chain_id and self.version.chain_id != self.chain_id:
            raise ValidationError({"version": _("This version belongs to another chain.")})
