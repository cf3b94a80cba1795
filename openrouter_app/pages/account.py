"""What the pages of a user's OpenRouter account show: of a key its label and a fingerprint, never itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode, urlsplit
from uuid import uuid4

from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest
from django.shortcuts import resolve_url
from django.urls import NoReverseMatch, Resolver404, get_script_prefix, resolve, reverse
from django.utils import timezone
from django.utils.formats import date_format, number_format
from django.utils.timesince import timesince
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ..conf import get_settings
from ..engine.base_url import is_loopback
from ..keys import is_connected, links
from ..models import Chain, OfferedKey, UserKey
from .messages import Fact

FINGERPRINT = 8
"""Characters of a key's SHA-256."""
FRESH = timedelta(minutes=1)
"""How long what OpenRouter said of a key is not asked for again by the page itself."""
LACKS = frozenset({"needs_key", "key_rejected", "credit", "budget"})
"""Error codes of runs that an account of one's own would let go on; `account-offer.js` has them too."""


@dataclass(frozen=True)
class Key:
    """A user's key. Money is text, "" where OpenRouter said nothing of it."""

    label: str
    fingerprint: str
    key_hash: str
    origin: str
    settings_url: str
    logs_url: str
    since: datetime
    left: str = ""
    spent: str = ""
    expires: datetime | None = None
    checked: datetime | None = None

    @classmethod
    def of(cls, row: UserKey | OfferedKey) -> Key:
        """What is known of a row."""
        settings_url, logs_url = links(row)
        fingerprint = row.key_hash[:FINGERPRINT]
        known = (row.label or fingerprint, fingerprint, row.key_hash, row.get_origin_display())
        key = cls(*known, settings_url, logs_url, row.created)
        if isinstance(row, OfferedKey):
            return key
        left, spent = _left(row), dollars(row.usage)
        return replace(key, left=left, spent=spent, expires=row.expires, checked=row.checked_at)

    @property
    def is_stale(self) -> bool:
        """Whether the last check is so long ago that the page asks again when it is looked at."""
        return self.checked is None or timezone.now() - self.checked >= FRESH

    @property
    def facts(self) -> list[Fact]:
        """What OpenRouter said when it was last asked, and when that was; "" for what it did not say."""
        return [
            Fact("left", _("Left"), self.left),
            Fact("spent", _("Spent"), self.spent),
            Fact("expires", _("Expires"), _moment(self.expires)),
            Fact("checked", _("Checked"), self._age()),
        ]

    def _age(self) -> str:
        if self.checked is None or not self.is_stale:
            return _moment(self.checked)
        said = _("{time} ({age} old)").replace("{time}", _moment(self.checked))
        return said.replace("{age}", timesince(self.checked, depth=1))


def account_url(chain: Chain, *, signed_in: bool) -> str | None:
    """Where one connects an account of one's own; None where the chain's runs could not use it, or nobody
    can sign in to connect one.
    """
    if not chain.users_may_pay or not (signed_in or sign_in_page()):
        return None
    return reverse("openrouter_app:account")


@dataclass(frozen=True)
class Offer:
    """How a page offers an OpenRouter account of one's own where that is what a run lacks.

    ``url`` is the account's page, ``here`` the one that offers it and is come back to. ``connect`` is where a
    form that is posted begins the sign-in at once, "" where that is not possible.
    """

    url: str
    here: str
    connect: str = ""
    is_connected: bool = False
    form: str = field(default_factory=lambda: f"openrouter-connect-{uuid4().hex[:12]}")
    """The form's id, which no other chat of a page has."""

    @property
    def is_at_once(self) -> bool:
        """Whether one click leads to OpenRouter. Who has an account connected goes to its page instead."""
        return bool(self.connect) and not self.is_connected

    @property
    def link(self) -> str:
        """The account's page, as a link that comes back."""
        return f"{self.url}?{urlencode({'next': self.here})}"


