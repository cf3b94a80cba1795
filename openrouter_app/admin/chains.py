"""Chains: edited, then published."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.loader import render_to_string
from django.urls import NoReverseMatch, URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from .. import catalogue
from ..models import Chain, ChainVersion, Run
from .display import FORM_FIELDS, STYLESHEET
from .kill_switch import stop_all
from .model_choice import MODEL_STYLESHEET, ModelInput
from .versions import LABELS

if TYPE_CHECKING:
    _ChainForm = forms.ModelForm[Chain]
    _ChainAdmin = admin.ModelAdmin[Chain]
else:
    _ChainForm = forms.ModelForm
    _ChainAdmin = admin.ModelAdmin

VERSIONS_SHOWN = 10
PUBLISH = "openrouter_app.publish_chain"


class ChainForm(_ChainForm):
    """What only a form can see: the tools that are chosen but not saved yet."""

    class Meta:
        widgets = {"model": ModelInput}

    def clean(self) -> dict[str, Any]:
        """The forced tool is among the tools."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        forced = cleaned.get("forced_tool")
        if forced is not None and "tools" in cleaned and forced not in cleaned["tools"]:
            self.add_error(
                "forced_tool", gettext("Choose one of the chain's tools, or add this one to them.")
            )
        return cleaned


@admin.register(Chain)
class ChainAdmin(_ChainAdmin):
    """A chain, its state, and the button that publishes what is saved."""

    form = ChainForm
    list_display = ["title", "state", "model", "access", "payer", "enabled"]
    list_filter = ["access", "payer", "enabled"]
    search_fields = ["slug", "title", "model", "description"]
    prepopulated_fields = {"slug": ["title"]}
    filter_horizontal = ["tools"]
    readonly_fields = ["versions_made"]
    formfield_overrides = FORM_FIELDS
    actions = ["publish_selected", "switch_off"]
    fieldsets = [
        (None, {"fields": ["title", "slug", "description"]}),
        (_("What is sent"), {"fields": ["prompt", "model", "options"]}),
        (_("Tools"), {"fields": ["tools", "tool_choice", "forced_tool", "parser"]}),
        (
            _("Conversations"),
            {
                "fields": ["message_variable", "history_messages", "history_tokens"],
                "description": _(
                    "For a prompt with a messages placeholder: what was said before stands in its place."
                ),
            },
        ),
        (_("Who may run it"), {"fields": ["access", "payer", "enabled", "client_models", "client_options"]}),
        (_("Versions"), {"fields": ["versions_made"]}),
    ]

    class Media:
        css = {"all": [*STYLESHEET["all"], *MODEL_STYLESHEET["all"]]}

    def get_fieldsets(self, request: HttpRequest, obj: Chain | None = None) -> Any:
        """A new chain has no versions yet."""
        fieldsets = super().get_fieldsets(request, obj)
        return fieldsets if obj else fieldsets[:-1]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Chain]:
        """With all that tells whether there are unpublished changes."""
        return Chain.objects.with_parts()

    @admin.display(description=_("published"))
    def state(self, chain: Chain) -> SafeString:
        """The published version, and whether something was changed since."""
        return _state(chain.published, chain.has_unpublished_changes)

    @admin.display(description=_("published so far"))
    def versions_made(self, chain: Chain) -> SafeString | str:
        """The newest versions, with what points to them."""
        newest = chain.versions.select_related("author").prefetch_related(LABELS).defer("body")
        versions = list(newest[:VERSIONS_SHOWN])
        if not versions:
            return gettext("None yet.")
        context = {"versions": versions, "chain": chain}
        return render_to_string("admin/openrouter_app/chain/versions.html", context)

    # Publishing

    def has_publish_permission(self, request: HttpRequest) -> bool:
        """Its own permission: who edits a chain need not be who puts it in front of visitors."""
        return request.user.has_perm(PUBLISH)

    def get_urls(self) -> list[URLPattern]:
        """With the address that publishes."""
        return [
            path(
                "<path:object_id>/publish/",
                self.admin_site.admin_view(self.publish_view),
                name="openrouter_app_chain_publish",
            ),
            *super().get_urls(),
        ]

    def publish_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """POST: publish what is saved, then show the chain."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        chain = self.get_object(request, unquote(object_id))
        if not self.has_publish_permission(request) or not self.has_view_permission(request, chain):
            raise PermissionDenied
        if chain is None:
            raise Http404(gettext("There is no such chain."))
        self._publish(request, chain, note=request.POST.get("note", "")[:1000])
        return HttpResponseRedirect(reverse("admin:openrouter_app_chain_change", args=[chain.pk]))

    @admin.action(description=_("Publish the selected chains"), permissions=["publish"])
    def publish_selected(self, request: HttpRequest, queryset: QuerySet[Chain]) -> None:
        """Publish each by itself: one that cannot be published keeps none of the others back."""
        for chain in queryset:
            self._publish(request, chain)
            self._advise(request, chain)

    @admin.action(description=_("Switch off at once, and stop their runs"), permissions=["change"])
    def switch_off(self, request: HttpRequest, queryset: QuerySet[Chain]) -> None:
        """Off for everybody first: what is stopped must not be started again meanwhile."""
        chosen = list(queryset)
        Chain.objects.filter(pk__in=[chain.pk for chain in chosen]).update(enabled=False)
        for chain in chosen:
            self.log_change(request, chain, gettext("Switched off."))
        transaction.on_commit(lambda: stop_all(request, Run.objects.filter(chain__in=chosen)))

    def _publish(self, request: HttpRequest, chain: Chain, note: str = "") -> None:
        """Publish, write the history, and say what happened."""
        before = chain.published
        try:
            version = chain.publish(author=request.user, note=note)
        except ValidationError as error:
            for sentence in error.messages:
                messages.error(request, gettext("%(chain)s: %(why)s") % {"chain": chain, "why": sentence})
            return
        if before == version:
            said = gettext("%(chain)s: nothing has changed since %(version)s.")
            messages.info(request, said % {"chain": chain, "version": version})
            return
        said = gettext("%(chain)s: %(version)s is published.") % {"chain": chain, "version": version}
        self.log_change(request, chain, said)
        messages.success(request, said)

    def _advise(self, request: HttpRequest, chain: Chain) -> None:
        """Say what the chain's models lack, where the page that follows does not."""
        for sentence in catalogue.advice(chain):
            messages.warning(request, gettext("%(chain)s: %(why)s") % {"chain": chain, "why": sentence})

    def response_add(
        self, request: HttpRequest, obj: Chain, post_url_continue: str | None = None
    ) -> HttpResponse:
        """After "Save and publish", also publish."""
        if "_publish" in request.POST:
            return self._response_published(request, obj)
        return super().response_add(request, obj, post_url_continue)

    def response_change(self, request: HttpRequest, obj: Chain) -> HttpResponse:
        """After "Save and publish", also publish."""
        if "_publish" in request.POST:
            return self._response_published(request, obj)
        return super().response_change(request, obj)

    def _response_published(self, request: HttpRequest, chain: Chain) -> HttpResponse:
        if not self.has_publish_permission(request):
            raise PermissionDenied
        messages.success(request, gettext("%(chain)s was saved.") % {"chain": chain})
        self._publish(request, Chain.objects.get(pk=chain.pk))
        return HttpResponseRedirect(reverse("admin:openrouter_app_chain_change", args=[chain.pk]))

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """With the state, and whether this person may publish."""
        chain: Chain | None = kwargs.get("obj")
        context["may_publish"] = self.has_publish_permission(request) and self.has_change_permission(
            request, chain
        )
        if chain is not None:
            context["chain_state"] = self.state(chain)
            context["advice"] = catalogue.advice(chain)
            context["can_be_published"] = (
                self.has_publish_permission(request) and chain.has_unpublished_changes
            )
        return super().render_change_form(request, context, *args, **kwargs)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """After the tools are saved, too, what is allowed but surely not meant."""
        super().save_related(request, form, formsets, change)
        chain: Chain = form.instance
        if not {"_continue", "_publish"} & request.POST.keys():
            self._advise(request, chain)
        if chain.parser == Chain.Parser.TOOLS and chain.tools.exclude(handler="").exists():
            messages.warning(
                request,
                gettext("The answer of this chain is the tool calls: no handler of its tools will run."),
            )

    def view_on_site(self, obj: Chain) -> str | None:
        """The chain's page, once there is something to run."""
        if obj.published is None or not obj.enabled:
            return None
        try:
            return reverse("openrouter_app:chain", args=[obj.slug])
        except NoReverseMatch:  # a site that has only the websocket
            return None


def _state(published: ChainVersion | None, changed: bool) -> SafeString:
    if published is None:
        return format_html(
            '<span class="openrouter-state" data-state="none">{}</span>', gettext("not published")
        )
    text = gettext("%(version)s published") % {"version": published}
    if not changed:
        return format_html('<span class="openrouter-state" data-state="same">{}</span>', text)
    return format_html(
        '<span class="openrouter-state" data-state="same">{}</span> '
        '<span class="openrouter-state" data-state="changed">{}</span>',
        text,
        gettext("unpublished changes"),
    )
