"""Whose it is: a conversation is looked for among the visitor's own, and all others are not there."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils.translation import gettext as _

from ..identity import owner_of_request
from ..models import DEFAULT_LABEL, Chain, Conversation
from ..pages.account import sign_in_page
from ..protocol import uuid_of
from ..runs import Refused

STATUS = {
    "not_found": 404,
    "forbidden": 403,
    "unpublished": 409,
    "busy": 409,
    "decided": 409,
    "expired": 409,
    "limit": 429,
    "budget": 402,
    "needs_key": 402,
}
"""HTTP's word for a refusal; 400 for the others."""


def mine(request: HttpRequest, conversation: str) -> Conversation:
    """The visitor's own conversation with this id. Raises Http404: foreign, missing and malformed alike."""
    owner, uuid = owner_of_request(request), uuid_of(conversation)
    if owner is None or uuid is None:
        raise missing()
    found = of_owner(Conversation.objects.for_owner(owner)).filter(uuid=uuid).first()
    if found is None:
        raise missing()
    return found


def of_owner(found: QuerySet[Conversation]) -> QuerySet[Conversation]:
    """With what a chat reads of the chain."""
    return found.select_related("chain__prompt").prefetch_related("chain__labels")


def missing() -> Http404:
    """What is said of everything that is not there for this visitor."""
    return Http404(_("There is no such conversation."))


def message_in(request: HttpRequest) -> UUID | None:
    """The message that the address names, None where it names none. Raises Http404 for what is no id."""
    text = request.GET.get("message")
    if text is None:
        return None
    if (uuid := uuid_of(text)) is None:
        raise missing()
    return uuid


def wants_json(request: HttpRequest) -> bool:
    """Whether a script asks."""
    return request.get_preferred_type(["text/html", "application/json"]) == "application/json"


def refusal(error: Refused) -> JsonResponse:
    """A refusal as scripts get it."""
    said: dict[str, Any] = {"code": error.code, "message": error.message}
    if error.details:
        said["details"] = error.details
    if run := getattr(error, "run", None):
        said["run"] = str(run)
    return JsonResponse({"error": said}, status=STATUS.get(error.code, 400))


def page(request: HttpRequest, name: str, context: dict[str, Any], status: int = 200) -> HttpResponse:
    """A page of the app."""
    context = {"sign_in_url": sign_in_url(request), **context}
    return render(request, f"openrouter_app/{name}.html", context, status=status)


def sign_in_url(request: HttpRequest) -> str | None:
    """Where to sign in and come back, None where the site has no page for it."""
    url = sign_in_page()
    return None if url is None else f"{url}?{urlencode({'next': request.get_full_path()})}"


def opens_after_sign_in(request: HttpRequest, slug: str) -> bool:
    """Whether there is a chain that this stranger may run when he has signed in."""
    return (
        not request.user.is_authenticated
        and Chain.objects.filter(
            slug=slug, enabled=True, access=Chain.Access.AUTHENTICATED, labels__name=DEFAULT_LABEL
        ).exists()
    )
