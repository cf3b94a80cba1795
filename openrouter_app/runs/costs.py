"""The model calls of a run and what they cost: as it was said, else about as much as it must have been.

What a call costs is said at the end of its answer. Of one that was stopped or broke off, the prompt and
what was said so far are counted, at the prices of the catalogue: an estimate, until OpenRouter is asked for
what it was (`openrouter_app.runs.settling`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
from django.utils import timezone

from .. import catalogue
from ..engine import messages as engine
from ..engine.requests import encode_body, wire_messages
from ..models import ModelCall
from .events import UsageTotals

BYTES_A_TOKEN = 4
"""Of text, in UTF-8; about, and only where nobody has counted."""
BYTES_A_PICTURE = 6_000
"""What a picture in a prompt counts as: some 1,500 tokens."""
FIRST_ASK = 2.0
"""Seconds after its end in which OpenRouter may not know of a call."""
_OPENROUTERS = "gen-"
"""How OpenRouter's ids begin: what has another one, nobody can be asked about."""


def money(cost: Decimal) -> Decimal:
    """To the ten places that are stored; a provider's absurd figure is cut to what the column holds."""
    return min(cost, Decimal("99999999")).quantize(Decimal("1e-10"))


def plain(cost: Decimal | None) -> str | None:
    """As it stands in events and states: US dollars as a decimal string."""
    return None if cost is None else format(money(cost).normalize(), "f")


class Called(msgspec.Struct):
    """One call of a model. ``cost`` is None where nobody knows it; ``is_said`` where no more will be said."""

    number: int
    requested: str
    key_hash: str = ""
    prompt_bytes: int = 0
    generation_id: str = ""
    model: str = ""
    provider: str = ""
    finish: str = ""
    native_finish: str = ""
    said: int = 0
    """Bytes of its answer so far."""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cost: Decimal | None = None
    is_said: bool = False
    started: datetime = msgspec.field(default_factory=timezone.now)
    ended: datetime | None = None
    error: str = ""
    changes: int = 1
    """Of what is stored of it; ``stored`` is how many of them were."""
    stored: int = 0

    def begin(self, generation: str, model: str, provider: str) -> None:
        """What its first content says of it."""
        self.generation_id = generation or self.generation_id
        self.model, self.provider = model, provider
        self.changes += 1

    def finish_with(self, reply: engine.ReplyFinished) -> None:
        """Its answer is whole."""
        self.model, self.provider = reply.model, reply.provider
        self.finish, self.native_finish = reply.reason, reply.native_reason
        self.generation_id = reply.id or self.generation_id
        if (usage := reply.usage) is not None:
            self.prompt_tokens, self.completion_tokens = usage.prompt_tokens, usage.completion_tokens
            # A server that counts tokens and tells no cost has said all it knows.
            self.cost, self.is_said = None if usage.cost is None else money(usage.cost), True
        self.end()

    def end(self, error: str = "") -> None:
        """Nothing more will be said."""
        if self.ended is None:
            self.ended = timezone.now()
            self.error = error
            self.changes += 1

    def estimate(self, price: catalogue.Price) -> None:
        """What it has cost, about. One that failed without a word costs nothing, as OpenRouter has it."""
        if self.prompt_tokens is None or self.completion_tokens is None:
            self.prompt_tokens = tokens_in(self.prompt_bytes)
            self.completion_tokens = tokens_in(self.said)
        self.cost = Decimal(0) if self.error and not self.said else cost_of(self, price)
        self.changes += 1

    def row(self, run: UUID, pk: int | None) -> ModelCall:
        """As it is stored; ``pk`` is that of the run's row, None where it is gone. An open call has the
        estimate of its prompt: whoever finds it open needs that.
        """
        fields = {name: getattr(self, name) for name in _FIELDS}
        if self.ended is None:
            fields["prompt_tokens"] = tokens_in(self.prompt_bytes)
        ask = self.ended is not None and not self.is_said
        return ModelCall(
            run_id=pk,
            run_uuid=run,
            settled_at=self.ended if self.is_said else None,
            ask_after=first_ask(self.generation_id) if ask else None,
            **fields,
        )


_FIELDS = (
    *("number", "requested", "key_hash", "generation_id", "model", "provider", "finish", "native_finish"),
    *("prompt_tokens", "completion_tokens", "cost", "started", "ended", "error"),
)


