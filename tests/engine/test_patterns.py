"""Patterns: they mean what they mean to `re`, and cost what their steps cost."""

from __future__ import annotations

import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openrouter_app.engine.errors import ToolSpecError
from openrouter_app.engine.patterns import MAX_PATTERN, compiled, matches


def fits(pattern, text):
    return matches(pattern, text, lambda price: None)


def price(pattern, text):
    """What a match of the pattern costs."""
    paid = []
    matches(pattern, text, paid.append)
    return sum(paid)


def calls(pattern, text):
    """How often Python calls anything for it: time, as the machine does not measure it."""
    compiled(pattern)
    count = 0

    def called(frame, event, argument):
        nonlocal count
        count += event.endswith("call")

    before = sys.getprofile()
    sys.setprofile(called)
    try:
        fits(pattern, text)
    finally:
        sys.setprofile(before)
    return count


# Against `re` as oracle

ATOMS = (
    r"a b - . [ab] [^a] [^ab] [a-c_] [a-b1-3b-d] [^a-b_] \d \D \w \W \s \S [\d\s] [^\W] [^\d_] [\W\d]"
    r" ^ $ \b \B \A \Z \-"
)
atoms = st.sampled_from(["", *ATOMS.split()])
patterns = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map("".join),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: f"(?:{'|'.join(parts)})"),
        st.tuples(
            inner, st.sampled_from(["*", "+", "?", "*?", "{0}", "{1}", "{2}", "{1,3}", "{0,2}?", "{2,}"])
        ).map(lambda parts: f"({parts[0]}){parts[1]}"),
        inner.map(lambda part: f"(?={part})"),
        inner.map(lambda part: f"(?!{part})"),
    ),
    max_leaves=6,
)


@given(patterns, st.text("ab-_1 \n٣é", max_size=8))
def test_patterns_mean_what_they_mean_to_python(pattern, text):
    if not text and r"\B" in pattern:
        return  # there is no boundary in it, but before 3.14 Python says neither
    assert fits(pattern, text) == (re.search(pattern.replace("$", r"\Z"), text) is not None)


@given(st.text("abc[]^-\\dw1_", max_size=8), st.sampled_from("abcdw[]^-\\1_ "))
def test_classes_have_the_members_that_they_have_in_python(inside, char):
    pattern = f"[{inside}]"
    try:
        expected = re.search(pattern, char) is not None
    except (re.error, FutureWarning):
        return
    assert fits(pattern, char) == expected


@pytest.mark.parametrize(
    ("pattern", "fit", "unfit"),
    [
        ("^a{2}$", ["aa"], ["a", "aaa"]),
        ("^(?:a{2}b){2,3}$", ["aabaab", "aabaabaab"], ["aab", "aabab", "aab" * 4]),
        ("^(?:(?:a|b{2}){2}){2,}$", ["aaaa", "abbabb"], ["aaa", "abbab"]),
        ("^[^a]$", ["b"], ["a", "bb"]),
        (r"^(?!.*\.\.)[\w./-]+$", ["a/b.txt"], ["../b", "a b"]),
        ("^[a-z0-9]+(?:-[a-z0-9]+)*$", ["a-b-1", "a"], ["a--b", "-a", ""]),
        ("^a(?:b|(?!))$", ["ab"], ["a"]),
        (r"\bcat\b", ["a cat", "cat"], ["cats", "concat"]),
        (r"^\d{4}-\d{2}$", ["2024-01"], ["2024-1"]),
        (r"^[\u4e00-\u9fa5]+$", ["中"], ["a"]),
    ],
)
def test_patterns_people_write(pattern, fit, unfit):
    assert [text for text in [*fit, *unfit] if fits(pattern, text)] == fit


@pytest.mark.parametrize("pattern", ["a$", "^(a|b$)"])
def test_dollar_is_the_very_end(pattern):
    assert not fits(pattern, "b\n")


# What is refused


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("(?i)a", "has flags, a back reference, a look behind or an atomic group: "),
        (r"(a)\1", "has flags, a back reference, a look behind or an atomic group: "),
        (r"\p{L}", "cannot be read: bad escape"),
        ("(" * 1_500 + ")" * 1_500, "cannot be read"),
        ("a" * (MAX_PATTERN + 1), "is longer than 4,000 characters."),
    ],
)
def test_what_cannot_be_followed_is_refused(pattern, said):
    with pytest.raises(ToolSpecError, match=re.escape(said)) as raised:
        compiled(pattern)
    assert str(raised.value).startswith("the pattern '")
    assert len(str(raised.value)) < 300


# What it costs


def test_a_large_class_costs_what_a_small_one_does():
    members = "".join(chr(0x100 + 2 * at) for at in range(3_900))
    small, large = "^([a-c]|x)+$", f"^([{members}]|x)+$"
    assert price(large, "x" * 100) == price(small, "x" * 100)
    assert calls(large, "x" * 100) == calls(small, "x" * 100)


def test_every_state_is_paid_for_and_looked_at_once_a_character():
    assert price("(a|a)*$", "a" * 40 + "!") < 41 * 10
    assert price("^" + "(" * 90 + "a" + ")*" * 90 + "$", "a" * 20) < 21 * 90 * 2 + 200


def test_what_paying_raises_ends_it():
    def broke(price):
        raise OSError

    with pytest.raises(OSError):  # noqa: PT011
        matches("a", "a", broke)
