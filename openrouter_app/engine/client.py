"""The shared HTTP clients: httpx, one for each event loop, one for all threads.

Building a client costs 34 ms, nearly all of it the TLS context; so the context is made once a
process, one async client once a loop, one sync client once a process; a forked process makes its
own. Redirects are not followed and the environment's proxies not used: the key goes to the host it
was meant for and nowhere else.
"""

from __future__ import annotations

import logging
import os
import ssl
import threading
import weakref
from collections.abc import AsyncGenerator, Mapping
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import msgspec

from .errors import ConfigurationError
from .failures import redact

try:
    import httpx as httpx
except ImportError:  # its successor, under whose name the same classes stand
    import httpx2 as httpx  # type: ignore[import-not-found,no-redef]

if TYPE_CHECKING:
    import asyncio

MAX_CONNECTIONS = 1000
KEEPALIVE = 30
"""Seconds an idle connection is kept."""
LONGEST = 7 * 86_400
"""Seconds a timeout has at most: clocks and sockets overflow at some number, and none waits so long."""


class Timeouts(msgspec.Struct, frozen=True):
    """Seconds: to connect, to the first content, between contents, and for the whole answer.

    Comments are no content. ``total`` spans the retries. Raises `ConfigurationError` for what is
    no positive number, or more than `LONGEST`.
    """

    connect: float = 5
    first_content: float = 60
    idle: float = 45
    total: float = 600

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= LONGEST:
                raise ConfigurationError(
                    f"The timeout '{name}' must be a positive number of seconds, {LONGEST:,} at most."
                )


class Headers(dict[str, str]):
    """Headers of a request, with the key; their repr, as a traceback's variables show it, has names alone."""

    def __repr__(self) -> str:
        return f"<Headers: {', '.join(self)}>"


class Request(msgspec.Struct, frozen=True):
    """A POST of JSON, or another question. The headers hold the key, so its repr shows neither them nor
    the body.
    """

    url: str
    headers: Mapping[str, str]
    body: bytes
    timeouts: Timeouts = Timeouts()
    method: str = "POST"

    def __repr__(self) -> str:
        return f"Request(url={self.url!r}, {len(self.body)} bytes)"


class _Redacting(logging.Filter):
    """httpcore writes the headers of answers into its log at DEBUG. A provider may echo the key there."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = redact(record.getMessage()), None
        return True


WIRE_LOG = "httpcore2.http11" if httpx.__name__ == "httpx2" else "httpcore.http11"
"""The logger of whoever reads the answers' headers; httpx's successor brings its own."""
logging.getLogger(WIRE_LOG).addFilter(_Redacting())

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
            _forget_closed_loops()
            keeper = _kept_open()
            try:
                keeper.__anext__().send(None)
            except StopIteration as begun:
                _async_clients[loop] = begun.value, keeper
        return _async_clients[loop][0]


async def _kept_open() -> AsyncGenerator[httpx.AsyncClient, None]:
    """A client, while this generator lives. A loop that ends, as `asyncio.run` ends it, closes the
    generators that were begun in it: so no loop leaves a client behind.
    """
    client = httpx.AsyncClient(
        transport=_async_transport(),
        trust_env=False,
        cookies=_no_cookies(),
        event_hooks={"response": [_aset_location_aside]},
    )
    try:
        yield client
    finally:
        _async_clients.pop(_running_loop(), None)
        await client.aclose()


def _forget_closed_loops() -> None:
    """A loop that was closed and no more has left its generators. Its connections hold it, so that the
    weak dictionary alone would keep both.
    """
    for loop in [loop for loop in _async_clients if loop.is_closed()]:
        del _async_clients[loop]


def _async_transport() -> httpx.AsyncBaseTransport:
    if _transport == "aiohttp" or (_transport == "auto" and _has_aiohttp()):
        from .aiohttp_transport import make_transport

        return make_transport(_tls(), MAX_CONNECTIONS, KEEPALIVE)
    return _AsyncTransport()


def sync_client() -> httpx.Client:
    """The process's client; made at its first use, safe to use from many threads."""
    global _sync_client
    with _lock:
        if _sync_client is None or _sync_client.is_closed:
            _sync_client = httpx.Client(
                transport=_SyncTransport(),
                trust_env=False,
                cookies=_no_cookies(),
                event_hooks={"response": [_set_location_aside]},
            )
        return _sync_client


def _limits(kept: int = 100) -> httpx.Limits:
    return httpx.Limits(
        max_connections=MAX_CONNECTIONS, max_keepalive_connections=kept, keepalive_expiry=KEEPALIVE
    )


class _SyncTransport(httpx.HTTPTransport):
    """httpx's transport. A request with the extension ``fresh`` goes out on a connection of its own."""

    def __init__(self) -> None:
        super().__init__(verify=_tls(), trust_env=False, limits=_limits())
        self.fresh = httpx.HTTPTransport(verify=_tls(), trust_env=False, limits=_limits(kept=0))

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if "fresh" in request.extensions:
            return self.fresh.handle_request(request)
        return super().handle_request(request)

    def close(self) -> None:
        super().close()
        self.fresh.close()


class _AsyncTransport(httpx.AsyncHTTPTransport):
    """The same for a loop, without the places that httpcore's pool loses (`_reclaim`)."""

    def __init__(self) -> None:
        super().__init__(verify=_tls(), trust_env=False, limits=_limits())
        self.fresh = httpx.AsyncHTTPTransport(verify=_tls(), trust_env=False, limits=_limits(kept=0))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        is_fresh = "fresh" in request.extensions
        try:
            if is_fresh:
                return await self.fresh.handle_async_request(request)
            return await super().handle_async_request(request)
        except BaseException:
            await _reclaim((self.fresh if is_fresh else self)._pool)
            raise

    async def aclose(self) -> None:
        await super().aclose()
        await self.fresh.aclose()


async def _reclaim(pool: Any) -> None:
    """Take out of httpcore's pool the connections that are nobody's.

    A request that is cancelled after a connection was made for it, and before it is sent there, leaves
    it in the pool as neither idle nor closed, and its place is taken for ever.
    """
    owned = {id(request.connection) for request in pool._requests}
    lost = [
        connection
        for connection in pool._connections
        if id(connection) not in owned and not connection.is_idle() and not connection.is_closed()
    ]
    if lost:
        pool._connections = [connection for connection in pool._connections if connection not in lost]
        await pool._close_connections(lost + pool._assign_requests_to_connections())


def _set_location_aside(response: httpx.Response) -> None:
    """httpx prepares the request a redirect asks for even where none is followed, and raises for an
    address that is none; so it is not shown the address.
    """
    if "location" in response.headers:
        response.extensions["location"] = response.headers.pop("location")


async def _aset_location_aside(response: httpx.Response) -> None:
    _set_location_aside(response)


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


_inherited: list[Any] = []


def _after_fork() -> None:
    """Leave the connections to the parent: two processes that send on one would read each other's answers.

    Nothing here may wait for a lock, which a thread of the parent may have held. The child closes its
    descriptors of the sync client's sockets; the parent's stay open. The loops' are kept as they are:
    to drop them would call on loops that are the parent's.
    """
    global _sync_client, _async_clients, _lock
    client, _sync_client, _lock = _sync_client, None, threading.Lock()
    if _async_clients:
        _inherited.append(_async_clients)
    _async_clients = weakref.WeakKeyDictionary()
    if client is not None:
        transport: Any = client._transport
        for pool in (transport._pool, transport.fresh._pool):
            for connection in pool.connections:
                connection.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
