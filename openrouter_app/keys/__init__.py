"""Users' own keys at OpenRouter: how one is checked, kept, used, and thrown away.

Only these functions write `UserKey` rows. A key is a `Secret` wherever it is in clear, which is between
here and the request it goes out with::

    info = await keys.check(secret)                    # raises KeyRejectedError
    row = keys.store(user, secret, UserKey.Origin.PASTED, info)
    keys.secret_of(row)                                # None: it cannot be opened (any more)
"""

from __future__ import annotations

import hashlib
import uuid
from decimal import Decimal
from typing import Any

from django.utils import timezone

from ..conf import get_settings
from ..engine.accounts import KeyInfo, get_key_info
from ..engine.secret import Secret
from ..models import OfferedKey, UserKey

__all__ = [
    "check",
    "disconnect",
    "drop_rejected",
    "hash_of",
    "is_connected",
    "key_of",
    "links",
    "refresh",
    "secret_of",
    "store",
    "web_url",
]

_PLACES = Decimal("1e-10")
_MOST = Decimal(10**8)


async def check(secret: Secret) -> KeyInfo:
    """What OpenRouter says of a key. Raises `KeyRejectedError` where it is none, other engine errors too."""
    return await get_key_info(secret)


def key_of(user_id: Any) -> UserKey | None:
    """The user's row, where he has connected an account."""
    return UserKey.objects.filter(user_id=user_id).first()


def secret_of(row: UserKey) -> Secret | None:
    """The key; None where its row was tampered with, or what it was encrypted with is not set any more."""
    return row.opened()


def is_connected(user_id: Any) -> bool:
    """Whether the user has a key that can be used: one that does not open any more counts as none."""
    row = key_of(user_id)
    return row is not None and secret_of(row) is not None


def hash_of(secret: Secret) -> str:
    """SHA-256 of a key in hex: what OpenRouter's own pages and our rows call it by."""
    return hashlib.sha256(secret.reveal().encode()).hexdigest()


def store(user: Any, secret: Secret, origin: str, info: KeyInfo | None, label: str = "") -> UserKey:
    """Keep this key as the user's, in place of the one he had. ``info`` is None where OpenRouter has not been
    asked or did not answer: then its ``label`` is all that is known of it.
    """
    row, _ = UserKey.objects.update_or_create(
        user_id=user.pk,
        defaults={
            "uuid": uuid.uuid4(),  # the old key's ciphertext opens here no more
            "ciphertext": secret,
            "key_hash": hash_of(secret),
            "origin": origin,
            "created": timezone.now(),
            **_said(info or KeyInfo(label=label)),
            **({} if info else {"checked_at": None}),
        },
    )
    return row


def refresh(row: UserKey, info: KeyInfo) -> bool:
    """Note what OpenRouter says now; False where the user has replaced or removed this key meanwhile."""
    said = _said(info)
    for name, value in said.items():
        setattr(row, name, value)
    return bool(UserKey.objects.filter(pk=row.pk, key_hash=row.key_hash).update(**said))


def disconnect(user_id: Any) -> bool:
    """Forget the user's key; whether there was one. At OpenRouter it is still good: see `links`."""
    return bool(UserKey.objects.filter(user_id=user_id).delete()[0])


def drop_rejected(user_id: Any, key_hash: str) -> bool:
    """Forget a key that OpenRouter refuses; not the one that has taken its place meanwhile."""
    return bool(UserKey.objects.filter(user_id=user_id, key_hash=key_hash).delete()[0])


def web_url() -> str:
    """Where OpenRouter's own pages are, without a slash at the end."""
    settings = get_settings()
    return (settings.WEB_URL or settings.BASE_URL.rstrip("/").removesuffix("/api/v1")).rstrip("/")


def links(row: UserKey | OfferedKey) -> tuple[str, str]:
    """OpenRouter's pages of this key: its settings, where it can be revoked, and what it was used for."""
    return f"{web_url()}/keys/{row.key_hash}", f"{web_url()}/logs?api_key_hash={row.key_hash}"


def _said(info: KeyInfo) -> dict[str, Any]:
    """What a row notes of a key."""
    return {
        "label": info.label,
        "limit": _dollars(info.limit),
        "limit_reset": info.limit_reset,
        "remaining": _dollars(info.limit_remaining),
        "usage": _dollars(info.usage),
        "expires": info.expires_at,
        "checked_at": timezone.now(),
    }


def _dollars(value: Decimal | None) -> Decimal | None:
    """The number as a column takes it; None for one that no account has."""
    if value is None or abs(value) >= _MOST:
        return None
    rounded = value.quantize(_PLACES)
    return rounded if abs(rounded) < _MOST else None
