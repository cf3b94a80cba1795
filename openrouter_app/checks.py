"""System checks: the mistakes in a site's settings that can be seen before the first request.

========  ==========================================================================
E001      ``OPENROUTER`` is no dict, has an unknown key or a value of the wrong type
E002      ``BASE_URL`` is no http(s) address
E003      ``BASE_URL`` would send the key over plain http to another machine
E004      an entry of ``ALLOWED_ORIGINS`` is no origin
E005      ``WEBSOCKET_PATH`` does not begin with a slash
E006      ``TITLE_CHAIN`` names no published chain with exactly one variable (``check --database default``)
E007      ``ENCRYPTION_KEYS`` has an entry that is too short, stands there twice or has a space at an end
E008      ``CALLBACK_ORIGIN`` is no origin, or plain http to another machine
E009      ``WEB_URL`` is no http(s) address
W001      no ``API_KEY``
W002      ``ALLOWED_HOSTS = ["*"]``: any site's page could open the websocket
W003      the Redis channel layer would give up on every socket that is silent for five seconds
W004      SQLite whose writers refuse each other instead of waiting
W005      a published chain has a tool whose handler no installed app has (``check --database default``)
W006      no ``ENCRYPTION_KEYS``: users' keys depend on ``SECRET_KEY`` (``check --deploy``)
W007      a published chain needs what its model lacks or will not be there for (``check --database default``)
========  ==========================================================================
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from ipaddress import ip_address
from typing import Any
from urllib.parse import SplitResult, parse_qs, urlsplit

from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import DatabaseError

from . import catalogue
from .conf import Mistake, Settings, get_settings, mistakes
from .models import Label
from .models.versions import DEFAULT_LABEL
from .naming import only_variable
from .sealing import problems
from .tool_handlers import find

NEW_KEY = 'python -c "from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())"'
LAYER_WAIT = 5
"""Seconds ``RedisChannelLayer`` lets Redis wait for a message; redis-py's own patience from 8 on."""
SQLITE_TIMEOUT = 20
"""Seconds a writer waits for SQLite's lock; Django's default is 5."""


@register("openrouter")
def check_settings(**kwargs: Any) -> list[CheckMessage]:
    """Every mistake in ``OPENROUTER``; what depends on right types is only looked at when they are."""
    wrong: list[CheckMessage] = [
        Error(mistake.message, hint=mistake.hint or None, id="openrouter_app.E001")
        for mistake in mistakes_in_settings()
    ]
    settings = None if wrong else get_settings()
    return wrong if settings is None else [*_base_url(settings), *_websocket(settings), *_accounts(settings)]


def mistakes_in_settings() -> list[Mistake]:
    """What is wrong with ``OPENROUTER`` by itself."""
    return list(mistakes(getattr(django_settings, "OPENROUTER", {})))


def _base_url(settings: Settings) -> Iterator[CheckMessage]:
    try:
        url = urlsplit(settings.BASE_URL)
        host = url.hostname
    except ValueError:
        url, host = SplitResult("", "", "", "", ""), None
    if url.scheme not in {"http", "https"} or not host or url.query or url.fragment:
        yield Error(
            "OPENROUTER['BASE_URL'] is no http or https address.",
            hint="Use the full prefix of the API, such as 'https://openrouter.ai/api/v1'.",
            id="openrouter_app.E002",
        )
    elif url.scheme == "http" and not _is_loopback(host) and not settings.ALLOW_INSECURE_BASE_URL:
        yield Error(
            f"OPENROUTER['BASE_URL'] would send the API key unencrypted to {host}.",
            hint="Use https, or set OPENROUTER['ALLOW_INSECURE_BASE_URL'] = True "
            "where the network between is your own.",
            id="openrouter_app.E003",
        )
    if not settings.API_KEY and (not host or not _is_loopback(host)):
        yield Warning(
            "OPENROUTER has no 'API_KEY': OpenRouter will refuse every run.",
            hint="Make one at https://openrouter.ai/settings/keys and set OPENROUTER['API_KEY'].",
            id="openrouter_app.W001",
        )


