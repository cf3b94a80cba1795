"""Conversations: who talked to which chain, and the runs that answered. To look at, never to change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ..models import Conversation, Run
from .display import STYLESHEET, is_page_of, owner_name

if TYPE_CHECKING:
    _ConversationAdmin = admin.ModelAdmin[Conversation]
else:
    _ConversationAdmin = admin.ModelAdmin

RUNS_SHOWN = 50


@admin.register(Conversation)
class ConversationAdmin(_ConversationAdmin):
    """A conversation and its runs. What was said stands in these."""

    list_display = ["shown_title", "chain", "who", "answers", "updated"]
    list_filter = ["chain", "updated"]
    list_select_related = ["chain", "user"]
    date_hierarchy = "created"
    show_full_result_count = False
    fields = ("shown_title", "chain", "who", "created", "updated", "runs", "uuid")

    class Media:
        css = STYLESHEET

    def get_search_fields(self, request: HttpRequest) -> list[str]:
        """Title, ids and the user's name."""
        return ["title", "uuid", "=visitor", f"user__{get_user_model().USERNAME_FIELD}"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Conversation]:
        """With how many runs each has, counted for the rows of the page alone."""
        runs = Run.objects.filter(conversation=OuterRef("pk")).order_by().values("conversation")
        count = Coalesce(Subquery(runs.annotate(count=Count("pk")).values("count")), 0)
        return super().get_queryset(request).select_related("chain", "user").annotate(run_count=count)

    @admin.display(description=_("title"), ordering="title")
    def shown_title(self, conversation: Conversation) -> str:
        """What it is called."""
        return conversation.title or gettext("untitled")

    @admin.display(description=_("owner"))
    def who(self, conversation: Conversation) -> str:
        """The user, or the beginning of the visitor's id."""
        return owner_name(conversation.user, conversation.visitor)

    @admin.display(description=_("runs"), ordering="run_count")
    def answers(self, conversation: Conversation) -> int:
        """How many there are."""
        return conversation.run_count  # type: ignore[attr-defined, no-any-return]

    @admin.display(description=_("runs"))
    def runs(self, conversation: Conversation) -> SafeString | str:
        """The newest, each linked to what was asked and answered."""
        found = conversation.runs.only("pk", "status", "created", "model").order_by("-pk")[:RUNS_SHOWN]
        if not found:
            return "-"
        context = {
            "runs": found,
            "conversation": conversation,
            "more": self.answers(conversation) - RUNS_SHOWN,
        }
        return render_to_string("admin/openrouter_app/conversation/runs.html", context)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """A conversation begins with its first message."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """It is its owner's."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Only with its owner, never by itself; ``openrouter_prune`` removes old ones."""
        return not is_page_of(request, self.opts) and super().has_delete_permission(request, obj)
