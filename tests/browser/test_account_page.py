"""The page of a user's OpenRouter account in a browser: it brings itself up to date, once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.contrib.auth import get_user_model
from django.utils import timezone
from playwright.sync_api import Browser, BrowserContext, Locator, Page, Route, expect

from openrouter_app.background import in_background
from openrouter_app.engine import client as engine_client
from openrouter_app.models import UserKey
from tests.connecting import browser_of, connect, key_at

from .accessible import problems as found_by_axe
from .visitors import shoot

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]
LIMIT = 30_000
NOW = "This is what OpenRouter says now."


@pytest.fixture
def site(live_server: Any, openrouter: Any, settings: Any) -> Iterator[str]:
    settings.ALLOWED_HOSTS = ["localhost"]
    settings.OPENROUTER = {"BASE_URL": openrouter.base_url, "KEY_LIMIT": 5}
    yield f"http://localhost:{urlsplit(live_server.url).port}"
    in_background(engine_client.aclose()).result(10)


@pytest.fixture
def context(browser: Browser, site: str, openrouter: Any, settings: Any) -> Iterator[BrowserContext]:
    """Ada's browser. She has connected an account three hours ago, and spent something since."""
    client = browser_of(get_user_model().objects.create_user("ada"))
    connect(client, next="/")
    UserKey.objects.update(checked_at=timezone.now() - timedelta(hours=3))
    openrouter.accounts.charge(key_at(openrouter), 1.25)
    context = browser.new_context(base_url=site)
    context.set_default_timeout(LIMIT)
    name = settings.SESSION_COOKIE_NAME
    context.add_cookies([{"name": name, "value": client.cookies[name].value, "url": site}])
    yield context
    context.close()


def fact(page: Page, name: str) -> Locator:
    return page.locator(f"[data-fact={name}] dd")


def posts(page: Page) -> list[str]:
    """The paths that the page posts to from now on."""
    posted: list[str] = []

    def note(request: Any) -> None:
        if request.method == "POST":
            posted.append(urlsplit(request.url).path)

    page.on("request", note)
    return posted


def test_old_figures_are_exchanged_once_without_anybodys_doing(context: BrowserContext) -> None:
    page = context.new_page()
    posted = posts(page)
    page.goto("/account/")
    status = page.get_by_role("status")
    expect(status).to_have_text(NOW)
    expect(fact(page, "left")).to_have_text("$3.75 of $5.00")
    expect(fact(page, "spent")).to_have_text("$1.25")
    expect(fact(page, "checked")).not_to_contain_text("old")
    assert posted == ["/account/refresh/"]
    assert found_by_axe(page) == []
    shoot(page, "account-up-to-date")
    page.reload()  # it is fresh now
    expect(fact(page, "left")).to_have_text("$3.75 of $5.00")
    expect(status).to_have_count(0)
    assert posted == ["/account/refresh/"]


def test_failed_check_leaves_the_old_figures_and_says_how_old_they_are(
    context: BrowserContext, openrouter: Any
) -> None:
    openrouter.route("GET", "/key", {"error": {"code": 500, "message": "Oh"}}, status=500)
    page = context.new_page()
    posted = posts(page)
    page.goto("/account/")
    expect(page.get_by_role("status")).to_have_text("OpenRouter could not be asked. Try again in a minute.")
    expect(fact(page, "left")).to_have_text("$5.00 of $5.00")
    expect(fact(page, "checked")).to_contain_text("(3 hours old)")
    assert posted == ["/account/refresh/"]
    shoot(page, "account-not-up-to-date")


@pytest.mark.parametrize("answer", ["abort", "500", "login", "nonsense"])
def test_site_that_does_not_answer_changes_nothing(context: BrowserContext, answer: str) -> None:
    page = context.new_page()

    def refuse(route: Route) -> None:
        match answer:
            case "abort":
                route.abort()
            case "500":
                route.fulfill(status=500, body="Oh")
            case "login":
                route.fulfill(status=302, headers={"location": "/account/"})
            case "nonsense":
                route.fulfill(body="<p>Hello")

    page.route("**/account/refresh/", refuse)
    page.goto("/account/")
    expect(page.get_by_role("status")).to_contain_text("OpenRouter could not be asked.")
    expect(fact(page, "left")).to_have_text("$5.00 of $5.00")
    expect(fact(page, "checked")).to_contain_text("(3 hours old)")
    expect(page.get_by_role("button", name="Check again")).to_be_visible()


def test_key_that_was_deleted_meanwhile_is_offered_to_be_connected_anew(
    context: BrowserContext, openrouter: Any
) -> None:
    openrouter.revoke(key_at(openrouter))
    page = context.new_page()
    posted = posts(page)
    page.goto("/account/")
    expect(page.get_by_role("alert")).to_contain_text("does not accept this key")
    expect(page.get_by_role("button", name="Connect your OpenRouter account")).to_be_visible()
    assert posted == ["/account/refresh/"]


def test_nothing_is_asked_before_somebody_looks(context: BrowserContext) -> None:
    page = context.new_page()
    posted = posts(page)
    page.add_init_script(
        """Object.defineProperty(document, "visibilityState", { configurable: true, get: () => "hidden" });"""
    )
    page.goto("/account/")
    expect(fact(page, "checked")).to_contain_text("(3 hours old)")
    page.wait_for_load_state("networkidle")
    assert posted == []
    page.evaluate("""() => {
        Object.defineProperty(document, "visibilityState", { get: () => "visible" });
        document.dispatchEvent(new Event("visibilitychange"));
        document.dispatchEvent(new Event("visibilitychange"));
    }""")
    expect(page.get_by_role("status")).to_have_text(NOW)
    assert posted == ["/account/refresh/"]


def test_token_is_in_the_body_and_no_header(context: BrowserContext) -> None:
    page = context.new_page()
    with page.expect_request("**/account/refresh/") as asked:
        page.goto("/account/")
    assert "csrfmiddlewaretoken=" in (asked.value.post_data or "")
    assert [name for name in asked.value.headers if "csrf" in name.lower()] == []


def test_without_a_script_the_button_asks(browser: Browser, context: BrowserContext, site: str) -> None:
    quiet = browser.new_context(base_url=site, java_script_enabled=False)
    quiet.add_cookies(context.cookies())  # type: ignore[arg-type]
    page = quiet.new_page()
    page.goto("/account/")
    expect(fact(page, "checked")).to_contain_text("(3 hours old)")
    shoot(page, "account-old-without-script")
    page.get_by_role("button", name="Check again").click()
    expect(fact(page, "left")).to_have_text("$3.75 of $5.00")
    quiet.close()
