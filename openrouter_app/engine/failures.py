"""OpenRouter's error bodies, read: which error it is, and what a person should hear.

A body's own words reach ``detail`` (for the log and for staff); the sentence is ours, because a
provider may echo anything, another customer's text and our key included.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from .errors import (
    BadRequestError,
    CreditError,
    ForbiddenError,
    KeyRejectedError,
    ProviderError,
    RateLimitError,
    UpstreamError,
)

_KEY = re.compile(r"(?i)(sk-[\w-]{2})[\w-]{6,}|(bearer\s+)\S+")
_AFFORD = re.compile(r"can only afford (\d{1,12})")
_RETRYABLE = frozenset({408, 429, 502, 503, 504, 524, 529})

_VERDICTS: dict[int, tuple[type[ProviderError], str]] = {
    400: (
        BadRequestError,
        "The provider refused the request: the model, an option or the length does not fit.",
    ),
    401: (KeyRejectedError, "The API key was rejected: it is missing, wrong, revoked or expired."),
    402: (CreditError, "There is not enough credit on the OpenRouter account for this answer."),
    403: (ForbiddenError, "The provider refused this input (moderation, a guardrail or the region)."),
    404: (BadRequestError, "No provider serves this model with what the chain asks for (such as tools)."),
    408: (UpstreamError, "The provider took too long. Try again."),
    413: (BadRequestError, "The request is too large for this model."),
    422: (BadRequestError, "The provider could not use the request."),
    429: (RateLimitError, "Too many requests at the moment. Wait a little, then try again."),
    502: (UpstreamError, "The model's provider is down or gave an invalid answer. Try again."),
    503: (UpstreamError, "No provider is available for this model right now. Try again later."),
    504: (UpstreamError, "The model's provider took too long. Try again."),
    524: (UpstreamError, "The model's provider took too long. Try again."),
    529: (UpstreamError, "The model's provider is overloaded. Try again later."),
}
_OTHERWISE = (UpstreamError, "The provider reported an error. Try again later.")


def redact(text: str) -> str:
    """The text with everything that looks like a key or a bearer token blotted out."""
    return _KEY.sub(lambda found: (found.group(1) or found.group(2)) + "[redacted]", text)


def failure_of_response(status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
    """The error an HTTP answer stands for: OpenRouter's JSON, another server's, or an HTML page."""
    try:
        payload = msgspec.json.decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        payload = None
    error = payload.get("error") if isinstance(payload, dict) else None
    if error is None:
        error = {"message": body[:500].decode("utf-8", "replace")}
    return failure_of(error, status=status, headers=headers)


def failure_of(
    error: object,
    *,
    status: int | None = None,
    headers: Mapping[str, str] | None = None,
    generation_id: str | None = None,
    provider: str | None = None,
) -> ProviderError:
    """The error that an ``error`` member stands for. Its ``code`` may be a number, a word or absent."""
    details = error if isinstance(error, dict) else {"message": str(error)}
    found = status if status is not None and status >= 400 else _status(details)
    metadata = details.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    availability = details.get("availability")
    retryable = availability.get("retryable") if isinstance(availability, dict) else None
    like = 400 if found is not None and found not in _VERDICTS and 400 <= found < 500 else found
    kind, sentence = _VERDICTS.get(like or 0, _OTHERWISE)
    named = metadata.get("provider_name")
    failure = kind(
        sentence,
        status=found,
        provider=named if isinstance(named, str) else provider,
        generation_id=generation_id,
        retry_after=_retry_after(headers or {}, metadata),
        retryable=retryable
        if isinstance(retryable, bool)
        else (None if found is None else found in _RETRYABLE),
        detail=_detail(details, metadata),
    )
    if isinstance(failure, CreditError) and (afford := _AFFORD.search(str(details.get("message", "")))):
        failure.affordable_tokens = int(afford.group(1))
    return failure


def _status(details: Mapping[str, Any]) -> int | None:
    for member in ("code", "http_status"):
        value = details.get(member)
        if isinstance(value, str) and value.isdecimal() and len(value) == 3:
            return int(value)
        if isinstance(value, int) and not isinstance(value, bool) and 400 <= value <= 599:
            return value
    return None


def _retry_after(headers: Mapping[str, str], metadata: Mapping[str, Any]) -> float | None:
    """Seconds, from the ``Retry-After`` header (of the answer, or as repeated in its metadata)."""
    nested = metadata.get("headers")
    for source in (headers, nested if isinstance(nested, dict) else {}):
        for name, value in source.items():
            if name.lower() == "retry-after":
                try:
                    seconds = float(value)
                except (TypeError, ValueError, OverflowError):
                    continue
                if 0 <= seconds < 86_400:
                    return seconds
    return None


def _detail(details: Mapping[str, Any], metadata: Mapping[str, Any]) -> str:
    said = [str(details.get("message", "")), str(details.get("code", ""))]
    raw = metadata.get("raw")
    if raw:
        said.append(str(raw))
    return redact(" | ".join(part for part in said if part))[:2000]
