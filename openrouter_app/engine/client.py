"""The one place that opens connections: httpx, one shared client per event loop.

Building a client costs 34 ms, nearly all of it the TLS context; so the context is made once a
process, one async client once a loop, one sync client once a process. Redirects are not followed
and the environment's proxies not used: the key goes to the host it was meant for and nowhere else.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
import time
import weakref
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec

from .errors import BrokenStreamError, ConfigurationError, ConnectError, OpenRouterError, ReadTimeoutError
from .failures import redact

MAX_CONNECTIONS = 1000
LINGER = 0.5
"""Seconds to wait for the end of a body whose last event has come."""


class Timeouts(msgspec.Struct, frozen=True):
    """Seconds: to connect, to the first content, between contents, and for the whole answer.

    Comments are no content. On an event loop each is kept to the moment; a thread notices a
    complete silence after the longer of ``first_content`` and ``idle``.
    """

    connect: float = 5
    first_content: float = 60
    idle: float = 45
    total: float = 600


class Request(msgspec.Struct, frozen=True):
    """A POST of JSON. The headers hold the key, so its repr shows neither them nor the body."""

    url: str
    headers: Mapping[str, str]
    body: bytes
    timeouts: Timeouts = Timeouts()

    def __repr__(self) -> str:
        return f"Request(url={self.url!r}, {len(self.body)} bytes)"


def check_base_url(base_url: str, *, allow_insecure: bool = False) -> str:
    """The base URL without its last slash, when it may be sent a key.

    Raises `ConfigurationError` for anything but https, or plain http to a loopback address.
    """
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ConfigurationError(
            f"'{redact(base_url)}' is no base URL. Give a full prefix such as 'https://openrouter.ai/api/v1'."
        )
    if parts.username or parts.password:
        raise ConfigurationError("The base URL must not hold a user name or password.")
    if parts.scheme == "http" and not allow_insecure and not is_loopback(parts.hostname):
        raise ConfigurationError(
            f"The base URL '{base_url}' would send the API key unencrypted. Use https, or set "
            "ALLOW_INSECURE_BASE_URL if that network is yours."
        )
    return base_url.rstrip("/")


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


@cache
def _tls() -> ssl.SSLContext:
    return httpx.create_ssl_context(trust_env=False)


def _no_cookies() -> CookieJar:
    """A jar that takes nothing: one user's cookies must not travel with another's requests."""
    return CookieJar(DefaultCookiePolicy(allowed_domains=[]))


_limits = httpx.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=100, keepalive_expiry=30)
_async_clients: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, httpx.AsyncClient] = (
    weakref.WeakKeyDictionary()
)
_sync_client: httpx.Client | None = None
_lock = threading.Lock()


def async_client() -> httpx.AsyncClient:
    """The running loop's client; made at its first use."""
    loop = asyncio.get_running_loop()
    with _lock:
        client = _async_clients.get(loop)
        if client is None or client.is_closed:
            client = httpx.AsyncClient(verify=_tls(), trust_env=False, limits=_limits, cookies=_no_cookies())
            _async_clients[loop] = client
        return client


def sync_client() -> httpx.Client:
    """The process's client; made at its first use, safe to use from many threads."""
    global _sync_client
    with _lock:
        if _sync_client is None or _sync_client.is_closed:
            _sync_client = httpx.Client(verify=_tls(), trust_env=False, limits=_limits, cookies=_no_cookies())
        return _sync_client


async def aclose() -> None:
    """Close the running loop's client and its idle connections: at shutdown, or at a test's end."""
    client = _async_clients.pop(asyncio.get_running_loop(), None)
    if client is not None:
        await client.aclose()


def close() -> None:
    """Close the process's sync client and its idle connections."""
    global _sync_client
    with _lock:
        client, _sync_client = _sync_client, None
    if client is not None:
        client.close()


class Connection:
    """An answer being read, without a loop: ``status``, ``headers``, ``read()``, ``close()``."""

    def __init__(self, response: httpx.Response) -> None:
        self.status = response.status_code
        self.headers = response.headers
        self._response = response
        # Nothing compressed is asked for; raw bytes spare a layer for each chunk.
        encoded = "content-encoding" in response.headers
        self._bytes = response.iter_bytes() if encoded else response.iter_raw()

    def read(self) -> bytes:
        """The next bytes, ``b""`` at the end."""
        try:
            return next(self._bytes, b"")
        except httpx.HTTPError as error:
            raise _broken(error) from None

    def finish(self) -> None:
        """Read what ends the body, so that the connection can be used again, and give it back.

        A server that goes on sending loses the connection instead.
        """
        end = time.monotonic() + LINGER
        with suppress(httpx.HTTPError):
            for _ in self._bytes:
                if time.monotonic() > end:
                    break
        self.close()

    def close(self) -> None:
        """Give the connection back, or close it where bytes are still to come."""
        self._response.close()


