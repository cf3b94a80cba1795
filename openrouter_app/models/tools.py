"""Tools as staff edit them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ..engine.errors import ToolSpecError
from ..engine.schemas import check_schema
from ..engine.tools import TOOL_NAME
from ..tool_handlers import find
from .fields import JSONTextField


def empty_object_schema() -> dict[str, Any]:
    """A schema of an object without properties: a tool that takes no arguments."""
    return {"type": "object", "properties": {}}


class Approval(models.TextChoices):
    """Who has to allow a call before it runs."""

    NONE = "none", _("nobody")
    OWNER = "owner", _("who asked")
    STAFF = "staff", _("staff, in the admin")


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
    handler = models.CharField(
        _("handler"),
        max_length=200,
        blank=True,
        help_text=_("What runs when the model calls it. None: the call itself is the answer."),
    )
    approval = models.CharField(
        _("needs approval by"),
        max_length=10,
        choices=Approval,
        default=Approval.NONE,
        help_text=_("A call waits until this person has allowed it."),
    )
    timeout = models.FloatField(
        _("time limit"),
        default=30.0,
        validators=[MinValueValidator(0.1), MaxValueValidator(3600)],
        help_text=_("Seconds a call may take."),
    )
    result_public = models.BooleanField(
        _("show the result"), default=True, help_text=_("Otherwise only the model gets it.")
    )
    parallel = models.BooleanField(
        _("parallel"), default=False, help_text=_("May run beside other calls of the same answer.")
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
        """How a version keeps the tool; what concerns the handler only where there is one."""
        value = {
            "name": self.name,
            "description": self.description,
            "schema": self.schema,
            "strict": self.strict,
        }
        if self.handler:
            value.update(
                handler=self.handler,
                approval=self.approval,
                timeout=self.timeout,
                result_public=self.result_public,
                parallel=self.parallel,
            )
        return value

    def problems(self) -> Iterator[str]:
        """What keeps a chain with this tool from being published: one sentence each."""
        try:
            check_schema(self.schema)
        except ToolSpecError as error:
            yield str(error)
        if self.handler and find(self.handler) is None:
            yield gettext(
                "no installed app has a handler “%(handler)s”. Choose another one, or write it in an "
                "openrouter_tools.py."
            ) % {"handler": self.handler}
