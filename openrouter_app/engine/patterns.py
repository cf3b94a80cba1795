"""Regular expressions that are followed in all their states at once, step by step, each step paid for.

A ``pattern`` of a JSON Schema is never given to `re`, where ``(a+)+$`` takes years for forty
characters. Python's parser reads it, it becomes a graph of small steps, and a text is followed through
all of them together, in time proportional to pattern times text. A step costs the same however deep
it stands and however many characters its class has. What cannot be followed like this is refused,
not skipped: somebody may rely on it.

Patterns mean what they mean to `re`, save that "$" is the very end, as JSON Schema has it.
"""

from __future__ import annotations

import importlib
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import inf
from typing import Any

from .errors import ToolSpecError

MAX_PATTERN = 4_000
"""Characters of one pattern."""
MAX_PATTERN_SHOWN = 100

_UNREADABLE = (re.error, OverflowError, RecursionError, FutureWarning)


def matches(pattern: str, text: str, pay: Callable[[int], None]) -> bool:
    """Whether the pattern is somewhere in the text. Each step calls ``pay(1)``, which may raise to end it."""
    return _follow(compiled(pattern), text, 0, pay, anywhere=True)


@lru_cache(maxsize=256)
def compiled(pattern: str) -> _Step:
    """The pattern's first step. Raises `ToolSpecError` for one that cannot be followed."""
    shown = pattern if len(pattern) <= MAX_PATTERN_SHOWN else f"{pattern[: MAX_PATTERN_SHOWN - 1]}…"
    if len(pattern) > MAX_PATTERN:
        raise ToolSpecError(f"the pattern {shown!r} is longer than {MAX_PATTERN:,} characters.")
    try:
        parsed = _PARSER.parse(pattern)
        if parsed.state.flags & ~re.UNICODE:
            raise _Unfollowable("flags")
        return _steps(parsed, _Step("MATCH"))
    except _Unfollowable as error:
        raise ToolSpecError(
            f"the pattern {shown!r} has flags, a back reference, a look behind or an atomic group: "
            "that cannot be checked in bounded time."
        ) from error
    except _UNREADABLE as error:
        raise ToolSpecError(f"the pattern {shown!r} cannot be read: {error}.") from error


# The parser has no public name, but nothing public reads a pattern without compiling it.
_PARSER = importlib.import_module("re._parser")
_LITERAL = _PARSER.LITERAL


class _Unfollowable(Exception):
    """A part of a pattern that depends on more than the place it is met at."""


@dataclass(eq=False, slots=True)
class _Step:
    """A step is itself and nothing like it: a state is told from another in no time.

    =======  ==============================  =========================
    kind     value                           then
    =======  ==============================  =========================
    MATCH    -                               -
    CHAR     `_Chars`, one of which is next  what follows
    SPLIT    several steps                   - (goes on at each)
    AT       the place's name                what follows
    LOOK     the first step, is it wanted    what follows
    COUNT    least, most                     the repetition's `AGAIN`
    AGAIN    the first step of one time      what follows the last one
    =======  ==============================  =========================
    """

    kind: str
    value: Any = None
    then: Any = None


def _steps(nodes: Any, then: _Step) -> _Step:
    """The first of the steps that lead through these nodes of the parser's to what is then."""
    for operation, value in reversed(list(nodes)):
        match operation.name:
            case "SUBPATTERN" if not value[1] and not value[2]:
                then = _steps(value[3], then)
            case "BRANCH":
                then = _Step("SPLIT", [_steps(branch, then) for branch in value[1]])
            case "MAX_REPEAT" | "MIN_REPEAT":
                least, most, inner = value
                then = _repeated(least, most, inner, then)
            case "ASSERT" | "ASSERT_NOT" as kind if value[0] > 0:
                then = _Step("LOOK", (_steps(value[1], _Step("MATCH")), kind == "ASSERT"), then)
            case "AT":
                then = _Step("AT", value.name, then)
            case "IN":
                is_negated = value[0][0].name == "NEGATE"
                then = _Step("CHAR", _chars(value[is_negated:], is_negated), then)
            case "LITERAL" | "NOT_LITERAL" as kind:
                then = _Step("CHAR", _chars([(_LITERAL, value)], kind == "NOT_LITERAL"), then)
            case "ANY":
                then = _Step("CHAR", _chars([(_LITERAL, ord("\n"))], True), then)
            case "FAILURE":  # what some versions make of (?!)
                then = _Step("CHAR", _chars([], False), then)
            case name:
                raise _Unfollowable(name)
    return then


