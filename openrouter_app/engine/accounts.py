"""What OpenRouter says beside completions: of a key, a sign-in's code, its models, a generation.

Each is one question and one JSON body, asked on a loop as a completion is: same address, attribution,
TLS, no redirect followed, no proxy, no cookie. Errors are `engine.failures`'s and say none of the
secrets that went out. No retries: who asks knows whether it pays to ask again.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from datetime import MAXYEAR, MINYEAR, UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from .async_drivers import adrive
from .base_url import check_base_url
from .client import Headers, Request
from .defaults import defaults
from .errors import InputError, OpenRouterError, ReadTimeoutError, UpstreamError
from .failures import SHORTEST_KEY, failure_of_response, hide_key, without_key
from .flows import Close, Finish, Flow, Open, Read
from .json_size import members_of
from .secret import Secret

MAX_BODY = 10_000_000
"""Bytes of the longest answer, a list of models."""
MAX_ERROR_BODY = 100_000
MAX_MEMBERS = 500_000
"""Values in one: some 400 models have 50,000."""
PATIENCE = 30.0
"""Seconds for a whole answer, or the site's total timeout where that is shorter."""
MAX_LABEL = 200
MAX_KEY = 500
"""Characters of a key that is taken."""

_SLUG = re.compile(r"[\w~@][\w.:~-]*/[\w~][\w.:~-]*", re.ASCII)
_KEY = re.compile(rf"[\x21-\x7e]{{{SHORTEST_KEY},{MAX_KEY}}}")
_SIGN_IN_REFUSED = (
    "OpenRouter refused the sign-in: it took too long, was used already or was not begun here. "
    "Please connect again."
)


class KeyInfo(msgspec.Struct, frozen=True):
    """What ``GET /key`` says of a key. Money is in US dollars; None is what was not said, or no limit.

    ``limit_reset`` is OpenRouter's word: ``daily``, ``weekly``, ``monthly``.
    """

    label: str = ""
    limit: Decimal | None = None
    limit_remaining: Decimal | None = None
    limit_reset: str = ""
    usage: Decimal | None = None
    expires_at: datetime | None = None
    is_free_tier: bool | None = None


async def get_key_info(key: Secret) -> KeyInfo:
    """What this key is and has left. Raises `KeyRejectedError` where it is none (any more)."""
    said = _mapping(_mapping(await _asked("GET", "/key", key)).get("data"))
    reset = said.get("limit_reset")
    free = said.get("is_free_tier")
    return KeyInfo(
        label=_label(said.get("label"), key),
        limit=_dollars(said.get("limit")),
        limit_remaining=_dollars(said.get("limit_remaining")),
        limit_reset=reset[:20] if isinstance(reset, str) else "",
        usage=_dollars(said.get("usage")),
        expires_at=_moment(said.get("expires_at")),
        is_free_tier=free if isinstance(free, bool) else None,
    )


async def exchange_code(code: str, verifier: Secret) -> Secret:
    """The key a sign-in ends with (PKCE, S256). Raises `ForbiddenError` for a code that is none."""
    grant = {"code": Secret(code), "code_verifier": verifier, "code_challenge_method": "S256"}
    request = _request("POST", "/auth/keys", None, grant)
    key = _key(await _answer(request, {403: _SIGN_IN_REFUSED}, verifier, Secret(code)))
    if key is None:
        raise UpstreamError("OpenRouter's answer to the sign-in holds no key. Please connect again.")
    return key


async def list_models(**query: str) -> list[dict[str, Any]]:
    """The models that are listed, each as it came; what is no object is left out.

    ``query``: conditions as OpenRouter names them, such as ``output_modalities``.
    """
    path = f"/models?{urlencode(query)}" if query else "/models"
    listed = _mapping(await _asked("GET", path, _own_key())).get("data")
    if not isinstance(listed, list):
        raise UpstreamError("OpenRouter's list of models makes no sense. Try again.")
    return [model for model in listed if isinstance(model, dict)]


async def list_endpoints(slug: str) -> dict[str, Any]:
    """Who serves a model, and what of it: ``data`` of ``GET /models/{author}/{slug}/endpoints``.

    Raises `InputError` for what is no slug.
    """
    if not _SLUG.fullmatch(slug):
        raise InputError(f"'{slug[:80]}' is no model's slug, such as 'mistralai/mistral-small'.")
    said = await _asked("GET", f"/models/{quote(slug, safe='/:~@')}/endpoints", _own_key())
    return _mapping(_mapping(said).get("data"))


async def get_generation(id: str, key: Secret) -> dict[str, Any]:
    """What is known of a generation, ``data`` of ``GET /generation``: asked with the key that paid for it.

    For seconds after it ended, longer where it was cut off, OpenRouter does not know it yet: that is a
    `BadRequestError` with the status 404.
    """
    return _mapping(_mapping(await _asked("GET", f"/generation?id={quote(id, safe='')}", key)).get("data"))


def _own_key() -> Secret:
    return Secret(defaults().api_key)


