"""Runs that can be watched on this loop, and those who watch them.

A `Followed` is a state that grows, and hands every change to its followers: a snapshot first, then
ranges of events that tile. It never holds more than `BACKLOG` events or `BACKLOG_SIZE` characters
for one of them: a reader too slow for that gets a fresh snapshot instead.

A `LiveRun` is executed here, by the task that owns it; its followers take what it says straight
from it, and what is not in the log yet waits in it. Runs of other processes are followed by
`openrouter_app.runs.mirrors`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any, Protocol
from uuid import UUID

import msgspec

from .costs import Called
from .events import Event, Text
from .log import merged as merged_events
from .state import PageEvent, RunState, merged

WINDOW = 0.016
"""Seconds between two ranges to one follower: the first goes at once, tokens that outrun it merge."""
WIDE_WINDOW = 0.033
"""The same while the loop cannot keep to it."""
BACKLOG = 2048
"""Events waiting for one follower before it gets a snapshot instead."""
BACKLOG_SIZE = 64_000
"""Characters of text in them before it does."""


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


class Turn:
    """When a reader gets something; this one always has his turn."""

    def begin(self) -> bool:
        """Begin it now; False where it is another run's, then `wait` for it. `end` it in any case."""
        return True

    async def wait(self) -> None:
        """Wait for it, and begin it."""

    def end(self) -> None:
        """It is the next run's."""

    async def until_read(self) -> None:
        """Wait until the reader has taken what he was given before: he is to get something large."""


class Listener(Protocol):
    """What hears of a run beside its followers."""

    def put(self, event: PageEvent, size: int) -> None:
        """An event; the state is past it."""

    def overflow(self) -> None:
        """What comes is no continuation: the state tells all."""


class Followed:
    """The state of a run at ``seq``, and its followers on this loop."""

    def __init__(self, run: UUID, state: RunState, seq: int = 0) -> None:
        self.run = run
        self.state = state
        self.seq = seq
        self.valid_until = float("inf")
        """Monotonic time until which what is known here may be shown."""
        self.has_moved = False
        """Nothing more is known here: followers have to look for the run again."""
        self._whole: Snapshot | None = None
        self._inboxes: set[Listener] = set()

    @property
    def has_followers(self) -> bool:
        """Whether anybody watches on this loop."""
        return bool(self._inboxes)

    @property
    def is_final(self) -> bool:
        """Whether the last change was handed out."""
        return self._whole is not None or self.state.is_final

    def attach(self, listener: Listener) -> None:
        """Let it hear every event, too."""
        self._inboxes.add(listener)

    def detach(self, listener: Listener) -> None:
        """It hears no more."""
        self._inboxes.discard(listener)

    def show(self, event: Event) -> None:
        """Take the state past this event and hand it to every follower. Costs O(event) each."""
        shown = self.state.apply(event)
        if self._inboxes:
            size = size_of(event)
            for inbox in self._inboxes:
                inbox.put(shown, size)

    def end_as(self, snapshot: Snapshot) -> None:
        """What its row says of a run that has ended; followers get it instead of events."""
        self._whole, self.seq = snapshot, snapshot.seq
        for inbox in self._inboxes:
            inbox.overflow()

    def move(self) -> None:
        """The run is not this one's any more: every follower's generator ends."""
        self.has_moved = True
        for inbox in self._inboxes:
            inbox.overflow()

    def snapshot(self) -> Snapshot:
        """The state now."""
        return self._whole or Snapshot(self.run, self.seq, self.state.snapshot())

    async def until_certain(self) -> None:
        """Wait while somebody else may have taken the run."""
        while time.monotonic() > self.valid_until and not self.has_moved:  # noqa: ASYNC110 - the clock says it
            await asyncio.sleep(WIDE_WINDOW)

    async def updates(self, turn: Turn | None = None) -> AsyncGenerator[Update, None]:
        """A snapshot, then what happens, until the run has ended or moved.

        What is handed out is made in the reader's ``turn``, which lasts until he asks for more: a
        reader that follows many runs and reads none of them keeps one update, not one of each.
        """
        turn = turn or Turn()
        await self.until_certain()
        if self.has_moved:
            return
        inbox = _Inbox(self.seq)
        self._inboxes.add(inbox)
        window, handed_out = WINDOW, 0.0
        try:
            # What is handed out and whether it is the last belong to one moment: a reader may take
            # his time between two of them.
            if not turn.begin():
                await turn.wait()
            try:
                inbox.take(self.seq)
                final = self.is_final
                yield self.snapshot()  # and not kept here: it is as long as the answer
            finally:
                turn.end()
            while not final:
                if not inbox.is_ready:
                    await inbox.ready()
                now = time.monotonic()
                if (early := handed_out + window - now) > 0:
                    await asyncio.sleep(early)
                    now = time.monotonic()
                    window = WIDE_WINDOW if now - handed_out - window > WINDOW / 2 else WINDOW
                if now > self.valid_until:
                    await self.until_certain()
                if not turn.begin():
                    await turn.wait()
                try:
                    if inbox.overflowed:
                        await turn.until_read()
                    if self.has_moved:
                        return
                    overflowed = inbox.overflowed
                    after, seq, events = inbox.take(self.seq)
                    final = self.is_final
                    yield self.snapshot() if overflowed else Range(self.run, after, seq, merged(events))
                finally:
                    turn.end()
                handed_out = time.monotonic()
        finally:
            self._inboxes.discard(inbox)


