"""Connecting an OpenRouter account in a browser: at the demo's own server, and by callbacks that are wrong.

Leaves pictures of the pages in ``screenshots/``: light and dark, 360 and 1280 pixels.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from playwright.sync_api import Browser, BrowserContext, Page, expect

from openrouter_app import keys
from openrouter_app.background import in_background
from openrouter_app.engine import client as engine_client
from openrouter_app.engine.accounts import KeyInfo
from openrouter_app.engine.secret import Secret
from openrouter_app.models import SignIn, UserKey
from tests.connecting import browser_of as client_of
from tests.connecting import consent, go_to_openrouter, key_at
from tests.talking import make_chat

from .accessible import problems as found_by_axe
from .visitors import shoot

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

LIMIT = 30_000
CONNECT = "Connect your OpenRouter account"


# ---- the whole way, at the demo's server ----


@pytest.fixture(scope="module")
def demo(demo: str) -> str:
    """At ``localhost``, as its OpenRouter at 127.0.0.1 is another site."""
    return demo.replace("127.0.0.1", "localhost")


def sign_in(page: Page, path: str) -> None:
    page.locator("[name=username]").fill("demo")
    page.locator("[name=password]").fill("demo")
    page.locator("[type=submit]").click()
    page.wait_for_url(f"**{path}")


def ask(page: Page, words: str) -> None:
    field = page.get_by_role("textbox", name="Message", exact=True)
    expect(page.locator("[data-target=connection]")).to_have_attribute("data-status", "ready")
    field.fill(words)
    field.press("Enter")


def clicks_of(context: BrowserContext) -> list[str]:
    """What is clicked from now on, by its words, on any page of either site."""
    clicked: list[str] = []
    context.expose_function("noteClick", lambda words: clicked.append(words))
    context.add_init_script(
        """addEventListener("click", (event) => {
          if (event.isTrusted) noteClick(event.target.closest("button, a")?.textContent.trim() ?? "");
        }, { capture: true });"""
    )
    return clicked


def test_user_connects_runs_sees_the_cost_and_disconnects(visitor: BrowserContext) -> None:
    clicked = clicks_of(visitor)
    page = visitor.new_page()
    page.goto("/chains/let-users-pay/")
    sign_in(page, "/chains/let-users-pay/")
    clicked.clear()

    ask(page, "Hello")
    offer = page.get_by_role("alert").get_by_role("button", name=CONNECT)
    expect(offer).to_be_visible()
    assert found_by_axe(page) == []
    offer.click()

    page.wait_for_url(re.compile(r"^http://127\.0\.0\.1:\d+/auth\?"))
    assert "code_challenge_method=S256" in page.url
    assert page.evaluate("document.referrer") == ""
    expect(page.get_by_text("asks for a key of your account")).to_be_visible()
    page.get_by_role("button", name="Authorize").click()

    page.wait_for_url("**/chains/let-users-pay/")  # back where the question waits
    field = page.get_by_role("textbox", name="Message", exact=True)
    expect(field).to_have_value("Hello")
    ask(page, "Hello")
    reply = page.locator(".openrouter-reply").last
    expect(reply.locator("[data-fact=cost]")).to_contain_text("$")
    expect(reply).to_contain_text("your OpenRouter account")
    assert clicked == [CONNECT, "Authorize"]

    page.goto("/account/")
    page.get_by_role("button", name="Check again").click()
    expect(page.get_by_role("status")).to_contain_text("Checked")
    spent = page.locator("dl div").filter(has_text="Spent").locator("dd")
    expect(spent).to_have_text(re.compile(r"^\$0\.00\d+"))  # it was this user's key
    expect(page.get_by_text("of $5.00 a month")).to_be_visible()
    page.get_by_role("button", name="Disconnect").click()
    expect(page.get_by_role("heading", name="No account is connected")).to_be_visible()

    page.goto("/chains/let-users-pay/")
    ask(page, "And now?")
    expect(page.get_by_role("alert").get_by_role("button", name=CONNECT)).to_be_visible()


def test_pages_of_the_account_are_accessible(visitor: BrowserContext) -> None:
    page = visitor.new_page()
    page.goto("/account/")
    sign_in(page, "/account/")
    expect(page.get_by_role("heading", name="No account is connected")).to_be_visible()
    assert found_by_axe(page) == []
    shoot(page, "account")
    page.get_by_role("button", name=CONNECT).click()
    page.get_by_role("button", name="Authorize").click()
    expect(page.get_by_role("status")).to_have_text("Connected.")
    assert found_by_axe(page) == []
    shoot(page, "account-connected")
    page.get_by_role("button", name="Replace").click()
    page.get_by_role("button", name="Authorize").click()
    expect(page.get_by_role("heading", name="Replace the account?")).to_be_visible()
    assert found_by_axe(page) == []
    shoot(page, "account-replace")
    page.get_by_role("button", name="Keep the one").click()
    expect(page.get_by_role("status")).to_contain_text("stays")
    shoot(page, "account-kept", full_page=True)
    page.get_by_role("button", name="Disconnect").click()


def test_page_by_page_without_a_script(browser: Browser, demo: str) -> None:
    context = browser.new_context(base_url=demo, java_script_enabled=False)
    page = context.new_page()
    page.set_default_timeout(LIMIT)
    page.goto("/chains/let-users-pay/")
    sign_in(page, "/chains/let-users-pay/")
    page.get_by_role("textbox", name="Message", exact=True).fill("Hello")
    page.get_by_role("button", name="Send").click()
    page.get_by_role("alert").get_by_role("button", name=CONNECT).click()
    page.get_by_role("button", name="Authorize").click()
    page.wait_for_url("**/chains/let-users-pay/")
    page.goto("/account/")
    page.get_by_role("button", name="Disconnect").click()
    expect(page.get_by_role("heading", name="No account is connected")).to_be_visible()
    context.close()


# ---- callbacks, against a fake whose clock the test moves ----


@pytest.fixture
def site(live_server: Any, openrouter: Any, settings: Any) -> Iterator[str]:
    """The app's pages at ``localhost``; OpenRouter at 127.0.0.1 is another site."""
    settings.ALLOWED_HOSTS = ["localhost"]
    settings.OPENROUTER = {"BASE_URL": openrouter.base_url, "ALLOW_PASTED_KEYS": True}
    get_user_model().objects.create_user("ada")
    yield f"http://localhost:{urlsplit(live_server.url).port}"
    in_background(engine_client.aclose()).result(10)


