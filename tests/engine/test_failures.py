"""Error bodies: which error each is, what a person hears, and what stays out of it."""

from __future__ import annotations

import json
import pickle
import time
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openrouter_app.engine import errors
from openrouter_app.engine.errors import (
    BadRequestError,
    CreditError,
    ForbiddenError,
    KeyRejectedError,
    OpenRouterError,
    ProviderError,
    RateLimitError,
    UpstreamError,
)
from openrouter_app.engine.failures import failure_of, failure_of_response, hide_key, redact
from openrouter_app.engine.secret import Secret


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
        ({"code": "999"}, UpstreamError, None),
        ({"code": "099", "http_status": 429}, RateLimitError, 429),
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


def test_provider_is_named_by_the_body_or_by_the_answer_it_broke():
    assert failure_of({"metadata": {"provider_name": None}}, provider="Acme").provider == "Acme"
    assert failure_of({"metadata": []}, provider="Acme", generation_id="gen-1").generation_id == "gen-1"


def test_words_of_the_provider_may_be_text_json_in_text_or_an_object():
    for raw in ("a word", '{"error": {"message": "a word"}}', {"error": ["a word"]}):
        error = {"code": 400, "message": "Provider returned error", "metadata": {"raw": raw}}
        assert "a word" in failure_of(error).detail
    deep = []
    for _ in range(5000):
        deep = [deep]
    assert failure_of({"code": 502, "metadata": {"raw": deep}}).status == 502
    assert failure_of({"message": object(), "metadata": {"raw": "x" * 10**6}}).detail == "x" * 2000


@pytest.mark.parametrize(
    ("error", "kind", "retryable"),
    [
        ({"metadata": {"error_type": "rate_limit_exceeded"}}, RateLimitError, True),
        ({"code": 500, "metadata": {"error_type": "provider_overloaded"}}, UpstreamError, True),
        ({"code": 502, "metadata": {"error_type": "context_length_exceeded"}}, BadRequestError, False),
        ({"code": 400, "metadata": {"error_type": "content_policy_violation"}}, ForbiddenError, False),
        ({"code": 400, "metadata": {"error_type": "provider_unavailable"}}, UpstreamError, True),
        ({"code": 503, "metadata": {"error_type": "of a new kind"}}, UpstreamError, True),
        ({"code": 503, "metadata": {"error_type": ["timeout"]}}, UpstreamError, True),
        ({"http_status": 429, "error_type": "authentication"}, KeyRejectedError, False),
        ({"code": "payment_required"}, CreditError, False),
        ({"code": 404, "availability": {"code": "capacity_exhausted"}}, RateLimitError, True),
        ({"code": 429, "availability": {"code": "model_deprecated"}}, BadRequestError, False),
        ({"code": 404, "availability": {"code": "region_restricted"}}, ForbiddenError, False),
        (
            {
                "code": 429,
                "metadata": {"error_type": "rate_limit_exceeded"},
                "availability": {"retryable": False},
            },
            RateLimitError,
            False,
        ),
    ],
)
def test_availability_decides_then_the_type_then_the_status(error, kind, retryable):
    failure = failure_of(error)
    assert type(failure) is kind
    assert failure.retryable is retryable
    assert failure.message.endswith(".")


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        ("No endpoints found that support tool use. To learn more", "can use tools"),
        ("No endpoints found that support the provided 'tool_choice' value.", "which tool to use"),
        ("No endpoints found matching your data policy (Free model publication)", "privacy settings"),
        ("No endpoints found that support image input", "takes pictures"),
        ("No endpoints found that can handle the requested parameters.", "all the options"),
        ("No endpoints found for qwen/qwq-32b:free.", "serves this model"),
    ],
)
def test_404_says_what_the_model_cannot_do(message, sentence):
    failure = failure_of({"code": 404, "message": message})
    assert type(failure) is BadRequestError
    assert sentence in failure.message
    assert not failure.retryable
    also = {"message": message, "availability": {"code": "no_endpoints"}}
    assert failure_of(also, status=404).message.startswith(("No provider of this", "No provider serves"))


