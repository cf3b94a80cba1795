"""The text of a run's log: merged events in the rows of `RunEvent` and in the layer's messages.

The events stand as the owner said them, tool arguments as text, so that neighbours merge without
loss and every reader makes the same state of them. Text stands as ``[part, delta]``: nearly all of a
log is that, and names would be as long as what is said in a quarter of a second.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import msgspec

from .events import Event, Reasoning, Text, ToolArguments

_encoder = msgspec.json.Encoder()


def encode(events: Sequence[Event]) -> str:
    """The events as JSON that any database stores. Half a surrogate pair becomes an escape."""
    short = [(event.part, event.delta) if type(event) is Text else event for event in events]
    try:
        return _encoder.encode(short).decode()
    except UnicodeEncodeError:
        return json.dumps(msgspec.to_builtins(short), separators=(",", ":"))


def decode(text: str) -> list[Event]:
    """The events of a text that `encode` made. Raises `ValueError` or `msgspec.MsgspecError` for others."""
    # By the standard library: msgspec's decoder refuses halves of surrogate pairs, and makes floats of
    # integers that have more than 64 bits.
    read = msgspec.convert(json.loads(text), list[tuple[int, str] | Event])
    return [Text(*event) if isinstance(event, tuple) else event for event in read]


def merged(events: Iterable[Event]) -> list[Event]:
    """The same events, neighbouring appends to one part or call made one. Costs O(events)."""
    result: list[Event] = []
    pieces: list[str] = []
    for event in events:
        last = result[-1] if result else None
        if type(event) is Text and type(last) is Text and event.part == last.part:  # nearly all of them
            pieces.append(event.delta)
            continue
        match event, last:
            case (Reasoning(part, delta, ms), Reasoning(before, first, _)) if part == before:
                pieces.append(delta)
                result[-1] = Reasoning(part, first, ms)
            case (ToolArguments(call, text), ToolArguments(before, _)) if call == before:
                pieces.append(text)
            case _:
                _join(result, pieces)
                result.append(event)
    _join(result, pieces)
    return result


def _join(result: list[Event], pieces: list[str]) -> None:
    """What was gathered belongs to the last event."""
    if not pieces:
        return
    match result[-1]:
        case Text(part, delta):
            result[-1] = Text(part, delta + "".join(pieces))
        case Reasoning(part, delta, ms):
            result[-1] = Reasoning(part, delta + "".join(pieces), ms)
        case ToolArguments(call, text):
            result[-1] = ToolArguments(call, text + "".join(pieces))
    pieces.clear()
