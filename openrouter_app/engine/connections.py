"""Answers being read by a thread, and how a request is sent. `engine.async_connections` is for loops."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from .client import Request, httpx, sync_client
from .errors import (
    BrokenStreamError,
    ConfigurationError,
    ConnectError,
    OpenRouterError,
    ReadTimeoutError,
    UpstreamError,
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
        self.headers = headers_of(response)
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
        data, failure = b"", None
        try:
            data = self._next()
        except StopIteration:
            pass
        except httpx.HTTPError as error:
            failure = broken(error)
        self.due = _NEVER
        if self._aborted:
            raise TimeoutError
        if failure is not None:
            raise failure
        return data

    def abort(self) -> None:
        """Wake the thread that reads, from another one."""
        self._aborted = True
        _shut_down(self._response.extensions.get("network_stream"))

    def finish(self) -> None:
        """Read what ends the body, so that the connection can be used again, and give it back.

        A server that goes on sending, or does not end it soon, loses the connection instead.
        """
        end = time.monotonic() + LINGER
        self.due = end
        try:
            with suppress(httpx.HTTPError):
                for _ in self._raw:
                    if time.monotonic() > end:
                        break
        finally:
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


def refuse_other_protocol(response: httpx.Response) -> None:
    """Raise an `UpstreamError` for an answer that goes on in another protocol."""
    if response.status_code < 200:
        raise UpstreamError(
            "The provider switched to a protocol nobody asked for. Check the base URL.",
            status=response.status_code,
            retryable=False,
        )


def headers_of(response: httpx.Response) -> Mapping[str, str]:
    """The answer's headers, with the address of a redirect that httpx is not shown."""
    location = response.extensions.get("location")
    return response.headers if location is None else {**response.headers, "location": location}


def _shut_down(stream: Any) -> None:
    """Wake whoever reads or writes one of httpcore's streams."""
    raw = stream.get_extra_info("socket") if stream is not None else None
    if raw is not None:
        with suppress(OSError):
            # a TLS socket's own shutdown would take its session from under the reader
            socket.socket.shutdown(raw, socket.SHUT_RDWR)


def open_sync(request: Request, due: float) -> Connection:
    """Send the request and read the answer's head. Raises a `TransportError`, or `TimeoutError`."""
    client = sync_client()
    opening = Opening(due)
    while True:
        sent, failure = build(client, request, due), None
        sent.extensions.update(opening.extensions(opening.trace))
        try:
            with opening.watched():
                response = client.send(sent, stream=True)
        except httpx.HTTPError as error:
            failure = None if opening.is_to_be_sent_again(error) else unopened(error)
        else:
            try:
                if not opening.aborted:
                    refuse_other_protocol(response)
                    return Connection(response)
            except BaseException:  # an encoding nobody reads: the connection would be lost to the pool
                response.close()
                raise
            response.close()
        if opening.aborted:
            raise TimeoutError
        if failure is not None:
            raise failure


