"""Pictures in one large body: taken out of its bytes before these are read.

A body is held as bytes and, once it is read, as text, and pictures are nearly all of a large one. So they
are made into text a piece at a time, each piece leaving the bytes, and the rest is read without them.
"""

from __future__ import annotations

import re
from typing import Any

from .json_size import MAX_DEPTH

_PIECE = 65_536
# A name in front and no quote or backslash in it: so this is no part of another string.
_PICTURE = re.compile(
    rb'"(?:image_)?url"[ \t\r\n]*:[ \t\r\n]*"(data:[!#-\[\]-~]{%d,})"' % 65_535,
)


def take_pictures(body: bytearray) -> tuple[bytearray, dict[str, str]]:
    """What a body has beside its large ``data:`` URLs, and these, each by the word that stands in its place.
    The body itself is used up.
    """
    rest = bytearray()
    taken: dict[str, str] = {}
    while found := _PICTURE.search(body):
        start, end = found.span(1)
        del found  # it holds the body, which could not change its size
        rest += body[:start]
        del body[:start]
        text = ""
        for size in range(end - start, 0, -_PIECE):
            text += body[: min(size, _PIECE)].decode()  # grows where it stands
            del body[: min(size, _PIECE)]
        word = f"data:#{len(taken)}"
        rest += word.encode()
        taken[word] = text
    rest += body
    return rest, taken


def put_back(value: Any, taken: dict[str, str], levels: int = MAX_DEPTH) -> Any:
    """A copy of a JSON value with the pictures where they stood; what is nested too deep is left as it is."""
    if isinstance(value, str):
        return taken.get(value, value)
    if levels and isinstance(value, dict):
        return {name: put_back(member, taken, levels - 1) for name, member in value.items()}
    if levels and isinstance(value, list):
        return [put_back(item, taken, levels - 1) for item in value]
    return value
