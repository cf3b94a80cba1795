"""The settings of this app: the one dict ``OPENROUTER``, typed, with a default for every key.

Read late and never cached, so a test that overrides a setting, or a site that computes one,
sees it at once::

    from openrouter_app.conf import get_settings

    get_settings().BASE_URL

The checks in `openrouter_app.checks` report every mistake at start-up; ``get_settings()`` raises
`ImproperlyConfigured` with the same sentences for a site that runs without them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, get_type_hints

import msgspec
from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured

from .engine.client import Timeouts
from .engine.defaults import Defaults

Seconds = Annotated[float, msgspec.Meta(gt=0)]
Count = Annotated[int, msgspec.Meta(gt=0)]
Limit = Annotated[int, msgspec.Meta(ge=0)]
Dollars = Annotated[float, msgspec.Meta(ge=0)]


class Settings(msgspec.Struct, frozen=True):
    """What ``OPENROUTER`` says, with the defaults filled in. Its ``repr`` never shows a key."""

    API_KEY: str = ""
    """The site's own key at OpenRouter; empty where every user brings one, or the server needs none."""
    BASE_URL: str = "https://openrouter.ai/api/v1"
    """The full prefix of the API. Plain ``http`` only to this machine, see the next one."""
    ALLOW_INSECURE_BASE_URL: bool = False
    """Send the key over plain ``http`` to another machine all the same."""
    APP_URL: str = ""
    """The site's address, sent as ``HTTP-Referer``: OpenRouter shows it in its rankings."""
    APP_TITLE: str = ""
    """The site's name, sent beside it."""
    WEB_URL: str = ""
    """Where OpenRouter's own pages are (``/auth``, ``/keys``, ``/logs``); empty: ``BASE_URL`` without
    ``/api/v1``."""
    CALLBACK_ORIGIN: str = ""
    """This site's origin, ``https://app.example.com``, where OpenRouter sends people back to; empty: the
    host of the request, which ``ALLOWED_HOSTS`` has checked."""
    ENCRYPTION_KEYS: tuple[str, ...] = ()
    """What users' keys are encrypted with, newest first; empty: derived from ``SECRET_KEY``."""
    KEY_LABEL: str = ""
    """How a user's key is called at OpenRouter; empty: ``APP_TITLE``."""
    KEY_LIMIT: Dollars = 0
    """US dollars that is asked for as the limit of a user's key; 0 asks for none."""
    KEY_LIMIT_RESET: Literal["", "daily", "weekly", "monthly"] = ""
    """When that limit starts anew; empty: never."""
    KEY_DAYS: Limit = 0
    """Days after which a user's key is to expire; 0 is never."""
    ALLOW_PASTED_KEYS: bool = False
    """Let users paste a key by hand, beside signing in at OpenRouter."""
    ALLOWED_ORIGINS: tuple[str, ...] = ()
    """Origins (``https://app.example.com``) that may open the websocket beside the site's own host."""
    WEBSOCKET_PATH: str = "/ws/openrouter/"
    """Where the websocket listens; the pages connect to it."""
    HEARTBEAT: Seconds = 20
    """Seconds of silence after which a page asks whether the server is there."""
    MAX_FRAME: Count = 65_536
    """Bytes of the longest frame a page may send."""
    CONNECT_TIMEOUT: Seconds = 5
    """Seconds until a connection to OpenRouter must stand."""
    FIRST_CONTENT_TIMEOUT: Seconds = 60
    """Seconds until the first piece of an answer must have come."""
    IDLE_TIMEOUT: Seconds = 45
    """Seconds an answer may be silent once it has begun."""
    TOTAL_TIMEOUT: Seconds = 600
    """Seconds a run may take in all, where it waits for a person anew each time it goes on."""
    MAX_RUNS_PER_SOCKET: Count = 20
    """Unfinished runs one socket may have at a time."""
    MAX_SOCKETS_PER_USER: Limit = 100
    """Sockets of one user or visitor at one process, or of one address without sessions; 0 is no limit."""
    MAX_RUNS: Count = 200
    """Runs one process executes at a time; more wait in its queue."""
    MAX_QUEUED_RUNS: Limit = 100
    """Runs that may wait in a process's queue; what comes then is refused as ``busy``."""
    QUEUE_TIMEOUT: Seconds = 60
    """Seconds a run may wait there."""
    MAX_RUNS_PER_USER: Limit = 20
    """Unfinished runs of one user or visitor at a time, in all processes; 0 is no limit."""
    MAX_RUNS_PER_CHAIN: Limit = 0
    """Unfinished runs of one chain at a time, in all processes; 0 is no limit."""
    MAX_STARTS_PER_USER: Limit = 60
    """Runs that one user or visitor may start a minute; 0 is no limit."""
    MAX_STARTS_PER_CHAIN: Limit = 0
    """Runs of one chain that may be started a minute; 0 is no limit."""
    SETTLE_TIMEOUT: Seconds = 86_400
    """Seconds in which OpenRouter is asked what an unfinished answer has cost; then the estimate stands."""
    CATALOGUE_MAX_AGE: Seconds = 604_800
    """Seconds after which the prices in the catalogue are called old."""
    MAX_TOOL_STEPS: Count = 10
    """Model calls one run may make where its tools act."""
    MAX_TOOL_CALLS: Count = 50
    """Tool calls one run may make."""
    APPROVAL_TIMEOUT: Seconds = 259_200
    """Seconds a call waits for somebody to allow it; then it counts as denied."""
    TITLE_CHAIN: str = ""
    """The chain that names conversations: its one variable is the first message, its answer the title."""
    FLUSH_INTERVAL: Seconds = 0.25
    """Seconds between two writes of the log, of all runs of a process together."""
    DATABASE_PATIENCE: Seconds = 10
    """Seconds the log may go unwritten before runs are failed."""
    LEASE: Seconds = 30
    """Seconds after which a run whose process has not been heard of is given up."""
    LEASE_RENEWAL: Seconds = 10
    """Seconds between two renewals of a process's leases."""
    REAP_INTERVAL: Seconds = 10
    """Seconds between two looks for runs that were given up."""
    FOLLOW_POLL: Seconds = 1
    """Seconds between two looks at the log of a run that another process executes."""
    PRESENCE_INTERVAL: Seconds = 10
    """Seconds between two words to that process that somebody follows here."""
    PRESENCE_TIMEOUT: Seconds = 25
    """Seconds after the last such word in which it goes on to send."""
    LAYER_TIMEOUT: Seconds = 1
    """Seconds one call of the channel layer may take."""
    SESSION_RECHECK: Seconds = 25
    """Seconds between two looks at whether a socket's session still stands."""
    DRAIN_TIMEOUT: Seconds = 30
    """Seconds a process that shuts down lets its runs go on."""

    def __repr__(self) -> str:
        shown = (
            f"{name}={'<hidden>' if name in SECRET and value else repr(value)}"
            for name, value in msgspec.structs.asdict(self).items()
        )
        return f"Settings({', '.join(shown)})"


