"""The page of what was spent: who may see it, what it shows, and its file."""

from __future__ import annotations

import csv
import io
import re
import warnings
from datetime import date, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django.utils.timezone import localdate

from openrouter_app.admin import spending
from openrouter_app.admin.spending import FilterForm
from openrouter_app.models import BudgetPeriod, Charge
from openrouter_app.templatetags.openrouter_money import dollars
from tests.factories import make_user
from tests.test_spending import pot

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("noon")]

PAGE = reverse("admin:openrouter_app_spending_changelist")
FILE = reverse("admin:openrouter_app_spending_csv")
ATTACK = "<script>alert(1)</script>"


def spend(usd, *, days_ago=0, scope="site", **fields):
    starts = localdate() - timedelta(days=days_ago)
    period, _ = BudgetPeriod.objects.get_or_create(budget=pot(scope), starts=starts)
    fields = {"chain_slug": "joke", "model": "a/b", **fields}
    return Charge.objects.create(period=period, run_uuid=uuid4(), settled=Decimal(usd), **fields)


@pytest.fixture
def browser():
    user = make_user("boss", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename="view_charge"))
    browser = Client()
    browser.force_login(user)
    return browser


def shown(response):
    assert response.status_code == 200, response
    return response.content.decode()


def test_page_shows_sums_and_a_chart(browser):
    spend("1.25", chain_slug="chat")
    spend("0.0031", scope="own", days_ago=3)
    page = shown(browser.get(PAGE))
    assert "errornote" not in page
    assert "$1.25" in page
    assert "$0.0031" in page
    assert page.count("openrouter-chart-site") == 30
    assert "style=" not in page.split('<div id="content-main">')[1]


def test_days_before_the_last_thirty_are_shown_where_they_are_asked_for(browser):
    spend("7", days_ago=40)
    assert "$7.00" not in shown(browser.get(PAGE))
    first = localdate() - timedelta(days=45)
    assert "$7.00" in shown(browser.get(PAGE, {"first": first.isoformat()}))


def test_filters_of_the_page_are_those_of_its_file(browser):
    spend("1", chain_slug="chat")
    spend("2", chain_slug="joke")
    page = shown(browser.get(PAGE, {"chain": "chat"}))
    assert "$1.00" in page
    assert "$2.00" not in page
    assert f"{FILE}?chain=chat" in page
    rows = list(csv.reader(io.StringIO(read(browser.get(FILE, {"chain": "chat"})))))
    assert [row[2] for row in rows] == ["chain", "chat"]


def test_days_that_are_shown_stand_in_the_form_where_nobody_has_said_them(browser):
    page = shown(browser.get(PAGE, {"chain": "chat"}))
    first, last = localdate() - timedelta(days=29), localdate()
    assert re.search(rf'name="first" value="{first}"', page)
    assert re.search(rf'name="last" value="{last}"', page)
    assert re.search(r'name="chain" value="chat"', page)


def test_server_of_coroutines_sends_the_file_piece_by_piece(browser, async_client, monkeypatch):
    monkeypatch.setattr(spending, "LINES_AT_ONCE", 2)
    for number in range(5):
        spend(number)

    async def pieces():
        await async_client.aforce_login(await get_user_model().objects.aget(username="boss"))
        response = await async_client.get(FILE)
        return [piece async for piece in response.streaming_content]

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Django's, where it had to gather all of it first
        got = async_to_sync(pieces)()
    assert b"".join(got).decode("utf-8-sig") == read(browser.get(FILE))
    assert len(got) > 2


def read(response):
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/csv")
    return b"".join(response.streaming_content).decode("utf-8-sig")


def test_file_is_named_after_its_days_and_kept_by_no_cache(browser):
    response = browser.get(FILE, {"first": "2026-06-01", "last": "2026-06-30"})
    assert 'filename="spending-2026-06-01-2026-06-30.csv"' in response.headers["Content-Disposition"]
    assert response.headers["Cache-Control"].startswith("no-store")
    assert len(read(response).splitlines()) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"first": "2026-06-30", "last": "2026-06-01"},
        {"first": "never"},
        {"first": "1900-01-01"},
        {"first": "2026-01-01", "last": "0001-01-02"},
        {"payer": "nobody"},
        {"chain": "x" * 500},
    ],
)
def test_filter_that_makes_no_sense_is_told_and_shows_the_last_days(browser, wrong):
    spend("1")
    page = shown(browser.get(PAGE, wrong))
    assert "errorlist" in page
    assert f"all that was spent in the last {spending.DAYS} days" in page
    assert "$1.00" in page
    assert browser.get(FILE, wrong).status_code == 302


