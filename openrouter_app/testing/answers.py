"""What every rendering needs: the actions, and one answer being written.

An action is one of four: send the `Head`, send a `Body` part, `Pause`, `HangUp`; a `Gate` may stand
between them and is waited for as it is. An `Answer` knows who speaks and what was said so far, so it
can give each chunk the same envelope and count the tokens at the end.
The one rule: no I/O here, and no clock but the answer's own time stamp.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from .scripts import Gate, JSONObject, Reply, Stall, StreamError, ToolCallScript, compact, sse

COMMENT = b": OPENROUTER PROCESSING\n\n"


@dataclass(frozen=True, slots=True)
class Head:
    status: int
    headers: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Body:
    data: bytes


@dataclass(frozen=True, slots=True)
class Pause:
    seconds: float


@dataclass(frozen=True, slots=True)
class HangUp:
    pass


Action: TypeAlias = Head | Body | Pause | Gate | HangUp


def json_head(status: int, headers: JSONObject | None = None) -> Head:
    given = {"content-type": "application/json"} | {k.lower(): str(v) for k, v in (headers or {}).items()}
    return Head(status, tuple(given.items()))


@dataclass(slots=True)
class Answer:
    """One answer being written: who speaks, and what has been said so far."""

    reply: Reply
    id: str
    created: int
    model: str
    prompt_bytes: int
    text: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    calls: dict[int, list[str]] = field(default_factory=dict)

    @classmethod
    def to(cls, request: JSONObject, reply: Reply) -> Answer:
        created = int(time.time())
        model = reply.model or str(request.get("model") or "fake/model")
        prompt = [request.get("messages"), request.get("tools") or ""]
        return cls(reply, f"gen-{created}-{secrets.token_hex(10)}", created, model, len(compact(prompt)))

    @property
    def finish(self) -> str:
        has_call = any(isinstance(piece, ToolCallScript) for piece in self.reply.pieces)
        return self.reply.finish or ("tool_calls" if has_call else "stop")

    @property
    def native_finish(self) -> str:
        return self.reply.native_finish or self.finish

    def call_id(self, index: int) -> str:
        return f"call_{self.id[-12:]}_{index}"

    def envelope(self, kind: str, choices: list[JSONObject], **more: Any) -> dict[str, Any]:
        return {
            "id": self.id,
            "provider": self.reply.provider or "Fake",
            "model": self.model,
            "object": kind,
            "created": self.created,
            "choices": choices,
            "system_fingerprint": None,
            **more,
        }

    def chunk(
        self, delta: JSONObject, finish: str | None = None, native: str | None = None, **more: Any
    ) -> Body:
        choice = {
            "index": 0,
            "delta": delta,
            "finish_reason": finish,
            "native_finish_reason": native,
            "logprobs": None,
        }
        return Body(sse(self.envelope("chat.completion.chunk", [choice], **more)))

    def usage(self) -> dict[str, Any]:
        """Counts as a real tokenizer might give them: four bytes to a token."""
        prompt = max(1, self.prompt_bytes // 4)
        thought = _tokens("".join(self.reasoning))
        said = "".join(self.text) + "".join(part for parts in self.calls.values() for part in parts)
        completion = thought + _tokens(said)
        costs = (round(prompt * 1e-7, 10), round(completion * 3e-7, 10))
        counted: dict[str, Any] = {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "cost": round(sum(costs), 10),
            "is_byok": False,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "cost_details": {
                "upstream_inference_cost": None,
                "upstream_inference_prompt_cost": costs[0],
                "upstream_inference_completions_cost": costs[1],
            },
            "completion_tokens_details": {"reasoning_tokens": thought, "image_tokens": 0},
        }
        return counted | dict(self.reply.usage or {})


def _tokens(text: str) -> int:
    return (len(text.encode(errors="replace")) + 3) // 4


def reasoning_details(text: str) -> list[JSONObject]:
    return [{"type": "reasoning.text", "text": text, "format": "unknown", "index": 0}]


def error_object(piece: StreamError) -> dict[str, Any]:
    error: dict[str, Any] = {"code": piece.status if piece.code is None else piece.code}
    error["message"] = piece.message
    return error | ({"metadata": dict(piece.metadata)} if piece.metadata is not None else {})


def stalled(stall: Stall) -> Iterator[Action]:
    rest = stall.seconds
    while stall.comment_every and rest > stall.comment_every:
        yield Pause(stall.comment_every)
        yield Body(COMMENT)
        rest -= stall.comment_every
    yield Pause(rest)
