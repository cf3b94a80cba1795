"""How many runs there may be: places in a process and their queue, runs of an owner and of a chain."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone

from openrouter_app import runs
from openrouter_app.models import Owner, Run
from openrouter_app.runs import Refused, Start
from openrouter_app.runs.slots import NoPlace, Slots
from openrouter_app.testing.scripts import Gate
from tests.factories import make_chain, make_run, make_user
from tests.followers import follow_to_end, until
from tests.owning import row_of, says

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("provider")]
make = sync_to_async


@pytest.fixture
def visitor():
    return Owner.of_visitor(uuid4())


def limit(settings, **limits):
    settings.OPENROUTER = {**settings.OPENROUTER, **limits}


async def start(owner, text="hi", chain="echo", **fields):
    return await runs.start(Start(owner, chain=chain, input={"text": text}, **fields))


async def refusal(owner, **fields):
    """The refusal of a start, which leaves nothing behind."""
    before = await Run.objects.acount()
    with pytest.raises(Refused) as caught:
        await start(owner, **fields)
    assert await Run.objects.acount() == before
    assert caught.value.message.endswith(".")
    return caught.value


async def one_running(provider, visitor):
    """A run that has the only place, and what lets it end."""
    await make(make_chain)()
    gate = Gate()
    provider.reply("first", gate)
    run = await start(visitor, "first")
    await says(run, "first")
    return run, gate


# ---- places in a process ----


async def test_runs_beyond_max_runs_wait_and_go_on_in_their_order(provider, settings, visitor):
    limit(settings, MAX_RUNS=1)
    _first, gate = await one_running(provider, visitor)
    waiting = [await start(visitor, text) for text in ("a", "b", "c")]
    for text in ("a", "b", "c"):
        provider.reply(text)
    assert [(await row_of(run)).status for run in waiting] == ["queued"] * 3
    assert len(provider.requests) == 1
    gate.open()
    for run in waiting:
        await runs.wait(run)
        assert (await row_of(run)).status == "done"
    asked = [request.json["messages"][0]["content"] for request in provider.requests]
    assert asked == ["first", "a", "b", "c"]


async def test_no_more_than_max_runs_ask_the_provider_at_a_time(provider, settings, visitor):
    limit(settings, MAX_RUNS=2)
    await make(make_chain)()
    gate = Gate()
    for _ in range(4):
        provider.reply("a", gate)
    ids = [await start(visitor) for _ in range(4)]
    await until(lambda: len(provider.requests) == 2)
    await asyncio.sleep(0.1)
    assert len(provider.requests) == 2
    assert await Run.objects.filter(status="running").acount() == 2
    gate.open()
    for run in ids:
        await runs.wait(run)
    assert await Run.objects.filter(status="done").acount() == 4


async def test_run_that_waits_too_long_for_its_turn_fails_as_busy(provider, settings, visitor):
    limit(settings, MAX_RUNS=1, QUEUE_TIMEOUT=0.1)
    first, gate = await one_running(provider, visitor)
    view = await asyncio.wait_for(follow_to_end(visitor, await start(visitor)), 5)
    assert (view.state["status"], view.state["error"]["code"]) == ("failed", "busy")
    assert view.state["error"]["retryable"] is True
    assert len(provider.requests) == 1
    gate.open()
    await runs.wait(first)
    assert (await row_of(first)).status == "done"


async def test_start_beyond_the_queue_is_refused_as_busy(provider, settings, visitor):
    limit(settings, MAX_RUNS=1, MAX_QUEUED_RUNS=1, QUEUE_TIMEOUT=7)
    _first, gate = await one_running(provider, visitor)
    provider.reply("second")
    second = await start(visitor)
    error = await refusal(visitor)
    assert (error.code, error.details) == ("busy", {"retry_after": 7})
    gate.open()
    await runs.wait(second)
    provider.reply("third")
    await runs.wait(await start(visitor))


async def test_starts_at_once_never_overfill_the_queue(provider, settings, visitor):
    limit(settings, MAX_RUNS=1, MAX_QUEUED_RUNS=2)
    await make(make_chain)()
    for _ in range(3):
        provider.reply("x")
    came = await asyncio.gather(*[start(visitor) for _ in range(8)], return_exceptions=True)
    assert sorted(getattr(one, "code", "run") for one in came) == ["busy"] * 5 + ["run"] * 3
    for run in came:
        if not isinstance(run, Refused):
            await runs.wait(run)


async def test_refused_starts_take_no_place_in_the_queue(provider, settings, visitor):
    limit(settings, MAX_RUNS=1, MAX_QUEUED_RUNS=0)
    await make(make_chain)()
    for _ in range(3):
        assert (await refusal(visitor, chain="nothing")).code == "not_found"
    provider.reply("x")
    await runs.wait(await start(visitor))


# ---- stops while they wait ----


async def test_stop_of_a_queued_run_ends_it_unasked_and_the_next_gets_its_turn(provider, settings, visitor):
    limit(settings, MAX_RUNS=1)
    _first, gate = await one_running(provider, visitor)
    second, third = await start(visitor, "second"), await start(visitor, "third")
    follower = asyncio.create_task(follow_to_end(visitor, second))
    await runs.stop(visitor, second)
    assert (await asyncio.wait_for(follower, 5)).state["status"] == "stopped"
    assert (await row_of(second)).status == "stopped"
    provider.reply("x")
    gate.open()
    await runs.wait(third)
    asked = [request.json["messages"][0]["content"] for request in provider.requests]
    assert asked == ["first", "third"]


async def test_stop_in_the_row_of_a_queued_run_is_seen_too(provider, settings, visitor):
    limit(settings, MAX_RUNS=1)
    first, _gate = await one_running(provider, visitor)
    second = await start(visitor)
    await Run.objects.filter(uuid=second).aupdate(stop_requested_at=timezone.now())
    await asyncio.wait_for(runs.wait(second), 5)
    assert (await row_of(second)).status == "stopped"
    assert (await row_of(first)).status == "running"


@pytest.mark.parametrize("status", ["queued", "waiting"])
async def test_stop_of_a_run_that_nobody_executes_ends_it_at_once(visitor, status):
    run = await make(make_run)(status, visitor=visitor.visitor)
    await runs.stop(visitor, run.uuid)
    row = await row_of(run.uuid)
    assert (row.status, row.reason) == ("stopped", "user")
    assert row.stop_requested_at is not None


async def test_queued_run_that_somebody_else_ended_is_never_asked(provider, settings, visitor):
    limit(settings, MAX_RUNS=1)
    first, gate = await one_running(provider, visitor)
    second = await start(visitor)
    fields = {"status": "stopped", "ended": timezone.now()}
    await Run.objects.filter(uuid=second).aupdate(**fields)
    view = await asyncio.wait_for(follow_to_end(visitor, second), 5)
    assert view.state["status"] == "stopped"
    gate.open()
    await runs.wait(first)
    assert len(provider.requests) == 1


# ---- runs of an owner and of a chain ----


async def test_owner_at_his_limit_is_refused_and_others_are_not(provider, settings, visitor):
    limit(settings, MAX_RUNS_PER_USER=1)
    first, gate = await one_running(provider, visitor)
    error = await refusal(visitor)
    assert (error.code, set(error.details)) == ("limit", {"retry_after"})
    assert error.details["retry_after"] > 0
    for other in (Owner.of_visitor(uuid4()), Owner.of_user(await make(make_user)())):
        provider.reply("x")
        await runs.wait(await start(other))
    gate.open()
    await runs.wait(first)
    provider.reply("x")
    await runs.wait(await start(visitor))


async def test_runs_in_other_processes_count(settings, visitor):
    limit(settings, MAX_RUNS_PER_USER=2)
    await make(make_chain)()
    for status in ("running", "queued"):
        await make(make_run)(status, visitor=visitor.visitor)
    assert (await refusal(visitor)).code == "limit"


async def test_chain_at_its_limit_is_busy_for_everybody_and_other_chains_are_not(provider, settings, visitor):
    limit(settings, MAX_RUNS_PER_CHAIN=1)
    await make(make_chain)("other")
    _first, _gate = await one_running(provider, visitor)
    error = await refusal(Owner.of_visitor(uuid4()))
    assert (error.code, set(error.details)) == ("limit", {"retry_after"})
    provider.reply("x")
    await runs.wait(await start(visitor, chain="other"))


async def test_the_system_itself_has_no_limit(provider, settings, visitor):
    limit(settings, MAX_RUNS_PER_CHAIN=1, MAX_RUNS_PER_USER=1)
    await one_running(provider, visitor)
    for _ in range(2):
        provider.reply("x")
        await runs.wait(await start(Owner.system()))


async def test_no_limit_where_it_is_nought(provider, settings, visitor):
    limit(settings, MAX_RUNS_PER_CHAIN=0, MAX_RUNS_PER_USER=0)
    for _ in range(25):
        await make(make_run)("queued", visitor=visitor.visitor)
    await make(make_chain)()
    provider.reply("x")
    await runs.wait(await start(visitor))


async def test_start_that_is_said_again_at_the_limit_answers_with_the_run_of_then(
    provider, settings, visitor
):
    limit(settings, MAX_RUNS_PER_USER=1)
    await make(make_chain)()
    gate = Gate()
    provider.reply("x", gate)
    run = await start(visitor, client_id="k1")
    assert await start(visitor, client_id="k1") == run
    assert (await refusal(visitor, client_id="k2")).code == "limit"
    gate.open()
    await runs.wait(run)


async def test_of_many_starts_at_once_as_many_are_accepted_as_there_may_be(provider, settings, visitor):
    limit(settings, MAX_RUNS_PER_USER=2)
    await make(make_chain)()
    gate = Gate()
    for _ in range(2):
        provider.reply("x", gate)
    came = await asyncio.gather(*[start(visitor) for _ in range(6)], return_exceptions=True)
    assert sorted(getattr(one, "code", "run") for one in came) == ["limit"] * 4 + ["run"] * 2
    await until(lambda: len(provider.requests) == 2)
    gate.open()


# ---- places, alone ----


async def test_turn_of_who_goes_in_that_very_moment_is_the_next_ones(settings):
    limit(settings, MAX_RUNS=1)
    places, entered = Slots(), []

    async def take(name):
        async with places.place():
            entered.append(name)

    async with places.place():
        waiting = [asyncio.create_task(take(name)) for name in "abc"]
        await asyncio.sleep(0)
        waiting[0].cancel()  # and the place is given back before it knows
    with suppress(asyncio.CancelledError):
        await waiting[0]
    await asyncio.wait_for(asyncio.gather(*waiting[1:]), 5)
    assert entered == ["b", "c"]
    await asyncio.wait_for(take("d"), 5)


async def test_turn_that_comes_to_who_is_cancelled_with_it_is_the_next_ones(settings):
    limit(settings, MAX_RUNS=1)
    places, entered = Slots(), []

    async def take(name):
        async with places.place():
            entered.append(name)

    async with places.place():
        waiting = [asyncio.create_task(take(name)) for name in "ab"]
        await asyncio.sleep(0)
    waiting[0].cancel()  # it has the place, and has not heard yet
    await asyncio.wait(waiting, timeout=5)
    assert entered == ["b"]
    await asyncio.wait_for(take("c"), 5)


async def test_who_waited_too_long_leaves_no_trace_in_the_queue(settings):
    limit(settings, MAX_RUNS=1, MAX_QUEUED_RUNS=1, QUEUE_TIMEOUT=0.02)
    places = Slots()
    async with places.place():
        for _ in range(3):
            places.promise()
            places.release_promise()
            with pytest.raises(NoPlace):
                async with places.place():
                    pass
