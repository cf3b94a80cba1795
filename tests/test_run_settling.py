"""The exact cost of answers that were stopped or broke off, asked for afterwards."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from decimal import Decimal
from io import StringIO
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from django.core.management import call_command
from django.db.models.deletion import Collector
from django.utils import timezone

from openrouter_app import keys, limits, runs
from openrouter_app.engine.accounts import KeyInfo
from openrouter_app.engine.secret import Secret
from openrouter_app.limits import ledger
from openrouter_app.models import Charge, ModelCall, Owner, Run, UserKey
from openrouter_app.runs import Start, leases, live, settling
from openrouter_app.runs.costs import Called, Totals
from openrouter_app.runs.rows import state_of_row
from openrouter_app.runs.tending import reap_for_ever
from openrouter_app.runs.writer import Writer
from openrouter_app.testing import Gate
from tests.factories import make_chain, make_run, make_user
from tests.followers import follow_to_end, parts_of, until
from tests.owning import log_of, row_of
from tests.pots import assert_sums_agree, make_pot, make_prices, settled, sums

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("noon")]
make = sync_to_async
USD = Decimal
KEY = "sk-or-v1-usersusersusersusers"


@pytest.fixture
def owner():
    return Owner.of_visitor(uuid4())


@pytest.fixture
def asked(provider):
    """How often the fake was asked what an answer has cost."""
    return lambda: sum(request.path.endswith("/generation") for request in provider.requests)


def make_call(status="stopped", *, id="gen-1", run=None, cost="0.5", **fields) -> ModelCall:
    """A call that is due, of a run that costs about half a dollar."""
    if run is None:
        given = {"ended": timezone.now(), "private": {"ms": 5}} if status in Run.FINAL else {}
        run = make_run(status, cost=cost, cost_estimated=True, deadline=None, **given)
    given = {"requested": "a/b", "cost": cost, "ended": timezone.now(), "ask_after": timezone.now()}
    return ModelCall.objects.create(
        run=run,
        run_uuid=run.uuid,
        number=run.model_calls.count() + 1,
        generation_id=id,
        **{**given, **fields},
    )


async def make_due() -> None:
    await ModelCall.objects.filter(ask_after__isnull=False).aupdate(ask_after=timezone.now())


def knows(provider, cost=0.25, id="gen-1", **fields):
    """The fake knows this generation, whoever asks."""
    provider.route("GET", "/generation", {"data": {"id": id, "total_cost": cost, **fields}})


async def test_stopped_answer_gets_its_exact_cost_when_openrouter_knows_it(provider, owner):
    await make(make_chain)()
    await make(make_prices)()
    await make(make_pot)("site", "10")
    gate = Gate()
    provider.reply("x" * 400, gate, "never")
    run = await runs.start(Start(owner, chain="echo", input={"text": "hi"}))
    await until(lambda: any("x" in part.get("text", "") for part in parts_of(run)))
    await runs.stop(owner, run)
    shown = (await follow_to_end(owner, run)).state
    gate.open()
    provider.wait_until(lambda: all(made.has_ended for made in provider.generations.values()))
    estimate = (await row_of(run)).cost
    assert await runs.settle() == 0, "it is too early"
    await make_due()
    assert await runs.settle() == 0, "it is not known yet"
    await make_due()
    assert await runs.settle() == 1
    (generation,) = provider.generations.values()
    exact = round(USD(str(generation.cost)), 10)
    row, call = await row_of(run), await ModelCall.objects.aget()
    assert row.cost == call.cost == exact == await make(settled)(run)
    assert exact != estimate
    assert (row.cost_estimated, call.ask_after, call.attempts) == (False, None, 2)
    assert call.settled_at is not None
    later = (await follow_to_end(owner, run)).state
    assert (later["usage"]["cost"], later["usage"]["estimated"]) == (str(exact.normalize()), False)
    assert {**later, "usage": None} == {**shown, "usage": None}
    await make_due()
    assert await runs.settle() == 0
    await make(assert_sums_agree)()


def test_run_with_several_calls_is_an_estimate_until_all_are_known():
    call = make_call(cost="0.5")
    other = make_call(run=call.run, id="gen-2", cost="0.25")
    Run.objects.filter(pk=call.run_id).update(cost="0.75")
    assert settling.note(call.pk, {"total_cost": 0.4})
    run = Run.objects.get()
    assert (run.cost, run.cost_estimated) == (USD("0.65"), True)
    assert settling.note(other.pk, {"total_cost": "0.1", "native_tokens_prompt": 7, "tokens_completion": 3})
    run.refresh_from_db()
    assert (run.cost, run.cost_estimated) == (USD("0.5"), False)
    assert (run.prompt_tokens, run.completion_tokens) == (7, 3)
    assert settled(run.uuid) == USD("0.5")
    assert not settling.note(other.pk, {"total_cost": 9})


@pytest.mark.parametrize("cost", [None, -1, "much", True, [], "NaN", "Infinity", 1e300])
def test_what_is_no_cost_changes_nothing(cost):
    call = make_call()
    assert not settling.note(call.pk, {"total_cost": cost, "native_tokens_prompt": 2})
    call.refresh_from_db()
    assert (call.cost, call.settled_at, call.prompt_tokens) == (USD("0.5"), None, None)


def test_nonsense_beside_a_cost_is_left_out():
    call = make_call()
    said = {"total_cost": "0.1", "native_tokens_prompt": -4, "model": ["x"], "provider_name": "p" * 5_000}
    assert settling.note(call.pk, said)
    call.refresh_from_db()
    assert (call.prompt_tokens, call.model, len(call.provider)) == (None, "", 100)
    assert call.cost == USD("0.1")


def test_cost_that_nobody_could_estimate_is_shown_once_it_is_known():
    call = make_call(cost=None)
    Run.objects.update(private={}, cost_estimated=False)
    assert "usage" not in state_of_row(Run.objects.get())
    assert settling.note(call.pk, {"total_cost": 0.4, "model": "a/b-2025", "provider_name": "Acme"})
    usage = state_of_row(Run.objects.get())["usage"]
    assert (usage["cost"], usage["estimated"], usage["model"]) == ("0.4", False, "a/b-2025")


async def test_pauses_between_questions_grow_and_end(provider, settings):
    call = await make(make_call)()
    pauses = []
    for attempts in range(20):
        await ModelCall.objects.aupdate(ask_after=timezone.now(), attempts=attempts, ended=timezone.now())
        before = timezone.now()
        assert await runs.settle() == 0
        await call.arefresh_from_db()
        assert call.attempts == attempts + 1
        pauses.append((call.ask_after - before).total_seconds())
    assert all(least <= pause < 2 * least for least, pause in zip([4, 8, 16, 32], pauses, strict=False))
    assert 3600 <= pauses[-1] < 3700
    settings.OPENROUTER = {**settings.OPENROUTER, "SETTLE_TIMEOUT": 60}
    await ModelCall.objects.aupdate(ask_after=timezone.now(), ended=timezone.now() - timedelta(seconds=50))
    assert await runs.settle() == 0
    await call.arefresh_from_db()
    assert (call.ask_after, call.settled_at, call.cost) == (None, None, USD("0.5"))
    run = await Run.objects.aget()
    assert (run.cost, run.cost_estimated) == (USD("0.5"), True), "the estimate stands"


async def test_two_who_look_at_once_ask_once(provider, asked):
    await make(make_call)()
    knows(provider)
    known = await asyncio.gather(runs.settle(), runs.settle(), runs.settle())
    assert sum(known) == asked() == 1


@pytest.mark.parametrize("status", ["queued", "running", "waiting"])
async def test_run_that_has_not_ended_is_not_asked_about(provider, asked, status):
    await make(make_call)(status)
    assert (await runs.settle(), asked()) == (0, 0)


async def test_question_goes_out_with_the_key_that_was_used(provider):
    user = await make(make_user)()
    await make(keys.store)(user, Secret(KEY), UserKey.Origin.PASTED, KeyInfo())
    run = await make(make_run)("stopped", ended=timezone.now(), user=user, payer="user", deadline=None)
    await make(make_call)(run=run, key_hash=keys.hash_of(Secret(KEY)))
    site = await make(make_call)(id="gen-2")
    knows(provider)
    assert await runs.settle() == 2
    used = {request.query["id"]: request.api_key for request in provider.requests}
    assert used == {"gen-1": KEY, "gen-2": "sk-or-v1-CANARYCANARYCANARY"}
    assert site.key_hash == ""


async def test_key_that_was_replaced_is_not_used_for_what_another_one_paid(provider, asked):
    user = await make(make_user)()
    await make(keys.store)(user, Secret(KEY + "-new"), UserKey.Origin.PASTED, KeyInfo())
    run = await make(make_run)("stopped", ended=timezone.now(), user=user, payer="user", deadline=None)
    call = await make(make_call)(run=run, key_hash=keys.hash_of(Secret(KEY)))
    assert (await runs.settle(), asked()) == (0, 0)
    await call.arefresh_from_db()
    assert call.attempts == 1


async def test_users_key_that_is_refused_then_is_forgotten(provider):
    user = await make(make_user)()
    await make(keys.store)(user, Secret(KEY), UserKey.Origin.PASTED, KeyInfo())
    run = await make(make_run)("stopped", ended=timezone.now(), user=user, payer="user", deadline=None)
    await make(make_call)(run=run, key_hash=keys.hash_of(Secret(KEY)))
    provider.route("GET", "/generation", {"error": {"message": "User not found.", "code": 401}}, status=401)
    assert await runs.settle() == 0
    assert not await UserKey.objects.aexists()


async def test_server_settles_by_itself_and_its_reaper_waits_for_nobody(provider, settings):
    settings.OPENROUTER = {**settings.OPENROUTER, "REAP_INTERVAL": 0.05}
    call = await make(make_call)()
    knows(provider)
    tending = asyncio.create_task(reap_for_ever())
    try:
        for _ in range(200):
            await call.arefresh_from_db()
            if call.settled_at is not None:
                break
            await asyncio.sleep(0.05)
    finally:
        tending.cancel()
        await asyncio.wait([tending])
    assert call.cost == USD("0.25")


def test_command_settles_what_is_due(openrouter, settings):
    settings.OPENROUTER = {"API_KEY": "sk-or-v1-x", "BASE_URL": openrouter.base_url}
    make_chain()
    make_call()
    knows(openrouter)
    out = StringIO()
    call_command("openrouter_settle", stdout=out)
    assert out.getvalue() == "1 cost settled, 0 reservations of ended runs released.\n"
    assert ModelCall.objects.get().cost == USD("0.25")


async def test_server_gives_back_what_a_run_that_is_gone_had_reserved(provider, settings):
    settings.OPENROUTER = {**settings.OPENROUTER, "REAP_INTERVAL": 0.05}
    await make(make_prices)()
    pot = await make(make_pot)("site", "10")
    chain = await make(make_chain)()
    owner = Owner.of_visitor(uuid4())
    run, _new = await runs.queue(Start(owner, chain=chain.slug, input={"text": "hi"}))
    assert (await pot.periods.aget()).reserved > 0
    await Run.objects.filter(uuid=run).adelete()
    tending = asyncio.create_task(reap_for_ever())
    try:
        for _ in range(200):
            if not (await pot.periods.aget()).reserved:
                break
            await asyncio.sleep(0.05)
    finally:
        tending.cancel()
        await asyncio.wait([tending])
    assert (await pot.periods.aget()).reserved == 0
    await make(assert_sums_agree)()


# ---- runs that are deleted before their cost is known ----


def test_calls_outlive_their_run_while_the_cost_of_one_is_not_known():
    known, open_, asked = (make_call(cost="0.5") for _ in range(3))
    ModelCall.objects.filter(pk=known.pk).update(settled_at=timezone.now(), ask_after=None)
    ModelCall.objects.filter(pk=open_.pk).update(ended=None, ask_after=None)
    beside = make_call(run=asked.run, settled_at=timezone.now(), ask_after=None)
    never = make_call(ask_after=None)  # nobody can be asked about it
    Run.objects.all().delete()
    left = dict(ModelCall.objects.values_list("pk", "run"))
    assert left == {open_.pk: None, asked.pk: None, beside.pk: None}
    assert never.run_uuid not in ModelCall.objects.values_list("run_uuid", flat=True)


@pytest.mark.parametrize("unsettled", [True, False])
def test_call_that_begins_while_its_run_is_being_deleted_is_no_obstacle(unsettled):
    run = make_run("running")
    collector = Collector(using="default")
    collector.collect([run])
    call = make_call(run=run, ended=None) if unsettled else make_call(run=run, ask_after=None)
    collector.delete()
    assert ModelCall.objects.filter(pk=call.pk, run=None).exists() is unsettled


def test_exact_cost_of_a_run_that_is_gone_reaches_the_ledger_and_then_its_calls_go():
    make_pot("site", "10")
    call = make_call(cost="0.5")
    other = make_call(run=call.run, cost="0.25", settled_at=timezone.now(), ask_after=None)
    uuid = call.run_uuid
    Run.objects.update(cost="0.75")
    leases.settle(call.run_id, final=True)
    assert settled(uuid) == USD("0.75")
    Run.objects.all().delete()
    settling.clear_up()
    assert ModelCall.objects.count() == 2
    assert settling.note(call.pk, {"total_cost": "0.4"})
    assert settled(uuid) == USD("0.65")
    assert not settling.note(other.pk, {"total_cost": "9"})
    settling.clear_up()
    assert not ModelCall.objects.exists()
    assert_sums_agree()


def test_what_a_run_cost_before_it_waited_stays_charged_when_a_call_after_its_deletion_is_known():
    make_pot("site", "10")
    call = make_call("running", settled_at=timezone.now(), ask_after=None)
    call.refresh_from_db()
    leases.settle(call.run_id, final=False)
    earlier = Totals.of([call])
    Run.objects.all().delete()  # and its calls: they are all known
    later = Called(2, "a/b", generation_id="gen-2", cost=USD("0.1"))
    later.end()
    assert leases.settle_gone(call.run_uuid, [later], earlier)
    assert settled(call.run_uuid) == USD("0.6")
    settling.clear_up()
    assert settling.note(ModelCall.objects.get(number=2).pk, {"total_cost": "0.2"})
    assert settled(call.run_uuid) == USD("0.7")
    settling.clear_up()
    assert not ModelCall.objects.exists()


def test_process_that_wakes_late_does_not_put_its_estimate_over_an_exact_cost():
    make_pot("site", "10")
    call = make_call("running", ended=None, ask_after=None)
    leases.settle(call.run_id, final=False)
    Run.objects.all().delete()
    settling.clear_up()
    assert settling.note(call.pk, {"total_cost": "0.2"})
    late = Called(1, "a/b", generation_id="gen-1", cost=USD("0.1"))
    late.end()
    assert leases.settle_gone(call.run_uuid, [late], Totals())
    assert settled(call.run_uuid) == USD("0.2")


def test_one_run_that_makes_no_sense_keeps_no_other_from_being_cleared_up(monkeypatch):
    make_prices()
    odd = make_call("running", ended=None, ask_after=None).run_uuid
    make_call("running", ended=None, ask_after=None)
    Run.objects.all().delete()
    charge = leases.charge_gone

    def charge_others(run, *args):
        if run == odd:
            raise ValueError("no sense")
        charge(run, *args)

    monkeypatch.setattr(leases, "charge_gone", charge_others)
    settling.clear_up()
    assert set(ModelCall.objects.filter(ended=None).values_list("run_uuid", flat=True)) == {odd}


def test_call_whose_run_and_process_are_gone_is_ended_and_asked_about():
    make_prices()
    call = make_call("running", cost=None, ended=None, ask_after=None, model="a/b", prompt_tokens=1_000)
    Run.objects.all().delete()
    settling.clear_up()
    call.refresh_from_db()
    assert (call.cost, call.settled_at) == (USD("0.001"), None)
    assert call.ended < call.ask_after
    settling.clear_up()
    assert ModelCall.objects.exists()


async def delete_row(run):
    """As whoever deletes a user does, or a conversation over a process that does not answer."""
    await make(lambda: Run.objects.filter(uuid=run).delete())()


async def test_run_deleted_in_mid_answer_is_paid_for(provider):
    await make(make_chain)()
    await make(make_prices)()
    site = await make(make_pot)("site", "10")
    ada = await make(make_user)("ada")
    gate = Gate()
    provider.reply("x" * 4_000, gate)
    run = await runs.start(Start(Owner.of_user(ada), chain="echo", input={"text": "hi"}))
    await until(lambda: any("x" in part.get("text", "") for part in parts_of(run)))
    async with asyncio.timeout(30):  # a row that comes while Django deletes the others would hold them
        while not (rows := await log_of(run)) or rows[-1][1] < live.executing(run).seq:  # noqa: ASYNC110 - the database says it
            await asyncio.sleep(0.01)
    await make(ada.delete)()
    await until(lambda: live.executing(run) is None)
    gate.open()
    assert await Run.objects.acount() == 0
    about = await make(settled)(run)
    assert about > USD("0.002")
    assert (await make(sums)(site))[0][1] > 0
    provider.route("GET", "/generation", {"data": {"total_cost": 0.003}})
    await make_due()
    assert await runs.settle() == 1
    assert await make(settled)(run) == USD("0.003")
    assert await make(sums)(site) == [(USD("0.003"), 0)]
    await runs.settle()
    assert await ModelCall.objects.acount() == 0


async def test_run_deleted_just_before_its_end_is_paid_for_exactly(provider, monkeypatch):
    await make(make_chain)()
    await make(make_prices)()
    await make(make_pot)("site", "10")
    gate = Gate()
    provider.reply("x", gate, usage={"cost": 0.7})
    run = await runs.start(Start(Owner.of_visitor(uuid4()), chain="echo", input={"text": "hi"}))
    await until(lambda: any("x" in part.get("text", "") for part in parts_of(run)))
    monkeypatch.setattr(Writer, "flush", unseen)  # the writer does not find its row gone
    await delete_row(run)
    gate.open()
    await until(lambda: live.executing(run) is None)
    assert await make(settled)(run) == USD("0.7")
    charge = await Charge.objects.aget()
    assert (charge.estimated, charge.reserved) == (False, 0)


async def unseen(writer):
    return None


async def test_what_another_process_has_taken_is_not_charged_by_the_one_that_lost_it(provider):
    await make(make_chain)()
    await make(make_prices)()
    gate = Gate()
    provider.reply("x" * 4_000, gate)
    run = await runs.start(Start(Owner.of_visitor(uuid4()), chain="echo", input={"text": "hi"}))
    await until(lambda: any("x" in part.get("text", "") for part in parts_of(run)))
    await Run.objects.aupdate(fence=9, owner_process="another")
    await until(lambda: live.executing(run) is None)
    gate.open()
    charge = await Charge.objects.aget()
    assert charge.settled is None


# ---- what stays reserved until it is known ----


async def test_answer_whose_end_cannot_be_written_whole_leaves_no_call_open(provider, monkeypatch):
    await make(make_chain)()
    await make(make_prices)()
    site = await make(make_pot)("site", "10")
    provider.reply("x" * 400, Gate())
    owner = Owner.of_visitor(uuid4())
    run = await runs.start(Start(owner, chain="echo", input={"text": "hi"}))
    await until(lambda: any(call.stored for call in live.executing(run).calls))
    end = leases.end

    def end_without_calls(pk, fence, status, fields, calls=()):
        if calls:
            raise ValueError("no database takes this")
        return end(pk, fence, status, fields, calls)

    monkeypatch.setattr(leases, "end", end_without_calls)
    await runs.stop(owner, run)
    await runs.wait(run)
    call = await ModelCall.objects.aget()
    assert None not in (call.ended, call.ask_after)
    await ModelCall.objects.aupdate(ask_after=None)  # nobody ever said what it has cost
    assert await make(limits.release_orphans)() == 1
    assert (await make(sums)(site))[0][1] == 0


async def test_reservation_is_kept_for_a_quarter_of_an_hour_of_fruitless_questions(provider):
    await make(make_chain)(options={"max_tokens": 1_000})
    await make(make_prices)()
    site = await make(make_pot)("site", "10")
    provider.reply("x" * 400, Gate())
    provider.route("GET", "/generation", {"error": {"code": 404, "message": "not found"}}, status=404)
    owner = Owner.of_visitor(uuid4())
    run = await runs.start(Start(owner, chain="echo", input={"text": "hi"}))
    await until(lambda: any("x" in part.get("text", "") for part in parts_of(run)))
    await runs.stop(owner, run)
    await runs.wait(run)
    kept = (await make(sums)(site))[0]
    assert kept[1] > 0
    for _ in range(ledger.PATIENT_QUESTIONS):
        assert await make(limits.release_orphans)() == 0
        assert (await make(sums)(site))[0] == kept
        await make_due()
        assert await runs.settle() == 0
    assert await make(limits.release_orphans)() == 1
    assert (await make(sums)(site))[0] == (kept[0], 0)
    assert (await ModelCall.objects.aget()).ask_after is not None
