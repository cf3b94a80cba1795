"""One payload of a stream, or one whole body, as a typed chunk; and its usage.

The fast way is a typed decoder: members nobody here reads are skipped unseen. What it refuses is read
again leniently: a member of an odd type is left out, the rest counts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from functools import cache
from math import inf
from typing import Any

import msgspec

from .errors import UpstreamError
from .messages import Usage

MAX_DEPTH = 32
"""Levels of a value that is handed on as it came; what is nested deeper is no annotation of anyone's."""
MAX_TOKENS = 1_000_000_000
MAX_COST = 1_000_000
MAX_GLUED = 100
"""Objects in one payload."""
MAX_ITEMS = 1_000
"""Items of a list that is read leniently."""
MAX_MEMBERS = 100_000
"""Commas and opening brackets in what is read at once: each can cost a hundred times its size, and no model
writes so many tokens in one.
"""


class Function(msgspec.Struct, gc=False):
    """A piece of the function a call names."""

    name: str | None = None
    arguments: str | None = None


class CallDelta(msgspec.Struct, gc=False):
    """A piece of a tool call."""

    index: int | None = None
    id: str | None = None
    function: Function | None = None


class Delta(msgspec.Struct, gc=False):
    """What a chunk adds; in a body without a stream, the whole message."""

    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None  # what other hosts call it
    refusal: str | None = None
    tool_calls: list[CallDelta] | None = None
    reasoning_details: list[dict[str, Any]] | None = None
    images: list[dict[str, Any]] | None = None
    annotations: list[dict[str, Any]] | None = None


class Choice(msgspec.Struct, gc=False):
    """One of the answers of a chunk; only the first is read."""

    delta: Delta | None = None
    message: Delta | None = None
    finish_reason: str | None = None
    native_finish_reason: str | None = None
    error: Any = None


class PromptDetails(msgspec.Struct, gc=False):
    """Parts of the prompt's tokens."""

    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class CompletionDetails(msgspec.Struct, gc=False):
    """Parts of the completion's tokens."""

    reasoning_tokens: int | None = None


class CostDetails(msgspec.Struct, gc=False):
    """What somebody else than OpenRouter charged."""

    upstream_inference_cost: Decimal | None = None


class ChunkUsage(msgspec.Struct, gc=False):
    """Tokens, and the cost in US dollars as it was written."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cost: Decimal | None = None
    is_byok: bool | None = None
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None
    cost_details: CostDetails | None = None


class Chunk(msgspec.Struct, gc=False):
    """One event of a stream."""

    id: str | None = None
    model: str | None = None
    provider: str | None = None
    created: int | float | None = None
    choices: list[Choice] | None = None
    usage: ChunkUsage | None = None
    error: Any = None


decode = msgspec.json.Decoder(Chunk).decode
"""One well-formed chunk; raises the errors of `UNDECODABLE` for anything else."""
UNDECODABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def has_too_many_members(text: bytes | bytearray | str) -> bool:
    """Whether reading this JSON could take much more memory and time than its size says."""
    if len(text) <= MAX_MEMBERS:
        return False
    return members_of(text) > MAX_MEMBERS


def members_of(text: bytes | bytearray | str) -> int:
    """About how many values a JSON text holds."""
    if isinstance(text, str):
        return text.count(",") + text.count("[") + text.count("{")
    return text.count(b",") + text.count(b"[") + text.count(b"{")


def image_url(image: dict[str, Any]) -> str:
    """The URL of one of ``images`` or of a part of the content; nothing where it has none."""
    found = image.get("image_url")
    if isinstance(found, dict):
        found = found.get("url")
    return found if isinstance(found, str) else ""


_NEEDED = {"url_citation": "url", "file": "hash"}


def is_annotation(value: dict[str, Any]) -> bool:
    """Whether this names a source or a file; for a type not known here, whether it says its type."""
    kind = value.get("type")
    if not isinstance(kind, str) or kind not in _NEEDED:
        return isinstance(kind, str)
    about = value.get(kind)
    return isinstance(about, dict) and isinstance(about.get(_NEEDED[kind]), str)


def size_of(value: Any, levels: int = MAX_DEPTH) -> float:
    """About how many characters a JSON value holds, ``inf`` where it is nested too deep to be kept."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, (dict, list)):
        if not levels:
            return inf
        inside = value.values() if isinstance(value, dict) else value
        names = sum(map(len, value)) if isinstance(value, dict) else 0
        return 16 + names + sum(16 + size_of(item, levels - 1) for item in inside)
    return 8


