"""Changes of a conversation: by a form, which is led back to a page, or by a script, which gets JSON."""

from __future__ import annotations

from asgiref.sync import sync_to_async
from django.db import transaction
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect, JsonResponse
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from .. import changing
from ..models import Conversation
from ..protocol import uuid_of
from ..runs import Refused
from .showing import chat_page
from .visitors import STATUS, mine, missing, refusal, wants_json


@require_POST
@never_cache
def conversation_rename(request: HttpRequest, conversation: str) -> HttpResponseBase:
    """``title`` becomes its title."""
    found = mine(request, conversation)
    try:
        title = changing.rename(found, request.POST.get("title", ""))
    except Refused as error:
        if wants_json(request):
            return refusal(error)
        return chat_page(
            request, found.chain, found, problem=error.message, status=STATUS.get(error.code, 400)
        )
    if wants_json(request):
        return JsonResponse({"conversation": str(found.uuid), "title": title})
    return back(request, found)


@require_POST
@never_cache
def conversation_head(request: HttpRequest, conversation: str) -> HttpResponseBase:
    """The page ends with the newest message below ``message`` from now on."""
    found, message = mine(request, conversation), uuid_of(request.POST.get("message"))
    head = None if message is None else changing.move_head(found, message)
    if head is None:
        raise missing()
    if wants_json(request):
        return JsonResponse({"conversation": str(found.uuid), "head": str(head)})
    return back(request, found)


@transaction.non_atomic_requests
@require_POST
@never_cache
async def conversation_delete(request: HttpRequest, conversation: str) -> HttpResponseBase:
    """It is gone, with all that was said in it; what is being written in it is stopped first."""
    found = await sync_to_async(mine)(request, conversation)
    await changing.delete(found)
    if wants_json(request):
        return JsonResponse({"conversation": str(found.uuid)})
    return HttpResponseRedirect(_next(request) or reverse("openrouter_app:conversations"))


def back(request: HttpRequest, conversation: Conversation) -> HttpResponseRedirect:
    """To where the form stands, which it may name as ``next``; otherwise to the conversation."""
    return HttpResponseRedirect(
        _next(request) or reverse("openrouter_app:conversation", args=[conversation.uuid])
    )


def _next(request: HttpRequest) -> str:
    url = request.POST.get("next", "")
    allowed = url_has_allowed_host_and_scheme(url, {request.get_host()}, require_https=request.is_secure())
    return url if allowed and url.isprintable() else ""
