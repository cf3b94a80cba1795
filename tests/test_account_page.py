"""What stands on the page of a user's OpenRouter account is brought up to date when it is looked at."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth import get_user_model
from django.utils import timezone

from openrouter_app import keys
from openrouter_app.background import in_background
from openrouter_app.engine import client as engine_client
from openrouter_app.limits.a_minute import MOST_KEY_CHECKS
from openrouter_app.models import UserKey
from openrouter_app.pages.account import FRESH

from .connecting import ACCOUNT, browser_of, connect, key_at

pytestmark = pytest.mark.django_db
MODULE = "openrouter_app/js/account.js"
JSON = {"accept": "application/json"}


@pytest.fixture
def ada(openrouter, settings):
    settings.OPENROUTER = {"BASE_URL": openrouter.base_url, "KEY_LIMIT": 5}
    yield get_user_model().objects.create_user("ada")
    in_background(engine_client.aclose()).result(10)


@pytest.fixture
def client(ada):
    client = browser_of(ada)
    connect(client, next="/")
    return client


def let_it_be(**age):
    """The last check was so long ago."""
    UserKey.objects.update(checked_at=timezone.now() - timedelta(**age))


def page(client) -> str:
    return client.get(ACCOUNT).content.decode().replace("\xa0", " ")


def test_page_itself_asks_openrouter_nothing(client, openrouter):
    let_it_be(hours=3)
    before = len(openrouter.requests)
    page(client)
    assert len(openrouter.requests) == before


@pytest.mark.parametrize(("seconds", "checks"), [(30, False), (FRESH.total_seconds(), True), (90_000, True)])
def test_script_is_told_to_ask_where_the_last_check_is_older_than_a_minute(client, seconds, checks):
    let_it_be(seconds=seconds)
    html = page(client)
    assert (MODULE in html) is checks
    assert ('data-target="check"' in html) is checks


def test_age_is_said_of_what_is_old(client):
    assert " old)" not in page(client)
    let_it_be(hours=3, minutes=20)
    assert "(3 hours old)" in page(client)
    UserKey.objects.update(checked_at=None)
    assert " old)" not in page(client)
    assert MODULE in page(client)


def test_button_stays(client):
    let_it_be(hours=3)
    assert page(client).count("Check again") == 1
    client.post("/account/refresh/")
    assert "Checked: this is what OpenRouter says now." in page(client)


def test_page_that_says_what_went_wrong_does_not_try_again_by_itself(client, openrouter):
    let_it_be(hours=3)
    openrouter.route("GET", "/key", {"error": {"code": 500, "message": "Oh"}}, status=500)
    client.post("/account/refresh/")
    html = page(client)
    assert "could not be asked" in html
    assert MODULE not in html


def test_key_that_does_not_open_is_not_asked_about(client):
    let_it_be(hours=3)
    UserKey.objects.update(uuid="00000000-0000-0000-0000-000000000000")
    assert MODULE not in page(client)


def test_who_has_no_key_gets_no_script(client):
    client.post("/account/disconnect/")
    assert MODULE not in page(client)


# ---- what the script is told ----


def test_script_is_told_the_figures_of_now(client, openrouter):
    let_it_be(hours=3)
    openrouter.accounts.charge(key_at(openrouter), 1.25)
    said = client.post("/account/refresh/", headers=JSON).json()
    facts = said["facts"]
    assert (facts["left"], facts["spent"], said["problem"]) == ("$3.75 of $5.00", "$1.25", "")
    assert "old" not in facts["checked"]
    assert f"<dd>{facts['left']}</dd>" in page(client)
    assert "Checked: this is" not in page(client)  # nothing waits to be said


def test_failed_check_leaves_the_figures_with_their_age(client, openrouter):
    let_it_be(hours=3)
    openrouter.route("GET", "/key", {"error": {"code": 500, "message": "Oh"}}, status=500)
    said = client.post("/account/refresh/", headers=JSON).json()
    assert (said["facts"]["left"], said["problem"]) == (
        "$5.00 of $5.00",
        "OpenRouter could not be asked. Try again in a minute.",
    )
    assert "(3\xa0hours old)" in said["facts"]["checked"]
    assert 'role="alert"' not in page(client)  # it was said


def test_key_that_is_gone_is_said_by_the_next_page(client, ada, openrouter):
    let_it_be(hours=3)
    openrouter.revoke(key_at(openrouter))
    assert client.post("/account/refresh/", headers=JSON).json() == {"facts": None}
    assert keys.key_of(ada.pk) is None
    html = page(client)
    assert "does not accept this key" in html
    assert "Connect your OpenRouter account" in html


def test_script_asks_no_more_often_than_a_user_may(client, openrouter):
    for _ in range(MOST_KEY_CHECKS):
        client.post("/account/refresh/", headers=JSON)
    before = len(openrouter.requests)
    said = client.post("/account/refresh/", headers=JSON).json()
    assert said["problem"]
    assert said["facts"]["left"] == "$5.00 of $5.00"
    assert len(openrouter.requests) == before


def test_stranger_is_told_nothing(client):
    assert browser_of().post("/account/refresh/", headers=JSON).status_code == 302
