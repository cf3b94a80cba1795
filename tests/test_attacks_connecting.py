"""Attacks on signing in at OpenRouter: A8 to A12 and A34 of the threat list. Nothing is stored."""

from __future__ import annotations

import logging
import threading
from datetime import timedelta
from urllib.parse import quote, unquote

import pytest
from django.contrib.auth import get_user_model
from django.contrib.sessions.backends.db import SessionStore
from django.core import serializers
from django.db import connection
from django.urls import reverse
from django.utils import timezone

from openrouter_app import keys
from openrouter_app.background import in_background
from openrouter_app.engine import client as engine_client
from openrouter_app.engine.accounts import KeyInfo
from openrouter_app.engine.secret import Secret
from openrouter_app.keys import connecting
from openrouter_app.limits.a_minute import MOST_KEY_CHECKS
from openrouter_app.models import OfferedKey, SignIn, UserKey

from .connecting import ACCOUNT, address_in, asked, browser_of, connect, consent, go_to_openrouter, key_at

pytestmark = pytest.mark.django_db
KEY = "sk-or-v1-CANARY" + "0" * 49


@pytest.fixture
def ada(openrouter, settings):
    settings.OPENROUTER = {"BASE_URL": openrouter.base_url, "ALLOW_PASTED_KEYS": True}
    yield get_user_model().objects.create_user("ada")
    in_background(engine_client.aclose()).result(10)


@pytest.fixture
def eve(ada):
    return get_user_model().objects.create_user("eve")


@pytest.fixture
def client(ada):
    return browser_of(ada)


def assert_nothing_is_stored(openrouter):
    """No key here, no sign-in that could go on, and no code was even tried at OpenRouter."""
    assert not UserKey.objects.exists()
    assert not OfferedKey.objects.exists()
    assert not SignIn.objects.exists()
    assert not openrouter.accounts.keys


# ---- A8: callbacks that are nobody's, late, reused or foreign ----


def test_a8_callback_in_another_session_of_the_same_user(client, ada, openrouter):
    callback = consent(go_to_openrouter(client))
    other = browser_of(ada)
    go_to_openrouter(other)  # it has a sign-in of its own
    SignIn.objects.exclude(nonce_hash=SignIn.objects.earliest("created").nonce_hash).delete()
    assert other.get(callback)["Location"] == ACCOUNT
    assert "not good any more" in other.get(ACCOUNT).content.decode()
    assert client.get(callback)["Location"] == ACCOUNT
    assert_nothing_is_stored(openrouter)


def test_a8_callback_without_a_session(client, openrouter):
    callback = consent(go_to_openrouter(client))
    stranger = browser_of()
    again = address_in(stranger.get(callback))  # once more, for a cookie that is kept to this site
    assert SignIn.objects.count() == 1
    assert stranger.get(again).status_code == 302
    assert client.get(callback).status_code == 302
    assert_nothing_is_stored(openrouter)


def test_a8_callback_of_another_user(client, eve, openrouter):
    callback = consent(go_to_openrouter(client))
    assert browser_of(eve).get(f"{callback}&again=1").status_code == 302
    assert client.get(callback).status_code == 302
    assert_nothing_is_stored(openrouter)


def test_a8_callback_after_another_user_signed_in_with_the_same_browser(client, eve, openrouter):
    callback = consent(go_to_openrouter(client))
    session = dict(client.session)
    client.force_login(eve)
    store = client.session
    store[connecting.SESSION_KEY] = session[connecting.SESSION_KEY]
    store.save()
    assert client.get(callback).status_code == 302
    assert_nothing_is_stored(openrouter)


@pytest.mark.parametrize("nonce", ["x", "x" * 5_000, "%00", "%ED%A0%80", "..%2f", "é"])
def test_a8_callback_with_a_nonce_that_was_never_given(client, openrouter, nonce):
    go_to_openrouter(client)
    SignIn.objects.all().delete()
    response = client.get(f"/account/callback/{quote(unquote(nonce))}/?code=x")
    assert response.status_code in (302, 404)
    assert_nothing_is_stored(openrouter)


def test_a8_callback_a_second_time(client, ada):
    callback = consent(go_to_openrouter(client))
    client.get(callback)
    before = keys.key_of(ada.pk).key_hash
    assert client.get(callback)["Location"] == ACCOUNT
    assert "not good any more" in client.get(ACCOUNT).content.decode()
    assert keys.key_of(ada.pk).key_hash == before


