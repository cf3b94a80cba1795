"""Runs: who asked what, what came of it, and why not."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from asgiref.sync import async_to_sync
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from .. import runs
from ..models import ModelCall, Run, ToolCall
from ..models.fields import pretty_json
from .display import STYLESHEET, code, json_code, owner_name, status_badge

if TYPE_CHECKING:
    _RunAdmin = admin.ModelAdmin[Run]
else:
    _RunAdmin = admin.ModelAdmin


@admin.register(Run)
class RunAdmin(_RunAdmin):
    """Runs, read-only, but that those who may change them can stop them. A run that was deleted takes
    nothing else with it."""

    actions = ["stop"]
    list_display = ["created", "state", "chain_version", "who", "model", "tokens", "price", "took"]
    list_filter = ["status", "chain", "origin", "payer"]
    list_select_related = ["chain", "version", "user"]
    date_hierarchy = "created"
    show_full_result_count = False
    fieldsets = [
        (
            None,
            {
                "fields": [
                    *("state", "error_message", "chain", "version_link", "who", "origin"),
                    *("conversation", "calls", "uuid"),
                ]
            },
        ),
        (_("Input"), {"fields": ["input_json", "options_json"]}),
        (_("Answer"), {"fields": ["answer"]}),
        (
            _("What it took"),
            {
                "fields": [
                    *("model", "provider", "tokens", "price", "payer", "created", "first_after", "took"),
                    *("reason", "model_calls"),
                ]
            },
        ),
        (
            _("For the log"),
            {
                "fields": [
                    "error_code",
                    "error_detail_text",
                    "generation_id",
                    "times",
                    "process",
                    "private_json",
                ],
                "classes": ["collapse"],
            },
        ),
    ]

    class Media:
        css = STYLESHEET

    def get_search_fields(self, request: HttpRequest) -> list[str]:
        """The run's id and the user's name."""
        return ["uuid", "=visitor", f"user__{get_user_model().USERNAME_FIELD}", "chain__slug"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Run]:
        """Without the texts where only a list is shown, and never with a version's body."""
        found = (
            super().get_queryset(request).select_related("chain", "version", "user").defer("version__body")
        )
        if request.resolver_match is not None and "object_id" in request.resolver_match.kwargs:
            return found
        return found.defer(
            "version__body", "input", "options", "parts", "private", "output", "error_message", "error_detail"
        )

    @admin.action(description=_("Stop selected runs"), permissions=["stop"])
    def stop(self, request: HttpRequest, queryset: QuerySet[Run]) -> None:
        """What they have said so far is kept; those that have ended stay as they are."""
        unfinished = queryset.filter(status__in=Run.UNFINISHED)
        stopping = list(unfinished.values_list("uuid", flat=True))
        async_to_sync(runs.stop_everywhere)(stopping)
        said = ngettext("%d run was asked to stop.", "%d runs were asked to stop.", len(stopping))
        self.message_user(request, said % len(stopping))

    def has_stop_permission(self, request: HttpRequest) -> bool:
        """The permission to change runs."""
        return bool(request.user.has_perm("openrouter_app.change_run"))

    @admin.display(description=_("chain"), ordering="chain__title")
    def chain_version(self, run: Run) -> str:
        """The chain and the version's number."""
        return f"{run.chain} {run.version}"

    @admin.display(description=_("version"))
    def version_link(self, run: Run) -> SafeString:
        """Its number, linked to what was sent."""
        address = reverse("admin:openrouter_app_chainversion_change", args=[run.version_id])
        return format_html('<a href="{}">{}</a>', address, run.version)

    @admin.display(description=_("owner"))
    def who(self, run: Run) -> str:
        """The user, the beginning of the visitor's id, or the system."""
        return owner_name(run.user, run.visitor)

    @admin.display(description=_("status"), ordering="status")
    def state(self, run: Run) -> SafeString:
        """Its status, in its colour."""
        return status_badge(run.status, run.get_status_display())

    @admin.display(description=_("tokens"))
    def tokens(self, run: Run) -> str:
        """What was read and what was written."""
        if run.prompt_tokens is None and run.completion_tokens is None:
            return "-"
        read, written = ("?" if n is None else f"{n:,}" for n in (run.prompt_tokens, run.completion_tokens))
        return gettext("%(read)s in, %(written)s out") % {"read": read, "written": written}

    @admin.display(description=_("cost"), ordering="cost")
    def price(self, run: Run) -> str:
        """In US dollars, as exact as it was said; an estimate is marked."""
        return _dollars(run.cost, is_estimate=run.cost_estimated)

    @admin.display(description=_("first token after"))
    def first_after(self, run: Run) -> str:
        """Seconds from its start to the first piece of the answer."""
        return _seconds(run.started, run.first_token)

    @admin.display(description=_("took"))
    def took(self, run: Run) -> str:
        """Seconds from its start to its end."""
        return _seconds(run.started, run.ended)

    @admin.display(description=_("input"))
    def input_json(self, run: Run) -> SafeString:
        """The values of the variables."""
        return json_code(run.input)

    @admin.display(description=_("options"))
    def options_json(self, run: Run) -> SafeString | str:
        """What the client set beside the chain's own options."""
        return json_code(run.options) if run.options else "-"

    @admin.display(description=_("answer"))
    def answer(self, run: Run) -> SafeString | str:
        """The parts so far, as text: nothing a model wrote is markup here."""
        said = run.parts if run.is_final else runs.parts_so_far(run.uuid)
        if not said:
            return "-"
        parts = [_part(part) for part in said]
        return render_to_string("admin/openrouter_app/run/parts.html", {"parts": parts})

    @admin.display(description=_("tool calls"))
    def calls(self, run: Run) -> SafeString | str:
        """Those that were to act, each linked to who allowed it and what came of it."""
        found = [
            (reverse("admin:openrouter_app_toolcall_change", args=[call.pk]), call.name, _call_status(call))
            for call in run.tool_calls.only("name", "status").order_by("pk")
        ]
        return format_html_join("", '<p><a href="{}">{}</a> {}</p>', found) or "-"

    @admin.display(description=_("model calls"))
    def model_calls(self, run: Run) -> SafeString | str:
        """Each with what it has cost, or about so much as long as OpenRouter has not said it."""
        found = [
            (
                call.number,
                call.model or call.requested,
                " · ".join(filter(None, _facts_of(call))),
                call.generation_id,
                call.error,
            )
            for call in run.model_calls.all()
        ]
        return format_html_join("", "<p>{}. {} {} <code>{}</code> {}</p>", found) or "-"

    @admin.display(description=_("error detail"))
    def error_detail_text(self, run: Run) -> SafeString | str:
        """What the provider or the network said."""
        return code(run.error_detail) if run.error_detail else "-"

    @admin.display(description=_("times"))
    def times(self, run: Run) -> SafeString:
        """When what happened."""
        names = ("created", "started", "first_token", "ended", "stop_requested_at")
        return json_code({name: at.isoformat() for name in names if (at := getattr(run, name))})

    @admin.display(description=_("process"))
    def process(self, run: Run) -> str:
        """Which process executes it, or did, and until when it is known to."""
        until = f", {run.lease_until.isoformat()}" if run.lease_until else ""
        return f"{run.owner_process} ({run.fence}){until}" if run.owner_process else "-"

    @admin.display(description=_("kept from pages"))
    def private_json(self, run: Run) -> SafeString | str:
        """What no page may show."""
        return json_code(run.private) if run.private else "-"

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Runs are started on a chain's page, on the command line, or from code."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """What happened does not change."""
        return False

    def delete_model(self, request: HttpRequest, obj: Run) -> None:
        """Behind its lock: what it has cost may be noted at this moment."""
        self.delete_queryset(request, Run.objects.filter(pk=obj.pk))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Run]) -> None:
        """Behind their locks."""
        chosen = Run.objects.filter(pk__in=list(queryset.values_list("pk", flat=True)))
        with transaction.atomic():
            list(chosen.select_for_update().order_by("pk").values_list("pk"))
            super().delete_queryset(request, chosen)


