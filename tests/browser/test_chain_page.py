"""A chain's page as it is shipped, template and all, talking to a server that this test plays.

The whole way, with a real server behind the socket, is another module's business.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from django.template.loader import render_to_string
from django.utils import translation
from playwright.sync_api import Browser, Page, WebSocketRoute, expect

from openrouter_app.pages.fields import Field
from project.csp import POLICY

from .conftest import blank_page

pytestmark = pytest.mark.browser

FIELDS = [Field("foo", "bears", required=True), Field("note", "", required=False)]


class Server:
    """Greets each socket of the page, keeps what it says, and says what the test wants said."""

    def __init__(self, page: Page) -> None:
        self.sockets: list[WebSocketRoute] = []
        self.heard: list[dict[str, Any]] = []
        self.protocol = 1
        self.silent = False
        self.seq = 0
        page.route_web_socket("**/ws/openrouter/", self._greet)

    def _greet(self, socket: WebSocketRoute) -> None:
        self.sockets.append(socket)
        socket.on_message(lambda text: self.heard.append(json.loads(text)))
        if self.silent:
            return
        self.say(type="hello", protocol=self.protocol, heartbeat=20, max_frame=65_536, features=[])

    def say(self, **frame: Any) -> None:
        self.sockets[-1].send(json.dumps(frame))

    def said(self, kind: str) -> list[dict[str, Any]]:
        return [frame for frame in self.heard if frame["type"] == kind]

    def accept(self, run: str = "R", **state: Any) -> None:
        start = self.said("run.start")[-1]
        self.say(type="run.accepted", id=start["id"], run=run, conversation=None)
        self.snapshot(run, input=start["input"], **state)

    def snapshot(self, run: str = "R", **state: Any) -> None:
        self.seq = 0
        self.say(
            type="run.snapshot",
            run=run,
            seq=0,
            state={"status": "queued", "version": 3, "parts": [], **state},
        )

    def tell(self, *events: dict[str, Any], run: str = "R") -> None:
        after, self.seq = self.seq, self.seq + len(events)
        self.say(type="run.events", run=run, after=after, seq=self.seq, events=list(events))


@pytest.fixture
def page(browser: Browser, static_server: str) -> Iterator[Page]:
    with blank_page(browser, static_server) as page:
        page.set_default_timeout(10_000)
        offer(page, None)
        yield page


def offer(page: Page, unfinished: str | None) -> None:
    """What the page is from its next load on: with a run of this visitor that it may join, or without."""
    chain = SimpleNamespace(slug="joke", title="Joke", description="Tells one.", pk=1)
    config = {"chain": "joke", "socket": "/ws/openrouter/", "unfinished": unfinished}
    context = {"chain": chain, "fields": FIELDS, "config": config}
    with translation.override("en"):  # whatever a test before this one asked a view for
        html = render_to_string("openrouter_app/chain.html", context)
    headers = {"Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": POLICY}
    page.route("**/chains/joke/", lambda route: route.fulfill(body=html, headers=headers))


@pytest.fixture
def server(page: Page, static_server: str) -> Server:
    """The server's end of the page, which is open and greeted."""
    server = Server(page)
    page.goto(f"{static_server}/chains/joke/")
    expect(page.locator("[data-target=connection]")).to_have_text("Connected")
    return server


TEXT = {"type": "text", "part": 0, "delta": "Why not?"}
DONE = {"type": "finished", "reason": "stop"}


def run(page: Page, server: Server, name: str = "R") -> None:
    """Press Run and let the server accept it."""
    before = len(server.said("run.start"))
    page.get_by_role("button", name="Run").click()
    wait_for(page, lambda: len(server.said("run.start")) > before)
    server.accept(name)
    server.tell({"type": "started", "chain": "joke", "version": 3}, run=name)


def wait_for(page: Page, happened: Any) -> None:
    for _ in range(200):
        if happened():
            return
        page.wait_for_timeout(25)
    raise AssertionError("It did not happen.")


