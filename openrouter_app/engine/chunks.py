"""One payload of a stream, or one whole body, as a typed chunk; and the blocks its reasoning is in.

The fast way is a typed decoder: members nobody here reads are skipped unseen. What it refuses is read
again leniently: a member of an odd type is left out, the rest counts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from decimal import Decimal
from io import StringIO
from json.decoder import WHITESPACE  # type: ignore[attr-defined]
from math import inf
from typing import Any

import msgspec

from .errors import UpstreamError

MAX_DEPTH = 32
"""Levels of a value that is handed on as it came; what is nested deeper is no annotation of anyone's."""
MAX_GLUED = 1_000
"""Objects in one payload."""


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


def reasoning_text(details: Iterable[dict[str, Any]]) -> str:
    """What can be shown of ``reasoning_details``, for hosts that send no ``reasoning`` beside it."""
    shown = (detail.get("text") or detail.get("summary") for detail in details)
    return "".join(text for text in shown if isinstance(text, str))


def image_url(image: dict[str, Any]) -> str:
    """The URL of one of ``images`` or of a part of the content; nothing where it has none."""
    found = image.get("image_url")
    if isinstance(found, dict):
        found = found.get("url")
    return found if isinstance(found, str) else ""


_ABOUT = {"url_citation": ("url", str), "file": ("hash", str)}


def is_annotation(value: dict[str, Any]) -> bool:
    """Whether this names a source or a file; of a type not known here, whether it says its type."""
    kind = value.get("type")
    if not isinstance(kind, str) or kind not in _ABOUT:
        return isinstance(kind, str)
    about, (name, wanted) = value.get(kind), _ABOUT[kind]
    return isinstance(about, dict) and isinstance(about.get(name), wanted)


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


class ReasoningBlocks:
    """``reasoning_details`` put together, to be sent back: ``add(detail)`` answers what it holds more.

    A provider that signs its reasoning refuses to go on from loose fragments. Fragments of a text or a
    summary are of one block where their type and index are the same; without an index, where nothing
    says that another block began. Data is encrypted, so never cut: other data is another block.
    """

    def __init__(self) -> None:
        self._blocks: list[_Block] = []
        self._last: dict[tuple[str, int | None], _Block] = {}

    def add(self, detail: dict[str, Any]) -> float:
        """One more fragment: the characters it adds, ``inf`` for what cannot be kept."""
        kind = detail.get("type")
        if not isinstance(kind, str):
            return 0
        index = detail.get("index")
        key = (kind, index if isinstance(index, int) else None)
        block = self._last.get(key) or (self._last.get((kind, None)) if key[1] is None else None)
        added: float = 0
        if block is None or block.is_other(detail, key[1] is not None):
            block = self._last[key] = self._last[kind, None] = _Block()
            self._blocks.append(block)
            added = 256
        return added + block.add(detail)

    def merged(self) -> tuple[dict[str, Any], ...]:
        """The blocks, in the order in which they began."""
        return tuple(block.members() for block in self._blocks)


class _Block:
    """A block while it is being written: its members, and the texts among them that still grow."""

    __slots__ = ("_members", "_texts")

    def __init__(self) -> None:
        self._members: dict[str, Any] = {}
        self._texts: dict[str, StringIO] = {}

    def is_other(self, detail: dict[str, Any], is_indexed: bool) -> bool:
        """Whether this fragment begins another block."""
        mine = self._members.get
        data, same_id = detail.get("data"), detail.get("id") == mine("id") is not None
        if data and mine("data"):
            return data != mine("data") and not same_id
        if is_indexed:
            call = detail.get("tool_call_id")
            return call is not None and call != (mine("tool_call_id") or call)
        text = detail.get("text") or detail.get("summary")
        if detail.get("id") and not same_id and (text or mine("id")):
            return True
        return bool(text and mine("signature"))

    def add(self, detail: dict[str, Any]) -> float:
        """One more fragment: texts are joined, of anything else the last that says something counts."""
        added: float = 0
        for name, value in detail.items():
            known = self._members.get(name)
            if name in ("text", "summary") and isinstance(value, str):
                self._members[name] = ""
                self._texts.setdefault(name, StringIO()).write(value)
                added += len(value)
            elif value != known and (value not in (None, "") or name not in self._members):
                added += len(name) + size_of(value)
                self._members[name] = value
        return added

    def members(self) -> dict[str, Any]:
        return self._members | {name: text.getvalue() for name, text in self._texts.items()}


def lenient_chunks(text: bytes) -> Iterator[Chunk]:
    """The chunks of a payload the typed decoder refused: members of odd types, escapes of lone
    surrogates, broken UTF-8, or several objects glued together.
    """
    rest = text.decode("utf-8", "replace")
    start = found = 0
    while start < len(rest):
        found += 1
        try:
            if found > MAX_GLUED:
                raise ValueError
            value, end = _json.raw_decode(rest, start)
            if not isinstance(value, dict):
                raise TypeError
            if b"\\ud" in text or b"\\uD" in text:
                value = _without_surrogates(value)
        except (ValueError, RecursionError):
            raise UpstreamError(
                "The provider sent something that is no JSON. Try again.", detail=excerpt(text)
            ) from None
        except TypeError:
            raise UpstreamError(
                "The provider sent something that is no answer. Try again.", detail=excerpt(text)
            ) from None
        yield _as(Chunk, value)
        start = WHITESPACE.match(rest, end).end()


_json = json.JSONDecoder(strict=False)


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
    fields = {}
    for field in msgspec.structs.fields(kind):
        if field.name in value:
            fitted = _fit(field.type, value[field.name])
            if fitted is not None:
                fields[field.name] = fitted
    return kind(**fields)


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
        items = [item for item in value if isinstance(item, dict)] if isinstance(value, list) else None
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


def excerpt(text: bytes) -> str:
    """The beginning of what cannot be read, for the log."""
    return text[:300].decode("utf-8", "replace")