def _dollars(cost: Decimal | None, *, is_estimate: bool) -> str:
    return "-" if cost is None else f"{'≈ ' if is_estimate else ''}${cost.normalize():f}"


def _facts_of(call: ModelCall) -> Iterator[str]:
    yield call.provider
    if call.prompt_tokens is not None and call.completion_tokens is not None:
        read, written = f"{call.prompt_tokens:,}", f"{call.completion_tokens:,}"
        yield gettext("%(read)s in, %(written)s out") % {"read": read, "written": written}
    yield _dollars(call.cost, is_estimate=call.settled_at is None)
    if call.settled_at is None and call.ask_after is not None:
        yield gettext("OpenRouter is asked for its cost")


def _seconds(start: datetime | None, end: datetime | None) -> str:
    return gettext("%(seconds).1f s") % {"seconds": (end - start).total_seconds()} if start and end else "-"


def _call_status(call: ToolCall) -> SafeString:
    return status_badge(call.status, call.get_status_display())


def _part(part: Any) -> dict[str, Any]:
    """One part for the template: ``type``, ``title``, ``text``, and a call's ``status`` and ``message``."""
    kind = str(part.get("type", "?"))
    match kind:
        case "text" | "reasoning":
            return {"type": kind, "title": kind, "text": part.get("text", "")}
        case "step":
            return {"type": kind, "title": " ".join(filter(None, (part.get("name"), part.get("model"))))}
        case "call":
            return {
                "type": kind,
                "title": part.get("name", ""),
                "status": part.get("status", ""),
                "text": part.get("raw") or pretty_json(part.get("arguments")),
                "output": pretty_json(part["output"]) if "output" in part else "",
                "message": part.get("message") or part.get("error") or part.get("reason") or "",
            }
        case _:
            return {"type": kind, "title": kind, "text": pretty_json(part)}