def offer_of(request: HttpRequest, chain: Chain, here: str) -> Offer | None:
    """What a page of a chain offers its visitor; None where an account would be of no use to him."""
    user = getattr(request, "user", None)
    signed_in = user is not None and user.is_authenticated
    url = account_url(chain, signed_in=signed_in)
    if url is None:
        return None
    if not signed_in:
        return Offer(url, here)
    connect = reverse("openrouter_app:connect") if _can_come_back(request) else ""
    return Offer(url, here, connect, is_connected(request.user.pk))


def account_config(offer: Offer | None) -> dict[str, Any]:
    """What `account-offer.js` is told of it; where a form begins the sign-in, that stands in the page."""
    return {"account": None} if offer is None else {"account": offer.url, "connected": offer.is_connected}


def callback_origin(request: HttpRequest) -> str | None:
    """This site's scheme and host as OpenRouter may be told them; None where it could not lead back there.

    The host of the request only where ``ALLOWED_HOSTS`` has looked at it.
    """
    if origin := get_settings().CALLBACK_ORIGIN.rstrip("/"):
        return origin
    host = request.get_host()
    if is_loopback(urlsplit(f"//{host}").hostname or ""):
        return f"{request.scheme}://{host}"
    is_checked = "*" not in settings.ALLOWED_HOSTS
    return f"https://{host}" if request.is_secure() and is_checked else None


def _can_come_back(request: HttpRequest) -> bool:
    try:
        return callback_origin(request) is not None
    except DisallowedHost:  # a page that is shown all the same is not broken by its offer
        return False


def sign_in_page() -> str | None:
    """Where one signs in, None where the site has no page for it."""
    try:
        url = resolve_url(settings.LOGIN_URL)
        if not urlsplit(url).netloc:
            resolve("/" + url.removeprefix(get_script_prefix()))
    except (NoReverseMatch, Resolver404):
        return None
    return url


def lacks_account(code: str, details: Mapping[str, Any] | None = None) -> bool:
    """Whether this error says that an account would help."""
    return code in LACKS or (details or {}).get("connect") is True


def dollars(amount: Decimal | None) -> str:
    """An amount as one says it: cents, or three digits of what is less than one."""
    if amount is None:
        return ""
    if amount and abs(amount) < Decimal("0.01"):
        amount = Decimal(f"{amount:.2e}").normalize()
        return _("${amount}").replace("{amount}", number_format(Decimal(format(amount, "f"))))
    return _("${amount}").replace("{amount}", number_format(amount, 2, force_grouping=True))


def terms() -> list[str]:
    """What the site asks for when somebody connects, each as a sentence; OpenRouter has the last word."""
    own, said = get_settings(), []
    if own.KEY_LIMIT:
        limit = _with_reset(dollars(Decimal(str(own.KEY_LIMIT))), own.KEY_LIMIT_RESET)
        said.append(_("The key may spend {limit} at most.").replace("{limit}", limit))
    if days := own.KEY_DAYS:
        text = ngettext("It expires after {days} day.", "It expires after {days} days.", days)
        said.append(text.replace("{days}", str(days)))
    return said


def _moment(time: datetime | None) -> str:
    return "" if time is None else date_format(timezone.localtime(time), "DATETIME_FORMAT")


def _left(row: UserKey) -> str:
    if row.limit is None:
        return _("no limit of its own") if row.usage is not None else ""
    if row.remaining is None:
        return ""
    left = _("{left} of {limit}").replace("{left}", dollars(max(row.remaining, Decimal(0))))
    return left.replace("{limit}", _with_reset(dollars(row.limit), row.limit_reset))


def _with_reset(limit: str, reset: str) -> str:
    texts = {"daily": _("{limit} a day"), "weekly": _("{limit} a week"), "monthly": _("{limit} a month")}
    return texts.get(reset, "{limit}").replace("{limit}", limit)
