"""Refusals before any answer, in every documented shape."""

from __future__ import annotations

import time

import pytest

from openrouter_app.testing import DOCUMENTED_ERRORS
from openrouter_app.testing.scripts import ErrorReply

JSON_ERRORS = [name for name, entry in DOCUMENTED_ERRORS.items() if isinstance(entry, ErrorReply)]


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("name", JSON_ERRORS)
def test_every_documented_error_is_json_with_its_status(fake, ask, name, streamed):
    fake.error(name)
    response = ask(stream=streamed)
    assert response.status_code == DOCUMENTED_ERRORS[name].status
    assert response.headers["content-type"] == "application/json"
    error = response.json()["error"]
    assert error["message"]
    if name not in ("failed_under_200", "unavailable"):
        assert error["code"] == response.status_code


@pytest.mark.parametrize(
    "status", [400, 401, 402, 403, 404, 408, 413, 422, 429, 500, 502, 503, 504, 524, 529, 599]
)
def test_a_status_is_enough(fake, ask, status):
    fake.error(status)
    assert ask().status_code == status


def test_what_is_given_replaces_what_is_documented(fake, ask):
    fake.error(400, "No.", code="invalid_request", metadata={"a": 1}, headers={"X-Extra": "1"})
    response = ask()
    assert response.json()["error"] == {
        "message": "No.",
        "code": "invalid_request",
        "metadata": {"a": 1},
    }
    assert response.headers["x-extra"] == "1"


def test_402_tells_how_many_tokens_can_be_paid_for(fake, ask):
    fake.error(402)
    assert "can only afford 512." in ask().json()["error"]["message"]


def test_403_has_the_metadata_of_moderation_and_of_guardrails(fake, ask):
    fake.error("moderation")
    fake.error("guardrail")
    assert ask().json()["error"]["metadata"].keys() == {
        *("reasons", "flagged_input", "provider_name", "model_slug"),
    }
    assert ask().json()["error"]["metadata"].keys() == {"patterns"}


def test_429_has_the_rate_limit_in_headers_and_metadata(fake, ask):
    fake.error(429)
    response = ask()
    reset = int(response.headers["x-ratelimit-reset"]) / 1000
    assert abs(reset - time.time()) < 5
    assert response.headers["retry-after"] == "1"
    assert response.json()["error"]["metadata"]["headers"] == {
        "X-RateLimit-Limit": "20",
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Reset": response.headers["x-ratelimit-reset"],
    }


def test_headers_replace_by_name_whatever_the_case(fake, ask):
    fake.error(429, headers={"retry-after": "0.01"})
    assert ask().headers.get_list("retry-after") == ["0.01"]


def test_metadata_may_be_taken_away(fake, ask):
    fake.error(429, metadata={})
    response = ask()
    assert "metadata" not in response.json()["error"]
    assert "x-ratelimit-reset" not in response.headers


def test_raw_metadata_comes_as_text_and_as_an_object(fake, ask):
    fake.error("provider_bad_request")
    fake.error("provider_failed")
    assert isinstance(ask().json()["error"]["metadata"]["raw"], str)
    assert isinstance(ask().json()["error"]["metadata"]["raw"], dict)


def test_an_error_may_hide_under_http_200(fake, ask):
    fake.error(503, "Busy", http_status=200)
    response = ask(stream=True)
    assert response.status_code == 200
    assert response.json()["error"]["code"] == 503


def test_availability_comes_without_a_code(fake, ask):
    fake.error("unavailable")
    error = ask().json()["error"]
    assert "code" not in error
    assert error["availability"]["retryable"] is False


def test_the_edge_answers_with_a_page(fake, ask):
    fake.error("edge_page")
    response = ask()
    assert response.status_code == 502
    assert response.headers["content-type"].startswith("text/html")
    assert response.text.startswith("<!DOCTYPE html>")


def test_a_page_takes_no_json(fake):
    with pytest.raises(TypeError, match="edge_page"):
        fake.error("edge_page", "No.")


def test_an_unknown_name_lists_the_known_ones(fake):
    with pytest.raises(KeyError, match="moderation"):
        fake.error("moderated")
