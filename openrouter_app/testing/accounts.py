"""What OpenRouter does for people's own accounts: the page that asks for consent, codes, keys, a page of each
key, and what a key says of itself.

Any visitor of the page is somebody with an account. A code is good for ten minutes and for one use; a key
that it gave is accepted for completions, counts what they cost, and ends with its limit, its day, or
`revoke`.
The one rule: what is not documented is not believed. Anything but S256, or a wrong verifier, gives no key.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from .exchanges import Page
from .recorded import RecordedRequest
from .scripts import JSONObject

if TYPE_CHECKING:
    from .fake import FakeOpenRouter

CODE_LIFETIME = timedelta(minutes=10)
RESETS = ("daily", "weekly", "monthly")


@dataclass(slots=True)
class Code:
    """What a key will be, until somebody has the verifier of ``challenge``."""

    challenge: str
    method: str
    label: str
    limit: Decimal | None
    limit_reset: str | None
    expires_at: datetime | None
    created: datetime


@dataclass(slots=True)
class IssuedKey:
    """A key that somebody's consent gave: what it may spend, and what it has."""

    label: str
    limit: Decimal | None
    limit_reset: str | None
    expires_at: datetime | None
    usage: Decimal = Decimal(0)


class Accounts:
    """The codes and keys of one fake; ``accounts.offset = timedelta(minutes=11)`` moves its clock."""

    def __init__(self) -> None:
        self.offset = timedelta()
        self.codes: dict[str, Code] = {}
        self.keys: dict[str, IssuedKey] = {}
        self.revoked: set[str] = set()

    def __repr__(self) -> str:
        return f"<Accounts: {len(self.codes)} codes, {len(self.keys)} keys, {len(self.revoked)} revoked>"

    @property
    def now(self) -> datetime:
        """The fake's time."""
        return datetime.now(UTC) + self.offset

    def find(self, key: str) -> IssuedKey | None:
        """What is known of a key that was issued here."""
        return self.keys.get(key)

    def revoke(self, key: str) -> None:
        """It is accepted no more."""
        self.revoked.add(key)

    def has_ended(self, key: str) -> bool:
        """Whether it was revoked, or its day has come."""
        issued = self.find(key)
        expires = issued.expires_at if issued is not None else None
        return key in self.revoked or (expires is not None and expires <= self.now)

    def key_of_hash(self, digest: str) -> str | None:
        """The key whose SHA-256 in hex this is, issued here and good yet."""
        for key in self.keys:
            if hashlib.sha256(key.encode()).hexdigest() == digest and not self.has_ended(key):
                return key
        return None

    def is_used_up(self, key: str | None) -> bool:
        """Whether it has spent what it may."""
        issued = self.find(key or "")
        return issued is not None and issued.limit is not None and issued.usage >= issued.limit

    def charge(self, key: str | None, cost: object) -> None:
        """Count what a completion has cost, in US dollars."""
        if (issued := self.find(key or "")) is not None:
            issued.usage += Decimal(str(cost))

    def new_code(self, asked: JSONObject) -> str:
        """A code for what was asked, by the names of the page's query."""
        code = f"auth_code_{secrets.token_urlsafe(24)}"
        reset = asked.get("usage_limit_type")
        self.codes[code] = Code(
            challenge=str(asked.get("code_challenge") or ""),
            method=str(asked.get("code_challenge_method") or "plain"),
            label=str(asked.get("key_label") or "")[:100],
            limit=_decimal(asked.get("limit")),
            limit_reset=reset if reset in RESETS else None,
            expires_at=_moment(asked.get("expires_at")),
            created=self.now,
        )
        return code

    def issue(self, code: Code) -> str:
        """The key that a code is good for."""
        key = f"sk-or-v1-{secrets.token_hex(32)}"
        label = code.label or f"{key[:12]}...{key[-3:]}"
        self.keys[key] = IssuedKey(label, code.limit, code.limit_reset, code.expires_at)
        return key


def consent_page(fake: FakeOpenRouter, request: RecordedRequest) -> tuple[int, object] | Page | None:
    """``/auth``: asks whether a site may have a key; the answer leads back to its ``callback_url``."""
    if request.method not in ("GET", "POST") or not request.path.endswith("/auth"):
        return None
    asked = request.query
    callback = asked.get("callback_url", "")
    if not _may_be_led_to(callback):
        return Page(_html("<p>This callback_url is neither https nor on localhost.</p>"), 400)
    if request.method == "POST":
        return Page("", 303, {"location": _with_query(callback, code=fake.accounts.new_code(asked))})
    return Page(_html(_question(asked, callback)))


def code_for_key(fake: FakeOpenRouter, request: RecordedRequest) -> tuple[int, object] | None:
    """``POST /auth/keys``: a key for a code and its verifier."""
    if not request.path.endswith("/auth/keys"):
        return None
    if request.method != "POST":
        return _refused(405, "Method Not Allowed")
    asked = request.json if isinstance(request.json, dict) else {}
    name = str(asked.get("code"))
    code = fake.accounts.codes.get(name)
    if code is None:
        return _refused(403, "Invalid code or code_verifier")
    if asked.get("code_challenge_method") != code.method:
        return _refused(400, "Invalid code_challenge_method")
    del fake.accounts.codes[name]
    if code.created + CODE_LIFETIME <= fake.accounts.now:
        return _refused(403, "Authorization code expired")
    if code.method != "S256" or _challenge_of(asked.get("code_verifier")) != code.challenge:
        return _refused(403, "Invalid code or code_verifier")
    return 200, {"key": fake.accounts.issue(code), "user_id": "user_fake0000000000000000000000"}


