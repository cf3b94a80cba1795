"""The pages: which chains there are, and a page for each. What runs there goes over the websocket."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render, resolve_url
from django.urls import NoReverseMatch, Resolver404, get_script_prefix, resolve
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from .conf import get_settings
from .identity import visitor_id
from .models import DEFAULT_LABEL, Chain, ChainVersion, Owner, Run
from .models.prompts import variables_of


@dataclass(frozen=True, slots=True)
class Field:
    """A variable as the form shows it. An example that is an empty text says: this may stay empty."""

    name: str
    example: str
    required: bool

    @property
    def label(self) -> str:
        """The name as one would write it on paper: ``input_language`` is "Input language"."""
        words = self.name.replace("_", " ").strip() or self.name
        return words[:1].upper() + words[1:]


@require_safe
def index(request: HttpRequest) -> HttpResponse:
    """The chains this visitor may run."""
    chains = Chain.objects.visible_to(request.user).prefetch_related("labels")
    cards = [(chain, list(fields(chain.published, {}))) for chain in chains]
    return _page(request, "index", {"cards": cards})


@require_safe
def chain(request: HttpRequest, slug: str) -> HttpResponseBase:
    """A chain's page. To whoever may not run the chain there is none."""
    visible = Chain.objects.visible_to(request.user)
    found = visible.select_related("prompt").prefetch_related("labels").filter(slug=slug).first()
    if found is None:
        if _opens_after_sign_in(request, slug):
            return redirect_to_login(request.get_full_path())
        raise Http404(_("There is no chain “%s”.") % slug)
    owner = _owner(request)
    return _page(
        request,
        "chain",
        {
            "chain": found,
            "fields": list(fields(found.published, found.prompt.example_input)),
            "config": {
                "chain": found.slug,
                "socket": get_settings().WEBSOCKET_PATH,
                "unfinished": None if owner is None else _unfinished(found, owner),
            },
        },
    )


def fields(version: ChainVersion | None, examples: Mapping[str, Any]) -> Iterator[Field]:
    """What a run of this version must be given, in the order in which the prompt names it."""
    for name in variables_of(version.body["messages"]) if version else ():
        example = examples.get(name)
        yield Field(name, "" if example is None else str(example), required=example != "")


def _owner(request: HttpRequest) -> Owner | None:
    """Whose runs the page shows: who the websocket will take this visitor for."""
    if request.user.is_authenticated:
        return Owner.of_user(request.user)
    if hasattr(request, "session"):
        return Owner.of_visitor(visitor_id(request.session))  # made here, so that a reload finds it
    return None


def _unfinished(chain: Chain, owner: Owner) -> str | None:
    """The answer that a page of this chain is waiting for, in another tab or on another device."""
    runs = Run.objects.for_owner(owner).filter(
        chain=chain, origin=Run.Origin.WEBSOCKET, status__in=Run.UNFINISHED
    )
    newest = runs.values_list("uuid", flat=True).first()
    return None if newest is None else str(newest)


def _opens_after_sign_in(request: HttpRequest, slug: str) -> bool:
    return (
        not request.user.is_authenticated
        and Chain.objects.filter(
            slug=slug, enabled=True, access=Chain.Access.AUTHENTICATED, labels__name=DEFAULT_LABEL
        ).exists()
    )


def _page(request: HttpRequest, name: str, context: dict[str, Any]) -> HttpResponse:
    return render(request, f"openrouter_app/{name}.html", {"sign_in_url": _sign_in_url(request), **context})


def _sign_in_url(request: HttpRequest) -> str | None:
    """Where to sign in and come back, None where the site has no page for it."""
    try:
        url = resolve_url(settings.LOGIN_URL)
        if not urlsplit(url).netloc:
            resolve("/" + url.removeprefix(get_script_prefix()))
    except (NoReverseMatch, Resolver404):
        return None
    return f"{url}?{urlencode({'next': request.get_full_path()})}"
