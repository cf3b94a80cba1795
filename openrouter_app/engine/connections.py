"""Answers being read by a thread, and how a request is sent. `engine.async_connections` is for loops."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from .client import Request, httpx, sync_client
from .errors import (
    BrokenStreamError,
    ConfigurationError,
    ConnectError,
    OpenRouterError,
    ReadTimeoutError,
)
from .failures import redact
from .inflate import Inflater
from .watchdog import unwatch, watch

LINGER = 0.5
"""Seconds to wait for the end of a body whose last event has come."""
_NEVER = float("inf")


class Connection:
    """An answer being read by a thread: ``status``, ``headers``, ``read(due)``, ``close()``."""

    def __init__(self, response: httpx.Response) -> None:
        self.status = response.status_code
        self.headers = response.headers
        self.due = _NEVER
        self._aborted = False
        self._response = response
        self._raw = iter(response.stream)  # type: ignore[arg-type]
        encoding = response.headers.get("content-encoding", "")
        self._next: Callable[[], bytes] = _inflated(encoding, self._raw) if encoding else self._raw.__next__
        watch(self)

    def read(self, due: float) -> bytes:
        """The next bytes, ``b""`` at the end. Raises a `TimeoutError` where none came until ``due``."""
        self.due = due
        try:
            data = self._next()
        except StopIteration:
            data = b""
        except httpx.HTTPError as error:
            if not self._aborted:
                raise broken(error) from None
            data = b""
        self.due = _NEVER
        if self._aborted:
            raise TimeoutError
        return data

    def abort(self) -> None:
        """Wake the thread that reads, from another one."""
        self._aborted = True
        stream = self._response.extensions.get("network_stream")
        raw = stream.get_extra_info("socket") if stream is not None else None
        if raw is not None:
            with suppress(OSError):
                # a TLS socket's own shutdown would take its session from under the reader
                socket.socket.shutdown(raw, socket.SHUT_RDWR)

    def finish(self) -> None:
        """Read what ends the body, so that the connection can be used again, and give it back.

        A server that goes on sending, or does not end it soon, loses the connection instead.
        """
        end = time.monotonic() + LINGER
        self.due = end
        with suppress(httpx.HTTPError):
            for _ in self._raw:
                if time.monotonic() > end:
                    break
        self.close()

    def close(self) -> None:
        """Give the connection back, or close it where bytes are still to come."""
        unwatch(self)
        self._response.close()


def _inflated(encoding: str, raw: Iterator[bytes]) -> Callable[[], bytes]:
    inflater = Inflater(encoding)

    def following() -> bytes:
        while not (data := inflater.take()):
            inflater.feed(next(raw))
        return data

    return following


def open_sync(request: Request, due: float) -> Connection:
    """Send the request and read the answer's head. Raises a `TransportError`."""
    client = sync_client()
    while True:
        sent, opening = build(client, request, due), Opening()
        sent.extensions["trace"] = opening.trace
        try:
            response = client.send(sent, stream=True)
        except httpx.HTTPError as error:
            if not opening.was_stale(error):
                raise unopened(error) from None
        else:
            return Connection(response)


class Opening:
    """Whether a request went out on a new connection, or on a kept one that had gone stale.

    A server may close an idle connection at the moment it is used again. Nothing of an answer came
    then, so the request is sent once more; each stale connection leaves the pool, so that ends.
    Only httpx's own transport tells which it was: another sees to its connections itself.
    """

    def __init__(self) -> None:
        self._is_traced = False
        self._is_new = False

    def trace(self, event: str, info: Any) -> None:
        self._is_traced = True
        self._is_new = self._is_new or event == "connection.connect_tcp.started"

    async def atrace(self, event: str, info: Any) -> None:
        self.trace(event, info)

    def was_stale(self, error: httpx.HTTPError) -> bool:
        broken = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)
        return isinstance(error, broken) and self._is_traced and not self._is_new


_UNSENDABLE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]|[^\x00-\xff]")


def build(client: httpx.Client | httpx.AsyncClient, request: Request, due: float) -> httpx.Request:
    """The request as httpx has it. Raises `ConfigurationError` where it cannot be sent."""
    for name, value in request.headers.items():
        if not name or _UNSENDABLE.search(name + value):
            raise ConfigurationError(f"The header {name[:80]!a} holds characters that cannot be sent.")
    limits = request.timeouts
    left = max(due - time.monotonic(), 0.001)
    connect = min(limits.connect, left)
    # Reading: for the head until ``due``; how long a body may be silent is seen to elsewhere.
    timeout = httpx.Timeout(max(left, limits.idle), connect=connect, pool=connect)
    try:
        return client.build_request(
            "POST", request.url, headers=dict(request.headers), content=request.body, timeout=timeout
        )
    except (httpx.InvalidURL, UnicodeEncodeError, ValueError) as error:
        raise ConfigurationError(f"The request could not be built: {redact(str(error))}") from None


# The library's exceptions hold the request, and with it the key: none is chained to ours.


def unopened(error: httpx.HTTPError) -> OpenRouterError:
    """The error for a request that got no answer."""
    detail = redact(f"{type(error).__name__}: {error}")
    if isinstance(error, (httpx.ConnectTimeout, httpx.PoolTimeout)):
        return ConnectError(
            "No connection to the model's provider could be made in time. Try again.", detail=detail
        )
    if isinstance(error, httpx.TimeoutException):
        return ReadTimeoutError("The model's provider did not answer in time. Try again.", detail=detail)
    if isinstance(error, (httpx.ReadError, httpx.RemoteProtocolError)):
        return ConnectError(
            "The provider closed the connection before it answered. Try again.", detail=detail
        )
    return ConnectError(
        "No connection to the model's provider could be made. Check the network and the base URL.",
        detail=detail,
    )


def broken(error: httpx.HTTPError) -> OpenRouterError:
    """The error for an answer that broke off."""
    detail = redact(f"{type(error).__name__}: {error}")
    if isinstance(error, httpx.TimeoutException):
        return ReadTimeoutError("The model's provider fell silent in mid-answer. Try again.", detail=detail)
    return BrokenStreamError("The connection broke in mid-answer. What came so far is kept.", detail=detail)
