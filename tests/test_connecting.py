"""Connecting an OpenRouter account: what is asked, what is kept, what the pages say."""

from __future__ import annotations

import base64
import hashlib
import re
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO

import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import connection, connections
from django.utils import timezone

from openrouter_app import keys
from openrouter_app.background import in_background
from openrouter_app.engine import client as engine_client
from openrouter_app.engine.accounts import KeyInfo
from openrouter_app.engine.secret import Secret
from openrouter_app.keys import connecting
from openrouter_app.limits.a_minute import MOST_KEY_CHECKS
from openrouter_app.models import Hit, OfferedKey, SignIn, UserKey
from openrouter_app.pages.account import dollars

from .connecting import ACCOUNT, asked, browser_of, connect, go_to_openrouter, key_at
from .talking import make_chat

pytestmark = pytest.mark.django_db
KEY = "sk-or-v1-CANARY" + "0" * 49


@pytest.fixture
def ada(openrouter, settings):
    settings.OPENROUTER = {"BASE_URL": openrouter.base_url, "APP_TITLE": "Shop"}
    yield get_user_model().objects.create_user("ada")
    in_background(engine_client.aclose()).result(10)


@pytest.fixture
def client(ada):
    return browser_of(ada)


def said(response) -> str:
    return response.content.decode()


def have_another_key(user, key=KEY):
    return keys.store(user, Secret(key), UserKey.Origin.OAUTH, KeyInfo(label="Other"))


# ---- what is asked ----


def test_openrouter_is_asked_by_s256_and_told_this_sites_callback(client, openrouter):
    url = go_to_openrouter(client)
    query = asked(url)
    verifier = SignIn.objects.get().opened().reveal()
    digest = hashlib.sha256(verifier.encode()).digest()
    assert url.startswith(f"{openrouter.base_url.removesuffix('/api/v1')}/auth?")
    assert 43 <= len(verifier) <= 128
    assert query["code_challenge"] == base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    assert query["code_challenge_method"] == "S256"
    assert query["callback_url"].startswith("http://localhost/account/callback/")
    assert set(query) == {"callback_url", "code_challenge", "code_challenge_method", "key_label"}


