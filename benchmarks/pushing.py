"""Many streams at once in one process: CPU a token and added latency, while all of them flow.

A *token* is a delta whose text is the moment at which the provider sent it; its latency ends when the frame
that holds it is handed to ``send``. Starts and ends of streams are outside of what is measured.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from . import site
from .pacing import order, stamps
from .paths import PATHS, Consumer, encoder, serve

TOGETHER = 30
"""Seconds until all streams must flow."""
APART = 0.003
"""Seconds between two starts: streams of different people do not begin in step."""
SETTLE = 0.5


class Frames:
    """What one stream handed to ``send``, and when. Little is done meanwhile: it is part of the figure."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.texts: list[str] = []

    async def take(self, text: str) -> None:
        self.times.append(time.monotonic())
        self.texts.append(text)


class Streaming(Protocol):
    """A stream that flows until it is closed."""

    frames: Frames

    async def close(self) -> None: ...


class OnSite:
    """A stream of our own site: a socket that has started a run."""

    def __init__(self, order: str) -> None:
        self.frames = Frames()
        self._socket = site.Socket(self.frames.take)
        self._socket.start(order)

    async def close(self) -> None:
        await self._socket.close()


class InLoop:
    """A stream of a path that is a loop into `Consumer.send`."""

    def __init__(self, pieces: Any, encode: Callable[[Any], str]) -> None:
        self.frames = Frames()
        self._task = asyncio.create_task(serve(pieces, Consumer(self._send), encode))

    async def _send(self, message: dict[str, Any]) -> None:
        await self.frames.take(message["text"])

    async def close(self) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await self._task


def opener(name: str, base_url: str) -> Callable[[str], Streaming]:
    """What opens one stream of this path. Our site must have begun."""
    path = PATHS[name]
    if path.open is None:
        return OnSite
    if path.environment == "ours":
        from openrouter_app.engine import client

        client.set_transport(path.transport)
    pieces, encode = path.open(base_url), encoder(path)
    return lambda order: InLoop(pieces(order), encode)


class Flow:
    """A number of streams that all flow: `begin`, `measured` as often as wanted, `close`."""

    def __init__(self, open_stream: Callable[[str], Streaming], streams: int, rate: int) -> None:
        self._open = open_stream
        self._rate = rate
        self._count = streams
        self._streams: list[Streaming] = []

    async def begin(self) -> None:
        """Open all, and wait until every one has tokens, or `TOGETHER` is over."""
        for _ in range(self._count):
            self._streams.append(self._open(order("timed", self._rate)))
            await asyncio.sleep(APART)
        until = time.monotonic() + TOGETHER
        while time.monotonic() < until and not all(map(_flows, self._streams)):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        gc.collect()
        await asyncio.sleep(SETTLE)

    async def measured(self, seconds: float) -> dict[str, float]:
        """CPU seconds a token, latencies, and the share of the tokens that came in that time."""
        seen = [len(stream.frames.texts) for stream in self._streams]
        begun, before = time.monotonic(), time.process_time()
        await asyncio.sleep(seconds)
        cpu, wall = time.process_time() - before, time.monotonic() - begun
        latencies: list[float] = []
        frames = 0
        for stream, first in zip(self._streams, seen, strict=True):
            came = list(zip(stream.frames.times[first:], stream.frames.texts[first:], strict=True))
            frames += len(came)
            for at, text in came:
                latencies += [at - sent for sent in stamps(text)]
        tokens = len(latencies)
        return {
            "tokens": tokens,
            "frames": frames,
            "cpu": cpu,
            "cpu_a_token": cpu / max(tokens, 1),
            "came": tokens / (self._count * self._rate * wall),
            "p50": percentile(latencies, 50),
            "p99": percentile(latencies, 99),
        }

    async def close(self) -> None:
        """Leave all of them."""
        await asyncio.gather(*(stream.close() for stream in self._streams))
        self._streams = []


def _flows(stream: Streaming) -> bool:
    return any(map(stamps, stream.frames.texts[-3:]))


def percentile(values: list[float], of_hundred: float) -> float:
    """The value below which so many of a hundred are; infinite where there is none."""
    if not values:
        return float("inf")
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * of_hundred / 100), len(ordered) - 1)]


async def steady(
    open_stream: Callable[[str], Streaming], streams: int, rate: int, seconds: float
) -> dict[str, float]:
    """A number of streams, measured while all flow."""
    flow = Flow(open_stream, streams, rate)
    try:
        await flow.begin()
        return await flow.measured(seconds)
    finally:
        await flow.close()
