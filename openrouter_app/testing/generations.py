"""``GET .../generation?id=``: what an answer of the fake was, and what it has cost.

An answer that was closed early, or cut, costs what was sent of it.
The one rule: as at OpenRouter, an answer is not found before it has ended, nor at once after that.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any

from .answers import Answer
from .exchanges import Exchange
from .recorded import RecordedRequest

if TYPE_CHECKING:
    from .fake import FakeOpenRouter


@dataclass(eq=False, slots=True)
class Generation:
    """One answer of the fake: for whom, how far it came, and how often it was asked about."""

    answer: Answer
    exchange: Exchange
    asked: int = 0
    ended: float = field(default=0.0, repr=False)

    @property
    def key(self) -> str | None:
        """The API key that it was made with."""
        return self.exchange.request.api_key

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will be said."""
        return self.exchange.state != "open"

    @property
    def cost(self) -> float:
        """US dollars, of what was said so far."""
        return float(self.answer.usage()["cost"])

    def data(self) -> dict[str, Any]:
        """What ``/generation`` says of it."""
        answer, usage = self.answer, self.answer.usage()
        was_closed = self.exchange.state == "closed early"
        is_whole = self.exchange.state == "complete"
        thought = usage["completion_tokens_details"]["reasoning_tokens"]
        return {
            "id": answer.id,
            "model": answer.model,
            "provider_name": answer.reply.provider or "Fake",
            "created_at": answer.created,
            "streamed": bool((self.exchange.request.json or {}).get("stream")),
            "cancelled": was_closed,
            "finish_reason": answer.finish if is_whole else None,
            "native_finish_reason": answer.native_finish if is_whole else None,
            "tokens_prompt": usage["prompt_tokens"],
            "tokens_completion": usage["completion_tokens"],
            "native_tokens_prompt": usage["prompt_tokens"],
            "native_tokens_completion": usage["completion_tokens"],
            "native_tokens_reasoning": thought,
            "native_tokens_cached": 0,
            "total_cost": usage["cost"],
            "usage": usage["cost"],
            "upstream_inference_cost": None,
            "cache_discount": None,
            "is_byok": usage["is_byok"],
        }


def get_generation(fake: FakeOpenRouter, request: RecordedRequest) -> tuple[int, object] | None:
    """``GET .../generation?id=``, with the key that the answer was made with."""
    if request.method != "GET" or not request.path.endswith("/generation"):
        return None
    if not request.api_key:
        return 401, {"error": {"message": "No auth credentials found", "code": 401}}
    found = fake.generations.get(request.query.get("id", ""))
    if found is None or found.key != request.api_key or not found.has_ended or not _is_listed(fake, found):
        return 404, {"error": {"message": "Generation not found", "code": 404}}
    return 200, {"data": found.data()}


def _is_listed(fake: FakeOpenRouter, found: Generation) -> bool:
    found.asked += 1
    found.ended = found.ended or monotonic()
    return found.asked > fake.unlisted_asks and monotonic() >= found.ended + fake.unlisted_seconds
