"""How the admin shows and takes JSON and prompts: escaped, in a fixed-width font, never as markup."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from django.contrib.admin.widgets import AdminTextareaWidget
from django.db import models
from django.db.models.options import Options
from django.http import HttpRequest
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timezone import localtime
from django.utils.translation import gettext

from ..models.fields import JSONTextField, pretty_json

STYLESHEET = {"all": ["openrouter_app/admin/admin.css"]}
MAX_SHOWN = 50_000
"""Characters of one value that a read-only page shows."""


class CodeTextarea(AdminTextareaWidget):
    """A text area for JSON, as high as its text within limits."""

    def __init__(self, attrs: dict[str, Any] | None = None) -> None:
        super().__init__({"class": "vLargeTextField openrouter-code", "spellcheck": "false", **(attrs or {})})

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        """With the number of rows the text needs."""
        context: dict[str, Any] = super().get_context(name, value, attrs)
        lines = str(context["widget"]["value"] or "").count("\n") + 1
        context["widget"]["attrs"]["rows"] = min(max(lines + 1, 3), 30)
        return context


FORM_FIELDS: dict[Any, Any] = {
    JSONTextField: {"widget": CodeTextarea},
    models.TextField: {"widget": AdminTextareaWidget(attrs={"rows": 3})},
}
"""The ``formfield_overrides`` of every page here."""


def code(text: str) -> SafeString:
    """The text in a box that keeps its lines; a very long one is cut, and says so."""
    shown = text[:MAX_SHOWN]
    left = len(text) - len(shown)
    return format_html(
        '<pre class="openrouter-pre">{}{}</pre>', shown, f"\n… {left:,} characters more" if left else ""
    )


def json_code(value: Any) -> SafeString:
    """A JSON value, indented."""
    return code(pretty_json(value))


def status_badge(status: str, text: str) -> SafeString:
    """A status in its colour."""
    return format_html('<span class="openrouter-status" data-status="{}">{}</span>', status, text)


def owner_name(user: object, visitor: UUID | None) -> str:
    """The user, the beginning of the visitor's id, or the system."""
    if user is not None:
        return str(user)
    return gettext("visitor %(id)s") % {"id": str(visitor)[:8]} if visitor else gettext("system")


def is_page_of(request: HttpRequest, opts: Options[Any]) -> bool:
    """Whether this is a page of this model, and not of one whose deletion takes rows of it along."""
    match = request.resolver_match
    return match is not None and (match.url_name or "").startswith(f"{opts.app_label}_{opts.model_name}_")


def moment(at: datetime) -> str:
    """A time as the admin writes its own."""
    return date_format(localtime(at), "DATETIME_FORMAT")
