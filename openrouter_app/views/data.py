"""JSON for scripts, and a conversation as a file."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.http import content_disposition_header
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from ..conversations import exporting, listing
from ..conversations.threads import tree_of
from ..identity import owner_of_request
from ..models import Conversation
from ..pages.conversations import conversation_data as data_of
from ..pages.conversations import messages_of, row_of
from .showing import list_query
from .visitors import message_in, mine, missing


@require_safe
@never_cache
def conversation_list(request: HttpRequest) -> JsonResponse:
    """The visitor's conversations, a page of them: ``?q=``, ``?chain=``, ``?page=`` from 1."""
    query, slug, number = list_query(request)
    found = listing.page_of(owner_of_request(request), query=query, chain=slug, number=number)
    return JsonResponse({"conversations": [row_of(listed) for listed in found.rows], "more": found.more})


@require_safe
@never_cache
def conversation_data(request: HttpRequest, conversation: str) -> JsonResponse:
    """The path to the head, or the one through ``?message=``, which moves nothing."""
    data = data_of(mine(request, conversation), message_in(request))
    if data is None:
        raise missing()
    return JsonResponse(data)


@require_safe
@never_cache
def export_json(request: HttpRequest, conversation: str) -> HttpResponse:
    """Every message with all its versions."""
    found = mine(request, conversation)
    tree = tree_of(found)
    head = tree.find(found.head_id)
    messages = messages_of(found, tree, tree, html=False)
    text = exporting.json_text(found, None if head is None else str(head.uuid), messages)
    return _file(found, "json", "application/json", text)


@require_safe
@never_cache
def export_markdown(request: HttpRequest, conversation: str) -> HttpResponse:
    """What stands on the page."""
    found = mine(request, conversation)
    data = data_of(found, message_in(request), html=False)
    if data is None:
        raise missing()
    return _file(
        found, "md", "text/markdown; charset=utf-8", exporting.markdown_text(found, data["messages"])
    )


def _file(conversation: Conversation, extension: str, kind: str, text: str) -> HttpResponse:
    name = content_disposition_header(True, exporting.file_name(conversation, extension))
    return HttpResponse(
        text,
        content_type=kind,
        headers={"Content-Disposition": name, "X-Content-Type-Options": "nosniff"},
    )
