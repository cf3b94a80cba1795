"""Where a tool loop stands: a value that can be stored, decided on by a person, and gone on from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from .errors import InputError
from .messages import AIMessage, Message, ToolCall, ToolMessage, Usage, text_of

Reason = Literal["finished", "approval", "steps", "calls", "cost", "deadline", "error"]


class ToolRunning(msgspec.Struct, frozen=True):
    """Event: a call's arguments are right, and its tool runs now."""

    id: str
    name: str


class ToolFinished(msgspec.Struct, frozen=True):
    """Event: a call has its result, which goes to the model. ``is_error`` where the tool failed, where
    nobody may call it like this, or where a person refused.
    """

    id: str
    name: str
    content: str
    is_error: bool = False


class Decision(msgspec.Struct, frozen=True):
    """What a person says to a call that waits: whether it may run, and why not."""

    approved: bool
    reason: str = ""


class LoopState(msgspec.Struct, frozen=True, kw_only=True):
    """A tool loop's last item: everything so far.

    ``reason`` says why it ended: ``finished`` with an answer, ``approval`` where the ``pending`` calls
    wait for a person, ``error`` on an error's ``state``, else the limit that was reached. ``messages``
    is the whole history, ``usage`` the sum of all steps, ``errors`` how many calls went wrong. Given
    back to the loop, decided on or with larger limits, it goes on from there; a call that has its result
    is not run again.

    Keep it where only you can write: whoever writes it approves calls.
    """

    messages: tuple[Message, ...]
    reason: Reason = "finished"
    pending: tuple[ToolCall, ...] = ()
    decisions: dict[str, Decision] = {}
    usage: Usage = Usage()
    steps: int = 0
    calls: int = 0
    errors: int = 0

    @property
    def text(self) -> str:
        """The last answer's text."""
        last = next((message for message in reversed(self.messages) if isinstance(message, AIMessage)), None)
        return text_of(last.content) if last else ""

    def approve(self, *ids: str) -> LoopState:
        """This state with pending calls approved; without ids, all of them."""
        return self._decide(ids or tuple(call.id for call in self.pending), Decision(True))

    def deny(self, *ids: str, reason: str = "") -> LoopState:
        """This state with pending calls refused; without ids, all of them. The model hears the reason."""
        return self._decide(ids or tuple(call.id for call in self.pending), Decision(False, reason))

    def _decide(self, ids: Sequence[str], decision: Decision) -> LoopState:
        waiting = {call.id for call in self.pending}
        if unknown := [id for id in ids if id not in waiting]:
            raise InputError(f"No call '{unknown[0]}' waits for a decision.")
        decisions = {**self.decisions, **dict.fromkeys(ids, decision)}
        return msgspec.structs.replace(self, decisions=decisions)

    def dump(self) -> str:
        """As JSON text."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def load(cls, text: str | bytes) -> LoopState:
        """From JSON text. Raises `InputError` where it is no state."""
        try:
            return msgspec.json.decode(text, type=cls)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise InputError(f"This is no stored tool loop: {error}") from None


def unanswered(messages: Sequence[Message]) -> tuple[ToolCall, ...]:
    """The calls of the last answer that have no result yet; none where the talk went on after it."""
    answered: set[str] = set()
    for message in reversed(messages):
        if isinstance(message, ToolMessage):
            answered.add(message.tool_call_id)
            continue
        calls = message.tool_calls if isinstance(message, AIMessage) else ()
        return tuple(call for call in calls if call.id not in answered)
    return ()


def ids_of(messages: Sequence[Message]) -> set[str]:
    """The ids of all calls in a history."""
    return {call.id for message in messages if isinstance(message, AIMessage) for call in message.tool_calls}


def with_unique_id(event: Any, used: set[str], renamed: dict[str, str]) -> Any:
    """The tool event under an id that no call of the history has: providers count anew in each answer."""
    wanted = event.id
    if wanted not in renamed:
        id, number = wanted, 2
        while id in used:
            id = f"{wanted}_{number}"
            number += 1
        used.add(id)
        renamed[wanted] = id
    return event if renamed[wanted] == wanted else msgspec.structs.replace(event, id=renamed[wanted])
