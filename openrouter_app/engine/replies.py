"""What items add up to: a stream of events to a `Reply`, pieces of text to a text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .errors import BrokenStreamError, UsageError
from .messages import (
    AIMessage,
    AnnotationReady,
    Event,
    ImageReady,
    ReasoningDelta,
    RefusalDelta,
    Reply,
    ReplyFinished,
    ReplyStarted,
    Reset,
    TextDelta,
    ToolCall,
    ToolCallInvalid,
    ToolCallReady,
)


class ReplyBuilder:
    """Adds up events: ``add(event)`` answers the `Reply` when the last one has come, else None.

    A `Reset` forgets what came before it, and so does another answer's begin.
    """

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._refusal: list[str] = []
        self._calls: list[ToolCall] = []
        self._invalid: list[ToolCallInvalid] = []
        self._images: list[str] = []
        self._annotations: list[dict[str, Any]] = []

    def add(self, event: Event | Reset) -> Reply | None:
        """One more event."""
        match event:
            case TextDelta(delta):
                self._text.append(delta)
            case ReasoningDelta(delta):
                self._reasoning.append(delta)
            case RefusalDelta(delta):
                self._refusal.append(delta)
            case ToolCallReady(id, name, arguments):
                self._calls.append(ToolCall(id, name, arguments))
            case ToolCallInvalid():
                self._invalid.append(event)
            case ImageReady(url):
                self._images.append(url)
            case AnnotationReady(annotation):
                self._annotations.append(annotation)
            case Reset() | ReplyStarted():
                self._clear()
            case ReplyFinished():
                return self._reply(event)
        return None

    def _reply(self, end: ReplyFinished) -> Reply:
        message = AIMessage(
            "".join(self._text),
            tuple(self._calls),
            "".join(self._reasoning),
            "".join(self._refusal),
            end.reasoning_details,
            tuple(self._images),
            tuple(self._annotations),
        )
        return Reply(
            message,
            end.reason,
            end.native_reason,
            end.usage,
            end.id,
            end.model,
            end.provider,
            end.created,
            tuple(self._invalid),
        )


def reply_of(events: Iterable[Event | Reset]) -> Reply:
    """The answer these events are. Raises `BrokenStreamError` where the last one is missing."""
    builder = ReplyBuilder()
    reply = None
    for event in events:
        reply = builder.add(event) or reply
    if reply is None:
        raise BrokenStreamError("The answer broke off before its end.")
    return reply


def since_reset(items: Sequence[Any]) -> Sequence[Any]:
    """The items that count: those behind the last `Reset`."""
    for index in range(len(items), 0, -1):
        if isinstance(items[index - 1], Reset):
            return items[index:]
    return items


def added_up(items: Sequence[Any]) -> Any:
    """The one value of a stream of items: texts are joined, mappings added up key by key, the members of
    lists among themselves, events make a `Reply`; of anything else the last counts. What came before a
    `Reset` does not count.

    Raises `UsageError` where there are none.
    """
    items = since_reset(items)
    if not items:
        raise UsageError("The step gave no output.")
    if len(items) == 1 and not isinstance(items[0], Event):
        return items[0]
    if all(isinstance(item, str) for item in items):
        return "".join(items)
    if all(isinstance(item, dict) for item in items):
        members: dict[Any, list[Any]] = {}
        for item in items:
            for key, value in item.items():
                members.setdefault(key, []).append(value)
        return {key: added_up(values) for key, values in members.items()}
    if all(isinstance(item, list) for item in items):
        found = [member for item in items for member in item]
        return [added_up(found)] if found else []
    if all(isinstance(item, Event) for item in items):
        return reply_of(items)
    return items[-1]
