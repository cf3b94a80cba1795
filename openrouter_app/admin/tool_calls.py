"""Calls of tools: what was called, what came of it, and the inbox of those that wait for a person."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from asgiref.sync import async_to_sync
from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ActionForm
from django.contrib.admin.utils import unquote
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.core.handlers.asgi import ASGIRequest
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from .. import runs
from ..background import in_background
from ..models import Run, ToolCall
from ..models.fields import pretty_json
from ..models.tools import Approval
from .display import STYLESHEET, code, is_page_of, json_code, moment, owner_name, status_badge

if TYPE_CHECKING:
    _ToolCallAdmin = admin.ModelAdmin[ToolCall]
else:
    _ToolCallAdmin = admin.ModelAdmin

DECIDE = "openrouter_app.decide_toolcall"
MAX_REASON = 1_000
MOST_LISTED = 300
"""Characters of arguments. What has more is not approved from the list: nobody reads it there."""
_UNSEEN = re.compile("[\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]")
DECISIONS = {"approve": True, "deny": False}
ACTIONS = {"approve_selected": True, "deny_selected": False}


class InboxFilter(admin.SimpleListFilter):
    """What waits for a decision: everything, or what whoever looks has to decide on."""

    title = _("waiting")
    parameter_name = "waiting"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        """The two inboxes."""
        return [("me", _("for me")), ("anybody", _("for anybody"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[ToolCall]) -> QuerySet[ToolCall]:
        """Those that can still be decided on."""
        if self.value() is None:
            return queryset
        waiting = queryset.filter(
            status=ToolCall.Status.WAITING,
            approval_expires__gt=timezone.now(),
            run__status__in=Run.UNFINISHED,
        )
        if self.value() == "me":
            mine = Q(run__user_id=request.user.pk)
            if request.user.has_perm(DECIDE):
                mine |= Q(approval=Approval.STAFF)
            waiting = waiting.filter(mine)
        return waiting


class DecisionActionForm(ActionForm):
    """The actions, and a reason for those that are denied."""

    reason = forms.CharField(label=_("Reason:"), required=False, max_length=MAX_REASON)


@admin.register(ToolCall)
class ToolCallAdmin(_ToolCallAdmin):
    """Tool calls, read-only, but that those who may decide can approve and deny the ones that wait."""

    list_display = ["tool", "short_arguments", "who", "expires", "state", "approval", "chain"]
    list_display_links = ["tool"]
    list_filter = [InboxFilter, "status", "approval", "run__chain"]
    action_form = DecisionActionForm
    actions = ["approve_selected", "deny_selected"]
    show_full_result_count = False
    ordering = ["-pk"]
    what: Any = (None, {"fields": ["tool", "state", "chain", "run_link", "who", "asked", "shown_arguments"]})
    decision: Any = (_("Decision"), {"fields": ["approval", "expires", "decided_by", "decided_at", "reason"]})
    outcome: Any = (_("What came of it"), {"fields": ["started", "ended", "output_json", "error_text"]})
    log: Any = (_("For the log"), {"fields": ["uuid", "call", "hash"], "classes": ["collapse"]})
    fieldsets = [what, decision, outcome, log]

    class Media:
        css = STYLESHEET

    def get_search_fields(self, request: HttpRequest) -> list[str]:
        """The tool, the ids, and the user's name."""
        return ["name", "uuid", "run__uuid", f"run__user__{get_user_model().USERNAME_FIELD}"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[ToolCall]:
        """With the run's identity, and without its texts."""
        heavy = ("parts", "private", "input", "options", "output", "error_message", "error_detail")
        found = super().get_queryset(request).select_related("run__chain", "run__user", "decided_by")
        return found.defer(*(f"run__{name}" for name in heavy))

    def get_fieldsets(self, request: HttpRequest, obj: ToolCall | None = None) -> Any:
        """What has not happened yet is left out."""
        if obj is None or obj.status != ToolCall.Status.WAITING:
            return self.fieldsets
        return [self.what, (_("Decision"), {"fields": ["approval", "expires"]})]

    # What is shown

    @admin.display(description=_("tool"), ordering="name")
    def tool(self, call: ToolCall) -> str:
        """Its name."""
        return call.name

    @admin.display(description=_("status"), ordering="status")
    def state(self, call: ToolCall) -> SafeString:
        """Its status, in its colour."""
        return status_badge(call.status, call.get_status_display())

    @admin.display(description=_("arguments"))
    def shown_arguments(self, call: ToolCall) -> SafeString:
        """What the tool is to be called with: as the model wrote it, in its order, and only as text.

        Characters that are not seen, or turn others round, stand as escapes: what is read is what runs.
        """
        try:
            text = pretty_json(json.loads(call.arguments))
        except (ValueError, RecursionError):
            text = call.arguments
        return code(_UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text))

    @admin.display(description=_("arguments"))
    def short_arguments(self, call: ToolCall) -> SafeString:
        """The same in a line or two, and only its beginning where it is long."""
        cut = Truncator(call.arguments).chars(MOST_LISTED)
        return format_html('<code class="openrouter-arguments">{}</code>', cut)

    @admin.display(description=_("chain"), ordering="run__chain__title")
    def chain(self, call: ToolCall) -> str:
        """Whose tool it is."""
        return str(call.run.chain)

    @admin.display(description=_("run"))
    def run_link(self, call: ToolCall) -> SafeString:
        """The run that waits for it."""
        address = reverse("admin:openrouter_app_run_change", args=[call.run_id])
        return format_html('<a href="{}">{}</a>', address, call.run.uuid)

    @admin.display(description=_("asked by"))
    def who(self, call: ToolCall) -> str:
        """Whose run it is."""
        return owner_name(call.run.user, call.run.visitor)

    @admin.display(description=_("asked"), ordering="run__created")
    def asked(self, call: ToolCall) -> str:
        """When the run was started."""
        return moment(call.run.created)

    @admin.display(description=_("expires"), ordering="approval_expires", empty_value="-")
    def expires(self, call: ToolCall) -> str | None:
        """Until when somebody can decide; after that it counts as denied."""
        return moment(call.approval_expires) if call.approval_expires else None

    @admin.display(description=_("result"))
    def output_json(self, call: ToolCall) -> SafeString | str:
        """What the handler answered."""
        return "-" if call.output is None else json_code(call.output)

    @admin.display(description=_("error"))
    def error_text(self, call: ToolCall) -> SafeString | str:
        """What went wrong."""
        return code(call.error) if call.error else "-"

    # Decisions

    def has_decide_permission(self, request: HttpRequest) -> bool:
        """Its own permission: who looks at calls need not be who allows them."""
        return bool(request.user.has_perm(DECIDE))

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Who decides has to see on what."""
        return super().has_view_permission(request, obj) or self.has_decide_permission(request)

    def get_urls(self) -> list[URLPattern]:
        """With the address that decides."""
        return [
            path(
                "<path:object_id>/decide/",
                self.admin_site.admin_view(self.decide_view),
                name="openrouter_app_toolcall_decide",
            ),
            *super().get_urls(),
        ]

    def decide_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """POST: approve or deny one call, then show what became of it."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self.has_decide_permission(request):
            raise PermissionDenied
        call = self.get_object(request, unquote(object_id))
        if call is None:
            raise Http404(gettext("There is no such tool call."))
        approve = DECISIONS.get(request.POST.get("decision", ""))
        if approve is None:
            messages.error(request, gettext("Choose whether the call may run."))
        else:
            self._decide(request, call, approve, request.POST.get("reason", ""))
        return HttpResponseRedirect(reverse("admin:openrouter_app_toolcall_change", args=[call.pk]))

    @admin.action(description=_("Approve selected tool calls"), permissions=["decide"])
    def approve_selected(self, request: HttpRequest, queryset: QuerySet[ToolCall]) -> None:
        """Each by itself; what the list does not show whole is left."""
        for call in queryset:
            if len(call.arguments) > MOST_LISTED:
                said = gettext("%(call)s has long arguments: open it, and decide there.")
                messages.warning(request, said % {"call": _name(call)})
            else:
                self._decide(request, call, True, "")

    @admin.action(description=_("Deny selected tool calls"), permissions=["decide"])
    def deny_selected(self, request: HttpRequest, queryset: QuerySet[ToolCall]) -> None:
        """All with the same reason."""
        for call in queryset:
            self._decide(request, call, False, request.POST.get("reason", ""))

    def _decide(self, request: HttpRequest, call: ToolCall, approve: bool, reason: str) -> None:
        """Decide, write the history, and say what happened."""
        try:
            decide = partial(runs.decide_as_staff, request.user, call.uuid)
            _in_the_server(request, partial(decide, approve=approve, reason=reason[:MAX_REASON]))
        except runs.Refused as error:
            said = gettext("%(call)s: %(why)s")
            messages.error(request, said % {"call": _name(call), "why": error.message})
            return
        said = gettext("%(call)s was approved.") if approve else gettext("%(call)s was denied.")
        said %= {"call": _name(call)}
        self.log_change(request, call, said)
        messages.success(request, said)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """An action of somebody who may not decide is refused, not left out."""
        if request.POST.get("action") in ACTIONS and not self.has_decide_permission(request):
            raise PermissionDenied
        response: HttpResponse = super().changelist_view(request, extra_context)
        return response

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """With whether somebody has to decide, and whether this person may."""
        call: ToolCall | None = kwargs.get("obj")
        if call is not None:
            context["waits"] = (
                call.status == ToolCall.Status.WAITING
                and not call.run.is_final
                and (call.approval_expires is None or call.approval_expires > timezone.now())
            )
            context["may_decide"] = self.has_decide_permission(request)
            context["max_reason"] = MAX_REASON
        return super().render_change_form(request, context, *args, **kwargs)

    # Nothing else

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Models call tools."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """What happened does not change."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Only with its run, never by itself."""
        return not is_page_of(request, self.opts) and super().has_delete_permission(request, obj)


def _name(call: ToolCall) -> str:
    return f'"{call.name}" ({owner_name(call.run.user, call.run.visitor)})'


def _in_the_server(request: HttpRequest, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Do it on a loop that outlasts this request, as the run that goes on needs: the server's own, or under
    WSGI one in the background.
    """
    if isinstance(request, ASGIRequest):
        async_to_sync(work)()
    else:
        in_background(work()).result()