def test_402_says_what_could_be_paid():
    message = "This request requires more credits, or fewer max_tokens. You requested up to 64000 tokens, "
    failure = failure_of({"code": 402, "message": message + "but can only afford 1234."})
    assert failure.affordable_tokens == 1234
    assert "of this length" in failure.message
    assert failure_of({"code": 402, "message": "Insufficient credits"}).affordable_tokens is None


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_an_error_and_the_key_went_nowhere_else(status):
    headers = {"Location": "https://elsewhere.example/?key=sk-or-v1-0123456789abcdef"}
    failure = failure_of_response(status, headers, b"")
    assert type(failure) is UpstreamError
    assert failure.status == status
    assert not failure.retryable
    assert "base URL redirects" in failure.message
    assert "sent to no other host" in failure.message
    assert "elsewhere.example" in failure.detail
    assert "0123456789" not in failure.detail


PAGE = b"\n<!DOCTYPE html><html><body>Attention required</body></html>"


@pytest.mark.parametrize(
    ("status", "kind", "sentence"),
    [
        (403, BadRequestError, "Check the base URL"),
        (404, BadRequestError, "Check the base URL"),
        (413, BadRequestError, "too large"),
        (429, RateLimitError, "Too many requests"),
        (502, UpstreamError, "Try again"),
        (520, UpstreamError, "Try again"),
    ],
)
def test_web_page_is_no_answer(status, kind, sentence):
    failure = failure_of_response(status, {"X-Generation-Id": "gen-1"}, PAGE)
    assert type(failure) is kind
    assert sentence in failure.message
    assert failure.retryable is (status > 413)
    assert (failure.status, failure.generation_id) == (status, "gen-1")
    assert "Attention required" in failure.detail


def test_date_to_wait_for_is_read_by_the_clock_of_the_server():
    there = 1_759_845_376
    headers = {"Date": formatdate(there, usegmt=True), "Retry-After": formatdate(there + 30, usegmt=True)}
    assert failure_of({"code": 503}, headers=headers).retry_after == 30
    here = {"retry-after": formatdate(time.time() + 30, usegmt=True)}
    assert failure_of({"code": 503}, headers=here).retry_after == pytest.approx(30, abs=2)
    past = {"retry-after": formatdate(there, usegmt=True)}
    assert failure_of({"code": 503}, headers=past).retry_after is None


def test_end_of_a_limit_counts_where_nothing_else_was_said():
    there = 1_759_845_376
    date = {"date": formatdate(there, usegmt=True)}
    reset = {"X-RateLimit-Reset": "1759845420000"}
    assert failure_of({"code": 429}, headers=date | reset).retry_after == 44
    assert failure_of({"code": 429, "metadata": {"headers": reset}}, headers=date).retry_after == 44
    assert failure_of({"code": 429}, headers=date | reset | {"retry-after": "3"}).retry_after == 3
    assert failure_of({"code": 429, "metadata": {"headers": reset}}).retry_after is None  # long past
    assert failure_of({"code": 502}, headers=date | reset).retry_after is None
    soon = {"X-RateLimit-Reset": int((time.time() + 20) * 1000)}
    failure = failure_of({"code": 429, "metadata": {"headers": soon}})
    assert failure.retry_after == pytest.approx(20, abs=2)


def test_availability_may_say_how_long_to_wait():
    assert failure_of({"code": 429, "availability": {"retry_after": 40}}).retry_after == 40


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ("7", 7),
        (True, None),
        ("Tue, 99 Foo 2025 13:56:16 GMT", None),
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
                [
                    "code",
                    "message",
                    "metadata",
                    "headers",
                    "Retry-After",
                    "X-RateLimit-Reset",
                    "raw",
                    "availability",
                    "retryable",
                    "retry_after",
                    "error_type",
                ]
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


ALL = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, OpenRouterError)]


