"""The catalogue: what OpenRouter lists, to look at and to fetch anew; and the search of a chain's form."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Max, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect, JsonResponse
from django.urls import URLPattern, path, reverse
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from .. import catalogue
from ..engine.errors import OpenRouterError
from ..models import CatalogueModel
from .display import STYLESHEET, json_code, moment
from .model_choice import MILLION, as_option, known, per_million, price, short

if TYPE_CHECKING:
    _CatalogueAdmin = admin.ModelAdmin[CatalogueModel]
else:
    _CatalogueAdmin = admin.ModelAdmin

SYNC = "openrouter_app.change_cataloguemodel"
MAY_SEARCH = (
    "openrouter_app.view_cataloguemodel",
    "openrouter_app.add_chain",
    "openrouter_app.change_chain",
)
SUGGESTED = 50
"""Models that one search suggests."""
PRICES = (("1", Decimal(1)), ("5", Decimal(5)), ("15", Decimal(15)))
"""US dollars that a million tokens of an answer may cost."""


class _Filter(admin.SimpleListFilter):
    """A choice whose conditions stand in `conditions`: one keyword argument of ``filter`` for each value."""

    conditions: dict[str, dict[str, Any]] = {}

    def queryset(self, request: HttpRequest, queryset: QuerySet[CatalogueModel]) -> QuerySet[CatalogueModel]:
        """Those of the choice."""
        return queryset.filter(**self.conditions.get(self.value() or "", {}))


class ListedFilter(_Filter):
    """What is listed now, and what was."""

    title = _("listed")
    parameter_name = "listed"
    conditions = {"yes": {"missing_since": None}, "no": {"missing_since__isnull": False}}

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        """The two."""
        return [("yes", _("now")), ("no", _("not any more"))]


class TakesFilter(_Filter):
    """What a model can be given beside text."""

    title = _("takes")
    parameter_name = "takes"
    conditions = {
        name: {"input_modalities__contains": f'"{name}"'} for name in ("image", "file", "audio", "video")
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        """What there is."""
        return [("image", _("pictures")), ("file", _("files")), ("audio", _("sound")), ("video", _("films"))]


class AnswersFilter(_Filter):
    """What a model answers with."""

    title = _("answers with")
    parameter_name = "answers"
    conditions = {name: {"output_modalities__contains": f'"{name}"'} for name in ("text", "image", "audio")}

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        """What a chat can use."""
        return [("text", _("text")), ("image", _("pictures")), ("audio", _("sound"))]


class SupportsFilter(_Filter):
    """What a model can be asked to do."""

    title = _("supports")
    parameter_name = "supports"
    conditions = {
        name: {"parameters__contains": f'"{name}"'}
        for name in ("tools", "tool_choice", "structured_outputs", "reasoning")
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        """What chains most often need."""
        return [
            ("tools", _("tools")),
            ("tool_choice", _("a forced tool")),
            ("structured_outputs", _("a JSON Schema")),
            ("reasoning", _("reasoning")),
        ]


class PriceFilter(_Filter):
    """What a million tokens of an answer cost."""

    title = _("price of an answer")
    parameter_name = "price"
    conditions = {
        "free": {"completion_price": 0, "prompt_price": 0},
        **{name: {"completion_price__lte": most / MILLION} for name, most in PRICES},
        "more": {"completion_price__gt": PRICES[-1][1] / MILLION},
        "varies": {"completion_price": None},
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        """Steps of US dollars a million tokens."""
        steps = [(name, gettext("up to $%(most)s per 1M tokens") % {"most": name}) for name, _most in PRICES]
        more = gettext("more than $%(most)s per 1M tokens") % {"most": PRICES[-1][0]}
        return [("free", _("free")), *steps, ("more", more), ("varies", _("varies"))]


@admin.register(CatalogueModel)
class CatalogueModelAdmin(_CatalogueAdmin):
    """The models as they were listed last. Nobody edits them: they are OpenRouter's."""

    list_display = ["slug", "price_in", "price_out", "length", "has_tools", "expires", "listed"]
    list_filter = [ListedFilter, SupportsFilter, TakesFilter, AnswersFilter, PriceFilter]
    search_fields = ["slug", "name"]
    change_list_template = "admin/openrouter_app/cataloguemodel/change_list.html"
    show_full_result_count = False
    fields = (
        *("slug", "canonical_slug", "name", "description", "shown_price"),
        *("prompt_price", "completion_price", "request_price", "image_price", "reasoning_price"),
        *("cache_read_price", "cache_write_price", "further_prices", "longer_prompts"),
        *("context_length", "max_completion_tokens", "takes", "answers", "supports", "shown_reasoning"),
        *("created", "expires", "seen_at", "missing_since"),
    )

    class Media:
        css = STYLESHEET

    def get_queryset(self, request: HttpRequest) -> QuerySet[CatalogueModel]:
        """Without what is long and not in the list."""
        rows = super().get_queryset(request)
        match = request.resolver_match
        is_list = match is not None and match.url_name == "openrouter_app_cataloguemodel_changelist"
        return rows.defer("description") if is_list else rows

    # What the pages show

    @admin.display(description=_("price"))
    def shown_price(self, row: CatalogueModel) -> str:
        """Of a million tokens."""
        return price(row)

    @admin.display(description=_("1M in"), ordering="prompt_price")
    def price_in(self, row: CatalogueModel) -> str:
        """US dollars for a million tokens of the prompt."""
        return per_million(row.prompt_price)

    @admin.display(description=_("1M out"), ordering="completion_price")
    def price_out(self, row: CatalogueModel) -> str:
        """US dollars for a million tokens of the answer."""
        return per_million(row.completion_price)

    @admin.display(description=_("context"), ordering="context_length")
    def length(self, row: CatalogueModel) -> str:
        """The length in thousands."""
        return short(row.context_length) if row.context_length else "-"

    @admin.display(description=_("tools"), boolean=True)
    def has_tools(self, row: CatalogueModel) -> bool:
        """Whether it calls tools."""
        return "tools" in row.parameters

    @admin.display(description=_("listed"), boolean=True, ordering="missing_since")
    def listed(self, row: CatalogueModel) -> bool:
        """Whether it was there when the list was fetched last."""
        return row.missing_since is None

    @admin.display(description=_("takes"))
    def takes(self, row: CatalogueModel) -> str:
        """Its input modalities."""
        return ", ".join(row.input_modalities)

    @admin.display(description=_("answers with"))
    def answers(self, row: CatalogueModel) -> str:
        """Its output modalities."""
        return ", ".join(row.output_modalities)

    @admin.display(description=_("supported parameters"))
    def supports(self, row: CatalogueModel) -> str:
        """Members of a request that do something."""
        return ", ".join(row.parameters)

    @admin.display(description=_("reasoning"))
    def shown_reasoning(self, row: CatalogueModel) -> SafeString | str:
        """What is said of it."""
        return json_code(row.reasoning) if row.reasoning else "-"

    @admin.display(description=_("further prices"))
    def further_prices(self, row: CatalogueModel) -> SafeString | str:
        """As OpenRouter names them."""
        return json_code(row.other_prices) if row.other_prices else "-"

    @admin.display(description=_("prices of longer prompts"))
    def longer_prompts(self, row: CatalogueModel) -> SafeString | str:
        """As OpenRouter writes them."""
        return json_code(row.overrides) if row.overrides else "-"

    # Who may

    def has_add_permission(self, request: HttpRequest) -> bool:
        """What is not listed is typed where it is used."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """The permission to change is the one to fetch the list."""
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Who may view, and who may fetch."""
        return request.user.has_perm("openrouter_app.view_cataloguemodel") or request.user.has_perm(SYNC)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """What is gone at OpenRouter is marked, for chains and answers name it."""
        return False

    # Fetching and searching

    def get_urls(self) -> list[URLPattern]:
        """With the button's address and the search's."""
        view = self.admin_site.admin_view
        return [
            path("sync/", view(self.sync_view), name="openrouter_app_cataloguemodel_sync"),
            path("search/", view(self.search_view), name="openrouter_app_cataloguemodel_search"),
            *super().get_urls(),
        ]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """With when the list was fetched last, and whether this person may fetch it."""
        newest = CatalogueModel.objects.aggregate(newest=Max("seen_at"))["newest"]
        context = {"may_sync": request.user.has_perm(SYNC), "fetched": moment(newest) if newest else ""}
        return super().changelist_view(request, {**context, **(extra_context or {})})

    @transaction.non_atomic_requests  # nothing is locked while OpenRouter is waited for
    def sync_view(self, request: HttpRequest) -> HttpResponse:
        """POST: fetch the list, and say what has changed."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not request.user.has_perm(SYNC):
            raise PermissionDenied
        try:
            synced = catalogue.sync()
        except OpenRouterError as error:
            said = gettext("OpenRouter's list of models cannot be had: %(why)s") % {"why": error}
            messages.error(request, said)
        else:
            _tell(request, synced)
        return HttpResponseRedirect(reverse("admin:openrouter_app_cataloguemodel_changelist"))

    def search_view(self, request: HttpRequest) -> HttpResponse:
        """GET ``?q=``: the nearest models as JSON, and what is known of the very text."""
        if request.method != "GET":
            return HttpResponseNotAllowed(["GET"])
        if not any(request.user.has_perm(permission) for permission in MAY_SEARCH):
            raise PermissionDenied
        typed = request.GET.get("q", "")[: catalogue.MAX_TEXT]
        models = [as_option(row) for row in catalogue.search(typed, limit=SUGGESTED)]
        answer = JsonResponse({"models": models, "known": known(typed)})
        answer["Cache-Control"] = "no-store"
        return answer


def _tell(request: HttpRequest, synced: catalogue.Synced) -> None:
    """What a sync has changed, in sentences."""
    said = [
        sentence % {"count": count}
        for count, sentence in (
            (synced.added, ngettext("%(count)d model is new.", "%(count)d models are new.", synced.added)),
            (
                synced.changed,
                ngettext("%(count)d model has changed.", "%(count)d models have changed.", synced.changed),
            ),
            (synced.back, ngettext("%(count)d model is back.", "%(count)d models are back.", synced.back)),
            (
                synced.missing,
                ngettext(
                    "%(count)d model is not listed any more.",
                    "%(count)d models are not listed any more.",
                    synced.missing,
                ),
            ),
        )
        if count
    ]
    messages.success(request, " ".join(said) or gettext("Nothing has changed."))
    if synced.doubted:
        doubt = ngettext(
            "%(count)d model was not listed, which is more than half of them: it was not marked. If it is "
            "gone for good, run manage.py openrouter_sync_models --force.",
            "%(count)d models were not listed, which is more than half of them: none was marked. If they are "
            "gone for good, run manage.py openrouter_sync_models --force.",
            synced.doubted,
        )
        messages.warning(request, doubt % {"count": synced.doubted})
