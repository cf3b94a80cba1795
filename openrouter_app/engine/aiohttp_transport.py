"""httpx over aiohttp: the transport of the ``fast`` extra.

`httpx_aiohttp` does the work. What it leaves open is closed here: no cookies, no proxies of the
environment, and no exception but httpx's leaves it, because aiohttp's hold the request and its key.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any

import aiohttp
import httpx
import httpx_aiohttp
from aiohttp.client_proto import ResponseHandler

if TYPE_CHECKING:
    from collections.abc import Iterator


def make_transport(tls: ssl.SSLContext, max_connections: int, keepalive: float) -> httpx.AsyncBaseTransport:
    """A transport with these TLS settings, connections at most, and seconds an idle one is kept."""

    def transport(kind: type[httpx_aiohttp.AiohttpTransport], **connections: Any) -> Any:
        def session() -> aiohttp.ClientSession:
            opening = aiohttp.TraceConfig()
            opening.on_connection_create_start.append(_tell_new)
            connector: Any = aiohttp.TCPConnector(ssl=tls, limit=max_connections, **connections)
            connector._factory = partial(_Protocol, loop=connector._loop)
            return aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                trace_configs=[opening],
                trust_env=False,
                auto_decompress=False,
            )

        return kind(client=session, verify=tls, trust_env=False)

    made: _Transport = transport(_Transport, keepalive_timeout=keepalive)
    made.fresh = transport(httpx_aiohttp.AiohttpTransport, force_close=True)
    return made


_trace: ContextVar[Any] = ContextVar("openrouter_trace")


async def _tell_new(*_: Any) -> None:
    await _trace.get()("connection.connect_tcp.started", {})


async def _untraced(event: str, info: Any) -> None:
    pass


class _Transport(httpx_aiohttp.AiohttpTransport):
    """Tells as httpcore does whether a connection is new, and takes the extension ``fresh``
    (`connections.Opening`).
    """

    fresh: httpx_aiohttp.AiohttpTransport

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        trace = request.extensions.get("trace", _untraced)
        _trace.set(trace)
        await trace("connection.wanted", {})
        with _only_httpx_errors():
            if "fresh" in request.extensions:
                response = await self.fresh.handle_async_request(request)
            else:
                response = await super().handle_async_request(request)
        response.stream = _Stream(response.stream)
        return response

    async def aclose(self) -> None:
        await super().aclose()
        await self.fresh.aclose()


class _Protocol(ResponseHandler):
    """Loses nothing that came before bytes which are no HTTP.

    aiohttp drops a head, and the content behind it, that come in one piece with such bytes; and where
    they come later it leaves whoever reads the body waiting.
    """

    def data_received(self, data: bytes) -> None:
        if self._payload is None and data:
            head, end, rest = data.partition(b"\r\n\r\n")
            if rest:
                super().data_received(head + end)
                data = rest
        payload = self._payload
        super().data_received(data)
        if payload is not None and self._exception is not None and payload.exception() is None:
            payload.set_exception(aiohttp.ClientPayloadError())


class _Stream(httpx.AsyncByteStream):
    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._content = stream._aiohttp_response.content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        content = self._content
        with _only_httpx_errors():
            try:
                async for data in content.iter_any():
                    yield data
            except aiohttp.ClientError as error:
                failure = error
            else:
                return
            content.set_exception(None)  # it hides what had come before
            if data := content.read_nowait():
                yield data
            raise failure

    async def aclose(self) -> None:
        with _only_httpx_errors():
            await self._stream.aclose()


@contextmanager
def _only_httpx_errors() -> Iterator[None]:
    """Raise httpx's error for every other one. `httpx_aiohttp` calls each broken connection a timeout."""
    try:
        yield
    except Exception as error:
        original = error.__cause__ if isinstance(error, httpx.HTTPError) else error
        if original is None:
            raise
        raise _httpx_error(original) from None


def _httpx_error(error: BaseException) -> httpx.HTTPError:
    kinds: tuple[tuple[type[BaseException], type[httpx.HTTPError]], ...] = (
        (aiohttp.ConnectionTimeoutError, httpx.ConnectTimeout),
        (TimeoutError, httpx.ReadTimeout),
        (aiohttp.ClientConnectorError, httpx.ConnectError),
        (aiohttp.ServerDisconnectedError, httpx.ReadError),
        (OSError, httpx.ReadError),
    )
    for kind, ours in kinds:
        if isinstance(error, kind):
            return ours(type(error).__name__)
    return httpx.RemoteProtocolError(type(error).__name__)
