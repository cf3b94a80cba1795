"""Messages, and the events an answer is made of: frozen values, no behaviour beyond their text.

A message is what goes to a model; an event is what comes back while it answers. Both are
msgspec structs: cheap to make (one per token), compared by value, matched by class::

    match event:
        case TextDelta(text): ...
        case ToolCallReady(id, name, arguments): ...
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec


class ToolCall(msgspec.Struct, frozen=True):
    """One call a model makes: ``arguments`` is an object, complete or as far as it has come."""

    id: str
    name: str
    arguments: dict[str, Any]


class SystemMessage(msgspec.Struct, frozen=True, tag_field="role", tag="system"):
    """Instructions of the site to the model."""

    content: str


class HumanMessage(msgspec.Struct, frozen=True, tag_field="role", tag="human"):
    """What a person says."""

    content: str


class AIMessage(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="role", tag="ai"):
    """What a model said: text, and the tools it called."""

    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    reasoning: str = ""
    refusal: str = ""


class ToolMessage(msgspec.Struct, frozen=True, tag_field="role", tag="tool"):
    """A tool's result, as text, for the call it answers."""

    content: str
    tool_call_id: str


Message = SystemMessage | HumanMessage | AIMessage | ToolMessage

ROLES = {"system": "System", "human": "Human", "ai": "AI", "tool": "Tool"}


class Usage(msgspec.Struct, frozen=True):
    """What an answer used: tokens, and ``cost`` in US dollars (None where nobody said)."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: Decimal | None = None


class TextDelta(msgspec.Struct, frozen=True):
    """More text of the answer; never empty."""

    text: str


class ReasoningDelta(msgspec.Struct, frozen=True):
    """More of the model's reasoning; never empty."""

    text: str


class RefusalDelta(msgspec.Struct, frozen=True):
    """More of the sentence with which the model refuses; never empty."""

    text: str


class ToolCallStarted(msgspec.Struct, frozen=True):
    """A call has a name. ``id`` is unique in the answer, whatever the provider sent."""

    id: str
    name: str


class ToolCallDelta(msgspec.Struct, frozen=True):
    """More of the argument text (JSON, cut anywhere) of the call ``id``; never empty."""

    id: str
    text: str


class ToolCallReady(msgspec.Struct, frozen=True):
    """A call is complete: ``arguments`` is what its text said."""

    id: str
    name: str
    arguments: dict[str, Any]


class ToolCallInvalid(msgspec.Struct, frozen=True):
    """A call that must not run: its argument text is no JSON object. ``message`` says why."""

    id: str
    name: str
    raw: str
    message: str


class ReplyStarted(msgspec.Struct, frozen=True):
    """The first event: which generation this is and who serves it, as far as was said."""

    id: str
    model: str
    provider: str


class ReplyFinished(msgspec.Struct, frozen=True):
    """The last event of a whole answer; a stream that ends without it was broken.

    ``reason``: ``stop``, ``length``, ``tool_calls``, ``content_filter`` or what OpenRouter
    said; ``native_reason`` is the provider's own word.
    """

    reason: str
    native_reason: str
    usage: Usage | None
    id: str
    model: str
    provider: str


Event = (
    TextDelta
    | ReasoningDelta
    | RefusalDelta
    | ToolCallStarted
    | ToolCallDelta
    | ToolCallReady
    | ToolCallInvalid
    | ReplyStarted
    | ReplyFinished
)


class Reply(msgspec.Struct, frozen=True):
    """A whole answer: what ``model.invoke()`` returns."""

    message: AIMessage
    finish_reason: str
    native_finish_reason: str
    usage: Usage | None
    id: str
    model: str
    provider: str
