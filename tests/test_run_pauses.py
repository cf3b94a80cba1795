"""What happens at once while a run is put down, decided on and taken up; and commits whose answer is lost."""

from __future__ import annotations

import asyncio
import threading
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group
from django.db import OperationalError, connection

from openrouter_app import runs
from openrouter_app.models import Conversation, Owner, Run, RunEvent, ToolCall
from openrouter_app.runs import Refused, acting, execution, mirrors, pausing, stopping
from openrouter_app.testing import ToolCallScript
from tests.acting import calls_in, make_acting_chain, make_group, start, told, waits
from tests.factories import make_chain, make_user
from tests.followers import follow_to_end, until
from tests.owning import row_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("provider")]
make = sync_to_async


@pytest.fixture
def owner():
    return Owner.of_visitor(uuid4())


@pytest.fixture
async def asks(provider, owner, handle):
    """A chain whose one call waits for its owner, and the answer after it."""
    handle(make_group)
    await make(make_acting_chain)(approval="owner")
    provider.call("make_group", {"name": "bears"}, id="c1")
    provider.reply("Made it.")


def after_first(monkeypatch, module, name, then):
    """Once this was called for the first time, ``then`` follows in the same thread; it may raise."""
    original, first = getattr(module, name), iter([True])

    def called(*args, **kwargs):
        result = original(*args, **kwargs)
        if next(first, False):
            then()
        return result

    monkeypatch.setattr(module, name, called)


def lost():
    raise OperationalError("the connection was lost while it was committed")


async def groups() -> list[str]:
    return [name async for name in Group.objects.order_by("name").values_list("name", flat=True)]


# ---- in that very moment ----


async def test_decision_between_the_commit_and_the_end_of_the_task_is_taken_up(owner, asks, monkeypatch):
    run = asyncio.get_running_loop().create_future()

    def decide():
        assert pausing.decide(owner, run.result(), "c1", approve=True)

    after_first(monkeypatch, pausing, "pause", decide)
    run.set_result(await start(owner))
    view = await asyncio.wait_for(follow_to_end(owner, run.result()), 10)
    assert view.state["output"] == "Made it."
    assert await groups() == ["bears"]


async def test_who_executes_a_run_waits_for_it_though_it_was_put_down_for_a_moment(owner, asks, monkeypatch):
    """As a worker does, whose loop ends with what it executes."""
    request = runs.Start(owner, chain="acting", input={"text": "hi"})
    run, _new = await runs.queue(request)
    after_first(monkeypatch, pausing, "pause", lambda: pausing.decide(owner, run, "c1", approve=True))
    await runs.execute(run)
    assert (await row_of(run)).status == "done"


async def test_who_executes_a_run_does_not_wait_for_the_person_it_waits_for(owner, asks):
    """A worker goes to its next task; a server takes the run up."""
    run, _new = await runs.queue(runs.Start(owner, chain="acting", input={"text": "hi"}))
    await asyncio.wait_for(runs.execute(run), 10)
    assert (await row_of(run)).status == "waiting"
    await runs.execute(run)  # the task comes again
    assert (await row_of(run)).status == "waiting"
    await runs.decide(owner, run, "c1", approve=True)
    assert (await asyncio.wait_for(follow_to_end(owner, run), 10)).state["status"] == "done"
    assert await groups() == ["bears"]


async def test_stop_between_the_commit_and_the_end_of_the_task_is_heard(provider, owner, asks, monkeypatch):
    run = asyncio.get_running_loop().create_future()
    after_first(monkeypatch, pausing, "pause", lambda: stopping._request(run.result(), "user"))
    run.set_result(await start(owner))
    view = await asyncio.wait_for(follow_to_end(owner, run.result()), 10)
    assert view.state["status"] == "stopped"
    assert (await ToolCall.objects.aget()).status == "cancelled"
    provider.clear()


