"""Titles by a chain: after a conversation's first answer ``TITLE_CHAIN`` makes a better one.

It runs as the system, on a loop of its own, and nobody waits for it. Whatever goes wrong, the title stays
what it was; one that a person has given is never replaced.
"""

from __future__ import annotations

import logging
from typing import Any
from uuid import UUID

import msgspec

from . import runs
from .background import in_background
from .conf import get_settings
from .conversations.threads import said
from .conversations.titles import one_line, shortened, title_of
from .database import again_in_database_thread
from .models import Chain, Conversation, Message, Owner, Run
from .models.prompts import message_variable, variables_of
from .runs import Start

log = logging.getLogger("openrouter_app.runs")

LONGEST_TITLE = 80
LONGEST_INPUT = 4_000
"""Characters of the first message that the chain is given."""
_AROUND = " \"'`*#\u00ab\u00bb\u2018\u2019\u201c\u201d\u201e"


class _Unnamed(msgspec.Struct, frozen=True):
    """A conversation whose title nobody has given, and what it begins with."""

    conversation: UUID
    title: str
    text: str


def name_after_first_answer(sender: Any, run: UUID, status: str, **facts: Any) -> None:
    """A receiver of `run_finished`. Only asks; the naming goes on when it has returned."""
    if get_settings().TITLE_CHAIN and status == Run.Status.DONE:
        conversation = _answered_for_the_first_time(run)
        if conversation is not None:
            in_background(name_conversation(conversation))


def _answered_for_the_first_time(run: UUID) -> UUID | None:
    found = Run.objects.filter(uuid=run, conversation__isnull=False)
    conversation = found.values_list("conversation__uuid", flat=True).first()
    if conversation is None:
        return None
    done = Run.objects.filter(conversation__uuid=conversation, status=Run.Status.DONE)
    return conversation if done.count() == 1 else None


async def name_conversation(conversation: UUID) -> str | None:
    """Ask the chain for a title and set it; answers it, None where the title stays. Never raises."""
    try:
        chain = get_settings().TITLE_CHAIN
        unnamed = await again_in_database_thread(_unnamed)(conversation)
        variable = await again_in_database_thread(only_variable)(chain)
        if unnamed is None or variable is None:
            return None
        text = unnamed.text[:LONGEST_INPUT]
        run = await runs.start(Start(Owner.system(), chain=chain, input={variable: text}))
        await runs.wait(run)
        return await again_in_database_thread(_set)(unnamed, run)
    except Exception as error:
        log.warning("a conversation was not named: %s", type(error).__name__, exc_info=True)
        return None


def only_variable(chain: str) -> str | None:
    """The one variable of the chain's published version; None where there are more, or no chain."""
    found = Chain.objects.filter(slug=chain, enabled=True).prefetch_related("labels__version").first()
    if found is None or (version := found.published) is None:
        return None
    names = variables_of(version.body["messages"])
    return names[0] if len(names) == 1 else None


def _unnamed(conversation: UUID) -> _Unnamed | None:
    first = Message.objects.filter(
        conversation__uuid=conversation, role=Message.Role.USER, parent__isnull=True
    ).order_by("pk")
    message = first.select_related("conversation").first()
    run = None if message is None else Run.objects.filter(message__parent=message).order_by("pk").first()
    if message is None or run is None:
        return None
    text = said(message.input, message_variable(run.version.body))
    title = message.conversation.title
    # Another title than the one that is made of the message was given by somebody.
    return _Unnamed(conversation, title, text) if text and title in ("", title_of(text)) else None


def _set(unnamed: _Unnamed, run: UUID) -> str | None:
    """The chain's answer as the title, unless somebody has given one meanwhile."""
    output = Run.objects.filter(uuid=run, status=Run.Status.DONE).values_list("output", flat=True).first()
    if not isinstance(output, str):
        return None
    title = shortened(one_line(output[:1_000]).strip(_AROUND), LONGEST_TITLE)
    if not title:
        return None
    same = Conversation.objects.filter(uuid=unnamed.conversation, title=unnamed.title)
    return title if same.update(title=title) else None