def test_a_run_from_the_first_word_to_the_last(page: Page, server: Server) -> None:
    status = page.locator("[data-target=status]")
    expect(page.get_by_text("Your answer appears here")).to_be_visible()
    run(page, server)
    assert server.said("run.start")[0]["input"] == {"foo": "bears", "note": ""}
    expect(status).to_have_text("Answering…")
    expect(page.get_by_role("button", name="Run")).to_have_attribute("aria-disabled", "true")
    expect(page.get_by_role("log")).to_have_attribute("aria-busy", "true")
    server.tell(TEXT)
    expect(page.get_by_role("log")).to_have_text("Why not?")
    usage = {"prompt_tokens": 3, "completion_tokens": 1200, "cost": "0.0000312", "estimated": True}
    server.tell({"type": "usage", **usage, "model": "a/b", "provider": "P", "ms": 1840}, DONE)
    expect(status).to_have_text("Answer complete.")
    expect(page.get_by_role("log")).to_have_attribute("aria-busy", "false")
    facts = page.locator(".openrouter-usage > span").all_text_contents()
    assert [fact.split(": ")[-1] for fact in facts] == [
        "a/b",
        "P",
        "3 → 1,200 tokens",
        "about $0.0000312",
        "1.8s",
        "version 3",
    ]
    expect(page.get_by_role("button", name="Run")).to_have_attribute("aria-disabled", "false")
    expect(page.get_by_text("Your answer appears here")).to_be_hidden()


def test_the_keyboard_runs_and_stops(page: Page, server: Server) -> None:
    page.get_by_label("Foo").fill("cats")
    page.keyboard.press("Enter")
    page.keyboard.press("Control+Enter")
    wait_for(page, lambda: server.said("run.start"))
    assert server.said("run.start")[0]["input"] == {"foo": "cats\n", "note": ""}
    server.accept()
    page.keyboard.press("Control+Enter")
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    wait_for(page, lambda: server.said("run.stop"))
    expect(page.locator("[data-target=status]")).to_have_text("Stopping…")
    server.tell({"type": "stopped", "by": "user"})
    expect(page.locator("[data-target=status]")).to_have_text("Stopped.")
    assert [frame["type"] for frame in server.heard] == ["run.start", "run.stop"]
    expect(page.get_by_label("Foo")).to_be_focused()


def test_the_focus_stays_where_it_is(page: Page, server: Server) -> None:
    button = page.get_by_role("button", name="Run")
    button.focus()
    page.keyboard.press("Enter")
    wait_for(page, lambda: server.said("run.start"))
    server.accept()
    server.tell(TEXT, {"type": "failed", "code": "timeout", "message": "Too slow.", "retryable": True})
    expect(page.locator(".openrouter-problem")).to_contain_text("Too slow.")
    expect(button).to_be_focused()


def test_an_empty_field_is_told_of_and_nothing_is_sent(page: Page, server: Server) -> None:
    field = page.get_by_label("Foo")
    field.fill(" ")
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_text("Fill in this field.")).to_be_visible()
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_be_focused()
    assert server.heard == []
    field.fill("bears")
    expect(page.get_by_text("Fill in this field.")).to_be_hidden()


def test_a_refusal_stands_beside_its_field(page: Page, server: Server) -> None:
    page.get_by_role("button", name="Run").click()
    wait_for(page, lambda: server.said("run.start"))
    refused = {"code": "invalid_input", "message": "No bears here.", "details": {"variables": ["foo"]}}
    server.say(type="error", id=server.heard[0]["id"], **refused)
    expect(page.locator("#openrouter-field-1-error")).to_have_text("No bears here.")
    expect(page.get_by_label("Foo")).to_have_value("bears")
    expect(page.get_by_text("Your answer appears here")).to_be_visible()
    run(page, server)
    expect(page.locator("#openrouter-field-1-error")).to_be_hidden()
    assert server.said("run.start")[0]["id"] != server.said("run.start")[1]["id"]


def test_a_refusal_leaves_the_answer_before_it(page: Page, server: Server) -> None:
    run(page, server)
    server.tell(TEXT, DONE)
    expect(page.locator("[data-target=status]")).to_have_text("Answer complete.")
    page.get_by_role("button", name="Run").click()
    expect(page.locator("[data-target=current] .openrouter-status")).to_have_text("Sending")
    wait_for(page, lambda: len(server.said("run.start")) == 2)
    server.say(type="error", id=server.said("run.start")[1]["id"], code="limit", message="Too many.")
    expect(page.get_by_role("alert").filter(has_text="Too many.")).to_be_visible()
    expect(page.locator("[data-target=current]")).to_contain_text("Why not?")
    expect(page.get_by_text("Earlier answers")).to_be_hidden()


