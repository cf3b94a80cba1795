"""OpenRouter's error bodies, read: which error it is, and what a person should hear.

A body's own words reach ``detail`` (for the log and for staff); the sentence is ours, because a
provider may echo anything, another customer's text and our key included.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from .errors import (
    BadRequestError,
    CreditError,
    ForbiddenError,
    KeyRejectedError,
    OpenRouterError,
    ProviderError,
    RateLimitError,
    UpstreamError,
)
from .secret import Secret

MAX_DETAIL = 2000
_KEY = re.compile(r"(?i)(sk-[\w-]{2}|gsk_|xai-|AIza)[\w-]{6,}|(bearer\s+)\S+")
SHORTEST_KEY = 8
"""Characters of a key; what is shorter is a word for a server that asks for none."""
_AFFORD = re.compile(r"can only afford ([0-9][0-9,]{0,14})")
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
MAX_WORD = 200
"""Characters of a name or an id that somebody else has chosen."""
_RETRYABLE = frozenset({408, 429, 502, 503, 504, 520, 521, 522, 523, 524, 529})
_DAY = 86_400
_PAGE = re.compile(rb"\s*<(?:!doctype|html|head|body)\b", re.IGNORECASE)

_Verdict = tuple[type[ProviderError], str]

_TOO_LONG = "The conversation is too long for this model."
_VERDICTS: dict[int, _Verdict] = {
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
_AFFORDABLE = "There is not enough credit on the OpenRouter account for an answer of this length."
_OTHERWISE: _Verdict = (UpstreamError, "The provider reported an error. Try again later.")
_REDIRECT = (
    "The base URL redirects to another address. The key was sent to no other host: "
    "give the address it leads to as the base URL."
)
_PAGE_STATUSES = frozenset({400, 403, 404, 405})
_WEB_PAGE = "A web page came instead of an answer. Check the base URL."

_TYPES: dict[str, int | _Verdict] = {
    "context_length_exceeded": (BadRequestError, _TOO_LONG),
    "string_too_long": (BadRequestError, _TOO_LONG),
    "max_tokens_exceeded": (BadRequestError, "The answer reached the length limit before it was complete."),
    "authentication": 401,
    "permission_denied": 403,
    "payment_required": 402,
    "rate_limit_exceeded": 429,
    "provider_overloaded": 529,
    "provider_unavailable": 502,
    "invalid_request": 400,
    "invalid_prompt": 400,
    "not_found": 404,
    "precondition_failed": 400,
    "payload_too_large": 413,
    "unprocessable": 422,
    "content_policy_violation": (ForbiddenError, "A content filter refused the input or the answer."),
    "refusal": (ForbiddenError, "The model refused this input."),
    "invalid_image": (BadRequestError, "A picture in the conversation cannot be read."),
    "image_too_large": (BadRequestError, "A picture in the conversation is too large for this model."),
    "image_too_small": (BadRequestError, "A picture in the conversation is too small for this model."),
    "unsupported_image_format": (BadRequestError, "The model does not take a picture of this format."),
    "image_not_found": (BadRequestError, "A picture in the conversation was not found at its address."),
    "image_download_failed": (BadRequestError, "A picture in the conversation could not be downloaded."),
    "timeout": 504,
    # what `availability` says: why no provider served the model
    "model_not_found": (BadRequestError, "OpenRouter knows no model of this name."),
    "wrong_endpoint": (BadRequestError, "This model cannot chat: it is served in another way."),
    "no_endpoints": (BadRequestError, "No provider serves this model at the moment."),
    "model_deprecated": (BadRequestError, "This model is not served any more."),
    "model_unavailable_upstream": (BadRequestError, "The model's provider does not serve it any more."),
    "free_variant_ended": (BadRequestError, "This model is not free any more."),
    "region_restricted": (ForbiddenError, "This model is not served in this region."),
    "privacy_restricted": (
        BadRequestError,
        "No provider of this model keeps to the privacy settings of the OpenRouter account.",
    ),
    "constraint_filtered": (
        BadRequestError,
        "No provider of this model fits the chain's conditions for providers.",
    ),
    "capacity_exhausted": (
        RateLimitError,
        "All providers of this model are busy at the moment. Wait a little, then try again.",
    ),
    "temporarily_unavailable": 503,
}
"""The words OpenRouter documents: the status each stands for, or an error with a sentence of its own."""

_GAPS = (
    ("tool_choice", "No provider of this model can be told which tool to use."),
    ("tool use", "No provider of this model can use tools."),
    ("data policy", "No provider of this model keeps to the privacy settings of the OpenRouter account."),
    ("image input", "No provider of this model takes pictures."),
    ("requested parameters", "No provider of this model takes all the options of the chain."),
)
"""What OpenRouter's 404 says, and what that means: the model is there, but cannot do this."""


