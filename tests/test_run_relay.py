"""Between processes: what the layer is given, what is taken from it, and what its failures do: nothing."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

import pytest
from channels.layers import InMemoryChannelLayer

from openrouter_app.runs import live as registry
from openrouter_app.runs.events import Event, Started, StepStarted, Text
from openrouter_app.runs.live import LiveRun
from openrouter_app.runs.log import decode
from openrouter_app.runs.relay import Relay, group_of
from openrouter_app.runs.replica import Frame, Replica
from openrouter_app.runs.state import RunState
from tests.followers import until


def new_state() -> RunState:
    return RunState(chain="echo", version=1, input={})


@pytest.fixture
async def live():
    registry.register(one := LiveRun(uuid4(), 1, new_state()))
    one.fence = 3
    yield one
    registry.unregister(one)


@pytest.fixture
def layer():
    return InMemoryChannelLayer()


async def reader_of(layer, run: UUID) -> str:
    """A channel in the run's group, as a process has that follows it."""
    channel = await layer.new_channel()
    await layer.group_add(group_of(run), channel)
    return channel


async def frame_of(layer, channel: str) -> tuple[int, int, int, list[Event]]:
    message = await asyncio.wait_for(layer.receive(channel), 2)
    assert message["type"] == "openrouter.frame"
    return message["fence"], message["after"], message["seq"], decode(message["events"])


async def nothing_comes(layer, channel: str) -> bool:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(layer.receive(channel), 0.1)
    return True


async def follow(relay: Relay, layer, live: LiveRun) -> None:
    """Another process says that somebody follows."""
    channel = await relay.open()
    await layer.send(channel, {"type": "openrouter.follow", "run": live.run.hex})
    await until(lambda: relay.outbox_of(live) is not None)


async def test_frames_are_sent_only_while_somebody_elsewhere_follows(live, layer, settings):
    settings.OPENROUTER = {"PRESENCE_TIMEOUT": 0.2}
    relay, channel = Relay(layer), await reader_of(layer, live.run)
    live.emit(Started("echo", 1))
    assert await nothing_comes(layer, channel)
    await follow(relay, layer, live)
    live.emit(StepStarted(0))
    live.emit(Text(1, "a"))
    live.emit(Text(1, "b"))
    assert await frame_of(layer, channel) == (3, 1, 4, [StepStarted(0), Text(1, "ab")])
    await until(lambda: relay.outbox_of(live) is None)
    live.emit(Text(1, "c"))
    assert await nothing_comes(layer, channel)
    assert live.on_event is None


async def test_logged_seq_is_the_border_of_a_frame(live, layer):
    relay, channel = Relay(layer), await reader_of(layer, live.run)
    await follow(relay, layer, live)
    live.emit(Text(0, "a"))
    relay.outbox_of(live).cut()  # as a flush does
    live.emit(Text(0, "b"))
    assert await frame_of(layer, channel) == (3, 0, 1, [Text(0, "a")])
    assert await frame_of(layer, channel) == (3, 1, 2, [Text(0, "b")])


async def test_frames_of_a_lost_run_are_not_sent(live, layer):
    relay, channel = Relay(layer), await reader_of(layer, live.run)
    await follow(relay, layer, live)
    live.emit(Text(0, "a"))
    live.lose()
    assert await nothing_comes(layer, channel)


async def test_stop_from_another_process_reaches_the_run(live, layer):
    channel = await Relay(layer).open()
    await Relay(layer).ask_to_stop(channel, live.run, "user")
    await until(lambda: live.stopped_by == "user")


async def test_follower_hears_the_runs_frames_and_no_others(live, layer):
    here, there = Relay(layer), Relay(layer)
    replica = Replica(live.run, new_state)
    replica.read(3, 0, [])
    await there.follow(live.run, await here.open(), replica.receive)
    await until(lambda: here.outbox_of(live) is not None)
    live.emit(Text(0, "far"))
    await until(lambda: replica.seq == 1)
    assert replica.state.text() == "far"
    there.unfollow(live.run, replica.receive)
    live.emit(Text(0, " away"))
    await asyncio.sleep(0.1)
    assert replica.seq == 1


async def test_follower_that_leaves_late_takes_nothing_from_the_one_that_came_after_it(live, layer):
    """A run that was executed here meanwhile: its first followers may be slow to go."""
    here, there = Relay(layer), Relay(layer)
    first, second = Replica(live.run, new_state), Replica(live.run, new_state)
    second.read(3, 0, [])
    owner = await here.open()
    await there.follow(live.run, owner, first.receive)
    await there.follow(live.run, owner, second.receive)
    await until(lambda: here.outbox_of(live) is not None)
    there.unfollow(live.run, first.receive)
    live.emit(Text(0, "far"))
    await until(lambda: second.seq == 1)
    there.unfollow(live.run, second.receive)
    await until(lambda: not layer.groups)