class Opening:
    """A request on its way, until the head of its answer is there.

    A server may close a kept connection at the moment it is used again. Nothing of an answer came
    then, so the request is sent once more, on a new connection.

    A thread that waits for the head is woken when ``due`` has passed, because a socket's own timeout
    begins anew with each byte. httpx does not tell which kept connection it takes: so each stream,
    when it is made, is made to tell that it is being written to.
    """

    def __init__(self, due: float) -> None:
        self.due = due
        self.aborted = False
        self.stream: Any = None
        """httpcore's network stream that the request goes out on."""
        self._is_traced = False
        self._is_new = False
        self._is_fresh = False

    def extensions(self, trace: Callable[[str, Any], Any]) -> dict[str, Any]:
        """What the transports are told."""
        return {"trace": trace} | ({"fresh": True} if self._is_fresh else {})

    def trace(self, event: str, info: Any) -> None:
        self._is_traced = True
        if event == "connection.connect_tcp.started":
            self._is_new = True
        elif event in _MADE:
            self.stream = info["return_value"]
            _make_tell(self.stream)
            if self.aborted:  # while its TLS handshake had the socket, where nothing could wake it
                self.abort()

    async def atrace(self, event: str, info: Any) -> None:
        self._is_traced = True
        if event == "connection.connect_tcp.started":
            self._is_new = True
        elif event in _MADE:
            self.stream = info["return_value"]

    def is_to_be_sent_again(self, error: httpx.HTTPError) -> bool:
        """Whether a kept connection had gone stale. Answers so once."""
        if self.aborted or self._is_fresh or self._is_new or not self._is_traced:
            return False
        self._is_fresh = _has_hung_up(error)
        return self._is_fresh

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Look at ``due`` from now on."""
        watch(self)
        _thread.opening = self
        try:
            yield
        finally:
            _thread.opening = None
            unwatch(self)

    def abort(self) -> None:
        self.aborted = True
        _shut_down(self.stream)


_MADE = ("connection.connect_tcp.complete", "connection.start_tls.complete")
_thread = threading.local()


def _make_tell(stream: Any) -> None:
    write = stream.write

    def telling(buffer: bytes, timeout: float | None = None) -> None:
        opening = getattr(_thread, "opening", None)
        if opening is not None:
            opening.stream = stream
        write(buffer, timeout)

    stream.write = telling


def _has_hung_up(error: httpx.HTTPError) -> bool:
    """Whether the server closed the connection, and did not send what is no HTTP."""
    if isinstance(error, httpx.RemoteProtocolError):
        return str(error).startswith("Server disconnected")
    return isinstance(error, (httpx.ReadError, httpx.WriteError))


_UNSENDABLE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]|[^\x00-\xff]")


def build(client: httpx.Client | httpx.AsyncClient, request: Request, due: float) -> httpx.Request:
    """The request as httpx has it. Raises `ConfigurationError` where it cannot be sent."""
    for name in request.headers:
        if not _is_sendable(name, request.headers[name]):
            raise ConfigurationError(f"The header {name[:80]!a} holds characters that cannot be sent.")
    limits = request.timeouts
    left = max(due - time.monotonic(), 0.001)
    connect = min(limits.connect, left)
    # Reading: for the head until ``due``; how long a body may be silent is seen to elsewhere.
    timeout = httpx.Timeout(max(left, limits.idle), connect=connect, pool=connect)
    try:
        return client.build_request(
            request.method,
            request.url,
            headers=request.headers,
            content=request.body or None,
            timeout=timeout,
        )
    except (httpx.InvalidURL, UnicodeEncodeError, ValueError) as error:
        reason = redact(str(error))
    raise ConfigurationError(f"The request could not be built: {reason}")


def _is_sendable(name: str, value: str) -> bool:
    """In a function of its own: a traceback's variables do not show the key then."""
    return bool(name) and not _UNSENDABLE.search(name + value)


# The library's exceptions hold the request, and with it the key. None is chained to ours, not as its
# context either: so ours are raised where the library's are handled already.


def unopened(error: httpx.HTTPError) -> OpenRouterError:
    """The error for a request that got no answer."""
    detail = redact(f"{type(error).__name__}: {error}")
    if isinstance(error, (httpx.ConnectTimeout, httpx.PoolTimeout)):
        return ConnectError(
            "No connection to the model's provider could be made in time. Try again.", detail=detail
        )
    if isinstance(error, httpx.TimeoutException):
        return ReadTimeoutError("The model's provider did not answer in time. Try again.", detail=detail)
    if _has_hung_up(error):
        return ConnectError(
            "The provider closed the connection before it answered. Try again.", detail=detail
        )
    if isinstance(error, httpx.RemoteProtocolError):
        # The answer may have been paid for: what speaks no HTTP now will hardly do so the next time.
        return BrokenStreamError(
            "The provider's answer is no valid HTTP. Check the base URL.", detail=detail, retryable=False
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
