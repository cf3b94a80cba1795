"""What is asked of a model, and what its answer may cost at most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import ROUND_CEILING, Context, Decimal
from typing import Any
from uuid import UUID

import msgspec

from .. import catalogue
from ..models import Chain, Owner
from .extras import extras_of

SMALLEST = Decimal("1e-10")
"""The smallest amount a column of money holds."""
MOST_TOKENS = 10**9
"""No answer is longer, whatever a request says."""
BYTES_A_PICTURE = 6_000
"""Bytes that a picture counts as in a prompt (`openrouter_app.runs.costs.size_of_prompt`)."""
MOST_MODELS = 20
"""One of which may answer; OpenRouter takes fewer."""
CACHING = ("cache_control", "prompt_cache_options")
HOUR = 2
"""Times the price of a prompt's token that it costs to keep it for an hour, where that is not listed."""
MAXIMA = ("max_tokens", "max_completion_tokens")


class Ask(msgspec.Struct, frozen=True):
    """Who asks which model for how much."""

    run: UUID
    owner: Owner
    user: Any
    """The model instance; None for a visitor and for the system."""
    chain: Chain
    model: str
    fallbacks: Sequence[str] = ()
    options: Mapping[str, Any] = {}
    """The members of the request, the chain's and the client's together."""
    prompt_bytes: int = 0
    """Of all messages and tools, in UTF-8."""
    has_user_key: bool = False


def worst_case(ask: Ask) -> Decimal | None:
    """US dollars, rounded up; None where nobody knows: a price, the longest answer, or what else is done."""
    slugs = _slugs(ask)
    if slugs is None:
        return None
    prompt = ask.prompt_bytes  # text has about four a token, but what somebody makes up for it may have one
    # What is searched and found makes the prompt longer.
    may_grow = any(ask.options.get(name) for name in ("plugins", "tools"))
    may_grow = may_grow or any("online" in catalogue.variants_of(slug) for slug in slugs)
    prices = catalogue.prices_of(slugs, prompt_tokens=None if may_grow else prompt)
    costs = [_of_model(ask, prompt, slug, price) for slug, price in zip(slugs, prices, strict=True)]
    known = [cost for cost in costs if cost is not None]
    if len(known) < len(costs):
        return None
    return max(*known, Decimal(0)).quantize(SMALLEST, ROUND_CEILING, Context(prec=100))


def _slugs(ask: Ask) -> list[str] | None:
    """The models that may answer; None where they are odd."""
    named = ask.options.get("models")
    if named is not None and not isinstance(named, list | tuple):
        return None
    slugs = [ask.model, *ask.fallbacks, *(named or ())]
    is_odd = len(slugs) > MOST_MODELS or not all(isinstance(slug, str) for slug in slugs)
    return None if is_odd else slugs


def _of_model(ask: Ask, prompt: int, slug: str, price: catalogue.Price | None) -> Decimal | None:
    """What it costs at most if this model answers; None where nobody knows."""
    extras = None if price is None else extras_of(ask.options, slug, price)
    if price is None or extras is None:
        return None
    longest = _longest(ask.options) or price.max_completion_tokens or price.context_length
    made = Decimal(0) if ask.options.get("modalities") in (["text"], []) else price.made
    if made is None:
        return None
    dearest = max(price.completion, price.reasoning, made)
    if longest is None and dearest:
        return None
    longest = longest or 0
    read = None if extras.added is None else prompt + extras.added + extras.calls * longest
    if price.context_length:
        read = price.context_length if read is None else min(read, price.context_length)
    token = _of_prompts_token(ask.options, price)
    if read is None and token:
        return None
    pictures = ask.prompt_bytes // BYTES_A_PICTURE
    call = (read or 0) * token + price.request + pictures * price.picture + longest * dearest
    return (1 + extras.calls) * call + extras.fee


def _of_prompts_token(options: Mapping[str, Any], price: catalogue.Price) -> Decimal:
    """With what it costs to write it to a cache, which some models do unasked where that is dearer."""
    dearest = max(price.prompt, price.cache_write)
    asked = [options[name] for name in CACHING if options.get(name) is not None]
    if not asked:
        return dearest
    if price.cache_write < price.prompt:  # then it is listed what writing costs beside reading
        dearest = price.prompt + price.cache_write
    is_short = all(isinstance(said, Mapping) and said.get("ttl") in (None, "5m") for said in asked)
    return dearest if is_short else max(dearest, price.hour_write, HOUR * price.prompt)


def _longest(options: Mapping[str, Any]) -> int | None:
    """The tokens that the request allows the answer; None where it says nothing that can be counted on."""
    said = [options[name] for name in MAXIMA if options.get(name) is not None]
    are_numbers = all(isinstance(number, int) and not isinstance(number, bool) for number in said)
    return min(max(said), MOST_TOKENS) if said and are_numbers and min(said) > 0 else None
