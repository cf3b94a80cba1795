"""Where a run lacks an OpenRouter account of one's own: the chat and the chain's page offer one, and what is
pressed there begins the sign-in.
"""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import pytest
from django.template.loader import render_to_string
from playwright.sync_api import Browser, Locator, Page, Route, WebSocketRoute, expect

from openrouter_app.pages.account import LACKS, Offer, account_config
from openrouter_app.pages.fields import Field
from project.csp import POLICY

from .accessible import problems as found_by_axe
from .chatting import HEADERS, Talk, text
from .conftest import STATIC, blank_page
from .pictured import ask, short
from .visitors import shoot

pytestmark = pytest.mark.browser

CONNECT = "Connect your OpenRouter account"
OWN = "Your OpenRouter account"
FAILED = {
    "type": "failed",
    "code": "key_rejected",
    "message": "Your key was not accepted.",
    "retryable": False,
}


@pytest.fixture
def talk(talk: Talk) -> Talk:
    """A chat whose chain lets users pay, and whose visitor has connected no account."""
    talk.offer = Offer("/account/", "/elsewhere/", "/account/connect/")
    return talk


def offer(place: Page | Locator) -> Locator:
    return place.get_by_role("button", name=CONNECT)


def begins_and_comes_back_to(button: Locator, path: str) -> None:
    """One click posts to this site, with the token and the page's own address, and goes there."""
    page = button.page
    posted: list[tuple[str, dict[str, str]]] = []

    def begin(route: Route) -> None:
        posted.append((route.request.url, dict(parse_qsl(route.request.post_data or ""))))
        route.fulfill(body="<!doctype html><title>On to OpenRouter</title>", headers=HEADERS)

    page.route("**/account/connect/", begin)
    site = urlsplit(page.url)
    button.click()
    page.wait_for_url("**/account/connect/")
    [(address, fields)] = posted
    assert address == f"{site.scheme}://{site.netloc}/account/connect/"
    assert fields == {"csrfmiddlewaretoken": "token", "next": path}


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
    expect(talk.field).to_have_value("Hello")
    assert found_by_axe(page) == []
    shoot(page, "account-needed-in-chat")
    begins_and_comes_back_to(offer(alert), "/chains/talk/")
    assert len(talk.asked_for("run.start")) == 1  # the button is none of the composer's
    page.goto(f"{talk.address}/chains/talk/")
    expect(talk.field).to_have_value("Hello")


def test_address_of_the_page_has_its_query(talk: Talk) -> None:
    conversation = short()
    talk.open(conversation)
    page = ask(talk, "And the bill?")
    page.evaluate("history.replaceState({}, '', location.pathname + '?message=1#there')")
    talk.tell(FAILED)
    begins_and_comes_back_to(offer(talk.answers.last), f"/conversations/{conversation.id}/?message=1")


def test_form_that_leads_elsewhere_is_not_posted(talk: Talk) -> None:
    page = talk.open()
    page.evaluate("document.querySelector('[data-target=connect]').setAttribute('action', '//127.0.0.2:9/')")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    talk.send("Hello")
    [start] = talk.asked_for("run.start")
    talk.say(type="error", id=start["id"], code="needs_key", message="Connect one.")
    offer(page).click()
    page.wait_for_timeout(200)
    assert asked == []


def test_element_alone_in_a_page_begins_it_too_and_comes_back_to_that_page(talk: Talk) -> None:
    """Wherever the page's ``<base>`` leads: its pictures may be elsewhere, the token stays here."""
    html = f"""<!doctype html><html lang="en"><head><title>Help</title><base href="http://127.0.0.2:9/">
    <script type="module" src="{talk.address}/static/openrouter_app/js/openrouter-chat.js"></script></head>
    <body><h1>Help</h1><openrouter-chat chain="talk" base="/"></openrouter-chat></body></html>"""
    headers = {**HEADERS, "Content-Security-Policy": POLICY.replace("base-uri 'none'; ", "")}
    page = talk.page
    page.route("**/help/**", lambda route: route.fulfill(body=html, headers=headers))
    page.goto(f"{talk.address}/help/?topic=orders")
    talk.connected()
    talk.send("Hello")
    [start] = talk.asked_for("run.start")
    talk.say(type="error", id=start["id"], code="needs_key", message="Connect one.")
    begins_and_comes_back_to(offer(page), "/help/?topic=orders")


