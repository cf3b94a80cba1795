"""A run survives what happens to its pages, its network and its server: a real Chromium at a real site.

The claim of each test: the provider is asked once, there is one row, and what every page shows at the end
is what the row has, to the character. Leaves pictures in ``screenshots/``.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from openrouter_app.testing import FakeOpenRouter
from openrouter_app.testing.scripts import Gate, Piece, ToolCallScript
from project.web import WebProcess
from tests.faults.databases import Row, SqliteFile, SqliteTemplate
from tests.faults.sites import CLOCKS, base_environment

from .visitors import (
    Visitor,
    banner,
    begins,
    connected,
    has_status,
    network,
    run,
    shoot,
    shown,
    shows,
    text_of,
    until,
)

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

PATIENCE: Mapping[str, float] = {
    "IDLE_TIMEOUT": 60,
    "FIRST_CONTENT_TIMEOUT": 60,
    "QUEUE_TIMEOUT": 60,
    "DRAIN_TIMEOUT": 30,
}
"""An answer waits for the test, however slow the machine is; all other clocks run fast."""


@pytest.fixture(scope="module")
def var(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("var")


@pytest.fixture(scope="module")
def template(var: Path, tmp_path_factory: pytest.TempPathFactory) -> SqliteTemplate:
    return SqliteTemplate(tmp_path_factory.mktemp("sqlite"), base_environment(var))


@pytest.fixture
def database(template: SqliteTemplate) -> Iterator[SqliteFile]:
    made = template.clone()
    yield made
    made.drop()


Serve = Callable[..., WebProcess]


@pytest.fixture
def serve(database: SqliteFile, openrouter: FakeOpenRouter, var: Path, tmp_path: Path) -> Iterator[Serve]:
    """Starts a site with these settings, on the port of another one where that is given."""
    sites: list[WebProcess] = []
    environment = base_environment(var) | {
        "DATABASE_URL": database.url,
        "OPENROUTER_BASE_URL": openrouter.base_url,
        "DJANGO_ALLOW_ASYNC_UNSAFE": "",  # meant for this process
    }

    def start(port: int = 0, **settings: float) -> WebProcess:
        settings = {**CLOCKS, **PATIENCE, **settings}
        clocks = {f"OPENROUTER_{name}": str(value) for name, value in settings.items()}
        site = WebProcess(
            port=port, log=tmp_path / f"site-{len(sites)}.log", environment=environment | clocks
        )
        sites.append(site)
        site.start()
        site.wait_ready()
        return site

    yield start
    openrouter.hang_up()
    for site in sites:
        site.kill()
        assert "Traceback" not in site.said(), site.said()


@pytest.fixture
def site(serve: Serve) -> WebProcess:
    return serve()


Visit = Callable[[str], Visitor]


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """Makes a visitor of the site at an address."""
    visitors: list[Visitor] = []

    def made(address: str) -> Visitor:
        visitors.append(Visitor(browser, address))
        return visitors[-1]

    yield made
    for visitor in visitors:
        visitor.context.close()
    assert [problem for visitor in visitors for problem in visitor.problems] == []


class Answer:
    """An answer in sections of ten words, a gate before each but the first."""

    def __init__(self, openrouter: FakeOpenRouter, sections: int, delay: float = 0.01) -> None:
        self.sections = [[f"{number}.{word} " for word in range(10)] for number in range(sections)]
        self._gates = [Gate() for _ in self.sections]
        pieces: list[Piece] = []
        for gate, words in zip(self._gates, self.sections, strict=True):
            pieces += [gate, *words]
        openrouter.reply(*pieces, delay=delay)
        self.open(0)

    def open(self, section: int) -> None:
        self._gates[section].open()

    def up_to(self, section: int) -> str:
        """The text to the end of this section."""
        return "".join(word for words in self.sections[: section + 1] for word in words)

    @property
    def text(self) -> str:
        return self.up_to(len(self.sections) - 1)


def asked(openrouter: FakeOpenRouter) -> int:
    """How often a model was asked; what an answer has cost is asked for besides."""
    return sum(request.path.endswith("/chat/completions") for request in openrouter.requests)


def only_row(page: Page, database: SqliteFile, status: str) -> Row:
    """The one run there is, which has ended so."""
    until(page, lambda: [row.status for row in database.runs()] == [status])
    return database.runs()[0]


def test_twenty_reloads_in_mid_answer(
    site: WebProcess, visit: Visit, openrouter: FakeOpenRouter, database: SqliteFile
) -> None:
    answer = Answer(openrouter, 21, delay=0.02)
    page = visit(site.address).tab()
    run(page)
    for number in range(20):
        # every other reload comes while words are coming
        begins(page, answer.up_to(number - 1) + f"{number}.0 " if number % 2 else answer.up_to(number))
        seen = shown(page)
        page.reload()
        begins(page, seen)
        has_status(page, "Answering")
        answer.open(number + 1)
    has_status(page, "Done")
    row = only_row(page, database, "done")
    assert shown(page) == text_of(row) == answer.text
    assert asked(openrouter) == 1
    page.reload()
    shows(page, answer.text)


def test_a_second_tab_joins_the_answer_and_stays_when_the_first_is_closed(
    site: WebProcess, visit: Visit, openrouter: FakeOpenRouter, database: SqliteFile
) -> None:
    answer = Answer(openrouter, 4)
    visitor = visit(site.address)
    first = visitor.tab()
    first.get_by_label("Max num").fill("4711")
    run(first)
    shows(first, answer.up_to(0))
    second, elsewhere, stranger = visitor.tab(), visitor.tab("joke"), visit(site.address).tab()
    shows(second, answer.up_to(0))
    expect(second.get_by_label("Max num")).to_have_value("4711")
    expect(second.get_by_role("button", name="Run")).to_have_attribute("aria-disabled", "true")
    answer.open(1)
    for page in (first, second):
        shows(page, answer.up_to(1))
    first.close()
    answer.open(2)
    shows(second, answer.up_to(2))
    second.reload()
    shows(second, answer.up_to(2))
    answer.open(3)
    has_status(second, "Done")
    second.reload()
    shows(second, answer.text)
    assert shown(second) == text_of(only_row(second, database, "done"))
    for page in (elsewhere, stranger, visitor.tab()):
        expect(page.get_by_text("Your answer appears here")).to_be_visible()
    assert asked(openrouter) == 1


def test_a_user_goes_on_reading_on_another_device(
    site: WebProcess, visit: Visit, openrouter: FakeOpenRouter, database: SqliteFile
) -> None:
    answer = Answer(openrouter, 2)
    desk, phone = visit(site.address), visit(site.address)
    desk.sign_in()
    phone.sign_in()
    at_the_desk = desk.tab()
    run(at_the_desk)
    shows(at_the_desk, answer.up_to(0))
    on_the_phone = phone.tab()
    shows(on_the_phone, answer.up_to(0))
    answer.open(1)
    row = only_row(on_the_phone, database, "done")
    for page in (at_the_desk, on_the_phone):
        has_status(page, "Done")
        assert shown(page) == text_of(row) == answer.text


def test_a_tab_that_has_an_answer_joins_a_newer_one_when_it_is_loaded_again(
    site: WebProcess, visit: Visit, openrouter: FakeOpenRouter
) -> None:
    openrouter.reply("the first")
    answer = Answer(openrouter, 2)
    visitor = visit(site.address)
    first, second = visitor.tab(), visitor.tab()
    run(first)
    has_status(first, "Done")
    run(second)
    shows(second, answer.up_to(0))
    assert shown(first) == "the first"  # what somebody reads is not taken away
    first.reload()
    shows(first, answer.up_to(0))
    expect(first.locator(".openrouter-earlier summary")).to_contain_text("Done")
    answer.open(1)
    for page in (first, second):
        has_status(page, "Done")
        assert shown(page) == answer.text


def test_each_tab_keeps_its_own_unfinished_answer(
    site: WebProcess, visit: Visit, openrouter: FakeOpenRouter, database: SqliteFile
) -> None:
    visitor = visit(site.address)
    tabs = [visitor.tab(), visitor.tab()]
    answers = []
    for number, page in enumerate(tabs):
        answers.append(gate := Gate())
        openrouter.reply(f"answer {number}", gate, " and its end")
        run(page)
        shows(page, f"answer {number}")
    for number, page in enumerate(tabs):
        page.reload()
        shows(page, f"answer {number}")
    for number, (page, gate) in enumerate(zip(tabs, answers, strict=True)):
        gate.open()
        has_status(page, "Done")
        assert shown(page) == f"answer {number} and its end"
    assert sorted(map(text_of, database.runs())) == ["answer 0 and its end", "answer 1 and its end"]


def test_stop_from_the_other_tab(
    site: WebProcess, visit: Visit, openrouter: FakeOpenRouter, database: SqliteFile
) -> None:
    answer = Answer(openrouter, 3)
    visitor = visit(site.address)
    first = visitor.tab()
    run(first)
    openrouter.wait_until(lambda: openrouter.active)  # a tab that opens before there is a run joins none
    second = visitor.tab()
    answer.open(1)
    for page in (first, second):
        shows(page, answer.up_to(1))
    second.get_by_role("button", name="Stop").click()
    for page in (first, second):
        has_status(page, "Stopped")
        expect(page.get_by_role("button", name="Run")).to_have_attribute("aria-disabled", "false")
    row = only_row(first, database, "stopped")
    assert shown(first) == shown(second) == text_of(row) == answer.up_to(1)
    openrouter.wait_until(lambda: openrouter.closed_early)


@pytest.mark.parametrize("break_it", ["refuse", "half_open"])
def test_a_network_that_breaks_and_comes_back(
    site: WebProcess, visit: Visit, openrouter: FakeOpenRouter, database: SqliteFile, break_it: str
) -> None:
    """Loudly, or without a word: then only the heartbeat tells."""
    answer = Answer(openrouter, 3)
    with network(site.port) as between:
        page = visit(between.address).tab()
        run(page)
        shows(page, answer.up_to(0))
        getattr(between, break_it)()
        expect(banner(page)).to_contain_text("This page connects again by itself")
        if break_it == "refuse":
            shoot(page, "durable-reconnecting")
        answer.open(1)
        page.wait_for_timeout(500)
        assert shown(page) == answer.up_to(0)
        between.heal()
        shows(page, answer.up_to(1))
        expect(banner(page)).to_be_hidden()
        answer.open(2)
        has_status(page, "Done")
        assert shown(page) == text_of(only_row(page, database, "done")) == answer.text
        page.close()
    assert asked(openrouter) == 1


def test_a_server_that_restarts_lets_the_answer_end_first(
    site: WebProcess, visit: Visit, openrouter: FakeOpenRouter, database: SqliteFile
) -> None:
    answer = Answer(openrouter, 2)
    page = visit(site.address).tab()
    run(page)
    shows(page, answer.up_to(0))
    site.send(signal.SIGTERM)
    expect(banner(page)).to_be_visible()
    assert site.is_running
    answer.open(1)
    until(page, lambda: not site.is_running)
    assert site.exit_code in (0, -signal.SIGTERM)
    site.start()
    has_status(page, "Done")
    expect(banner(page)).to_be_hidden()
    assert shown(page) == text_of(only_row(page, database, "done")) == answer.text
    assert asked(openrouter) == 1


def test_the_next_server_shows_what_the_one_before_it_still_writes(
    site: WebProcess, serve: Serve, visit: Visit, openrouter: FakeOpenRouter, database: SqliteFile
) -> None:
    answer = Answer(openrouter, 3)
    page = visit(site.address).tab()
    run(page)
    shows(page, answer.up_to(0))
    site.send(signal.SIGTERM)
    expect(banner(page)).to_be_visible()
    serve(site.port)
    connected(page)
    answer.open(1)
    shows(page, answer.up_to(1))
    assert site.is_running
    page.reload()
    shows(page, answer.up_to(1))
    answer.open(2)
    has_status(page, "Done")
    assert shown(page) == text_of(only_row(page, database, "done")) == answer.text
    assert asked(openrouter) == 1


def test_a_stop_reaches_the_server_that_is_leaving(
    site: WebProcess, serve: Serve, visit: Visit, openrouter: FakeOpenRouter, database: SqliteFile
) -> None:
    answer = Answer(openrouter, 2)
    page = visit(site.address).tab()
    run(page)
    shows(page, answer.up_to(0))
    site.send(signal.SIGTERM)
    expect(banner(page)).to_be_visible()
    page.get_by_role("button", name="Stop").click()
    has_status(page, "Stopping")
    shoot(page, "durable-stopping")
    serve(site.port)
    has_status(page, "Stopped")
    assert shown(page) == text_of(only_row(page, database, "stopped")) == answer.up_to(0)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_an_answer_that_was_cut_short_says_so_and_is_tried_again(
    serve: Serve, visit: Visit, openrouter: FakeOpenRouter, database: SqliteFile, how: signal.Signals
) -> None:
    """Killed, or asked to leave with less patience than the answer needs."""
    site = serve(DRAIN_TIMEOUT=0.2)
    answer = Answer(openrouter, 2)
    visitor = visit(site.address)
    page, other = visitor.tab(), None
    page.get_by_label("Max num").fill("77")
    run(page)
    begins(page, "0.0 0.1 ")  # what came last may not be in the log yet
    other = visitor.tab()
    site.send(how)
    until(page, lambda: not site.is_running)
    expect(banner(page)).to_be_visible()
    site.start()
    row = only_row(page, database, "interrupted")
    assert answer.text.startswith(text_of(row))
    for tab in (page, other):
        has_status(tab, "Interrupted")
        assert shown(tab) == text_of(row)
        problem = tab.get_by_role("alert").filter(has_text="in mid-answer")
        expect(problem).to_contain_text("stands above")
    if how is signal.SIGKILL:
        shoot(page, "durable-interrupted")
    page.reload()
    shows(page, text_of(row))
    openrouter.reply("Now it is whole.")
    page.get_by_role("button", name="Try again").click()
    has_status(page, "Done")
    assert shown(page) == "Now it is whole."
    expect(page.locator(".openrouter-earlier summary")).to_contain_text("77")
    assert {row.status for row in database.runs()} == {"interrupted", "done"}
    assert database.query("SELECT DISTINCT input FROM openrouter_app_run") == [('{"max_num":"77"}',)]
    assert asked(openrouter) == 2
    openrouter.clear()


JOKE = {"setup": "Why did the bear " + "really " * 40 + "cross?", "punchline": "Who " + "knows " * 20 + "it."}


def card(page: Page) -> dict[str, str]:
    """The fields of the tool call on the page."""
    members = page.locator("[data-target=current] .openrouter-member")
    pairs = members.evaluate_all(
        "(all) => all.map((one) => [...one.children].map((part) => part.textContent))"
    )
    return dict(pairs)


def is_growing(page: Page) -> None:
    """Wait until some of the setup is there."""
    until(page, lambda: "really really" in card(page).get("setup", ""))


def test_a_tool_call_fills_in_across_reloads_and_tabs(
    site: WebProcess, visit: Visit, openrouter: FakeOpenRouter, database: SqliteFile
) -> None:
    openrouter.reply(ToolCallScript("joke", JOKE), delay=0.05)
    visitor = visit(site.address)
    first = visitor.tab("joke")
    run(first)
    is_growing(first)
    second = visitor.tab("joke")
    first.reload()
    for page in (first, second):
        is_growing(page)
        assert set(card(page)) == {"setup"}
    row = only_row(first, database, "done")
    for page in (first, second):
        has_status(page, "Done")
        assert card(page) == row.parts[-1]["arguments"] == JOKE
    assert asked(openrouter) == 1


def test_a_tool_call_that_was_cut_short_keeps_what_came(
    site: WebProcess, visit: Visit, openrouter: FakeOpenRouter, database: SqliteFile
) -> None:
    openrouter.reply(ToolCallScript("joke", JOKE), delay=0.05)
    page = visit(site.address).tab("joke")
    run(page)
    is_growing(page)
    site.kill()
    site.start()
    row = only_row(page, database, "interrupted")
    has_status(page, "Interrupted")
    expect(page.locator(".openrouter-card .openrouter-status")).to_have_text("Cancelled")
    assert card(page) == row.parts[-1]["arguments"]
    assert JOKE["setup"].startswith(card(page)["setup"])
    shoot(page, "durable-interrupted-call")
    openrouter.clear()


def test_a_full_server_keeps_the_text_and_lets_one_ask_again(
    serve: Serve, visit: Visit, openrouter: FakeOpenRouter
) -> None:
    site = serve(MAX_RUNS=1, MAX_QUEUED_RUNS=1)
    answer = Answer(openrouter, 2)
    pages = [visit(site.address).tab() for _ in range(3)]
    run(pages[0])
    shows(pages[0], answer.up_to(0))
    run(pages[1])
    has_status(pages[1], "Waiting for its turn")
    shoot(pages[1], "durable-queued")
    pages[2].get_by_label("Max num").fill("12")
    run(pages[2])
    alert = pages[2].get_by_role("alert").filter(has_text="Too many answers are being written")
    expect(alert).to_be_visible()
    shoot(pages[2], "durable-busy")
    expect(pages[2].get_by_label("Max num")).to_have_value("12")
    openrouter.reply("second")
    openrouter.reply("third")
    answer.open(1)
    has_status(pages[1], "Done")
    assert shown(pages[1]) == "second"
    run(pages[2])
    has_status(pages[2], "Done")
    assert shown(pages[2]) == "third"
    expect(alert).to_be_hidden()


def test_a_wait_that_took_too_long_offers_another_try(
    serve: Serve, visit: Visit, openrouter: FakeOpenRouter
) -> None:
    site = serve(MAX_RUNS=1, QUEUE_TIMEOUT=0.5)
    answer = Answer(openrouter, 2)
    first, second = (visit(site.address).tab() for _ in range(2))
    run(first)
    shows(first, answer.up_to(0))
    run(second)
    has_status(second, "Failed")
    expect(second.get_by_role("alert").filter(has_text="Too many answers")).to_contain_text("one click")
    shoot(second, "durable-waited-in-vain")
    answer.open(1)
    has_status(first, "Done")
    openrouter.reply("At last.")
    second.get_by_role("button", name="Try again").click()
    has_status(second, "Done")
    assert shown(second) == "At last."


def test_a_visitor_with_too_many_runs_is_told_so(
    serve: Serve, visit: Visit, openrouter: FakeOpenRouter, database: SqliteFile
) -> None:
    site = serve(MAX_RUNS_PER_USER=1)
    answer = Answer(openrouter, 2)
    visitor = visit(site.address)
    first = visitor.tab()
    run(first)
    shows(first, answer.up_to(0))
    other = visitor.tab("joke")
    run(other)
    expect(other.get_by_role("alert").filter(has_text="You already have a run.")).to_be_visible()
    shoot(other, "durable-limit")
    answer.open(1)
    has_status(first, "Done")
    assert len(database.runs()) == 1