def redact(text: str) -> str:
    """The text with everything that looks like a key or a bearer token blotted out."""
    return _KEY.sub(lambda found: (found.group(1) or found.group(2)) + "[redacted]", text)


def hide_key(error: OpenRouterError, key: Secret) -> None:
    """Blot out this key in all that an error says, whatever it looks like, and where its end was cut off."""
    if len(key.reveal()) < SHORTEST_KEY:
        return
    for name in ("message", "detail", "provider", "generation_id", "raw"):
        if isinstance(getattr(error, name, None), str):
            setattr(error, name, without_key(getattr(error, name), key))
    error.args = tuple(without_key(said, key) if isinstance(said, str) else said for said in error.args)


def without_key(said: str, key: Secret) -> str:
    """The text with this key blotted out, and at its end the key's beginning."""
    said = said.replace(key.reveal(), "[redacted]")
    for size in range(min(len(key.reveal()) - 1, len(said)), SHORTEST_KEY - 1, -1):
        if said.endswith(key.reveal()[:size]):
            return f"{said[:-size]}[redacted]"
    return said


def generation_of(headers: Mapping[str, str]) -> str:
    """The id of the answer that comes with these headers, "" where they do not say it."""
    found = (value for name, value in headers.items() if name.lower() == "x-generation-id")
    return next(found, "")[:MAX_WORD]


def failure_of_response(status: int, headers: Mapping[str, str], body: bytes | bytearray) -> ProviderError:
    """The error an HTTP answer stands for: OpenRouter's JSON, another server's, or an HTML page."""
    named = {name.lower(): value for name, value in headers.items()}
    if status in _REDIRECTS:
        target = f"Location: {named.get('location', '')}"
        return UpstreamError(_REDIRECT, status=status, retryable=False, detail=redact(target)[:MAX_DETAIL])
    try:
        payload = msgspec.json.decode(body.removeprefix(b"\xef\xbb\xbf"))
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        payload = None
    error = payload.get("error") if isinstance(payload, dict) else None
    if error is None:
        error = {"message": body[:500].decode("utf-8", "replace")}
    generation = generation_of(named) or None
    failure = failure_of(error, status=status, headers=named, generation_id=generation)
    if status < 400 and failure.status is None:  # such as 304, which nobody asked for
        failure.status, failure.retryable = status, False
    if status in _PAGE_STATUSES and _PAGE.match(body):
        failure = BadRequestError(
            _WEB_PAGE, status=status, generation_id=failure.generation_id, detail=failure.detail
        )
    return failure


