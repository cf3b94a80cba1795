"""The writer of the log: what a flush costs, what it survives, and what it finds in the rows."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError, connection
from django.db.models import F
from django.utils import timezone

from openrouter_app import runs
from openrouter_app.models import Owner, Run, RunEvent
from openrouter_app.runs import Start, leases
from openrouter_app.runs import writer as writer_module
from openrouter_app.runs.events import Text
from openrouter_app.runs.live import LiveRun
from openrouter_app.runs.log import encode
from openrouter_app.runs.writer import Writer
from openrouter_app.testing import Stall
from openrouter_app.testing.scripts import Gate
from tests.factories import make_chain, make_log, make_run
from tests.followers import follow_to_end, until
from tests.owning import log_of, owned, row_of, says
from tests.run_logs import new_state

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("provider")]
VISITOR = Owner.of_visitor(uuid4())
make = sync_to_async


@pytest.fixture
async def pair():
    async with owned() as both:
        yield both


async def start(chain="echo", **given):
    return await runs.start(Start(VISITOR, chain=chain, input=given or {"text": "hi"}))


# ---- what it writes ----


@pytest.mark.parametrize("is_renewal", [False, True])
async def test_statements_of_a_flush_do_not_depend_on_the_number_of_runs(monkeypatch, is_renewal):
    counts, fresh = [], writer_module._fresh

    def counted(function, *args):
        statements = []

        def count(execute, sql, params, many, context):
            statements.append(sql)
            return execute(sql, params, many, context)

        with connection.execute_wrapper(count):
            result = fresh(function, *args)
        counts.append(len(statements))
        return result

    monkeypatch.setattr(writer_module, "_fresh", counted)
    for number in (1, 7, 40):
        writer = Writer()
        writer._renewed = 0 if is_renewal else time.monotonic()
        for _ in range(number):
            row = await make(make_run)("running", owner_process=writer.process)
            live = LiveRun(row.uuid, row.pk, new_state())
            live.fence = row.fence
            live.emit(Text(0, "x"))
            writer._runs[live.pk] = live
        await writer.flush()
        await asyncio.wrap_future(writer._thread.submit(leases.close_connections))
    assert len(counts) == 3
    assert len(set(counts)) == 1
    assert await RunEvent.objects.acount() == 48


async def test_rows_of_the_log_tile_and_fold_to_what_was_said(provider):
    await make(make_chain)()
    gate = Gate()
    provider.reply(*"abcdefghij", gate, delay=0.02)
    run = await start()
    await says(run, "abcdefghij")
    live = runs.registry.find(run)
    await until(lambda: not live._unlogged)
    rows = await log_of(run)
    state, seq = new_state(), 0
    for after, to, events in rows:
        assert after == seq < to
        seq = to
        for event in events:
            state.apply(event)
    assert len(rows) > 2
    assert (state.parts(), seq) == (live.state.parts(), live.seq)
    gate.open()
    await runs.wait(run)
    assert await log_of(run) == []
    assert (await row_of(run)).output == "abcdefghij"


async def test_nothing_new_writes_nothing(pair):
    live, writer = pair
    live.emit(Text(0, "x"))
    for _ in range(3):
        await writer.flush()
    assert await log_of(live.run) == [(0, 1, [Text(0, "x")])]


async def test_log_written_before_is_gone_on_with(pair):
    _live, writer = pair
    row = await make(make_run)("running", owner_process="me")
    await make(make_log)(row, [Text(0, "a")])
    live = LiveRun(row.uuid, row.pk, new_state(), seq=1)
    live.fence = row.fence
    writer._runs[live.pk] = live
    live.emit(Text(0, "b"))
    await writer.flush()
    assert [entry[:2] for entry in await log_of(live.run)] == [(0, 1), (1, 2)]


# ---- a database that fails ----


async def test_database_that_fails_for_a_moment_loses_nothing(provider, monkeypatch):
    write, failures = leases.write, []

    def failing(batches, *args, **kwargs):
        if batches and len(failures) < 5:
            failures.append(batches)
            raise OperationalError("locked")
        return write(batches, *args, **kwargs)

    monkeypatch.setattr(leases, "write", failing)
    await make(make_chain)()
    gate = Gate()
    provider.reply(*"abcdefgh", gate, delay=0.02)
    run = await start()
    await until(lambda: len(failures) == 5)
    await says(run, "abcdefgh")
    live = runs.registry.find(run)
    async with asyncio.timeout(5):
        while not (rows := await log_of(run)) or rows[-1][1] < live.seq:  # noqa: ASYNC110 - the database says it
            await asyncio.sleep(0.01)
    assert [row[0] for row in rows] == [0, *(row[1] for row in rows[:-1])]
    assert "".join(event.delta for row in rows for event in row[2] if isinstance(event, Text)) == "abcdefgh"
    gate.open()
    view = await follow_to_end(VISITOR, run)
    assert (view.state["status"], (await row_of(run)).output) == ("done", "abcdefgh")


async def test_database_that_fails_too_long_fails_the_runs_with_a_sentence(provider, settings, monkeypatch):
    settings.OPENROUTER = {**settings.OPENROUTER, "DATABASE_PATIENCE": 0.2}

    def failing(*args, **kwargs):
        raise OperationalError("away")

    monkeypatch.setattr(leases, "write", failing)
    await make(make_chain)()
    for _ in range(2):
        provider.stall("Hel", seconds=60)
    for view in await asyncio.gather(*[follow_to_end(VISITOR, await start()) for _ in range(2)]):
        assert view.state["status"] == "failed"
        assert view.state["error"]["message"] == writer_module.not_stored()
        assert view.state["parts"][-1]["text"] == "Hel"
    rows = await make(lambda: list(Run.objects.all()))()
    assert {(row.status, row.error_message) for row in rows} == {("failed", writer_module.not_stored())}
    await until(lambda: not provider.active)
    await until(lambda: not runs.log_is_failing())


async def test_health_is_told_while_the_log_is_failing_and_no_longer(pair, monkeypatch):
    live, writer = pair
    write = leases.write
    monkeypatch.setitem(writer_module._writers, asyncio.get_running_loop(), writer)

    def failing(*args, **kwargs):
        raise OperationalError("away")

    live.emit(Text(0, "x"))
    monkeypatch.setattr(leases, "write", failing)
    await writer.flush()
    assert runs.log_is_failing()
    monkeypatch.setattr(leases, "write", write)
    await writer.flush()
    assert not runs.log_is_failing()


def refuse_poison(monkeypatch):
    """Texts with the word poison in them cannot be written."""

    def careful(events):
        if any("poison" in getattr(event, "delta", "") for event in events):
            raise ValueError("no database takes this")
        return encode(events)

    monkeypatch.setattr(leases, "encode", careful)


async def test_events_that_no_database_takes_fail_only_their_run(provider, monkeypatch):
    refuse_poison(monkeypatch)
    await make(make_chain)()
    gate = Gate()
    provider.reply("poison", Stall(60))
    bad = await start()
    await says(bad, "poison")
    provider.reply("good", gate, " too")
    good = await start()
    view = await follow_to_end(VISITOR, bad)
    assert (view.state["status"], view.state["error"]["message"]) == ("failed", writer_module.not_stored())
    gate.open()
    view = await follow_to_end(VISITOR, good)
    assert (view.state["status"], view.state["output"]) == ("done", "good too")


async def test_database_that_goes_while_the_poison_is_looked_for_costs_no_other_run(pair, monkeypatch):
    live, writer = pair
    refuse_poison(monkeypatch)
    row = await make(make_run)("running", owner_process="me")
    bad = LiveRun(row.uuid, row.pk, new_state())
    bad.fence = row.fence
    writer._runs = {bad.pk: bad, live.pk: live}
    live.emit(Text(0, "good"))
    bad.emit(Text(0, "poison"))
    write = leases.write

    def failing(batches, *args, **kwargs):
        if set(batches) == {live.pk}:
            raise OperationalError("away")
        return write(batches, *args, **kwargs)

    monkeypatch.setattr(leases, "write", failing)
    await writer.flush()
    assert (live.failure, live.has_moved) == (None, False)
    monkeypatch.setattr(leases, "write", write)
    await writer.flush()
    assert await log_of(live.run) == [(0, 1, [Text(0, "good")])]
    assert bad.failure == writer_module.not_stored()


async def test_flush_whose_waiter_is_cancelled_loses_nothing(pair, monkeypatch):
    live, writer = pair
    write = leases.write

    def slow(*args, **kwargs):
        time.sleep(0.1)
        return write(*args, **kwargs)

    monkeypatch.setattr(leases, "write", slow)
    live.emit(Text(0, "a"))
    busy = asyncio.create_task(writer.call(time.sleep, 0.1))  # the flush has to wait for the thread
    flushing = asyncio.create_task(writer.flush())
    await asyncio.sleep(0.02)
    flushing.cancel()
    with suppress(asyncio.CancelledError):
        await flushing
    await busy
    live.emit(Text(0, "b"))
    await writer.flush()
    assert await log_of(live.run) == [(0, 1, [Text(0, "a")]), (1, 2, [Text(0, "b")])]


async def test_flush_that_breaks_for_any_reason_is_not_the_last(provider, monkeypatch):
    look, broken = Writer._look, []

    def breaking(self, live, *args):
        if live.fence is not None and not broken:
            broken.append(live)
            raise ZeroDivisionError
        look(self, live, *args)

    monkeypatch.setattr(Writer, "_look", breaking)
    await make(make_chain)()
    provider.stall("Hel", seconds=60)
    run = await start()
    await until(lambda: broken)
    await Run.objects.aupdate(stop_requested_at=timezone.now())
    assert (await asyncio.wait_for(follow_to_end(VISITOR, run), 5)).state["status"] == "stopped"


# ---- what it finds in the rows ----


async def test_stop_in_the_row_alone_ends_a_silent_run_within_half_a_second(provider, settings):
    settings.OPENROUTER = {**settings.OPENROUTER, "FLUSH_INTERVAL": 0.25}
    await make(make_chain)()
    took = []
    while len(took) < 3 and not any(seconds < 0.5 for seconds in took):  # this machine may be busy
        provider.stall("Hel", seconds=60)
        run = await start()
        await says(run, "Hel")
        begun = time.monotonic()
        await Run.objects.filter(uuid=run).aupdate(stop_requested_at=timezone.now())
        view = await asyncio.wait_for(follow_to_end(VISITOR, run), 5)
        took.append(time.monotonic() - begun)
        assert view.state["status"] == (await row_of(run)).status == "stopped"
        assert view.state["parts"][-1]["text"] == "Hel"
    assert min(took) < 0.5
    await until(lambda: not provider.active)


async def test_run_whose_fence_was_raised_writes_no_more_and_its_followers_get_the_row(provider, settings):
    settings.OPENROUTER = {**settings.OPENROUTER, "FOLLOW_POLL": 0.05}
    await make(make_chain)()
    provider.stall("Hel", seconds=60)
    run = await start()
    await says(run, "Hel")
    live = runs.registry.find(run)
    await until(lambda: not live._unlogged)
    follower = asyncio.create_task(follow_to_end(VISITOR, run))
    await asyncio.sleep(0)
    await Run.objects.filter(uuid=run).aupdate(fence=F("fence") + 1, owner_process="process.other")
    await asyncio.wait_for(asyncio.wait([live.task]), 5)
    await until(lambda: not provider.active)
    assert not runs.is_executing(run)
    said = await log_of(run)
    live.emit(Text(1, "too late"))
    assert await log_of(run) == said
    row = await row_of(run)
    assert row.status == "running"
    ended = {"status": "done", "ended": timezone.now(), "parts": [{"type": "text", "text": "theirs"}]}
    assert await make(leases.end)(row.pk, row.fence, "running", {**ended, "output": "theirs", "last_seq": 9})
    view = await asyncio.wait_for(follower, 5)
    assert (view.state["parts"], view.state["output"], view.seq) == (ended["parts"], "theirs", 9)


async def test_run_whose_row_was_deleted_closes_its_stream(provider):
    await make(make_chain)()
    provider.stall("Hel", seconds=60)
    run = await start()
    await says(run, "Hel")
    live = runs.registry.find(run)
    await Run.objects.all().adelete()
    await asyncio.wait_for(asyncio.wait([live.task]), 5)
    await until(lambda: not provider.active)


async def test_write_whose_commit_was_not_heard_of_is_written_once(pair, monkeypatch):
    live, writer = pair
    write, lost = leases.write, iter([True])

    def unheard(*args, **kwargs):
        standing = write(*args, **kwargs)
        if next(lost, False):
            raise OperationalError("the server closed the connection")
        return standing

    monkeypatch.setattr(leases, "write", unheard)
    for text in ("a", "b", "c"):
        live.emit(Text(0, text))
        await writer.flush()
    assert live.failure is None
    assert [(after, seq) for after, seq, _ in await log_of(live.run)] == [(0, 2), (2, 3)]
