"""The chat at the demo's own server, with its simulation and its tools that act: the whole way."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, WebSocketRoute, expect

from .accessible import problems as found_by_axe
from .visitors import shoot

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

LIMIT = 30_000


@pytest.fixture
def page(visitor: BrowserContext) -> Iterator[Page]:
    """The chat's page. Where a test leaves it, a reload must find what stands there."""
    page = opened(visitor)
    yield page
    if page.locator(".openrouter-message").count():
        expect(page.locator(".openrouter-reply.is-live")).to_have_count(0, timeout=LIMIT)
        left = at_rest(page)
        page.reload()
        expect(page.locator(".openrouter-reply")).to_have_count(left.replies)
        with suppress(AssertionError):
            until(page, lambda: read(page) == left)
        assert read(page) == left  # says what differs


def opened(visitor: BrowserContext, path: str = "/chains/chat/") -> Page:
    page = visitor.new_page()
    page.goto(path)
    expect(page.locator("[data-target=connection]")).to_have_attribute("data-status", "ready", timeout=LIMIT)
    return page


def field(page: Page) -> Locator:
    return page.get_by_role("textbox", name="Message", exact=True)


def ask(page: Page, words: str) -> None:
    field(page).fill(words)
    field(page).press("Enter")


def status(page: Page, words: str) -> None:
    expect(page.locator("[data-target=status]")).to_have_text(words, timeout=LIMIT)


def shown(page: Page) -> str:
    """All that stands in the thread, without what comes and goes."""
    parts = page.locator(".openrouter-question__text, .openrouter-parts")
    return "\n".join(re.sub(r"\s+", " ", words).strip() for words in parts.all_text_contents())


class Read(NamedTuple):
    """All that somebody reads in the thread who unfolds everything."""

    replies: int
    messages: list[str]
    cards: list[str]


def read(page: Page) -> Read:
    page.evaluate(
        """() => {
          for (const fold of document.querySelectorAll("details")) fold.open = true;
          // what is out of sight and not laid out reads as nothing
          for (const one of document.querySelectorAll(".openrouter-thread, .openrouter-thread *"))
            one.style.contentVisibility = "visible";
        }"""
    )
    texts = [
        [re.sub(r"\s+", " ", words).strip() for words in page.locator(selector).all_inner_texts()]
        for selector in (".openrouter-message", ".openrouter-card")
    ]
    return Read(page.locator(".openrouter-reply").count(), *texts)


def at_rest(page: Page) -> Read:
    """What stands there once nothing comes any more: last words are painted after an answer's end."""
    before, now = None, read(page)
    while before != now:
        page.wait_for_timeout(500)
        before, now = now, read(page)
    return now


def until(page: Page, happened: Callable[[], object]) -> None:
    deadline = time.monotonic() + LIMIT / 1000
    while not happened():
        assert time.monotonic() < deadline, shown(page)
        page.wait_for_timeout(50)


def test_orders_are_found_and_the_page_shows_the_same_later(page: Page) -> None:
    page.get_by_role("button", name=re.compile("^Which orders")).click()
    page.keyboard.press("Enter")
    card = page.get_by_role("group", name="Tool call: find_orders")
    expect(card.first).to_contain_text("Done", timeout=LIMIT)
    status(page, "Answer complete.")
    expect(page.locator(".openrouter-markdown table")).to_be_visible()
    expect(page).to_have_url(re.compile(r"/conversations/[0-9a-f-]{36}/$"))
    expect(page.locator(".openrouter-usage")).to_contain_text("openai/gpt-4o-mini")
    expect(page.locator(".openrouter-usage")).to_contain_text("version 1")
    live = shown(page)
    assert found_by_axe(page) == []
    page.reload()
    expect(page.locator(".openrouter-reply")).to_have_count(1)
    until(page, lambda: shown(page) == live)


def test_a_delivery_is_moved_once_another_tab_has_allowed_it(page: Page, visitor: BrowserContext) -> None:
    ask(page, "Please move order 1003 to 2030-12-24")
    status(page, "Waiting for a decision.")
    assert found_by_axe(page) == []
    other = opened(visitor, page.url)
    approve = other.get_by_role("button", name="Approve")
    expect(approve).to_be_visible()
    approve.click()
    for tab in (page, other):
        status(tab, "Answer complete.")
        expect(tab.get_by_role("group", name="Tool call: change_delivery_date")).to_contain_text("Done")
        expect(tab.locator(".openrouter-answer")).to_contain_text("2030-12-24")
    assert shown(page) == shown(other)


def test_screenshots_of_orders_that_were_found(page: Page) -> None:
    ask(page, "Which orders of Ada and Grace are on their way?")
    status(page, "Answer complete.")
    expect(page.locator(".openrouter-markdown table")).to_be_visible()
    shoot(page, "chat-demo-orders")