def _websocket(settings: Settings) -> Iterator[CheckMessage]:
    for origin in settings.ALLOWED_ORIGINS:
        if not _is_origin(origin):
            yield Error(
                f"OPENROUTER['ALLOWED_ORIGINS'] has {origin!r}, which is no origin.",
                hint="An origin is a scheme and a host, and a port where it is not the usual one: "
                "'https://app.example.com'.",
                id="openrouter_app.E004",
            )
    if not settings.WEBSOCKET_PATH.startswith("/"):
        yield Error(
            "OPENROUTER['WEBSOCKET_PATH'] must begin with a slash.",
            hint=f"Did you mean '/{settings.WEBSOCKET_PATH}'?",
            id="openrouter_app.E005",
        )
    if "*" in django_settings.ALLOWED_HOSTS:
        yield Warning(
            "ALLOWED_HOSTS contains '*': no Host header is refused, so the websocket's same-host rule is "
            "all that keeps other sites' pages out.",
            hint="Name the site's hosts in ALLOWED_HOSTS.",
            id="openrouter_app.W002",
        )


def _accounts(settings: Settings) -> Iterator[CheckMessage]:
    for problem in problems():
        yield Error(
            f"OPENROUTER['ENCRYPTION_KEYS'] is wrong: {problem}",
            hint=f"Make a key with: {NEW_KEY}",
            id="openrouter_app.E007",
        )
    origin = settings.CALLBACK_ORIGIN
    if origin and not (_is_origin(origin) and (origin.startswith("https:") or _is_loopback(_host(origin)))):
        yield Error(
            f"OPENROUTER['CALLBACK_ORIGIN'] is {origin!r}: OpenRouter sends nobody back there.",
            hint="It is this site's scheme and host, 'https://app.example.com', and a port where that is not "
            "the usual one; http only for this machine.",
            id="openrouter_app.E008",
        )
    if settings.WEB_URL and not _is_address(settings.WEB_URL):
        yield Error(
            "OPENROUTER['WEB_URL'] is no http or https address.",
            hint="It is where OpenRouter's own pages are, 'https://openrouter.ai'; leave it empty for "
            "BASE_URL without '/api/v1'.",
            id="openrouter_app.E009",
        )


@register("openrouter", Tags.security, deploy=True)
def check_encryption_keys(**kwargs: Any) -> Iterator[CheckMessage]:
    """Where nobody brings a key this warns for nothing; but nobody would think of it later."""
    if not mistakes_in_settings() and not get_settings().ENCRYPTION_KEYS:
        yield Warning(
            "OPENROUTER has no 'ENCRYPTION_KEYS': users' keys are encrypted with what is derived from "
            "SECRET_KEY, and are lost with it.",
            hint=f"Make a key with: {NEW_KEY}, keep it apart from the database's backups, set it, then run "
            "manage.py openrouter_rotate_keys.",
            id="openrouter_app.W006",
        )


@register("openrouter", Tags.database)
def check_title_chain(databases: Collection[str] | None = None, **kwargs: Any) -> Iterator[CheckMessage]:
    """Asks the database, so only where Django says that it may."""
    if mistakes_in_settings() or not databases or not (chain := get_settings().TITLE_CHAIN):
        return
    try:
        variable = only_variable(chain)
    except DatabaseError:
        return  # not migrated yet
    if variable is None:
        yield Error(
            f"OPENROUTER['TITLE_CHAIN'] is {chain!r}, which is no published chain with exactly one variable: "
            "no conversation will be named by it.",
            hint="Publish a chain of that name whose prompt has one variable, such as "
            "'human: Give this a title of at most six words: {message}'.",
            id="openrouter_app.E006",
        )