SECRET = frozenset({"API_KEY", "ENCRYPTION_KEYS"})
_TYPES = get_type_hints(Settings, include_extras=True)


class Mistake(msgspec.Struct, frozen=True):
    """One thing wrong with ``OPENROUTER``: a sentence and, where there is one, the way out."""

    message: str
    hint: str = ""


def get_settings() -> Settings:
    """The settings as they are now. Raises `ImproperlyConfigured` for a mistake in them."""
    # no variable holds the dict, and the keys in it, where this raises
    for mistake in mistakes(getattr(django_settings, "OPENROUTER", {})):
        raise ImproperlyConfigured(" ".join(filter(None, (mistake.message, mistake.hint))))
    return Settings(**{name: _converted(name) for name in getattr(django_settings, "OPENROUTER", {})})


def mistakes(given: object) -> Iterator[Mistake]:
    """Every unknown key and wrong value in ``given``, the value of the setting ``OPENROUTER``."""
    if not isinstance(given, Mapping):
        yield Mistake(f"The setting OPENROUTER must be a dict, not {type(given).__name__}.")
        return
    for name, value in given.items():
        if name not in _TYPES:
            yield Mistake(f"OPENROUTER has no setting {name!r}.", hint=_meant(name))
        elif problem := _wrong(name, value):
            yield Mistake(f"OPENROUTER[{name!r}] is wrong: {problem}.")


def _converted(name: str) -> Any:
    return msgspec.convert(django_settings.OPENROUTER[name], _TYPES[name])


def _meant(name: object) -> str:
    close = difflib.get_close_matches(str(name).upper(), _TYPES, n=1)
    return f"Did you mean {close[0]!r}?" if close else f"The settings are {', '.join(_TYPES)}."


def _wrong(name: str, value: Any) -> str:
    """What is wrong with the value, in msgspec's words (they name types and bounds, never the value)."""
    try:
        msgspec.convert(value, _TYPES[name])
    except msgspec.ValidationError as error:
        return str(error)[:1].lower() + str(error)[1:]
    return ""


def engine_defaults() -> Defaults:
    """What `ChatOpenRouter` takes where its caller said nothing: this site's settings, read now."""
    settings = get_settings()
    return Defaults(
        api_key=settings.API_KEY,
        base_url=settings.BASE_URL,
        app_url=settings.APP_URL,
        app_title=settings.APP_TITLE,
        allow_insecure_base_url=settings.ALLOW_INSECURE_BASE_URL,
        timeouts=Timeouts(
            connect=settings.CONNECT_TIMEOUT,
            first_content=settings.FIRST_CONTENT_TIMEOUT,
            idle=settings.IDLE_TIMEOUT,
            total=settings.TOTAL_TIMEOUT,
        ),
    )
