"""What is asked of OpenRouter beside completions, against a server that says what a test wants."""

from __future__ import annotations

import asyncio
import gzip
import json
from datetime import UTC, datetime
from decimal import Decimal
from urllib.parse import parse_qs

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openrouter_app.engine import accounts, client, defaults
from openrouter_app.engine.accounts import (
    KeyInfo,
    exchange_code,
    get_generation,
    get_key_info,
    list_endpoints,
    list_models,
)
from openrouter_app.engine.base_url import check_base_url
from openrouter_app.engine.defaults import Defaults
from openrouter_app.engine.errors import (
    BadRequestError,
    ConfigurationError,
    ConnectError,
    ForbiddenError,
    InputError,
    KeyRejectedError,
    OpenRouterError,
    ReadTimeoutError,
    UpstreamError,
)
from openrouter_app.engine.secret import Secret

from .loopback import serving

KEY = Secret("sk-or-v1-CANARYCANARYCANARY")
VERIFIER = Secret("v" * 43)
MODEL = {"id": "a/b", "pricing": {"prompt": "0.0000002"}}


@pytest.fixture(autouse=True)
def source(monkeypatch):
    """Lets a test say where requests go."""

    def use(base_url, **given):
        monkeypatch.setattr(defaults, "_source", lambda: Defaults(base_url=base_url, **given))

    use("http://127.0.0.1:1/v1")
    return use


@pytest.fixture
async def says(source, transport):
    """Lets a test give the one answer of a server: a body as bytes, or a value as JSON."""
    opened = []

    def use(body, status=200, **headers):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {"Content-Type": "application/json", "Content-Length": len(body), **headers}
        head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in named.items())

        def answer(server, connection):
            connection.sendall(f"HTTP/1.1 {status} X\r\n{head}\r\n".encode() + body)

        opened.append(context := serving(answer))
        server = context.__enter__()
        source(server.base_url, api_key="sk-or-v1-SITE", app_url="https://example.com", app_title="Ex")
        return server

    yield use
    await client.aclose()
    for context in opened:
        context.__exit__(None, None, None)


def head_of(request):
    """The request's line, and its headers by name."""
    line, *rest = request.split(b"\r\n\r\n")[0].decode().split("\r\n")
    return line, {name.lower(): value for name, value in (one.split(": ", 1) for one in rest)}


# What is asked


async def test_key_info_is_asked_with_the_key_and_the_sites_name(says):
    server = says(
        {
            "data": {
                "label": "Example",
                "limit": 5,
                "limit_remaining": 4.1000000001,
                "limit_reset": "monthly",
                "usage": "0.8999999999",
                "expires_at": "2027-01-02T03:04:05Z",
                "is_free_tier": False,
                "rate_limit": {"requests": -1},
            }
        }
    )
    assert await get_key_info(KEY) == KeyInfo(
        label="Example",
        limit=Decimal(5),
        limit_remaining=Decimal("4.1000000001"),
        limit_reset="monthly",
        usage=Decimal("0.8999999999"),
        expires_at=datetime(2027, 1, 2, 3, 4, 5, tzinfo=UTC),
        is_free_tier=False,
    )
    line, headers = head_of(server.requests[0])
    assert line == "GET /v1/key HTTP/1.1"
    assert headers["authorization"] == f"Bearer {KEY.reveal()}"
    assert headers["http-referer"] == "https://example.com"
    assert headers["x-title"] == headers["x-openrouter-title"] == "Ex"
    assert "cookie" not in headers
    assert headers.get("content-length", "0") == "0"


async def test_a_code_is_exchanged_with_its_verifier_and_without_a_key(says):
    server = says({"key": "sk-or-v1-new", "user_id": None})
    assert await exchange_code("the code", VERIFIER) == Secret("sk-or-v1-new")
    line, headers = head_of(server.requests[0])
    assert line == "POST /v1/auth/keys HTTP/1.1"
    assert "authorization" not in headers
    assert json.loads(server.requests[0].split(b"\r\n\r\n")[1]) == {
        "code": "the code",
        "code_verifier": "v" * 43,
        "code_challenge_method": "S256",
    }