async def _asked(method: str, path: str, key: Secret) -> Any:
    return await _answer(_request(method, path, key), {}, key)


def _request(method: str, path: str, key: Secret | None, said: Mapping[str, Any] | None = None) -> Request:
    common = defaults()
    base_url = check_base_url(common.base_url, allow_insecure=common.allow_insecure_base_url)
    return Request(
        url=f"{base_url}{path}",
        headers=_headers(key, common.app_url, common.app_title, said is not None),
        body=b"" if said is None else msgspec.json.encode(said, enc_hook=Secret.reveal),
        timeouts=common.timeouts,
        method=method,
    )


def _headers(key: Secret | None, app_url: str, app_title: str, has_body: bool) -> Headers:
    headers = Headers({"Accept": "application/json", "Accept-Encoding": "identity"})
    if has_body:
        headers["Content-Type"] = "application/json"
    if key:
        headers["Authorization"] = f"Bearer {key.reveal()}"
    if app_url:
        headers["HTTP-Referer"] = app_url
    if app_title:
        headers["X-OpenRouter-Title"] = headers["X-Title"] = app_title
    return headers


async def _answer(request: Request, sentences: Mapping[int, str], *secrets: Secret) -> Any:
    """The JSON of an answer. Raises the error it stands for, without any of the secrets in it."""
    async with aclosing(adrive(_exchange(request, secrets))) as answers:
        answer = await anext(answers)
    if isinstance(answer, OpenRouterError):
        answer.message = sentences.get(answer.status or 0, answer.message)
        answer.args = (answer.message,)
        for secret in secrets:
            hide_key(answer, secret)
        answer.__cause__ = answer.__context__ = None
        raise answer.with_traceback(None)  # it ends where frames hold bodies
    return answer


def _exchange(request: Request, secrets: Sequence[Secret]) -> Flow:
    """The flow of one question: its one item is the answer's JSON, or the error it stands for. What an
    answer echoes of the secrets is not read.
    """
    due = time.monotonic() + min(PATIENCE, request.timeouts.total)
    answer: Any
    try:
        connection = yield Open(request, due)
        most = MAX_BODY if connection.status < 300 else MAX_ERROR_BODY
        body, read = bytearray(), Read(connection, due)
        while len(body) <= most and (data := (yield read)):
            body += data
            if time.monotonic() > due:
                raise TimeoutError
        yield Finish(connection) if len(body) <= most else Close(connection)
        if connection.status >= 300:
            answer = failure_of_response(connection.status, connection.headers, body)
        else:
            answer = _decoded(_without(body, secrets))
    except TimeoutError:
        answer = ReadTimeoutError("OpenRouter did not answer in time. Try again.")
    except OpenRouterError as error:
        answer = error
    yield answer


def _without(body: bytearray, secrets: Sequence[Secret]) -> bytearray:
    for secret in secrets:
        if len(secret.reveal()) >= SHORTEST_KEY:
            body = body.replace(secret.reveal().encode(), b"[redacted]")
    return body


_decoder = msgspec.json.Decoder(float_hook=Decimal)
_UNREADABLE = (msgspec.MsgspecError, RecursionError, ValueError, ArithmeticError)


def _decoded(body: bytearray) -> Any:
    """The value of a body, its numbers exact; the error it stands for where it is no JSON of a fair size."""
    if len(body) > MAX_BODY or members_of(body, MAX_MEMBERS) > MAX_MEMBERS:
        return UpstreamError("OpenRouter sent an answer that is too large.")
    try:
        return _decoder.decode(body.removeprefix(b"\xef\xbb\xbf"))
    except _UNREADABLE:
        pass
    try:  # again, with U+FFFD and question marks for what is no text, as half a pair of surrogates
        value = json.loads(body.decode("utf-8-sig", "replace"), parse_constant=lambda name: None)
        return _decoder.decode(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
    except _UNREADABLE:
        return UpstreamError("OpenRouter sent an answer that makes no sense. Try again.")


def _key(said: Any) -> Secret | None:
    found = _mapping(said).get("key")
    return Secret(found) if isinstance(found, str) and _KEY.fullmatch(found) else None


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _label(value: Any, key: Secret) -> str:
    """What the key is called: OpenRouter puts its beginning and end there, nobody may put all of it."""
    if not isinstance(value, str):
        return ""
    return without_key(value, key)[:MAX_LABEL] if key else value[:MAX_LABEL]


def _dollars(value: Any) -> Decimal | None:
    """The number of a member, given as one or as text."""
    if isinstance(value, bool) or not isinstance(value, (int, str, Decimal)):
        return None
    try:
        dollars = Decimal(value if not isinstance(value, str) else value[:40])
    except ArithmeticError:
        return None
    return dollars if dollars.is_finite() else None


def _moment(value: Any) -> datetime | None:
    """A time with its zone; UTC where none is said. None for one that some zone has no date for."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
    return moment if MINYEAR < moment.year < MAXYEAR else None
