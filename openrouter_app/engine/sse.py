"""Server-sent events from bytes: the payload of each event, whatever way the bytes were cut.

No I/O and no JSON here. The rules are those of the HTML standard's event stream
(https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream), read on
bytes, so that U+2028 and its kin inside a JSON string end no line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .errors import UpstreamError

MAX_LINE = 1_000_000
MAX_EVENT = 4_000_000
_LINE_COST = 32
"""Bytes that keeping a line costs, however short it is."""
_LF, _CR = b"\n\r"  # as numbers, which are looked for several times as fast as bytes


class EventStreamDecoder:
    """``feed(bytes)`` answers the payloads that became complete; ``close()`` the one left open.

    The cost is proportional to what is fed, in time and, up to the limits, in memory.
    Raises `UpstreamError` for a line over `MAX_LINE` or an event over `MAX_EVENT` bytes.
    """

    __slots__ = ("_after_cr", "_between", "_data", "_rest", "_size", "_started")

    def __init__(self) -> None:
        self._rest = bytearray()
        """The line that has not ended yet."""
        self._data: list[bytes] = []
        self._size = 0
        self._after_cr = False
        self._started = False
        self._between = False
        """Whether an event may begin with the next byte, and nothing of the last one is kept."""

    def feed(self, data: bytes) -> Iterable[bytes]:
        """The payloads (``data`` fields joined by newlines) of the events that end in ``data``; behind them
        the error of what cannot be read.
        """
        if self._between and data.startswith(b"data: ") and data.endswith(b"\n\n") and _CR not in data:
            # What nearly every read is: one whole event of one line, or some of them.
            size = len(data)
            if size <= MAX_LINE:
                if data.find(_LF) == size - 2:
                    return [data[6:-2]]
                payloads = data[6:-2].split(b"\n\ndata: ")
                if data.count(_LF) == 2 * len(payloads):  # no line is left over
                    return payloads
        if self._after_cr and data:
            self._after_cr = False
            data = data.removeprefix(b"\n")
        if _CR in data:
            self._after_cr = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = data.split(b"\n")
        rest = lines.pop()
        events: list[bytes] = []
        if lines and self._rest:
            lines[0] = bytes(self._rest + lines[0])
            self._rest = bytearray()
        try:
            for line in lines:
                self._line(line, events)
            if rest:
                self._rest += rest
                if len(self._rest) > MAX_LINE:
                    raise _too_long()
        except UpstreamError as error:
            if not events:
                raise
            return _raising(events, error)
        self._between = self._started and not (self._after_cr or self._rest or self._data)
        return events

    def close(self) -> list[bytes]:
        """End of the bytes: the payload of an event whose blank line is missing, if there is one.

        The standard drops it; some servers leave the last blank line out, so it is handed out
        for the caller to judge.
        """
        events: list[bytes] = []
        if self._rest:
            last = bytes(self._rest)
            self._rest.clear()
            self._line(last, events)
        self._line(b"", events)
        return events

    def _line(self, line: bytes, events: list[bytes]) -> None:
        if len(line) > MAX_LINE:
            raise _too_long()
        if not self._started:
            self._started = True
            line = line.removeprefix(b"\xef\xbb\xbf")
        if line.startswith(b"data:"):
            value = line[6:] if line.startswith(b"data: ") else line[5:]
            self._size += len(value) + (_LINE_COST if self._data else 0)
            if self._size > MAX_EVENT:
                raise UpstreamError("The provider sent an event that is too large.")
            self._data.append(value)
        elif not line and self._data:
            events.append(self._data[0] if len(self._data) == 1 else b"\n".join(self._data))
            self._data.clear()
            self._size = 0


def _raising(events: list[bytes], error: UpstreamError) -> Iterator[bytes]:
    """These events, and then the error: what came before it counts, whatever way the bytes were cut."""
    yield from events
    raise error


def _too_long() -> UpstreamError:
    return UpstreamError(f"The provider sent a line of more than {MAX_LINE:,} bytes.")
