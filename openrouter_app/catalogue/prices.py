"""Which row of the catalogue a slug means, and what a call of it costs at most.

A slug as a chain or an answer names it, and the row it means:

============================  ====================================================================
``author/name``               the row of this slug
``author/name-20250522``      the row whose canonical slug it is: so answers name their models
``author/name:variant``       the variant's own row where it is listed, else the row of ``author/name``
``author/name:free:online``   the row of the most variants that is listed: ``author/name:free``
``author/name@preset/site``   the row of ``author/name``: what a request says wins over its preset
``@preset/site``              none: which model answers is told at OpenRouter alone
``~author/name-latest``       its own row where it is listed, else none
============================  ====================================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec
from django.db.models import Q

from ..models import CatalogueModel
from .listing import MAX_SLUG, SLUG

ONLINE_FEE = Decimal("0.02")
"""US dollars that the variant ``:online`` costs a request beside its tokens: five results of a search."""
MOST_VARIANTS = 5
"""Of a slug that are told apart."""
PICTURE = Decimal("0.001")
"""US dollars: up to here a price of pictures that are made is a token's; what is dearer is a picture's."""
_NOTHING = Decimal(0)


class Price(msgspec.Struct, frozen=True):
    """What a call costs: US dollars a token and a request; and how long it may be, in tokens.

    ``reasoning`` is what a token of the answer costs that is reasoning, never less than ``completion``;
    ``made`` what one of the pictures or the sound costs that the model answers with, 0 where it makes none,
    None where that is not listed. ``cache_write`` and ``hour_write`` are a prompt's token that is written
    to a cache, for minutes or an hour, as they are listed, else 0. ``picture`` is one in the prompt, beside
    its tokens; ``search`` one that the model's own provider makes, 0 where none is listed.
    ``max_completion_tokens`` is the context's length where no other limit is listed.
    """

    prompt: Decimal
    completion: Decimal
    reasoning: Decimal
    request: Decimal
    max_completion_tokens: int | None
    context_length: int | None
    made: Decimal | None = _NOTHING
    cache_write: Decimal = _NOTHING
    hour_write: Decimal = _NOTHING
    picture: Decimal = _NOTHING
    search: Decimal = _NOTHING


def find(slug: str) -> CatalogueModel | None:
    """The row that a slug means, also one that is missing by now; None where the catalogue has none."""
    return found([slug]).get(slug)


def price_of(slug: str, fallbacks: Iterable[str] = (), *, prompt_tokens: int | None = None) -> Price | None:
    """What a call of ``slug`` costs at most, whichever of it and its ``fallbacks`` answers.

    None where one of them is not listed, or its price varies. ``prompt_tokens``: some models are dearer
    from a length of the prompt on; without it they count as dear as they get. These are the listed prices;
    a provider that OpenRouter turns to may ask for more.
    """
    prices = prices_of([slug, *fallbacks], prompt_tokens=prompt_tokens)
    known = [price for price in prices if price is not None]
    if len(known) < len(prices):
        return None
    made = [price.made for price in known]
    return Price(
        prompt=max(price.prompt for price in known),
        completion=max(price.completion for price in known),
        reasoning=max(price.reasoning for price in known),
        request=max(price.request for price in known),
        max_completion_tokens=_longest(price.max_completion_tokens for price in known),
        context_length=_longest(price.context_length for price in known),
        made=None if None in made else max(price for price in made if price is not None),
        cache_write=max(price.cache_write for price in known),
        hour_write=max(price.hour_write for price in known),
        picture=max(price.picture for price in known),
        search=max(price.search for price in known),
    )


def prices_of(slugs: Iterable[str], *, prompt_tokens: int | None = None) -> list[Price | None]:
    """What a call of each costs, in their order and in one query; see `price_of`."""
    named = list(slugs)
    rows = found(named)
    return [_price(slug, rows.get(slug), prompt_tokens) for slug in named]


def without_preset(slug: str) -> str:
    """``author/name:variant`` of ``author/name:variant@preset/site``; empty for a preset alone."""
    return slug.partition("@preset/")[0]


def variants_of(slug: str) -> list[str]:
    """``["free", "online"]`` of ``author/name:free:online``; empty where there is none."""
    return without_preset(slug.strip()).split(":")[1:]


def _names(slug: str) -> list[str]:
    """What the catalogue may call it, the nearest first. What no slug can be is not looked for."""
    named = without_preset(slug.strip())
    parts = named.split(":", MOST_VARIANTS) if len(named) <= MAX_SLUG and SLUG.fullmatch(named) else []
    return [name for size in range(len(parts), 0, -1) if (name := ":".join(parts[:size]))]


def found(slugs: Iterable[str]) -> dict[str, CatalogueModel]:
    """The row of each slug that has one, in one query for them all."""
    wanted = {slug: _names(slug) for slug in slugs if isinstance(slug, str)}
    names = {name for several in wanted.values() for name in several}
    if not names:
        return {}
    rows = CatalogueModel.objects.defer("description").filter(Q(slug__in=names) | Q(canonical_slug__in=names))
    by_slug: dict[str, CatalogueModel] = {}
    by_canonical: dict[str, CatalogueModel] = {}
    # A model and its variants share their canonical slug: the one without a variant is meant.
    for row in sorted(rows, key=lambda row: (row.missing_since is not None, ":" in row.slug, row.slug)):
        by_slug[row.slug] = row
        by_canonical.setdefault(row.canonical_slug, row)
    nearest = {
        slug: next(filter(None, (by_slug.get(name) or by_canonical.get(name) for name in several)), None)
        for slug, several in wanted.items()
    }
    return {slug: row for slug, row in nearest.items() if row is not None}


def _price(slug: str, row: CatalogueModel | None, prompt_tokens: int | None) -> Price | None:
    if row is None or row.prompt_price is None or row.completion_price is None:
        return None
    variants = {*variants_of(slug)} - {*variants_of(row.slug)}
    if "extended" in variants:  # a longer context, and whatever that costs
        return None
    is_free = "free" in variants
    prices = _listed(row, prompt_tokens)
    if is_free:
        prices = dict.fromkeys(prices, _NOTHING)
    request = _NOTHING if is_free else row.request_price or _NOTHING
    return Price(
        prompt=prices["prompt"],
        completion=prices["completion"],
        reasoning=max(prices["completion"], _NOTHING if is_free else row.reasoning_price or _NOTHING),
        request=request + (ONLINE_FEE if "online" in variants else _NOTHING),
        max_completion_tokens=row.max_completion_tokens or row.context_length,
        context_length=row.context_length,
        made=_NOTHING if is_free else _made(row),
        cache_write=prices["input_cache_write"],
        hour_write=prices["input_cache_write_1h"],
        picture=_NOTHING if is_free else row.image_price or _NOTHING,
        search=_other(row, "web_search") or _NOTHING,
    )


def _listed(row: CatalogueModel, prompt_tokens: int | None) -> dict[str, Decimal]:
    """What a token costs in a prompt of so many at most, by OpenRouter's names."""
    prices = {
        "prompt": row.prompt_price or _NOTHING,
        "completion": row.completion_price or _NOTHING,
        "input_cache_write": row.cache_write_price or _NOTHING,
        "input_cache_write_1h": _other(row, "input_cache_write_1h") or _NOTHING,
    }
    for override in _overrides(row, prompt_tokens):
        prices = {name: max(price, _decimal(override.get(name)) or price) for name, price in prices.items()}
    return prices


