"""``{% load openrouter_app %}{% openrouter_chat "slug" %}``: a chat in any template of a project."""

from __future__ import annotations

import logging
from typing import Any
from uuid import UUID

from django import template
from django.conf import settings
from django.template import TemplateSyntaxError
from django.template.loader import render_to_string
from django.urls import NoReverseMatch, reverse

from ..identity import owner_of_request
from ..models import Conversation
from ..pages.chat import chains_with_parts, chat_of, is_chat
from ..protocol import uuid_of

log = logging.getLogger("openrouter_app.templates")

register = template.Library()


@register.simple_tag(takes_context=True)
def openrouter_chat(
    context: template.Context, chain: str, *, conversation: UUID | str | None = None, list: bool = True
) -> str:
    """The chat of a chain that takes the history.

    ``conversation`` opens one of the visitor's own instead of a new one, ``list=False`` leaves the list of
    them out. Where the visitor may not run the chain, nothing is rendered; where the chain cannot be shown
    to anybody, a page says so while ``DEBUG`` is on, and the log does otherwise.
    """
    request = context.get("request")
    if request is None:
        raise TemplateSyntaxError(
            "openrouter_chat needs the request in its context. Add "
            "'django.template.context_processors.request' to the context processors of the template, or "
            "render it with django.shortcuts.render()."
        )
    try:
        reverse("openrouter_app:index")
    except NoReverseMatch as error:
        raise TemplateSyntaxError(
            "openrouter_chat needs the app's addresses. Add "
            'path("chat/", include("openrouter_app.urls")) to the URL configuration.'
        ) from error
    found = chains_with_parts().filter(slug=str(chain)).first()
    if found is None:
        return _broken(f"There is no chain {str(chain)!r}.")
    if found.published is None:
        return _broken(f"The chain {found.slug!r} has not been published yet. Publish it in the admin.")
    if not is_chat(found.published):
        return _broken(
            f"The prompt of the chain {found.slug!r} takes no history, so it is no chat. Add a row with the "
            "role “messages placeholder” to it, and publish the chain."
        )
    opened = None
    if conversation:
        owner, uuid = owner_of_request(request), uuid_of(str(conversation))
        if owner is not None and uuid is not None:
            mine = Conversation.objects.for_owner(owner).select_related("chain__prompt")
            opened = mine.prefetch_related("chain__labels").filter(uuid=uuid, chain=found).first()
    if opened is None and not found.may_be_run_by(getattr(request, "user", None)):
        return ""
    owner_of_request(request, make=True)  # a visitor's first answer must find him again
    chat = chat_of(request, found, opened, show_list=list)
    shown: dict[str, Any] = {
        **{str(name): value for name, value in context.flatten().items()},
        "chat": chat,
        "chain": found,
        "conversation": opened,
        "first": _first(context),
    }
    return render_to_string("openrouter_app/_chat_element.html", shown, request=request)


def _first(context: template.Context) -> bool:
    """Whether nothing has been rendered by the tag on this page yet: stylesheets and script come once."""
    known: dict[Any, Any] = context.render_context.dicts[0]
    first = "openrouter_chat" not in known
    known["openrouter_chat"] = True
    return first


def _broken(message: str) -> str:
    log.error("openrouter_chat: %s", message)
    if not settings.DEBUG:
        return ""
    return render_to_string("openrouter_app/_chat_problem.html", {"message": message})
