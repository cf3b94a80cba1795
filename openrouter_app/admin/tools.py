"""Tools and the schemas of their arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.text import Truncator
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ..engine.errors import ToolSpecError
from ..engine.places import place
from ..engine.schemas import check_schema, schema_warnings
from ..models import ToolSpec
from .display import FORM_FIELDS, STYLESHEET

if TYPE_CHECKING:
    _ToolForm = forms.ModelForm[ToolSpec]
    _ToolAdmin = admin.ModelAdmin[ToolSpec]
else:
    _ToolForm = forms.ModelForm
    _ToolAdmin = admin.ModelAdmin

MAX_WARNINGS = 5


class ToolSpecForm(_ToolForm):
    """What only a form can tell: where in the typed text a mistake stands."""

    def clean_schema(self) -> Any:
        """The schema is one, and stays inside its document."""
        schema = self.cleaned_data["schema"]
        try:
            check_schema(schema, self["schema"].data or "")
        except ToolSpecError as error:
            raise ValidationError(str(error)) from error
        return schema


@admin.register(ToolSpec)
class ToolSpecAdmin(_ToolAdmin):
    """A tool; what is wrong with its schema is refused, what is odd about it is said after saving."""

    form = ToolSpecForm
    list_display = ["name", "summary", "strict", "used_by"]
    list_filter = ["strict"]
    search_fields = ["name", "description"]
    fields = ["name", "description", "schema", "strict"]
    formfield_overrides = FORM_FIELDS

    class Media:
        css = STYLESHEET

    def get_queryset(self, request: HttpRequest) -> QuerySet[ToolSpec]:
        """With what the list shows."""
        return super().get_queryset(request).prefetch_related("chains")

    @admin.display(description=_("description"))
    def summary(self, tool: ToolSpec) -> str:
        """The beginning of the description."""
        return Truncator(tool.description).chars(80) or "-"

    @admin.display(description=_("used by"))
    def used_by(self, tool: ToolSpec) -> str:
        """The chains that offer it."""
        return ", ".join(str(chain) for chain in tool.chains.all()) or "-"

    def response_add(
        self, request: HttpRequest, obj: ToolSpec, post_url_continue: str | None = None
    ) -> HttpResponse:
        """After the news that it was saved, what is odd about it."""
        response = super().response_add(request, obj, post_url_continue)
        _warn(request, obj)
        return response

    def response_change(self, request: HttpRequest, obj: ToolSpec) -> HttpResponse:
        """After the news that it was saved, what is odd about it."""
        response = super().response_change(request, obj)
        _warn(request, obj)
        return response


def _warn(request: HttpRequest, tool: ToolSpec) -> None:
    """What is allowed but surely not meant, a message each, with its place in the text that was sent."""
    text = request.POST.get("schema", "")
    warnings = list(schema_warnings(tool.schema))
    for path, reason in warnings[:MAX_WARNINGS]:
        messages.warning(request, f"{place(path, text)}: {reason}")
    if (more := len(warnings) - MAX_WARNINGS) > 0:
        messages.warning(request, gettext("And %(count)d more like these.") % {"count": more})
