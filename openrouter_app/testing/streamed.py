"""A reply as a stream of events, shaped as OpenRouter sends them.

The one rule: an answer that is not broken off ends with a finish reason, the usage and ``[DONE]``.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest

from .answers import (
    COMMENT,
    Action,
    Answer,
    Body,
    HangUp,
    Head,
    Pause,
    error_object,
    reasoning_details,
    stalled,
)
from .scripts import (
    Comment,
    Cut,
    Delta,
    End,
    Event,
    Gate,
    JSONObject,
    Piece,
    RawBytes,
    Reasoning,
    Stall,
    StreamError,
    ToolCallScript,
    sse,
)

DONE = b"data: [DONE]\n\n"
_EMPTY: JSONObject = {"role": "assistant", "content": ""}


def render_stream(answer: Answer) -> Iterator[Action]:
    reply = answer.reply
    yield Head(
        200,
        (
            ("content-type", "text/event-stream"),
            ("cache-control", "no-cache"),
            ("x-generation-id", answer.id),
        ),
    )
    if reply.comments:
        yield Body(COMMENT)
    if not (reply.pieces and isinstance(reply.pieces[0], StreamError | RawBytes | Event)):
        yield answer.chunk(_EMPTY)  # providers open with an empty chunk; those three speak for themselves
    if reply.comments:
        yield Body(COMMENT)
    for number, action in enumerate(_pieces(answer)):
        if reply.delay and number and isinstance(action, Body):
            yield Pause(reply.delay)
        yield action
    if any(isinstance(piece, StreamError | Cut | End) for piece in reply.pieces):
        return
    yield answer.chunk(_EMPTY, answer.finish, answer.native_finish)
    usage = answer.usage()
    match reply.usage_event:
        case "same_finish":
            yield answer.chunk(_EMPTY, answer.finish, answer.native_finish, usage=usage)
        case "no_finish":
            yield answer.chunk(_EMPTY, usage=usage)
        case "no_choices":
            yield Body(sse(answer.envelope("chat.completion.chunk", [], usage=usage)))
    yield Body(DONE)


def _pieces(answer: Answer) -> Iterator[Action]:
    reply = answer.reply
    index = -1
    for position, piece in enumerate(reply.pieces):
        match piece:
            case str():
                answer.text.append(piece)
                yield answer.chunk({"role": "assistant", "content": piece})
            case Reasoning():
                yield answer.chunk(_reasoning_delta(answer, piece))
            case ToolCallScript():
                previous = reply.pieces[position - 1] if position else None
                if reply.interleave and isinstance(previous, ToolCallScript):
                    continue  # went out together with the first of its neighbours
                calls = _neighbours(reply.pieces, position) if reply.interleave else [piece]
                yield from _call_chunks(answer, calls, index + 1)
                index += len(calls)
            case Delta():
                yield answer.chunk(piece.delta, piece.finish, piece.finish)
            case Event():
                yield Body(sse(piece.data))
            case RawBytes():
                yield Body(piece.data)
            case Comment():
                yield Body(f": {piece.text}\n\n".encode())
            case Stall():
                yield from stalled(piece)
            case Gate():
                yield piece
            case StreamError():
                yield from _stream_error(answer, piece)
                return
            case Cut():
                yield HangUp()
                return
            case End():
                return


def _reasoning_delta(answer: Answer, piece: Reasoning) -> JSONObject:
    answer.reasoning.append(piece.text)
    return {
        "role": "assistant",
        "content": "",
        "reasoning": piece.text,
        "reasoning_details": reasoning_details(piece.text) if piece.details is None else list(piece.details),
    }


def _neighbours(pieces: tuple[Piece, ...], start: int) -> list[ToolCallScript]:
    calls: list[ToolCallScript] = []
    for piece in pieces[start:]:
        if not isinstance(piece, ToolCallScript):
            break
        calls.append(piece)
    return calls


def _call_chunks(answer: Answer, calls: list[ToolCallScript], first: int) -> Iterator[Action]:
    """The announcements, then the fragments: of one call, or of several in turn."""
    for index, call in enumerate(calls, first):
        function = {"name": call.name, "arguments": ""}
        identity = {"id": call.id or answer.call_id(index), "type": "function"}
        yield answer.chunk(_call_delta({"index": index, **identity, "function": function}))
    for row in zip_longest(*(call.fragments for call in calls)):
        for index, fragment in enumerate(row, first):
            if fragment is not None:
                answer.calls.setdefault(index, []).append(fragment)
                yield answer.chunk(_call_delta({"index": index, "function": {"arguments": fragment}}))


def _call_delta(call: JSONObject) -> JSONObject:
    return {"role": "assistant", "content": None, "tool_calls": [call]}


def _stream_error(answer: Answer, piece: StreamError) -> Iterator[Action]:
    error = error_object(piece)
    match piece.shape:
        case "finish_error":
            yield answer.chunk(_EMPTY, "error", error=error)
        case "no_choices":
            yield Body(sse(answer.envelope("chat.completion.chunk", [], error=error)))
            yield Body(DONE)
        case "bare":
            yield Body(sse({"error": error}))
        case "after_finish":
            yield answer.chunk(_EMPTY, "length", "length")
            yield answer.chunk(_EMPTY, error=error, usage=answer.usage())
            yield Body(DONE)
