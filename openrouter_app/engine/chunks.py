"""One payload of a stream, or one whole body, as a typed chunk.

The fast way is a typed decoder: members nobody here reads are skipped unseen. What it refuses is read
again leniently: a member of an odd type is left out, the rest counts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import msgspec

from .errors import UpstreamError


class Function(msgspec.Struct):
    """A piece of the function a call names."""

    name: str | None = None
    arguments: str | None = None


class CallDelta(msgspec.Struct):
    """A piece of a tool call."""

    index: int | None = None
    id: str | None = None
    function: Function | None = None


class Delta(msgspec.Struct):
    """What a chunk adds; in a body without a stream, the whole message."""

    content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[CallDelta] | None = None
    reasoning_details: list[dict[str, Any]] | None = None


class Choice(msgspec.Struct):
    """One of the answers of a chunk; only the first is read."""

    delta: Delta | None = None
    message: Delta | None = None
    finish_reason: str | None = None
    native_finish_reason: str | None = None
    error: Any = None


class ChunkUsage(msgspec.Struct):
    """Tokens, and the cost in US dollars as it was written."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cost: Decimal | None = None


class Chunk(msgspec.Struct):
    """One event of a stream."""

    id: str | None = None
    model: str | None = None
    provider: str | None = None
    choices: list[Choice] | None = None
    usage: ChunkUsage | None = None
    error: Any = None


decode = msgspec.json.Decoder(Chunk).decode
"""One well-formed chunk; raises msgspec's errors for anything else."""


def reasoning_text(details: list[dict[str, Any]] | None) -> str:
    """What can be shown of ``reasoning_details``, for hosts that send no ``reasoning`` beside it."""
    if not details:
        return ""
    shown = (detail.get("text") or detail.get("summary") for detail in details)
    return "".join(text for text in shown if isinstance(text, str))


def lenient_chunks(text: bytes) -> Iterator[Chunk]:
    """The chunks of a payload the typed decoder refused: members of odd types, escapes of lone
    surrogates, broken UTF-8, or several objects glued together.
    """
    rest = text.decode("utf-8", "replace")
    while rest:
        try:
            value, end = json.JSONDecoder(strict=False).raw_decode(rest)
        except (ValueError, RecursionError):
            raise UpstreamError(
                "The provider sent something that is no JSON. Try again.", detail=excerpt(text)
            ) from None
        if not isinstance(value, dict):
            raise UpstreamError(
                "The provider sent something that is no answer. Try again.", detail=excerpt(text)
            )
        yield _as(Chunk, value)
        rest = rest[end:].lstrip()


def _as(kind: Any, value: Any) -> Any:
    """The value as this struct, leaving out the members whose types do not fit."""
    fields = {}
    for field in msgspec.structs.fields(kind):
        if field.name in value:
            fitted = _fit(field.type, _text_of(field.name, value[field.name]))
            if fitted is not None:
                fields[field.name] = fitted
    return kind(**fields)


def _text_of(name: str, value: Any) -> Any:
    """Text that some servers send as what it stands for: content in parts, arguments as an object."""
    if name == "content" and isinstance(value, list):
        texts = (part.get("text") for part in value if isinstance(part, dict))
        return "".join(text for text in texts if isinstance(text, str))
    if name == "arguments" and isinstance(value, dict):
        return json.dumps(value)
    return value


def _fit(wanted: Any, value: Any) -> Any:
    inner = _INNER.get(wanted)
    if inner is not None:
        if wanted in _LISTS:
            return (
                [_as(inner, item) for item in value if isinstance(item, dict)]
                if isinstance(value, list)
                else None
            )
        return _as(inner, value) if isinstance(value, dict) else None
    if isinstance(value, str):
        value = value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    try:
        return msgspec.convert(value, wanted, strict=False)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


_INNER: dict[Any, Any] = {
    list[Choice] | None: Choice,
    list[CallDelta] | None: CallDelta,
    Delta | None: Delta,
    Function | None: Function,
    ChunkUsage | None: ChunkUsage,
}
_LISTS = frozenset((list[Choice] | None, list[CallDelta] | None))


def excerpt(text: bytes) -> str:
    return text[:300].decode("utf-8", "replace")
