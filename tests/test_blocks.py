"""Blocks of Markdown: the same in any cut, whatever the text. Invariant 17, first half."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openrouter_app import blocks
from openrouter_app.blocks import Block, BlockSplitter

WORDS = [
    "\n",
    "\n\n",
    "\r\n",
    " ",
    "    ",
    "\t",
    "a",
    "word",
    "-",
    "- ",
    "* ",
    "**b**",
    "+ x",
    "1. ",
    "12) ",
    "1234567890. ",
    "# ",
    "##",
    "```",
    "````",
    "~~~",
    "`",
    "> ",
    "| a |",
    "|---|",
    "---",
    "===",
    "<b>",
    "\r",
    "\u2028",
    "\x0b",
    "\x00",
    "😀",
    "é",
]
texts = st.lists(st.sampled_from(WORDS) | st.text(max_size=3), max_size=40).map("".join)


def split(text: str, *cuts: int) -> tuple[list[Block], str, list[Block]]:
    """What is finished, the rest, and what becomes of it at the end."""
    splitter = BlockSplitter()
    finished = [block for a, b in pairwise([0, *cuts, len(text)]) for block in splitter.feed(text[a:b])]
    return finished, splitter.rest, splitter.close()


def texts_of(text: str) -> list[str]:
    finished, _, last = split(text)
    return [block.text for block in finished + last]


@pytest.fixture(params=[blocks.LARGEST, 30, 12], ids=lambda size: f"largest={size}")
def largest(request, monkeypatch):
    monkeypatch.setattr(blocks, "LARGEST", request.param)
    return request.param


@pytest.fixture(params=[blocks.MOST, 2])
def most(request, monkeypatch):
    monkeypatch.setattr(blocks, "MOST", request.param)


@pytest.mark.usefixtures("most")
def test_invariant_17_finished_blocks_of_a_prefix_are_a_prefix_in_any_cut(largest):
    @given(texts, st.data())
    def check(text, data):
        whole, rest, last = split(text)
        assert "".join(block.text for block in whole) + rest == text
        assert "".join(block.text for block in last) == rest
        assert all(len(block.text) <= largest + 12 for block in whole + last)
        cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
        assert split(text, *cuts) == (whole, rest, last)
        assert split(text, *range(len(text))) == (whole, rest, last)
        prefix, _, _ = split(text[: data.draw(st.integers(0, len(text)))])
        assert prefix == whole[: len(prefix)]

    check()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("a\n\nb\n", ["a\n\n", "b\n"], id="paragraphs"),
        pytest.param("a\r\n\r\nb\r\n", ["a\r\n\r\n", "b\r\n"], id="CRLF"),
        pytest.param("a\n \t\nb", ["a\n \t\n", "b"], id="a blank line may hold spaces"),
        pytest.param("a\n\n\n\nb", ["a\n\n", "\n\nb"], id="more blank lines"),
        pytest.param("# T\nb\n\n", ["# T\n", "b\n\n"], id="a heading is a block"),
        pytest.param("a\n## T\nb", ["a\n", "## T\n", "b"], id="and ends one"),
        pytest.param("#hash\nb", ["#hash\nb"], id="no heading"),
        pytest.param("T\n---\nb", ["T\n---\nb"], id="an underlined heading"),
        pytest.param("```py\na\n\nb\n```\nc", ["```py\na\n\nb\n```\n", "c"], id="fence"),
        pytest.param("a:\n```\nb\n```\n", ["a:\n", "```\nb\n```\n"], id="a fence under a line"),
        pytest.param("````\n```\n\n````\nc", ["````\n```\n\n````\n", "c"], id="a longer fence"),
        pytest.param("~~~\n```\n\n~~~~  \nc", ["~~~\n```\n\n~~~~  \n", "c"], id="tildes"),
        pytest.param("```\n\n``` x\n\n", ["```\n\n``` x\n\n"], id="a closing fence has no words"),
        pytest.param("``` a`b\n\nc", ["``` a`b\n\n", "c"], id="code in a line is no fence"),
        pytest.param("```\r\n\r\n```\r\nc", ["```\r\n\r\n```\r\n", "c"], id="a fence with CRLF"),
        pytest.param("- a\n\n- b\n\n  c\n\nd", ["- a\n\n- b\n\n  c\n\n", "d"], id="a loose list"),
        pytest.param("1. a\n\n\n2) b\n\n3 c", ["1. a\n\n\n2) b\n\n", "3 c"], id="a numbered list"),
        pytest.param("- a\n\n**b**", ["- a\n\n", "**b**"], id="bold is no list"),
        pytest.param("- a\n\n-b", ["- a\n\n", "-b"], id="a dash is none"),
        pytest.param("a:\n- b\n\n- c\n", ["a:\n", "- b\n\n- c\n"], id="a list under a line"),
        pytest.param("In\n1986. b\n\n", ["In\n1986. b\n\n"], id="a year is no list"),
        pytest.param(
            "- a\n  ```\n  b\n\n  c\n  ```\n", ["- a\n  ```\n  b\n\n  c\n  ```\n"], id="fence in a list"
        ),
        pytest.param("- a\n```\nb\n```\n", ["- a\n", "```\nb\n```\n"], id="a fence behind a list"),
        pytest.param("> a\n>\n> b\n\nc", ["> a\n>\n> b\n\n", "c"], id="quote"),
        pytest.param("|a|\n|-|\n|1|\n\nb", ["|a|\n|-|\n|1|\n\n", "b"], id="table"),
        pytest.param("    a\n\n    b\n\nc", ["    a\n\n    b\n\n", "c"], id="indented code"),
        pytest.param("<div>\na\n\n</div>", ["<div>\na\n\n", "</div>"], id="HTML is text"),
        pytest.param("\n\n", ["\n\n"], id="nothing but blank lines"),
        pytest.param("", [], id="nothing"),
    ],
)
def test_blocks_end_where_markdown_lets_them(text, expected):
    assert texts_of(text) == expected


@pytest.mark.parametrize(
    ("before", "then"),
    [("- a\n\n", "T"), ("1. a\n\n", "2x"), ("    a\n\n", "b"), ("a\n", "\n"), ("```\n", "```\n")],
)
def test_a_block_is_finished_as_soon_as_that_is_certain(before, then):
    splitter = BlockSplitter()
    assert splitter.feed(before) == []
    assert len(splitter.feed(then)) == 1


def test_what_is_too_large_comes_in_plain_pieces_that_end_with_a_line():
    line = "x" * 999 + "\n"
    finished, rest, last = split("```\n" + line * 40 + "```\n\nafter\n\n")
    assert [(len(block.text), block.plain) for block in finished] == [
        (15_004, True),
        (16_000, True),
        (9_004, True),
        (len("\nafter\n\n"), False),
    ]
    assert rest == ""
    assert last == []


def test_a_text_of_very_many_blocks_is_plain_from_there_on(monkeypatch):
    monkeypatch.setattr(blocks, "MOST", 3)
    finished, _, last = split("a\n\n" * 5 + "# b\n```\n")
    assert finished == [Block("a\n\n")] * 3
    assert last == [Block("a\n\na\n\n# b\n```\n", plain=True)]


@pytest.mark.parametrize("piece", ["x", "`", " ", "- ", "- a\n\n ", "1"])
def test_a23_a_character_costs_the_same_in_a_long_block(piece):
    """One character after another, a million of them: no open block is looked at again."""

    def seconds(text: str) -> float:
        splitter = BlockSplitter()
        begun = time.perf_counter()
        for character in text:
            splitter.feed(character)
        return time.perf_counter() - begun

    text = piece * (1_000_000 // len(piece))
    assert seconds(text) < 30 * max(seconds(text[:100_000]), 0.02)
