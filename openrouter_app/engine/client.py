"""The shared HTTP clients: httpx, one for each event loop, one for all threads.

Building a client costs 34 ms, nearly all of it the TLS context; so the context is made once a
process, one async client once a loop, one sync client once a process. Redirects are not followed
and the environment's proxies not used: the key goes to the host it was meant for and nowhere else.
"""

from __future__ import annotations

import ssl
import threading
import weakref
from collections.abc import AsyncGenerator, Mapping
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from importlib.util import find_spec
from typing import TYPE_CHECKING

import msgspec

from .errors import ConfigurationError

try:
    import httpx as httpx
except ImportError:  # its successor, under whose name the same classes stand
    import httpx2 as httpx  # type: ignore[import-not-found,no-redef]

if TYPE_CHECKING:
    import asyncio

MAX_CONNECTIONS = 1000
KEEPALIVE = 30
"""Seconds an idle connection is kept."""


class Timeouts(msgspec.Struct, frozen=True):
    """Seconds: to connect, to the first content, between contents, and for the whole answer.

    Comments are no content. ``total`` spans the retries. Raises `ConfigurationError` for what is
    no positive number.
    """

    connect: float = 5
    first_content: float = 60
    idle: float = 45
    total: float = 600

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
                raise ConfigurationError(f"The timeout '{name}' must be a positive number of seconds.")


class Request(msgspec.Struct, frozen=True):
    """A POST of JSON. The headers hold the key, so its repr shows neither them nor the body."""

    url: str
    headers: Mapping[str, str]
    body: bytes
    timeouts: Timeouts = Timeouts()

    def __repr__(self) -> str:
        return f"Request(url={self.url!r}, {len(self.body)} bytes)"


TRANSPORTS = ("auto", "httpx", "aiohttp")
_transport = "auto"


def set_transport(name: str) -> None:
    """Which transport clients made from now on use on an event loop.

    ``httpx`` is its own; ``aiohttp`` is `httpx_aiohttp` of the ``fast`` extra, which costs a third a
    chunk; ``auto``, the default, is ``aiohttp`` where that is installed. Raises `ConfigurationError`
    for another name, and for one that is not installed.
    """
    global _transport
    if name not in TRANSPORTS:
        raise ConfigurationError(f"There is no transport '{name}'. Use one of {', '.join(TRANSPORTS)}.")
    if name == "aiohttp" and not _has_aiohttp():
        raise ConfigurationError(
            "The transport 'aiohttp' is not installed. Install it with "
            "pip install 'django-openrouter-chains[fast]'."
        )
    _transport = name


@cache
def _has_aiohttp() -> bool:
    return httpx.__name__ == "httpx" and find_spec("httpx_aiohttp") is not None


@cache
def _tls() -> ssl.SSLContext:
    return httpx.create_ssl_context(trust_env=False)


def _no_cookies() -> CookieJar:
    """A jar that takes nothing: one user's cookies must not travel with another's requests."""
    return CookieJar(DefaultCookiePolicy(allowed_domains=[]))


_limits = httpx.Limits(
    max_connections=MAX_CONNECTIONS, max_keepalive_connections=100, keepalive_expiry=KEEPALIVE
)
_async_clients: weakref.WeakKeyDictionary[
    asyncio.AbstractEventLoop, tuple[httpx.AsyncClient, AsyncGenerator[httpx.AsyncClient, None]]
] = weakref.WeakKeyDictionary()
_sync_client: httpx.Client | None = None
_lock = threading.Lock()


def async_client() -> httpx.AsyncClient:
    """The running loop's client; made at its first use, closed with the loop's async generators."""
    loop = _running_loop()
    with _lock:
        if loop not in _async_clients or _async_clients[loop][0].is_closed:
            keeper = _kept_open(loop)
            try:
                keeper.__anext__().send(None)
            except StopIteration as begun:
                _async_clients[loop] = begun.value, keeper
        return _async_clients[loop][0]


async def _kept_open(loop: asyncio.AbstractEventLoop) -> AsyncGenerator[httpx.AsyncClient, None]:
    """A client, while this generator lives. A loop that ends, as `asyncio.run` ends it, closes the
    generators that were begun in it: so no loop leaves a client behind.
    """
    client = httpx.AsyncClient(transport=_async_transport(), trust_env=False, cookies=_no_cookies())
    try:
        yield client
    finally:
        _async_clients.pop(loop, None)
        await client.aclose()


def _async_transport() -> httpx.AsyncBaseTransport:
    if _transport == "aiohttp" or (_transport == "auto" and _has_aiohttp()):
        from .aiohttp_transport import make_transport

        return make_transport(_tls(), MAX_CONNECTIONS, KEEPALIVE)
    return httpx.AsyncHTTPTransport(verify=_tls(), trust_env=False, limits=_limits)


def sync_client() -> httpx.Client:
    """The process's client; made at its first use, safe to use from many threads."""
    global _sync_client
    with _lock:
        if _sync_client is None or _sync_client.is_closed:
            _sync_client = httpx.Client(verify=_tls(), trust_env=False, limits=_limits, cookies=_no_cookies())
        return _sync_client


def _running_loop() -> asyncio.AbstractEventLoop:
    import asyncio  # not before there is a loop: it is a third of what importing this package costs

    return asyncio.get_running_loop()


async def aclose() -> None:
    """Close the running loop's client and its idle connections: at shutdown, or at a test's end."""
    _, keeper = _async_clients.get(_running_loop(), (None, None))
    if keeper is not None:
        await keeper.aclose()


def close() -> None:
    """Close the process's sync client and its idle connections."""
    global _sync_client
    with _lock:
        client, _sync_client = _sync_client, None
    if client is not None:
        client.close()
