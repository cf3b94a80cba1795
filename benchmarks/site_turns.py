"""What else is measured of our own site, each an order to its process: see `push_worker`."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import contextmanager, suppress
from typing import Any

from asgiref.sync import sync_to_async

from . import site
from .pacing import BLOCK, order
from .pushing import Flow, OnSite
from .site_meters import LogMeter, Written, storage, transactions_of
from .stream_server import text_of

PATIENCE = 240
"""Seconds for one thing to happen; less than an order has."""
_held: list[site.Socket] = []


def held() -> bool:
    """Whether runs are to go on after their order."""
    return bool(_held)


class Page:
    """A socket whose frames are looked at: it knows its run, its state's text, and when it has ended."""

    def __init__(self, cookie: str = "") -> None:
        self.run = ""
        self.length = 0
        self.error = ""
        self.is_over = asyncio.Event()
        self.changed = asyncio.Event()
        self.socket = site.Socket(self._take, cookie, self._close)

    def _close(self, code: int) -> None:
        self.error = f"the socket was closed: {code}"
        self.changed.set()

    async def _take(self, text: str) -> None:
        frame = json.loads(text)
        if frame["type"] == "error":
            self.error = text
        elif frame["type"] == "run.accepted":
            self.run = frame["run"]
        elif frame["type"] == "run.snapshot":
            self.length = sum(len(part.get("text", "")) for part in frame["state"]["parts"])
            if frame["state"]["status"] not in ("queued", "running"):
                self.is_over.set()
        elif frame["type"] == "run.events":
            for event in frame["events"]:
                self.length += len(event.get("delta", ""))
            if frame["events"][-1]["type"] in ("finished", "stopped", "failed", "interrupted"):
                self.is_over.set()
        self.changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for frames until it is so."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                if self.error:
                    raise RuntimeError(self.error)
                self.changed.clear()
                await self.changed.wait()


async def visitor() -> str:
    """The cookie of a new visitor."""
    return await sync_to_async(site.visitor)()


async def log_share(streams: int, rate: int, seconds: float) -> dict[str, float]:
    """The share of the CPU that keeping the log takes, and a token's."""
    flow = Flow(OnSite, streams, rate)
    meter = LogMeter()
    try:
        await flow.begin()
        with meter:
            taken = await flow.measured(seconds)
    finally:
        await flow.close()
    return {**taken, "share": meter.seconds / taken["cpu"], "thread": meter.thread / taken["cpu"]}


async def transactions(streams: int, rate: int, seconds: float) -> dict[str, float]:
    """Transactions a second, reading ones too, while all streams flow."""
    flow = Flow(OnSite, streams, rate)
    with transactions_of() as count:
        try:
            await flow.begin()
            before, begun = count(), time.monotonic()
            taken = await flow.measured(seconds)
            made, wall = count() - before, time.monotonic() - begun
        finally:
            await flow.close()
    return {**taken, "transactions": made / wall}


async def payload(tokens: int, flush_interval: float, a_flush: float) -> dict[str, Any]:
    """Bytes of all parameters of an answer's INSERTs and UPDATEs, and what the database makes of them.

    Time is compressed: a short run tells how many flushes a second there are, and then as many tokens come
    that each holds ``a_flush``.
    """
    from django.conf import settings

    with _setting(settings.OPENROUTER, "FLUSH_INTERVAL", flush_interval), Written() as written:
        begun = time.monotonic()
        await _whole("words", round(a_flush / flush_interval), round(1.5 * a_flush / flush_interval))
        rate = round(a_flush * written.rows / (time.monotonic() - begun))
        with storage() as now:
            written.begin_anew()
            before = now()
            await _whole("words", rate, tokens)
            after = now()
    text = len(text_of(tokens).encode())
    return {
        "all": written.bytes / text,
        "logged": written.logged / text,
        "rows": written.rows,
        "rate": rate,
        "text": text,
        "ahead": after.ahead - before.ahead,
        "pages": after.pages - before.pages,
        "page": after.page,
        "version": after.version,
    }


async def _whole(kind: str, rate: int, tokens: int) -> None:
    page = Page()
    page.socket.start(order(kind, rate, tokens))
    await page.until(page.is_over.is_set)
    await page.socket.close()


async def hold(cookie: str, kilobytes: int) -> dict[str, str]:
    """Start a run whose answer is so long at once and then goes on slowly; `let_go` ends it."""
    page = Page(cookie)
    page.socket.start(order("blocks", 5, at_once=kilobytes))
    await page.until(lambda: page.length >= kilobytes * len(BLOCK))
    await asyncio.sleep(1)  # the log has it too
    _held.append(page.socket)
    return {"run": page.run}


async def let_go() -> dict[str, Any]:
    """Stop what was held."""
    from openrouter_app import runs
    from openrouter_app.models import Run

    unfinished = Run.objects.filter(status__in=Run.UNFINISHED).values_list("uuid", flat=True)
    await runs.stop_everywhere([uuid async for uuid in unfinished])
    while _held:
        await _held.pop().close()
    return {}