def test_day_before_there_was_anything_to_pay_for_is_no_error(browser):
    assert "Nothing was spent" in shown(browser.get(PAGE, {"last": "0001-01-02"}))


def test_form_and_its_calendars_look_as_everywhere_in_the_admin(browser, admin_client):
    theirs = shown(admin_client.get(reverse("admin:openrouter_app_chain_add")))
    styles = set(re.findall(r"admin/css/(?:forms|widgets)[^\"]*", theirs))
    assert styles
    assert styles <= set(re.findall(r"admin/css/(?:forms|widgets)[^\"]*", shown(browser.get(PAGE))))


def test_names_are_escaped(browser):
    spend("1", chain_slug=ATTACK, model=ATTACK, user=make_user("<b>eve</b>"))
    page = shown(browser.get(PAGE))
    assert ATTACK not in page
    assert "<b>eve</b>" not in page
    assert "&lt;b&gt;eve&lt;/b&gt;" in page


def test_staff_without_the_permission_see_neither_page_nor_file_nor_link(client):
    client.force_login(make_user("clerk", is_staff=True))
    assert client.get(PAGE).status_code == 403
    assert client.get(FILE).status_code == 403
    assert PAGE not in client.get(reverse("admin:index")).content.decode()


def test_visitors_are_sent_to_sign_in(client):
    assert client.get(PAGE).status_code == 302
    assert client.get(FILE).status_code == 302


def test_index_links_to_the_page_and_offers_to_add_nothing(browser):
    page = shown(browser.get(reverse("admin:index")))
    assert PAGE in page
    assert f"{PAGE}add/" not in page


def test_number_of_queries_does_not_depend_on_what_was_spent(browser, django_assert_max_num_queries):
    for number in range(20):
        spend("1", chain_slug=f"c{number}", user=make_user(f"u{number}"))
    with django_assert_max_num_queries(12):
        browser.get(PAGE)


def test_nothing_spent_is_said(browser):
    assert "Nothing was spent in these days." in shown(browser.get(PAGE))


def test_page_is_drawn_in_german_with_numbers_svg_can_read(browser):
    spend("1.5")
    page = shown(browser.get(PAGE, headers={"accept-language": "de"}))
    chart = page.split('class="openrouter-chart"')[1].split("</svg>")[0]
    numbers = re.findall(r'\b(?:x|y|width|height|y1|y2)="([^"]*)"', chart)
    assert numbers
    assert all("," not in number for number in numbers)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("0", "$0"),
        ("12.3", "$12.30"),
        ("1234567.891", "$1,234,567.89"),
        ("0.5", "$0.50"),
        ("0.0031", "$0.0031"),
        ("0.0000238", "$0.000024"),
        ("1.999", "$2.00"),
        ("0.00000012", "$0.00000012"),
        ("-0.25", "$-0.25"),
    ],
)
def test_dollars_have_the_places_that_say_something(value, text):
    assert dollars(Decimal(value)) == text


def test_month_of_the_chart_is_named(browser):
    spend("1")
    first = date(localdate().year - 1, 1, 1)
    assert "US dollars a month" in shown(browser.get(PAGE, {"first": first.isoformat()}))


@pytest.mark.parametrize(("now", "reader"), [("02:00", "America/Los_Angeles"), ("20:00", "Asia/Tokyo")])
def test_last_day_is_the_sites_wherever_the_reader_is(monkeypatch, settings, now, reader):
    settings.TIME_ZONE = "UTC"
    moment = datetime.fromisoformat(f"2026-03-30T{now}:00+00:00")
    monkeypatch.setattr("django.utils.timezone.now", lambda: moment)
    with timezone.override(reader):
        assert FilterForm({}).filters.last == FilterForm({"payer": "site"}).filters.last == date(2026, 3, 30)
