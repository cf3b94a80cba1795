"""Where a run lacks an OpenRouter account of one's own: the chat and the chain's page lead to it and back."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
from django.template.loader import render_to_string
from playwright.sync_api import Browser, Locator, Page, WebSocketRoute, expect

from openrouter_app.pages.account import LACKS
from openrouter_app.pages.fields import Field

from .accessible import problems as found_by_axe
from .chatting import HEADERS, Talk, text
from .conftest import STATIC, blank_page
from .pictured import ask, short
from .visitors import shoot

pytestmark = pytest.mark.browser

CONNECT = "Connect your OpenRouter account"
FAILED = {
    "type": "failed",
    "code": "key_rejected",
    "message": "Your key was not accepted.",
    "retryable": False,
}


@pytest.fixture
def talk(talk: Talk) -> Talk:
    """A chat whose chain lets users pay."""
    talk.account = "/account/"
    return talk


def offer(place: Page | Locator) -> Locator:
    return place.get_by_role("link", name=CONNECT)


def comes_back_to(link: Locator, path: str) -> None:
    address = link.evaluate("(a) => a.getAttribute('href')")
    assert address.endswith(f"/account/?next={quote(path, safe='')}")


def test_codes_are_the_same_on_both_sides() -> None:
    source = (STATIC / "openrouter_app/js/account-offer.js").read_text()
    said = source.split("new Set([")[1].split("])")[0]
    assert set(json.loads(f"[{said}]")) == LACKS


def test_refused_message_is_kept_and_the_account_offered(talk: Talk) -> None:
    page = talk.open()
    talk.send("Hello")
    [start] = talk.asked_for("run.start")
    talk.say(
        type="error", id=start["id"], code="needs_key", message="Connect one.", details={"connect": True}
    )
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("Connect one.")
    comes_back_to(offer(alert), "/chains/talk/")
    expect(talk.field).to_have_value("Hello")
    assert found_by_axe(page) == []
    page.reload()
    expect(talk.field).to_have_value("Hello")  # as when one comes back


def test_changed_message_that_was_refused_offers_the_account_too(talk: Talk) -> None:
    page = talk.open(short())
    page.locator(".openrouter-question").hover()
    page.get_by_role("button", name="Edit message").click()
    page.get_by_role("textbox", name="Changed message").fill("Where is it?")
    page.get_by_role("button", name="Send", exact=True).first.click()
    talk.wait_for(lambda: talk.asked_for("run.start"))
    [start] = talk.asked_for("run.start")
    talk.say(type="error", id=start["id"], code="budget", message="Used up.", details={"left": "0"})
    expect(page.get_by_role("textbox", name="Changed message")).to_have_value("Where is it?")
    expect(offer(page)).to_be_visible()


def test_rejected_key_offers_to_connect_again_where_it_was_needed(talk: Talk) -> None:
    conversation = short()
    talk.open(conversation)
    page = ask(talk, "And the bill?")
    talk.tell(text("It is", 1), FAILED)
    problem = talk.answers.last.get_by_role("alert")
    expect(problem).to_contain_text("You can pay for it yourself")
    comes_back_to(offer(problem), f"/conversations/{conversation.id}/")
    assert found_by_axe(page) == []
    shoot(page, "account-rejected-in-chat")


@pytest.mark.parametrize(
    ("code", "link", "advised"),
    [("key_rejected", CONNECT, ""), ("credit", "Your OpenRouter account", "Add credit to it at OpenRouter")],
)
def test_who_pays_already_is_not_told_that_he_can(talk: Talk, code: str, link: str, advised: str) -> None:
    talk.open(short())
    ask(talk, "And the bill?", payer="user")
    talk.tell({**FAILED, "code": code})
    problem = talk.answers.last.get_by_role("alert")
    expect(problem.get_by_role("link", name=link, exact=True)).to_be_visible()
    expect(problem).not_to_contain_text("You can pay for it yourself")
    expect(problem).to_contain_text(advised)


@pytest.mark.parametrize("code", sorted(LACKS - {"key_rejected"}))
def test_other_lacks_offer_it_as_well(talk: Talk, code: str) -> None:
    talk.open(short())
    ask(talk, "And the bill?")
    talk.tell({**FAILED, "code": code})
    expect(offer(talk.answers.last)).to_be_visible()


def test_other_errors_offer_none(talk: Talk) -> None:
    talk.open(short())
    ask(talk, "And the bill?")
    talk.tell({**FAILED, "code": "provider"})
    expect(talk.answers.last.get_by_role("alert")).to_be_visible()
    expect(offer(talk.page)).to_have_count(0)


def test_chain_that_the_site_pays_for_offers_none(talk: Talk) -> None:
    talk.account = None
    talk.open(short())
    ask(talk, "And the bill?")
    talk.tell(FAILED)
    expect(talk.answers.last.get_by_role("alert")).to_be_visible()
    expect(offer(talk.page)).to_have_count(0)


def test_page_of_a_chain_offers_it_above_its_button_and_in_an_answer(
    browser: Browser, static_server: str
) -> None:
    sockets: list[WebSocketRoute] = []
    heard: list[dict[str, Any]] = []

    def greet(socket: WebSocketRoute) -> None:
        sockets.append(socket)
        socket.on_message(lambda said: heard.append(json.loads(said)))
        say({"type": "hello", "protocol": 1, "heartbeat": 20, "max_frame": 65_536, "features": []})

    def say(frame: dict[str, Any]) -> None:
        sockets[-1].send(json.dumps(frame))

    def press_run(page: Page) -> str:
        before = len(heard)
        page.get_by_role("button", name="Run").click()
        for _ in range(200):
            if len(heard) > before:
                return str(heard[-1]["id"])
            page.wait_for_timeout(20)
        raise AssertionError("It did not happen.")

    config = {"chain": "joke", "socket": "/ws/openrouter/", "unfinished": None, "account": "/account/"}
    chain = SimpleNamespace(slug="joke", title="Joke", description="Tells one.", pk=1)
    context = {"chain": chain, "fields": [Field("foo", "bears", required=True)], "config": config}
    html = render_to_string("openrouter_app/chain.html", context)
    with blank_page(browser, static_server) as page:
        page.set_default_timeout(10_000)
        page.route("**/chains/joke/", lambda route: route.fulfill(body=html, headers=HEADERS))
        page.route_web_socket("**/ws/openrouter/", greet)
        page.goto(f"{static_server}/chains/joke/")
        expect(page.locator("[data-target=connection]")).to_have_text("Connected")
        say({"type": "error", "id": press_run(page), "code": "needs_key", "message": "Connect one."})
        alert = page.locator("[data-target=alert]")
        expect(alert).to_contain_text("Connect one.")
        comes_back_to(offer(alert), "/chains/joke/")
        id = press_run(page)
        expect(alert).to_be_hidden()
        say({"type": "run.accepted", "id": id, "run": "R", "conversation": None})
        say({"type": "run.snapshot", "run": "R", "seq": 0, "state": {"status": "running", "parts": []}})
        say({"type": "run.events", "run": "R", "after": 0, "seq": 1, "events": [FAILED]})
        comes_back_to(offer(page.locator("[data-target=current]")), "/chains/joke/")
        shoot(page, "account-rejected-on-a-page")