class _Inbox:
    """What waits for one follower."""

    __slots__ = ("_after", "_events", "_size", "_waiter", "is_ready", "overflowed")

    def __init__(self, seq: int) -> None:
        self.overflowed = False
        self.is_ready = False
        self._after = seq
        self._events: list[PageEvent] = []
        self._size = 0
        self._waiter: asyncio.Future[None] | None = None

    def put(self, event: PageEvent, size: int) -> None:
        if self.overflowed:
            return
        self._events.append(event)
        self._size += size
        if len(self._events) > BACKLOG or self._size > BACKLOG_SIZE:
            self.overflow()
        else:
            self._wake()

    def overflow(self) -> None:
        """A snapshot stands for all of it, so nothing is kept."""
        self.overflowed = True
        self._events = []
        self._wake()

    def _wake(self) -> None:
        self.is_ready = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def ready(self) -> asyncio.Future[None]:
        """What is done once there is something. For one waiter: an `asyncio.Event` keeps a queue of them."""
        self._waiter = asyncio.get_running_loop().create_future()
        return self._waiter

    def take(self, seq: int) -> tuple[int, int, list[PageEvent]]:
        """Everything that waited, as (after, seq, events); the inbox is empty afterwards."""
        after, events = self._after, self._events
        self._after, self._events, self._size, self.overflowed = seq, [], 0, False
        self.is_ready = False
        return after, seq, events


class Batch(msgspec.Struct, frozen=True):
    """Events of one run from ``after`` to ``seq``, neighbours merged."""

    after: int
    seq: int
    events: list[Event]


class LiveRun(Followed):
    """A run in execution: what it says, what of it is not logged yet, its lease, and its stop."""

    def __init__(self, run: UUID, pk: int, state: RunState, origin: str = "", seq: int = 0) -> None:
        super().__init__(run, state, seq)
        self.pk = pk
        self.origin = origin
        self.loop = asyncio.get_running_loop()
        self.task: asyncio.Task[None] | None = None
        self.queued_fence = 0
        """The row's fence while nobody has claimed the run."""
        self.fence: int | None = None
        """Known from the moment the run is claimed."""
        self.is_ending = False
        self.stopped_by: str | None = None
        self.calls: list[Called] = []
        """The model calls of this execution."""
        self.failure: str | None = None
        """Why this process cannot go on with it, in a sentence for people."""
        self.on_event: Callable[[Event], object] | None = None
        """Hears every event too: the way to followers in other processes."""
        self._stop: Callable[[], object] | None = None
        self._unlogged: list[Event] = []
        self._logged = seq
        self._held: list[Event] = []

    def emit(self, event: Event) -> None:
        """Append an event to the log and hand it to every follower. Costs O(event) each.

        While somebody else may have taken the run (this process was frozen, or its database away,
        for longer than the lease), events are held back instead: see `confirm`.
        """
        if self._held or time.monotonic() > self.valid_until:
            self._held.append(event)
            return
        self.seq += 1
        self._unlogged.append(event)
        self.show(event)
        if self.on_event is not None:
            self.on_event(event)

    @property
    def is_in_doubt(self) -> bool:
        """Whether events are held back until the lease is known to stand."""
        return bool(self._held)

    def confirm(self, valid_until: float) -> None:
        """The lease stands until then: what was held back is said now."""
        self.valid_until = valid_until
        held, self._held = self._held, []
        for event in held:
            self.emit(event)

    def unstored_calls(self) -> list[tuple[Called, int]]:
        """Its model calls that have changed since they were stored, with how often they have."""
        if self.is_ending:
            return []
        return [(call, call.changes) for call in self.calls if call.changes != call.stored]

    def take(self) -> Batch | None:
        """What is to be logged; `give_back` or forget it afterwards. None where there is nothing."""
        if not self._unlogged:
            return None
        batch = Batch(self._logged, self.seq, merged_events(self._unlogged))
        self._unlogged, self._logged = [], self.seq
        return batch

    def give_back(self, batch: Batch) -> None:
        """It could not be written: it comes again with the next."""
        self._unlogged = [*batch.events, *self._unlogged]
        self._logged = batch.after

    def on_stop(self, stop: Callable[[], object]) -> None:
        """Call ``stop`` when the run is to be stopped; at once, if it was stopped already."""
        self._stop = stop
        if self.stopped_by is not None or self.failure is not None or self.has_moved:
            stop()

    def stop(self, by: str) -> None:
        """Ask the run to stop; the second time does nothing."""
        if self.stopped_by is None:
            self.stopped_by = by
            if self._stop is not None:
                self._stop()

    def fail(self, message: str) -> None:
        """Ask the run to end as failed, with this sentence."""
        if self.failure is None:
            self.failure = message
            if self._stop is not None:
                self._stop()

    def lose(self) -> None:
        """Somebody else has the run: say nothing more, ask the provider for nothing more."""
        self.move()
        if self._stop is not None:
            self._stop()


def size_of(event: Event) -> int:
    """About how much a follower has to keep of it."""
    if type(event) is Text:  # nearly all of them
        return len(event.delta) or 64
    return len(getattr(event, "delta", "") or getattr(event, "text", "")) or 64


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


def all_executing() -> list[LiveRun]:
    """Every run that is executed in this process."""
    return list(_live.values())


def find(run: UUID) -> LiveRun | None:
    """The run, where it is executed on the running loop."""
    live = _live.get(run)
    return live if live is not None and live.loop is asyncio.get_running_loop() else None