async def test_models_are_listed_with_conditions_and_exact_prices(says):
    server = says({"data": [MODEL, None, "x", {"id": "c/d", "pricing": {"prompt": 1e-7}}]})
    assert await list_models(output_modalities="all") == [
        MODEL,
        {"id": "c/d", "pricing": {"prompt": Decimal("1E-7")}},
    ]
    await list_models()
    lines = [head_of(request)[0].split()[1] for request in server.requests]
    assert lines == ["/v1/models?output_modalities=all", "/v1/models"]


async def test_endpoints_are_those_of_the_slug(says):
    server = says({"data": {"id": "a/b", "endpoints": []}})
    assert await list_endpoints("a/b-1.5:free") == {"id": "a/b", "endpoints": []}
    assert head_of(server.requests[0])[0].split()[1] == "/v1/models/a/b-1.5:free/endpoints"


@pytest.mark.parametrize(
    "slug", ["", "a", "../key", "a/..", "a/b/c", "a/b?x", "a/b#x", "a b/c", "//x", "a/b\r\n"]
)
async def test_A27_what_is_no_slug_is_asked_for_nowhere(slug):
    with pytest.raises(InputError):
        await list_endpoints(slug)


async def test_a_generation_is_asked_for_by_its_id_with_the_key_that_paid(says):
    server = says({"data": {"id": "gen-1&x=/", "total_cost": 0.00042}})
    assert await get_generation("gen-1&x=/", KEY) == {"id": "gen-1&x=/", "total_cost": Decimal("0.00042")}
    line, headers = head_of(server.requests[0])
    path, query = line.split()[1].split("?")
    assert (path, parse_qs(query)) == ("/v1/generation", {"id": ["gen-1&x=/"]})
    assert headers["authorization"] == f"Bearer {KEY.reveal()}"


# What goes wrong


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, KeyRejectedError), (403, ForbiddenError), (429, OpenRouterError), (500, UpstreamError)],
)
async def test_errors_are_those_of_completions(says, status, kind):
    says({"error": {"message": "no", "code": status}}, status)
    with pytest.raises(kind) as caught:
        await get_key_info(KEY)
    assert caught.value.status == status


async def test_a_generation_that_is_not_known_yet_has_the_status_404(says):
    says({"error": {"message": "Generation not found", "code": 404}}, 404)
    with pytest.raises(BadRequestError) as caught:
        await get_generation("gen-1", KEY)
    assert caught.value.status == 404


async def test_a_code_that_is_refused_is_told_in_words_about_signing_in(says):
    says({"error": {"message": "Invalid code or code_verifier", "code": 403}}, 403)
    with pytest.raises(ForbiddenError, match="connect again"):
        await exchange_code("c", VERIFIER)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"<!doctype html><html>",
        b"[" * 200_000,
        b'{"data": ' * 100_000,
        b"\xff\xfe",
        b'{"data": 1e99999999999999999999}',
        b'{"data": ' + b"9" * 10_000 + b"}",
        b'{"data": [' + b"[]," * 600_000 + b"[]]}",
    ],
    ids=["empty", "cut", "page", "deep", "deep objects", "no text", "huge", "long number", "wide"],
)
async def test_a_body_that_makes_no_sense_is_an_error_or_says_nothing(says, body):
    says(body)
    try:
        assert await get_key_info(KEY) == KeyInfo()
    except OpenRouterError as error:
        assert isinstance(error, UpstreamError)
    with pytest.raises(UpstreamError):
        await list_models()
    with pytest.raises(UpstreamError):
        await exchange_code("c", VERIFIER)


@pytest.mark.parametrize(
    "said",
    [
        None,
        [],
        "x",
        {"label": 3, "limit": "x", "limit_remaining": True, "usage": [], "expires_at": 5, "limit_reset": {}},
        {"label": None, "limit": "NaN", "usage": "Infinity", "expires_at": "tomorrow", "is_free_tier": "no"},
        {"limit": "1e999999999", "expires_at": "0001-01-01T00:00:00+23:59", "usage": "9" * 5_000},
        {"expires_at": "9999-12-31T23:59:59Z"},  # no day in zones that are ahead: no page could show it
        {"expires_at": "0001-01-01T00:00:00Z"},
    ],
)
async def test_odd_members_of_a_key_count_as_not_said(says, said):
    says({"data": said})
    info = await get_key_info(KEY)
    assert (info.label, info.limit_reset, info.expires_at, info.is_free_tier) == ("", "", None, None)
    assert info.limit_remaining is None


