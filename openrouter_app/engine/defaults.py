"""What a model takes where its caller said nothing: from the environment, or from Django's settings."""

from __future__ import annotations

import os
from collections.abc import Callable

import msgspec

from .client import Timeouts

BASE_URL = "https://openrouter.ai/api/v1"


class Defaults(msgspec.Struct, frozen=True):
    """Key, address, attribution, deadlines. The repr does not show the key."""

    api_key: str = ""
    base_url: str = BASE_URL
    app_url: str = ""
    app_title: str = ""
    allow_insecure_base_url: bool = False
    timeouts: Timeouts = Timeouts()

    def __repr__(self) -> str:
        return f"Defaults(base_url={self.base_url!r})"


def environment_defaults() -> Defaults:
    """From ``OPENROUTER_API_KEY`` and ``OPENROUTER_BASE_URL``."""
    return Defaults(
        api_key=os.environ.get("OPENROUTER_API_KEY", ""),
        base_url=os.environ.get("OPENROUTER_BASE_URL", "") or BASE_URL,
    )


_source: Callable[[], Defaults] = environment_defaults


def set_defaults(source: Callable[[], Defaults]) -> None:
    """Ask ``source`` for the defaults from now on, at each call: the Django app passes its settings."""
    global _source
    _source = source


def defaults() -> Defaults:
    """The defaults as they are now."""
    return _source()
