"""What the fake will answer, as values.

A *script* is one answer to one request. It is a `Reply` (what a model says, piece by piece), an
`ErrorReply` (a refusal as JSON) or a `RawReply` (bytes as they are). A reply is made of *pieces*;
a plain string is the most common piece and stands for one chunk of text.

Nothing here does anything: `rendering` turns scripts into bytes, `fake` sends them.
The one rule: scripts are frozen, so one may be queued any number of times and from any thread.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

JSONObject: TypeAlias = Mapping[str, Any]

StreamErrorShape: TypeAlias = Literal["finish_error", "no_choices", "bare", "after_finish"]
UsageEvent: TypeAlias = Literal["same_finish", "no_finish", "no_choices", "none"]


class ScriptError(ValueError):
    """A script that cannot answer the request it got: change the script; the text says how."""


@dataclass(frozen=True, slots=True)
class Reasoning:
    """One chunk of reasoning. ``details`` replaces the ``reasoning_details`` made from ``text``."""

    text: str
    details: Sequence[JSONObject] | None = None


@dataclass(frozen=True, slots=True)
class ToolCallScript:
    """One tool call whose arguments stream in ``fragments``.

    ``arguments`` is a mapping (encoded and cut into words), one string (sent whole) or a sequence
    of strings (each one fragment, sent as it is, whether it is JSON or not).
    Without an ``id`` the call gets a fresh one for every answer.
    """

    name: str
    arguments: JSONObject | str | Sequence[str] = field(default_factory=dict)
    id: str | None = None

    @property
    def fragments(self) -> tuple[str, ...]:
        if isinstance(self.arguments, str):
            return (self.arguments,)
        if isinstance(self.arguments, Mapping):
            return words(json.dumps(dict(self.arguments)))
        return tuple(self.arguments)


@dataclass(frozen=True, slots=True)
class Delta:
    """One ordinary chunk whose ``delta`` is given word for word, e.g. images or a wrong tool index."""

    delta: JSONObject
    finish: str | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """One data event given whole: a mapping is encoded, a string is sent after ``data: `` as it is."""

    data: JSONObject | str


@dataclass(frozen=True, slots=True)
class RawBytes:
    """One network write, byte for byte."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Comment:
    """One comment line, such as OpenRouter sends to keep a connection alive."""

    text: str = "OPENROUTER PROCESSING"


@dataclass(frozen=True, slots=True)
class Stall:
    """``seconds`` of silence; with ``comment_every`` only the data is silent, comments go on."""

    seconds: float
    comment_every: float | None = None


class Gate:
    """A place where an answer waits until the test calls `open`: pacing without sleeping.

    The one piece with a state: an opened gate stays open. Any thread may open it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_open = False
        self._waiting: list[Callable[[], None]] = []

    def open(self) -> None:
        with self._lock:
            self._is_open = True
            waiting, self._waiting = self._waiting, []
        for wake in waiting:
            wake()

    def when_open(self, wake: Callable[[], None]) -> None:
        """Call ``wake`` once, from the thread that opens, or now if the gate is open."""
        with self._lock:
            if not self._is_open:
                self._waiting.append(wake)
                return
        wake()


@dataclass(frozen=True, slots=True)
class StreamError:
    """An error after the answer has begun; nothing after it is sent.

    ``shape`` is how it looks on the wire:

    * ``finish_error``: a chunk with finish reason "error" and the error beside it (as documented);
    * ``no_choices``: a chunk with the error and ``choices: []``, then ``[DONE]``;
    * ``bare``: an event with the error alone, no id, no choices, no ``[DONE]``;
    * ``after_finish``: finish reason "length", then a chunk with the error and the usage, then ``[DONE]``.

    ``code`` is the ``status`` unless given; both integers and strings are seen in the wild.
    """

    status: int = 502
    message: str = "Provider disconnected"
    code: int | str | None = None
    metadata: JSONObject | None = None
    shape: StreamErrorShape = "finish_error"


@dataclass(frozen=True, slots=True)
class Cut:
    """The connection is closed here, in the middle of the HTTP response."""


@dataclass(frozen=True, slots=True)
class End:
    """The HTTP response ends here properly, but with no finish reason and no ``[DONE]``."""


Piece: TypeAlias = (
    str
    | Reasoning
    | ToolCallScript
    | Delta
    | Event
    | RawBytes
    | Comment
    | Stall
    | Gate
    | StreamError
    | Cut
    | End
)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model says.

    ``finish``: the finish reason; None means "tool_calls" where there is a call, else "stop".
    ``usage``: members that replace those counted from the texts, e.g. ``{"cost": 0.25}``.
    ``delay``: seconds between chunks; None takes the fake's ``chunk_delay``.
    ``model``, ``provider``: None means the requested model, and "Fake".
    ``interleave``: neighbouring tool calls send their fragments in turn instead of one after another.
    ``usage_event``: the last data event as OpenRouter sends it in 2026 (finish reason again), as in
    2025 (finish reason null), with ``choices: []``, or no such event at all.
    ``comments``: whether comment lines come before and between the events.
    """

    pieces: tuple[Piece, ...] = ()
    finish: str | None = None
    native_finish: str | None = None
    usage: JSONObject | None = None
    delay: float | None = None
    model: str | None = None
    provider: str | None = None
    interleave: bool = False
    usage_event: UsageEvent = "same_finish"
    comments: bool = True


@dataclass(frozen=True, slots=True)
class ErrorReply:
    """A refusal: ``{"error": error}`` under HTTP ``status``.

    ``resets_in``: seconds until the X-RateLimit-Reset that is added to the headers and, as OpenRouter
    does, to ``error.metadata.headers``; None for no rate limit headers.
    """

    status: int
    error: JSONObject
    headers: JSONObject = field(default_factory=dict)
    user_id: str | None = None
    resets_in: float | None = None


@dataclass(frozen=True, slots=True)
class RawReply:
    """An answer of the test's own making: each of ``writes`` is one network write, in order.

    With ``status`` None not even a status line is sent; such an answer can only wait and be `Cut`.
    """

    writes: tuple[bytes | Stall | Gate | Cut, ...] = ()
    status: int | None = 200
    headers: JSONObject = field(default_factory=lambda: {"content-type": "text/event-stream"})
    delay: float | None = None


Script: TypeAlias = Reply | ErrorReply | RawReply
Responder: TypeAlias = Callable[[JSONObject], Script]

_WORD = re.compile(r"\S{1,16}\s{0,16}|\s{1,16}")


def words(text: str) -> tuple[str, ...]:
    """``text`` cut the way models stream it: word by word, and now and then inside a JSON escape."""
    pieces: list[str] = []
    for word in _WORD.findall(text):
        head, backslash, tail = word.partition("\\")
        pieces += [head + backslash, tail] if backslash and tail else [word]
    return tuple(pieces)


def sse(data: JSONObject | str) -> bytes:
    """One event as bytes: ``data: {...}`` and an empty line. A string is taken as it is."""
    text = data if isinstance(data, str) else compact(data)
    return f"data: {text}\n\n".encode()


def compact(value: object) -> str:
    """``value`` as the short JSON OpenRouter sends: raw UTF-8, but escapes where that cannot be."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair has no UTF-8
        return json.dumps(value, separators=(",", ":"))
    return text
