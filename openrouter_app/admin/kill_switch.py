"""One page with one button that stops everything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asgiref.sync import async_to_sync
from django import forms
from django.contrib import admin, messages
from django.contrib.admin.widgets import AdminTextInputWidget
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from .. import runs
from ..models import Chain, KillSwitch, Run
from .display import STYLESHEET

if TYPE_CHECKING:
    _KillSwitchAdmin = admin.ModelAdmin[KillSwitch]
else:
    _KillSwitchAdmin = admin.ModelAdmin

ONLY = 1
"""The row's primary key."""


class SwitchForm(forms.Form):
    """What is done when it is switched on."""

    reason = forms.CharField(
        label=_("What visitors are told"),
        required=False,
        max_length=200,
        widget=AdminTextInputWidget,
        help_text=_("Empty: that the models are switched off for now."),
    )
    stop_running = forms.BooleanField(label=_("Stop what is running, too"), required=False, initial=True)


@admin.register(KillSwitch)
class KillSwitchAdmin(_KillSwitchAdmin):
    """The page in place of a list: there is one row, or none yet."""

    class Media:
        css = STYLESHEET

    def get_urls(self) -> list[URLPattern]:
        """The page and its history."""
        wrap = self.admin_site.admin_view
        name = f"{self.opts.app_label}_{self.opts.model_name}"
        return [
            path("", wrap(self.changelist_view), name=f"{name}_changelist"),
            path("<path:object_id>/history/", wrap(self.history_view), name=f"{name}_history"),
            # Where the history and the log of the admin's index link to.
            path("<path:object_id>/change/", wrap(self.change_redirect), name=f"{name}_change"),
        ]

    @transaction.non_atomic_requests  # it is on before what is running is looked for
    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """How it stands; POST: the button."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        form = SwitchForm(request.POST if request.method == "POST" and "on" in request.POST else None)
        if request.method == "POST":
            if not self.has_change_permission(request):
                raise PermissionDenied
            if "off" in request.POST or ("on" in request.POST and form.is_valid()):
                self._turn(request, form.cleaned_data if form.is_bound else None)
                return HttpResponseRedirect(self._page())
        switch = KillSwitch.objects.select_related("changed_by").filter(pk=ONLY).first()
        context = {
            **self.admin_site.each_context(request),
            "title": gettext("Kill switch"),
            "opts": self.opts,
            "media": self.media + form.media,
            "form": form,
            "switch": switch,
            "unfinished": Run.objects.filter(status__in=Run.UNFINISHED).count(),
            "off": Chain.objects.filter(enabled=False).order_by("title"),
            "may_change": self.has_change_permission(request),
            **(extra_context or {}),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "admin/openrouter_app/killswitch/page.html", context)

    def change_redirect(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The row's own page is the list's."""
        return HttpResponseRedirect(self._page())

    def _page(self) -> str:
        return reverse("admin:openrouter_app_killswitch_changelist", current_app=self.admin_site.name)

    def _turn(self, request: HttpRequest, on: dict[str, Any] | None) -> None:
        """Switch it, write the history, then stop what is running: nothing new begins meanwhile."""
        reason = on["reason"] if on else ""
        changed = {"is_on": on is not None, "reason": reason, "changed_by": request.user}
        switch, _new = KillSwitch.objects.update_or_create(pk=ONLY, defaults=changed)
        said = gettext("Switched off: nobody can start a run.") if on else gettext("Switched on again.")
        self.log_change(request, switch, f"{said} {reason}".strip())
        messages.success(request, said)
        if on and on["stop_running"]:
            stop_all(request, Run.objects.all())

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody: there is one row at most."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: KillSwitch | None = None) -> bool:
        """Nobody: it is turned instead."""
        return False


def stop_all(request: HttpRequest, chosen: Any) -> None:
    """Stop the unfinished ones of these runs, wherever they are, and say how many there were."""
    stopping = list(chosen.filter(status__in=Run.UNFINISHED).values_list("uuid", flat=True))
    async_to_sync(runs.stop_everywhere)(stopping)
    said = ngettext("%d run was asked to stop.", "%d runs were asked to stop.", len(stopping))
    messages.success(request, said % len(stopping))
