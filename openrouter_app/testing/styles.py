"""The instructions about form that the simulation can really follow.

A table: what a prompt may say, and what that does to a text. The order of the table is the order of
work, so that capitals do not change the words an answer was told to start with.
The one rule: what is not in the table is not guessed at.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_WORDS = "[\"'\u201c](?P<quoted>[^\"'\u201d\n]{1,80})[\"'\u201d]|(?P<bare>[^.\n]{1,80})"
_FORM = r"\s*\b(?:in|use|using|with)\s+(?:only\s+|all\s+)?"

Style = Callable[[re.Match[str], str], str]


def _first_sentence(_: re.Match[str], text: str) -> str:
    return re.split(r"(?<=[.!?])\s", text, maxsplit=1)[0]


def _said(match: re.Match[str]) -> str:
    return (match["quoted"] or match["bare"]).strip()


_STYLES: tuple[tuple[re.Pattern[str], Style], ...] = (
    (re.compile(r"\s*\bin (?:just |only )?(?:one|a single) sentence\b", re.I), _first_sentence),
    (
        re.compile(_FORM + r"(?:capitals|caps|capital letters|upper[ -]?case)(?: letters)?\b", re.I),
        lambda _, text: text.upper(),
    ),
    (
        re.compile(_FORM + r"(?:small letters|lower[ -]?case)(?: letters)?\b", re.I),
        lambda _, text: text.lower(),
    ),
    (
        re.compile(rf"\s*\b(?:start|begin)(?:ing)?\s+(?:\w+\s+){{0,4}}?with\s+(?:{_WORDS})", re.I),
        lambda match, text: f"{_said(match)} {text}",
    ),
    (
        re.compile(rf"\s*\b(?:end|finish)(?:ing)?\s+(?:\w+\s+){{0,4}}?with\s+(?:{_WORDS})", re.I),
        lambda match, text: f"{text} {_said(match)}",
    ),
)


def styled(text: str, instructions: str) -> str:
    """``text`` in the form that ``instructions`` ask for; unchanged where they ask for nothing known."""
    for pattern, style in _STYLES:
        if match := pattern.search(instructions):
            text = style(match, text)
    return text


def without_style(instructions: str) -> str:
    """``instructions`` without the phrases that `styled` follows."""
    for pattern, _ in _STYLES:
        instructions = pattern.sub("", instructions)
    return instructions
