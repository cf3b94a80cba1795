"""The harness of `make bench`: what it makes of figures, and one turn of a contestant that needs no peer."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks import documents, page, rounds, stream_server
from benchmarks.environments import Environment

# The floor is made of httpx itself, which is not there where the suite runs with httpx2.
FIT = ["httpx + msgspec", "chain"] if find_spec("httpx") else ["chain"]


def test_ratio_is_the_median_of_the_rounds_and_not_of_the_sums():
    taken = {"ours": [1.0, 1.0, 30.0], "peer": [4.0, 2.0, 100.0]}
    assert rounds.ratio(taken, "ours", "peer") == 0.3


def test_ratio_with_one_that_took_no_part_is_none():
    assert rounds.ratio({"ours": [1.0]}, "ours", "peer") is None


def test_exponent_tells_a_line_from_a_square():
    assert rounds.exponent(2, 64, 32) == pytest.approx(1)
    assert rounds.exponent(2, 2048, 32) == pytest.approx(2)


@pytest.mark.parametrize(
    ("value", "told"),
    [(1 / 8, "1/8"), (1 / 15.96, "1/15.96"), (1 / 217.44, "1/217.4"), (1.254, "1.25"), (10, "10")],
)
def test_ratios_are_told_as_shares(value, told):
    assert page.share(value) == told


@pytest.mark.parametrize(
    ("measured", "says"), [(1.25, "reached"), (1.26, "**missed**"), (None, "not measured: too old")]
)
def test_verdict_says_whether_it_was_reached(measured, says):
    assert page.Verdict("chunk", 1.25, measured, why="too old").says == says


def test_verdict_of_an_amount_is_no_share():
    assert page.Verdict("memory", 1.0, 0.05, " MB").cells == ("memory", "1 MB", "0.05 MB", "reached")


def test_page_holds_verdicts_absences_notes_and_tables():
    section = page.Section("Chunks", page.table(("a", "b"), [("1", "2")]), [page.Verdict("x", 1 / 8, 1 / 9)])
    text = page.render("About.", [section], {"openai": "no network"}, "## Notes\n\nWhy.\n")
    assert "| x | 1/8 | 1/9 | reached |" in text
    assert "* openai: no network" in text
    assert "## Notes\n\nWhy.\n\n## Chunks\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n" in text


def test_answer_is_a_stream_of_events_framed_one_by_one():
    *events, end = stream_server.writes(40)
    assert end == b"0\r\n\r\n"
    assert len(events) == 40 + 4  # a comment, the reason, the usage, the end
    assert all(event.count(b"\n\n") == 1 for event in events)


@pytest.mark.parametrize("name", documents.DOCUMENTS)
def test_documents_have_the_size_they_are_named_for(name):
    assert len(documents.document(name, documents.LARGE)) == pytest.approx(documents.LARGE, rel=0.02)


def test_incremental_reader_takes_time_and_reads_all():
    assert documents.PARSERS["ours"]("records", 1024, 1) > 0


def test_contestants_read_the_whole_text_in_processes_of_their_own():
    mine = Environment(Path(sys.executable), {})
    with rounds.server(mine.python) as base_url:
        streams = rounds.Streams({"ours": mine}, base_url)
        taken = streams.measure([*FIT, "openai"], "each", 50, rounds=2)
    assert set(taken) == set(FIT)
    assert all(len(figures) == 2 and min(figures) > 0 for figures in taken.values())
    assert streams.unfit == {"openai": "its packages could not be installed"}


def test_spread_of_one_figure_is_the_figure():
    assert page.spread([2e-6], 1e6) == "2.00"
    assert page.spread([9e-6, 8e-6, 123e-6], 1e6) == "9.0 [8.0 to 123]"
