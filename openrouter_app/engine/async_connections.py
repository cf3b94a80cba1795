"""Answers being read on an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from typing import Any

from .client import Request, async_client, httpx
from .connections import LINGER, Opening, broken, build, headers_of, refuse_other_protocol, unopened
from .errors import OpenRouterError
from .inflate import Inflater


class AsyncConnection:
    """An answer being read on a loop: ``status``, ``headers``, ``next()``, ``close()``.

    ``next()`` answers the next bytes and raises `StopAsyncIteration` at the end; whatever else it
    raises, ``failure(error)`` puts into our words. That is for the driver, which awaits one for each
    chunk: an own coroutine around it would cost as much as the rest of a chain.
    """

    def __init__(self, response: httpx.Response) -> None:
        self.status = response.status_code
        self.headers = headers_of(response)
        self._response = response
        self._raw: AsyncIterator[bytes] = aiter(response.stream)  # type: ignore[arg-type]
        encoding = response.headers.get("content-encoding", "")
        self.next: Callable[[], Any] = (
            _async_inflated(encoding, self._raw) if encoding else self._raw.__anext__
        )

    def failure(self, error: Exception) -> Exception:
        """The error for what ``next()`` raised."""
        return broken(error) if isinstance(error, httpx.HTTPError) else error

    async def finish(self) -> None:
        """Read what ends the body, so that the connection can be used again, and give it back.

        A server that does not end it soon loses the connection instead, and so does who is cancelled.
        """
        try:
            with suppress(httpx.HTTPError, TimeoutError):
                async with asyncio.timeout(LINGER):
                    async for _ in self._raw:
                        pass
        finally:
            await self.close()

    async def close(self) -> None:
        """Give the connection back, or close it where bytes are still to come."""
        await self._response.aclose()


async def open_async(request: Request, due: float) -> AsyncConnection:
    """Send the request and read the answer's head. Raises a `TransportError`."""
    client = async_client()
    opening = Opening(due)
    while True:
        sent, failure = build(client, request, due), None
        sent.extensions.update(opening.extensions(opening.atrace))
        try:
            response = await client.send(sent, stream=True)
        except httpx.HTTPError as error:
            failure = None if opening.is_to_be_sent_again(error) else unopened(error)
        except BaseException:
            if opening.stream is not None:  # httpcore leaves one open that is cancelled in its TLS handshake
                await opening.stream.aclose()
            raise
        else:
            try:
                refuse_other_protocol(response)
                return AsyncConnection(response)
            except BaseException:  # an encoding nobody reads: the connection would be lost to the pool
                await response.aclose()
                raise
        if failure is not None:
            try:
                raise failure
            except OpenRouterError as error:
                # Who drives this throws the library's errors in while handling them.
                error.__context__ = None
                raise


def _async_inflated(encoding: str, raw: AsyncIterator[bytes]) -> Callable[[], Coroutine[Any, Any, bytes]]:
    inflater = Inflater(encoding)

    async def following() -> bytes:
        while not (data := inflater.take()):
            inflater.feed(await anext(raw))
        await asyncio.sleep(0)  # a few bytes may hold many pieces: the others have their turn in between
        return data

    return following
