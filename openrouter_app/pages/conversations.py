"""Conversations as pages and scripts get them: ``conversation-data`` and ``conversation-list``.

What stands in no state stands in none of these: no prompt, no hidden result.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.urls import reverse
from django.utils.translation import gettext as _

from ..blocks import BlockSplitter
from ..conversations.listing import Listed
from ..conversations.threads import Entry, Place, Tree, entries, tree_of
from ..markdown import render, render_parts
from ..models import Conversation, Run
from ..runs import rows

_UNENCODABLE = re.compile("[\x00\ud800-\udfff]")


def conversation_data(
    conversation: Conversation, message: UUID | None = None, *, html: bool = True
) -> dict[str, Any] | None:
    """The path that is shown, each message with its state; None where there is no such message.

    With ``html`` text parts have their ``blocks``, as on a socket that asks for them.
    """
    tree = tree_of(conversation)
    path = tree.shown(conversation.head_id, message)
    if path is None:
        return None
    messages = messages_of(conversation, tree, path, html=html)
    head = tree.find(conversation.head_id) or (path[-1] if path else None)
    running = conversation.runs.filter(status__in=Run.UNFINISHED).values_list("uuid", flat=True).first()
    return {
        "conversation": str(conversation.uuid),
        "title": title_shown(conversation),
        "chain": conversation.chain.slug,
        "head": None if head is None else str(head.uuid),
        "run": None if running is None else str(running),
        "messages": messages,
    }


def messages_of(
    conversation: Conversation, tree: Tree, places: Iterable[Place], *, html: bool = True
) -> list[dict[str, Any]]:
    """These messages of the tree, each as ``conversation-data`` has it."""
    return [_message(entry, html) for entry in entries(conversation, tree, places)]


def _message(entry: Entry, html: bool) -> dict[str, Any]:
    message: dict[str, Any] = {
        "message": str(entry.place.uuid),
        "parent": None if entry.parent is None else str(entry.parent),
        "role": entry.place.role,
        "siblings": [str(sibling) for sibling in entry.siblings],
        "created": entry.place.created.isoformat(),
    }
    if entry.input is not None:
        message |= _encodable({"input": entry.input, "text": entry.text})
    elif entry.run is not None:
        message |= answer_of(entry.run, html=html)
    return message


def answer_of(run: Run, *, html: bool = True) -> dict[str, Any]:
    """A run as the answer it writes."""
    state = _state(run)
    if html:
        parts = state["parts"]
        is_over = state["status"] in Run.FINAL
        state["parts"] = render_parts(parts if is_over else parts[:-1])
        if parts and not is_over:
            state["parts"].append(_open(parts[-1]))
    return {"run": str(run.uuid), "state": _encodable(state)}


def _encodable(value: Any) -> Any:
    """The value without what no page can carry: half a character that somebody has sent, and NUL."""
    if isinstance(value, str):
        return _UNENCODABLE.sub("\ufffd", value) if _UNENCODABLE.search(value) else value
    if isinstance(value, dict):
        return {_encodable(name): _encodable(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_encodable(member) for member in value]
    return value


def _open(part: dict[str, Any]) -> dict[str, Any]:
    """The last part of an answer that is being written: a text has blocks that are finished, and a rest."""
    if part["type"] != "text":
        return part
    splitter = BlockSplitter()
    blocks = [block for piece in splitter.feed(part["text"]) if (block := render(piece))]
    return {**part, "blocks": blocks, "rest": splitter.rest}


def _state(run: Run) -> dict[str, Any]:
    """The protocol's state, of an answer that is being written as far as its log goes."""
    if run.is_final:
        return rows.state_of_row(run)
    reading, new_state = rows.read(run.uuid), rows.new_state_of(run.uuid)
    if reading is None or new_state is None:
        return rows.state_of_row(run)  # deleted in between
    if reading.whole is not None:
        return reading.whole.state
    state = new_state()
    for _after, _seq, events in reading.rows:
        for event in events:
            state.apply(event)
    return state.snapshot()


def title_shown(conversation: Conversation) -> str:
    """Its title, or what stands where none is."""
    return conversation.title or _("New conversation")


def row_of(listed: Listed) -> dict[str, Any]:
    """A conversation as a list shows it."""
    conversation = listed.conversation
    return {
        "conversation": str(conversation.uuid),
        "title": title_shown(conversation),
        "chain": conversation.chain.slug,
        "updated": conversation.updated.isoformat(),
        "url": reverse("openrouter_app:conversation", args=[conversation.uuid]),
        "running": listed.is_running,
    }
