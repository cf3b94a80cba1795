"""Compressed answers, in small pieces.

None is asked for, but a gateway may compress all the same. What a few bytes grow to is the sender's
choice, so no more than a piece is ever held.
"""

from __future__ import annotations

import zlib
from typing import Any

from .errors import UpstreamError
from .failures import redact

PIECE = 65_536
_KNOWN = frozenset({"gzip", "x-gzip", "deflate"})
_GZIP, _ZLIB, _RAW = 31, 15, -15
"""What `zlib` calls the formats. Servers mean either of the last two by "deflate"."""


class Inflater:
    """``feed(bytes)``, then ``take()`` until it answers nothing.

    Raises `UpstreamError` for an encoding other than gzip and deflate, and for bytes that are none,
    those behind a compressed stream's end included. More gzip streams may follow the first.
    """

    def __init__(self, encoding: str) -> None:
        self._name = encoding.strip().lower()
        self._is_plain = self._name == "identity"
        self._waiting = b""
        self._stream: Any = None
        if not self._is_plain and self._name not in _KNOWN:
            raise UpstreamError(
                "The provider compressed its answer in a way nobody asked for.",
                detail=redact(self._name[:100]),
            )

    def feed(self, data: bytes) -> None:
        """More of what was sent."""
        self._waiting += data

    def take(self) -> bytes:
        """At most `PIECE` bytes of what was meant; nothing where more must be fed first."""
        if self._is_plain:
            data, self._waiting = self._waiting, b""
            return data
        try:
            return self._inflated()
        except zlib.error as error:
            reason = str(error)
        raise UpstreamError("The provider's compressed answer is broken. Try again.", detail=reason)

    def _inflated(self) -> bytes:
        data = b""
        while self._waiting and not data:
            if self._stream is None and (len(self._waiting) > 1 or self._name != "deflate"):
                self._stream = zlib.decompressobj(wbits=self._format())
            if self._stream is None:
                break
            data = self._stream.decompress(self._waiting, PIECE)
            self._waiting = self._stream.unconsumed_tail
            if self._stream.eof:
                # What follows is another stream or rubbish; zlib would collect it without a limit.
                self._waiting, self._stream = self._stream.unused_data, None
        return data

    def _format(self) -> int:
        if self._name != "deflate" or self._waiting.startswith(b"\x1f\x8b"):
            return _GZIP
        is_zlib = self._waiting[0] & 15 == 8 and int.from_bytes(self._waiting[:2]) % 31 == 0
        return _ZLIB if is_zlib else _RAW
