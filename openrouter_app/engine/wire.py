"""From the bytes of an answer to its events: no I/O, any cut gives the same events.

`ReplyDecoder` reads a stream, `decode_completion` a whole JSON body; both hand their chunks to
`ReplyFold`, the one place that knows how OpenRouter's chunks add up. Its one rule: what is odd but
harmless is ignored, what makes the answer wrong is raised, and everything that came before is
handed out first.
"""

from __future__ import annotations

import msgspec

from .arguments import parse_arguments
from .chunks import (
    CallDelta,
    Chunk,
    ChunkUsage,
    Delta,
    Function,
    decode,
    excerpt,
    lenient_chunks,
    reasoning_text,
)
from .errors import BrokenStreamError, OutputError, UpstreamError
from .failures import failure_of
from .messages import (
    Event,
    ReasoningDelta,
    RefusalDelta,
    ReplyFinished,
    ReplyStarted,
    TextDelta,
    ToolCallDelta,
    ToolCallInvalid,
    ToolCallReady,
    ToolCallStarted,
    Usage,
)
from .sse import EventStreamDecoder

MAX_TOOL_CALLS = 128
MAX_TOKENS = 1_000_000_000
_DONE = b"[DONE]"


class _PendingCall:
    """A call while it is being written. It has no ``id`` of ours until it has a name."""

    __slots__ = ("id", "index", "name", "pieces", "provider_id")

    def __init__(self, index: int | None, provider_id: str) -> None:
        self.index = index
        self.provider_id = provider_id
        self.id = ""
        self.name = ""
        self.pieces: list[str] = []


class ReplyFold:
    """Adds chunks up: ``add(chunk, events)`` appends its events, ``finish(events)`` the last ones.

    They append to a list of the caller's, so that events before an error are not lost with it.

    Memory grows with tool arguments alone; text is handed out and forgotten.
    """

    def __init__(self) -> None:
        self.id = ""
        self.model = ""
        self.provider = ""
        self.reason = ""
        self.native_reason = ""
        self.usage: Usage | None = None
        self.has_content = False
        self._started = False
        self._calls: list[_PendingCall] = []
        self._ids: set[str] = set()

    def add(self, chunk: Chunk, events: list[Event]) -> None:
        """Append the events of one chunk, then raise the `ProviderError` it may carry."""
        if not self._started:
            self._started = True
            self.id, self.model, self.provider = chunk.id or "", chunk.model or "", chunk.provider or ""
            if chunk.error is None:
                events.append(ReplyStarted(self.id, self.model, self.provider))
        elif chunk.provider and not self.provider:
            self.provider = chunk.provider
        if chunk.usage is not None:
            self._use(chunk.usage)
        error = chunk.error
        for choice in (chunk.choices or ())[:1]:
            delta = choice.delta or choice.message
            if delta is not None:
                self._delta(delta, events)
            if choice.finish_reason and not self.reason:
                self.reason = choice.finish_reason
            if choice.native_finish_reason:
                self.native_reason = choice.native_finish_reason
            error = error or choice.error
        if error:
            raise failure_of(error, generation_id=self.id or None, provider=self.provider or None)
        if self.reason == "error":
            raise UpstreamError(
                "The provider broke the answer off with an error. Try again.",
                provider=self.provider or None,
                generation_id=self.id or None,
                detail=self.native_reason,
            )

    def finish(self, events: list[Event]) -> None:
        """Append the end of a whole answer: each call's verdict, then `ReplyFinished`."""
        for call in self._calls:
            raw = "".join(call.pieces)
            if not call.name:
                self._name(call, "unnamed", events)
                events.append(
                    ToolCallInvalid(call.id, call.name, raw, "The model called a tool without naming it.")
                )
                continue
            try:
                arguments = parse_arguments(raw)
            except OutputError as error:
                message = (
                    "The tool's arguments were cut off at the length limit."
                    if self.reason == "length"
                    or self.native_reason.lower() in ("length", "max_output_tokens")
                    else error.message
                )
                events.append(ToolCallInvalid(call.id, call.name, raw, message))
            else:
                events.append(ToolCallReady(call.id, call.name, arguments))
        reason = self.reason or ("tool_calls" if self._calls else "stop")
        events.append(
            ReplyFinished(reason, self.native_reason, self.usage, self.id, self.model, self.provider)
        )

    def _use(self, usage: ChunkUsage) -> None:
        """The last usage wins: some hosts send it twice."""
        cost = usage.cost
        if cost is not None and (not cost.is_finite() or cost < 0):
            cost = None
        self.usage = Usage(_count(usage.prompt_tokens), _count(usage.completion_tokens), cost)

    def _delta(self, delta: Delta, events: list[Event]) -> None:
        if reasoning := delta.reasoning or reasoning_text(delta.reasoning_details):
            self.has_content = True
            events.append(ReasoningDelta(reasoning))
        if delta.content:
            self.has_content = True
            events.append(TextDelta(delta.content))
        if delta.refusal:
            self.has_content = True
            events.append(RefusalDelta(delta.refusal))
        for call in delta.tool_calls or ():
            self.has_content = True
            self._call(call, events)

    def _call(self, delta: CallDelta, events: list[Event]) -> None:
        function = delta.function or Function()
        call = self._route(delta, function.name or "")
        if text := function.arguments or "":
            call.pieces.append(text)
        if call.name:
            if text:
                events.append(ToolCallDelta(call.id, text))
        elif function.name:
            self._name(call, function.name, events)
            if written := "".join(call.pieces):
                events.append(ToolCallDelta(call.id, written))

    def _name(self, call: _PendingCall, name: str, events: list[Event]) -> None:
        call.name = name
        wanted = call.provider_id if len(call.provider_id) <= 128 else ""
        number = self._calls.index(call)
        while not wanted or wanted in self._ids:
            wanted = f"call_{number}"
            number += len(self._calls)
        self._ids.add(wanted)
        call.id = wanted
        events.append(ToolCallStarted(call.id, name))

    def _route(self, delta: CallDelta, name: str) -> _PendingCall:
        """Which call a delta belongs to. Hosts send ids once or always, doubled or empty, and
        indexes wrong or not at all: a known id decides, then an index, then what came last.
        """
        calls = self._calls
        if calls and not delta.id and not name and delta.index == calls[-1].index:
            return calls[-1]
        if delta.id:
            same = [call for call in calls if call.provider_id == delta.id]
            exact = [call for call in same if call.index == delta.index]
            if exact or (same and not name):
                return (exact or same)[-1]
            nameless = [call for call in calls if not call.provider_id and call.index == delta.index]
            if nameless and not same and not (name and nameless[-1].name):
                nameless[-1].provider_id = delta.id
                return nameless[-1]
            return self._open(delta)
        if delta.index is not None:
            at_index = [call for call in calls if call.index == delta.index]
            return at_index[-1] if at_index else self._open(delta)
        if calls and not (name and calls[-1].name):
            return calls[-1]
        return self._open(delta)

    def _open(self, delta: CallDelta) -> _PendingCall:
        if len(self._calls) >= MAX_TOOL_CALLS:
            raise UpstreamError(f"The model called more than {MAX_TOOL_CALLS} tools in one answer.")
        call = _PendingCall(delta.index, delta.id or "")
        self._calls.append(call)
        return call


