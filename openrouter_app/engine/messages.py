"""Messages, and the events an answer is made of: frozen values, no behaviour beyond their text.

A message is what goes to a model; an event is what comes back while it answers. Both are
msgspec structs: cheap to make (one per token), compared by value, matched by class::

    match event:
        case TextDelta(text): ...
        case ToolCallReady(id, name, arguments): ...
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import msgspec

from .errors import InputError


class ToolCall(msgspec.Struct, frozen=True):
    """One call a model makes: ``arguments`` is an object, complete or as far as it has come."""

    id: str
    name: str
    arguments: dict[str, Any]


class TextPart(msgspec.Struct, frozen=True, tag_field="type", tag="text"):
    """Text among other parts."""

    text: str


class ImagePart(msgspec.Struct, frozen=True, tag_field="type", tag="image", omit_defaults=True):
    """A picture: an https URL, or a ``data:`` URL with the bytes in it. ``detail``: auto, low or high."""

    url: str
    detail: str = ""


class FilePart(msgspec.Struct, frozen=True, tag_field="type", tag="file"):
    """A file such as a PDF: its name, and an https or ``data:`` URL."""

    filename: str
    url: str


class AudioPart(msgspec.Struct, frozen=True, tag_field="type", tag="audio"):
    """Sound: base64 without a ``data:`` prefix, and its format, such as ``wav`` or ``mp3``."""

    data: str
    format: str


Part = TextPart | ImagePart | FilePart | AudioPart
Content = str | tuple[Part, ...]


def text_of(content: Content) -> str:
    """The text of a content: of parts, the text parts joined."""
    if isinstance(content, str):
        return content
    return "".join(part.text for part in content if isinstance(part, TextPart))


class SystemMessage(msgspec.Struct, frozen=True, tag_field="role", tag="system"):
    """Instructions of the site to the model."""

    content: Content


class HumanMessage(msgspec.Struct, frozen=True, tag_field="role", tag="human"):
    """What a person says or shows."""

    content: Content


class AIMessage(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="role", tag="ai"):
    """What a model said: text, the tools it called, pictures it made (URLs), sources it names.

    ``reasoning_details`` are OpenRouter's blocks, merged; they go back to the model unchanged, because
    some providers refuse to go on without them. ``annotations`` are its citations and parsed files.
    """

    content: Content
    tool_calls: tuple[ToolCall, ...] = ()
    reasoning: str = ""
    refusal: str = ""
    reasoning_details: tuple[dict[str, Any], ...] | None = None
    images: tuple[str, ...] = ()
    annotations: tuple[dict[str, Any], ...] = ()


class ToolMessage(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="role", tag="tool"):
    """A tool's result for the call it answers. ``is_error`` where the tool failed or was refused."""

    content: Content
    tool_call_id: str
    is_error: bool = False


class CustomMessage(msgspec.Struct, frozen=True, tag_field="role", tag="custom"):
    """A message of a role of the site's own. No model of OpenRouter takes one: it is for prompts as text."""

    content: Content
    custom_role: str


Message = SystemMessage | HumanMessage | AIMessage | ToolMessage | CustomMessage

ROLES = {"system": "System", "human": "Human", "ai": "AI", "tool": "Tool"}


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an answer used: tokens, and ``cost`` in US dollars, exact (None where nobody said).

    ``cached_tokens`` and ``cache_write_tokens`` are parts of the prompt's, ``reasoning_tokens`` of the
    completion's. ``upstream_cost`` is what the user's own provider account paid where ``is_byok``.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: Decimal | None = None
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    upstream_cost: Decimal | None = None
    is_byok: bool = False

    def __add__(self, other: Usage) -> Usage:
        """The sum; a cost nobody said counts as nothing beside one that was said."""
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            _sum(self.cost, other.cost),
            self.cached_tokens + other.cached_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            _sum(self.upstream_cost, other.upstream_cost),
            self.is_byok or other.is_byok,
        )


def _sum(one: Decimal | None, other: Decimal | None) -> Decimal | None:
    if one is None or other is None:
        return other if one is None else one
    return one + other


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


class ImageReady(msgspec.Struct, frozen=True):
    """A picture the model made: an https or ``data:`` URL."""

    url: str


class AnnotationReady(msgspec.Struct, frozen=True):
    """A citation or a parsed file, as OpenRouter describes it (``type`` says which)."""

    annotation: dict[str, Any]


class Reset(msgspec.Struct, frozen=True):
    """Forget everything since the last answer began: it broke off and starts again (see `with_retry`)."""

    model: str = ""


class ReplyStarted(msgspec.Struct, frozen=True):
    """The first event: which generation this is and who serves it, as far as was said."""

    id: str
    model: str
    provider: str


class ReplyFinished(msgspec.Struct, frozen=True):
    """The last event of a whole answer; a stream that ends without it was broken.

    ``reason``: ``stop``, ``length``, ``tool_calls``, ``content_filter`` or what OpenRouter
    said; where nobody said it, ``stop``, or ``tool_calls`` where there are some. ``native_reason`` is the
    provider's own word, nothing where none was said. ``created`` is in seconds since 1970.
    """

    reason: str
    native_reason: str
    usage: Usage | None
    id: str
    model: str
    provider: str
    created: int = 0
    reasoning_details: tuple[dict[str, Any], ...] | None = None


Event = (
    TextDelta
    | ReasoningDelta
    | RefusalDelta
    | ToolCallStarted
    | ToolCallDelta
    | ToolCallReady
    | ToolCallInvalid
    | ImageReady
    | AnnotationReady
    | ReplyStarted
    | ReplyFinished
)


class Reply(msgspec.Struct, frozen=True):
    """A whole answer: what ``model.invoke()`` returns.

    Calls whose arguments are no JSON object stand in ``invalid_tool_calls`` and must not run.
    """

    message: AIMessage
    finish_reason: str
    native_finish_reason: str
    usage: Usage | None
    id: str
    model: str
    provider: str
    created: int = 0
    invalid_tool_calls: tuple[ToolCallInvalid, ...] = ()


_messages = msgspec.json.Decoder(list[Message])


def dump_messages(messages: Iterable[Message]) -> str:
    """Messages as JSON text, to store a history."""
    return msgspec.json.encode(list(messages)).decode()


def load_messages(text: str | bytes) -> list[Message]:
    """A stored history back. Raises `InputError` where the text is none."""
    try:
        return _messages.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"This is no stored history: {error}") from None