def test_key_is_asked_for_as_the_site_says(client, settings):
    settings.OPENROUTER |= {"KEY_LABEL": "x" * 200, "KEY_LIMIT": 2.5, "KEY_LIMIT_RESET": "weekly"}
    settings.OPENROUTER |= {"KEY_DAYS": 30}
    query = asked(go_to_openrouter(client))
    assert (query["key_label"], query["limit"], query["usage_limit_type"]) == ("x" * 100, "2.5", "weekly")
    left = datetime.fromisoformat(query["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=29) < left <= timedelta(days=30)


def test_limit_is_written_as_a_plain_number(client, settings):
    settings.OPENROUTER |= {"KEY_LIMIT": 0.00001}
    assert asked(go_to_openrouter(client))["limit"] == "0.00001"


def test_other_pages_of_openrouter_may_be_elsewhere(client, settings):
    settings.OPENROUTER |= {"WEB_URL": "https://router.example/"}
    assert go_to_openrouter(client).startswith("https://router.example/auth?")


def test_only_who_is_signed_in_can_connect(client):
    stranger = browser_of()
    for name in ("", "replace/"):
        assert stranger.get(ACCOUNT + name)["Location"].startswith("/admin/login/?next=")
    for name in ("connect/", "disconnect/", "refresh/", "paste/"):
        assert stranger.post(ACCOUNT + name)["Location"].startswith("/admin/login/?next=")
        assert client.get(ACCOUNT + name).status_code == 405
    assert not SignIn.objects.exists()


def test_sign_ins_that_nobody_came_back_from_are_swept(client):
    for _ in range(connecting.MAX_OPEN + 3):
        go_to_openrouter(client)
    assert SignIn.objects.count() == connecting.MAX_OPEN
    SignIn.objects.update(created=timezone.now() - connecting.LIFETIME)
    go_to_openrouter(client)
    assert SignIn.objects.count() == 1


def test_prune_sweeps_them_too(client, ada):
    go_to_openrouter(client)
    call_command("openrouter_prune", "--days=1", verbosity=0, stdout=StringIO())
    assert SignIn.objects.count() == 1
    SignIn.objects.update(created=timezone.now() - connecting.LIFETIME)
    call_command("openrouter_prune", "--days=1", "--dry-run", stdout=StringIO())
    assert SignIn.objects.count() == 1
    call_command("openrouter_prune", "--days=1", stdout=StringIO())
    assert not SignIn.objects.exists()


# ---- what is kept ----


def test_connecting_keeps_the_key_and_what_openrouter_says_of_it(client, ada, openrouter, settings):
    settings.OPENROUTER |= {"KEY_LIMIT": 5, "KEY_LIMIT_RESET": "monthly"}
    response = connect(client)
    row = keys.key_of(ada.pk)
    assert response["Location"] == ACCOUNT
    assert keys.secret_of(row).reveal() == key_at(openrouter)
    assert row.key_hash == hashlib.sha256(key_at(openrouter).encode()).hexdigest()
    assert (row.origin, row.label, row.limit, row.limit_reset) == ("oauth", "Shop", 5, "monthly")
    assert (row.remaining, row.usage) == (5, 0)
    assert not SignIn.objects.exists()


def test_page_says_what_is_connected_and_where_it_is_managed(client, ada, openrouter, settings):
    settings.OPENROUTER |= {"KEY_LIMIT": 5, "KEY_LIMIT_RESET": "monthly"}
    connect(client)
    page, row = said(client.get(ACCOUNT)), keys.key_of(ada.pk)
    web = openrouter.base_url.removesuffix("/api/v1")
    for words in ("Connected.", "<bdi>Shop</bdi>", "$5.00 of $5.00 a month", row.key_hash[:8]):
        assert words in page
    assert f'href="{web}/keys/{row.key_hash}" rel="noreferrer"' in page
    assert f'href="{web}/logs?api_key_hash={row.key_hash}" rel="noreferrer"' in page
    assert key_at(openrouter) not in page
    assert "Connected." not in said(client.get(ACCOUNT))


def test_one_comes_back_to_where_one_was(client):
    assert connect(client, next="/chains/talk/?a=b")["Location"] == "/chains/talk/?a=b"


def test_key_is_kept_though_openrouter_does_not_say_what_it_is(client, ada, openrouter):
    openrouter.route("GET", "/key", {"error": {"code": 503, "message": "Busy"}}, status=503)
    assert connect(client)["Location"] == ACCOUNT
    assert keys.secret_of(keys.key_of(ada.pk)).reveal() == key_at(openrouter)


def test_key_that_openrouter_was_not_heard_of_does_not_count_as_checked(client, ada, openrouter):
    openrouter.route("GET", "/key", {"error": {"code": 503, "message": "Busy"}}, status=503)
    connect(client)
    assert keys.key_of(ada.pk).checked_at is None
    connect(client)
    offered = connecting.offered_to(ada)
    client.post("/account/replace/", {"keep": "new", "key_hash": offered.key_hash})
    assert keys.key_of(ada.pk).key_hash == offered.key_hash
    assert keys.key_of(ada.pk).checked_at is None


def test_key_that_openrouter_does_not_accept_is_not_kept(client, openrouter):
    openrouter.route("GET", "/key", {"error": {"code": 401, "message": "User not found."}}, status=401)
    connect(client)
    assert "does not accept this key" in said(client.get(ACCOUNT))
    assert not UserKey.objects.exists()


@pytest.mark.parametrize(("status", "words"), [(403, "not good any more"), (400, "could not be asked")])
def test_refused_code_is_said(client, openrouter, status, words):
    openrouter.route("POST", "/auth/keys", {"error": {"code": status, "message": "No."}}, status=status)
    response = connect(client, next="/chains/talk/")
    page = said(client.get(response["Location"]))
    assert words in page
    assert 'href="/chains/talk/"' in page
    assert not UserKey.objects.exists()


def test_who_did_not_consent_is_told_that_nothing_was_connected(client, openrouter):
    callback = asked(go_to_openrouter(client))["callback_url"].removeprefix("http://localhost")
    client.get(callback)
    assert "nothing was connected" in said(client.get(ACCOUNT))
    assert not SignIn.objects.exists()
    assert not [each for each in openrouter.requests if each.path.endswith("/auth/keys")]


# ---- replacing ----


def test_another_key_is_offered_and_not_taken(client, ada):
    old = have_another_key(ada)
    assert connect(client, next="/chains/talk/")["Location"] == "/account/replace/"
    page, offered = said(client.get("/account/replace/")), OfferedKey.objects.get()
    assert keys.key_of(ada.pk).key_hash == old.key_hash
    for words in ("Other", "Shop", old.key_hash[:8], offered.key_hash[:8]):
        assert words in page


def test_both_keys_lead_to_their_pages_at_openrouter_where_the_one_that_goes_can_be_deleted(client, ada):
    old = have_another_key(ada)
    connect(client)
    page = client.get("/account/replace/").content.decode()
    for hash in (old.key_hash, OfferedKey.objects.get().key_hash):
        assert f'/keys/{hash}" rel="noreferrer"' in page


def test_new_key_takes_the_place_of_the_old_one_when_its_user_says_so(client, ada, openrouter):
    have_another_key(ada)
    connect(client, next="/chains/talk/")
    posted = {"keep": "new", "key_hash": OfferedKey.objects.get().key_hash}
    assert client.post("/account/replace/", posted)["Location"] == "/chains/talk/"
    row = keys.key_of(ada.pk)
    assert keys.secret_of(row).reveal() == key_at(openrouter)
    assert (row.label, row.usage) == ("Shop", 0)
    assert not OfferedKey.objects.exists()


def test_new_key_that_is_deleted_before_its_user_chooses_it_is_not_said_to_be_connected(
    client, ada, openrouter
):
    have_another_key(ada)
    connect(client, next="/chains/talk/")
    openrouter.revoke(key_at(openrouter))
    posted = {"keep": "new", "key_hash": OfferedKey.objects.get().key_hash}
    assert client.post("/account/replace/", posted)["Location"] == ACCOUNT
    assert "OpenRouter does not accept this key." in said(client.get(ACCOUNT))
    assert keys.key_of(ada.pk) is None


def test_old_key_stays_when_its_user_says_so(client, ada):
    old = have_another_key(ada)
    connect(client, next="/chains/talk/")
    offered = OfferedKey.objects.get().key_hash
    client.post("/account/replace/", {"keep": "old", "key_hash": offered})
    page = said(client.get(ACCOUNT))
    assert keys.key_of(ada.pk).key_hash == old.key_hash
    assert f"/keys/{offered}" in page
    assert 'href="/chains/talk/"' in page
    assert not OfferedKey.objects.exists()


def test_offer_is_over_after_ten_minutes_and_after_one_answer(client, ada):
    old = have_another_key(ada)
    connect(client)
    offered = OfferedKey.objects.get()
    posted = {"keep": "new", "key_hash": offered.key_hash}
    assert client.post("/account/replace/", {**posted, "key_hash": old.key_hash})["Location"] == ACCOUNT
    OfferedKey.objects.update(created=timezone.now() - connecting.LIFETIME)
    assert client.get("/account/replace/")["Location"] == ACCOUNT
    assert client.post("/account/replace/", posted)["Location"] == ACCOUNT
    assert keys.key_of(ada.pk).key_hash == old.key_hash


def test_choice_that_comes_too_late_is_said_and_the_same_choice_twice_is_not(client, ada):
    have_another_key(ada)
    connect(client, next="/chains/talk/")
    posted = {"keep": "new", "key_hash": OfferedKey.objects.get().key_hash}
    OfferedKey.objects.update(created=timezone.now() - connecting.LIFETIME)
    client.post("/account/replace/", posted)
    assert "Nothing was changed" in said(client.get(ACCOUNT))

    OfferedKey.objects.update(created=timezone.now())
    assert client.post("/account/replace/", posted)["Location"] == "/chains/talk/"
    assert client.post("/account/replace/", posted)["Location"] == ACCOUNT
    assert "Nothing was changed" not in said(client.get(ACCOUNT))


def test_same_key_again_and_a_key_in_place_of_a_dead_one_are_not_asked_about(client, ada, openrouter):
    connect(client)
    openrouter.route("POST", "/auth/keys", {"key": key_at(openrouter), "user_id": None})
    assert connect(client)["Location"] == ACCOUNT
    UserKey.objects.update(uuid="00000000-0000-0000-0000-000000000000")  # so that it opens no more
    assert connect(client)["Location"] == ACCOUNT
    assert keys.secret_of(keys.key_of(ada.pk)).reveal() == key_at(openrouter)


def test_key_that_cannot_be_opened_is_said(client, ada):
    connect(client)
    UserKey.objects.update(uuid="00000000-0000-0000-0000-000000000000")
    page = said(client.get(ACCOUNT))
    assert "cannot open this key" in page
    assert page.count("Connect your OpenRouter account") == 1  # it says to connect again


@pytest.mark.parametrize("remaining", [None, "1e9"])
def test_limit_of_which_nobody_knows_what_is_left_is_not_said_to_be_none(client, openrouter, remaining):
    given = {"label": "Shop", "limit": 5, "limit_remaining": remaining, "usage": 1}
    openrouter.route("GET", "/key", {"data": given})
    connect(client)
    page = said(client.get(ACCOUNT))
    assert "$1.00" in page
    assert "no limit of its own" not in page


# ---- checking, disconnecting, pasting ----


def test_check_notes_what_is_left_now(client, ada, openrouter, settings):
    settings.OPENROUTER |= {"KEY_LIMIT": 5}
    connect(client)
    openrouter.accounts.charge(key_at(openrouter), 1.25)
    client.post("/account/refresh/")
    assert keys.key_of(ada.pk).remaining == Decimal("3.75")
    assert "$3.75 of $5.00" in said(client.get(ACCOUNT))


def test_check_drops_a_revoked_key(client, ada, openrouter):
    connect(client)
    openrouter.revoke(key_at(openrouter))
    client.post("/account/refresh/", {"next": "/chains/talk/"})
    page = said(client.get(ACCOUNT))
    assert keys.key_of(ada.pk) is None
    assert "does not accept this key" in page
    assert "Connect your OpenRouter account" in page


@pytest.mark.parametrize("status", [403, 500])
def test_check_keeps_a_key_that_could_not_be_asked_about(client, ada, openrouter, status):
    connect(client)
    openrouter.route("GET", "/key", {"error": {"code": status, "message": "Oh"}}, status=status)
    client.post("/account/refresh/")
    assert keys.key_of(ada.pk) is not None
    assert "could not be asked" in said(client.get(ACCOUNT))


def test_disconnecting_forgets_the_key_and_says_where_it_still_is(client, ada):
    connect(client)
    old = keys.key_of(ada.pk).key_hash
    client.post("/account/disconnect/")
    page = said(client.get(ACCOUNT))
    assert not UserKey.objects.exists()
    assert "Disconnected" in page
    assert f"/keys/{old}" in page
    client.post("/account/disconnect/")
    assert "Disconnected" not in said(client.get(ACCOUNT))


def test_pasted_key_is_checked_before_it_is_kept(client, ada, openrouter, settings):
    settings.OPENROUTER |= {"ALLOW_PASTED_KEYS": True}
    assert "Paste a key" in said(client.get(ACCOUNT))
    response = client.post("/account/paste/", {"key": f" {KEY}\n", "next": "/chains/talk/"})
    row = keys.key_of(ada.pk)
    assert response["Location"] == "/chains/talk/"
    assert (row.origin, keys.secret_of(row).reveal()) == ("pasted", KEY)
    assert openrouter.requests[-1].api_key == KEY


@pytest.mark.parametrize("key", ["", "short", "sk-or-v1-with space 0000", "sk-or-v1-ünïcode00", "x" * 501])
def test_what_is_no_key_is_sent_nowhere(client, openrouter, settings, key):
    settings.OPENROUTER |= {"ALLOW_PASTED_KEYS": True}
    response = client.post("/account/paste/", {"key": key})
    assert (response.status_code, "This is no key" in said(response)) == (400, True)
    assert not openrouter.requests


def test_pasted_key_that_openrouter_refuses_is_not_kept_and_not_shown(client, openrouter, settings):
    settings.OPENROUTER |= {"ALLOW_PASTED_KEYS": True}
    openrouter.revoke(KEY)
    response = client.post("/account/paste/", {"key": KEY})
    assert response.status_code == 400
    assert "does not accept this key" in said(response)
    assert "CANARY" not in said(response)
    assert not UserKey.objects.exists()


@pytest.mark.parametrize("broken", ["check", "store"])
def test_pasted_key_is_on_no_debug_page(ada, settings, monkeypatch, caplog, broken):
    settings.OPENROUTER |= {"ALLOW_PASTED_KEYS": True}
    settings.DEBUG = True
    client = browser_of(ada, raise_request_exception=False)

    def fails(*args, **kwargs):
        raise RuntimeError("Something is broken.")

    monkeypatch.setattr(keys if broken == "check" else connecting, broken, fails)
    response = client.post("/account/paste/", {"key": KEY})
    assert response.status_code == 500
    assert "Something is broken." in said(response)
    assert KEY not in said(response) + caplog.text


def test_pasted_key_beside_another_is_offered(client, ada, settings):
    settings.OPENROUTER |= {"ALLOW_PASTED_KEYS": True}
    old = have_another_key(ada, "sk-or-v1-other" + "0" * 40)
    assert client.post("/account/paste/", {"key": KEY})["Location"] == "/account/replace/"
    assert keys.key_of(ada.pk).key_hash == old.key_hash


def test_who_pastes_one_key_after_another_is_not_told_which_are_good(client, ada, openrouter, settings):
    settings.OPENROUTER |= {"ALLOW_PASTED_KEYS": True}
    openrouter.revoke(KEY)
    for _ in range(MOST_KEY_CHECKS):
        assert client.post("/account/paste/", {"key": KEY}).status_code == 400
    response = client.post("/account/paste/", {"key": KEY[::-1]})
    assert response.status_code == 429
    assert re.search(r"asked about keys too often\. Try again in \d+ s\.", said(response))
    assert len(openrouter.requests) == MOST_KEY_CHECKS
    assert not UserKey.objects.exists()
    Hit.objects.update(created=timezone.now() - timedelta(minutes=1))
    assert client.post("/account/paste/", {"key": KEY[::-1]}).status_code == 302


def test_openrouter_is_not_asked_about_a_key_again_and_again(client, ada, openrouter):
    have_another_key(ada)
    for _ in range(MOST_KEY_CHECKS + 1):
        client.post("/account/refresh/")
    assert len(openrouter.requests) == MOST_KEY_CHECKS
    assert "asked about keys too often" in said(client.get(ACCOUNT))
    assert keys.key_of(ada.pk) is not None


def test_keys_are_pasted_only_where_the_site_allows_it(client, openrouter):
    assert "Paste a key" not in said(client.get(ACCOUNT))
    assert client.post("/account/paste/", {"key": KEY}).status_code == 404
    assert not openrouter.requests


# ---- where it can be done ----


def test_index_leads_to_the_account_where_some_chain_lets_users_pay(client):
    chain = make_chat()
    assert ACCOUNT not in said(client.get("/"))
    chain.payer = chain.Payer.USER_OR_SITE
    chain.save()
    assert f'href="{ACCOUNT}"' in said(client.get("/"))


def test_who_cannot_sign_in_is_not_led_there(client, settings):
    chain = make_chat(payer="user")
    stranger = browser_of()
    for path in ("/", f"/chains/{chain.slug}/"):
        assert '"/account/"' in said(stranger.get(path))
    settings.LOGIN_URL = "/nowhere/"
    for path in ("/", f"/chains/{chain.slug}/"):
        assert '"/account/"' not in said(stranger.get(path))
        assert '"/account/"' in said(client.get(path))


def test_page_says_what_the_key_will_be(client, settings):
    settings.OPENROUTER |= {"KEY_LIMIT": 5, "KEY_LIMIT_RESET": "daily", "KEY_DAYS": 1}
    page = said(client.get(ACCOUNT))
    assert "The key may spend $5.00 a day at most." in page
    assert "It expires after 1 day." in page


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0", "$0.00"),
        ("1234.5", "$1,234.50"),
        ("0.01", "$0.01"),
        ("0.000123456", "$0.000123"),
        ("-1", "$-1.00"),
    ],
)
def test_amounts_are_said_in_cents_or_in_what_is_less(amount, text):
    assert dollars(Decimal(amount)) == text


def test_amount_that_nobody_knows_is_not_said():
    assert dollars(None) == ""


@pytest.mark.django_db(transaction=True)
def test_no_transaction_is_open_while_openrouter_is_waited_for(client, ada, settings, monkeypatch):
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)
    settings.OPENROUTER |= {"ALLOW_PASTED_KEYS": True}
    account = sys.modules["openrouter_app.views.account"]
    waited_for, in_transaction = account._waited_for, []

    def waiting(coroutine):
        in_transaction.append(connection.in_atomic_block)
        return waited_for(coroutine)

    monkeypatch.setattr(account, "_waited_for", waiting)
    connect(client)
    client.post("/account/refresh/")
    client.post("/account/paste/", {"key": KEY})
    connect(client)
    offered = OfferedKey.objects.get().key_hash
    client.post("/account/replace/", {"keep": "new", "key_hash": offered})
    assert keys.key_of(ada.pk).key_hash == offered
    assert in_transaction == [False] * 5