def new_code(fake: FakeOpenRouter, request: RecordedRequest) -> tuple[int, object] | None:
    """``POST /auth/keys/code``: a code that a server asks for with a key of its own."""
    if not request.path.endswith("/auth/keys/code"):
        return None
    if request.method != "POST":
        return _refused(405, "Method Not Allowed")
    if not fake.knows(request.api_key):
        return _refused(401, "No auth credentials found" if not request.api_key else "User not found.")
    asked = request.json if isinstance(request.json, dict) else {}
    if not _may_be_led_to(str(asked.get("callback_url", ""))):
        return _refused(400, "Invalid callback_url")
    created = fake.accounts.now.isoformat()
    return 200, {"data": {"id": fake.accounts.new_code(asked), "app_id": 1, "created_at": created}}


def about_key(fake: FakeOpenRouter, request: RecordedRequest) -> tuple[int, object] | None:
    """``GET /key``: what the key that asks is, and what is left of it."""
    if request.method != "GET" or not request.path.endswith("/key"):
        return None
    key = request.api_key
    if key is None or not fake.knows(key):
        return _refused(401, "No auth credentials found" if not key else "User not found.")
    issued = fake.accounts.find(key) or IssuedKey(f"{key[:12]}...{key[-3:]}", None, None, None)
    left = None if issued.limit is None else max(issued.limit - issued.usage, Decimal(0))
    usage = float(issued.usage)
    return 200, {
        "data": {
            "label": issued.label,
            "limit": None if issued.limit is None else float(issued.limit),
            "limit_remaining": None if left is None else float(left),
            "limit_reset": issued.limit_reset,
            "include_byok_in_limit": False,
            **{f"usage{period}": usage for period in ("", "_daily", "_weekly", "_monthly")},
            **{f"byok_usage{period}": 0 for period in ("", "_daily", "_weekly", "_monthly")},
            "is_free_tier": False,
            "is_management_key": False,
            "creator_user_id": "user_fake0000000000000000000000",
            "expires_at": None if issued.expires_at is None else issued.expires_at.isoformat(),
            "rate_limit": {"requests": -1, "interval": "10s", "note": "This field is deprecated."},
        }
    }


def key_page(fake: FakeOpenRouter, request: RecordedRequest) -> Page | None:
    """``/keys/<SHA-256>`` and ``/logs?api_key_hash=``: what a key has spent, and a button that deletes it."""
    before, _, digest = request.path.partition("/keys/")
    if request.path == "/logs":
        digest = request.query.get("api_key_hash", "")
    elif before or not digest:
        return None
    key = fake.accounts.key_of_hash(digest)
    if key is None:
        return Page(_html("<p>There is no such key. It was deleted, or has ended.</p>"), 404)
    if request.method == "POST":
        fake.accounts.revoke(key)
        return Page(_html("<p>The key is deleted. Whoever has it can ask for nothing any more.</p>"))
    issued = fake.accounts.keys[key]
    facts = f"<dt>Key</dt><dd>{escape(issued.label)}</dd><dt>Spent (US$)</dt><dd>{issued.usage:f}</dd>"
    button = f'<form method="post" action="/keys/{digest}"><button>Delete this key</button></form>'
    return Page(_html(f"<dl>{facts}</dl>{button}"))


ENDPOINTS = (consent_page, code_for_key, new_code, about_key, key_page)


def _refused(status: int, message: str) -> tuple[int, object]:
    return status, {"error": {"message": message, "code": status}}


def _challenge_of(verifier: Any) -> str:
    """The S256 challenge of a verifier; "" for what is none."""
    if not isinstance(verifier, str) or not 43 <= len(verifier) <= 128:
        return ""
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _may_be_led_to(callback: str) -> bool:
    try:
        parts = urlsplit(callback)
    except ValueError:
        return False
    is_local = parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1")
    return bool(parts.hostname) and (parts.scheme == "https" or is_local)


def _with_query(url: str, **more: str) -> str:
    parts = urlsplit(url)
    return parts._replace(query=urlencode([*parse_qsl(parts.query), *more.items()])).geturl()


def _decimal(given: object) -> Decimal | None:
    try:
        number = Decimal(str(given)) if given not in (None, "") else None
    except InvalidOperation:
        return None
    return number if number is not None and number.is_finite() and number > 0 else None


def _moment(given: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(given).replace("Z", "+00:00"))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _html(body: str) -> str:
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Fake OpenRouter</title>'
        '<link rel="icon" href="data:,">'
        '<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">'
        "<style>body{font:1rem/1.5 system-ui,sans-serif;max-width:32rem;margin:12vh auto;padding:0 1rem}"
        "button,a{font:inherit;padding:.5rem 1rem}dt{opacity:.7}dd{margin:0 0 .5rem;overflow-wrap:anywhere}"
        f"</style><h1>Fake OpenRouter</h1>{body}</html>"
    )


def _question(asked: dict[str, str], callback: str) -> str:
    names = {"key_label": "Key", "limit": "Limit (US$)", "usage_limit_type": "Limit starts anew"}
    facts = "".join(
        f"<dt>{title}</dt><dd>{escape(asked[name])}</dd>" for name, title in names.items() if asked.get(name)
    )
    return (
        "<p>This page stands in for OpenRouter's own. No account is needed, and nothing is paid.</p>"
        f"<p><strong>{escape(urlsplit(callback).netloc)}</strong> asks for a key of your account.</p>"
        f"<dl>{facts}</dl>"
        '<form method="post"><button>Authorize</button> '
        f'<a href="{escape(callback)}" rel="noreferrer">Cancel</a></form>'
    )