class ReplyDecoder:
    """A streamed answer: ``feed(bytes, events)`` appends its events, ``close(events)`` the last ones.

    After the last event ``done`` is true and whatever still comes is ignored. ``close()`` raises
    `BrokenStreamError` where the bytes stopped before the answer did.
    """

    def __init__(self) -> None:
        self.fold = ReplyFold()
        self.done = False
        self._payloads = EventStreamDecoder()

    def feed(self, data: bytes, events: list[Event]) -> None:
        """Append the events in these bytes, in order, then raise the error they may end in."""
        if self.done:
            return
        for payload in self._payloads.feed(data):
            self._payload(payload, events)
            if self.done:
                return

    def close(self, events: list[Event]) -> None:
        """The end of the bytes."""
        if self.done:
            return
        for payload in self._payloads.close():
            # Without its blank line an event may be cut short: only a whole one counts.
            if payload.strip() == _DONE or _is_json(payload):
                self._payload(payload, events)
            if self.done:
                return
        if self.fold.reason:
            self._finish(events)
        elif self.fold.has_content:
            raise BrokenStreamError("The answer broke off before its end. What came so far is kept.")
        else:
            raise UpstreamError("The provider closed the connection without an answer. Try again.")

    def _payload(self, payload: bytes, events: list[Event]) -> None:
        try:
            chunk = decode(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            self._odd_payload(payload.strip(), events)
        else:
            self.fold.add(chunk, events)

    def _odd_payload(self, text: bytes, events: list[Event]) -> None:
        if text == _DONE:
            self._finish(events)
        elif text and not text.startswith(b":"):  # a proxy that sends comments on as data
            for chunk in lenient_chunks(text):
                self.fold.add(chunk, events)

    def _finish(self, events: list[Event]) -> None:
        self.done = True
        self.fold.finish(events)


def decode_completion(body: bytes, events: list[Event]) -> None:
    """Append the events of an answer that came as one JSON body, then raise the error it may carry."""
    fold = ReplyFold()
    text = body.strip()
    if not text:
        raise UpstreamError("The provider sent an empty answer. Try again.")
    for chunk in lenient_chunks(text):
        if not chunk.choices and not chunk.error:
            raise UpstreamError(
                "The provider sent an answer without content. Try again.", detail=excerpt(text)
            )
        fold.add(chunk, events)
    fold.finish(events)


def _count(tokens: int | None) -> int:
    """A number of tokens that can be one: no answer has a billion."""
    return tokens if tokens is not None and 0 <= tokens < MAX_TOKENS else 0


def _is_json(payload: bytes) -> bool:
    try:
        msgspec.json.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return True
