"""A reply as one JSON body, for a request without ``"stream": true``.

The one rule: the body comes after as much time as the chunks of a stream would have taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .answers import Action, Answer, Body, HangUp, Pause, error_object, json_head, reasoning_details
from .scripts import (
    Comment,
    Cut,
    Delta,
    End,
    Event,
    Gate,
    JSONObject,
    RawBytes,
    Reasoning,
    ScriptError,
    Stall,
    StreamError,
    ToolCallScript,
    compact,
)


def render_whole(answer: Answer) -> Iterator[Action]:
    """One JSON body, after as much time as the chunks would have taken."""
    reply = answer.reply
    waits: list[Action] = []
    calls: list[ToolCallScript] = []
    details: list[JSONObject] = []
    broken: StreamError | Cut | End | None = None
    chunks = 0
    for piece in reply.pieces:
        match piece:
            case str():
                answer.text.append(piece)
                chunks += 1
            case Reasoning():
                answer.reasoning.append(piece.text)
                details += piece.details or []
                chunks += 1
            case ToolCallScript():
                calls.append(piece)
                answer.calls[len(calls) - 1] = list(piece.fragments)
                chunks += len(piece.fragments)
            case Stall():
                waits.append(Pause(piece.seconds))
            case Gate():
                waits.append(piece)
            case Comment():
                pass
            case StreamError() | Cut() | End():
                broken = piece
                break
            case Delta() | Event() | RawBytes():
                kind = type(piece).__name__
                raise ScriptError(f'a {kind} piece needs a request with "stream": true; use text or raw(...)')
    if reply.delay and chunks:
        waits.append(Pause(reply.delay * chunks))
    if isinstance(broken, StreamError) and broken.shape in ("no_choices", "bare"):
        body: Mapping[str, Any] = {"error": error_object(broken)}
    else:
        error = broken if isinstance(broken, StreamError) else None
        body = _completion(answer, calls, details, error)
    data = compact(body).encode()
    yield json_head(200, {"x-generation-id": answer.id})
    yield from waits
    yield Body(data[: len(data) // 2] if isinstance(broken, Cut | End) else data)
    if isinstance(broken, Cut):
        yield HangUp()


def _completion(
    answer: Answer, calls: list[ToolCallScript], details: list[JSONObject], error: StreamError | None
) -> Mapping[str, Any]:
    reasoning = "".join(answer.reasoning) or None
    message: dict[str, Any] = {
        "role": "assistant",
        "content": "".join(answer.text),
        "refusal": None,
        "reasoning": reasoning,
    }
    if reasoning or details:
        message["reasoning_details"] = details or reasoning_details(reasoning or "")
    if calls:
        message["tool_calls"] = [
            {
                "index": index,
                "id": call.id or answer.call_id(index),
                "type": "function",
                "function": {"name": call.name, "arguments": "".join(call.fragments)},
            }
            for index, call in enumerate(calls)
        ]
    choice: dict[str, Any] = {
        "index": 0,
        "message": message,
        "finish_reason": "error" if error else answer.finish,
        "native_finish_reason": None if error else answer.native_finish,
        "logprobs": None,
    }
    if error:
        choice["error"] = error_object(error)
    return answer.envelope("chat.completion", [choice], usage=answer.usage())