@pytest.mark.parametrize("kind", ALL)
def test_every_error_says_the_same_things(kind):
    error = kind("A sentence.")
    assert (error.status, error.retry_after, error.provider, error.generation_id) == (None, None, None, None)
    assert (str(error), error.message, error.detail) == ("A sentence.", "A sentence.", "")
    assert isinstance(error.code, str)
    assert error.code
    assert isinstance(error.retryable, bool)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert vars(again) == vars(error)


def test_what_an_error_knows_is_given_by_name():
    error = errors.BrokenStreamError("Cut.", provider="P", generation_id="gen-1", retryable=False, status=200)
    assert (error.provider, error.generation_id, error.retryable, error.status) == ("P", "gen-1", False, 200)
    assert errors.BrokenStreamError.retryable


@pytest.mark.parametrize("kind", ALL)
def test_every_error_is_drawn_under_what_it_is(kind):
    drawn = {}
    above = []
    for line in errors.__doc__.splitlines():
        words = line.lstrip(" │├└─").split()
        if words and hasattr(errors, words[0]):
            depth = line.index(words[0]) // 4
            above[depth - 1 :] = [words[0]]
            drawn[words[0]] = above[:-1]
    parents = [base.__name__ for base in reversed(kind.__mro__) if issubclass(base, OpenRouterError)]
    assert drawn[kind.__name__] == parents[:-1]


def test_what_can_be_afforded_is_read_with_its_separators():
    error = failure_of({"code": 402, "message": "You can only afford 12,345 tokens"})
    assert error.affordable_tokens == 12_345


def test_only_a_redirect_is_called_one():
    assert "redirects" in failure_of_response(307, {"location": "https://x"}, b"").message
    assert "redirects" not in failure_of_response(304, {}, b"").message


def test_error_behind_a_byte_order_mark_is_read():
    assert type(failure_of_response(200, {}, b'\xef\xbb\xbf{"error": {"code": 402}}')) is CreditError


@pytest.mark.parametrize(
    "key", ["AIzaSyCANARYCANARY123", "gsk_CANARYCANARY", "xai-CANARYCANARY", "sk-or-v1-CANARY1"]
)
def test_keys_of_other_providers_are_blotted_out(key):
    assert "CANARY" not in failure_of({"code": 401, "message": f"bad key {key} given"}).detail


def test_own_key_is_blotted_out_whatever_it_looks_like():
    error = UpstreamError("said secret-of-mine", detail="secret-of-mine!", provider="secret-of-mine")
    hide_key(error, Secret("secret-of-mine"))
    assert "secret-of-mine" not in f"{error} {error.message} {error.detail} {error.provider} {error.args}"


def test_end_of_a_key_that_was_cut_off_is_blotted_out_too():
    key = "secret-of-mine-0123456789"
    error = UpstreamError("x", detail=f"said {key} and {key[:15]}")
    hide_key(error, Secret(key))
    assert error.detail == "said [redacted] and [redacted]"


@pytest.mark.parametrize("key", ["", "x", "none", "EMPTY"])
def test_word_for_a_server_without_keys_is_left_in_sentences(key):
    error = UpstreamError("There is none in the maximum.", detail="none EMPTY x")
    hide_key(error, Secret(key))
    assert (error.message, error.detail) == ("There is none in the maximum.", "none EMPTY x")


@pytest.mark.parametrize(
    ("word", "status"), [("payment_required", 402), ("invalid_request", 400), ("rate_limit_exceeded", 429)]
)
def test_word_that_stands_for_a_status_says_it(word, status):
    assert failure_of({"code": word, "availability": {"retryable": True}}).status == status
    assert failure_of({"code": word}, status=503).status == 503


def test_status_that_is_neither_answer_nor_error_is_not_tried_again():
    failure = failure_of_response(304, {}, b"")
    assert (type(failure), failure.status, failure.retryable) == (UpstreamError, 304, False)


def test_names_and_ids_of_others_are_kept_short():
    error = {"code": 502, "metadata": {"provider_name": "p" * 10_000}}
    failure = failure_of_response(
        502, {"X-Generation-Id": "g" * 10_000}, json.dumps({"error": error}).encode()
    )
    assert (len(failure.provider), len(failure.generation_id)) == (200, 200)