def test_screenshots_of_a_delivery_that_waits_for_approval(page: Page) -> None:
    ask(page, "Please move order 1003 to 2030-12-24")
    status(page, "Waiting for a decision.")
    expect(page.get_by_role("button", name="Approve")).to_be_visible()
    shoot(page, "chat-demo-approval")
    page.get_by_role("button", name="Stop").click()
    status(page, "Stopped.")


def test_a_denial_with_its_reason_reaches_the_model(page: Page) -> None:
    ask(page, "Please move order 1003 to 2031-01-07")
    status(page, "Waiting for a decision.")
    page.get_by_label("Reason").fill("She is away in January")
    page.get_by_role("button", name="Deny").click()
    status(page, "Answer complete.")
    card = page.get_by_role("group", name="Tool call: change_delivery_date")
    expect(card).to_contain_text("Denied")
    expect(card).to_contain_text("She is away in January")
    expect(page.locator(".openrouter-answer")).to_contain_text("leave order 1003 as it is")


def test_two_tabs_write_at_once_and_nothing_is_lost(page: Page, visitor: BrowserContext) -> None:
    ask(page, "Hello")
    status(page, "Answer complete.")
    other = opened(visitor, page.url)
    for tab, words in ((page, "Which orders of Ada are there?"), (other, "Which orders of Grace are there?")):
        field(tab).fill(words)
    field(page).press("Enter")
    field(other).press("Enter")
    for tab in (page, other):
        until(tab, lambda tab=tab: tab.locator(".openrouter-reply").count() == 3)
        status(tab, "Answer complete.")
    questions = page.locator(".openrouter-question__text").all_text_contents()
    assert sorted(questions) == [
        "Hello",
        "Which orders of Ada are there?",
        "Which orders of Grace are there?",
    ]
    until(page, lambda: shown(page) == shown(other))


def test_a_reload_amid_an_answer_goes_on(page: Page) -> None:
    ask(page, "Which orders of Ada and Grace are on their way?")
    expect(page).to_have_url(re.compile(r"/conversations/"), timeout=LIMIT)
    page.reload()
    status(page, "Answer complete.")
    expect(page.locator(".openrouter-question")).to_have_count(1)
    expect(page.locator(".openrouter-reply")).to_have_count(1)


def test_versions_of_question_and_answer(page: Page) -> None:
    ask(page, "Hello")
    status(page, "Answer complete.")
    page.get_by_role("button", name="Answer again").click()
    expect(page.get_by_text("2 / 2")).to_be_visible()
    status(page, "Answer complete.")
    page.locator(".openrouter-question").hover()
    page.get_by_role("button", name="Edit message").click()
    page.get_by_label("Changed message").fill("Which orders of Ada are there?")
    page.keyboard.press("Enter")
    expect(page.get_by_role("group", name="Tool call: find_orders")).to_contain_text("Done", timeout=LIMIT)
    status(page, "Answer complete.")
    expect(page.locator(".openrouter-question").get_by_text("2 / 2")).to_be_visible()
    page.locator(".openrouter-question").get_by_role("button", name="Previous version").click()
    expect(page.locator(".openrouter-question__text")).to_have_text(["Hello"])
    expect(page.locator(".openrouter-reply").get_by_text("2 / 2")).to_be_visible()
    page.reload()
    expect(page.locator(".openrouter-question__text")).to_have_text(["Hello"])


def test_an_edit_of_what_was_just_sent_keeps_what_was_said_before(page: Page) -> None:
    for words in ("Hello one", "Hello two"):
        ask(page, words)
        expect(page.locator(".openrouter-question__text").last).to_have_text(words)
        expect(page.locator(".openrouter-reply.is-live")).to_have_count(0, timeout=LIMIT)
    page.locator(".openrouter-question").last.hover()
    page.get_by_role("button", name="Edit message").last.click()
    page.get_by_label("Changed message").fill("Hello three")
    page.keyboard.press("Enter")
    expect(page.locator(".openrouter-question__text")).to_have_text(["Hello one", "Hello three"])
    expect(page.locator(".openrouter-question").last.get_by_text("2 / 2")).to_be_visible(timeout=LIMIT)
    expect(page.locator(".openrouter-reply.is-live")).to_have_count(0, timeout=LIMIT)
    live = shown(page)
    page.reload()
    expect(page.locator(".openrouter-reply")).to_have_count(2)
    until(page, lambda: shown(page) == live)


