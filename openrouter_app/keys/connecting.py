"""Signing in at OpenRouter: OAuth with PKCE, S256 only. What is asked there, and who may come back with what.

`begin` gives the address to go to; OpenRouter leads back to the callback with a code; `redeem` says whether
that is the end of a sign-in that was begun here; `arrived` keeps its key, or, where the user has another one
already, offers it until `choose` says which of the two stays.
The one rule: what comes back is good once, for ten minutes, for the user and the session that began it. The
verifier never leaves this server but for OpenRouter's.
"""

from __future__ import annotations

import hashlib
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.contrib.sessions.backends.base import SessionBase
from django.db import transaction
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from ..conf import get_settings
from ..engine.accounts import KeyInfo, exchange_code, get_key_info
from ..engine.errors import KeyRejectedError, OpenRouterError
from ..engine.secret import Secret
from ..models import OfferedKey, SignIn
from . import hash_of, key_of, secret_of, store, web_url

LIFETIME = timedelta(minutes=10)
MAX_OPEN = 10
"""Sign-ins that one user may have begun at a time; the oldest give way."""
MAX_CODE = 2_000
"""Characters of a code."""
SESSION_KEY = "openrouter_sign_in"
MAX_LABEL = 100


def begin(user: Any, session: SessionBase, callback_url: Callable[[str], str], next: str = "") -> str:
    """The address at OpenRouter where ``user`` is asked for a key.

    ``callback_url`` makes this site's address from the nonce that stands in it.
    """
    sweep()
    _make_room(user)
    nonce, verifier = secrets.token_urlsafe(32), Secret(secrets.token_urlsafe(64))
    SignIn.objects.create(
        user=user,
        nonce_hash=_sha256(nonce),
        session_hash=_sha256(_token_of(session, make=True)),
        verifier=verifier,
        next=next,
    )
    asked = {
        "callback_url": callback_url(nonce),
        "code_challenge": _challenge(verifier),
        "code_challenge_method": "S256",
        **_terms(),
    }
    return f"{web_url()}/auth?{urlencode(asked)}"


def knows(session: SessionBase | None) -> bool:
    """Whether a sign-in may have been begun in this session. Without one a callback came to nobody."""
    return session is not None and bool(_token_of(session))


def redeem(user: Any, session: SessionBase | None, nonce: str) -> SignIn | None:
    """The sign-in that ends here; None where it is none of this user and session, or was over already.

    It is over afterwards in any case: what was tried in the wrong place is good nowhere else.
    """
    row = SignIn.objects.filter(nonce_hash=_sha256(nonce)).first()
    if row is None or not SignIn.objects.filter(nonce_hash=row.nonce_hash).delete()[0]:
        return None  # the second of two that came at once finds nothing to delete
    token = _token_of(session) if session is not None else ""
    is_theirs = constant_time_compare(row.session_hash, _sha256(token)) and row.user_id == user.pk
    return row if token and is_theirs and _is_fresh(row.created) else None


async def exchange(code: str, verifier: Secret) -> tuple[Secret, KeyInfo | None]:
    """The key for a code, and what OpenRouter says of it; None where it does not answer that.

    Raises the engine's errors where there is no key, or none that is good for anything.
    """
    key = await exchange_code(code, verifier)
    try:
        return key, await get_key_info(key)
    except KeyRejectedError:
        raise
    except OpenRouterError:
        return key, None  # a key that was given is not lost over this


def arrived(user: Any, key: Secret, origin: str, info: KeyInfo | None, next: str = "") -> OfferedKey | None:
    """Keep the key as the user's. Where he has another that is of use, offer it beside that instead."""
    row = key_of(user.pk)
    if row is None or row.key_hash == hash_of(key) or secret_of(row) is None:
        OfferedKey.objects.filter(user=user).delete()
        store(user, key, origin, info)
        return None
    offered, _ = OfferedKey.objects.update_or_create(
        user=user,
        defaults={
            "ciphertext": key,
            "key_hash": hash_of(key),
            "origin": origin,
            "label": info.label if info else "",
            "next": next,
            "created": timezone.now(),
        },
    )
    return offered


def offered_to(user: Any) -> OfferedKey | None:
    """The key that waits for this user's word."""
    row = OfferedKey.objects.filter(user=user).first()
    return row if row is not None and _is_fresh(row.created) else None


@transaction.atomic
def choose(user: Any, key_hash: str, *, replace: bool) -> OfferedKey | None:
    """Take the offered key in place of the other, or throw it away; None where that key is not offered."""
    row = offered_to(user)
    if row is None or row.key_hash != key_hash or not OfferedKey.objects.filter(pk=row.pk).delete()[0]:
        return None
    if replace:
        if (key := row.opened()) is None:
            return None
        store(user, key, row.origin, None, row.label)
    return row


def sweep() -> None:
    """Delete what is over: sign-ins that nobody came back from, keys that nobody chose."""
    over = timezone.now() - LIFETIME
    SignIn.objects.filter(created__lte=over).delete()
    OfferedKey.objects.filter(created__lte=over).delete()


def is_code(text: str) -> bool:
    """Whether this may be a code at all."""
    return 0 < len(text) <= MAX_CODE and text.isascii() and text.isprintable()


def _make_room(user: Any) -> None:
    newest = SignIn.objects.filter(user=user).order_by("-created", "-pk").values_list("pk", flat=True)
    SignIn.objects.filter(pk__in=list(newest[MAX_OPEN - 1 : 10 * MAX_OPEN])).delete()


def _token_of(session: SessionBase, *, make: bool = False) -> str:
    """The random word that tells this session from others; "" where it has none."""
    token = session.get(SESSION_KEY)
    if make and not isinstance(token, str):
        token = session[SESSION_KEY] = secrets.token_urlsafe(32)
    return token if isinstance(token, str) else ""


def _terms() -> dict[str, str]:
    """What the key is to be: how it is called, what it may spend and until when, as far as a site says."""
    settings = get_settings()
    until = datetime.now(UTC) + timedelta(days=settings.KEY_DAYS)
    terms = {
        "key_label": (settings.KEY_LABEL or settings.APP_TITLE)[:MAX_LABEL],
        "limit": f"{settings.KEY_LIMIT:.10f}".rstrip("0").rstrip(".") if settings.KEY_LIMIT else "",
        "usage_limit_type": settings.KEY_LIMIT_RESET if settings.KEY_LIMIT else "",
        "expires_at": until.strftime("%Y-%m-%dT%H:%M:%SZ") if settings.KEY_DAYS else "",
    }
    return {name: value for name, value in terms.items() if value}


def _challenge(verifier: Secret) -> str:
    digest = hashlib.sha256(verifier.reveal().encode()).digest()
    return urlsafe_b64encode(digest).rstrip(b"=").decode()


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()


def _is_fresh(created: datetime) -> bool:
    return timezone.now() < created + LIFETIME
