"""How much a JSON text or value holds, told at a small part of what reading it costs.

Reading costs by values and not by length: two bytes, ``{}``, become sixty-four and an object. So a text
is counted before it is read. No I/O and no JSON here.
"""

from __future__ import annotations

from math import inf
from typing import Any

MAX_MEMBERS = 50_000
"""Values in what is read at once: each can cost a hundred times its size, and no answer has so many."""
MAX_DEPTH = 32
"""Levels of a value that is handed on as it came; what is nested deeper is no annotation of anyone's."""


_STR = (",", "[", "{"), '"', "\\\\", '\\"', ""
_BYTES = (b",", b"[", b"{"), b'"', b"\\\\", b'\\"', b""


def marks_of(text: Any) -> int:
    """Commas and opening brackets in a text, bytes or str, those in its strings included."""
    return sum(map(text.count, (_STR if isinstance(text, str) else _BYTES)[0]))


def members_of(text: Any, most: int = MAX_MEMBERS) -> int:
    """About how many values a JSON text, bytes or str, has. Where that looks like more than ``most``, what
    stands in its strings is left out.
    """
    marks = marks_of(text)
    if marks <= most:
        return marks
    _, quote, backslash, quoted, nothing = _STR if isinstance(text, str) else _BYTES
    plain = text.replace(backslash, nothing).replace(quoted, nothing)
    if plain.count(quote) > 4 * most:  # a value has two strings at most, its name and itself
        return marks
    return marks_of(nothing.join(plain.split(quote)[::2]))


def size_of(value: Any, levels: int = MAX_DEPTH) -> float:
    """About how many characters a JSON value holds, ``inf`` where it is nested too deep to be kept."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, (dict, list)):
        if not levels:
            return inf
        inside = value.values() if isinstance(value, dict) else value
        names = sum(map(len, value)) if isinstance(value, dict) else 0
        return 16 + names + sum(16 + size_of(item, levels - 1) for item in inside)
    return 8
