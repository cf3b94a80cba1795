"""One payload of a stream, or one whole body, as a typed chunk; and its usage.

Members nobody here reads are skipped unseen. What the typed decoder refuses is for `engine.lenient`.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec

from .messages import Usage

MAX_TOKENS = 1_000_000_000
MAX_COST = 1_000_000


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