class AsyncConnection:
    """An answer being read on a loop: ``status``, ``headers``, ``read()``, ``close()``."""

    def __init__(self, response: httpx.Response) -> None:
        self.status = response.status_code
        self.headers = response.headers
        self._response = response
        encoded = "content-encoding" in response.headers
        self._bytes = response.aiter_bytes() if encoded else response.aiter_raw()

    async def read(self) -> bytes:
        """The next bytes, ``b""`` at the end."""
        try:
            return await anext(self._bytes, b"")
        except httpx.HTTPError as error:
            raise _broken(error) from None

    async def finish(self) -> None:
        """Read what ends the body, so that the connection can be used again, and give it back.

        A server that does not end it soon loses the connection instead.
        """
        with suppress(httpx.HTTPError, TimeoutError):
            async with asyncio.timeout(LINGER):
                async for _ in self._bytes:
                    pass
        await self.close()

    async def close(self) -> None:
        """Give the connection back, or close it where bytes are still to come."""
        await self._response.aclose()


def open_sync(request: Request) -> Connection:
    """Send the request and read the answer's head. Raises a `TransportError`."""
    client = sync_client()
    while True:
        sent, opening = _build(client, request), _Opening()
        sent.extensions["trace"] = opening.trace
        try:
            return Connection(client.send(sent, stream=True))
        except httpx.HTTPError as error:
            if not opening.was_stale(error):
                raise _unopened(error) from None


async def open_async(request: Request) -> AsyncConnection:
    """Send the request and read the answer's head. Raises a `TransportError`."""
    client = async_client()
    while True:
        sent, opening = _build(client, request), _Opening()
        sent.extensions["trace"] = opening.atrace
        try:
            return AsyncConnection(await client.send(sent, stream=True))
        except httpx.HTTPError as error:
            if not opening.was_stale(error):
                raise _unopened(error) from None


class _Opening:
    """Whether a request went out on a new connection, or on a kept one that had gone stale.

    A server may close an idle connection at the moment it is used again. Nothing of an answer came
    then, so the request is sent once more; each stale connection leaves the pool, so that ends.
    """

    def __init__(self) -> None:
        self._is_new = False

    def trace(self, event: str, info: Any) -> None:
        self._is_new = self._is_new or event == "connection.connect_tcp.started"

    async def atrace(self, event: str, info: Any) -> None:
        self.trace(event, info)

    def was_stale(self, error: httpx.HTTPError) -> bool:
        broken = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)
        return isinstance(error, broken) and not self._is_new


def _build(client: httpx.Client | httpx.AsyncClient, request: Request) -> httpx.Request:
    limits = request.timeouts
    silence = max(limits.first_content, limits.idle)
    timeout = httpx.Timeout(silence, connect=limits.connect, pool=limits.connect)
    try:
        return client.build_request(
            "POST", request.url, headers=dict(request.headers), content=request.body, timeout=timeout
        )
    except (httpx.InvalidURL, UnicodeEncodeError, ValueError) as error:
        raise ConfigurationError(f"The request could not be built: {redact(str(error))}") from None


# The library's exceptions hold the request, and with it the key: none is chained to ours.


def _unopened(error: httpx.HTTPError) -> OpenRouterError:
    detail = redact(f"{type(error).__name__}: {error}")
    if isinstance(error, (httpx.ConnectTimeout, httpx.PoolTimeout)):
        return ConnectError(
            "No connection to the model's provider could be made in time. Try again.", detail=detail
        )
    if isinstance(error, httpx.TimeoutException):
        return ReadTimeoutError("The model's provider did not answer in time. Try again.", detail=detail)
    if isinstance(error, httpx.LocalProtocolError):
        return ConfigurationError("A header holds characters that cannot be sent.", detail=detail)
    if isinstance(error, (httpx.ReadError, httpx.RemoteProtocolError)):
        return ConnectError(
            "The provider closed the connection before it answered. Try again.", detail=detail
        )
    return ConnectError(
        "No connection to the model's provider could be made. Check the network and the base URL.",
        detail=detail,
    )


def _broken(error: httpx.HTTPError) -> OpenRouterError:
    detail = redact(f"{type(error).__name__}: {error}")
    if isinstance(error, httpx.TimeoutException):
        return ReadTimeoutError("The model's provider fell silent in mid-answer. Try again.", detail=detail)
    return BrokenStreamError("The connection broke in mid-answer. What came so far is kept.", detail=detail)
