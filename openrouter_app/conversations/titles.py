"""What a conversation is called: its first message, shortened. A name that a person gave stays."""

from __future__ import annotations

import re

LONGEST = 60
"""Characters of a title that nobody has written."""
SHORTEST_CUT = 30
"""A title is cut between words only where that leaves as many."""

_AT_A_CUT = " ,;:.-\u2013\u2014"
_BIDI = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Characters that turn the text around them, outside of the title as well."""
_CONTROL = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ufeff\ufff9-\ufffb]")
_SURROGATE = re.compile("[\ud800-\udfff]")


def title_of(text: str) -> str:
    """A title made of the first line that says something; "" where none does."""
    lines = (one_line(line) for line in text[:10_000].splitlines())
    return shortened(next(filter(None, lines), ""))


def one_line(text: str) -> str:
    """The text on one line, without what would turn or hide what stands beside it."""
    text = _SURROGATE.sub("\ufffd", _CONTROL.sub("", _BIDI.sub("", text)))
    return " ".join(text.split())


def shortened(line: str, longest: int = LONGEST) -> str:
    """The beginning of a line, cut between two words where there is a place for that."""
    if len(line) <= longest:
        return line
    kept = line[:longest]
    if line[longest] != " ":
        at_word = kept.rfind(" ")
        kept = kept[: at_word if at_word >= SHORTEST_CUT else longest - 1]
    return kept.rstrip(_AT_A_CUT) + "…"
