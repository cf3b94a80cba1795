"""The proxy does to a connection what it says, and nothing else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from tests.faults.proxy import FaultProxy
from tests.followers import until


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


@pytest.fixture
async def proxy() -> AsyncIterator[FaultProxy]:
    """In front of an echo."""
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server, FaultProxy(server.sockets[0].getsockname()[1]) as made:
        yield made


class Caller:
    """A connection through the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def say(self, data: bytes, seconds: float = 2) -> bytes:
        self.writer.write(data)
        async with asyncio.timeout(seconds):
            return await self.reader.readexactly(len(data))


@pytest.fixture
async def call(proxy):
    callers = []

    async def connect() -> Caller:
        callers.append(Caller(*await asyncio.open_connection("127.0.0.1", proxy.port)))
        return callers[-1]

    yield connect
    for caller in callers:
        caller.writer.transport.abort()


async def test_it_passes_everything_on_and_the_end_too(proxy, call):
    caller = await call()
    data = bytes(range(256)) * 4_000
    assert await caller.say(data) == data
    caller.writer.write_eof()
    assert await caller.reader.read() == b""
    await until(lambda: proxy.connections == 0)


async def test_delay_is_for_each_direction(proxy, call):
    proxy.delay = 0.05
    caller = await call()
    before = time.monotonic()
    await caller.say(b"x")
    assert time.monotonic() - before >= 0.1


async def test_rate_is_kept(proxy, call):
    proxy.rate = 100_000
    caller = await call()
    before = time.monotonic()
    await caller.say(bytes(20_000))
    assert time.monotonic() - before >= 0.2


async def test_cut_is_a_reset_and_new_connections_work(proxy, call):
    caller = await call()
    await caller.say(b"x")
    proxy.cut()
    with pytest.raises(ConnectionResetError):
        await caller.reader.read()
    assert await (await call()).say(b"y") == b"y"


async def test_refusing_resets_whoever_comes_until_healed(proxy, call):
    proxy.refuse()
    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await (await call()).say(b"x")
    proxy.heal()
    assert await (await call()).say(b"y") == b"y"


async def test_hold_delivers_everything_when_healed(proxy, call):
    caller = await call()
    proxy.hold()
    with pytest.raises(TimeoutError):
        await caller.say(b"held", 0.1)
    proxy.heal()
    async with asyncio.timeout(2):
        assert await caller.reader.readexactly(4) == b"held"


async def test_half_open_connection_says_nothing_for_ever(proxy, call):
    caller = await call()
    await caller.say(b"x")
    proxy.half_open()
    late = await call()
    proxy.heal()
    for silent in (caller, late):
        with pytest.raises(TimeoutError):
            await silent.say(b"x", 0.1)
    assert await (await call()).say(b"y") == b"y"


async def test_half_open_connection_does_not_pass_an_end_on(proxy, call):
    caller = await call()
    await caller.say(b"x")
    proxy.half_open()
    caller.writer.write_eof()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await caller.reader.read()


async def test_nobody_behind_it_is_a_reset(call, proxy):
    proxy.target = 1
    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await (await call()).say(b"x")