async def test_group_that_is_joined_again_while_it_is_left_stays_joined(live, monkeypatch):
    """A layer may hear the two in either order."""
    layer, left = InMemoryChannelLayer(), asyncio.Event()

    async def leave_late(group, channel):
        await left.wait()
        await InMemoryChannelLayer.group_discard(layer, group, channel)

    monkeypatch.setattr(layer, "group_discard", leave_late)
    here, there = Relay(layer), Relay(layer)
    first, second = Replica(live.run, new_state), Replica(live.run, new_state)
    second.read(3, 0, [])
    owner = await here.open()
    await there.follow(live.run, owner, first.receive)
    there.unfollow(live.run, first.receive)
    await there.follow(live.run, owner, second.receive)
    await until(lambda: here.outbox_of(live) is not None)
    left.set()
    await until(lambda: not there._leaving)
    live.emit(Text(0, "far"))
    await until(lambda: second.seq == 1)


@pytest.mark.parametrize(
    "message",
    [
        {"type": "openrouter.frame"},
        {"type": "openrouter.frame", "run": "no uuid"},
        {"type": "openrouter.frame", "run": "f" * 32, "events": "no json"},
        {"type": "something.else", "run": "f" * 32},
        {"run": 7},
    ],
)
async def test_message_of_somebody_else_harms_nothing(live, layer, message):
    relay = Relay(layer)
    channel = await relay.open()
    await relay.follow(UUID("f" * 32), "", lambda frame: None)
    await layer.send(channel, message)
    await layer.send(channel, {"type": "openrouter.stop", "run": live.run.hex, "by": "user"})
    await until(lambda: live.stopped_by == "user")


class Broken(InMemoryChannelLayer):
    """Raises or hangs in every call but the making of a channel."""

    hangs = False
    calls = 0

    async def fail(self, *args):
        self.calls += 1
        if self.hangs:
            await asyncio.sleep(60)
        raise ConnectionError("no layer")

    send = group_send = group_add = group_discard = receive = fail


@pytest.mark.parametrize("hangs", [False, True])
async def test_f05_layer_that_fails_or_hangs_harms_no_run_and_is_said_once(live, settings, caplog, hangs):
    settings.OPENROUTER = {"LAYER_TIMEOUT": 0.05}
    layer = Broken()
    layer.hangs = hangs
    relay = Relay(layer)
    await relay.open()
    relay._followed_elsewhere(live.run)
    for letter in "abc":
        live.emit(Text(0, letter))
        await asyncio.sleep(0.06)
    async with asyncio.timeout(2):
        await relay.follow(uuid4(), "openrouter!x", lambda frame: None)
        await relay.ask_to_stop("openrouter!x", live.run, "user")
    assert layer.calls > 4
    assert live.state.text() == "abc"
    assert sum("does not answer" in record.message for record in caplog.records) == 1


async def test_site_without_a_layer_is_served_too(live):
    relay = Relay(None)
    assert await relay.open() is None
    nobody = Replica(live.run, new_state).receive
    await relay.follow(live.run, "process.x", nobody)
    await relay.ask_to_stop("process.x", live.run, "user")
    relay.unfollow(live.run, nobody)


async def test_its_channel_has_the_layers_own_prefix(layer):
    """channels-redis reads the channels of one prefix at a time, so two of them starve each other."""
    ours, theirs = await Relay(layer).open(), await layer.new_channel()
    assert ours.partition(".")[0] == theirs.partition(".")[0]


async def test_text_of_any_length_goes_in_frames_a_layer_can_carry(live, layer, monkeypatch):
    monkeypatch.setattr("openrouter_app.runs.relay.LARGEST", 10)
    relay, channel = Relay(layer), await reader_of(layer, live.run)
    await follow(relay, layer, live)
    for _ in range(4):
        live.emit(Text(0, "123456"))
    said = []
    while not said or said[-1].seq < 4:
        said.append(Frame(*await frame_of(layer, channel)))
    assert [(frame.after, frame.seq) for frame in said] == [(0, 2), (2, 4)]


async def test_f09_group_that_forgot_a_follower_is_joined_again_with_his_next_word(live, layer):
    here, there = Relay(layer), Relay(layer)
    replica = Replica(live.run, new_state)
    replica.read(3, 0, [])
    owner = await here.open()
    await there.follow(live.run, owner, replica.receive)
    await until(lambda: here.outbox_of(live) is not None)
    layer.groups.clear()  # as when the group's members expire
    live.emit(Text(0, "unheard "))
    await asyncio.sleep(0.1)
    assert replica.seq == 0
    await there.follow(live.run, owner, replica.receive)  # which a mirror says every PRESENCE_INTERVAL
    live.emit(Text(0, "heard"))
    await until(lambda: replica.needs_reading)
    replica.read(3, 0, [(0, 2, [Text(0, "unheard heard")])])
    assert (replica.state.text(), replica.needs_reading) == ("unheard heard", False)