def browser_of(browser: Browser, site: str, settings: Any, same_site: str = "Lax") -> BrowserContext:
    """A browser in which Ada is signed in."""
    client = Client()
    client.force_login(get_user_model().objects.get(username="ada"))
    session = client.cookies[settings.SESSION_COOKIE_NAME].value
    context = browser.new_context(base_url=site)
    context.set_default_timeout(LIMIT)
    cookie = {"name": settings.SESSION_COOKIE_NAME, "value": session, "url": site}
    context.add_cookies([{**cookie, "httpOnly": True, "sameSite": same_site}])  # type: ignore[typeddict-item]
    return context


def at_consent(context: BrowserContext) -> Page:
    """A page that has come to OpenRouter's question."""
    page = context.new_page()
    page.goto("/account/")
    page.get_by_role("button", name=CONNECT).click()
    expect(page.get_by_role("button", name="Authorize")).to_be_visible()
    return page


def refused(page: Page) -> None:
    expect(page.get_by_role("alert")).to_contain_text("not good any more")


def test_cookie_that_is_kept_to_the_site_comes_along_after_all(
    browser: Browser, site: str, settings: Any
) -> None:
    settings.SESSION_COOKIE_SAMESITE = "Strict"
    context = browser_of(browser, site, settings, "Strict")
    page = at_consent(context)
    paths: list[str] = []
    page.on("framenavigated", lambda frame: paths.append(urlsplit(frame.url).path))
    page.get_by_role("button", name="Authorize").click()
    expect(page.get_by_role("status")).to_have_text("Connected.")
    assert [path.split("/")[2] for path in paths] == ["callback", ""]  # one page on the way
    assert UserKey.objects.count() == 1
    context.close()


