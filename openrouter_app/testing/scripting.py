"""The verbs a test scripts the fake with, and the queue they fill.

Each verb queues one answer for one request, first in, first out, and returns nothing. What a verb
takes is what the values in `scripts` hold; a verb only saves typing.
The one rule: every change happens under one lock, so that any thread may script while another serves.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import TypedDict, Unpack

from .documented import documented
from .scripts import (
    Cut,
    End,
    ErrorReply,
    Gate,
    JSONObject,
    Piece,
    RawReply,
    Reasoning,
    Reply,
    Responder,
    Script,
    Stall,
    StreamError,
    StreamErrorShape,
    ToolCallScript,
    UsageEvent,
    sse,
)


class ReplyOptions(TypedDict, total=False):
    """What every verb that makes a `Reply` takes besides its pieces; see there."""

    finish: str | None
    native_finish: str | None
    usage: JSONObject | None
    delay: float | None
    model: str | None
    provider: str | None
    interleave: bool
    usage_event: UsageEvent
    comments: bool


class Scripting:
    """A queue of scripts, and a ``default`` responder for requests nobody scripted an answer for.

    A request that was refused and comes again word for word is a retry: where nothing more is scripted it
    is refused again in the same way.
    """

    default: Responder

    def __init__(self, default: Responder) -> None:
        self.default = default
        self._changed = threading.Condition()
        self._queue: deque[Script | Responder] = deque()
        self._refused: tuple[JSONObject, Script] | None = None

    def reply(
        self,
        *pieces: Piece,
        reasoning: str | Sequence[str] = (),
        **options: Unpack[ReplyOptions],
    ) -> None:
        """A model's answer: each string is one chunk of text, ``reasoning`` comes before them.

        >>> fake.reply("Why did the bear", " cross?")
        >>> fake.reply("Let me look.", ToolCallScript("weather", {"city": "Rome"}), usage={"cost": 0.25})
        """
        thoughts = (reasoning,) if isinstance(reasoning, str) else reasoning
        self.queue(Reply((*(Reasoning(text) for text in thoughts), *pieces), **options))

    def call(
        self,
        name: str,
        arguments: JSONObject | str | Sequence[str] = "{}",
        *,
        id: str | None = None,
        **options: Unpack[ReplyOptions],
    ) -> None:
        """One tool call; a sequence of strings is sent fragment by fragment.

        Several calls in one answer: `calls`.
        """
        self.reply(ToolCallScript(name, arguments, id), **options)

    def calls(
        self, *calls: tuple[str, JSONObject | str | Sequence[str]], **options: Unpack[ReplyOptions]
    ) -> None:
        """Several tool calls in one answer, each a name and its arguments. What the tools answered is in
        the next request: `RecordedRequest.tool_results`.

        >>> fake.calls(("weather", {"city": "Rome"}), ("weather", {"city": "Oslo"}))
        >>> fake.reply("Rome is warmer.")
        >>> assert "22" in fake.requests[-1].tool_results[0]
        """
        self.reply(*(ToolCallScript(name, arguments) for name, arguments in calls), **options)

    def error(
        self,
        what: int | str = 500,
        message: str | None = None,
        *,
        code: int | str | None = None,
        metadata: JSONObject | None = None,
        headers: JSONObject | None = None,
        http_status: int | None = None,
    ) -> None:
        """A refusal before any answer: an HTTP status, or a name of `DOCUMENTED_ERRORS`.

        What is not given is as OpenRouter documents it. ``headers`` are merged by name, ``metadata``
        replaces (``{}`` removes it). ``http_status=200`` sends the error under HTTP 200.

        >>> fake.error(429, headers={"Retry-After": "0.01"})
        >>> fake.error("moderation")
        """
        script = documented(what)
        given = (message, code, metadata, headers, http_status)
        if isinstance(script, RawReply):
            if any(value is not None for value in given):
                raise TypeError(f"{what!r} is a page, not a JSON error: it takes no further arguments")
            self.queue(script)
            return
        error = dict(script.error)
        changes = {"message": message, "code": code, "metadata": metadata}
        error.update((name, value) for name, value in changes.items() if value is not None)
        if metadata == {}:
            del error["metadata"]
        lowered = {name.lower() for name in headers or {}}
        kept = {name: value for name, value in script.headers.items() if name.lower() not in lowered}
        self.queue(
            replace(
                script,
                status=script.status if http_status is None else http_status,
                error=error,
                headers={**kept, **(headers or {})},
                resets_in=None if metadata is not None else script.resets_in,
            )
        )

    def fail(
        self,
        *pieces: Piece,
        status: int = 502,
        message: str = "Provider disconnected",
        code: int | str | None = None,
        metadata: JSONObject | None = None,
        shape: StreamErrorShape = "finish_error",
        **options: Unpack[ReplyOptions],
    ) -> None:
        """An answer that breaks with an error after ``pieces``; see `StreamError` for the shapes."""
        self.reply(*pieces, StreamError(status, message, code, metadata, shape), **options)

    def cut(self, *pieces: Piece, headers: bool = True, **options: Unpack[ReplyOptions]) -> None:
        """An answer whose connection is closed after ``pieces``; ``headers=False``: before any byte."""
        if not headers and pieces:
            raise TypeError("without headers there can be no pieces")
        self.reply(*pieces, Cut(), **options) if headers else self.raw(Cut(), status=None)

    def truncate(self, *pieces: Piece, **options: Unpack[ReplyOptions]) -> None:
        """An answer that ends politely after ``pieces``, but with no finish reason and no ``[DONE]``."""
        self.reply(*pieces, End(), **options)

    def stall(
        self,
        *pieces: Piece,
        seconds: float = 60.0,
        comment_every: float | None = None,
        **options: Unpack[ReplyOptions],
    ) -> None:
        """``pieces``, then silence for ``seconds``, then the end of the answer.

        A client that leaves, and the end of the test, both cut the silence short.
        """
        self.reply(*pieces, Stall(seconds, comment_every), **options)

    def raw(
        self,
        *writes: bytes | str | Stall | Gate | Cut,
        status: int | None = 200,
        headers: JSONObject | None = None,
        delay: float | None = None,
    ) -> None:
        """Bytes as they are, each argument one network write; text is sent as UTF-8."""
        encoded = tuple(write.encode() if isinstance(write, str) else write for write in writes)
        reply = RawReply(encoded, status, delay=delay)
        self.queue(reply if headers is None else replace(reply, headers=headers))

    def events(self, *events: JSONObject | str, done: bool = True, delay: float | None = None) -> None:
        """A stream of exactly these data events, each one network write; ``done`` adds ``[DONE]``."""
        self.raw(*(sse(event) for event in (*events, *(["[DONE]"] if done else []))), delay=delay)

    def queue(self, *answers: Script | Responder) -> None:
        """Scripts as values, or functions from the request's JSON to one."""
        with self._changed:
            self._queue.extend(answers)
            self._changed.notify_all()

    @property
    def unused(self) -> tuple[Script | Responder, ...]:
        """What is queued and was not asked for yet, in order."""
        with self._changed:
            return tuple(self._queue)

    def clear(self) -> None:
        """Forget what is queued."""
        with self._changed:
            self._queue.clear()
            self._refused = None

    def _next(self, request: JSONObject) -> Script:
        with self._changed:
            if self._queue:
                answer = self._queue.popleft()
            elif self._refused is not None and self._refused[0] == request:
                return self._refused[1]
            else:
                answer = self.default
            script = answer if isinstance(answer, Reply | ErrorReply | RawReply) else None
            self._refused = None if script is None or _says_something(script) else (request, script)
        return answer(request) if script is None else script  # type: ignore[operator]


def _says_something(script: Script) -> bool:
    """Whether a model's content comes in it; if not, a client may well ask again."""
    match script:
        case Reply(pieces=(first, *_)):
            return not isinstance(first, StreamError | Cut | End)
        case RawReply(status=None) | ErrorReply():
            return False
    return True