def added_usage(said: ChunkUsage, known: Usage | None) -> Usage:
    """What was said last counts, member by member: some hosts send it twice, or in pieces."""
    known = known or Usage()
    prompt = said.prompt_tokens_details or PromptDetails()
    completion = said.completion_tokens_details or CompletionDetails()
    costs = said.cost_details or CostDetails()
    return Usage(
        _count(said.prompt_tokens, known.prompt_tokens),
        _count(said.completion_tokens, known.completion_tokens),
        _dollars(said.cost, known.cost),
        _count(prompt.cached_tokens, known.cached_tokens),
        _count(prompt.cache_write_tokens, known.cache_write_tokens),
        _count(completion.reasoning_tokens, known.reasoning_tokens),
        _dollars(costs.upstream_inference_cost, known.upstream_cost),
        known.is_byok if said.is_byok is None else said.is_byok,
    )


def _count(tokens: int | None, known: int) -> int:
    """A number of tokens that can be one: no answer has a billion."""
    return tokens if tokens is not None and 0 <= tokens < MAX_TOKENS else known


def _dollars(cost: Decimal | None, known: Decimal | None) -> Decimal | None:
    """A sum that can be one, exactly as it was written; nothing that takes pages to print."""
    if cost is None or not cost.is_finite() or not 0 <= cost < MAX_COST:
        return known
    if len(cost.as_tuple().digits) > 50 or not -50 <= cost.adjusted() <= 50:
        return known
    return cost.copy_abs()  # there is a minus zero


def lenient_chunks(text: bytes | bytearray) -> Iterator[Chunk]:
    """The chunks of a payload the typed decoder refused: members of odd types, escapes of lone
    surrogates, broken UTF-8, or several objects glued together.
    """
    rest = text.decode("utf-8", "replace")
    has_surrogates = b"\\ud" in text or b"\\uD" in text
    start = count = 0
    while start < len(rest):
        try:
            value, end = _json.raw_decode(rest, start)
            if isinstance(value, dict) and "usage" in value:
                value["usage"] = _exact.raw_decode(rest, start)[0]["usage"]
            if has_surrogates:
                value = _without_surrogates(value)
        except (ValueError, RecursionError):
            raise _odd("no JSON", text) from None
        count += 1
        if not isinstance(value, dict) or count > MAX_GLUED:
            raise _odd("no answer", text)
        try:
            chunk = _as(Chunk, value)
        except RecursionError:
            raise _odd("nested too deeply", text) from None
        yield chunk
        start = _blank.match(rest, end).end()  # type: ignore[union-attr]


_json = json.JSONDecoder(strict=False)
_exact = json.JSONDecoder(strict=False, parse_float=Decimal)
_blank = re.compile(r"\s*")


def _odd(what: str, text: bytes | bytearray) -> UpstreamError:
    return UpstreamError(f"The provider sent something that is {what}. Try again.", detail=excerpt(text))


def excerpt(text: bytes | bytearray) -> str:
    """The beginning of what makes no sense, for the log."""
    return text[:300].decode("utf-8", "replace")


def _without_surrogates(value: Any) -> Any:
    """The value with a replacement character for each lone surrogate: no UTF-8 can hold one."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {_without_surrogates(name): _without_surrogates(item) for name, item in value.items()}
    return value


def _as(kind: Any, value: dict[str, Any]) -> Any:
    """The value as this struct, leaving out the members whose types do not fit."""
    if kind is Delta and isinstance(parts := value.get("content"), list):
        value = _read_parts(value, parts)
    elif kind is Function and isinstance(arguments := value.get("arguments"), dict):
        value = value | {"arguments": json.dumps(arguments)}
    fields = {}
    for field in _fields(kind):
        if field.name in value:
            fitted = _fit(field.type, value[field.name])
            if fitted is not None:
                fields[field.name] = fitted
    return kind(**fields)


_fields = cache(msgspec.structs.fields)


def _read_parts(message: dict[str, Any], parts: list[Any]) -> dict[str, Any]:
    """A message whose content came in parts: their text as its content, their pictures as its images."""
    parts = [part for part in parts if isinstance(part, dict)]
    texts = (part.get("text") for part in parts)
    images = message.get("images")
    return message | {
        "content": "".join(text for text in texts if isinstance(text, str)),
        "images": [*(images if isinstance(images, list) else ()), *filter(image_url, parts)],
    }


def _fit(wanted: Any, value: Any) -> Any:
    if wanted in _STRUCTS:
        return _as(_STRUCTS[wanted], value) if isinstance(value, dict) else None
    if wanted in _LISTS:
        kind = _LISTS[wanted]
        most = 1 if kind is Choice else MAX_ITEMS
        items = [item for item in value[:most] if isinstance(item, dict)] if isinstance(value, list) else None
        return items if items is None or kind is dict else [_as(kind, item) for item in items]
    try:
        return msgspec.convert(value, wanted, strict=False)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


_STRUCTS: dict[Any, Any] = {
    kind | None: kind for kind in (Delta, Function, ChunkUsage, PromptDetails, CompletionDetails, CostDetails)
}
_LISTS: dict[Any, Any] = {
    list[Choice] | None: Choice,
    list[CallDelta] | None: CallDelta,
    list[dict[str, Any]] | None: dict,
}
