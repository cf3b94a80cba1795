"""Published versions: to look at, never to change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from ..models import ChainVersion, Label
from .display import STYLESHEET, json_code

if TYPE_CHECKING:
    _VersionAdmin = admin.ModelAdmin[ChainVersion]
else:
    _VersionAdmin = admin.ModelAdmin


LABELS = Prefetch("labels", Label.objects.select_related(None))
"""The labels of versions, which need not bring their version along."""


@admin.register(ChainVersion)
class ChainVersionAdmin(_VersionAdmin):
    """What a chain was when it was published."""

    list_display = ["name", "chain", "label_list", "author", "created", "note"]
    list_display_links = ["name"]
    list_filter = ["chain", "created"]
    list_select_related = ["chain", "author"]
    search_fields = ["chain__slug", "chain__title", "note", "hash"]
    fields = ("chain", "name", "label_list", "author", "created", "note", "body_json", "hash", "uuid")
    readonly_fields = fields

    class Media:
        css = STYLESHEET

    def get_queryset(self, request: HttpRequest) -> QuerySet[ChainVersion]:
        """Without the bodies where only a list is shown."""
        versions = super().get_queryset(request).prefetch_related(LABELS)
        return versions if _is_one(request) else versions.defer("body")

    @admin.display(description=_("version"), ordering="number")
    def name(self, version: ChainVersion) -> str:
        """Its number."""
        return str(version)

    @admin.display(description=_("labels"))
    def label_list(self, version: ChainVersion) -> str:
        """The labels that point to it."""
        return ", ".join(label.name for label in version.labels.all()) or "-"

    @admin.display(description=_("content"))
    def body_json(self, version: ChainVersion) -> SafeString:
        """Prompt, tools, model and options, as they are sent."""
        return json_code(version.body)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Versions come from publishing."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A version never changes."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Runs name the version they ran."""
        return False


def _is_one(request: HttpRequest) -> bool:
    return request.resolver_match is not None and "object_id" in request.resolver_match.kwargs
