"""From the bytes of an answer to its events: no I/O, any cut gives the same events.

`ReplyDecoder` reads a stream, `decode_completion` a whole JSON body; both hand their chunks to
`ReplyFold`. Their one rule: what is odd but harmless is ignored, what makes the answer wrong is raised,
and everything that came before is handed out first.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from .chunks import UNDECODABLE, Chunk, decode
from .errors import BrokenStreamError, OpenRouterError, UpstreamError
from .fold import ReplyFold
from .json_size import MAX_MEMBERS, marks_of, members_of
from .lenient import excerpt, lenient_chunks
from .messages import Event
from .pictures import put_back, take_pictures
from .sse import MAX_EVENT, EventStreamDecoder

MAX_WIDE, MAX_WIDE_BODY = 1_000_000, 2_000_000
"""Bytes of an event, and of a body beside its pictures, that is not all ASCII. One wide character makes
each of its text cost four bytes.
"""
_BOM = b"\xef\xbb\xbf"


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
        try:
            for payload in self._payloads.feed(data):
                self._payload(payload, events)
                if self.done:
                    return
        except OpenRouterError as error:
            self.fold.sign(error)
            raise

    def close(self, events: list[Event]) -> None:
        """The end of the bytes."""
        if self.done:
            return
        try:
            self._close(events)
        except OpenRouterError as error:
            self.fold.sign(error)
            raise

    def _close(self, events: list[Event]) -> None:
        for payload in self._payloads.close():
            # Without its blank line an event may be cut short: only a whole one counts.
            before, is_end = _until_done(payload)
            if is_end or _is_json(before):
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
        if len(payload) > MAX_MEMBERS:
            _check_event(payload)
        try:
            chunk = decode(payload)
        except UNDECODABLE:
            self._odd_payload(payload, events)
        else:
            self.fold.add(chunk, events)

    def _odd_payload(self, payload: bytes, events: list[Event]) -> None:
        text, is_end = _until_done(payload)
        if text and not text.startswith(b":"):  # a proxy that sends comments on as data
            for chunk in lenient_chunks(text):
                self.fold.add(chunk, events)
        if is_end:
            self._finish(events)

    def _finish(self, events: list[Event]) -> None:
        self.fold.finish(events)
        self.done = True


def _until_done(payload: bytes) -> tuple[bytes, bool]:
    """What stands before the line that ends an answer, and whether there is one: some leave out the blank
    line in front of it.
    """
    end = (b"\n" + payload.strip() + b"\n").find(b"\n[DONE]\n")
    return (payload.strip(), False) if end < 0 else (payload.strip()[:end].strip(), True)


def _check_event(payload: bytes) -> None:
    if marks_of(payload) > MAX_MEMBERS:
        raise UpstreamError("The provider sent an event with too much in it.")
    if len(payload) > MAX_WIDE and _is_wide(payload):
        raise UpstreamError("The provider sent an event that is too large.")


def _is_wide(text: bytes | bytearray) -> bool:
    return not text.isascii() or b"\\u" in text


def decode_completion(body: bytes | bytearray, events: list[Event], fold: ReplyFold | None = None) -> None:
    """Append the events of an answer that came as one JSON body, then raise the error it may carry."""
    fold = fold or ReplyFold()
    try:
        for chunk in _chunks(body):
            if not chunk.choices and not chunk.error:
                raise UpstreamError("The provider sent an answer without content. Try again.")
            fold.add(chunk, events)
        fold.finish(events)
    except OpenRouterError as error:
        error.detail = error.detail or excerpt(body)
        fold.sign(error)
        raise


def _chunks(body: bytes | bytearray) -> Iterable[Chunk]:
    """The chunks of a body; one, but where objects are glued together."""
    taken: dict[str, str] = {}
    if len(body) > MAX_EVENT:
        body, taken = take_pictures(body if isinstance(body, bytearray) else bytearray(body))
        if len(body) > MAX_EVENT:
            raise UpstreamError("The provider sent an answer that is too large.")
    if len(body) > MAX_WIDE_BODY and _is_wide(body):
        raise UpstreamError("The provider sent an answer that is too large.")
    if len(body) > MAX_MEMBERS and members_of(body) > MAX_MEMBERS:
        raise UpstreamError("The provider sent an answer with too much in it.")
    for chunk in _read(body):
        for choice in (chunk.choices or ())[:1] if taken else ():
            message = choice.delta or choice.message
            if message is not None:
                message.images = put_back(message.images, taken)
                message.annotations = put_back(message.annotations, taken)
        yield chunk


def _read(body: bytes | bytearray) -> Iterable[Chunk]:
    try:
        return (decode(body),)
    except UNDECODABLE:
        text = bytes(body).strip().removeprefix(_BOM).lstrip()
    if not text:
        raise UpstreamError("The provider sent an empty answer. Try again.")
    try:
        return (decode(text),)
    except UNDECODABLE:
        return lenient_chunks(text)


def _is_json(payload: bytes) -> bool:
    try:
        msgspec.json.decode(payload)
    except UNDECODABLE:
        return False
    return True
