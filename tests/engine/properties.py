"""What property tests share."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

MANY = bool(os.environ.get("OPENROUTER_TESTS_MANY_EXAMPLES"))
LONGEST = 200 if MANY else 100_000
PREFIXES = 5 if MANY else 100_000


def short(values: st.SearchStrategy[Any], written: Callable[[Any], str] = str) -> st.SearchStrategy[Any]:
    """Where there are many examples, each is at most this long, as it is written."""
    return values.filter(lambda value: len(written(value)) <= LONGEST) if MANY else values


def some_ends(text: str, at: list[int]) -> set[int]:
    """The lengths of the prefixes to look at: all, or where there are many examples a few."""
    ends = range(1, len(text) + 1)
    return set(ends) if len(ends) <= PREFIXES else {ends[place % len(ends)] for place in at[:PREFIXES]}