def test_a_refusal_without_a_field_stands_above_the_button(page: Page, server: Server) -> None:
    page.get_by_role("button", name="Run").click()
    wait_for(page, lambda: server.said("run.start"))
    server.say(type="error", id=server.heard[0]["id"], code="unpublished", message="Not published.")
    expect(page.get_by_role("alert").filter(has_text="Not published.")).to_be_visible()


def test_a_failure_says_what_to_do_and_tries_again(page: Page, server: Server) -> None:
    run(page, server)
    page.get_by_label("Foo").fill("cats")
    server.tell(
        TEXT, {"type": "failed", "code": "provider", "message": "The model broke.", "retryable": True}
    )
    expect(page.get_by_role("alert").filter(has_text="The model broke.")).to_contain_text(
        "Trying again may help."
    )
    page.get_by_role("button", name="Try again").click()
    wait_for(page, lambda: len(server.said("run.start")) == 2)
    first, second = server.said("run.start")
    assert first["input"] == second["input"] == {"foo": "bears", "note": ""}
    assert first["id"] != second["id"]
    server.accept("S")
    expect(page.locator(".openrouter-earlier summary")).to_have_text(re.compile("bears.*Failed"))


def test_an_answer_too_long_for_the_account_is_asked_for_again_as_long_as_it_can_pay(
    page: Page, server: Server
) -> None:
    run(page, server)
    failed = {"type": "failed", "code": "credit", "message": "Not enough credit.", "retryable": False}
    server.tell({**failed, "details": {"affordable_tokens": 1512}})
    expect(page.get_by_role("button", name="Try again")).to_have_count(0)
    page.get_by_role("button", name="Ask for a shorter answer (1,512 tokens at most)").click()
    wait_for(page, lambda: len(server.said("run.start")) == 2)
    first, second = server.said("run.start")
    assert (second["input"], second["options"]) == (first["input"], {"max_tokens": 1512})
    page.reload()  # before the server has answered: it is said again as it was
    wait_for(page, lambda: len(server.said("run.start")) == 3)
    again = server.said("run.start")[-1]
    assert (again["id"], again["options"]) == (second["id"], {"max_tokens": 1512})
    server.accept("S")
    server.tell(TEXT, DONE, run="S")
    expect(page.get_by_role("log")).to_have_text("Why not?")


@pytest.mark.parametrize("tokens", [0, -1, 1.5, "512", None, {}])
def test_what_is_no_number_of_tokens_is_not_offered(page: Page, server: Server, tokens: Any) -> None:
    run(page, server)
    failed = {"type": "failed", "code": "credit", "message": "Not enough credit.", "retryable": False}
    server.tell({**failed, "details": {"affordable_tokens": tokens}})
    expect(page.locator(".openrouter-problem")).to_contain_text("Not enough credit.")
    expect(page.locator(".openrouter-problem button")).to_have_count(0)


def test_earlier_answers_stay_folded(page: Page, server: Server) -> None:
    for number, name in enumerate("RST"):
        page.get_by_label("Foo").fill(f"animal {number}")
        run(page, server, name)
        server.tell({**TEXT, "delta": f"answer {number}"}, DONE, run=name)
        expect(page.locator("[data-target=current]")).to_contain_text(f"answer {number}")
    summaries = page.locator(".openrouter-earlier summary .openrouter-earlier__asked")
    expect(summaries).to_have_text(["animal 1", "animal 0"])
    expect(page.get_by_text("answer 0")).to_be_hidden()
    summaries.last.click()
    expect(page.get_by_text("answer 0")).to_be_visible()


def test_a_reload_follows_the_run(page: Page, server: Server) -> None:
    run(page, server)
    page.get_by_label("Note").fill("a draft")
    page.reload()
    wait_for(page, lambda: server.said("run.follow"))
    assert server.said("run.follow") == [{"type": "run.follow", "run": "R"}]
    server.snapshot(status="running", parts=[{"type": "text", "text": "half"}])
    expect(page.get_by_role("log")).to_have_text("half")
    expect(page.get_by_role("button", name="Run")).to_have_attribute("aria-disabled", "true")
    expect(page.get_by_label("Note")).to_have_value("a draft")
    assert len(server.said("run.start")) == 1


