"""The fake's consent page, codes, keys, and what a key says of itself."""

from __future__ import annotations

import base64
import hashlib
from datetime import timedelta
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from openrouter_app.engine.client import httpx

VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
CALLBACK = "http://127.0.0.1:8000/back/"
ASKED = {"callback_url": CALLBACK, "code_challenge": CHALLENGE, "code_challenge_method": "S256"}


def auth_url(fake, **asked: str) -> str:
    return f"{fake.base_url.removesuffix('/api/v1')}/auth?{urlencode({**ASKED, **asked})}"


def consent(fake, **asked: str) -> str:
    """The code that a visitor's consent leads back with."""
    response = httpx.post(auth_url(fake, **asked))
    assert response.status_code == 303
    return parse_qs(urlsplit(response.headers["location"]).query)["code"][0]


def exchange(fake, code: str, verifier: str = VERIFIER, method: str = "S256") -> httpx.Response:
    body = {"code": code, "code_verifier": verifier, "code_challenge_method": method}
    return httpx.post(f"{fake.base_url}/auth/keys", json=body)


def ask(fake, key: str) -> httpx.Response:
    return httpx.post(
        f"{fake.base_url}/chat/completions",
        headers={"Authorization": f"Bearer {key}"},
        json={"model": "a/b", "messages": [{"role": "user", "content": "Hello"}]},
    )


def about(fake, key: str) -> httpx.Response:
    return httpx.get(f"{fake.base_url}/key", headers={"Authorization": f"Bearer {key}"})


def test_consent_page_names_who_asks_and_for_what(openrouter):
    page = httpx.get(auth_url(openrouter, key_label="<b>Shop", limit="5"))
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert "127.0.0.1:8000" in page.text
    assert "&lt;b&gt;Shop" in page.text


@pytest.mark.parametrize("callback", ["http://example.com/", "javascript:alert(1)", "//x", "", "https://["])
def test_nobody_is_led_to_what_is_neither_https_nor_this_machine(openrouter, callback):
    assert httpx.post(auth_url(openrouter, callback_url=callback)).status_code == 400


def test_callback_keeps_its_own_query(openrouter):
    response = httpx.post(auth_url(openrouter, callback_url=f"{CALLBACK}?a=b"))
    assert response.headers["location"].startswith(f"{CALLBACK}?a=b&code=")


def test_code_gives_one_key_once(openrouter):
    code = consent(openrouter)
    assert exchange(openrouter, code).json()["key"].startswith("sk-or-v1-")
    assert exchange(openrouter, code).status_code == 403


def test_code_is_good_for_ten_minutes(openrouter):
    code = consent(openrouter)
    openrouter.accounts.offset = timedelta(minutes=10)
    response = exchange(openrouter, code)
    assert (response.status_code, response.json()["error"]["message"]) == (403, "Authorization code expired")


def test_wrong_verifier_or_method_gives_no_key(openrouter):
    code = consent(openrouter)
    assert exchange(openrouter, code, method="plain").status_code == 400
    assert exchange(openrouter, code, verifier="w" * 43).status_code == 403
    assert exchange(openrouter, "nothing").status_code == 403
    assert not openrouter.accounts.keys


def test_plain_challenge_gives_no_key(openrouter):
    code = consent(openrouter, code_challenge=VERIFIER, code_challenge_method="plain")
    assert exchange(openrouter, code, method="plain").status_code == 403


def test_keys_are_asked_for_by_post(openrouter):
    assert httpx.get(f"{openrouter.base_url}/auth/keys").status_code == 405
    assert httpx.get(f"{openrouter.base_url}/auth/keys/code").status_code == 405


def test_key_says_what_was_asked_for(openrouter):
    code = consent(
        openrouter, key_label="Shop", limit="5", usage_limit_type="monthly", expires_at="2999-01-01T00:00:00Z"
    )
    data = about(openrouter, exchange(openrouter, code).json()["key"]).json()["data"]
    assert (data["label"], data["limit"], data["limit_reset"]) == ("Shop", 5.0, "monthly")
    assert data["expires_at"] == "2999-01-01T00:00:00+00:00"