def failure_of(
    error: object,
    *,
    status: int | None = None,
    headers: Mapping[str, str] | None = None,
    generation_id: str | None = None,
    provider: str | None = None,
) -> ProviderError:
    """The error that an ``error`` member stands for. Its ``code`` may be a number, a word or absent.

    What ``availability`` says decides, then the type of the error, then the status; the first of
    them that says whether trying again can help is believed.
    """
    details = error if isinstance(error, dict) else {"message": error}
    metadata, availability = _mapping(details, "metadata"), _mapping(details, "availability")
    found = status if status is not None and status >= 400 else _status(details)
    word = _first_known(
        availability.get("code"), details.get("error_type"), metadata.get("error_type"), details.get("code")
    )
    verdict = _TYPES.get(word, found or 0)
    like = verdict if isinstance(verdict, int) else 0
    kind, sentence = _of_status(verdict) if isinstance(verdict, int) else verdict
    if 404 in (found, like):
        message = _words(details.get("message")).lower()
        sentence = next((gap for words, gap in _GAPS if words in message), sentence)
    detail = _detail(details, metadata, word)
    afford = _AFFORD.search(detail) if kind is CreditError else None
    retryable = availability.get("retryable")
    if not isinstance(retryable, bool):
        retryable = like in _RETRYABLE if like else None
    named = metadata.get("provider_name")
    failure = kind(
        _AFFORDABLE if afford else sentence,
        status=found or like or None,
        provider=named[:MAX_WORD] if isinstance(named, str) and named else provider,
        generation_id=generation_id,
        retry_after=_retry_after(headers or {}, metadata, availability, is_limit=kind is RateLimitError),
        retryable=retryable,
        detail=detail,
    )
    if afford and isinstance(failure, CreditError):
        failure.affordable_tokens = int(afford.group(1).replace(",", ""))
    return failure


def _first_known(*words: object) -> str:
    return next((word for word in words if isinstance(word, str) and word in _TYPES), "")


def _mapping(value: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = value.get(name)
    return found if isinstance(found, dict) else {}


def _words(value: Any) -> str:
    """What a member says, whatever its type: text as it is, of anything else its JSON."""
    if value is None or isinstance(value, str):
        return value or ""
    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, ValueError, RecursionError):
        return ""


def _status(details: Mapping[str, Any]) -> int | None:
    for member in ("code", "http_status"):
        value = details.get(member)
        if isinstance(value, str) and value.isdecimal() and len(value) == 3:
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and 400 <= value <= 599:
            return value
    return None


def _of_status(status: int) -> _Verdict:
    if status not in _VERDICTS and 400 <= status < 500:
        status = 400
    return _VERDICTS.get(status, _OTHERWISE)


def _retry_after(
    headers: Mapping[str, str],
    metadata: Mapping[str, Any],
    availability: Mapping[str, Any],
    *,
    is_limit: bool,
) -> float | None:
    """Seconds to wait: ``Retry-After`` of the answer, or as its body repeats it; at a limit else the
    time when it ends, which OpenRouter gives in milliseconds since 1970.

    A date is held against the clock of the server that wrote it, where its ``Date`` is there.
    """
    sources = [
        {name.lower(): value for name, value in source.items()}
        for source in (headers, _mapping(metadata, "headers"))
    ]
    now = _timestamp(sources[0].get("date")) or time.time()
    given = [source.get("retry-after") for source in sources] + [availability.get("retry_after")]
    waits = [_number(value) for value in given] + [(_timestamp(value) or 0) - now for value in given]
    if is_limit:
        resets = (source.get("x-ratelimit-reset") for source in sources)
        waits += [_number(value) / 1000 - now for value in resets]
    return next((wait for wait in waits if 0 <= wait < _DAY), None)


def _number(value: object) -> float:
    """The number a member gives, as a number or as text; -1 where it is none."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return -1
    try:
        return float(value)
    except (ValueError, OverflowError):
        return -1


def _timestamp(value: object) -> float | None:
    """Seconds since 1970 of an HTTP date."""
    try:
        return parsedate_to_datetime(value).timestamp() if isinstance(value, str) else None
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def _detail(details: Mapping[str, Any], metadata: Mapping[str, Any], word: str) -> str:
    """What the body says, for the log. ``raw`` is the provider's own body: text, often JSON, or an object."""
    said = [details.get("message"), details.get("code"), word]
    said += [metadata.get("provider_code"), metadata.get("raw")]
    texts = [_words(part)[: 2 * MAX_DETAIL] for part in said]
    return redact(" | ".join(dict.fromkeys(text for text in texts if text)))[:MAX_DETAIL]
