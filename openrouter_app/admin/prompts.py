"""Prompt templates with their rows."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import F, Max, QuerySet
from django.forms.models import BaseInlineFormSet
from django.forms.widgets import Script
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ..engine.errors import TemplateError
from ..models import PromptRow, PromptTemplate
from ..models.prompts import row_problems
from .display import FORM_FIELDS, STYLESHEET

if TYPE_CHECKING:
    _RowForm = forms.ModelForm[PromptRow]
    _RowFormSet = BaseInlineFormSet[PromptRow, PromptTemplate, forms.ModelForm[PromptRow]]
    _RowInline = admin.StackedInline[PromptRow, PromptTemplate]
    _PromptAdmin = admin.ModelAdmin[PromptTemplate]
else:
    _RowForm = forms.ModelForm
    _RowFormSet = BaseInlineFormSet
    _RowInline = admin.StackedInline
    _PromptAdmin = admin.ModelAdmin

_ODD_NAME = re.compile(r"[\"':\n\r\[\]]")
"""Characters that stand in JSON and code, and hardly ever in the name of a variable."""


class PromptRowForm(_RowForm):
    """One row. Its number only says where it stands among the others; a new row without text is none."""

    # Not the model's field: two rows may carry the same number here, the formset numbers them afresh.
    place = forms.IntegerField(
        label=_("Position"), min_value=0, required=False, help_text=_("Messages are sent in this order.")
    )

    class Meta:
        model = PromptRow
        fields = ["role", "text"]
        widgets = {
            "text": forms.Textarea(attrs={"class": "vLargeTextField openrouter-template", "rows": 4}),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk is not None:
            self.initial["place"] = self.instance.position

    def clean_place(self) -> int:
        """What was typed, or "last"."""
        place: int | None = self.cleaned_data["place"]
        return sys.maxsize if place is None else place

    def has_changed(self) -> bool:
        """A new row counts once it has a text."""
        if self.instance.pk is None and not self["text"].data:
            return False
        return super().has_changed()


class PromptRowFormSet(_RowFormSet):
    """The rows of one prompt, numbered 1, 2, 3 ... when they are saved, whatever was typed."""

    def clean(self) -> None:
        """What concerns several rows: a name that is both a variable and a placeholder."""
        super().clean()
        if any(self.errors):
            return
        rows = [[form.instance.role, form.instance.text] for form in self._in_order()]
        if rows and (problems := row_problems(rows)):
            raise ValidationError(problems)

    def save(self, commit: bool = True) -> list[PromptRow]:
        """Save the rows in their order. Existing ones are first moved out of each other's way."""
        in_order = self._in_order()
        for position, form in enumerate(in_order, start=1):
            form.instance.position = position
        if commit:
            self._make_room(len(in_order))
        saved: list[PromptRow] = super().save(commit)
        if commit:
            for form in in_order:
                if not form.has_changed():
                    form.instance.save(update_fields=["position"])
        return saved

    def _in_order(self) -> list[forms.ModelForm[PromptRow]]:
        """The forms that stay, by their number; equal numbers in the order in which they stand."""
        kept = [
            form
            for form in self.forms
            if form not in self.deleted_forms and (form.instance.pk is not None or form.has_changed())
        ]
        return sorted(kept, key=lambda form: form.cleaned_data["place"])

    def _make_room(self, count: int) -> None:
        """Move every stored row behind the numbers that are about to be given out.

        Without this, two rows that change places would meet in the unique constraint.
        """
        rows = PromptRow.objects.filter(template=self.instance)
        last: int | None = rows.aggregate(last=Max("position"))["last"]
        if last is not None:
            rows.update(position=F("position") + max(last, count) + 1)


class PromptRowInline(_RowInline):
    """The rows, one under the other; the module adds buttons that move them."""

    model = PromptRow
    form = PromptRowForm
    formset = PromptRowFormSet
    fieldsets = [(None, {"fields": ["role", "text", "place"], "classes": ["openrouter-row"]})]
    verbose_name = _("message")
    verbose_name_plural = _("messages")

    def get_extra(self, request: HttpRequest, obj: PromptTemplate | None = None, **kwargs: Any) -> int:
        """Two empty rows for a new prompt, none for an old one."""
        return 0 if obj else 2


