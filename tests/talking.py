"""Conversations for tests, as rows: who said what, and what was answered."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.conf import settings
from django.test import Client
from django.utils import timezone

from openrouter_app.conversations.titles import title_of
from openrouter_app.identity import SESSION_KEY
from openrouter_app.models import Chain, Conversation, Message, Owner, Run

from .factories import make_chain


def make_chat(slug: str = "chat", **fields: Any) -> Chain:
    """A chain that takes the history; its one variable is the message."""
    rows = (("system", "Be brief."), ("messages_placeholder", "history"), ("human", "{message}"))
    return make_chain(slug, *rows, **fields)


def make_conversation(owner: Owner, *turns: str, chain: Chain | None = None, **fields: Any) -> Conversation:
    """A conversation with an answer ``re: ...`` to each of these messages."""
    chain = chain or Chain.objects.filter(slug="chat").first() or make_chat()
    title = fields.pop("title", title_of(turns[0]) if turns else "")
    made = Conversation.objects.create(
        user_id=owner.user_id, visitor=owner.visitor, chain=chain, title=title, **fields
    )
    for text in turns:
        say(made, text)
    return made


def say(
    conversation: Conversation,
    text: str,
    answer: str | None = None,
    *,
    parent: Message | str | None = "head",
    status: str = "done",
    **fields: Any,
) -> Message:
    """A message after the head, or after ``parent``, and its answer; answers that, the head from now on."""
    above = conversation.head if parent == "head" else parent
    question = Message.objects.create(
        conversation=conversation, parent=above, role="user", input={"message": text}
    )
    return reply(conversation, question, f"re: {text}" if answer is None else answer, status, **fields)


def reply(
    conversation: Conversation, question: Message, text: str, status: str = "done", **fields: Any
) -> Message:
    """Another answer to a question."""
    message = Message.objects.create(conversation=conversation, parent=question, role="assistant")
    given = {
        "input": question.input,
        "parts": [{"type": "step"}, {"type": "text", "text": text}] if status in Run.FINAL else [],
        "output": text if status == "done" else None,
        "ended": timezone.now() if status in Run.FINAL else None,
    }
    Run.objects.create(
        user_id=conversation.user_id,
        visitor=conversation.visitor,
        chain=conversation.chain,
        version=conversation.chain.published,
        conversation=conversation,
        message=message,
        status=status,
        **{**given, **fields},
    )
    conversation.head = message
    conversation.save(update_fields=["head"])
    return message


def browser_of(owner: Owner, **options: Any) -> Client:
    """A browser in which this user is signed in, or this visitor has been before."""
    client = Client(**options)
    if owner.user_id is not None:
        from django.contrib.auth import get_user_model

        client.force_login(get_user_model().objects.get(pk=owner.user_id))
    else:
        session = client.session
        session[SESSION_KEY] = str(owner.visitor)
        session.save()
        client.cookies[settings.SESSION_COOKIE_NAME] = session.session_key
    return client


def visitor(number: int = 1) -> Owner:
    """An anonymous visitor."""
    return Owner.of_visitor(UUID(int=number, version=4))
