"""Tools as staff edit them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from ..engine.errors import ToolSpecError
from ..engine.schemas import check_schema
from ..engine.tools import TOOL_NAME
from .fields import JSONTextField


def empty_object_schema() -> dict[str, Any]:
    """A schema of an object without properties: a tool that takes no arguments."""
    return {"type": "object", "properties": {}}


class ToolSpec(models.Model):
    """A tool a model may call: its name, what it is for, and the JSON Schema of its arguments."""

    name = models.CharField(
        _("name"),
        max_length=64,
        unique=True,
        validators=[
            RegexValidator(rf"^{TOOL_NAME.pattern}\Z", _("Use 1 to 64 letters, digits, “_” and “-”."))
        ],
        help_text=_("What the model calls it: letters, digits, “_” and “-”."),
    )
    description = models.TextField(
        _("description"), blank=True, help_text=_("Tells the model what the tool does and when to call it.")
    )
    schema = JSONTextField(
        _("schema"),
        default=empty_object_schema,
        help_text=_('The arguments as a JSON Schema (draft 2020-12) with "type": "object" at its root.'),
    )
    strict = models.BooleanField(
        _("strict"), default=False, help_text=_("Ask the provider to enforce the schema.")
    )

    class Meta:
        verbose_name = _("tool")
        verbose_name_plural = _("tools")
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def clean_fields(self, exclude: Collection[str] | None = None) -> None:
        """Also that the schema is one, unless it was refused already."""
        super().clean_fields(exclude)
        if not exclude or "schema" not in exclude:
            try:
                check_schema(self.schema)
            except ToolSpecError as error:
                raise ValidationError({"schema": str(error)}) from error

    def by_value(self) -> dict[str, Any]:
        """How a version keeps the tool."""
        return {
            "name": self.name,
            "description": self.description,
            "schema": self.schema,
            "strict": self.strict,
        }
