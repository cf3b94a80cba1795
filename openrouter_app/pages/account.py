"""What the pages of a user's OpenRouter account show: of a key its label and a fingerprint, never itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode, urlsplit

from django.conf import settings
from django.shortcuts import resolve_url
from django.urls import NoReverseMatch, Resolver404, get_script_prefix, resolve, reverse
from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ..conf import get_settings
from ..keys import links
from ..models import Chain, OfferedKey, UserKey

FINGERPRINT = 8
"""Characters of a key's SHA-256."""
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


def account_url(chain: Chain, *, signed_in: bool) -> str | None:
    """Where one connects an account of one's own; None where the chain's runs could not use it, or nobody
    can sign in to connect one.
    """
    if not chain.users_may_pay or not (signed_in or sign_in_page()):
        return None
    return reverse("openrouter_app:account")


def account_link(url: str | None, here: str) -> str:
    """The same as a link that comes back to the page ``here``; "" where there is none."""
    return "" if url is None else f"{url}?{urlencode({'next': here})}"


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


def _left(row: UserKey) -> str:
    if row.limit is None or row.remaining is None:
        return _("no limit of its own") if row.usage is not None else ""
    left = _("{left} of {limit}").replace("{left}", dollars(max(row.remaining, Decimal(0))))
    return left.replace("{limit}", _with_reset(dollars(row.limit), row.limit_reset))


def _with_reset(limit: str, reset: str) -> str:
    texts = {"daily": _("{limit} a day"), "weekly": _("{limit} a week"), "monthly": _("{limit} a month")}
    return texts.get(reset, "{limit}").replace("{limit}", limit)