async def test_everything_at_once_ends_in_one_state_with_one_effect_at_most(provider, owner, handle):
    handle(make_group)
    await make(make_acting_chain)(approval="owner")
    for number in range(12):
        provider.call("make_group", {"name": f"group {number}"}, id="c1")
        provider.reply("Fine.")
        run = await start(owner)
        await waits(run)
        at_once = [
            *(runs.decide(owner, run, "c1", approve=True) for _ in range(3)),
            *(runs.decide(owner, run, "c1", approve=False, reason="no") for _ in range(2)),
            *(execution.take_up(run) for _ in range(2)),
            make(pausing.expire)(),
            make(runs.reap)(),
            *([runs.stop(owner, run)] if number % 3 == 0 else []),
        ]
        results = await asyncio.gather(
            *at_once[number % len(at_once) :], *at_once[: number % len(at_once)], return_exceptions=True
        )
        failures = [result for result in results if isinstance(result, BaseException)]
        assert {getattr(failure, "code", failure) for failure in failures} <= {"decided"}
        view = await asyncio.wait_for(follow_to_end(owner, run), 10)
        row, call = await row_of(run), await ToolCall.objects.aget(run__uuid=run)
        assert view.state["parts"] == row.parts
        happened = await Group.objects.filter(name=f"group {number}").acount()
        assert happened == (call.status == "done"), call.status
        await until(lambda run=run: not runs.is_executing(run))
        provider.clear()
    assert not await RunEvent.objects.aexists()


# ---- commits whose answer is lost ----


async def test_pause_whose_answer_is_lost_waits_and_goes_on_once(provider, owner, asks, monkeypatch):
    after_first(monkeypatch, pausing, "pause", lost)
    run = await start(owner)
    await waits(run)
    await until(lambda: not runs.is_executing(run))
    await runs.decide(owner, run, "c1", approve=True)
    view = await follow_to_end(owner, run)
    assert view.state["output"] == "Made it."
    assert await groups() == ["bears"]
    assert len(provider.requests) == 2


async def test_decision_whose_answer_is_lost_counts_and_is_taken_up(owner, asks, monkeypatch):
    run = await start(owner)
    await waits(run)
    after_first(monkeypatch, pausing, "decide", lost)
    await runs.decide(owner, run, "c1", approve=True)
    view = await asyncio.wait_for(follow_to_end(owner, run), 10)
    assert view.state["output"] == "Made it."
    assert await groups() == ["bears"]


async def test_decision_said_again_is_taken_up_where_the_process_that_took_it_is_gone(owner, asks):
    run = await start(owner)
    await waits(run)
    await until(lambda: not runs.is_executing(run))
    assert await make(pausing.decide)(owner, run, "c1", approve=True)
    await runs.decide(owner, run, "c1", approve=True)
    assert (await asyncio.wait_for(follow_to_end(owner, run), 10)).state["status"] == "done"
    assert await groups() == ["bears"]


@pytest.mark.parametrize("approval", ["none", "owner"])
async def test_begin_of_a_call_whose_answer_is_lost_is_no_failure(
    provider, owner, handle, monkeypatch, approval
):
    handle(make_group)
    await make(make_acting_chain)(approval=approval)
    provider.call("make_group", {"name": "bears"}, id="c1")
    provider.reply("Made it.")
    after_first(monkeypatch, acting, "begin_call", lost)
    run = await start(owner)
    if approval == "owner":
        await waits(run)
        await runs.decide(owner, run, "c1", approve=True)
    view = await follow_to_end(owner, run)
    assert calls_in(view.state["parts"])[0]["status"] == "done"
    assert await groups() == ["bears"]
    assert (await ToolCall.objects.aget()).status == "done"


async def test_handlers_commit_whose_answer_is_lost_counts_as_what_it_was(
    provider, owner, handle, monkeypatch
):
    handle(make_group)
    await make(make_acting_chain)()
    provider.call("make_group", {"name": "bears"})
    provider.reply("Made it.")
    after_first(monkeypatch, acting.Acting, "_called", lost)
    view = await follow_to_end(owner, await start(owner))
    (part,) = calls_in(view.state["parts"])
    assert (part["status"], part["output"]) == ("done", {"made": "bears"})
    assert told(provider) == ['{"made":"bears"}']
    assert await groups() == ["bears"]