async def test_half_a_surrogate_pair_costs_the_list_nothing_but_itself(says):
    says(b'{"data": [{"id": "a/b", "name": "x\\ud800y"}, {"id": "c\\\\ud800"}]}')
    assert await list_models() == [{"id": "a/b", "name": "x?y"}, {"id": "c\\ud800"}]


@pytest.mark.parametrize(
    "key", ["", "short", "x" * 501, "sk-or-v1-a\r\nX: y", "sk-or-v1-käse", None, 3, ["sk-or-v1-abc"]]
)
async def test_an_answer_without_a_sendable_key_gives_none(says, key):
    says({"key": key})
    with pytest.raises(UpstreamError, match="holds no key"):
        await exchange_code("c", VERIFIER)


async def test_a_body_over_the_limit_is_read_no_further(says, monkeypatch):
    monkeypatch.setattr(accounts, "MAX_BODY", 100_000)
    says({"data": ["x" * 200_000]})
    with pytest.raises(UpstreamError, match="too large"):
        await list_models()


async def test_A30_a_compressed_body_is_no_larger_than_any(says, monkeypatch):
    monkeypatch.setattr(accounts, "MAX_BODY", 100_000)
    says(gzip.compress(b" " * 50_000_000), Content_Encoding="gzip")
    with pytest.raises(UpstreamError, match="too large"):
        await list_models()


async def test_a_server_that_is_silent_is_given_up(source, transport, monkeypatch):
    monkeypatch.setattr(accounts, "PATIENCE", 0.2)

    def answer(server, connection):
        server.wait_for_hang_up(connection, 10)
        return True

    with serving(answer) as server:
        source(server.base_url)
        with pytest.raises(ReadTimeoutError):
            await get_key_info(KEY)
        assert await asyncio.to_thread(server.hung_up.wait, 5)


async def test_a_server_that_is_not_there_is_an_error_without_the_request(transport):
    with pytest.raises(ConnectError) as caught:
        await get_key_info(KEY)
    assert caught.value.__cause__ is caught.value.__context__ is None


async def test_whoever_asks_can_be_cancelled_and_the_connection_is_closed(source, transport):
    def answer(server, connection):
        server.wait_for_hang_up(connection, 10)
        return True

    with serving(answer) as server:
        source(server.base_url)
        task = asyncio.ensure_future(get_key_info(KEY))
        assert await asyncio.to_thread(server.asked.wait, 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(server.hung_up.wait, 5)


@pytest.mark.parametrize("key", ["sk-or-v1-CANARY\r\nX-Evil: 1", "sk-or-v1-CANARY\0", "sk-or-v1-CANARY☃"])
async def test_A27_a_key_that_is_no_header_is_sent_nowhere_and_is_in_no_error(says, key):
    server = says({"data": {}})
    with pytest.raises(ConfigurationError) as caught:
        await get_key_info(Secret(key))
    assert "CANARY" not in str(caught.value)
    assert server.requests == []


async def test_the_key_does_not_go_over_plain_http_to_another_machine(source):
    source("http://192.0.2.1/v1")
    with pytest.raises(ConfigurationError, match="unencrypted"):
        await get_key_info(KEY)
    assert check_base_url("https://192.0.2.1/v1")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(
    body=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["data", "label", "limit", "usage", "key", "x"]), inner, max_size=4
            )
        ),
    )
)
def test_any_json_is_read_or_refused_in_our_own_words(body):
    said = accounts._decoded(bytearray(json.dumps(body).encode()))
    assert isinstance(said, UpstreamError) or json.dumps(said, default=float)
    assert accounts._key(said) is None or isinstance(accounts._key(said), Secret)
    assert isinstance(accounts._label(said, KEY), str)
    assert accounts._dollars(said) is None or accounts._dollars(said).is_finite()
    assert accounts._moment(said) is None or accounts._moment(said).tzinfo is not None
