"""What a conversation is called."""

from __future__ import annotations

import pytest

from openrouter_app.conversations.titles import LONGEST, one_line, title_of


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("Why is the sky blue?", "Why is the sky blue?"),
        ("\n  \n\t Why is\tthe sky\u00a0blue?\nTell me.", "Why is the sky blue?"),
        ("", ""),
        (" \n\x00\u200e\n ", ""),
        ("one\r\ntwo", "one"),
        ("one\u2028two", "one"),
    ],
)
def test_title_is_the_first_line_that_says_something(text, title):
    assert title_of(text) == title


def test_long_line_is_cut_between_words():
    title = title_of("word " * 40)
    assert title == "word " * 11 + "word…"
    assert len(title) <= LONGEST + 1


def test_long_word_is_cut_all_the_same():
    assert title_of("x" * 500) == "x" * 59 + "…"
    assert len(title_of("短" * 500)) == 60


def test_mark_before_a_cut_goes_with_it():
    assert title_of("a sentence that is long enough, " + "y" * 80) == "a sentence that is long enough…"


def test_a37_what_turns_or_hides_text_stands_in_no_title():
    assert title_of("\u202egnp.exe\u202c \x1b[31mred\x07 \u2066a\u2069") == "gnp.exe [31mred a"
    assert title_of("a\x00b\ud800c") == "ab\ufffdc"
    assert one_line("a\nb\r\x85c\u2029d") == "a b c d"


def test_emoji_that_are_joined_stay_whole():
    assert title_of("👩\u200d👩\u200d👧 family") == "👩\u200d👩\u200d👧 family"