def test_a8_callback_after_ten_minutes(client, openrouter):
    callback = consent(go_to_openrouter(client))
    SignIn.objects.update(created=timezone.now() - timedelta(minutes=10))
    assert client.get(callback)["Location"] == ACCOUNT
    assert_nothing_is_stored(openrouter)


def test_a8_code_that_has_expired_at_openrouter(client, openrouter):
    callback = consent(go_to_openrouter(client))
    openrouter.accounts.offset = timedelta(minutes=10)
    client.get(callback)
    assert "not good any more" in client.get(ACCOUNT).content.decode()
    assert_nothing_is_stored(openrouter)


def test_a8_code_of_another_flow(client, eve, openrouter):
    """What somebody else consented to does not fit the verifier here: PKCE."""
    foreign = asked(consent(go_to_openrouter(browser_of(eve))))["code"]
    SignIn.objects.all().delete()
    callback = asked(go_to_openrouter(client))["callback_url"].removeprefix("http://localhost")
    client.get(callback, {"code": foreign})
    assert "not good any more" in client.get(ACCOUNT).content.decode()
    assert_nothing_is_stored(openrouter)


def test_a8_code_that_was_used_elsewhere(client, openrouter):
    code = asked(consent(go_to_openrouter(client)))["code"]
    openrouter.accounts.codes.pop(code)
    SignIn.objects.all().delete()
    callback = asked(go_to_openrouter(client))["callback_url"].removeprefix("http://localhost")
    client.get(callback, {"code": code})
    assert_nothing_is_stored(openrouter)


@pytest.mark.parametrize("code", ["", "x" * 2_001, "a\r\nb", "\x00", "ünïcode"])
def test_a8_code_that_is_none_is_not_sent(client, openrouter, code):
    callback = asked(go_to_openrouter(client))["callback_url"].removeprefix("http://localhost")
    client.get(callback, {"code": code})
    assert not [each for each in openrouter.requests if each.path.endswith("/auth/keys")]
    assert_nothing_is_stored(openrouter)