def test_a_reload_before_the_answer_says_the_start_again(page: Page, server: Server) -> None:
    page.get_by_role("button", name="Run").click()
    wait_for(page, lambda: server.said("run.start"))
    page.reload()
    wait_for(page, lambda: len(server.said("run.start")) == 2)
    first, second = server.said("run.start")
    assert first == second


def test_a_run_stopped_before_it_was_sent_is_not_started_by_a_reload(page: Page, server: Server) -> None:
    server.silent = True
    server.sockets[-1].close(code=1012)
    wait_for(page, lambda: len(server.sockets) == 2)
    page.get_by_role("button", name="Run").click()
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("[data-target=current]")).to_contain_text("Stopped")
    server.silent = False
    page.reload()
    wait_for(page, lambda: len(server.sockets) == 3)
    expect(page.get_by_role("button", name="Run")).to_have_attribute("aria-disabled", "false")
    page.wait_for_timeout(300)
    assert server.said("run.start") == []


def test_a_stop_before_the_answer_is_said_after_a_reload(page: Page, server: Server) -> None:
    page.get_by_role("button", name="Run").click()
    wait_for(page, lambda: server.said("run.start"))
    page.get_by_role("button", name="Stop").click()
    page.reload()
    wait_for(page, lambda: len(server.said("run.start")) == 2)
    server.accept("R")
    wait_for(page, lambda: server.said("run.stop"))
    assert server.said("run.stop") == [{"type": "run.stop", "run": "R"}]


def test_a_stop_while_the_connection_was_away_is_said_after_a_reload(page: Page, server: Server) -> None:
    run(page, server)
    server.silent = True
    server.sockets[-1].close(code=1012)
    page.get_by_role("button", name="Stop").click()
    server.silent = False
    page.reload()
    wait_for(page, lambda: server.said("run.stop"))
    assert server.said("run.follow")[-1] == {"type": "run.follow", "run": "R"}


def test_a_run_that_is_gone_after_a_reload_is_forgotten(page: Page, server: Server) -> None:
    run(page, server)
    page.reload()
    wait_for(page, lambda: server.said("run.follow"))
    server.say(type="error", run="R", code="not_found", message="There is no such run.")
    expect(page.get_by_role("button", name="Run")).to_have_attribute("aria-disabled", "false")
    expect(page.get_by_text("Your answer appears here")).to_be_visible()
    expect(page.get_by_text("There is no such run.")).to_be_hidden()


def test_a_page_with_nothing_of_its_own_joins_what_is_being_written(page: Page, server: Server) -> None:
    offer(page, "S")
    page.reload()
    wait_for(page, lambda: server.said("run.follow"))
    page.get_by_label("Note").fill("mine")
    server.snapshot("S", status="running", input={"foo": "cats"}, parts=[{"type": "text", "text": "half"}])
    expect(page.get_by_role("log")).to_have_text("half")
    expect(page.get_by_label("Foo")).to_have_value("bears")  # somebody has begun to write here
    page.get_by_role("button", name="Stop").click()
    wait_for(page, lambda: server.said("run.stop"))
    offer(page, None)
    page.reload()
    wait_for(page, lambda: len(server.said("run.follow")) == 2)
    server.snapshot("S", status="stopped", parts=[{"type": "text", "text": "half"}])
    expect(page.get_by_role("log")).to_have_text("half")
    assert {frame["run"] for frame in server.said("run.follow")} == {"S"}
    assert server.said("run.start") == []


@pytest.mark.parametrize("meanwhile", ["done", "gone"])
def test_what_the_page_remembers_comes_before_what_it_may_join(
    page: Page, server: Server, meanwhile: str
) -> None:
    run(page, server)
    offer(page, "S")
    page.reload()
    wait_for(page, lambda: server.said("run.follow"))
    server.snapshot(status="running", parts=[])
    page.reload()
    wait_for(page, lambda: len(server.said("run.follow")) == 2)
    if meanwhile == "done":
        server.snapshot(status="done", input={"foo": "bears"}, parts=[{"type": "text", "text": "one"}])
    else:
        server.say(type="error", run="R", code="not_found", message="There is no such run.")
    wait_for(page, lambda: len(server.said("run.follow")) == 3)
    server.snapshot("S", status="running", parts=[{"type": "text", "text": "two"}])
    expect(page.locator("[data-target=current]").get_by_role("log")).to_have_text("two")
    expect(page.locator(".openrouter-earlier summary")).to_have_count(1 if meanwhile == "done" else 0)
    assert [frame["run"] for frame in server.said("run.follow")] == ["R", "R", "S"]


