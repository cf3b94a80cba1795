"""The errors OpenRouter documents, one of each shape, by name.

A table and nothing else: `FakeOpenRouter.error` looks things up here. Each entry is a whole answer
with believable values, so that a test which needs "a 402 as it really is" needs no more than its name.
The one rule: the first entry of a status is what ``error(status)`` answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from .scripts import ErrorReply, RawReply

_USER = "user_fake0000000000000000000000"
_RATE_LIMIT = {"X-RateLimit-Limit": "20", "X-RateLimit-Remaining": "0"}

_EDGE_PAGE = (
    b"<!DOCTYPE html>\n<html><head><title>502: Bad gateway</title></head>"
    b"<body><h1>Bad gateway</h1><p>Error code 502</p></body></html>\n"
)


def _error(
    status: int,
    message: str,
    *,
    headers: Mapping[str, str] | None = None,
    user_id: str | None = _USER,
    resets_in: float | None = None,
    http_status: int | None = None,
    **metadata: Any,
) -> ErrorReply:
    error = {"message": message, "code": status} | ({"metadata": metadata} if metadata else {})
    return ErrorReply(http_status or status, error, headers or {}, user_id, resets_in)


DOCUMENTED_ERRORS: Mapping[str, ErrorReply | RawReply] = MappingProxyType(
    {
        "bad_request": _error(400, 'Input required: specify "prompt" or "messages"', user_id=None),
        "unknown_model": _error(400, "example/nothing is not a valid model ID"),
        "context_too_long": _error(
            400,
            "This endpoint's maximum context length is 8192 tokens. However, you requested about 9001 "
            "tokens. Please reduce the length of either one.",
        ),
        "provider_bad_request": _error(
            400,
            "Provider returned error",
            provider_name="Example",
            raw='{"error":{"message":"max_output_tokens is below the minimum of 16","code":400}}',
            is_byok=False,
        ),
        "no_credentials": _error(401, "No auth credentials found", user_id=None),
        "unknown_key": _error(401, "User not found.", user_id=None),
        "cannot_afford": _error(
            402,
            "This request requires more credits, or fewer max_tokens. You requested up to 4096 tokens, but "
            "can only afford 512. To increase, visit https://openrouter.ai/settings/credits",
            limit_source="account",
            remedy_hint="add_credits_or_lower_max_tokens",
        ),
        "key_limit": _error(
            402,
            "This key's limit is used up. Raise it at https://openrouter.ai/settings/keys",
            limit_source="key",
        ),
        "no_credit": _error(402, "Insufficient credits. Add more at https://openrouter.ai/settings/credits"),
        "moderation": _error(
            403,
            "example/model requires moderation. Your input was flagged",
            reasons=["violence"],
            flagged_input="the first hundred characters of the input",
            provider_name="Example",
            model_slug="example/model",
        ),
        "guardrail": _error(403, "Request blocked by a guardrail", patterns=["prompt_injection"]),
        "region": _error(403, "This model is not available in your region", error_type="region_restricted"),
        "no_endpoints": _error(404, "No endpoints found for example/nothing."),
        "no_tool_support": _error(404, "No endpoints found that support tool use."),
        "no_tool_choice_support": _error(
            404, "No endpoints found that support the provided 'tool_choice' value."
        ),
        "data_policy": _error(404, "No endpoints found matching your data policy."),
        "unavailable": ErrorReply(
            404,
            {
                "http_status": 404,
                "error_type": "not_found",
                "message": "example/old-model is deprecated.",
                "availability": {
                    "code": "model_deprecated",
                    "retryable": False,
                    "requested_models": ["example/old-model"],
                    "fallback_models": ["example/model"],
                },
            },
            user_id=_USER,
        ),
        "timeout": _error(408, "Request timed out"),
        "too_large": _error(413, "Request body too large", user_id=None),
        "unprocessable": _error(422, "The request was understood but cannot be followed"),
        "rate_limited": _error(
            429,
            "Rate limit exceeded: free-models-per-min.",
            headers={"Retry-After": "1"} | _RATE_LIMIT,
            resets_in=1.0,
        ),
        "provider_rate_limited": _error(
            429,
            "Provider returned error",
            provider_name="Example",
            raw="example/model is temporarily rate-limited upstream. Please retry shortly.",
        ),
        "internal": _error(500, "Internal Server Error", user_id=None),
        "provider_failed": _error(
            502,
            "Provider returned error",
            provider_name="Example",
            raw={"error": {"type": "server_error", "message": "The engine stopped"}},
            error_type="provider_unavailable",
            previous_errors=[{"code": 503, "message": "Another provider was busy"}],
        ),
        "edge_page": RawReply(
            (_EDGE_PAGE,), 502, {"content-type": "text/html; charset=UTF-8", "server": "cloudflare"}
        ),
        "no_provider": _error(503, "No provider is available right now", headers={"Retry-After": "2"}),
        "gateway_timeout": _error(504, "The provider did not answer in time"),
        "edge_timeout": _error(524, "The edge timed out waiting for the provider", user_id=None),
        "overloaded": _error(
            529, "The provider is overloaded", provider_name="Example", error_type="provider_overloaded"
        ),
        "failed_under_200": _error(
            502,
            "Provider returned error",
            http_status=200,
            provider_name="Example",
            raw='{"error":{"message":"connection reset","type":"ConnectionError"}}',
        ),
    }
)


def documented(what: int | str) -> ErrorReply | RawReply:
    """The entry called ``what``, or the first of that HTTP status; KeyError for an unknown name.

    An unknown status answers a plain error with that status, since new ones appear without notice.
    """
    if isinstance(what, str):
        try:
            return DOCUMENTED_ERRORS[what]
        except KeyError:
            raise KeyError(f"no error called {what!r}; there are: {', '.join(DOCUMENTED_ERRORS)}") from None
    by_status = (entry for entry in DOCUMENTED_ERRORS.values() if entry.status == what)
    return next(by_status, _error(what, f"Error {what}"))