def test_a8_only_get_ends_a_sign_in(client):
    callback = consent(go_to_openrouter(client))
    assert client.head(callback).status_code == 405
    assert client.post(callback).status_code == 405
    assert SignIn.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_a8_two_callbacks_at_once_are_one(ada):
    session = SessionStore()
    nonces = []
    connecting.begin(ada, session, lambda nonce: nonces.append(nonce) or "http://localhost/")
    found, start = [], threading.Barrier(6)

    def redeem():
        start.wait(10)
        try:
            found.append(connecting.redeem(ada, session, nonces[0]))
        finally:
            connection.close()

    threads = [threading.Thread(target=redeem) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(found) == 6
    assert len([row for row in found if row is not None]) == 1


# ---- A9: the verifier is seen by nobody ----


@pytest.mark.parametrize("engine", ["db", "signed_cookies"])
def test_a9_verifier_is_in_no_address_page_cookie_row_or_log(client, settings, caplog, engine):
    settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{engine}"
    caplog.set_level(logging.DEBUG)
    client = browser_of(get_user_model().objects.get(username="ada"))
    response = client.post(reverse("openrouter_app:connect"))
    row = SignIn.objects.get()
    verifier = row.opened().reveal()
    cookies = "".join(morsel.value for morsel in client.cookies.values())
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM openrouter_app_signin")
        stored = repr(cursor.fetchall())
    session = dict(client.session)  # what a signed cookie says, decoded
    client.get(consent(address_in(response)))
    seen = (
        response.content.decode(),
        cookies,
        stored,
        repr(row) + repr(vars(row)),
        serializers.serialize("json", [row]),
        repr(session),
        caplog.text,
    )
    assert not [place for place in seen if verifier in place]
    assert UserKey.objects.exists()  # and it was the right one


def test_a9_nonce_and_session_are_stored_as_hashes(client):
    nonce = asked(go_to_openrouter(client))["callback_url"].split("/")[-2]
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM openrouter_app_signin")
        stored = repr(cursor.fetchall())
    assert nonce not in stored
    assert client.session[connecting.SESSION_KEY] not in stored


def test_a9_each_sign_in_has_its_own_verifier_and_only_s256(client):
    first, second = asked(go_to_openrouter(client)), asked(go_to_openrouter(client))
    assert first["code_challenge"] != second["code_challenge"]
    assert first["callback_url"] != second["callback_url"]
    assert {first["code_challenge_method"], second["code_challenge_method"]} == {"S256"}


def test_a9_verifier_of_one_row_does_not_open_in_another(client):
    go_to_openrouter(client)
    go_to_openrouter(client)
    first, second = SignIn.objects.order_by("pk")
    second.verifier = first.verifier
    assert second.opened() is None


# ---- A10: open redirects ----

ELSEWHERE = [
    "//evil.com",
    "///evil.com",
    "https:evil.com",
    "https://evil.com/",
    "https://localhost@evil.com/",
    "https://localhost.evil.com/",
    "/\\evil.com",
    "\\\\evil.com",
    "javascript:alert(1)",
    "data:text/html,x",
    " //evil.com",
    "/\t/evil.com",
    "/ok\r\nSet-Cookie: a=b",
    "/ok\x00",
    "/" + "x" * 10_000,
]


@pytest.mark.parametrize("url", ELSEWHERE)
def test_a10_one_is_led_to_no_other_site(client, url):
    assert connect(client, next=url)["Location"] == ACCOUNT
    for name in ("disconnect/", "refresh/"):
        assert client.post(ACCOUNT + name, {"next": url})["Location"] == ACCOUNT
    page = client.get(ACCOUNT, {"next": url}).content.decode()
    assert "evil" not in page
    assert 'name="next" value=""' in page


def test_a10_address_that_was_stored_is_looked_at_again(client):
    callback = consent(go_to_openrouter(client, next="/chains/talk/"))
    SignIn.objects.update(next="https://evil.com/")
    assert client.get(callback)["Location"] == ACCOUNT


def test_a10_plain_http_is_not_led_to_from_https(ada):
    client = browser_of(ada)
    url = "http://localhost/chains/talk/"
    page = client.get(ACCOUNT, {"next": url}, secure=True).content.decode()
    assert url not in page


# ---- A11: whose address OpenRouter is told ----


def begun(client, **headers):
    return client.post(reverse("openrouter_app:connect"), **headers)


def test_a11_host_that_is_not_the_sites_is_refused(client):
    assert begun(client, SERVER_NAME="evil.com").status_code == 400
    assert begun(client, headers={"host": "evil.com"}).status_code == 400
    assert not SignIn.objects.exists()


def test_a11_forwarded_host_and_scheme_change_nothing(client):
    forwarded = {"x-forwarded-host": "evil.com", "x-forwarded-proto": "https", "forwarded": "host=evil.com"}
    url = address_in(begun(client, headers=forwarded))
    assert asked(url)["callback_url"].startswith("http://localhost/")


def test_a11_plain_http_elsewhere_is_told_so(client, settings):
    settings.ALLOWED_HOSTS = ["shop.example"]
    for headers in ({}, {"x-forwarded-proto": "https"}):
        response = begun(client, SERVER_NAME="shop.example", headers=headers)
        assert (response.status_code, b"over https only" in response.content) == (400, True)
    assert not SignIn.objects.exists()
    https = begun(client, SERVER_NAME="shop.example", secure=True)
    assert asked(address_in(https))["callback_url"].startswith("https://shop.example/account/callback/")


def test_a11_host_that_nobody_checks_is_not_told(client, settings):
    settings.ALLOWED_HOSTS = ["*"]
    assert begun(client, SERVER_NAME="evil.com", secure=True).status_code == 400
    assert not SignIn.objects.exists()


def test_a11_setting_decides_whatever_the_request_says(client, settings):
    settings.OPENROUTER |= {"CALLBACK_ORIGIN": "https://shop.example"}
    settings.ALLOWED_HOSTS = ["*"]
    url = address_in(begun(client, SERVER_NAME="evil.com"))
    assert asked(url)["callback_url"].startswith("https://shop.example/account/callback/")


# ---- A12: somebody else's key ----


@pytest.mark.parametrize("name", ["connect", "paste", "disconnect", "refresh", "replace"])
def test_a12_other_sites_start_and_change_nothing(ada, name):
    keys.store(ada, Secret(KEY), UserKey.Origin.OAUTH, KeyInfo(label="Own"))
    client = browser_of(ada, enforce_csrf_checks=True)
    connecting.arrived(ada, Secret(KEY[::-1]), UserKey.Origin.OAUTH, KeyInfo(label="New"))
    posted = {"key": KEY[::-1], "keep": "new", "key_hash": OfferedKey.objects.get().key_hash}
    for origin in ("https://evil.com", "null"):
        response = client.post(f"{ACCOUNT}{name}/", posted, headers={"origin": origin})
        assert response.status_code == 403
    assert not SignIn.objects.exists()
    assert keys.key_of(ada.pk).label == "Own"


@pytest.mark.parametrize("name", ["connect", "paste", "disconnect", "refresh"])
def test_a12_no_link_starts_or_changes_anything(client, name):
    assert client.get(f"{ACCOUNT}{name}/").status_code == 405


def test_a12_attackers_callback_in_the_victims_browser(client, ada, eve, openrouter):
    """Eve begins and consents, and sends Ada the address that she was led back to."""
    trap = consent(go_to_openrouter(browser_of(eve)))
    go_to_openrouter(client)
    assert client.get(trap)["Location"] == ACCOUNT
    assert not UserKey.objects.exists()
    assert not openrouter.accounts.keys


def test_a12_key_beside_another_is_asked_about_with_both_named(client, ada):
    own = keys.store(ada, Secret(KEY), UserKey.Origin.OAUTH, KeyInfo(label="My own"))
    connect(client)
    page = client.get("/account/replace/").content.decode()
    offered = OfferedKey.objects.get()
    assert {own.key_hash[:8], offered.key_hash[:8], "My own"} <= set(page.replace("<", ">").split(">"))
    assert keys.key_of(ada.pk).key_hash == own.key_hash


def test_a12_key_that_is_offered_is_its_users_alone(client, ada, eve):
    keys.store(ada, Secret(KEY), UserKey.Origin.OAUTH, KeyInfo())
    connect(client)
    offered = OfferedKey.objects.get()
    stranger = browser_of(eve)
    assert stranger.get("/account/replace/")["Location"] == ACCOUNT
    stranger.post("/account/replace/", {"keep": "new", "key_hash": offered.key_hash})
    assert keys.key_of(eve.pk) is None
    offered.user = eve
    assert offered.opened() is None  # its ciphertext is bound to Ada


# ---- A34: frames, caches, referrers ----


def every_answer(client, openrouter):
    """(name, response) of each page and redirect of the account, good and bad."""
    yield "account", client.get(ACCOUNT)
    yield "stranger", browser_of().get(ACCOUNT)
    yield "going on", client.post("/account/connect/")
    yield "going on is refused", client.post("/account/connect/", SERVER_NAME="testserver")
    callback = consent(go_to_openrouter(client))
    yield "callback without a session", browser_of().get(callback)
    yield "callback", client.get(callback)
    yield "callback again", client.get(callback)
    yield "account with a key", client.get(ACCOUNT)
    yield "refresh", client.post("/account/refresh/")
    yield "paste of nothing", client.post("/account/paste/", {"key": ""})
    for _ in range(MOST_KEY_CHECKS):
        yield "paste", client.post("/account/paste/", {"key": KEY})
    yield "replace", client.get("/account/replace/")
    yield "replaced", client.post("/account/replace/", {"keep": "old"})
    yield "disconnect", client.post("/account/disconnect/")


@pytest.mark.parametrize("has_middleware", [True, False])
def test_a34_no_page_is_framed_cached_or_named_to_others(client, openrouter, settings, has_middleware):
    if not has_middleware:
        own = ("SecurityMiddleware", "ContentSecurityPolicyMiddleware", "XFrameOptionsMiddleware")
        settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if not name.endswith(own)]
    for name, response in every_answer(client, openrouter):
        assert response["X-Frame-Options"] == "DENY", name
        assert "no-store" in response["Cache-Control"], name
        is_secret = name.startswith("callback")  # of a page with no-referrer no form would be taken
        assert response["Referrer-Policy"] == ("no-referrer" if is_secret else "same-origin"), name
        if has_middleware:
            assert "frame-ancestors 'none'" in response["Content-Security-Policy"], name


def test_a34_no_page_shows_a_code_a_nonce_or_a_key(client, openrouter):
    url = go_to_openrouter(client)
    callback = consent(url)
    code, nonce = asked(callback)["code"], callback.split("/")[3]
    client.get(callback)
    for path in (ACCOUNT, "/account/replace/"):
        page = client.get(path).content.decode()
        assert not [secret for secret in (code, nonce, key_at(openrouter)) if secret in page]


def test_a34_links_to_openrouter_name_no_page(client):
    connect(client)
    page = client.get(ACCOUNT).content.decode()
    assert page.count("/keys/") == page.count("/logs?") == 1
    assert page.count('rel="noreferrer"') == 2
    assert 'rel="noreferrer"' in client.post("/account/connect/").content.decode()
    assert '<meta name="referrer" content="no-referrer">' in client.post("/account/connect/").content.decode()