@register("openrouter", Tags.database)
def check_handlers(databases: Collection[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Asks the database, so only where Django says that it may: a version keeps its tools by value."""
    if not databases:
        return []
    try:
        published = Label.objects.filter(name=DEFAULT_LABEL, chain__enabled=True).order_by("chain__slug")
        return [
            _missing_handler(label.chain.slug, tool["name"], tool["handler"])
            for label in published.select_related("chain", "version")
            for tool in label.version.body["tools"]
            if label.version.body["parser"] == "text" and tool.get("handler") and not find(tool["handler"])
        ]
    except DatabaseError:
        return []  # not migrated yet


def _missing_handler(chain: str, tool: str, handler: str) -> Warning:
    return Warning(
        f"The chain '{chain}' is published with the tool '{tool}', whose handler '{handler}' no installed "
        "app has: its calls will fail.",
        hint=f"Write @handler on a function {handler} in an openrouter_tools.py of an installed app, or "
        "choose another handler for the tool in the admin and publish the chain again.",
        id="openrouter_app.W005",
    )


@register("openrouter", Tags.database)
def check_models(databases: Collection[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Asks the database, so only where Django says that it may: the catalogue tells what models can do."""
    if not databases or mistakes_in_settings():
        return []
    try:
        labels = Label.objects.filter(name=DEFAULT_LABEL, chain__enabled=True).order_by("chain__slug")
        published = list(labels.select_related("chain", "version"))
        advised = catalogue.advice_on([label.version.body for label in published])
        old = catalogue.advice_on_age()
    except DatabaseError:
        return []  # not migrated yet
    said = [
        f"The chain '{label.chain.slug}' is published: {sentence}"
        for label, sentences in zip(published, advised, strict=True)
        for sentence in sentences
    ]
    hint = "Change the chain in the admin and publish it again, or fetch what is listed now: "
    return [
        Warning(sentence, hint=f"{hint}manage.py openrouter_sync_models.", id="openrouter_app.W007")
        for sentence in ([*said, old] if old else said)
    ]


@register("openrouter")
def check_channel_layer(**kwargs: Any) -> Iterator[CheckMessage]:
    """redis-py 8 gave its sockets a timeout that is as long as the channel layer's wait for a message."""
    layer = getattr(django_settings, "CHANNEL_LAYERS", {}).get("default", {})
    if layer.get("BACKEND") != "channels_redis.core.RedisChannelLayer" or _major_version("redis") < 8:
        return
    hosts = layer.get("CONFIG", {}).get("hosts") or [{}]
    if isinstance(hosts, list | tuple) and any(_gives_up_early(host) for host in hosts):
        yield Warning(
            "The channel layer closes every websocket that is silent for five seconds: redis-py 8 gave its "
            "sockets a timeout.",
            hint="Write each entry of CHANNEL_LAYERS['default']['CONFIG']['hosts'] as "
            "{'address': 'redis://...', 'socket_timeout': None}.",
            id="openrouter_app.W003",
        )


@register("openrouter")
def check_database(**kwargs: Any) -> Iterator[CheckMessage]:
    """SQLite's defaults lose writes as soon as two runs write at once."""
    database = django_settings.DATABASES.get("default", {})
    if database.get("ENGINE") != "django.db.backends.sqlite3":
        return
    options = database.get("OPTIONS", {})
    if (
        str(options.get("transaction_mode")).upper() not in {"IMMEDIATE", "EXCLUSIVE"}
        or options.get("timeout", 5) < SQLITE_TIMEOUT
    ):
        yield Warning(
            "Runs that write to SQLite at once would fail with 'database is locked'.",
            hint="Set DATABASES['default']['OPTIONS'] = {'transaction_mode': 'IMMEDIATE', "
            f"'timeout': {SQLITE_TIMEOUT}, 'init_command': 'PRAGMA journal_mode=WAL; "
            "PRAGMA synchronous=NORMAL;'}.",
            id="openrouter_app.W004",
        )


def _gives_up_early(host: object) -> bool:
    """Whether an entry of ``hosts``, in any of its forms, has redis-py's own timeout or a shorter one."""
    if isinstance(host, str):
        said: object = parse_qs(urlsplit(host).query).get("socket_timeout", [LAYER_WAIT])[-1]
    elif isinstance(host, Mapping):
        address = host.get("address")
        inherited = _gives_up_early(address) if isinstance(address, str) else True
        if "socket_timeout" not in host:
            return inherited
        said = host["socket_timeout"]
    else:
        said = LAYER_WAIT
    try:
        return said is not None and float(str(said)) <= LAYER_WAIT
    except ValueError:
        return True


def _major_version(package: str) -> int:
    try:
        return int(version(package).partition(".")[0])
    except (PackageNotFoundError, ValueError):
        return 0


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _host(address: str) -> str:
    return urlsplit(address).hostname or ""


def _is_address(address: str) -> bool:
    try:
        url = urlsplit(address)
        _ = url.port
    except ValueError:
        return False
    bare = not (url.query or url.fragment or url.username or url.password)
    return url.scheme in {"http", "https"} and bool(url.hostname) and bare


def _is_origin(origin: str) -> bool:
    try:
        url = urlsplit(origin)
        return (
            url.scheme in {"http", "https"}
            and bool(url.hostname)
            and origin == f"{url.scheme}://{url.netloc}"
        )
    except ValueError:
        return False
