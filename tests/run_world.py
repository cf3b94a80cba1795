"""A run's world without a database, for the model in `tests.test_run_replica`.

Its row, its log and its clock stand in memory; the layer loses, doubles and turns round what it is
given. What acts in it is real: `LiveRun`, `Writer`, `Outbox`, `Replica`, and the commit of an end.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import aclosing
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from django.db import OperationalError

from openrouter_app.engine.loops import LoopState
from openrouter_app.runs import execution, leases, live, pausing, relay, writer
from openrouter_app.runs.endings import Outcome, fields_at_end
from openrouter_app.runs.events import (
    Event,
    Interrupted,
    LastEvent,
    Reasoning,
    Started,
    StepStarted,
    Text,
    ToolArguments,
    ToolStarted,
)
from openrouter_app.runs.generating import Paused
from openrouter_app.runs.live import Batch, LiveRun, Snapshot
from openrouter_app.runs.log import decode, encode
from openrouter_app.runs.replica import Frame, Replica
from openrouter_app.runs.state import FINAL
from tests.followers import View
from tests.run_logs import new_state, without_open

RUN = UUID(int=1)
PK = 1


class Database:
    """One run's row and log, and the database's clock: `openrouter_app.runs.leases`, in memory."""

    Standing = leases.Standing

    def __init__(self) -> None:
        self.now = 1_000.0
        self.is_away = False
        self.fence = 0
        self.status = "queued"
        self.lease_until = 0.0
        self.process = ""
        self.is_stop_requested = False
        self.is_tiled = True
        self.log: list[tuple[int, int, str]] = []
        self.whole: Snapshot | None = None

    def monotonic(self) -> float:
        return self.now

    def claim(self, run: UUID, process: str, *, fence: int, lease: float, total: float) -> int | None:
        self.reach()
        if (self.status, self.fence) != ("queued", fence):
            return None
        self.status, self.fence, self.lease_until = "running", self.fence + 1, self.now + lease
        self.process = process
        return self.fence

    def write(
        self,
        batches: Mapping[int, tuple[int, Batch]],
        watched: Iterable[int],
        renew: Any = None,
        *,
        again: bool = False,
        calls: Any = None,
    ) -> dict[int, leases.Standing]:
        self.reach()
        for fence, batch in batches.values():
            if (fence, "running") == (self.fence, self.status):
                if again:
                    self.log = [row for row in self.log if row[0] < batch.after]
                self.is_tiled &= batch.after == self.last_logged  # whoever calls this may survive an error
                self.log.append((batch.after, batch.seq, encode(batch.events)))
        if renew is not None and (renew[0], "running") == (self.process, self.status):
            self.lease_until = self.now + renew[1]
        return {pk: leases.Standing(self.fence, self.status, self.is_stop_requested) for pk in watched}

    def end(self, pk: int, fence: int, status: str, fields: dict[str, Any], calls: Any = ()) -> bool:
        self.reach()
        if (fence, status) != (self.fence, self.status):
            return False
        self.status, self.log, self.lease_until = fields["status"], [], 0.0
        state = {**new_state().snapshot(), "status": self.status, "parts": fields["parts"]}
        if fields.get("reason") and self.status == "done":
            state["reason"] = fields["reason"]
        if fields.get("output") is not None:
            state["output"] = fields["output"]
        if "error_code" in fields:
            state["error"] = {
                "code": fields["error_code"],
                "message": fields["error_message"],
                "retryable": fields["retryable"],
            }
        self.whole = Snapshot(RUN, fields["last_seq"], state)
        return True

    def pause(self, plan: pausing.Pause) -> str:
        """As `openrouter_app.runs.pausing.pause`."""
        self.reach()
        if (plan.fence, "running") != (self.fence, self.status):
            return ""
        self.log = [row for row in self.log if row[0] < plan.after]
        self.is_tiled &= plan.after == self.last_logged
        self.log.append((plan.after, plan.seq, encode([*plan.unlogged, *plan.news])))
        self.status, self.process, self.lease_until = "waiting", "", 0.0
        return "waiting"

    def decide(self) -> None:
        """A person allows what the run waits for."""
        assert self.status == "waiting"
        self.status, self.fence = "queued", self.fence + 1

    @property
    def last_logged(self) -> int:
        return self.log[-1][1] if self.log else 0

    def rows(self, after: int) -> list[tuple[int, int, list[Event]]]:
        """As `openrouter_app.runs.rows.events_of`."""
        return [(first, seq, decode(text)) for first, seq, text in self.log if seq > after]

    def reap(self) -> None:
        """As `openrouter_app.runs.reaping.reap`."""
        if self.status == "running" and self.lease_until < self.now:
            state, seq = new_state(), 0
            for _first, seq, events in self.rows(0):  # noqa: B007 - the last one counts
                for event in events:
                    state.apply(event)
            last = Interrupted("provider", "The server was lost.", True)
            assert self.end(PK, self.fence, "running", fields_at_end(state, seq + 1, last, Outcome()))

    def reach(self) -> None:
        if self.is_away:
            raise OperationalError("away")


class Owner:
    """A process that executes the run, with a writer of its own."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.is_frozen = False
        self.is_forced_out = False
        """Somebody took its run although its lease stands: it may say some more, until it looks."""
        self.writer = DirectWriter()
        state, seq = new_state(), 0
        self.said: dict[int, dict[str, Any]] = {}
        """What a page shows at each seq. Of an earlier owner only what it logged counts."""
        for _first, seq, events in world.database.rows(0):
            for event in events:
                state.apply(event)
            self.said[seq] = state.snapshot()
        self.live = WatchedRun(self, state, seq)
        self.live.queued_fence = world.database.fence
        self.writer._runs[PK] = self.live
        self.next_part = state.next_part
        self.open = self.call = ""

    def claim(self) -> None:
        assert self.world.run(self.writer.claim(self.live))
        self.box = relay.Outbox(self.live)
        self.live.on_event = self.box.put
        self.writer.before_flush = lambda live: self.box.cut()
        self.live.emit(Started("joke", 1))

    def say(self, kind: str, text: str) -> None:
        """One more piece of an answer, as the run's task makes them."""
        if kind == "arguments":
            if self.call:
                self.live.emit(ToolArguments(self.call, text))
            return
        if kind != self.open or kind in ("step", "call"):
            self.part, self.next_part, self.open = self.next_part, self.next_part + 1, kind
            self.call = ""
        match kind:
            case "step":
                self.live.emit(StepStarted(self.part))
            case "text":
                self.live.emit(Text(self.part, text))
            case "reasoning":
                self.live.emit(Reasoning(self.part, text, self.next_part))
            case "call":
                self.call = f"{self.live.fence}.{self.part}"
                self.live.emit(ToolStarted(self.part, self.call, text))
                self.live.emit(ToolArguments(self.call, '{"a": "'))

    def flush(self) -> None:
        self.world.run(self.writer.flush())
        if not self.world.database.is_away:
            self.is_forced_out = False

    def wait(self) -> None:
        """Put the run down until a person decides."""
        paused = Paused(LoopState(messages=()), [])
        try:
            pausing_it = execution._pause(self.live, Outcome(), self.writer, paused)
            self.world.run(asyncio.wait_for(pausing_it, 5))
        except (execution._Waits, execution.Lost):
            self.live.move()
            self.writer.forget(self.live)

    def end(self, last: LastEvent) -> None:
        try:
            ending = execution._commit_end(self.live, Outcome(), last, self.writer)
            self.world.run(asyncio.wait_for(ending, 5))
        except execution.Lost:
            self.live.move()
        else:
            self.live.confirm(float("inf"))
            self.live.emit(last)
        self.writer.forget(self.live)

    @property
    def is_over(self) -> bool:
        """Whether its task has nothing left to do."""
        return self.live.has_moved or self.live.is_final

    @property
    def may_say(self) -> bool:
        """Whether what it says is the row's owner's word."""
        database, live = self.world.database, self.live
        is_mine = database.fence == live.fence and (database.status == "running" or live.is_ending)
        return is_mine or self.is_forced_out


