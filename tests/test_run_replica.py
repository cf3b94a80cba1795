"""Following from elsewhere: a fold of log and frames that ends right whatever is lost on the way."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from openrouter_app.runs import replica as replica_module
from openrouter_app.runs.events import Failed, Finished, Stopped, Text
from openrouter_app.runs.replica import Frame, Replica
from tests.run_logs import new_state, without_open
from tests.run_world import RUN, Owner, World

ANY = st.integers(0, 5)
KINDS = st.sampled_from(["text", "text", "reasoning", "step", "call", "arguments", "arguments"])
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "say",
                "say",
                "say",
                "send",
                "send",
                "deliver",
                "deliver",
                "lose",
                "double",
                "flush",
                "read",
                "look",
            ]
        ),
        KINDS,
        ANY,
    ),
    min_size=12,
    max_size=30,
)
LASTS = st.sampled_from([Finished("stop", "x"), Stopped("user"), Failed("provider", "No.", True)])


class Schedules(RuleBasedStateMachine):
    """The protocol's rules under a random schedule: owners, flushes, a failing layer, a reaper, readers."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()

    @initialize()
    def begin(self) -> None:
        self.world.open_here(self.world.own())
        self.world.open_elsewhere()

    def teardown(self) -> None:
        try:
            self.converge()
            self.finish()
        finally:
            self.world.close()

    # ---- what may happen ----

    def acting(self) -> list[Owner]:
        """Processes that are there, and whose run's task is not over."""
        return [owner for owner in self.world.owners if not (owner.is_frozen or owner.is_over)]

    def said_enough(self) -> bool:
        """Whether it is time for something that ends the talk."""
        return any(owner.live.seq > 8 * len(self.world.owners) for owner in self.acting())

    @precondition(lambda self: self.acting())
    @rule(at=ANY, steps=STEPS)
    def traffic(self, at: int, steps: list[tuple[str, str, int]]) -> None:
        """What happens many times a second."""
        world = self.world
        for step, kind, which in steps:
            if not self.acting():
                return
            owner = _one(self.acting(), at + (which == 5))  # now and then another's
            match step:
                case "say":
                    owner.say(kind, "abcdef"[which])
                case "send":
                    world.send(owner)
                case "flush":
                    owner.flush()
                case "deliver" if world.layer:
                    world.deliver(which if which < 3 else 0)
                case "lose" if world.layer:
                    del world.layer[which % len(world.layer)]
                case "double" if world.layer:
                    world.layer.append(_one(world.layer, which))
                case "read":
                    replica = _one(world.replicas, which)
                    world.finish_reading(*world.begin_reading(replica))
                case "look":
                    world.settle()
            self.every_page_shows_what_an_owner_said()

    more_traffic = even_more_traffic = traffic

    @precondition(lambda self: self.said_enough() and not self.world.database.is_away)
    @rule(at=ANY, last=LASTS, sends=st.booleans())
    def end(self, at: int, last: Any, sends: bool) -> None:
        owner = _one(self.acting(), at)
        if owner.live.failure is not None:
            last = Failed("provider", owner.live.failure, True)
        owner.end(last)
        if sends:
            self.world.send(owner)

    @precondition(lambda self: self.world.layer)
    @rule()
    def deliver_all_in_order(self) -> None:
        while self.world.layer:
            self.world.deliver(0)

    @precondition(lambda self: self.acting() and len(self.world.pages) < 4)
    @rule(at=ANY)
    def open_here(self, at: int) -> None:
        self.world.open_here(_one(self.acting(), at))

    @precondition(lambda self: len(self.world.pages) < 4)
    @rule()
    def open_elsewhere(self) -> None:
        self.world.open_elsewhere()

    @precondition(lambda self: self.world.replicas)
    @rule(at=ANY)
    def begin_reading(self, at: int) -> None:
        self.world.readings.append(self.world.begin_reading(_one(self.world.replicas, at)))

    @precondition(lambda self: self.world.readings)
    @rule()
    def finish_reading(self) -> None:
        self.world.finish_reading(*self.world.readings.pop(0))

    @rule(seconds=st.sampled_from([0.2, 11.0, 29.0, 31.0]))
    def time_goes_by(self, seconds: float) -> None:
        self.world.database.now += seconds

    @precondition(lambda self: self.said_enough())
    @rule(at=ANY)
    def freeze(self, at: int) -> None:
        _one(self.acting(), at).is_frozen = True

    @precondition(lambda self: self.acting() and not self.world.database.is_away)
    @rule(at=ANY, is_reaped=st.booleans(), then=st.sampled_from(["flush", "end", "nothing"]), last=LASTS)
    def go_on_after_the_lease(self, at: int, is_reaped: bool, then: str, last: Any) -> None:
        """An owner was away for longer than its lease, and does not know."""
        owner = _one(self.acting(), at)
        self.world.database.now += 31
        if is_reaped:
            self.world.database.reap()
        owner.say("reasoning", "late")
        owner.say("text", "later")
        self.world.settle()
        if then == "flush":
            owner.flush()
        elif then == "end" and owner.live.failure is None:
            owner.end(last)

    @precondition(lambda self: any(owner.is_frozen for owner in self.world.owners))
    @rule(seconds=st.sampled_from([0.2, 31.0]))
    def thaw(self, seconds: float) -> None:
        self.world.database.now += seconds
        for owner in self.world.owners:
            owner.is_frozen = False

    @precondition(lambda self: self.said_enough())
    @rule(at=ANY)
    def crash(self, at: int) -> None:
        self.world.crash(_one(self.acting(), at))

    @precondition(lambda self: not self.world.database.is_away)
    @rule()
    def reap(self) -> None:
        self.world.database.reap()

    @precondition(
        lambda self: (
            self.world.database.status == "running"
            and self.said_enough()
            and not self.world.database.is_away
            and len(self.world.owners) < 3
        )
    )
    @rule()
    def another_takes_it(self) -> None:
        self.world.take_over()

    @precondition(
        lambda self: (
            any(owner.live.seq > 3 for owner in self.acting())
            and not self.world.database.is_away
            and len(self.world.owners) < 3
        )
    )
    @rule(at=ANY, sends=st.booleans())
    def wait(self, at: int, sends: bool) -> None:
        """The run is put down; of an owner whose run it is not any more that changes nothing."""
        owner = _one(self.acting(), at)
        if owner.live.failure is not None:
            return
        owner.wait()
        if sends:
            self.world.send(owner)

    @precondition(lambda self: self.world.database.status == "waiting" and not self.world.database.is_away)
    @rule()
    def somebody_decides(self) -> None:
        self.world.go_on()

    @rule(is_away=st.booleans())
    def database_comes_and_goes(self, is_away: bool) -> None:
        self.world.database.is_away = is_away

    # ---- what holds ----

    @invariant()
    def every_page_shows_what_an_owner_said(self) -> None:
        assert self.world.database.is_tiled, "rows of the log tile"
        for page in self.world.pages:
            view, whole = page.view, self.world.database.whole
            assert not view.gap, "ranges tile"
            if view.seq < 0:
                continue
            shown = without_open(view.state)
            if page.is_over and whole is not None and view.seq == whole.seq:
                assert shown == without_open(whole.state)
            else:
                assert shown == self.world.said_by(page.shown_of, view.seq)

    def converge(self) -> None:
        """The layer loses everything from now on: three looks at the log show each page all of it."""
        world = self.world
        world.layer.clear()
        world.database.is_away = False
        for owner in self.acting():
            owner.flush()
        if world.database.status != "running":
            return
        for replica in world.replicas:
            for _ in range(3):
                world.finish_reading(*world.begin_reading(replica))
            assert replica.fence == world.database.fence
            assert replica.seq >= world.database.last_logged
        for _ in range(2):
            world.settle()
        for page in world.pages:
            if isinstance(page.followed, Replica):
                assert page.view.seq == page.followed.seq

    def finish(self) -> None:
        """The run ends in one way or the other: then every page shows what the row says, for good."""
        world = self.world
        for owner in world.owners:
            owner.is_frozen = False
        world.settle()
        if world.database.status == "waiting":
            world.database.now += 100_000
            world.database.reap()
            assert world.database.status == "waiting", "a person has all the time"
            world.go_on()
        if acting := [owner for owner in self.acting() if owner.live.fence == world.database.fence]:
            acting[0].end(Finished("stop", "x"))
        world.database.now += 31
        world.database.reap()
        for owner in self.acting():
            owner.say("text", "too late")
            owner.flush()
            assert owner.live.has_moved
        assert world.database.whole is not None
        for _ in range(2):
            world.settle()
            for replica in world.replicas:
                world.finish_reading(*world.begin_reading(replica))
        world.settle()
        for page in world.pages:
            assert page.is_over
            assert without_open(page.view.state) == without_open(world.database.whole.state)
            assert page.view.seq == world.database.whole.seq
        self.every_page_shows_what_an_owner_said()