def _made(row: CatalogueModel) -> Decimal | None:
    """What a token costs of the pictures or the sound that it may answer with."""
    dearest = _NOTHING
    for kind in row.output_modalities:
        if kind == "text":
            continue
        said = [_other(row, name) for name in _MADE.get(kind, ())]
        known = [price for price in said if price]
        if not known or max(known) > PICTURE:
            return None
        dearest = max(dearest, *known)
    return dearest


_MADE = {"image": ("image_output", "image_token"), "audio": ("audio_output",)}


def _other(row: CatalogueModel, name: str) -> Decimal | None:
    return _decimal(row.other_prices.get(name))


def _overrides(row: CatalogueModel, prompt_tokens: int | None) -> Iterable[Mapping[str, Any]]:
    """The prices that hold for a prompt of so many tokens, or all."""
    for override in row.overrides:
        if prompt_tokens is None or prompt_tokens >= override.get("min_prompt_tokens", 0):
            yield override


def _decimal(text: Any) -> Decimal | None:
    try:
        return Decimal(text)
    except (InvalidOperation, TypeError, ValueError):
        return None


def _longest(lengths: Iterable[int | None]) -> int | None:
    """The longest; None where one is not known."""
    known = list(lengths)
    return None if None in known else max(length for length in known if length is not None)