def test_what_another_tab_said_meanwhile_is_not_missing(visitor: BrowserContext, page: Page) -> None:
    """The first tab loses its socket; both write before it is there again."""
    ask(page, "Hello")
    status(page, "Answer complete.")
    other = opened(visitor, page.url)
    away = visitor.new_page()
    sockets: list[WebSocketRoute] = []

    def through(socket: WebSocketRoute) -> None:
        sockets.append(socket)
        if len(sockets) == 1 or back:
            socket.connect_to_server()
        else:
            socket.close(code=1012)

    back: list[bool] = []
    away.route_web_socket("**/ws/openrouter/**", through)
    away.goto(page.url)
    expect(away.locator("[data-target=connection]")).to_have_attribute("data-status", "ready", timeout=LIMIT)
    sockets[0].close(code=1012)
    expect(away.locator("[data-target=banner]")).to_be_visible(timeout=LIMIT)
    ask(other, "From P")
    expect(other.locator(".openrouter-reply")).to_have_count(2)
    expect(other.locator(".openrouter-reply.is-live")).to_have_count(0, timeout=LIMIT)
    status(other, "Answer complete.")
    ask(away, "From Q")
    expect(away.locator(".openrouter-question__text")).to_have_text(["Hello", "From Q"])
    back.append(True)
    for tab in (away, other, page):
        expect(tab.locator(".openrouter-question__text")).to_have_text(
            ["Hello", "From P", "From Q"], timeout=LIMIT
        )
        expect(tab.locator(".openrouter-reply.is-live")).to_have_count(0, timeout=LIMIT)
    until(page, lambda: shown(page) == shown(away) == shown(other))


def test_a_stop_keeps_what_was_said(page: Page) -> None:
    ask(page, "Which orders of Ada and Grace are on their way?")
    expect(page.locator(".openrouter-reply")).to_have_count(1)
    page.keyboard.press("Escape")
    status(page, "Stopped.")
    expect(page.get_by_role("button", name="Stop")).to_be_hidden()


def test_the_list_names_renames_exports_and_deletes(page: Page) -> None:
    ask(page, "Hello there, shop")
    status(page, "Answer complete.")
    link = page.get_by_role("link", name="Hello there, shop")
    expect(link).to_have_attribute("aria-current", "page", timeout=LIMIT)
    page.get_by_role("button", name="More for “Hello there, shop”").focus()
    page.keyboard.press("Enter")
    with page.expect_download() as download:
        page.get_by_role("link", name="Export as JSON").click()
    assert "Hello there, shop" in json.dumps(
        json.loads(download.value.path().read_text()), ensure_ascii=False
    )
    page.get_by_role("button", name="Rename").click()
    page.get_by_label("Title").fill("Greetings")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=2)).to_have_text("Greetings")
    page.reload()
    expect(page.get_by_role("heading", level=2)).to_have_text("Greetings")
    page.get_by_label("Search conversations").fill("shop")
    expect(page.get_by_role("link", name="Greetings")).to_be_visible()
    page.get_by_role("button", name="More for “Greetings”").focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Delete it").click()
    expect(page.get_by_role("link", name="Greetings")).to_have_count(0)
    expect(page).to_have_url(re.compile("/chains/chat/$"))


def test_a_draft_is_gone_after_a_sign_out(page: Page) -> None:
    page.goto("/admin/login/?next=/chains/chat/")
    page.locator("[name=username]").fill("demo")
    page.locator("[name=password]").fill("demo")
    page.locator("[type=submit]").click()
    field(page).fill("half a secret")
    page.reload()
    expect(field(page)).to_have_value("half a secret")
    page.goto("/admin/")
    page.locator("#logout-form button").click()
    page.goto("/chains/chat/")
    expect(page.locator("[data-target=connection]")).to_have_attribute("data-status", "ready", timeout=LIMIT)
    expect(field(page)).to_have_value("")
    token = "JSON.parse(document.querySelector('[data-config]').textContent).owner"
    assert re.fullmatch("[0-9a-f]{16}", page.evaluate(token))


def test_another_model_answers(page: Page) -> None:
    page.get_by_label("Model").select_option("mistralai/mistral-small")
    ask(page, "Hello")
    status(page, "Answer complete.")
    expect(page.locator(".openrouter-usage")).to_contain_text("mistralai/mistral-small")


def test_without_a_script_an_answer_comes(browser: Browser, demo: str) -> None:
    context = browser.new_context(base_url=demo, java_script_enabled=False)
    try:
        page = context.new_page()
        page.goto("/chains/chat/")
        page.get_by_role("textbox", name="Message").fill("Which orders of Ada are there?")
        page.get_by_role("button", name="Send").click()
        expect(page).to_have_url(
            re.compile(r"/conversations/[0-9a-f-]{36}/#message-[0-9a-f-]{36}$"), timeout=LIMIT
        )
        expect(page.locator(".openrouter-question__text")).to_have_text(["Which orders of Ada are there?"])
        expect(page.locator(".openrouter-card__name")).to_have_text("find_orders")
        expect(page.locator(".openrouter-markdown").first).to_be_visible()
    finally:
        context.close()
