"""A provider that keeps time: many streams at once from one thread, each event a send of its own.

The request's message orders the stream: ``timed 50/s 200 +0 a7`` is 200 deltas, fifty a second, none at
once before them, under the tag ``a7``. A *timed* delta is the moment it is sent (`time.monotonic`, one
clock for all processes of a machine), *words* are pieces of text, *blocks* a thousand characters; 0/s is
as fast as they are taken. ``GET /closed`` answers when which stream's connection was closed by who asked.
Prints its base URL first; needs no package.
"""

from __future__ import annotations

import heapq
import json
import re
import selectors
import socket
import time
from collections.abc import Iterator
from itertools import cycle

from .stream_server import HEAD, PIECES, event, writes

ENDLESS = 1_000_000_000
BLOCK = "x" * 999 + " "
_ORDER = re.compile(rb"(timed|words|blocks) (\d+)/s (\d+) \+(\d+) (\w+)")
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_STAMP = re.compile(r" (\d+\.\d{6})")


def order(kind: str, rate: int, count: int = ENDLESS, *, at_once: int = 0, tag: str = "a") -> str:
    """The text of a message that orders a stream."""
    return f"{kind} {rate}/s {count} +{at_once} {tag}"


def stamps(text: str) -> list[float]:
    """The moments at which the timed deltas in a text were sent."""
    return [float(stamp) for stamp in _STAMP.findall(text)]


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


_BEFORE, _AFTER = _chunk(event(" 1000000.000000")).split(b"1000000.000000")
_WORDS = [_chunk(event(piece)) for piece in PIECES]
_BLOCKS = [_chunk(event(BLOCK))]


def _timed() -> Iterator[bytes]:
    """A delta is made when it is sent; the chunk's length holds as long as the clock has seven digits."""
    while True:
        yield b"%s%014.6f%s" % (_BEFORE, time.monotonic(), _AFTER)


class _Stream:
    """One connection: its requests, and the answer that it is being sent."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.tag = ""
        self.due = 0.0
        self.is_blocked = False
        self._heard = b""
        self._left = 0
        self._at_once = 0
        self._pause = 0.0
        self._unsent = b""
        self._deltas: Iterator[bytes] = iter(())

    def hear(self, data: bytes) -> bytes | None:
        """Bytes of a request: the answer's beginning, where the request is whole."""
        self._heard += data
        head, end, body = self._heard.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not end or len(body) < (int(length.group(1)) if length else 0):
            return None
        self._heard = b""
        if head.startswith(b"GET"):
            return b""
        asked = _ORDER.search(body)
        if asked is None:
            return b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"
        kind, rate, count, at_once, tag = (group.decode() for group in asked.groups())
        self.tag, self._left, self._at_once = tag, int(count), int(at_once)
        self._pause = 1 / int(rate) if int(rate) else 0.0
        self._deltas = _timed() if kind == "timed" else cycle(_WORDS if kind == "words" else _BLOCKS)
        self.due = time.monotonic()
        return HEAD

    def go_on(self) -> None:
        """Send what is due."""
        if self._at_once:
            data = b"".join(next(self._deltas) for _ in range(min(self._at_once, self._left)))
            self._left -= min(self._at_once, self._left)
            self._at_once = 0
        elif self._left:
            data = next(self._deltas)
            self._left -= 1
        else:
            self.tag, data = "", b"".join(writes(0))
        self.due += self._pause
        self.send(data)

    def send(self, data: bytes) -> None:
        """What does not fit waits; then nothing more is sent before it has gone."""
        data = self._unsent + data
        try:
            sent = self.connection.send(data)
        except BlockingIOError:
            sent = 0
        self._unsent = data[sent:]
        self.is_blocked = bool(self._unsent)


class _Provider:
    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.door = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.door.setblocking(False)
        self.selector.register(self.door, selectors.EVENT_READ)
        self.closed: dict[str, float] = {}
        self._timetable: list[tuple[float, int, _Stream]] = []
        self._number = 0

    def serve(self) -> None:
        while True:
            for key, ready in self.selector.select(self._nap()):
                if key.data is None:
                    self._welcome()
                elif ready & selectors.EVENT_WRITE:
                    self._do(key.data, b"")
                else:
                    self._listen(key.data)
            now = time.monotonic()
            for _ in range(len(self._timetable)):  # not again what is due at once again
                if self._timetable[0][0] > now:
                    break
                self._do(heapq.heappop(self._timetable)[2])

    def _nap(self) -> float | None:
        """How long to wait for sockets. The selector counts in milliseconds, so the rest is slept."""
        if not self._timetable:
            return None
        wait = self._timetable[0][0] - time.monotonic()
        if 0 < wait < 0.001:
            time.sleep(wait)
        return max(wait - 0.001, 0)

    def _welcome(self) -> None:
        connection, _ = self.door.accept()
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.selector.register(connection, selectors.EVENT_READ, _Stream(connection))

    def _listen(self, stream: _Stream) -> None:
        try:
            data = stream.connection.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._leave(stream)
        elif (answer := stream.hear(data)) is not None:
            said = json.dumps(self.closed).encode()
            self._do(stream, answer or b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(said), said))

    def _do(self, stream: _Stream, data: bytes | None = None) -> None:
        """Send the next of a stream, or these bytes, and enter it for what is due then."""
        try:
            if data is None:
                stream.go_on()
            else:
                stream.send(data)
        except OSError:
            self._leave(stream)
            return
        if stream.connection.fileno() < 0:
            return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if stream.is_blocked else 0)
        if self.selector.get_key(stream.connection).events != wanted:
            self.selector.modify(stream.connection, wanted, stream)
        if stream.tag and not stream.is_blocked:
            self._number += 1
            heapq.heappush(self._timetable, (stream.due, self._number, stream))

    def _leave(self, stream: _Stream) -> None:
        if stream.connection.fileno() < 0:
            return
        if stream.tag:
            self.closed[stream.tag] = time.monotonic()
            stream.tag = ""
        self.selector.unregister(stream.connection)
        stream.connection.close()


def main() -> None:
    """Serve for ever."""
    provider = _Provider()
    print(f"http://127.0.0.1:{provider.door.getsockname()[1]}/v1", flush=True)
    provider.serve()


if __name__ == "__main__":
    main()
