"""An item of ``GET /models`` as the values of a row.

The list is somebody else's and has no version: members come, go and change their kind without notice.
So each is looked at by itself; one that is odd counts as not there, and only an item without a slug is
no item.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from decimal import ROUND_CEILING, Context, Decimal, InvalidOperation
from typing import Any, TypeGuard

from ..models import CatalogueModel
from ..models.fields import storable

MAX_SLUG = 200
MAX_NAME = 300
MAX_DESCRIPTION = 20_000
MAX_WORD = 100
MAX_WORDS = 200
MAX_OVERRIDES = 20
LONGEST = 2**53
"""Tokens; what is longer is no length."""
LATEST = 32_503_680_000
"""The year 3000, in seconds since 1970."""
DEAREST = Decimal(1_000_000)
"""US dollars a token; what is dearer is no price."""
PRECISION = Decimal("1e-15")

SLUG = re.compile(r"[!-~]+")
_PRICES = {
    "prompt_price": "prompt",
    "completion_price": "completion",
    "request_price": "request",
    "image_price": "image",
    "reasoning_price": "internal_reasoning",
    "cache_read_price": "input_cache_read",
    "cache_write_price": "input_cache_write",
}
_OTHER_PRICES = ("web_search", "image_output", "image_token", "audio_output", "input_cache_write_1h")
_OVERRIDDEN = ("prompt", "completion", "input_cache_write", "input_cache_write_1h")
_EXACT = Context(prec=60)

FIELDS = (
    *("canonical_slug", "name", "description", *_PRICES, "other_prices", "overrides"),
    *("context_length", "max_completion_tokens", "input_modalities", "output_modalities"),
    *("parameters", "reasoning", "created", "expires"),
)
"""The fields of a row that the list tells, beside its slug."""


def rows_of(items: Iterable[object]) -> tuple[dict[str, CatalogueModel], int]:
    """Rows that are not saved, by slug, and how many items were none: without a slug, or there already."""
    rows: dict[str, CatalogueModel] = {}
    skipped = 0
    for item in items:
        row = row_of(item)
        if row is None or row.slug in rows:
            skipped += 1
        else:
            rows[row.slug] = row
    return rows, skipped


def row_of(item: object) -> CatalogueModel | None:
    """The row that an item describes, not saved; None where it has no slug that could be asked for."""
    if not isinstance(item, Mapping) or not (slug := _slug(item.get("id"))):
        return None
    pricing, architecture = _mapping(item.get("pricing")), _mapping(item.get("architecture"))
    top = _mapping(item.get("top_provider"))
    return CatalogueModel(
        slug=slug,
        canonical_slug=_slug(item.get("canonical_slug")),
        name=_text(item.get("name"), MAX_NAME),
        description=_text(item.get("description"), MAX_DESCRIPTION),
        **{name: price(pricing.get(member)) for name, member in _PRICES.items()},
        other_prices=_prices(pricing, _OTHER_PRICES),
        overrides=_overrides(pricing.get("overrides")),
        context_length=_length(item.get("context_length")) or _length(top.get("context_length")),
        max_completion_tokens=_length(top.get("max_completion_tokens")),
        input_modalities=_words(architecture.get("input_modalities")),
        output_modalities=_words(architecture.get("output_modalities")),
        parameters=_words(item.get("supported_parameters")),
        reasoning=_reasoning(item.get("reasoning")),
        created=_moment(item.get("created")),
        expires=_day(item.get("expiration_date")),
    )


def price(written: object) -> Decimal | None:
    """US dollars, never less than written; None for what is no price, or for one that varies (-1)."""
    if isinstance(written, bool) or not isinstance(written, str | int | float | Decimal):
        return None
    text = str(written).strip()
    if len(text) > MAX_WORD or not text.isascii() or "_" in text:
        return None
    try:
        value = Decimal(text)
        if not value.is_finite() or value.is_signed() or value >= DEAREST:
            return Decimal(0) if value == 0 else None
        return value.quantize(PRECISION, rounding=ROUND_CEILING, context=_EXACT)
    except InvalidOperation:
        return None


def _slug(value: object) -> str:
    return value if isinstance(value, str) and len(value) <= MAX_SLUG and SLUG.fullmatch(value) else ""


def _text(value: object, longest: int) -> str:
    return storable(value[:longest]) if isinstance(value, str) else ""


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _length(value: object) -> int | None:
    """A number of tokens, whole and not 0."""
    return int(value) if _is_number(value) and 1 <= value <= LONGEST else None


def _is_number(value: object) -> TypeGuard[int | float | Decimal]:
    if isinstance(value, Decimal):
        return value.is_finite()
    return isinstance(value, int | float) and not isinstance(value, bool)


def _words(value: object) -> list[str]:
    """The texts of a list, as short as names are, in their order and each once."""
    listed = value[:MAX_WORDS] if isinstance(value, list) else []
    words = (storable(word) for word in listed if isinstance(word, str) and 0 < len(word) <= MAX_WORD)
    return list(dict.fromkeys(words))


def _reasoning(value: object) -> dict[str, Any]:
    """What is said of the model's reasoning, as far as we know the members; empty where nothing is."""
    said = _mapping(value)
    known: dict[str, Any] = {
        name: said[name]
        for name in ("mandatory", "default_enabled", "supports_max_tokens")
        if isinstance(said.get(name), bool)
    }
    if effort := _words([said.get("default_effort")]):
        known["default_effort"] = effort[0]
    if efforts := _words(said.get("supported_efforts")):
        known["supported_efforts"] = efforts
    return known


def _prices(said: Mapping[str, Any], members: Iterable[str]) -> dict[str, str]:
    """Those of these prices that are said, as they are stored in JSON."""
    found = {member: price(said.get(member)) for member in members}
    return {member: format(value, "f") for member, value in found.items() if value is not None}


def _overrides(value: object) -> list[dict[str, Any]]:
    """The prices of longer prompts; one whose condition we do not know holds for all."""
    listed = value[:MAX_OVERRIDES] if isinstance(value, list) else []
    return [
        {"min_prompt_tokens": _length(said.get("min_prompt_tokens")) or 0, **prices}
        for said in listed
        if (prices := _prices(_mapping(said), _OVERRIDDEN))
    ]


def _moment(value: object) -> datetime | None:
    """Seconds since 1970; 0 says nothing."""
    # compared first: a short text may be a number whose digits fill the memory
    return datetime.fromtimestamp(int(value), UTC) if _is_number(value) and 1 <= value <= LATEST else None


def _day(value: object) -> date | None:
    """A day, ``2026-12-24``, also where a time follows."""
    try:
        return date.fromisoformat(value[:10]) if isinstance(value, str) else None
    except ValueError:
        return None
