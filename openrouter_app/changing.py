"""What people change about conversations: their title, which branch is shown, and that they are gone."""

from __future__ import annotations

import asyncio
from uuid import UUID

from django.db import transaction
from django.utils.translation import gettext as _

from .conversations.threads import tree_of
from .conversations.titles import one_line
from .database import again_in_database_thread
from .models import Conversation, Message, Run, ToolCall
from .runs import Refused, stop_everywhere

ATTEMPTS = 5
"""How often a conversation is looked at again in which another answer has begun before it could go."""
PATIENCE = 3.0
"""Seconds a stopped answer is given to end; a process that does not say a word more has none."""
POLL = 0.05
BATCH = 500
"""Rows that one statement changes."""


def rename(conversation: Conversation, title: str) -> str:
    """Give it this title; answers it as it is kept. Raises `Refused`."""
    title = one_line(title[: 10 * Conversation.MAX_TITLE])[: Conversation.MAX_TITLE]
    if not title:
        raise Refused("invalid_input", _("Write a title."))
    Conversation.objects.filter(pk=conversation.pk).update(title=title)
    return title


def move_head(conversation: Conversation, message: UUID) -> UUID | None:
    """End the page with the newest message below this one; answers that, None: there is no such message."""
    tree = tree_of(conversation)
    if (found := tree.find(message)) is None:
        return None
    leaf = tree.newest_leaf(found)
    there = Message.objects.filter(pk=leaf.pk)
    with transaction.atomic():
        locked = Conversation.objects.select_for_update().filter(pk=conversation.pk)
        if not locked.exists() or not there.exists():
            return None
        locked.update(head=leaf.pk)
    return leaf.uuid


async def delete(conversation: Conversation) -> None:
    """Stop what is being written in it, and delete it with all its messages and runs."""
    for attempt in range(1, ATTEMPTS + 1):
        writing = await again_in_database_thread(_unfinished)(conversation.pk)
        await stop_everywhere(writing)
        if writing:
            await _until_ended(writing)
        if await again_in_database_thread(_delete)(conversation.pk, attempt == ATTEMPTS):
            return


async def _until_ended(writing: list[UUID]) -> None:
    until = asyncio.get_running_loop().time() + PATIENCE
    while await again_in_database_thread(_any_unfinished)(writing):
        if asyncio.get_running_loop().time() > until:
            return
        await asyncio.sleep(POLL)


def _unfinished(pk: int) -> list[UUID]:
    return list(Run.objects.filter(conversation=pk, status__in=Run.UNFINISHED).values_list("uuid", flat=True))


def _any_unfinished(writing: list[UUID]) -> bool:
    return Run.objects.filter(uuid__in=writing, status__in=Run.UNFINISHED).exists()


def _delete(pk: int, whatever_runs: bool) -> bool:
    """Delete it behind its lock, so that nothing begins in it meanwhile. False: something had begun.

    In the end also under an answer whose process does not answer: should it live, it finds its row gone,
    tells the ledger what it has cost, and says no more.
    """
    with transaction.atomic():
        locked = Conversation.objects.select_for_update().filter(pk=pk).first()
        if locked is not None:
            if not whatever_runs and _unfinished(pk):
                return False
            locked.delete()
    return True


def empty(runs: list[int]) -> None:
    """Delete the texts of these runs, by primary key; their figures stay."""
    for first in range(0, len(runs), BATCH):
        some = runs[first : first + BATCH]
        ToolCall.objects.filter(run__in=some).update(arguments="", output=None, error="", reason="")
        Run.objects.filter(pk__in=some).update(input={}, parts=[], private={}, output=None, error_detail="")