async def follow(cookie: str, run: str, times: int) -> dict[str, list[float]]:
    """Seconds from ``run.follow`` to the snapshot, each on a socket of its own, and the text's length."""
    taken, lengths = [], []
    for _ in range(times):
        page = Page(cookie)
        await page.until(page.changed.is_set)  # hello
        begun = time.monotonic()
        page.socket.say("run.follow", run=run)
        await page.until(lambda page=page: page.length > 0)  # type: ignore[misc]
        taken.append(time.monotonic() - begun)
        lengths.append(float(page.length))
        await page.socket.close()
    return {"seconds": taken, "lengths": lengths}


async def start_many(cookie: str, count: int, tag: str) -> list[str]:
    """Start so many slow runs, tagged; they go on until they are stopped, or `let_go`."""
    pages = []
    for number in range(count):
        page = Page(cookie)
        page.socket.start(order("words", 20, tag=f"{tag}{number}"), id=f"{tag}{number}")
        pages.append(page)
        await asyncio.sleep(0.01)
    for page in pages:
        await page.until(lambda page=page: page.length > 0)  # type: ignore[misc]
    _held.extend(page.socket for page in pages)
    return [page.run for page in pages]


async def stop_many(cookie: str, runs: list[str], pause: float) -> list[float]:
    """Stop them one after another from one socket; the moments at which it was said."""
    page = Page(cookie)
    await page.until(page.changed.is_set)
    moments = []
    for run in runs:
        moments.append(time.monotonic())
        page.socket.say("run.stop", run=run)
        await asyncio.sleep(pause)
    await asyncio.sleep(1)
    await page.socket.close()
    return moments


async def stalled(megabytes: int, readers: int, runs: int, seconds: float) -> dict[str, float]:
    """So many MB in some runs, each read by one page and followed by its share of readers that have stalled;
    beside them ten streams of tokens. How much memory is more at most, and those streams' latency.
    """
    cookie = await visitor()
    flow = Flow(OnSite, 10, 50)
    await flow.begin()
    rate = max(round(megabytes * 1_000_000 / len(BLOCK) / runs / seconds), 1)
    gc.collect()
    before = most = memory()
    pages = [Page(cookie) for _ in range(runs)]
    for number, page in enumerate(pages):
        page.socket.start(order("blocks", rate, tag=f"s{number}"), id=f"s{number}")
    for page in pages:
        await page.until(lambda page=page: bool(page.run))  # type: ignore[misc]
    stuck = [_Stuck(cookie, pages[number % runs].run) for number in range(readers)]
    measuring = asyncio.create_task(flow.measured(seconds))
    wanted = megabytes * 1_000_000 / runs
    async with asyncio.timeout(20 * seconds + 60):
        while not measuring.done() or any(page.length < wanted for page in pages):
            await asyncio.sleep(0.1)
            most = max(most, memory())
    came = sum(page.length for page in pages)
    await let_go()
    for open_socket in (*(page.socket for page in pages), *(one.socket for one in stuck)):
        await open_socket.close()
    await flow.close()
    taken = await measuring
    blocked = sum(one.is_stuck for one in stuck)
    return {**taken, "more": most - before, "came": came / 1e6, "stuck": blocked}


class _Stuck:
    """A page that hears ``hello``, follows a run, and takes nothing more."""

    def __init__(self, cookie: str, run: str) -> None:
        self._run = run
        self._frames = 0
        self.is_stuck = False
        self.socket = site.Socket(self._take, cookie)

    async def _take(self, text: str) -> None:
        self._frames += 1
        if self._frames == 1:
            self.socket.say("run.follow", run=self._run)
        elif self._frames > 3:  # the snapshot and a range are taken, then it stalls
            self.is_stuck = True
            await asyncio.Event().wait()


async def in_a_row(count: int, warm_up: int) -> dict[str, float]:
    """So many short runs, one after another, each on a socket of its own: memory and CPU."""
    for number in range(-warm_up, count):
        if not number:
            gc.collect()
            before, cpu = memory(), time.process_time()
        await _whole("words", 0, 20)
    cpu = time.process_time() - cpu
    gc.collect()
    return {"more": memory() - before, "cpu": cpu / count}


def memory() -> float:
    """The memory this process has now, in MB; where the system does not say, the most it has had."""
    with suppress(OSError), open("/proc/self/statm") as pages:
        return int(pages.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e3 if sys.platform != "darwin" else peak / 1e6


@contextmanager
def _setting(settings: dict[str, Any], name: str, value: Any) -> Any:
    settings[name] = value
    try:
        yield
    finally:
        del settings[name]


TURNS: dict[str, Callable[..., Awaitable[Any]]] = {
    function.__name__: function
    for function in (
        visitor,
        log_share,
        transactions,
        payload,
        hold,
        let_go,
        follow,
        start_many,
        stop_many,
        stalled,
        in_a_row,
    )
}
