"""Texts that are stored encrypted: users' keys at OpenRouter, and what a sign-in there must prove.

A sealed text is a Fernet token. What it is bound to, such as the row it belongs to, is inside it: copied
to another place it does not open. It is sealed with the newest of ``OPENROUTER["ENCRYPTION_KEYS"]``
and opened with any of them; where there are none, with what is derived from ``SECRET_KEY``. What was
sealed with ``SECRET_KEY`` or one of ``SECRET_KEY_FALLBACKS`` opens as long as that is set.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from hmac import compare_digest
from typing import TYPE_CHECKING

import msgspec
from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.encoding import force_str

from .conf import get_settings
from .engine.secret import Secret

if TYPE_CHECKING:
    from cryptography.fernet import Fernet  # at runtime where it is used: a site without such texts has none

SHORTEST_PASSPHRASE = 32
"""Characters of an entry of ``ENCRYPTION_KEYS``: what is shorter is guessed by whoever has the rows."""
_SALT = b"openrouter_app.sealing"
_FERNET_KEY = re.compile(r"[A-Za-z0-9_-]{43}=")
_TOKEN = re.compile(r"gAAAA[A-Za-z0-9_-]+={0,2}")


def _hidden(kind: type, text: object) -> Secret:
    if not isinstance(text, str):
        raise ValueError("no text")
    return Secret(text)


_payload = msgspec.json.Decoder(tuple[str, Secret], dec_hook=_hidden)


def seal(text: str | Secret, *, bound_to: str) -> str:
    """The token for a text; only `unseal` with the same ``bound_to`` opens it."""
    secret = text if isinstance(text, Secret) else Secret(text)
    del text  # errors' frames hold it no more
    try:
        return _newest().encrypt(msgspec.json.encode((bound_to, secret.reveal()))).decode()
    except UnicodeError:  # it would hold the text
        pass
    raise ValueError("A text with half a surrogate pair cannot be sealed.")


def unseal(token: str, *, bound_to: str) -> Secret | None:
    """The text of a token; None for one that was tampered with, is bound to something else, or whose
    key is not set any more.
    """
    if not is_token(token):
        return None
    from cryptography.fernet import InvalidToken, MultiFernet

    try:
        # in one expression, and a `Secret` at once: no variable holds the text
        bound, secret = _payload.decode(MultiFernet(_fernets()).decrypt(token))
    except (InvalidToken, msgspec.MsgspecError):
        return None
    return secret if compare_digest(bound.encode(), bound_to.encode()) else None


def is_current(token: str) -> bool:
    """Whether a token was sealed with what seals now, and not with an older key."""
    if not is_token(token):
        return False
    from cryptography.fernet import InvalidToken

    try:
        _newest().decrypt(token)
    except InvalidToken:
        return False
    return True


def is_token(value: object) -> bool:
    """Whether a value looks like what `seal` gives: a clear text does not."""
    return isinstance(value, str) and _TOKEN.fullmatch(value) is not None


def problems() -> Iterator[str]:
    """What is wrong with ``ENCRYPTION_KEYS``: sentences that name the entry by its place, never by itself."""
    keys = list(map(Secret, get_settings().ENCRYPTION_KEYS))
    for place, key in enumerate(keys):
        if key.reveal() != key.reveal().strip():
            yield f"Entry {place} begins or ends with a space or a line break."
        elif len(key.reveal()) < SHORTEST_PASSPHRASE:
            yield f"Entry {place} has {len(key.reveal())} characters; {SHORTEST_PASSPHRASE} is the least."
        elif key in keys[:place]:
            yield f"Entry {place} stands there twice."


def _newest() -> Fernet:
    return next(_fernets())


def _fernets() -> Iterator[Fernet]:
    from cryptography.fernet import Fernet

    if problem := next(problems(), ""):
        raise ImproperlyConfigured(f"OPENROUTER['ENCRYPTION_KEYS'] is wrong: {problem}")
    for key in map(Secret, get_settings().ENCRYPTION_KEYS):
        yield (
            Fernet(key.reveal()) if _FERNET_KEY.fullmatch(key.reveal()) else _derived(key, b"ENCRYPTION_KEYS")
        )
    for key in map(
        Secret, map(force_str, [django_settings.SECRET_KEY, *django_settings.SECRET_KEY_FALLBACKS])
    ):
        yield _derived(key, b"SECRET_KEY")


def _derived(key: Secret, info: bytes) -> Fernet:
    """The key made from a text that is long and random; other uses of the same text give others."""
    from cryptography.fernet import Fernet
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    kdf = HKDF(algorithm=SHA256(), length=32, salt=_SALT, info=info)
    return Fernet(urlsafe_b64encode(kdf.derive(key.reveal().encode())))
