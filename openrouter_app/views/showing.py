"""Pages. To whoever may not run a chain there is none; what he said to it while he could stays his."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from ..conf import get_settings
from ..conversations import listing
from ..identity import owner_of_request
from ..models import Chain, Conversation, Owner, Run
from ..pages.account import account_config, account_url, offer_of
from ..pages.chat import chains_with_parts, chat_of, is_chat
from ..pages.conversations import row_of
from ..pages.fields import fields
from .visitors import message_in, mine, missing, opens_after_sign_in, page


@require_safe
def index(request: HttpRequest) -> HttpResponse:
    """The chains this visitor may run."""
    chains = Chain.objects.visible_to(request.user).prefetch_related("labels")
    cards = [(chain, list(fields(chain.published, {}))) for chain in chains]
    signed_in = request.user.is_authenticated
    users_may_pay = any(account_url(chain, signed_in=signed_in) for chain, _fields in cards)
    return page(request, "index", {"cards": cards, "users_may_pay": users_may_pay})


@require_safe
@never_cache
def chain(request: HttpRequest, slug: str) -> HttpResponseBase:
    """A chain's page: a chat where it takes the history, otherwise a form for one run."""
    found = visible(request, slug)
    if found is None:
        if opens_after_sign_in(request, slug):
            return redirect_to_login(request.get_full_path())
        raise Http404(_("There is no chain “%s”.") % slug)
    owner = owner_of_request(request, make=True)  # made here, so that a reload finds it
    if is_chat(found.published):
        return chat_page(request, found)
    return page(request, "chain", form_context(request, found, owner))


@require_safe
@never_cache
def conversation(request: HttpRequest, conversation: str) -> HttpResponse:
    """A conversation's page, ended by its head, or through ``?message=``."""
    found = mine(request, conversation)
    return chat_page(request, found.chain, found)


@require_safe
@never_cache
def conversations(request: HttpRequest) -> HttpResponse:
    """The visitor's conversations, searched by ``?q=``, of one chain by ``?chain=``."""
    query, slug, number = list_query(request)
    found = listing.page_of(owner_of_request(request), query=query, chain=slug, number=number)
    rows = [(listed, row_of(listed)) for listed in found.rows]
    context = {"rows": rows, "more": found.more, "number": number, "query": query, "chain_slug": slug}
    return page(request, "conversations", context)


@require_safe
@never_cache
def chat(request: HttpRequest, slug: str) -> HttpResponse:
    """What stands inside the element, for a page that has only the element itself."""
    if (text := request.GET.get("conversation")) is not None:
        found = mine(request, text)
        if found.chain.slug != slug:
            raise missing()
        return chat_page(request, found.chain, found, template="_chat")
    if (chain := visible(request, slug)) is None or not is_chat(chain.published):
        raise Http404(_("There is no chain “%s”.") % slug)
    owner_of_request(request, make=True)
    return chat_page(request, chain, template="_chat")


def visible(request: HttpRequest, slug: str) -> Chain | None:
    """The chain, where this visitor may run it."""
    found: Chain | None = chains_with_parts().visible_to(request.user).filter(slug=slug).first()
    return found


def list_query(request: HttpRequest) -> tuple[str, str, int]:
    """What a list is asked for: words, a chain, and the page's number."""
    text = request.GET.get("page", "1")
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 5 else 1
    words = " ".join(listing.words_of(request.GET.get("q", "")))
    return words, request.GET.get("chain", "").replace("\x00", "")[:100], max(number, 1)


def chat_page(
    request: HttpRequest,
    chain: Chain,
    conversation: Conversation | None = None,
    *,
    template: str = "chat",
    status: int = 200,
    **shown: Any,
) -> HttpResponse:
    """The chat as a page of its own, or as the inside of an element."""
    message = message_in(request) if conversation is not None and request.method != "POST" else None
    found = chat_of(request, chain, conversation, message, **shown)
    if found is None:
        raise missing()
    context = {"chat": found, "chain": chain, "conversation": conversation}
    return page(request, template, context, status)


def form_context(
    request: HttpRequest, chain: Chain, owner: Owner | None, given: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """What the page of a chain shows that answers once; ``given`` is what was written into it."""
    examples = {**chain.prompt.example_input, **(given or {})}
    offer = offer_of(request, chain, reverse("openrouter_app:chain", args=[chain.slug]))
    return {
        "chain": chain,
        "fields": list(fields(chain.published, examples)),
        "offer": offer,
        "config": {
            "chain": chain.slug,
            "socket": get_settings().WEBSOCKET_PATH,
            "unfinished": None if owner is None else _unfinished(chain, owner),
            **account_config(offer),
        },
    }


def _unfinished(chain: Chain, owner: Owner) -> str | None:
    """The answer that a page of this chain is waiting for, in another tab or on another device."""
    runs = Run.objects.for_owner(owner).filter(
        chain=chain, origin=Run.Origin.WEBSOCKET, status__in=Run.UNFINISHED, conversation=None
    )
    newest = runs.values_list("uuid", flat=True).first()
    return None if newest is None else str(newest)
