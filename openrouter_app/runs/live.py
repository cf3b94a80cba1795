"""Runs that are being executed in this process, and those who follow them.

A `LiveRun` is owned by the task that executes it; followers take what it says straight from it. A
`Following` is the one way to watch a run, live or not: a snapshot first, then ranges of events that
tile, then it ends. It never holds more than `BACKLOG` events: a reader too slow for that gets a
fresh snapshot instead.

One loop owns a run. Followers on other loops, and of runs in other processes, read the row.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any
from uuid import UUID

import msgspec

from .events import Event
from .state import FINAL, PageEvent, RunState, merged

WINDOW = 0.016
"""Seconds between two ranges to one follower: the first goes at once, tokens that outrun it merge."""
BACKLOG = 4096
"""Events waiting for one follower before it gets a snapshot instead."""
POLL = 1.0
"""Seconds between two looks at the row of a run that is executed elsewhere."""


class Snapshot(msgspec.Struct, frozen=True):
    """The state of a run at ``seq``; replaces whatever a follower knew."""

    run: UUID
    seq: int
    state: dict[str, Any]


class Range(msgspec.Struct, frozen=True):
    """The events that take the state from ``after`` to ``seq``, neighbouring appends merged."""

    run: UUID
    after: int
    seq: int
    events: list[PageEvent]


Update = Snapshot | Range


class LiveRun:
    """A run in execution: its state, its ``seq``, its followers, and its stop."""

    def __init__(self, run: UUID, state: RunState) -> None:
        self.run = run
        self.state = state
        self.seq = 0
        self.loop = asyncio.get_running_loop()
        self.stopped_by: str | None = None
        self.task: asyncio.Task[None] | None = None
        self._stop: Callable[[], object] | None = None
        self._inboxes: set[_Inbox] = set()

    def emit(self, event: Event) -> None:
        """Append an event to the log and hand it to every follower. Costs O(event) each."""
        self.seq += 1
        shown = self.state.apply(event)
        for inbox in self._inboxes:
            inbox.put(self.seq, shown)

    def snapshot(self) -> Snapshot:
        """The state now."""
        return Snapshot(self.run, self.seq, self.state.snapshot())

    def on_stop(self, stop: Callable[[], object]) -> None:
        """Call ``stop`` when the run is to be stopped; at once, if it was stopped already."""
        self._stop = stop
        if self.stopped_by is not None:
            stop()

    def stop(self, by: str) -> None:
        """Ask the run to stop; the second time does nothing."""
        if self.stopped_by is None:
            self.stopped_by = by
            if self._stop is not None:
                self._stop()

    async def updates(self) -> AsyncGenerator[Update, None]:
        """A snapshot, then what happens, until the run has ended."""
        inbox = _Inbox(self.seq)
        self._inboxes.add(inbox)
        try:
            # What is handed out and whether it is the last belong to one moment: a reader may take
            # his time between two of them.
            final, first = self.state.is_final, self.snapshot()
            yield first
            while not final:
                await inbox.wait()
                overflowed = inbox.overflowed
                after, seq, events = inbox.take(self.seq)
                final = self.state.is_final
                yield self.snapshot() if overflowed else Range(self.run, after, seq, merged(events))
                if not final:
                    await asyncio.sleep(WINDOW)
        finally:
            self._inboxes.discard(inbox)


class _Inbox:
    """What waits for one follower."""

    def __init__(self, seq: int) -> None:
        self.overflowed = False
        self._after = seq
        self._events: list[PageEvent] = []
        self._ready = asyncio.Event()

    def put(self, seq: int, event: PageEvent) -> None:
        if len(self._events) < BACKLOG:
            self._events.append(event)
        else:
            self.overflowed = True
        self._ready.set()

    async def wait(self) -> None:
        await self._ready.wait()

    def take(self, seq: int) -> tuple[int, int, list[PageEvent]]:
        """Everything that waited, as (after, seq, events); the inbox is empty afterwards."""
        after, events = self._after, self._events
        self._after, self._events, self.overflowed = seq, [], False
        self._ready.clear()
        return after, seq, events


_live: dict[UUID, LiveRun] = {}


def register(live: LiveRun) -> None:
    """From now on the run is found here."""
    _live[live.run] = live


def unregister(live: LiveRun) -> None:
    """The run has ended, and its row says so."""
    _live.pop(live.run, None)


def executing(run: UUID) -> LiveRun | None:
    """The run, where it is executed in this process, on whatever loop."""
    return _live.get(run)


def find(run: UUID) -> LiveRun | None:
    """The run, where it is executed on the running loop."""
    live = _live.get(run)
    return live if live is not None and live.loop is asyncio.get_running_loop() else None


async def row_updates(read: Callable[[], Awaitable[Snapshot | None]]) -> AsyncGenerator[Update, None]:
    """Snapshots of a run that is executed elsewhere, one whenever it changed, until it has ended."""
    last: Snapshot | None = None
    while (snapshot := await read()) is not None:
        if snapshot != last:
            yield snapshot
            last = snapshot
        if snapshot.state["status"] in FINAL:
            return
        await asyncio.sleep(POLL)
