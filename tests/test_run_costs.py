"""What runs have cost: their model calls as rows, the estimate where nobody said, and the ledger."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone

from openrouter_app import runs, tool_handlers
from openrouter_app.engine.messages import HumanMessage, ImagePart, ReplyFinished, TextPart, Usage
from openrouter_app.models import CatalogueModel, ModelCall, Owner, Run
from openrouter_app.runs import Start, costs, leases
from openrouter_app.runs.events import StepStarted, Text
from openrouter_app.runs.reaping import reap
from openrouter_app.runs.rows import state_of_row
from openrouter_app.runs.starting import prepare
from openrouter_app.testing import Gate, StreamError, ToolCallScript
from openrouter_app.tool_handlers import Handler
from tests.acting import make_acting_chain, make_group, waits
from tests.factories import make_chain, make_log, make_run
from tests.followers import follow_to_end, parts_of, until
from tests.owning import row_of
from tests.pots import assert_sums_agree, make_pot, make_prices, settled

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("noon")]
make = sync_to_async
USD = Decimal


@pytest.fixture
def owner():
    return Owner.of_visitor(uuid4())


@pytest.fixture
def handle(monkeypatch):
    monkeypatch.setitem(tool_handlers._handlers, "act", Handler("act", make_group))


async def start(owner, chain="echo", **fields):
    return await runs.start(Start(owner, chain=chain, input={"text": "hi"}, **fields))


async def calls_of(run) -> list[ModelCall]:
    return [call async for call in ModelCall.objects.filter(run__uuid=run).order_by("number")]


async def said(run, text):
    await until(lambda: any(text in part.get("text", "") for part in parts_of(run)))


# ---- rows ----


async def test_model_call_is_a_row_with_what_was_said_of_it(provider, owner):
    await make(make_chain)()
    provider.reply("Hi", usage={"cost": 0.25}, model="a/b-2025", provider="Acme")
    run = await start(owner)
    await follow_to_end(owner, run)
    (call,), row = await calls_of(run), await row_of(run)
    assert (call.number, call.requested, call.model, call.provider) == (1, "a/b", "a/b-2025", "Acme")
    assert (call.finish, call.native_finish, call.cost, call.key_hash) == ("stop", "stop", USD("0.25"), "")
    assert call.generation_id == row.generation_id == next(iter(provider.generations))
    assert call.started <= call.ended == call.settled_at
    assert call.ask_after is None
    assert (row.cost, row.cost_estimated, row.payer) == (USD("0.25"), False, "site")
    assert await make(settled)(run) == USD("0.25")


async def test_each_call_of_a_loop_is_a_row_and_the_run_costs_their_sum(provider, owner, handle):
    await make(make_acting_chain)()
    await make(make_pot)("site")
    provider.call("make_group", {"name": "bears"}, id="c1", usage={"cost": 0.5})
    provider.reply("Made it.", usage={"cost": 0.25})
    run = await start(owner, "acting")
    view = await follow_to_end(owner, run)
    row = await row_of(run)
    assert [(call.number, call.finish, call.cost) for call in await calls_of(run)] == [
        (1, "tool_calls", USD("0.5")),
        (2, "stop", USD("0.25")),
    ]
    assert row.cost == Decimal(view.state["usage"]["cost"]) == USD("0.75")
    assert await make(settled)(run) == USD("0.75")
    await make(assert_sums_agree)()


async def test_run_that_waits_has_paid_for_what_it_said_and_goes_on_counting(provider, owner, handle):
    await make(make_acting_chain)(approval="owner")
    await make(make_prices)()
    pot = await make(make_pot)("site", "10")
    provider.call("make_group", {"name": "bears"}, id="c1", usage={"cost": 0.5})
    provider.reply("Made it.", usage={"cost": 0.25})
    run = await start(owner, "acting")
    await waits(run)
    period = await pot.periods.aget()
    assert (period.spent, period.reserved) == (USD("0.5"), 0)
    assert [call.number for call in await calls_of(run)] == [1]
    await runs.decide(owner, run, "c1", approve=True)
    assert (await follow_to_end(owner, run)).state["usage"]["cost"] == "0.75"
    assert [call.number for call in await calls_of(run)] == [1, 2]
    await period.arefresh_from_db()
    assert (period.spent, period.reserved) == (USD("0.75"), 0)


async def test_server_that_tells_no_cost_has_none_and_is_not_asked_for_it(provider, owner):
    await make(make_chain)()
    provider.reply("Hi", usage={"cost": None})
    run = await start(owner)
    view = await follow_to_end(owner, run)
    (call,), row = await calls_of(run), await row_of(run)
    assert view.state["usage"]["cost"] is row.cost is call.cost is None
    assert (row.cost_estimated, call.ask_after) == (False, None)
    assert call.settled_at is not None


async def test_refused_request_has_no_call_and_costs_nothing(provider, owner):
    await make(make_chain)()
    await make(make_prices)()
    pot = await make(make_pot)("site", "10")
    provider.error("no_credit")
    run = await start(owner)
    assert (await follow_to_end(owner, run)).state["status"] == "failed"
    assert await calls_of(run) == []
    assert (await row_of(run)).cost is None
    period = await pot.periods.aget()
    assert (period.spent, period.reserved) == (0, 0)


# ---- estimates ----


async def test_stopped_answer_costs_about_its_prompt_and_what_was_said(provider, owner):
    await make(make_chain)()
    await make(make_prices)()
    gate = Gate()
    provider.reply("x" * 400, gate, "never")
    run = await start(owner)
    await said(run, "x")
    await runs.stop(owner, run)
    view = await follow_to_end(owner, run)
    gate.open()
    (call,), row = await calls_of(run), await row_of(run)
    assert call.completion_tokens == 100
    assert call.prompt_tokens > 5
    expected = call.prompt_tokens * USD("0.000001") + 100 * USD("0.000002")
    assert call.cost == row.cost == expected == await make(settled)(run)
    assert row.cost_estimated
    assert (call.settled_at, call.ask_after is not None) == (None, True)
    usage = view.state["usage"]
    assert (Decimal(usage["cost"]), usage["estimated"], usage["model"]) == (expected, True, "a/b")
    assert (await follow_to_end(owner, run)).state == view.state
    await make(assert_sums_agree)()


async def test_short_prompt_is_estimated_at_its_price_and_not_at_that_of_longer_ones(provider, owner):
    await make(make_chain)()
    await make(make_prices)()
    longer = [{"min_prompt_tokens": 200_000, "prompt": "0.5", "completion": "0.5"}]
    await CatalogueModel.objects.aupdate(overrides=longer)
    gate = Gate()
    provider.reply("x" * 400, gate)
    run = await start(owner)
    await said(run, "x")
    await runs.stop(owner, run)
    await follow_to_end(owner, run)
    gate.open()
    (call,) = await calls_of(run)
    assert call.cost == call.prompt_tokens * USD("0.000001") + 100 * USD("0.000002")


async def test_answer_of_a_model_that_is_not_listed_costs_about_as_much_as_the_one_asked_for(provider, owner):
    await make(make_chain)()
    await make(make_prices)()
    gate = Gate()
    provider.reply("x" * 400, gate, model="a/b-not-listed")
    run = await start(owner)
    await said(run, "x")
    await runs.stop(owner, run)
    await follow_to_end(owner, run)
    gate.open()
    (call,), row = await calls_of(run), await row_of(run)
    assert (call.requested, call.model) == ("a/b", "a/b-not-listed")
    assert call.cost == row.cost == call.prompt_tokens * USD("0.000001") + 100 * USD("0.000002")
    assert row.cost_estimated


async def test_stopped_answer_of_a_model_without_a_price_has_no_cost_yet(provider, owner):
    await make(make_chain)()
    gate = Gate()
    provider.reply("x", gate)
    run = await start(owner)
    await said(run, "x")
    await runs.stop(owner, run)
    view = await follow_to_end(owner, run)
    gate.open()
    (call,), row = await calls_of(run), await row_of(run)
    assert "usage" not in view.state
    assert (call.cost, row.cost, row.cost_estimated) == (None, None, False)
    assert call.ask_after is not None, "OpenRouter is asked what it was"


async def test_answer_that_is_stopped_before_its_first_word_costs_about_its_prompt(provider, owner):
    await make(make_chain)()
    await make(make_prices)()
    gate = Gate()
    provider.reply(gate, "never", comments=True)
    run = await start(owner)
    await until(lambda: (live := runs.registry.find(run)) is not None and live.calls)
    await runs.stop(owner, run)
    await follow_to_end(owner, run)
    gate.open()
    (call,), row = await calls_of(run), await row_of(run)
    assert call.generation_id in provider.generations
    assert (call.completion_tokens, row.cost_estimated) == (0, True)
    assert row.cost == call.prompt_tokens * USD("0.000001") > 0


async def test_answer_that_fails_without_a_word_is_taken_to_cost_nothing(provider, owner):
    await make(make_chain)()
    await make(make_prices)()
    for _ in range(3):
        provider.reply(StreamError(502, "down"))
    run = await start(owner)
    assert (await follow_to_end(owner, run)).state["status"] == "failed"
    calls, row = await calls_of(run), await row_of(run)
    assert [(call.number, call.cost, call.settled_at) for call in calls] == [
        (number, 0, None) for number in range(1, len(calls) + 1)
    ]
    assert all(call.ask_after is not None for call in calls)
    assert (row.cost, row.cost_estimated) == (0, True)
    provider.clear()


async def test_answer_that_breaks_off_costs_about_what_was_said_and_says_why(provider, owner):
    await make(make_chain)()
    await make(make_prices)()
    provider.cut("x" * 40)
    run = await start(owner)
    assert (await follow_to_end(owner, run)).state["status"] == "interrupted"
    (call,) = await calls_of(run)
    assert call.completion_tokens == 10
    assert "cut off" in call.error or "broke" in call.error


async def test_step_that_is_stopped_is_estimated_beside_those_that_were_told(provider, owner, handle):
    await make(make_acting_chain)()
    await make(make_prices)()
    gate = Gate()
    provider.reply(ToolCallScript("make_group", {"name": "bears"}, id="c1"), usage={"cost": 0.5})
    provider.reply("x" * 40, gate)
    run = await start(owner, "acting")
    await said(run, "x")
    await runs.stop(owner, run)
    view = await follow_to_end(owner, run)
    gate.open()
    row = await row_of(run)
    first, second = await calls_of(run)
    assert (first.cost, first.settled_at is not None, second.settled_at) == (USD("0.5"), True, None)
    assert row.cost == USD("0.5") + second.cost == Decimal(view.state["usage"]["cost"])
    assert (row.cost_estimated, view.state["usage"]["estimated"]) == (True, True)


# ---- runs whose process is gone ----


async def test_call_that_has_begun_is_stored_while_it_is_answered(provider, owner):
    await make(make_chain)()
    gate = Gate()
    provider.reply("Hel", gate, "lo", usage={"cost": 0.25})
    run = await start(owner)

    for _ in range(500):
        if stored := [(call.generation_id, call.ended) for call in await calls_of(run)]:
            break
        await asyncio.sleep(0.02)
    assert stored == [(next(iter(provider.generations)), None)]
    gate.open()
    await follow_to_end(owner, run)
    assert [call.cost for call in await calls_of(run)] == [USD("0.25")]


def test_run_whose_process_died_costs_about_what_its_log_has():
    make_prices()
    run = make_run("running", chain=make_chain())
    Run.objects.filter(pk=run.pk).update(lease_until=None)
    ModelCall.objects.create(
        run=run, run_uuid=run.uuid, number=1, generation_id="gen-1", requested="a/b", prompt_tokens=100
    )
    make_log(run, [StepStarted(0, model="a/b"), Text(1, "x" * 400)])
    assert reap() == [run.uuid]
    run.refresh_from_db()
    call = run.model_calls.get()
    assert run.status == "interrupted"
    assert (call.completion_tokens, call.settled_at) == (100, None)
    assert call.cost == run.cost == USD("0.0003") == settled(run.uuid)
    assert run.cost_estimated
    assert call.ask_after is not None
    assert state_of_row(run)["usage"]["estimated"]


def test_calls_of_a_fence_that_was_lost_are_not_stored():
    run = make_run("running", chain=make_chain())
    call = costs.Called(1, "a/b", generation_id="gen-1")
    leases.write({}, [run.pk], calls={run.pk: (run.fence + 1, [call.row(run.uuid, run.pk)])})
    assert not ModelCall.objects.exists()
    leases.write({}, [run.pk], calls={run.pk: (run.fence, [call.row(run.uuid, run.pk)])})
    call.finish_with(ReplyFinished("stop", "end", Usage(7, 3, USD("0.5")), "gen-1", "a/b-2025", "Acme"))
    leases.write({}, [run.pk], calls={run.pk: (run.fence, [call.row(run.uuid, run.pk)])})
    stored = ModelCall.objects.get()
    assert (stored.native_finish, stored.prompt_tokens, stored.cost) == ("end", 7, USD("0.5"))


def test_death_after_a_step_has_ended_changes_nothing_of_that_step():
    make_prices()
    run = make_run("running", chain=make_chain())
    Run.objects.filter(pk=run.pk).update(lease_until=None)
    now = timezone.now()
    for number, told in ((1, {"cost": "0.5", "settled_at": now, "finish": "stop"}), (2, {"cost": None})):
        about = {"generation_id": f"gen-{number}", "requested": "a/b", "ended": now, "ask_after": now}
        ModelCall.objects.create(run=run, run_uuid=run.uuid, number=number, **about, **told)
    make_log(run, [StepStarted(0, model="a/b"), Text(1, "x" * 400)])
    assert reap() == [run.uuid]
    run.refresh_from_db()
    assert [call.cost for call in run.model_calls.order_by("number")] == [USD("0.5"), None]
    assert (run.cost, run.cost_estimated) == (USD("0.5"), True)


def test_run_that_nobody_took_up_gives_back_what_was_reserved():
    make_prices()
    pot = make_pot("site", "10")
    chain = make_chain()
    prepared = prepare(Start(Owner.of_visitor(uuid4()), chain=chain.slug, input={"text": "hi"}), uuid4())
    period = pot.periods.get()
    assert period.reserved > USD("0.002")
    Run.objects.filter(uuid=prepared.run).update(deadline=None)
    assert reap() == [prepared.run]
    period.refresh_from_db()
    assert (period.spent, period.reserved) == (0, 0)


# ---- sizes ----


def test_prompt_is_as_long_as_what_is_sent_and_a_picture_counts_as_itself():
    body = {"tools": [{"name": "t", "description": "d", "schema": {"type": "object"}}]}
    short = costs.size_of_prompt([HumanMessage("hi")], body)
    assert 20 < short < 200
    assert costs.size_of_prompt([HumanMessage("hi" * 500)], body) == short + 998
    picture = ImagePart("data:image/png;base64," + "A" * 1_000_000)
    with_picture = costs.size_of_prompt([HumanMessage((TextPart("hi"), picture))], body)
    assert costs.BYTES_A_PICTURE < with_picture < costs.BYTES_A_PICTURE + 500


def test_text_is_counted_in_bytes():
    assert [costs.size_of(text) for text in ("", "abc", "äöü", "日本", "\ud800")] == [0, 3, 6, 6, 1]
    assert [costs.tokens_in(size) for size in (0, 1, 4, 5)] == [0, 1, 1, 2]


@pytest.mark.django_db
def test_estimate_counts_what_reasoning_and_a_search_cost():
    make_prices(reasoning_price=USD("0.000005"))
    call = costs.Called(1, "a/b", model="a/b", prompt_tokens=1_000, completion_tokens=1_000)
    assert costs.cost_of(call, costs.price_of(call)) == USD("0.006")
    make_prices("c/d")
    searched = costs.Called(1, "c/d:online", model="c/d", prompt_tokens=1_000, completion_tokens=1_000)
    assert costs.cost_of(searched, costs.price_of(searched)) == USD("0.003") + USD("0.02")