def _one(things: list[Any], at: int) -> Any:
    return things[at % len(things)]


def test_whatever_happens_every_page_ends_with_what_the_row_says():
    phases = [phase for phase in Phase if phase is not Phase.explain]  # that one traces every line
    run_state_machine_as_test(Schedules, settings=settings(stateful_step_count=30, phases=phases))


# ---- single schedules ----


@pytest.fixture
def replica():
    """A replica that follows the owner with the fence 1 and has seen his log to 2."""
    replica = Replica(RUN, new_state)
    replica.read(1, 0, [(0, 2, [Text(0, "ab")])])
    return replica


def text_of(replica: Replica) -> str:
    return replica.state.text()


def frame(after: int, *letters: str, fence: int = 1) -> Frame:
    return Frame(fence, after, after + len(letters), [Text(0, "".join(letters))])


def test_frames_before_the_first_reading_are_kept():
    replica = Replica(RUN, new_state)
    replica.receive(frame(2, "c"))
    assert (replica.seq, replica.needs_reading) == (0, True)
    replica.read(1, 0, [(0, 2, [Text(0, "ab")])])
    assert (text_of(replica), replica.seq, replica.needs_reading) == ("abc", 3, False)


def test_frame_that_comes_too_early_waits_for_the_one_before_it(replica):
    replica.receive(frame(3, "d"))
    assert (text_of(replica), replica.needs_reading) == ("ab", True)
    replica.receive(frame(2, "c"))
    assert text_of(replica) == "abcd"


