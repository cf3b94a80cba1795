"""Which row of the catalogue a slug means, and what a call of it costs at most.

A slug as a chain or an answer names it, and the row it means:

============================  ====================================================================
``author/name``               the row of this slug
``author/name-20250522``      the row whose canonical slug it is: so answers name their models
``author/name:variant``       the variant's own row where it is listed, else the row of ``author/name``
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

ONLINE_FEE = Decimal("0.02")
"""US dollars that the variant ``:online`` costs a request beside its tokens: five results of a search."""


class Price(msgspec.Struct, frozen=True):
    """What a call costs: US dollars a token and a request; and how long it may be, in tokens.

    ``reasoning`` is what a token of the answer costs that is reasoning, never less than ``completion``.
    ``max_completion_tokens`` is the context's length where no other limit is listed.
    """

    prompt: Decimal
    completion: Decimal
    reasoning: Decimal
    request: Decimal
    max_completion_tokens: int | None
    context_length: int | None


def find(slug: str) -> CatalogueModel | None:
    """The row that a slug means, also one that is missing by now; None where the catalogue has none."""
    return found([slug]).get(slug)


def price_of(slug: str, fallbacks: Iterable[str] = (), *, prompt_tokens: int | None = None) -> Price | None:
    """What a call of ``slug`` costs at most, whichever of it and its ``fallbacks`` answers.

    None where one of them is not listed, or its price varies. ``prompt_tokens``: some models are dearer
    from a length of the prompt on; without it they count as dear as they get. These are the listed prices;
    a provider that OpenRouter turns to may ask for more.
    """
    slugs = [slug, *fallbacks]
    rows = found(slugs)
    prices = [_price(name, rows.get(name), prompt_tokens) for name in slugs]
    known = [price for price in prices if price is not None]
    if len(known) < len(prices):
        return None
    return Price(
        prompt=max(price.prompt for price in known),
        completion=max(price.completion for price in known),
        reasoning=max(price.reasoning for price in known),
        request=max(price.request for price in known),
        max_completion_tokens=_longest(price.max_completion_tokens for price in known),
        context_length=_longest(price.context_length for price in known),
    )


def without_preset(slug: str) -> str:
    """``author/name:variant`` of ``author/name:variant@preset/site``; empty for a preset alone."""
    return slug.partition("@preset/")[0]


def variant_of(slug: str) -> str:
    """``free`` of ``author/name:free``; empty where there is none."""
    return without_preset(slug).partition(":")[2]


def _names(slug: str) -> list[str]:
    """What the catalogue may call it, the nearest first."""
    named = without_preset(slug.strip())
    return list(dict.fromkeys(filter(None, (named, named.partition(":")[0]))))


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
    prompt, completion = row.prompt_price, row.completion_price
    request = row.request_price or Decimal(0)
    variant = variant_of(slug) if row.slug != without_preset(slug) else ""
    if variant == "free":
        prompt = completion = request = Decimal(0)
    else:
        for override in _overrides(row, prompt_tokens):
            prompt = max(prompt, _decimal(override.get("prompt"), prompt))
            completion = max(completion, _decimal(override.get("completion"), completion))
        request += ONLINE_FEE if variant == "online" else 0
    return Price(
        prompt=prompt,
        completion=completion,
        reasoning=completion if variant == "free" else max(completion, row.reasoning_price or 0),
        request=request,
        max_completion_tokens=row.max_completion_tokens or row.context_length,
        context_length=row.context_length,
    )


def _overrides(row: CatalogueModel, prompt_tokens: int | None) -> Iterable[Mapping[str, Any]]:
    """The prices that hold for a prompt of so many tokens, or all."""
    for override in row.overrides:
        if prompt_tokens is None or prompt_tokens >= override.get("min_prompt_tokens", 0):
            yield override


def _decimal(text: Any, otherwise: Decimal) -> Decimal:
    try:
        return Decimal(text)
    except (InvalidOperation, TypeError, ValueError):
        return otherwise


def _longest(lengths: Iterable[int | None]) -> int | None:
    """The longest; None where one is not known."""
    known = list(lengths)
    return None if None in known else max(length for length in known if length is not None)
