"""A server's start and end: runs of lost processes are found, those of this one get their time."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async

from openrouter_app import runs
from openrouter_app.lifespan import lifespan_application
from openrouter_app.models import Owner, Run
from openrouter_app.runs import Refused, Start, starting, tending
from openrouter_app.runs.events import Started, StepStarted, Text
from openrouter_app.runs.leases import database_time
from openrouter_app.testing.scripts import Gate, Stall
from tests.factories import make_chain, make_log, make_run
from tests.followers import follow_to_end, until
from tests.owning import row_of, says
from tests.sockets import connected, socket

pytestmark = pytest.mark.django_db(transaction=True)
VISITOR = Owner.of_visitor(uuid4())
RESTART = 1012
make = sync_to_async


@pytest.fixture(autouse=True)
async def provider(provider, settings):
    settings.OPENROUTER = {**settings.OPENROUTER, "DRAIN_TIMEOUT": 0.2, "REAP_INTERVAL": 0.05}
    yield provider
    runs.reopen()


class Server:
    """What a server tells the application, and hears from it."""

    def __init__(self) -> None:
        self.told = asyncio.Queue()
        self.heard = asyncio.Queue()
        self.task = asyncio.create_task(
            lifespan_application({"type": "lifespan"}, self.told.get, self.heard.put)
        )

    async def say(self, event):
        self.told.put_nowait({"type": f"lifespan.{event}"})
        answer = await asyncio.wait_for(self.heard.get(), 10)
        assert answer == {"type": f"lifespan.{event}.complete"}


@asynccontextmanager
async def served():
    """A server that has started; its end is said when the block is left."""
    server = Server()
    await server.say("startup")
    yield server
    await server.say("shutdown")
    await asyncio.wait_for(server.task, 5)


async def start(text="hi"):
    return await runs.start(Start(VISITOR, chain="echo", input={"text": text}))


async def lost(**fields):
    """A run whose process is gone."""
    run = await make(make_run)("running", lease_until=database_time(-1), **fields)
    await make(make_log)(run, [Started("elsewhere", 1), StepStarted(0), Text(1, "Hel")])
    return run.uuid


async def has_ended(run):
    async with asyncio.timeout(5):
        while not (row := await row_of(run)).is_final:  # noqa: ASYNC110 - another process may end it
            await asyncio.sleep(0.01)
    return row


# ---- the start ----


async def test_runs_that_an_earlier_process_left_are_ended_at_the_start(settings):
    settings.OPENROUTER = {**settings.OPENROUTER, "REAP_INTERVAL": 60}
    run = await lost()
    async with served():
        row = await has_ended(run)
    assert (row.status, row.parts[-1]["text"]) == ("interrupted", "Hel")


async def test_runs_that_are_lost_later_are_found_too():
    async with served():
        await has_ended(await lost())
        await has_ended(await lost())


async def test_reaper_goes_on_after_a_look_that_failed(monkeypatch, caplog):
    reap, failures = tending.reap, []

    def failing():
        if not failures:
            failures.append("away")
            raise OSError("away")
        return reap()

    monkeypatch.setattr(tending, "reap", failing)
    run = await lost()
    async with served():
        await has_ended(run)
    assert failures


async def test_reaper_ends_with_the_server():
    async with served():
        pass
    assert "openrouter reaper" not in {task.get_name() for task in asyncio.all_tasks()}


# ---- the end ----


async def test_runs_end_by_themselves_where_the_drain_gives_them_the_time(provider, settings):
    settings.OPENROUTER = {**settings.OPENROUTER, "DRAIN_TIMEOUT": 10}
    await make(make_chain)()
    gate = Gate()
    provider.reply("Hel", gate, "lo")
    async with served():
        run = await start()
        await says(run, "Hel")
        follower = asyncio.create_task(follow_to_end(VISITOR, run))
        asyncio.get_running_loop().call_later(0.1, gate.open)
    row = await row_of(run)
    assert (row.status, row.output) == ("done", "Hello")
    assert (await asyncio.wait_for(follower, 5)).state["output"] == "Hello"


async def test_runs_that_outlast_the_drain_are_interrupted_and_keep_their_text(provider):
    await make(make_chain)()
    provider.stall("Hel", seconds=60)
    async with served():
        run = await start()
        await says(run, "Hel")
        follower = asyncio.create_task(follow_to_end(VISITOR, run))
        begun = time.monotonic()
    assert time.monotonic() - begun > 0.2
    row = await row_of(run)
    assert (row.status, row.parts[-1]["text"], row.retryable) == ("interrupted", "Hel", True)
    assert row.error_message.endswith(".")
    assert (await asyncio.wait_for(follower, 5)).state["parts"] == row.parts
    await until(lambda: not provider.active)


async def test_runs_that_still_wait_for_a_place_are_interrupted_too(provider, settings):
    settings.OPENROUTER = {**settings.OPENROUTER, "MAX_RUNS": 1}
    await make(make_chain)()
    provider.stall("Hel", seconds=60)
    async with served():
        running = await start()
        await says(running, "Hel")
        queued = await start()
    assert {(await row_of(run)).status for run in (running, queued)} == {"interrupted"}
    assert len(provider.requests) == 1


@pytest.mark.parametrize(("timeout", "status"), [(20, "done"), (0.1, "interrupted")])
async def test_run_whose_row_is_being_made_when_the_drain_begins_is_not_left_behind(
    provider, monkeypatch, settings, timeout, status
):
    settings.OPENROUTER = {**settings.OPENROUTER, "DRAIN_TIMEOUT": timeout}
    prepare = starting.prepare

    def slow(*args):
        time.sleep(0.15)
        return prepare(*args)

    monkeypatch.setattr(runs, "prepare", slow)
    await make(make_chain)()
    provider.reply(Stall(0.3), "x")
    async with served():
        starting_it = asyncio.create_task(start())
        await asyncio.sleep(0.02)
    assert (await row_of(await starting_it)).status == status
    provider.clear()


async def test_end_without_runs_waits_for_nothing(settings):
    settings.OPENROUTER = {**settings.OPENROUTER, "DRAIN_TIMEOUT": 30}
    async with served():
        begun = time.monotonic()
    assert time.monotonic() - begun < 5


async def test_server_ends_even_where_the_drain_breaks(monkeypatch, caplog):
    async def broken():
        raise ZeroDivisionError

    monkeypatch.setattr(runs, "drain", broken)
    async with served():
        pass
    assert "could not be ended well" in caplog.text


# ---- new runs while it drains ----


async def test_draining_process_takes_no_run_until_it_is_started_anew(provider):
    await make(make_chain)()
    async with served():
        pass
    with pytest.raises(Refused) as caught:
        await start()
    assert (caught.value.code, set(caught.value.details)) == ("busy", {"retry_after"})
    assert not await Run.objects.aexists()
    provider.reply("x")
    async with served():
        await runs.wait(await start())
    assert (await Run.objects.aget()).status == "done"


async def test_start_on_a_draining_socket_closes_it_and_is_not_answered():
    await make(make_chain)()
    async with connected() as sock:
        await runs.drain()
        await sock.send_frame("run.start", id="k1", chain="echo", input={"text": "hi"})
        assert await sock.receive_output(5) == {"type": "websocket.close", "code": RESTART}
    assert not await Run.objects.aexists()


async def test_socket_that_comes_while_it_drains_is_closed_without_a_word():
    await runs.drain()
    sock = socket()
    assert (await sock.connect())[0]
    assert await sock.receive_output(5) == {"type": "websocket.close", "code": RESTART}
    await sock.disconnect()


async def test_page_follows_its_run_to_the_end_while_the_process_drains(provider, settings):
    settings.OPENROUTER = {**settings.OPENROUTER, "DRAIN_TIMEOUT": 10}
    await make(make_chain)()
    gate = Gate()
    provider.reply("Hel", gate, "lo")
    async with connected() as sock:
        await sock.send_frame("run.start", id="k1", chain="echo", input={"text": "hi"})
        run = (await sock.until("run.accepted"))["run"]
        await says(run, "Hel")
        draining = asyncio.create_task(runs.drain())
        await asyncio.sleep(0)
        gate.open()
        assert (await sock.watch(run)).state["output"] == "Hello"
        await asyncio.wait_for(draining, 5)