async def test_handler_whose_database_is_away_failed_and_changed_nothing(provider, owner, handle):
    def act(context, name):
        Group.objects.create(name=name)
        raise OperationalError("server closed the connection unexpectedly")

    handle(act)
    await make(make_acting_chain)()
    provider.call("make_group", {"name": "bears"})
    provider.reply("Sorry.")
    view = await follow_to_end(owner, await start(owner))
    assert calls_in(view.state["parts"])[0]["error"] == "The tool failed."
    assert (await ToolCall.objects.aget()).status == "failed"
    assert await groups() == []


async def test_call_that_was_done_when_the_answers_time_was_over_is_shown_as_done(
    provider, owner, handle, monkeypatch, settings
):
    settings.OPENROUTER = {**settings.OPENROUTER, "TOTAL_TIMEOUT": 2.0}
    original = acting.run_in_thread

    async def slow_to_hear(*args):
        result = await original(*args)
        await asyncio.sleep(60)
        return result

    monkeypatch.setattr(acting, "run_in_thread", slow_to_hear)
    handle(make_group)
    await make(make_acting_chain)()
    provider.call("make_group", {"name": "bears"})
    view = await asyncio.wait_for(follow_to_end(owner, await start(owner)), 20)
    assert view.state["error"]["code"] == "timeout"
    (part,) = calls_in(view.state["parts"])
    assert (part["status"], part["output"]) == ("done", {"made": "bears"})
    assert ((await ToolCall.objects.aget()).status, await groups()) == ("done", ["bears"])


async def test_async_handlers_result_whose_commit_is_lost_is_stored_once(
    provider, owner, handle, monkeypatch
):
    called = []

    async def act(context, name):
        called.append(name)
        return name

    handle(act)
    await make(make_acting_chain)()
    provider.call("make_group", {"name": "bears"})
    provider.reply("Made it.")
    after_first(monkeypatch, acting, "store", lost)
    view = await follow_to_end(owner, await start(owner))
    assert calls_in(view.state["parts"])[0]["output"] == "bears"
    assert told(provider) == ["bears"]
    assert called == ["bears"]


# ---- what goes on from where it was put down ----


@pytest.mark.parametrize("change", ["no json", "another version", "not waiting"])
async def test_state_that_cannot_be_read_ends_the_run_and_runs_nothing(provider, owner, asks, change):
    run = await start(owner)
    await waits(run)
    await until(lambda: not runs.is_executing(run))
    row = await row_of(run)
    row.private["loop"] = {
        "no json": "{",
        "another version": '{"messages": [{"role": "none of ours"}], "reason": "approval"}',
        "not waiting": row.private["loop"].replace('"reason":"approval"', '"reason":"finished"'),
    }[change]
    await row.asave()
    await runs.decide(owner, run, "c1", approve=True)
    view = await asyncio.wait_for(follow_to_end(owner, run), 10)
    error = view.state["error"]
    assert (view.state["status"], error["retryable"]) == ("failed", True)
    assert error["message"] == "This answer cannot be gone on with. Ask for a new one."
    assert (await ToolCall.objects.aget()).status == "cancelled"
    assert await groups() == []
    provider.clear()


async def test_call_whose_id_no_database_takes_is_decided_like_any_other(provider, owner, handle):
    handle(make_group)
    await make(make_acting_chain)(approval="owner")
    provider.call("make_group", {"name": "bears"}, id="c\x00\x1b[31m\u202e1")
    provider.reply("Made it.")
    run = await start(owner)
    await waits(run)
    call = await ToolCall.objects.aget()
    assert call.call.isprintable()
    await runs.decide(owner, run, call.call, approve=True)
    assert (await asyncio.wait_for(follow_to_end(owner, run), 10)).state["output"] == "Made it."