class Totals(msgspec.Struct, frozen=True):
    """Of several calls together. ``cost`` is None where nobody knows any; an estimate if one of them is."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: Decimal | None = None
    is_estimated: bool = False
    calls: int = 0

    @classmethod
    def of(cls, calls: Iterable[Called | ModelCall], earlier: Totals | None = None) -> Totals:
        """Of these calls, and of those before."""
        total = earlier or cls()
        prompt, completion, cost = total.prompt_tokens, total.completion_tokens, total.cost
        estimated, count = total.is_estimated, total.calls
        for call in calls:
            count += 1
            prompt += call.prompt_tokens or 0
            completion += call.completion_tokens or 0
            estimated |= not (call.is_said if isinstance(call, Called) else call.settled_at)
            if call.cost is not None:
                cost = call.cost if cost is None else cost + call.cost
        return cls(prompt, completion, cost, estimated, count)

    def row(self, run: UUID) -> ModelCall:
        """All of them as one call of a run that is gone, which nobody is asked about."""
        now = timezone.now()
        return ModelCall(
            run_uuid=run,
            number=self.calls,
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
            cost=None if self.cost is None else money(self.cost),
            ended=now,
            settled_at=None if self.is_estimated else now,
        )

    def is_told(self, usage: Mapping[str, Any] | None) -> bool:
        """Whether a state's usage says the same."""
        names = ("prompt_tokens", "completion_tokens", "cost", "estimated")
        event = self.event(model="", provider="", ms=0)
        return usage is not None and all(usage[name] == getattr(event, name) for name in names)

    def event(self, *, model: str, provider: str, ms: int) -> UsageTotals:
        """For the log."""
        return UsageTotals(
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
            cost=plain(self.cost),
            estimated=self.is_estimated and self.cost is not None,
            model=model,
            provider=provider,
            ms=ms,
        )


def tokens_in(size: int) -> int:
    """About how many tokens so many bytes of text are."""
    return -(-size // BYTES_A_TOKEN)


def cost_of(call: Called | ModelCall, price: catalogue.Price) -> Decimal:
    """About what a call with so many tokens costs at this price. Reasoning is among those of the answer."""
    prompt, completion = call.prompt_tokens or 0, call.completion_tokens or 0
    dearest = max(price.completion, price.reasoning)
    return money(price.request + prompt * price.prompt + completion * dearest)


def size_of(text: str) -> int:
    """Bytes of a text; it has one for each character nearly always."""
    return len(text) if text.isascii() else len(text.encode(errors="replace"))


def size_of_prompt(messages: Sequence[engine.Message], body: Mapping[str, Any]) -> int:
    """Bytes of what a model is sent, of the tools in a version's body, too. A picture counts as if it were
    `BYTES_A_PICTURE` long.
    """
    wire = wire_messages(messages)
    pictures = 0
    for message in wire:
        content = message["content"]
        for part in content if isinstance(content, list) else ():
            if part["type"] == "image_url":
                part["image_url"] = ""
                pictures += 1
        pictures += len(message.pop("images", ()))
    tools = [[tool["name"], tool["description"], tool["schema"]] for tool in body["tools"]]
    return len(encode_body({"messages": wire, "tools": tools})) + pictures * BYTES_A_PICTURE


def first_ask(generation: str) -> datetime | None:
    """When OpenRouter may be asked about a call that has just ended; None where it cannot be."""
    if not generation.startswith(_OPENROUTERS):
        return None
    return timezone.now() + timedelta(seconds=FIRST_ASK)


def store(rows: Sequence[ModelCall]) -> None:
    """Write these calls, whether or not they are there; in the caller's transaction, one statement."""
    if rows:
        ModelCall.objects.bulk_create(
            rows,
            update_conflicts=True,
            unique_fields=["run_uuid", "number"],
            update_fields=[*(name for name in _FIELDS if name != "number"), "settled_at", "ask_after"],
        )


def prices_of(calls: Iterable[Called]) -> dict[int, catalogue.Price]:
    """What these calls cost a token, by their numbers, where that is known."""
    found = {call.number: price_of(call) for call in calls}
    return {number: price for number, price in found.items() if price is not None}


def price_of(call: Called | ModelCall) -> catalogue.Price | None:
    """What the model costs that has answered; the one that was asked for, where that is not listed. A search
    of the web, which only the slug that was asked for tells of, costs as much a request as that one.
    """
    known = call.prompt_tokens
    if known is None and isinstance(call, Called):
        known = tokens_in(call.prompt_bytes)
    slugs = [slug for slug in (call.model, call.requested) if slug]
    prices = [catalogue.price_of(slug, prompt_tokens=known) for slug in slugs]
    price = next((price for price in prices if price is not None), None)
    asked = prices[-1] if prices else None
    if price is not None and asked is not None and "online" in catalogue.variants_of(call.requested):
        price = msgspec.structs.replace(price, request=max(price.request, asked.request))
    return price


def close_open(run: UUID, said: int) -> Totals:
    """End the calls of a run whose process is gone, the last one after so many bytes; all calls' totals. In
    the caller's transaction.
    """
    calls = list(ModelCall.objects.filter(run_uuid=run).order_by("number"))
    now = timezone.now()
    for call in calls:
        if call.ended is None:
            call.completion_tokens = tokens_in(said) if call is calls[-1] else 0
            if (price := price_of(call)) is not None:
                call.cost = cost_of(call, price)
            call.ended, call.ask_after = now, first_ask(call.generation_id)
            call.save(update_fields=["completion_tokens", "cost", "ended", "ask_after"])
    return Totals.of(calls)
