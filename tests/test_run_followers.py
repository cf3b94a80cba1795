"""What waits for a follower of a run on its own loop is bounded, however slowly he reads."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from types import SimpleNamespace
from uuid import uuid4

import pytest

from openrouter_app import runs
from openrouter_app.runs import live
from openrouter_app.runs.events import Finished, Started, StepStarted, Text
from openrouter_app.runs.live import Followed
from tests.followers import View
from tests.run_logs import new_state


class Slow(runs.Turn):
    """A reader who has not taken what he was given, until `read` is set."""

    def __init__(self) -> None:
        self.read = asyncio.Event()
        self.asked = 0

    async def until_read(self) -> None:
        self.asked += 1
        await self.read.wait()


@pytest.mark.parametrize(
    ("pieces", "text"), [(live.BACKLOG, "a"), (3, "a" * (live.BACKLOG_SIZE // 3))], ids=["events", "text"]
)
async def test_invariant_24_a_backlog_becomes_one_snapshot_and_never_two_in_flight(pieces, text):
    followed, reader, view = Followed(uuid4(), new_state()), Slow(), View()
    taken = []

    def say(event):
        followed.seq += 1
        followed.show(event)

    async with aclosing(followed.updates(reader)) as updates:
        first = await anext(updates)
        assert isinstance(first, runs.Snapshot)
        view.snapshot(first.seq, first.state)
        for event in (Started("joke", 1), StepStarted(0)):
            say(event)
        [inbox] = followed._inboxes
        for _ in range(pieces):
            assert len(inbox._events) <= live.BACKLOG
            say(Text(1, text))
        assert not inbox._events, "a snapshot stands for all of it"
        following = asyncio.ensure_future(anext(updates))
        for _ in range(pieces):
            say(Text(1, text))
            await asyncio.sleep(0)
        await asyncio.sleep(0.05)
        assert not following.done(), "the one before has not gone yet"
        assert not inbox._events
        reader.read.set()
        whole = await following
        assert isinstance(whole, runs.Snapshot)
        assert (whole.seq, reader.asked) == (followed.seq, 1)
        view.snapshot(whole.seq, whole.state)
        say(Text(1, "b"))
        say(Finished("stop", "x"))
        async for update in updates:
            taken.append(type(update))
            view.range(update.after, update.seq, update.events)
    assert set(taken) == {runs.Range}
    assert not view.gap
    assert view.state["parts"] == followed.state.parts()


async def test_the_first_piece_comes_at_once_and_frames_keep_further_apart_under_pressure(monkeypatch):
    """By a clock of the test's own: ``late`` is what the loop sleeps longer than it was asked to."""
    followed, now, late, slept = Followed(uuid4(), new_state()), [100.0], [0.0], []

    async def sleep(seconds):
        slept.append(round(seconds, 6))
        now[0] += seconds + late[0]

    monkeypatch.setattr(live, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(
        live, "asyncio", SimpleNamespace(sleep=sleep, get_running_loop=asyncio.get_running_loop)
    )
    async with aclosing(followed.updates()) as updates:
        await anext(updates)
        for lateness in (0.0, 0.0, 0.02, 0.0, 0.0):
            late[0] = lateness
            followed.seq += 1
            followed.show(Text(0, "a"))
            await anext(updates)
    assert slept == [live.WINDOW, live.WINDOW, live.WIDE_WINDOW, live.WINDOW]
    assert (live.WINDOW, live.WIDE_WINDOW) == (0.016, 0.033)