class DirectWriter(writer.Writer):
    """The real writer, whose database answers at once."""

    async def call(self, function: Callable[..., Any], *args: Any) -> Any:
        return function(*args)


class WatchedRun(LiveRun):
    """The real run; what it shows is remembered, and must be its to show."""

    def __init__(self, owner: Owner, state: Any, seq: int) -> None:
        super().__init__(RUN, PK, state, seq=seq)
        self.owner = owner

    def show(self, event: Event) -> None:
        super().show(event)
        self.owner.said[self.seq] = self.state.snapshot()
        assert self.owner.may_say, "said although somebody else may have the run"


class Page:
    """What a page shows that follows an owner or a replica, and goes on to a replica when that one moved."""

    def __init__(self, world: World, followed: Owner | Replica) -> None:
        self.world = world
        self.view = View()
        self.is_over = False
        self.shown_of = 0
        """The fence of who said what is shown."""
        self.follow(followed)

    def follow(self, followed: Owner | Replica) -> None:
        self.followed = followed
        self.task = self.world.loop.create_task(self._watch(followed))

    async def _watch(self, followed: Owner | Replica) -> None:
        source = followed.live if isinstance(followed, Owner) else followed
        is_first = True
        async with aclosing(source.updates()) as updates:
            async for update in updates:
                assert not self.is_over, "the last update is the last"
                if isinstance(followed, Owner):
                    assert followed.may_say, "shown although somebody else may have the run"
                if isinstance(update, Snapshot):
                    self.view.snapshot(update.seq, update.state)
                else:
                    assert not is_first, "a follow begins with a snapshot"
                    self.view.range(update.after, update.seq, update.events)
                is_first = False
                if update is not self.world.database.whole:
                    assert (source.fence or 0) >= self.shown_of, "nobody's word any more"
                    self.shown_of = source.fence or 0
                self.is_over = self.view.state["status"] in FINAL


