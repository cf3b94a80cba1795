"""The harness of `make bench`: what it makes of figures, and one turn of a contestant that needs no peer."""

from __future__ import annotations

import json
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks import documents, keeping, page, plan, push, pushing, rounds, storing, stream_server, sweep
from benchmarks.environments import Environment
from benchmarks.pacing import order, stamps
from project import postgres
from tests.servers import needed

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


def test_page_of_the_docs_has_the_notes_that_the_next_run_would_put_there():
    root = Path(__file__).parents[1]
    assert (root / "benchmarks" / "notes.md").read_text() in (root / "docs" / "benchmarks.md").read_text()


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


def test_verdict_of_what_is_to_be_more_is_reached_above_its_limit():
    told = page.Verdict("streams", 0.8, 0.9, is_least=True)
    assert told.cells == ("streams", "at least 0.8", "0.9", "reached")
    assert page.Verdict("streams", 4, 3.9, is_least=True).says == "**missed**"


def test_sections_measured_alone_replace_those_of_the_page():
    def section(measured: float, text: str) -> page.Section:
        return page.Section("Chunks", text, [page.Verdict("x", 1 / 8, measured)])

    other = page.Section("Imports", "Quick.", [page.Verdict("y", 1.3, 1.2)])
    whole = page.render(
        "About.", [section(1 / 7, "Slow."), other], {"openai": "no network"}, "## Notes\n\nWhy."
    )
    added = page.Section("Push", "New.", [page.Verdict("z", 5, 4)])
    told = page.spliced(whole, [section(1 / 9, "Fast."), added], "Today.", {})
    assert "| x | 1/8 | 1/9 | reached |\n| y | 1.3 | 1.2 | reached |\n| z | 5 | 4 | reached |\n\nTook" in told
    assert "## Notes\n\nWhy.\n\n## Chunks\n\nFast.\n\nToday.\n\n## Imports\n\nQuick.\n" in told
    assert told.endswith("## Push\n\nNew.\n\nToday.\n")
    assert "Slow." not in told


@pytest.mark.parametrize("guess", [0, 4, 37, 1_000])
@pytest.mark.parametrize("most", [3, 4, 21, 99, 100])
def test_search_finds_the_largest_number_that_holds_wherever_it_begins(guess, most):
    assert sweep.largest(lambda number: number <= most, list(range(4, 101)), guess) == (
        most if most > 3 else 0
    )


def test_percentile_of_nothing_is_no_success():
    assert pushing.percentile([3.0, 1.0, 2.0], 50) == 2.0
    assert pushing.percentile([], 99) == float("inf")


@pytest.fixture(scope="module")
def paced() -> Iterator[push.Paths]:
    """The ways that need no peer, against a provider that keeps time."""
    mine = Environment(Path(sys.executable), {})
    with rounds.server(mine.python, "benchmarks.pacing") as base_url:
        yield push.Paths({"ours": mine}, base_url)


def test_provider_says_when_it_sent_and_who_left(paced):
    body = json.dumps({"messages": [{"role": "user", "content": order("timed", 100, at_once=3, tag="t1")}]})
    begun = time.monotonic()
    asked = urllib.request.Request(f"{paced.base_url}/chat/completions", body.encode(), method="POST")
    with urllib.request.urlopen(asked) as answer:
        sent = [stamps(answer.readline().decode() + answer.readline().decode())[0] for _ in range(5)]
    assert begun <= sent[0] <= sent[2] < sent[3] < sent[4] <= time.monotonic()
    while not (closed := json.load(urllib.request.urlopen(f"{paced.base_url}/closed"))):
        time.sleep(0.01)
    assert sent[4] <= closed["t1"] <= time.monotonic()


@pytest.fixture(scope="module")
def site(paced) -> Iterator[rounds.Worker]:
    """The process of our own site."""
    with paced.worker("site") as worker:
        yield worker


@pytest.mark.parametrize("name", ["site", "lean loop"])
def test_streams_of_a_way_are_measured_while_they_flow(paced, site, name):
    with nullcontext(site) if name == "site" else paced.worker(name) as worker:
        said = worker.turn("steady", 3, 50, 0.4)
    assert said["tokens"] >= said["frames"] > 30
    assert 0 < said["p50"] <= said["p99"] < 1
    assert said["cpu_a_token"] > 0


def test_meters_of_the_site_meter(site):
    assert 0 < site.turn("log_share", 3, 50, 0.5)["share"] < 1
    assert 1 < site.turn("transactions", 3, 50, 1)["transactions"] < 9
    paid = site.turn("payload", 300, 0.02, 12.5)
    assert 1 < paid["logged"] < paid["all"] < 12
    assert (paid["ahead"] - 32) % (paid["page"] + 24) == 0  # a head, then frames of a head and a page each
    assert paid["ahead"] > paid["text"] * paid["all"]
    assert paid["pages"] > 0
    assert site.turn("in_a_row", 3, 1)["cpu"] > 0


def test_postgresql_says_what_it_wrote_of_an_answer(paced):
    needed(postgres.find_programs)
    said = storing.stored(paced, "site", storing.POSTGRES, 4_000)
    assert said["ahead"] > said["text"] * said["all"]
    assert said["pages"] > 0
    assert "PostgreSQL 1" in storing._table({storing.POSTGRES: said})


def test_answer_on_postgresql_takes_no_part_where_there_is_none(paced, monkeypatch):
    def missing():
        raise rounds.Unfit("not installed")

    monkeypatch.setattr(paced, "postgres", missing)
    quick = plan.Plan(answer=100)
    monkeypatch.setattr(paced, "unfit", {"site, fast": "no uvloop"})
    section = storing.measure(paced, quick)
    assert paced.unfit["what an answer costs PostgreSQL"] == "not installed"
    assert section.verdicts[0].measured > 1
    assert "| SQLite 3." in section.text
    assert "| PostgreSQL " not in section.text


def test_stalled_readers_are_stalled_and_what_they_read_is_streamed(site):
    said = site.turn("stalled", 1, 4, 2, 0.5)
    assert said["stuck"] == 4
    assert said["came"] >= 1


def test_runs_are_followed_and_stopped_from_another_process(paced):
    quick = plan.Plan(follows=2, stops=2)
    verdicts, text = keeping._elsewhere(paced, quick, "site")
    assert [verdict.measured < 60_000 for verdict in verdicts] == [True] * 4
    assert "stop, in another one, by the row" in text


def test_a_way_whose_packages_are_not_there_takes_no_part(paced):
    with pytest.raises(rounds.Unfit), paced.worker("openai"):
        pass