def test_what_the_page_may_join_may_be_gone(page: Page, server: Server) -> None:
    offer(page, "S")
    page.reload()
    wait_for(page, lambda: server.said("run.follow"))
    server.say(type="error", run="S", code="not_found", message="There is no such run.")
    expect(page.get_by_role("button", name="Run")).to_have_attribute("aria-disabled", "false")
    expect(page.get_by_text("Your answer appears here")).to_be_visible()
    run(page, server)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ({"code": "limit", "details": {"retry_after": 20}}, "Try again in 20 seconds."),
        ({"code": "limit", "details": {"retry_after": 0.2}}, "Try again in 1 second."),
        ({"code": "limit", "details": {"retry_after": 150}}, "Try again in 3 minutes."),
        ({"code": "limit", "details": {"retry_after": {}}}, "Trying again may help."),
        ({"code": "limit"}, "Trying again may help."),
        ({"code": "busy"}, "What you asked is kept: one click asks it again."),
        ({"code": "timeout"}, "The model took too long. Try again, or ask for less."),
    ],
)
def test_advice_says_when_to_try_again(page: Page, server: Server, error: dict[str, Any], said: str) -> None:
    run(page, server)
    server.tell({"type": "failed", "message": "Not now.", "retryable": True, **error})
    problem = page.get_by_role("alert").filter(has_text="Not now.")
    expect(problem.locator("p")).to_have_text(["Not now.", said])


@pytest.mark.parametrize(
    ("part", "said"),
    [(TEXT, "What came until then stands above."), ({"type": "step", "part": 0}, "Trying again may help.")],
)
def test_an_interrupted_answer_says_what_is_left_of_it(
    page: Page, server: Server, part: dict[str, Any], said: str
) -> None:
    run(page, server)
    broke_off = {"type": "interrupted", "code": "provider", "message": "It broke off.", "retryable": True}
    server.tell(part, broke_off)
    problem = page.get_by_role("alert").filter(has_text="It broke off.")
    expect(problem.locator("p")).to_have_text(["It broke off.", said])
    expect(problem.get_by_role("button", name="Try again")).to_be_visible()


@pytest.mark.parametrize(
    ("code", "said"),
    [("busy", "Too many answers"), ("limit", "too many runs"), ("news", "That did not work.")],
)
def test_a_refusal_without_words_gets_some(page: Page, server: Server, code: str, said: str) -> None:
    page.get_by_role("button", name="Run").click()
    wait_for(page, lambda: server.said("run.start"))
    server.say(type="error", id=server.heard[0]["id"], code=code, details={"retry_after": 5})
    expect(page.get_by_role("alert").filter(has_text=said)).to_be_visible()
    expect(page.get_by_label("Foo")).to_have_value("bears")


def test_a_break_is_mended_in_the_middle_of_an_answer(page: Page, server: Server) -> None:
    run(page, server)
    server.tell(TEXT)
    expect(page.get_by_role("log")).to_have_text("Why not?")
    server.sockets[-1].close(code=1012)
    expect(page.locator("[data-target=banner]")).to_contain_text("This page connects again by itself")
    wait_for(page, lambda: server.said("run.follow"))
    expect(page.locator("[data-target=banner]")).to_be_hidden()
    server.snapshot(status="done", parts=[{"type": "text", "text": "Why not? Because."}])
    expect(page.get_by_role("log")).to_have_text("Why not? Because.")
    assert len(server.said("run.start")) == 1


