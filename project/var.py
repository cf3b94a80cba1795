"""The folder the demo keeps its own things in: the database and the secret key. Git ignores it.

It is ``var/``, or what ``DEMO_VAR`` says.

Settings only read it, so that importing them writes nothing; whoever starts the site prepares it.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

VAR = Path(os.environ.get("DEMO_VAR") or Path(__file__).resolve().parent.parent / "var")
_SECRET_KEY = VAR / "secret_key"


def prepare() -> None:
    """Make the folder and a secret key, where they are missing."""
    VAR.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        file = os.open(_SECRET_KEY, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    with os.fdopen(file, "w") as out:
        out.write(secrets.token_urlsafe(50))


def secret_key() -> str:
    """The kept key; where there is none (tests, tools), one for this process alone."""
    try:
        return _SECRET_KEY.read_text().strip() or secrets.token_urlsafe(50)
    except FileNotFoundError:
        return secrets.token_urlsafe(50)
