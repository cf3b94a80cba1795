"""Error bodies: which error each is, what a person hears, and what stays out of it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openrouter_app.engine.errors import (
    BadRequestError,
    CreditError,
    KeyRejectedError,
    ProviderError,
    RateLimitError,
    UpstreamError,
)
from openrouter_app.engine.failures import failure_of, failure_of_response, redact


@pytest.mark.parametrize(
    ("error", "kind", "status"),
    [
        ({"code": 401, "message": "No"}, KeyRejectedError, 401),
        ({"code": "429", "message": "Slow down"}, RateLimitError, 429),
        ({"code": "server_error", "message": "Oops"}, UpstreamError, None),
        ({"http_status": 503, "error_type": "overloaded"}, UpstreamError, 503),
        ({"code": 418, "message": "teapot"}, BadRequestError, 418),
        ({"code": 599}, UpstreamError, 599),
        ({"code": 10**400}, UpstreamError, None),
        ({"code": True}, UpstreamError, None),
        ("just words", UpstreamError, None),
        ([], UpstreamError, None),
    ],
)
def test_code_may_be_a_number_a_word_or_absent(error, kind, status):
    failure = failure_of(error)
    assert type(failure) is kind
    assert failure.status == status
    assert failure.message.endswith(".")


def test_http_status_decides_over_the_code():
    assert type(failure_of({"code": 500}, status=402)) is CreditError


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>502 Bad Gateway</html>",
        b"[1]",
        b'{"detail": "x"}',
        b"\xff\xfe",
        b'{"error": null}',
        b"[" * 100_000,
    ],
)
def test_body_of_any_kind_gives_an_error(body):
    failure = failure_of_response(502, {}, body)
    assert type(failure) is UpstreamError
    assert failure.retryable


def test_what_the_provider_says_is_kept_for_the_log_and_never_shown():
    error = {
        "code": 502,
        "message": "their words",
        "metadata": {"provider_name": "Acme", "raw": {"k": "raw words"}},
    }
    failure = failure_of(error)
    assert failure.provider == "Acme"
    assert "their words" in failure.detail
    assert "raw words" in failure.detail
    assert "words" not in failure.message


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ("7", 7),
        ("0.5", 0.5),
        ("soon", None),
        ("-1", None),
        ("1e400", None),
        ("nan", None),
        (10**400, None),
        (None, None),
    ],
)
def test_retry_after_is_believed_only_where_it_is_a_time(given, seconds):
    assert failure_of({"code": 429}, headers={"Retry-After": given}).retry_after == seconds
    assert failure_of({"code": 429, "metadata": {"headers": {"retry-after": given}}}).retry_after == seconds


def test_availability_says_whether_trying_again_can_help():
    assert failure_of({"code": 404, "availability": {"retryable": True}}).retryable
    assert not failure_of({"code": 503, "availability": {"retryable": False}}).retryable


@pytest.mark.parametrize(
    "text",
    [
        "key sk-or-v1-0123456789abcdef is wrong",
        "Authorization: Bearer abcdef0123456789",
        "bearer\tsk-0123456789ab",
    ],
)
def test_keys_are_blotted_out(text):
    assert "0123456789" not in redact(text)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(10**400),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["code", "message", "metadata", "headers", "Retry-After", "raw", "availability", "retryable"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=10,
)


@given(json_values)
def test_any_error_member_gives_an_error_of_ours(error):
    failure = failure_of(error)
    assert isinstance(failure, ProviderError)
    assert len(failure.detail) <= 2000


@given(json_values)
def test_any_json_body_gives_an_error_of_ours(body):
    assert isinstance(failure_of_response(500, {}, json.dumps({"error": body}).encode()), ProviderError)
