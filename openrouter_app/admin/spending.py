"""What was spent: one page of sums and a chart, and the same as a file. To look at, never to change."""

from __future__ import annotations

import csv
from collections.abc import AsyncIterator, Generator
from datetime import date, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import AdminDateWidget, AdminTextInputWidget
from django.core.exceptions import PermissionDenied
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ..limits.pots import today
from ..models import Spending
from ..spending import Filters, chart_of, csv_rows, report
from .display import STYLESHEET

if TYPE_CHECKING:
    _SpendingAdmin = admin.ModelAdmin[Spending]
else:
    _SpendingAdmin = admin.ModelAdmin

DAYS = 30
"""Shown where nobody says which."""
MOST_DAYS = 3_660
EARLIEST = date(2000, 1, 1)
"""There was nothing to pay for before; a calendar has a first day."""
LINES = 50
"""Of chains, models and users on the page; the file has all."""
LINES_AT_ONCE = 2_000
"""Of the file, in one piece."""
VIEW = "openrouter_app.view_charge"


class FilterForm(forms.Form):
    """Which days, and of what."""

    first = forms.DateField(label=_("from"), required=False, widget=AdminDateWidget)
    last = forms.DateField(label=_("to"), required=False, widget=AdminDateWidget)
    chain = forms.CharField(label=_("chain"), required=False, max_length=100, widget=AdminTextInputWidget)
    model = forms.CharField(label=_("model"), required=False, max_length=200, widget=AdminTextInputWidget)
    user = forms.CharField(label=_("user"), required=False, max_length=254, widget=AdminTextInputWidget)
    payer = forms.ChoiceField(
        label=_("paid by"),
        required=False,
        choices=[("", _("the site and users")), ("site", _("the site")), ("user", _("users themselves"))],
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("chain", "model", "user"):
            self.fields[name].widget.attrs.update({"list": f"openrouter-{name}s", "autocomplete": "off"})

    def clean(self) -> dict[str, Any]:
        """Days in their order, and not more than ten years of them."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if self.errors:
            return cleaned
        last = max(cleaned["last"] or today(), EARLIEST)
        first = cleaned["first"] or last - timedelta(days=DAYS - 1)
        if first > last:
            self.add_error("first", gettext("The first day comes after the last."))
        elif (last - first).days > MOST_DAYS:
            self.add_error("first", gettext("Choose ten years at most."))
        cleaned.update(first=first, last=last)
        return cleaned

    @property
    def filters(self) -> Filters:
        """What was chosen; the last days where it makes no sense."""
        if self.is_valid():
            return Filters(**self.cleaned_data)
        last = today()
        return Filters(last - timedelta(days=DAYS - 1), last)


@admin.register(Spending)
class SpendingAdmin(_SpendingAdmin):
    """The page in place of a list of rows."""

    class Media:
        css = STYLESHEET

    def get_urls(self) -> list[URLPattern]:
        """With the file's address; without those of single rows."""
        return [
            path("", self.admin_site.admin_view(self.changelist_view), name=self._name("changelist")),
            path("csv/", self.admin_site.admin_view(self.csv_view), name=self._name("csv")),
        ]

    def _name(self, page: str) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}_{page}"

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The sums, as the form says; it shows the days that are meant, also where nobody has said which."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        form = FilterForm(request.GET or None)
        filters = form.filters
        found = report(filters)
        query = request.GET.urlencode()
        context = {
            **self.admin_site.each_context(request),
            "title": gettext("Spending"),
            "opts": self.opts,
            "media": self.media + form.media,
            "form": form if form.errors else FilterForm({**request.GET.dict(), **_days_of(filters)}),
            "report": found,
            "chart": chart_of(found.days, filters),
            "tables": [
                (_("By chain"), _("chain"), found.chains[:LINES], len(found.chains) - LINES),
                (_("By model"), _("model"), found.models[:LINES], len(found.models) - LINES),
                (_("By user"), _("user"), found.users[:LINES], len(found.users) - LINES),
                (_("By day"), _("day"), found.days[::-1], 0),
            ],
            "suggestions": {
                "chains": found.chains[:LINES],
                "models": found.models[:LINES],
                "users": [group for group in found.users[:LINES] if group.key is not None],
            },
            "csv_query": f"?{query}" if query else "",
            **(extra_context or {}),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "admin/openrouter_app/spending/page.html", context)

    def csv_view(self, request: HttpRequest) -> HttpResponse | StreamingHttpResponse:
        """Every charge that the page has summed up."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        form = FilterForm(request.GET)
        if not form.is_valid():
            return redirect(f"../?{request.GET.urlencode()}")
        filters = form.filters
        lines = _lines(filters)
        return StreamingHttpResponse(
            _in_pieces(lines) if isinstance(request, ASGIRequest) else lines,
            content_type="text/csv; charset=utf-8",
            headers={
                "Content-Disposition": f'attachment; filename="spending-{filters.first}-{filters.last}.csv"',
                "Cache-Control": "no-store",
                "X-Content-Type-Options": "nosniff",
            },
        )

    def has_view_permission(self, request: HttpRequest, obj: Spending | None = None) -> bool:
        """Who may look at charges may look at their sums."""
        return request.user.has_perm(VIEW)

    def has_module_permission(self, request: HttpRequest) -> bool:
        """The same, for the link in the index."""
        return request.user.has_perm(VIEW)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Spending | None = None) -> bool:
        """Nobody."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Spending | None = None) -> bool:
        """Nobody."""
        return False


def _days_of(filters: Filters) -> dict[str, date]:
    return {"first": filters.first, "last": filters.last}


class _Echo:
    """A file that answers what is written to it."""

    def write(self, line: str) -> str:
        return line


def _lines(filters: Filters) -> Generator[str]:
    writer = csv.writer(_Echo())
    yield "\ufeff"  # without it a spreadsheet takes UTF-8 for something else
    for row in csv_rows(filters):
        yield writer.writerow(row)


async def _in_pieces(lines: Generator[str]) -> AsyncIterator[str]:
    """The same for an ASGI server: of a plain iterator Django would gather all before it sends any."""
    join = sync_to_async(lambda: "".join(islice(lines, LINES_AT_ONCE)))
    try:
        while piece := await join():
            yield piece
    finally:
        await sync_to_async(lines.close)()
