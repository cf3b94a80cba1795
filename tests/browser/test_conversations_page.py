"""The list of conversations, and a chat without a script, at a server that speaks WSGI only."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from django.contrib.sessions.backends.db import SessionStore
from playwright.sync_api import Browser, BrowserContext, Page, expect

from openrouter_app import background
from openrouter_app.engine import client as engine_client
from openrouter_app.models import Conversation, Owner
from tests.factories import make_chain
from tests.talking import make_chat, make_conversation, say

from .accessible import problems as found_by_axe
from .visitors import shoot

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def site(live_server: Any, openrouter: Any, settings: Any) -> Iterator[Any]:
    """A site with a chat, under WSGI; the model is the fake."""
    settings.OPENROUTER = {"API_KEY": "test", "BASE_URL": openrouter.base_url}
    make_chat(title="Bookshop")
    yield live_server
    background.in_background(engine_client.aclose()).result(10)


def opened(browser: Browser, site: Any, **options: Any) -> BrowserContext:
    return browser.new_context(base_url=site.url, **options)


def owner_of(page: Page) -> Any:
    """The visitor that this browser is."""
    [key] = [cookie["value"] for cookie in page.context.cookies() if "session" in cookie["name"]]
    return Owner.of_visitor(UUID(SessionStore(key)["openrouter_visitor"]))


def test_everything_works_without_a_script(browser: Browser, site: Any, openrouter: Any) -> None:
    openrouter.reply("Because of **Rayleigh**.")
    openrouter.reply("Yes.")
    context = opened(browser, site, java_script_enabled=False)
    page = context.new_page()
    page.goto("/chains/chat/")
    page.get_by_role("textbox", name="Message").fill("Why is it blue?")
    page.get_by_role("button", name="Send").click()
    expect(page).to_have_url(re.compile(r"/conversations/[0-9a-f-]{36}/#message-[0-9a-f-]{36}$"))
    expect(page.locator("strong")).to_have_text("Rayleigh")
    page.get_by_role("textbox", name="Message").fill("Really?")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_text("Yes.")).to_be_visible()
    assert Conversation.objects.count() == 1

    page.goto("/conversations/?q=rayleigh")
    row = page.get_by_role("listitem").filter(has_text="Why is it blue?")
    expect(row).to_be_visible()
    row.get_by_text("Rename, export or delete").click()
    row.get_by_label("Title").fill("The sky")
    row.get_by_role("button", name="Rename").click()
    expect(page).to_have_url(re.compile(r"/conversations/\?q=rayleigh$"))
    expect(page.get_by_role("link", name="The sky")).to_be_visible()
    page.get_by_text("Rename, export or delete").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="Export as Markdown").click()
    assert download.value.suggested_filename == "The sky.md"
    page.get_by_role("button", name="Delete for good").click()
    expect(page.get_by_text("Nothing was found")).to_be_visible()
    assert not Conversation.objects.exists()
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_list_is_accessible_and_fits(browser: Browser, site: Any, scheme: Any, width: int) -> None:
    context = opened(browser, site, color_scheme=scheme, viewport={"width": width, "height": 800})
    page = context.new_page()
    page.goto("/chains/chat/")
    owner = owner_of(page)
    make_conversation(owner, "Why is the sky blue? " * 3)
    make_conversation(owner, "x" * 150, title="x" * 150)
    make_conversation(owner, "\u202eturned", title="\u202eturned round")
    make_conversation(owner, title="")
    page.goto("/conversations/")
    page.get_by_text("Rename, export or delete").first.click()
    assert found_by_axe(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    if (width, scheme) == (1280, "light"):
        shoot(page, "conversations")  # in all of these
    context.close()


@pytest.mark.parametrize("query", ["", "sky", "whale"], ids=["all", "found", "nothing"])
def test_screenshots_of_the_list(browser: Browser, site: Any, query: str) -> None:
    context = opened(browser, site)
    page = context.new_page()
    page.goto("/chains/chat/")
    owner = owner_of(page)
    for title in ("Why is the sky blue?", "Return of a lamp", "Bulbs that fit E14"):
        make_conversation(owner, title)
    say(Conversation.objects.latest("pk"), "And E27?", status="running")
    page.goto(f"/conversations/?q={query}")
    expect(page.get_by_role("listitem")).to_have_count({"": 3, "sky": 1, "whale": 0}[query])
    expect(page.get_by_text("Answering")).to_have_count(1 if query == "" else 0)
    shoot(page, f"conversations-{query or 'all'}")
    context.close()


def test_list_from_right_to_left_fits(browser: Browser, site: Any) -> None:
    context = opened(browser, site, locale="ar", viewport={"width": 360, "height": 800})
    page = context.new_page()
    page.goto("/chains/chat/")
    make_conversation(owner_of(page), "Why is the sky blue?")
    page.goto("/conversations/")
    assert page.evaluate("document.documentElement.dir") == "rtl"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    shoot(page, "conversations-rtl")
    context.close()


def test_chain_that_answers_once_needs_no_script(browser: Browser, site: Any, openrouter: Any) -> None:
    make_chain("once", title="Once")
    openrouter.reply("Because of **Rayleigh**.")
    context = opened(browser, site, java_script_enabled=False)
    page = context.new_page()
    page.goto("/chains/once/")
    expect(page.get_by_role("button")).to_have_count(1)
    page.get_by_role("textbox").fill("Why is it blue?")
    page.get_by_role("button", name="Run").click()
    expect(page.locator("strong")).to_have_text("Rayleigh")
    expect(page.get_by_role("textbox")).to_have_value("Why is it blue?")
    expect(page.get_by_text("Your answer appears here")).to_be_hidden()
    shoot(page, "once-without-script")
    context.close()