def test_key_counts_what_completions_cost_until_its_limit(openrouter):
    openrouter.reply("Hello", usage={"cost": 0.75})
    openrouter.reply("Hello", usage={"cost": 0.75})
    key = exchange(openrouter, consent(openrouter, limit="1")).json()["key"]
    assert ask(openrouter, key).status_code == 200
    data = about(openrouter, key).json()["data"]
    assert (data["usage"], data["limit_remaining"]) == (0.75, 0.25)
    assert ask(openrouter, key).status_code == 200
    assert about(openrouter, key).json()["data"]["limit_remaining"] == 0
    refused = ask(openrouter, key)
    assert (refused.status_code, refused.json()["error"]["metadata"]["limit_source"]) == (402, "key")


def test_revoked_and_expired_keys_are_unknown(openrouter):
    revoked = exchange(openrouter, consent(openrouter)).json()["key"]
    openrouter.revoke(revoked)
    expired = exchange(openrouter, consent(openrouter, expires_at="2999-01-01T00:00:00Z")).json()["key"]
    openrouter.accounts.offset = timedelta(days=365 * 2_000)
    for key in (revoked, expired):
        assert (about(openrouter, key).status_code, ask(openrouter, key).status_code) == (401, 401)


def test_issued_keys_pass_beside_the_sites_own(openrouter):
    openrouter.api_keys = frozenset({"own"})
    openrouter.reply("Hello")
    assert about(openrouter, "own").json()["data"]["limit"] is None
    assert about(openrouter, "foreign").status_code == 401
    assert ask(openrouter, exchange(openrouter, consent(openrouter)).json()["key"]).status_code == 200


def test_server_asks_for_a_code_with_a_key_of_its_own(openrouter):
    openrouter.api_keys = frozenset({"own"})
    url = f"{openrouter.base_url}/auth/keys/code"
    assert httpx.post(url, json=ASKED).status_code == 401
    own = {"Authorization": "Bearer own"}
    assert httpx.post(url, json={**ASKED, "callback_url": "x"}, headers=own).status_code == 400
    data = httpx.post(url, json={**ASKED, "limit": 2}, headers=own).json()["data"]
    key = exchange(openrouter, data["id"]).json()["key"]
    assert about(openrouter, key).json()["data"]["limit"] == 2.0


def test_repr_shows_no_key(openrouter):
    key = exchange(openrouter, consent(openrouter)).json()["key"]
    assert key not in repr(openrouter.accounts)


def test_page_of_a_key_says_what_it_has_spent_and_deletes_it(openrouter):
    openrouter.reply("Hello", usage={"cost": 0.25})
    key = exchange(openrouter, consent(openrouter, key_label="<b>Shop")).json()["key"]
    ask(openrouter, key)
    site, digest = openrouter.base_url.removesuffix("/api/v1"), hashlib.sha256(key.encode()).hexdigest()
    for path in (f"/keys/{digest}", f"/logs?api_key_hash={digest}"):
        page = httpx.get(site + path)
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert "&lt;b&gt;Shop" in page.text
        assert "0.25" in page.text
        assert key not in page.text
    assert about(openrouter, key).status_code == 200, "looking at it deletes nothing"
    assert httpx.post(f"{site}/keys/{digest}").status_code == 200
    assert about(openrouter, key).status_code == ask(openrouter, key).status_code == 401
    assert httpx.get(f"{site}/keys/{digest}").status_code == 404


@pytest.mark.parametrize("path", ["/keys/", "/keys/abc", "/logs", "/logs?api_key_hash=" + "0" * 64])
def test_page_of_no_key_is_none(openrouter, path):
    assert httpx.get(openrouter.base_url.removesuffix("/api/v1") + path).status_code == 404
