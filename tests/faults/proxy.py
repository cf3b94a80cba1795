"""A TCP proxy on the loopback that does what networks do: delay, throttle, hold, cut, and fall silent.

It knows no protocol, so it may stand between any two: a page and a site, a site and the provider,
Valkey or PostgreSQL. The one rule: what arrives is what was sent, in order, or nothing.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from typing import Any

CHUNK = 65_536
_RESET = struct.pack("ii", 1, 0)


class FaultProxy:
    """``async with FaultProxy(port) as proxy``: connect to ``proxy.port`` instead.

    ``delay`` (seconds) and ``rate`` (bytes a second, 0 for no limit) hold for each direction and may be
    changed at any time.
    """

    def __init__(self, port: int, *, delay: float = 0, rate: float = 0) -> None:
        self.target = port
        self.port = 0
        self.delay = delay
        self.rate = rate
        self._server: asyncio.Server | None = None
        self._links: set[_Link] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._silent = False
        self._refusing = False

    async def __aenter__(self) -> FaultProxy:
        self._server = await asyncio.start_server(self._meet, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await asyncio.gather(*(link.ended() for link in tuple(self._links)))
        await self._server.wait_closed()

    @property
    def connections(self) -> int:
        """How many there are now."""
        return len(self._links)

    def cut(self) -> None:
        """Reset every connection, at both ends."""
        for link in tuple(self._links):
            link.reset()

    def refuse(self) -> None:
        """Reset every connection, and each new one at once, until `heal`: the network is gone, loudly."""
        self._refusing = True
        self.cut()

    def hold(self) -> None:
        """Nothing passes until `heal`, then all of it: packets that are sent again until they arrive."""
        self._flowing.clear()

    def half_open(self) -> None:
        """Every connection, and each new one until `heal`, is dead, and neither end is told.

        So it is behind a router that forgot a connection, and at a laptop that woke up elsewhere.
        """
        self._silent = True
        for link in self._links:
            link.silent = True

    def heal(self) -> None:
        """New connections work, and what was held goes on. What is dead stays dead."""
        self._silent = self._refusing = False
        self._flowing.set()

    async def pause(self, size: int) -> None:
        """What a piece of this size waits for before it passes."""
        await self._flowing.wait()
        if seconds := self.delay + (size / self.rate if self.rate else 0):
            await asyncio.sleep(seconds)
            await self._flowing.wait()

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link(self, writer, silent=self._silent)
        self._links.add(link)
        try:
            if self._refusing:
                link.reset()
            elif self._silent:
                await link.swallow(reader)
            else:
                await link.carry(reader)
        finally:
            self._links.discard(link)
            link.done.set()


class _Link:
    """A connection through the proxy: both of its ends."""

    def __init__(self, proxy: FaultProxy, near: asyncio.StreamWriter, *, silent: bool) -> None:
        self.proxy = proxy
        self.silent = silent
        self.done = asyncio.Event()
        self._writers = [near]
        self._torn = asyncio.Event()

    async def ended(self) -> None:
        await self.done.wait()

    async def carry(self, near: asyncio.StreamReader) -> None:
        """Pass on what either end says until both have ended, or one broke."""
        try:
            far, to_far = await asyncio.open_connection("127.0.0.1", self.proxy.target)
        except OSError:
            self.reset()
            return
        self._writers.append(to_far)
        pumps = [self._pump(near, to_far), self._pump(far, self._writers[0])]
        await self._until_torn(asyncio.gather(*pumps))

    async def swallow(self, near: asyncio.StreamReader) -> None:
        """Take what is said and answer nothing."""
        await self._until_torn(asyncio.ensure_future(self._drain(near)))

    def reset(self) -> None:
        """Close both ends with a reset."""
        self._torn.set()
        for writer in self._writers:
            with suppress(OSError):
                _socket(writer).setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()

    async def _until_torn(self, work: asyncio.Future[Any]) -> None:
        torn = asyncio.ensure_future(self._torn.wait())
        await asyncio.wait((work, torn), return_when=asyncio.FIRST_COMPLETED)
        for task in (work, torn):
            task.cancel()
        broken, _ = await asyncio.gather(work, torn, return_exceptions=True)
        if isinstance(broken, OSError):
            self.reset()
        for writer in self._writers:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(CHUNK):
            await self.proxy.pause(len(data))
            if not self.silent:
                writer.write(data)
                await writer.drain()
        if self.silent:
            await self._torn.wait()
        await self.proxy.pause(0)
        writer.write_eof()

    async def _drain(self, reader: asyncio.StreamReader) -> None:
        while await reader.read(CHUNK):
            pass
        await self._torn.wait()


def _socket(writer: asyncio.StreamWriter) -> socket.socket:
    return writer.get_extra_info("socket")  # type: ignore[no-any-return]