def test_frame_that_comes_twice_counts_once(replica):
    for _ in range(2):
        replica.receive(frame(2, "c"))
    assert text_of(replica) == "abc"


def test_hole_is_filled_from_the_log_and_nothing_is_thrown_away(replica):
    replica.receive(frame(4, "e"))
    replica.read(1, 2, [])
    assert replica.needs_reading
    replica.read(1, 2, [(2, 4, [Text(0, "cd")])])
    assert (text_of(replica), replica.needs_reading) == ("abcde", False)


def test_frame_lost_in_the_midst_of_a_row_is_made_up_for(replica):
    replica.receive(frame(2, "c"))  # "d" is lost; the log's next row has both
    replica.receive(frame(4, "e"))
    replica.read(1, replica.read_from, [(2, 4, [Text(0, "cd")])])
    assert replica.read_from == 0
    assert replica.needs_reading
    replica.read(1, 0, [(0, 2, [Text(0, "ab")]), (2, 4, [Text(0, "cd")])])
    assert (text_of(replica), replica.needs_reading, replica.read_from) == ("abcde", False, 5)


def test_frame_late_in_the_midst_of_a_row_needs_no_new_beginning(replica):
    replica.receive(frame(2, "c"))
    replica.read(1, replica.read_from, [(2, 4, [Text(0, "cd")])])
    replica.receive(frame(3, "d"))
    state = replica.state
    replica.read(1, 0, [(0, 2, [Text(0, "ab")]), (2, 4, [Text(0, "cd")])])
    assert replica.state is state
    assert (text_of(replica), replica.needs_reading) == ("abcd", False)


def test_frame_of_an_older_owner_is_dropped(replica):
    replica.read(2, 0, [(0, 1, [Text(0, "a")])])
    replica.receive(frame(1, "b", fence=1))
    assert text_of(replica) == "a"


def test_frame_of_a_newer_owner_waits_for_a_reading_from_the_beginning(replica):
    replica.receive(frame(1, "x", fence=2))
    assert (text_of(replica), replica.needs_reading) == ("ab", True)
    replica.read(2, 2, [])
    assert (text_of(replica), replica.needs_reading) == ("ab", True)
    replica.read(2, 0, [(0, 1, [Text(0, "a")])])
    assert (text_of(replica), replica.seq, replica.fence) == ("ax", 2, 2)


def test_reading_of_an_older_owner_changes_nothing(replica):
    replica.read(2, 0, [(0, 1, [Text(0, "a")])])
    replica.read(1, 0, [(0, 2, [Text(0, "ab")])])
    assert (text_of(replica), replica.fence) == ("a", 2)


def test_frames_that_wait_are_bounded_and_the_log_has_what_is_dropped(replica, monkeypatch):
    monkeypatch.setattr(replica_module, "MOST_PENDING", 3)
    letters = "cdefghij"
    for at, letter in enumerate(letters[1:], start=3):
        replica.receive(frame(at, letter))
    assert len(replica._pending) == 3
    replica.read(1, 2, [(2, 10, [Text(0, letters)])])
    assert (text_of(replica), replica.needs_reading) == ("ab" + letters, False)