def test_callback_that_was_used_is_refused(browser: Browser, site: str, settings: Any) -> None:
    context = browser_of(browser, site, settings)
    page = at_consent(context)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.get_by_role("button", name="Authorize").click()
    expect(page.get_by_role("status")).to_have_text("Connected.")
    before = UserKey.objects.get().key_hash
    page.goto(next(url for url in asked if "/account/callback/" in url))
    refused(page)
    assert UserKey.objects.get().key_hash == before
    context.close()


def test_callback_that_comes_late_stores_nothing(
    browser: Browser, site: str, settings: Any, openrouter: Any
) -> None:
    context = browser_of(browser, site, settings)
    page = at_consent(context)
    started = SignIn.objects.get()
    SignIn.objects.update(created=started.created - timedelta(minutes=10))
    page.get_by_role("button", name="Authorize").click()
    refused(page)
    assert not openrouter.accounts.keys
    assert not UserKey.objects.exists()
    context.close()


def test_somebody_elses_callback_stores_nothing(
    browser: Browser, site: str, settings: Any, openrouter: Any
) -> None:
    """Eve consents, and sends Ada the way back."""
    eve = get_user_model().objects.create_user("eve")
    trap = consent(go_to_openrouter(client_of(eve)))
    context = browser_of(browser, site, settings)
    page = context.new_page()
    page.goto(trap)
    refused(page)
    assert not openrouter.accounts.keys
    assert not UserKey.objects.exists()
    context.close()


def test_who_does_not_consent_comes_back_with_nothing(browser: Browser, site: str, settings: Any) -> None:
    context = browser_of(browser, site, settings)
    page = at_consent(context)
    page.get_by_role("link", name="Cancel").click()
    expect(page.get_by_role("alert")).to_contain_text("nothing was connected")
    assert not UserKey.objects.exists()
    context.close()


def test_pasted_key_is_kept_and_a_key_that_cannot_be_opened_is_said(
    browser: Browser, site: str, settings: Any
) -> None:
    context = browser_of(browser, site, settings)
    page = context.new_page()
    page.goto("/account/")
    page.get_by_text("Paste a key instead").click()
    shoot(page, "account-paste")
    page.get_by_label("A key that you have made").fill("sk-or-v1-" + "0" * 40)
    page.get_by_role("button", name="Check and keep it").click()
    expect(page.get_by_role("status")).to_have_text("Connected.")
    user = get_user_model().objects.get(username="ada")
    keys.store(user, Secret("sk-or-v1-" + "1" * 40), UserKey.Origin.OAUTH, KeyInfo(label="Old " * 40))
    UserKey.objects.update(uuid="00000000-0000-0000-0000-000000000000")
    page.goto("/account/")
    expect(page.get_by_role("alert")).to_contain_text("cannot open this key")
    assert found_by_axe(page) == []
    shoot(page, "account-unusable")
    context.close()


def test_revoked_key_is_connected_anew_at_the_moment_it_is_needed(
    browser: Browser, site: str, settings: Any, openrouter: Any
) -> None:
    make_chat(payer="user")
    context = browser_of(browser, site, settings)
    page = at_consent(context)
    page.get_by_role("button", name="Authorize").click()
    expect(page.get_by_role("status")).to_have_text("Connected.")
    openrouter.revoke(key_at(openrouter))
    without_script = browser.new_context(base_url=site, java_script_enabled=False)
    without_script.add_cookies(context.cookies())  # type: ignore[arg-type]
    page = without_script.new_page()
    page.set_default_timeout(LIMIT)

    def send(words: str) -> None:
        page.get_by_role("textbox", name="Message", exact=True).fill(words)
        page.get_by_role("button", name="Send").click()

    page.goto("/chains/chat/")
    send("Hello")
    expect(page.locator("[data-status=failed]")).to_be_visible()
    assert not UserKey.objects.exists()
    shoot(page, "account-rejected-without-script")
    page.get_by_role("button", name=CONNECT).click()
    page.get_by_role("button", name="Authorize").click()
    page.wait_for_url("**/conversations/*/")  # where it was needed
    shoot(page, "account-connected-without-script")
    openrouter.reply("Here I am.")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_text("Here I am.")).to_be_visible()
    asked = [each for each in openrouter.requests if each.path.endswith("/chat/completions")]
    assert asked[-1].api_key == key_at(openrouter)
    without_script.close()
    context.close()