def test_where_no_form_can_begin_it_a_link_leads_to_the_accounts_page(talk: Talk) -> None:
    talk.offer = Offer("/account/", "/chains/talk/")
    page = talk.open()
    talk.send("Hello")
    [start] = talk.asked_for("run.start")
    talk.say(type="error", id=start["id"], code="needs_key", message="Connect one.")
    comes_back_to(page.get_by_role("link", name=CONNECT), "/chains/talk/")


def test_who_has_one_is_led_to_its_page_until_it_is_gone(talk: Talk) -> None:
    talk.offer = Offer("/account/", "/chains/talk/", "/account/connect/", is_connected=True)
    talk.open(short())
    page = ask(talk, "And the bill?")
    talk.tell({**FAILED, "code": "credit"})
    comes_back_to(page.get_by_role("link", name=OWN), page.url.removeprefix(talk.address))
    expect(offer(page)).to_have_count(0)
    talk.send("And now?")
    talk.accept("S", message=9004, parent=9003, payer="user")
    talk.tell(FAILED, run="S")
    expect(offer(talk.answers.last)).to_be_visible()


def test_who_comes_back_with_an_account_is_told_to_ask_again(talk: Talk) -> None:
    conversation = short()
    error = {name: value for name, value in FAILED.items() if name != "type"}
    conversation.messages[-1]["state"].update(status="failed", error=error, payer="user")
    talk.offer = Offer("/account/", "/chains/talk/", "/account/connect/", is_connected=True)
    page = talk.open(conversation)
    expect(talk.answers.last).to_contain_text("Your OpenRouter account is connected: ask again.")
    expect(offer(page)).to_have_count(0)
    shoot(page, "account-connected-in-chat")
    page.get_by_role("button", name="Try again").click()
    talk.wait_for(lambda: talk.asked_for("run.start"))
    [start] = talk.asked_for("run.start")
    assert start["parent"] == conversation.messages[-1]["parent"]


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
    assert found_by_axe(page) == []
    shoot(page, "account-rejected-in-chat")
    begins_and_comes_back_to(offer(problem), f"/conversations/{conversation.id}/")


@pytest.mark.parametrize(
    ("code", "role", "name", "advised"),
    [("key_rejected", "button", CONNECT, ""), ("credit", "link", OWN, "Add credit to it at OpenRouter")],
)
def test_who_pays_already_is_not_told_that_he_can(
    talk: Talk, code: str, role: Any, name: str, advised: str
) -> None:
    talk.open(short())
    ask(talk, "And the bill?", payer="user")
    talk.tell({**FAILED, "code": code})
    problem = talk.answers.last.get_by_role("alert")
    expect(problem.get_by_role(role, name=name, exact=True)).to_be_visible()
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
    talk.offer = None
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

    offered = Offer("/account/", "/chains/joke/", "/account/connect/")
    config = {"chain": "joke", "socket": "/ws/openrouter/", "unfinished": None, **account_config(offered)}
    chain = SimpleNamespace(slug="joke", title="Joke", description="Tells one.", pk=1)
    context = {"chain": chain, "fields": [Field("foo", "bears", required=True)], "config": config}
    html = render_to_string("openrouter_app/chain.html", {**context, "offer": offered, "csrf_token": "token"})
    with blank_page(browser, static_server) as page:
        page.set_default_timeout(10_000)
        page.route("**/chains/joke/", lambda route: route.fulfill(body=html, headers=HEADERS))
        page.route_web_socket("**/ws/openrouter/", greet)
        page.goto(f"{static_server}/chains/joke/")
        expect(page.locator("[data-target=connection]")).to_have_text("Connected")
        say({"type": "error", "id": press_run(page), "code": "needs_key", "message": "Connect one."})
        alert = page.locator("[data-target=alert]")
        expect(alert).to_contain_text("Connect one.")
        expect(offer(alert)).to_be_visible()
        shoot(page, "account-needed-on-a-page")
        id = press_run(page)
        expect(alert).to_be_hidden()
        say({"type": "run.accepted", "id": id, "run": "R", "conversation": None})
        say({"type": "run.snapshot", "run": "R", "seq": 0, "state": {"status": "running", "parts": []}})
        say({"type": "run.events", "run": "R", "after": 0, "seq": 1, "events": [FAILED]})
        expect(offer(page.locator("[data-target=current]"))).to_be_visible()
        shoot(page, "account-rejected-on-a-page")
        begins_and_comes_back_to(offer(page), "/chains/joke/")