def _repeated(least: int, most: int, inner: Any, then: _Step) -> _Step:
    if (least, most) == (0, 1):
        return _Step("SPLIT", [_steps(inner, then), then])
    if least <= 1 and most == _PARSER.MAXREPEAT:
        again = _Step("SPLIT")
        again.value = [_steps(inner, again), then]
        return again if least == 0 else again.value[0]
    again = _Step("AGAIN", then=then)
    again.value = _steps(inner, again)
    return _Step("COUNT", (least, most if most < _PARSER.MAXREPEAT else inf), again)


@dataclass(frozen=True, slots=True)
class _Chars:
    """A set of characters: ranges that neither touch nor overlap, in order, and categories."""

    starts: Sequence[int]
    ends: Sequence[int]
    categories: Iterable[tuple[Callable[[str], bool], bool]]
    is_negated: bool

    def has(self, char: str) -> bool:
        code = ord(char)
        before = bisect_right(self.starts, code)
        is_in = before > 0 and code <= self.ends[before - 1]
        return self.is_negated != (
            is_in or any(belongs(char) == wanted for belongs, wanted in self.categories)
        )


def _chars(items: Any, is_negated: bool) -> _Chars:
    ranges: list[tuple[int, int]] = []
    categories = set()
    for operation, value in items:
        if operation.name == "CATEGORY":
            wanted, _, category = value.name.rpartition("_")
            categories.add((_CATEGORIES[category], not wanted.endswith("NOT")))
        else:
            ranges.append(value if operation.name == "RANGE" else (value, value))
    starts: list[int] = []
    ends: list[int] = []
    for start, end in sorted(ranges):
        if ends and start <= ends[-1] + 1:
            ends[-1] = max(ends[-1], end)
        else:
            starts.append(start)
            ends.append(end)
    return _Chars(starts, ends, tuple(categories), is_negated)


def _is_word(char: str) -> bool:
    return char.isalnum() or char == "_"


_CATEGORIES = {"DIGIT": str.isdecimal, "SPACE": str.isspace, "WORD": _is_word}


_Counts = tuple[int, float, int]
"""How many times are left of a repetition, least and most, and where those of the one around it are."""


def _follow(
    start: _Step, text: str, position: int, pay: Callable[[int], None], *, anywhere: bool = False
) -> bool:
    """Whether the steps from this one lead to a match.

    A state is a step, and which of the ``counts`` it goes by. Equal counts are kept once, so that
    comparing states never goes into repetitions inside of repetitions.
    """
    counts: list[_Counts] = [(0, 0, 0)]
    places: dict[_Counts, int] = {}

    def counting(least: int, most: float, around: int) -> int:
        place = places.setdefault((least, most, around), len(counts))
        if place == len(counts):
            counts.append((least, most, around))
        return place

    states = [(start, 0)]
    while states:
        seen: set[tuple[_Step, int]] = set()
        ahead: list[tuple[_Step, int]] = []
        char = text[position : position + 1]
        for state in states:  # grows meanwhile
            if state in seen:
                continue
            seen.add(state)
            pay(1)
            step, count = state
            match step.kind:
                case "CHAR":
                    if char and step.value.has(char):
                        ahead.append((step.then, count))
                case "SPLIT":
                    states += [(one, count) for one in step.value]
                case "COUNT":
                    least, most = step.value
                    states.append((step.then, counting(least, most, count)))
                case "AGAIN":
                    pay(1)  # for what is kept of it
                    least, most, around = counts[count]
                    if least <= 0:
                        states.append((step.then, around))
                    if most > 0:
                        states.append((step.value, counting(max(least - 1, 0), most - 1, around)))
                case "AT":
                    if _is_at(step.value, text, position):
                        states.append((step.then, count))
                case "LOOK":
                    inner, is_wanted = step.value
                    if _follow(inner, text, position, pay) == is_wanted:
                        states.append((step.then, count))
                case _:  # MATCH
                    return True
        if anywhere and char:
            ahead.append((start, 0))
        states = ahead
        position += 1
    return False


def _is_at(place: str, text: str, at: int) -> bool:
    if place.startswith("AT_BEGINNING"):
        return at == 0
    if place.startswith("AT_END"):
        return at == len(text)
    between = (at > 0 and _is_word(text[at - 1])) != (at < len(text) and _is_word(text[at]))
    return between == (place == "AT_BOUNDARY")
