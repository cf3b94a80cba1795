"""Tools, the schemas of their arguments, and the handlers they act by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ..engine.errors import ToolSpecError
from ..engine.places import place
from ..engine.schemas import check_schema, schema_warnings
from ..models import ToolSpec
from ..models.tools import Approval
from ..tool_handlers import all_handlers, find
from .display import FORM_FIELDS, STYLESHEET, status_badge

if TYPE_CHECKING:
    _ToolForm = forms.ModelForm[ToolSpec]
    _ToolAdmin = admin.ModelAdmin[ToolSpec]
else:
    _ToolForm = forms.ModelForm
    _ToolAdmin = admin.ModelAdmin

MAX_WARNINGS = 5


class ToolSpecForm(_ToolForm):
    """What only a form can tell: where in the typed text a mistake stands, and which handlers there are."""

    handler = forms.ChoiceField(
        label=_("Handler"),
        required=False,
        help_text=_(
            "What runs when the model calls it: a function in an openrouter_tools.py of an installed app."
        ),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "handler" in self.fields:  # not where somebody may only look
            field = self.fields["handler"]
            assert isinstance(field, forms.ChoiceField)  # noqa: S101 - it stands above
            field.choices = list(_handler_choices(self.instance.handler))

    def clean_handler(self) -> str:
        """One that is there. What is stored and gone is shown as it is, but not saved again."""
        name: str = self.cleaned_data["handler"]
        if name and find(name) is None:
            raise ValidationError(
                gettext(
                    "No installed app has the handler “%(name)s” any more. Choose another one, or bring it "
                    "back: a function of this name in an openrouter_tools.py, and a restart of the server."
                )
                % {"name": name}
            )
        return name

    def clean_schema(self) -> Any:
        """The schema is one, and stays inside its document."""
        schema = self.cleaned_data["schema"]
        try:
            check_schema(schema, self["schema"].data or "")
        except ToolSpecError as error:
            raise ValidationError(str(error)) from error
        return schema


def _handler_choices(stored: str) -> Iterator[tuple[str, str]]:
    """None, and every handler with the first line of its docstring; the stored one in any case."""
    yield "", gettext("none: the call itself is the answer")
    for known in all_handlers():
        yield known.name, f"{known.name}: {known.description}" if known.description else known.name
    if stored and find(stored) is None:
        yield stored, gettext("%(name)s (no installed app has it)") % {"name": stored}


class HandlerFilter(admin.SimpleListFilter):
    """Tools that act, tools that only answer, and tools whose handler is gone."""

    title = _("handler")
    parameter_name = "acts"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        """The three."""
        return [("yes", _("with a handler")), ("no", _("without")), ("missing", _("no installed app has it"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[ToolSpec]) -> QuerySet[ToolSpec]:
        """Those of the choice."""
        match self.value():
            case "yes":
                return queryset.exclude(handler="")
            case "no":
                return queryset.filter(handler="")
            case "missing":
                known = [handler.name for handler in all_handlers()]
                return queryset.exclude(handler__in=["", *known])
        return queryset


@admin.register(ToolSpec)
class ToolSpecAdmin(_ToolAdmin):
    """A tool; what is wrong with its schema is refused, what is odd about it is said after saving."""

    form = ToolSpecForm
    list_display = ["name", "summary", "acts_by", "approval", "strict", "used_by"]
    list_filter = [HandlerFilter, "approval", "strict"]
    search_fields = ["name", "description", "handler"]
    fieldsets = [
        (None, {"fields": ["name", "description", "schema", "strict"]}),
        (
            _("What it does"),
            {"fields": ["handler", "approval", "timeout", "result_public", "parallel"]},
        ),
    ]
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

    @admin.display(description=_("handler"), ordering="handler", empty_value="-")
    def acts_by(self, tool: ToolSpec) -> SafeString | str | None:
        """Its handler; marked where no installed app has it."""
        if not tool.handler or find(tool.handler) is not None:
            return tool.handler or None
        return format_html("{} {}", tool.handler, status_badge("failed", gettext("missing")))

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
    if tool.approval != Approval.NONE and not tool.handler:
        messages.warning(request, gettext("Nothing waits for approval: this tool has no handler that runs."))
    text = request.POST.get("schema", "")
    warnings = list(schema_warnings(tool.schema))
    for path, reason in warnings[:MAX_WARNINGS]:
        messages.warning(request, f"{place(path, text)}: {reason}")
    if (more := len(warnings) - MAX_WARNINGS) > 0:
        messages.warning(request, gettext("And %(count)d more like these.") % {"count": more})
