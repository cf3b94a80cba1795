"""Budgets and the kill switch in a browser: set, looked at, and pressed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from playwright.sync_api import Browser, Page, expect

from openrouter_app import limits
from openrouter_app.models import Budget, KillSwitch
from tests.factories import make_chain, make_user
from tests.pots import USD, ask_of, let_in, make_pot, make_prices

from .conftest import blank_page
from .test_admin import ADMIN, SHOTS

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("noon")]


@pytest.fixture
def page(browser: Browser, live_server: Any, admin_client: Client) -> Iterator[Page]:
    """A page of somebody who is signed in; a script error or a violation of the policy fails the test."""
    session = admin_client.cookies[settings.SESSION_COOKIE_NAME].value
    with blank_page(browser, f"{live_server}/") as page:
        page.context.add_cookies(
            [{"name": settings.SESSION_COOKIE_NAME, "value": session, "url": str(live_server)}]
        )
        yield page


@pytest.fixture
def site(live_server: Any) -> str:
    return f"{live_server}{ADMIN}"


def test_button_is_found_and_pressed_by_keyboard_and_what_it_did_is_said(page: Page, site: str) -> None:
    page.goto(f"{site}/killswitch/")
    page.get_by_label("What visitors are told").fill("Back at noon.")
    page.get_by_role("button", name="Switch everything off").press("Enter")
    expect(page.get_by_role("status")).to_have_text("Everything is switched off: nobody can start a run.")
    expect(page.get_by_text("Visitors are told: Back at noon.")).to_be_visible()
    assert KillSwitch.objects.get().is_on
    page.get_by_role("button", name="Let runs start again").press("Enter")
    expect(page.get_by_role("status")).to_have_text("Runs can be started.")
    page.get_by_role("link", name="History").click()
    expect(page.get_by_text("Switched off: nobody can start a run. Back at noon.")).to_be_visible()


def test_budget_is_set_for_a_chain(page: Page, site: str) -> None:
    make_chain("echo")
    page.goto(f"{site}/budget/add/")
    page.get_by_label("Scope").select_option("one chain")
    page.get_by_label("Limit (US$)").fill("2.50")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("Choose whose budget it is.")).to_be_visible()
    page.get_by_label("Chain:").select_option("Echo")
    page.get_by_label("Period").select_option("a month")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("link", name="one chain: Echo")).to_be_visible()
    assert Budget.objects.get().limit == USD("2.5")


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 360)])
def test_screenshots_of_limits(page: Page, site: str, scheme: Any, width: int) -> None:
    make_prices()
    chain, ada = make_chain("echo"), make_user("ada")
    make_pot(limit="0.5")
    make_pot("site", "20", "month")
    make_pot("chain", "0.0035", chain=chain)
    make_pot("each_user", "1")
    done = ask_of(chain, ada)
    let_in(done)
    limits.settle(done.run, USD("0.00051"), model="a/b-2026", estimated=True)
    let_in(ask_of(chain, ada, prompt_bytes=950))
    KillSwitch.objects.create(pk=1, is_on=scheme == "dark", reason="Back at noon.", changed_by=ada)
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 800})
    for name in ("killswitch", "budget", "charge"):
        page.goto(f"{site}/{name}/")
        page.screenshot(path=SHOTS / f"admin-{name}-{scheme}-{width}.png")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
