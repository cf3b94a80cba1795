"""The page of what was spent, in a browser: chart, filters and file, in light and dark, wide and narrow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings
from django.test import Client
from django.utils.timezone import localdate
from playwright.sync_api import Browser, Page, expect

from openrouter_app.models import Budget, BudgetPeriod, Charge

from ..factories import make_user
from .accessible import problems
from .conftest import blank_page

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("noon")]

SHOTS = Path(__file__).parents[2] / "screenshots"


@contextmanager
def spending(
    browser: Browser, site: Any, client: Client, expected: list[str] | None = None
) -> Iterator[Page]:
    """The page after a month in which people asked more and more; a script error or violation fails."""
    spent_in_a_month()
    session = client.cookies[settings.SESSION_COOKIE_NAME].value
    with blank_page(browser, f"{site}/", expected) as page:
        page.context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": session, "url": str(site)}])
        page.goto(f"{site}/admin/openrouter_app/spending/")
        yield page


@pytest.fixture
def page(browser: Browser, live_server: Any, admin_client: Client) -> Iterator[Page]:
    with spending(browser, live_server, admin_client) as page:
        yield page


def spent_in_a_month() -> None:
    site, own = (Budget.objects.create(scope=scope, period="day") for scope in ("site", "own"))
    users = [make_user(name) for name in ("ada", "grace", "linus")]
    for day in range(30):
        for number in range(1 + day % 4):
            budget = own if number == 2 else site
            starts = localdate() - timedelta(days=29 - day)
            period = BudgetPeriod.objects.get_or_create(budget=budget, starts=starts)[0]
            Charge.objects.create(
                period=period,
                run_uuid=uuid4(),
                chain_slug=("chat", "joke", "translate")[number % 3],
                model=("mistralai/mistral-small", "openai/gpt-4o")[(day + number) % 2],
                user=users[number] if number < 3 else None,
                settled=Decimal("0.0123") * (day + 3 + number * 5),
                estimated=day == 29 and number == 0,
            )


def test_spending_is_told_by_its_columns_and_can_be_narrowed_down(page: Page) -> None:
    expect(page.locator(".openrouter-chart-site")).to_have_count(30)
    before = page.locator(".openrouter-sums dd").all_inner_texts()
    assert before[0].startswith("$")
    page.get_by_label("chain", exact=False).fill("joke")
    page.get_by_label("paid by", exact=False).select_option("site")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_role("table", name="By chain").locator("tbody tr")).to_have_count(1)
    expect(page.get_by_label("chain", exact=False)).to_have_value("joke")
    assert page.locator(".openrouter-sums dd").all_inner_texts() != before
    with page.expect_download() as download:
        page.get_by_role("link", name="Download as CSV").click()
    lines = Path(download.value.path()).read_text("utf-8-sig").splitlines()
    assert len(lines) > 1
    assert all(",joke," in line for line in lines[1:])


def test_page_of_spending_is_accessible(browser: Browser, live_server: Any, admin_client: Client) -> None:
    axes_own = ["Applying inline style", "Failed to load resource"]  # it asks for what stands beside the page
    with spending(browser, live_server, admin_client, axes_own) as page:
        chart = page.locator(".openrouter-chart").get_by_role("img")
        expect(chart).to_have_accessible_name("US dollars a day; the tables below have the numbers")
        # what Django's own frame breaks is not this page's
        assert [problem for problem in problems(page) if "openrouter" in problem] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_screenshots_of_spending(page: Page, width: int, scheme: Any) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    expect(page.locator(".openrouter-chart")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth + 1")
    SHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SHOTS / f"admin-spending-{width}-{scheme}.png", full_page=True)