class World:
    """Everything together, on a loop of its own."""

    def __init__(self) -> None:
        logging.disable(logging.CRITICAL)
        self.loop = asyncio.new_event_loop()
        self.patch = pytest.MonkeyPatch()
        self.database = Database()
        clock = SimpleNamespace(monotonic=self.database.monotonic)
        for module in (live, writer, execution):
            self.patch.setattr(module, "time", clock)
        for module in (writer, execution):
            self.patch.setattr(module, "leases", self.database)
        self.patch.setattr(pausing, "pause", self.database.pause)
        for window in ("WINDOW", "WIDE_WINDOW"):
            self.patch.setattr(live, window, 0)
        self.owners: list[Owner] = []
        self.pages: list[Page] = []
        self.replicas: list[Replica] = []
        self.layer: list[tuple[Replica, Frame]] = []
        self.readings: list[tuple[Replica, int, int, Any]] = []

    def close(self) -> None:
        logging.disable(logging.NOTSET)
        self.patch.undo()
        self.run(self._leave())
        self.run(self.loop.shutdown_asyncgens())
        self.loop.close()

    async def _leave(self) -> None:
        tasks = [page.task for page in self.pages]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def run(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    def settle(self) -> None:
        """Let every page take what there is for it."""

        async def turns() -> None:
            for _ in range(12):
                await asyncio.sleep(0)

        self.run(turns())
        for page in self.pages:
            if page.task.done():
                page.task.result()
                if not page.is_over:  # its run has moved
                    self.follow_elsewhere(page)

    def own(self) -> Owner:
        async def make() -> Owner:
            return Owner(self)

        owner: Owner = self.run(make())
        owner.claim()
        self.owners.append(owner)
        return owner

    def crash(self, owner: Owner) -> None:
        """The process is gone with all that its pages had not got yet; they connect elsewhere."""
        owner.live.has_moved = True
        for page in self.pages:
            if page.followed is owner:
                page.task.cancel()
                if not page.is_over:
                    self.follow_elsewhere(page)

    def take_over(self) -> None:
        """Another process claims the run, as after a pause; whoever has it now is not asked."""
        for owner in self.owners:
            if owner.live.fence == self.database.fence:
                owner.is_forced_out = self.database.now <= owner.live.valid_until
        self.database.status = "queued"
        self.own()

    def go_on(self) -> None:
        """A person has decided, and some process goes on."""
        if self.database.status == "waiting":
            self.database.decide()
        self.own()

    def open_here(self, owner: Owner) -> None:
        self.pages.append(Page(self, owner))

    def open_elsewhere(self) -> None:
        self.pages.append(Page(self, self._replica()))

    def follow_elsewhere(self, page: Page) -> None:
        page.follow(self._replica())

    def _replica(self) -> Replica:
        """One that has read the log, as nobody sees it before."""
        replica = Replica(RUN, new_state)
        self.replicas.append(replica)
        self.finish_reading(*self.begin_reading(replica))
        return replica

    def begin_reading(self, replica: Replica) -> tuple[Replica, int, int, Any]:
        """The first half of `openrouter_app.runs.rows.read`: the log's rows."""
        return replica, replica.read_from, replica.fence, self.database.rows(replica.read_from)

    def finish_reading(self, replica: Replica, after: int, fence: int, rows: Any) -> None:
        """The second half: the row itself."""
        if (whole := self.database.whole) is not None:
            replica.end_as(whole)
            return
        if after and fence != self.database.fence:
            after, rows = 0, self.database.rows(0)
        replica.read(self.database.fence, after, rows)

    def send(self, owner: Owner) -> None:
        """Frames into the layer, as `openrouter_app.runs.relay.Relay` sends them."""
        for frame in [] if owner.live.has_moved else owner.box.take():
            self.layer += [(replica, frame) for replica in self.replicas]

    def deliver(self, at: int) -> None:
        replica, frame = self.layer.pop(at % len(self.layer))
        replica.receive(Frame(frame.fence, frame.after, frame.seq, decode(encode(frame.events))))

    def said_by(self, fence: int | None, seq: int) -> dict[str, Any]:
        """The state at ``seq`` as the owner with this fence said it."""
        if seq == 0:
            return new_state().snapshot()
        (owner,) = [one for one in self.owners if one.live.fence == fence]
        return without_open(owner.said[seq])