async def test_process_that_leaves_takes_up_nothing_and_the_decision_is_kept(owner, asks):
    run = await start(owner)
    await waits(run)
    await until(lambda: not runs.is_executing(run))
    await runs.drain(0)
    try:
        assert (await row_of(run)).status == "waiting", "what waits is nobody's to drain"
        await runs.decide(owner, run, "c1", approve=True)
        assert (await row_of(run)).status == "queued"
        assert not runs.is_executing(run)
    finally:
        runs.reopen()
    tending = asyncio.create_task(runs.reap_for_ever())
    view = await asyncio.wait_for(follow_to_end(owner, run), 10)
    tending.cancel()
    assert view.state["status"] == "done"
    assert await groups() == ["bears"]


# ---- handlers that misbehave ----


async def test_timeout_of_the_handlers_own_is_a_failure_like_any_other(provider, owner, handle, caplog):
    def act(context, name):
        raise TimeoutError("of a socket of its own")

    handle(act)
    await make(make_acting_chain)()
    provider.call("make_group", {"name": "bears"})
    provider.reply("Sorry.")
    view = await follow_to_end(owner, await start(owner))
    assert calls_in(view.state["parts"])[0]["error"] == "The tool failed."


async def test_handler_that_is_cancelled_by_itself_ends_no_run(provider, owner, handle, caplog):
    async def act(context, name):
        raise asyncio.CancelledError

    handle(act)
    await make(make_acting_chain)()
    provider.call("make_group", {"name": "bears"})
    provider.reply("Sorry.")
    view = await follow_to_end(owner, await start(owner))
    assert (view.state["status"], calls_in(view.state["parts"])[0]["status"]) == ("done", "failed")


@pytest.mark.parametrize("ended_by", ["its time limit", "a stop"])
async def test_f40_handler_that_never_returns_holds_up_nobody(provider, owner, handle, ended_by):
    """Not even on SQLite, whose one writer it is."""
    entered, released, then, threads = threading.Event(), threading.Event(), [], []

    def act(context, name):
        threads.append(threading.current_thread())
        Group.objects.create(name=name)
        entered.set()
        released.wait(60)
        try:
            Group.objects.create(name="late")
        except Exception as error:
            then.append(error)
        Group.objects.get_or_create(name="later")

    handle(act)
    await make(make_acting_chain)(timeout=1 if ended_by == "its time limit" else 30)
    await make(make_chain)()
    provider.call("make_group", {"name": "bears"})
    run = await start(owner)
    await until(entered.is_set)
    if ended_by == "a stop":
        await runs.stop(owner, run)
    provider.reply("Sorry.")
    if ended_by == "a stop":
        assert (await asyncio.wait_for(follow_to_end(owner, run), 10)).state["status"] == "stopped"
        await runs.start(runs.Start(owner, "echo", {"text": "x"}))
    view = await asyncio.wait_for(follow_to_end(owner, run), 10)
    (part,) = calls_in(view.state["parts"])
    error = "The tool took longer than 1 seconds."
    assert (part["status"], part.get("error")) in (("failed", error), ("cancelled", None))
    await Group.objects.acreate(name="of somebody else")
    released.set()
    await until(lambda: not threads[0].is_alive())
    assert await groups() == ["of somebody else"]
    assert then or connection.vendor != "sqlite", "it could not write any more"
    await until(lambda: not runs.registry.all_executing())


async def test_async_handler_is_cancelled_by_a_stop(provider, owner, handle):
    entered, left = asyncio.Event(), []

    async def act(context, name):
        entered.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            left.append("cancelled")
            raise

    handle(act)
    await make(make_acting_chain)()
    provider.call("make_group", {"name": "bears"})
    run = await start(owner)
    await asyncio.wait_for(entered.wait(), 10)
    await runs.stop(owner, run)
    view = await asyncio.wait_for(follow_to_end(owner, run), 10)
    assert view.state["status"] == "stopped"
    assert left == ["cancelled"]
    assert (await ToolCall.objects.aget()).status == "interrupted"


