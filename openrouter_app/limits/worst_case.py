"""What is asked of a model, and what its answer may cost at most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import ROUND_CEILING, Context, Decimal
from typing import Any
from uuid import UUID

import msgspec

from .. import catalogue
from ..models import Chain, Owner

BYTES_A_TOKEN = 2
"""Bytes of the prompt for which a token is reckoned. Text has about four; code and other scripts fewer."""
SMALLEST = Decimal("1e-10")
"""The smallest amount a column of money holds."""
MOST_TOKENS = 10**9
"""No answer is longer, whatever a request says."""
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
    """US dollars, rounded up; None where the price or the longest answer is not known."""
    prompt = -(-ask.prompt_bytes // BYTES_A_TOKEN)
    price = catalogue.price_of(ask.model, _fallbacks(ask), prompt_tokens=prompt)
    if price is None:
        return None
    longest = _longest(ask.options)
    if longest is None:
        longest = price.max_completion_tokens or price.context_length
    dearest = max(price.completion, price.reasoning)
    if longest is None and dearest:
        return None
    if price.context_length:
        prompt = min(prompt, price.context_length)
    cost = prompt * price.prompt + price.request + (longest or 0) * dearest
    return max(cost, Decimal(0)).quantize(SMALLEST, ROUND_CEILING, Context(prec=100))


def _fallbacks(ask: Ask) -> list[str]:
    named = ask.options.get("models")
    return [*ask.fallbacks, *(slug for slug in named if isinstance(slug, str))] if named else [*ask.fallbacks]


def _longest(options: Mapping[str, Any]) -> int | None:
    """The tokens that the request allows the answer; None where it says nothing that can be counted on."""
    said = [options[name] for name in MAXIMA if options.get(name) is not None]
    are_numbers = all(isinstance(number, int) and not isinstance(number, bool) for number in said)
    return min(max(said), MOST_TOKENS) if said and are_numbers and min(said) > 0 else None