@pytest.mark.parametrize(("code", "sentence"), [(1012, "has been updated"), (4401, "signed in or out")])
def test_f37_what_only_a_reload_mends(page: Page, server: Server, code: int, sentence: str) -> None:
    page.get_by_label("Foo").fill("a draft")
    server.protocol = 2
    server.sockets[-1].close(code=code)
    banner = page.locator("[data-target=banner]")
    expect(banner).to_contain_text(sentence)
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_role("alert").filter(has_text=sentence)).to_be_visible()
    assert server.heard == []
    server.protocol = 1
    banner.get_by_role("button", name="Reload the page").click()
    expect(page.locator("[data-target=connection]")).to_have_text("Connected")
    expect(page.get_by_label("Foo")).to_have_value("a draft")


def test_reasoning_is_folded(page: Page, server: Server) -> None:
    run(page, server)
    server.tell({"type": "reasoning", "part": 0, "delta": "Let me see", "ms": 3_200}, {**TEXT, "part": 1})
    expect(page.get_by_text("Thought for 3.2s")).to_be_visible()
    expect(page.get_by_text("Let me see")).to_be_hidden()
    page.get_by_text("Thought for 3.2s").click()
    expect(page.get_by_text("Let me see")).to_be_visible()


@pytest.mark.parametrize("direction", ["ltr", "rtl"])
def test_nothing_is_wider_than_a_narrow_screen(page: Page, server: Server, direction: str) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    page.evaluate("(direction) => { document.documentElement.dir = direction; }", direction)
    word = "Donaudampfschifffahrtsgesellschaft" * 8
    nested: Any = word
    for _ in range(12):
        nested = {word[:40]: [nested]}
    page.get_by_label("Foo").fill(word)
    run(page, server)
    server.tell(
        {"type": "reasoning", "part": 0, "delta": word, "ms": 1},
        {"type": "text", "part": 1, "delta": word},
        {"type": "tool.started", "part": 2, "call": "a", "name": word},
        {"type": "tool.ready", "call": "a", "arguments": {word: nested}},
        {"type": "tool.started", "part": 3, "call": "b", "name": "b"},
        {"type": "tool.invalid", "call": "b", "raw": word, "message": word},
        {"type": "source", "part": 4, "url": f"https://example.org/{word}", "title": word},
        {"type": "usage", "model": word, "provider": word},
        {"type": "failed", "code": "provider", "message": word, "retryable": True},
    )
    expect(page.get_by_role("button", name="Try again")).to_be_visible()
    page.get_by_text("Thought").click()
    wide = page.evaluate(
        """() => [...document.querySelectorAll("main *")].filter((node) => {
          const { left, right } = node.getBoundingClientRect();
          return (left < -1 || right > 361);
        }).map((node) => `${node.tagName}.${node.className}`)"""
    )
    assert wide == []
    assert page.evaluate("document.documentElement.scrollWidth") == 360


TEXTS = ("ink", "muted", "accent", "accent-strong", "danger")
SURFACES = ("paper", "surface")
PAIRS = [(text, on) for text in TEXTS for on in SURFACES] + [
    ("on-accent", "accent"),
    ("on-accent", "accent-strong"),
    ("muted", "sunken"),
    ("ink", "sunken"),
    *[(name, "sunken") for name in ("accent", "accent-strong", "warning", "danger")],  # code
    ("accent-strong", "accent-soft"),
    ("danger", "danger-soft"),
    ("ink", "danger-soft"),
    ("warning", "warning-soft"),
    ("ink", "warning-soft"),
]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_can_be_told_apart(page: Page, server: Server, scheme: Any) -> None:
    """WCAG 2.2 AA: 4.5:1 for text, 3:1 for what one must see to use the page."""
    page.emulate_media(color_scheme=scheme)
    names = {name for pair in PAIRS for name in pair} | {"field-line"}
    colours = page.evaluate(
        """(names) => Object.fromEntries(names.map((name) => {
          const probe = document.createElement("i");
          probe.style.color = `var(--openrouter-${name})`;
          document.body.append(probe);
          return [name, getComputedStyle(probe).color.match(/\\d+/g).map(Number)];
        }))""",
        sorted(names),
    )
    assert len({tuple(colour) for colour in colours.values()}) > 8
    for text, surface in PAIRS:
        assert _contrast(colours[text], colours[surface]) >= 4.5, (text, surface)
    for surface in SURFACES:
        assert _contrast(colours["field-line"], colours[surface]) >= 3, surface


def _contrast(one: list[int], other: list[int]) -> float:
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: list[int]) -> float:
    channels = [value / 255 for value in colour[:3]]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
