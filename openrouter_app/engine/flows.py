"""A flow is written once and driven twice.

A flow is a generator. It yields *items*, which are for whoever reads the chain, and *effects*,
which are for the driver: open a connection, read from it. The driver performs an effect and sends
its result in, or throws its error in. `drive` does so without a loop, `adrive` on asyncio; there is
no third place where a chain is run. (httpx's ``auth_flow`` has the same shape.)

The drivers own what effects opened: however a flow ends, its connections are closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator, Iterable
from typing import Any

from .client import AsyncConnection, Connection, Request, open_async, open_sync

Flow = Generator[Any, Any, None]


class Effect:
    """What a flow asks its driver for; everything else it yields is an item."""

    __slots__ = ()


class Open(Effect):
    """Effect: send the request. Its result is the connection, with status and headers read."""

    __slots__ = ("request",)

    def __init__(self, request: Request) -> None:
        self.request = request


class Read(Effect):
    """Effect: the next bytes of a connection, ``b""`` at its end."""

    __slots__ = ("connection",)

    def __init__(self, connection: Any) -> None:
        self.connection = connection


class Finish(Effect):
    """Effect: the answer is complete; leave the connection ready for the next one where it can be."""

    __slots__ = ("connection",)

    def __init__(self, connection: Any) -> None:
        self.connection = connection


def pump(flow: Flow, take: Callable[[Any], Iterable[Any]]) -> Flow:
    """Run ``flow`` inside another flow: its effects pass through, its items go through ``take``."""
    resume: Callable[[Any], Any] = flow.send
    value: Any = None
    try:
        while True:
            try:
                out = resume(value)
            except StopIteration:
                return
            resume, value = flow.send, None
            if isinstance(out, Effect):
                try:
                    value = yield out
                except Exception as error:
                    resume, value = flow.throw, error
            else:
                yield from take(out)
    finally:
        flow.close()


def collected(flow: Flow) -> Generator[Any, Any, list[Any]]:
    """Every item of a flow, as a list, once it has ended: ``items = yield from collected(flow)``."""
    items: list[Any] = []

    def take(item: Any) -> Iterable[Any]:
        items.append(item)
        return ()

    yield from pump(flow, take)
    return items


def drive(flow: Flow) -> Generator[Any, None, None]:
    """Run a flow in this thread; iterate over its items. Closing the iterator closes its connections."""
    connections: list[Connection] = []
    resume: Callable[[Any], Any] = flow.send
    value: Any = None
    try:
        while True:
            try:
                out = resume(value)
            except StopIteration:
                return
            resume, value = flow.send, None
            if not isinstance(out, Effect):
                yield out
                continue
            try:
                match out:
                    case Read():
                        value = out.connection.read()
                    case Open():
                        value = open_sync(out.request)
                        connections.append(value)
                    case Finish():
                        out.connection.finish()
            except Exception as error:
                resume, value = flow.throw, error
    finally:
        flow.close()
        for connection in connections:
            connection.close()


async def adrive(flow: Flow) -> AsyncGenerator[Any, None]:
    """Run a flow on the running loop; iterate over its items. Cancelling closes its connections."""
    connections: list[AsyncConnection] = []
    resume: Callable[[Any], Any] = flow.send
    value: Any = None
    try:
        while True:
            try:
                out = resume(value)
            except StopIteration:
                return
            resume, value = flow.send, None
            if not isinstance(out, Effect):
                yield out
                continue
            try:
                match out:
                    case Read():
                        value = await out.connection.read()
                    case Open():
                        value = await open_async(out.request)
                        connections.append(value)
                    case Finish():
                        await out.connection.finish()
            except Exception as error:
                resume, value = flow.throw, error
    finally:
        flow.close()
        for connection in connections:
            # Shielded: a second cancellation must not leave the socket open.
            await asyncio.shield(connection.close())
