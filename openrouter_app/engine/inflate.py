"""Compressed answers, in small pieces.

None is asked for, but a gateway may compress all the same. What a few bytes grow to is the sender's
choice, so no more than a piece is ever held.
"""

from __future__ import annotations

import zlib

from .errors import UpstreamError
from .failures import redact

PIECE = 65_536
_ENCODINGS = {"gzip": 31, "x-gzip": 31, "deflate": 47}


class Inflater:
    """``feed(bytes)``, then ``take()`` until it answers nothing.

    Raises `UpstreamError` for an encoding other than gzip and deflate, and for bytes that are none.
    """

    def __init__(self, encoding: str) -> None:
        name = encoding.strip().lower()
        self._is_plain = name == "identity"
        self._waiting = b""
        if self._is_plain:
            return
        if name not in _ENCODINGS:
            raise UpstreamError(
                "The provider compressed its answer in a way nobody asked for.", detail=redact(name[:100])
            )
        self._stream = zlib.decompressobj(wbits=_ENCODINGS[name])

    def feed(self, data: bytes) -> None:
        """More of what was sent."""
        self._waiting += data

    def take(self) -> bytes:
        """At most `PIECE` bytes of what was meant; nothing where more must be fed first."""
        if self._is_plain:
            data, self._waiting = self._waiting, b""
            return data
        try:
            data = self._stream.decompress(self._waiting, PIECE)
        except zlib.error as error:
            raise UpstreamError(
                "The provider's compressed answer is broken. Try again.", detail=str(error)
            ) from None
        self._waiting = self._stream.unconsumed_tail
        return data