async def test_error_as_long_as_a_book_is_cut(provider, owner, handle):
    def act(context, name):
        raise acting.ToolError("no " * 10_000)

    handle(act)
    await make(make_acting_chain)()
    provider.call("make_group", {"name": "bears"})
    provider.reply("Sorry.")
    view = await follow_to_end(owner, await start(owner))
    assert len(calls_in(view.state["parts"])[0]["error"]) == acting.MOST_SHOWN


# ---- whose rows vanish ----


def mirrored(run) -> mirrors.Mirror | None:
    """What is known here of a run that this process follows and does not execute."""
    return mirrors._mirrors.get(asyncio.get_running_loop(), {}).get(run)


async def refused_at_the_end(owner, run) -> str:
    with pytest.raises(Refused) as refused:
        await asyncio.wait_for(follow_to_end(owner, run), 10)
    return refused.value.code


@pytest.mark.parametrize("gone", ["user", "conversation"])
async def test_run_whose_rows_vanish_while_it_waits_is_gone_without_a_word(
    provider, handle, gone, caplog, settings
):
    settings.OPENROUTER = {**settings.OPENROUTER, "FOLLOW_POLL": 0.05}
    handle(make_group)
    user = await make(make_user)()
    owner = Owner.of_user(user)
    await make(make_acting_chain)(approval="owner")
    provider.call("make_group", {"name": "bears"}, id="c1")
    run = await start(owner, conversation="new")
    await waits(run)
    await until(lambda: not runs.is_executing(run))
    following = asyncio.create_task(refused_at_the_end(owner, run))
    await until(lambda: (mirror := mirrored(run)) is not None and mirror.is_read.is_set())
    await (user.adelete() if gone == "user" else Conversation.objects.all().adelete())
    assert await following == "not_found"
    with pytest.raises(Refused) as refused:
        await runs.decide(owner, run, "c1", approve=True)
    assert refused.value.code == "not_found"
    await execution.take_up(run)
    assert await make(pausing.expire)() == await make(pausing.woken)() == []
    assert not await Run.objects.aexists()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.parametrize("gone", ["user", "conversation"])
@pytest.mark.parametrize("is_async", [False, True])
async def test_run_whose_rows_vanish_in_a_handler_changes_nothing(
    provider, handle, gone, is_async, caplog, settings
):
    settings.OPENROUTER = {**settings.OPENROUTER, "FOLLOW_POLL": 0.05}
    entered, released = threading.Event(), threading.Event()

    def act(context, name):
        entered.set()
        released.wait(30)
        Group.objects.create(name=name)

    async def act_async(context, name):
        entered.set()
        await asyncio.to_thread(released.wait, 30)

    handle(act_async if is_async else act, atomic=False)
    user = await make(make_user)()
    owner = Owner.of_user(user)
    await make(make_acting_chain)()
    provider.call("make_group", {"name": "bears"})
    run = await start(owner, conversation="new")
    following = asyncio.create_task(refused_at_the_end(owner, run))
    await until(entered.is_set)
    await (user.adelete() if gone == "user" else Conversation.objects.all().adelete())
    await until(lambda: not runs.is_executing(run))
    released.set()
    assert await following == "not_found"
    assert not await ToolCall.objects.aexists()
    assert len(provider.requests) == 1
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_two_decisions_of_two_calls_at_once_run_each_once(provider, owner, handle):
    handle(make_group)
    await make(make_acting_chain)(approval="owner", parallel=True)
    provider.reply(*(ToolCallScript("make_group", {"name": name}, name) for name in "abc"))
    provider.reply("Made them.")
    run = await start(owner)
    await waits(run)
    await asyncio.gather(*(runs.decide(owner, run, name, approve=True) for name in "abc"))
    view = await asyncio.wait_for(follow_to_end(owner, run), 10)
    assert view.state["output"] == "Made them."
    assert await groups() == ["a", "b", "c"]
    assert len(provider.requests) == 2
