"""A run's place in a conversation: which message it answers, and the rows that are made for it.

Nothing is overwritten: an edit is another question, a retry another answer to the same one. All of it
happens in the transaction that makes the run, behind a lock on the conversation, so of two that send
at once one is first and the other is told that it is busy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal
from uuid import UUID

import msgspec
from django.utils import timezone
from django.utils.translation import gettext as _

from ..conversations.history import History, history_before, text_of_input
from ..conversations.titles import title_of
from ..models import Chain, Conversation, Message, Owner, Run
from ..models.prompts import message_variable
from ..refusals import Refused, gone
from .state import about

NEW: Literal["new"] = "new"
"""Instead of a conversation's id: one is made."""


class Turn(msgspec.Struct, frozen=True):
    """What somebody says in a conversation: ``question`` is an old one where a new answer is asked for."""

    conversation: Conversation
    question: Message | None
    parent: Message | None

    def input(self, given: Mapping[str, str]) -> Mapping[str, str]:
        """The values of the question. Raises `Refused` where an old one was to be answered with others."""
        if self.question is None:
            return given
        if given:
            raise Refused(
                "invalid_input",
                _("A new answer takes the question as it was asked: leave out the input, or edit it."),
            )
        return self.question.input  # type: ignore[no-any-return]

    def ask(self, given: Mapping[str, str], body: Mapping[str, Any]) -> tuple[Message, History]:
        """Make the rows: the question where it is new, and the place of its answer. Answers that and what
        the model is told of what was said before.
        """
        conversation, now = self.conversation, timezone.now()
        if conversation.pk is None:
            conversation.title = title_of(text_of_input(given, message_variable(body)))
            conversation.save(force_insert=True)
        question = self.question or Message.objects.create(
            conversation=conversation, parent=self.parent, role=Message.Role.USER, input=dict(given)
        )
        answer = Message.objects.create(
            conversation=conversation, parent=question, role=Message.Role.ASSISTANT
        )
        conversation.head, conversation.updated = answer, now
        conversation.save(update_fields=["head", "updated"])
        return answer, history_before(question, body)


def turn_of(
    owner: Owner, chain: Chain, conversation: UUID | Literal["new"], parent: UUID | msgspec.UnsetType | None
) -> Turn:
    """Where the next message goes. In a transaction: the conversation is locked. Raises `Refused`."""
    if conversation == NEW:
        if parent is not msgspec.UNSET and parent is not None:
            raise Refused("invalid_input", _("A new conversation has no message that could be answered."))
        if owner.is_system:
            raise Refused("invalid_input", _("A conversation belongs to somebody: the system has none."))
        made = Conversation(user_id=owner.user_id, visitor=owner.visitor, chain=chain)
        return Turn(made, None, None)
    mine = Conversation.objects.for_owner(owner).select_for_update()
    found = mine.filter(uuid=conversation).first()
    if found is None:
        raise gone()
    if found.chain_id != chain.pk:
        raise Refused("invalid_input", _("This conversation is with another chain. Begin a new one."))
    busy = found.runs.filter(status__in=Run.UNFINISHED).values_list("uuid", flat=True).first()
    if busy is not None:
        raise Refused(
            "busy",
            _("An answer is being written in this conversation. Wait for it to end, or stop it."),
            run=busy,
        )
    if parent is None:
        return Turn(found, None, None)
    if parent is msgspec.UNSET:
        return Turn(found, None, found.head)
    message = found.messages.filter(uuid=parent).first()
    if message is None:
        raise gone()
    if message.role == Message.Role.USER:
        return Turn(found, message, message.parent)
    return Turn(found, None, message)


def about_run(run: Run) -> dict[str, Any]:
    """The run's place, for its state: its conversation, its message, and the question it answers; and who
    pays for it, where that is the user.
    """
    payer = run.payer if run.payer == Run.Payer.USER else ""
    if run.conversation is None or run.message is None:
        return about(left_out=run.left_out, payer=payer)
    question = run.message.parent
    asked = None if question is None else question.uuid
    return about(run.conversation.uuid, run.message.uuid, asked, run.left_out, payer)


PLACE = ("conversation", "message__parent")
"""What `about_run` reads, for ``select_related``."""