@admin.register(PromptTemplate)
class PromptTemplateAdmin(_PromptAdmin):
    """A prompt, its messages and the variables found in them."""

    list_display = ["slug", "description", "variable_list", "used_by"]
    search_fields = ["slug", "description", "rows__text"]
    fields = ["slug", "description", "variables_found", "example_input"]
    readonly_fields = ["variables_found"]
    inlines = [PromptRowInline]
    formfield_overrides = FORM_FIELDS

    class Media:
        css = STYLESHEET
        js = [Script("openrouter_app/admin/prompt.js", type="module")]

    def get_queryset(self, request: HttpRequest) -> QuerySet[PromptTemplate]:
        """With what the list shows."""
        return super().get_queryset(request).prefetch_related("rows", "chains")

    def get_formset_kwargs(
        self, request: HttpRequest, obj: PromptTemplate, inline: Any, prefix: str
    ) -> dict[str, Any]:
        """A new prompt begins as most do: a system message and a human one."""
        kwargs: dict[str, Any] = super().get_formset_kwargs(request, obj, inline, prefix)
        if obj.pk is None:
            kwargs["initial"] = [{"role": PromptRow.Role.SYSTEM}, {"role": PromptRow.Role.HUMAN}]
        return kwargs

    @admin.display(description=_("variables"))
    def variable_list(self, prompt: PromptTemplate) -> str:
        """The variables in one line."""
        return ", ".join(_variables(prompt)) or "-"

    @admin.display(description=_("used by"))
    def used_by(self, prompt: PromptTemplate) -> str:
        """The chains that use it."""
        return ", ".join(str(chain) for chain in prompt.chains.all()) or "-"

    @admin.display(description=_("variables"))
    def variables_found(self, prompt: PromptTemplate) -> SafeString:
        """The variables as they are saved; the module keeps the list up to date while one types."""
        names = _variables(prompt) if prompt.pk else ()
        empty = gettext("None yet: write {name} in a message.")
        return format_html(
            '<ul class="openrouter-variables" aria-live="polite" '
            'data-empty="{}" data-stray="{}" data-up="{}" data-down="{}">{}</ul>',
            empty,
            gettext("Stray brace at line {line}, column {column}: write {brace}{brace} for one in the text."),
            gettext("Move up"),
            gettext("Move down"),
            format_html_join("", "<li><code>{{{}}}</code></li>", ((name,) for name in names))
            or format_html("<li>{}</li>", empty),
        )

    def response_add(
        self, request: HttpRequest, obj: PromptTemplate, post_url_continue: str | None = None
    ) -> HttpResponse:
        """After the news that it was saved, which variables are odd."""
        response = super().response_add(request, obj, post_url_continue)
        _warn(request, obj)
        return response

    def response_change(self, request: HttpRequest, obj: PromptTemplate) -> HttpResponse:
        """After the news that it was saved, which variables are odd."""
        response = super().response_change(request, obj)
        _warn(request, obj)
        return response


def _warn(request: HttpRequest, prompt: PromptTemplate) -> None:
    """Speak of variables that are surely JSON or code."""
    # Loaded anew: the one in the form may hold the rows as they were before.
    for name in _variables(PromptTemplate.objects.get(pk=prompt.pk)):
        if _ODD_NAME.search(name):
            messages.warning(
                request,
                gettext(
                    "“%(name)s” was taken for the name of a variable. If it is JSON or code that "
                    "should stand in the text, write {{ and }} instead of { and }."
                )
                % {"name": name[:80]},
            )


def _variables(prompt: PromptTemplate) -> tuple[str, ...]:
    """The variables; of a prompt that was stored past the checks and is none: nothing."""
    try:
        return prompt.variables
    except TemplateError:
        return ()
