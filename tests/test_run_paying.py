"""Who pays for a run: the key it is asked with, budgets and switches on its way, and what it says then."""

from __future__ import annotations

import asyncio
import logging
from decimal import Decimal
from uuid import UUID, uuid4

import pytest
from asgiref.sync import sync_to_async

from openrouter_app import keys, runs, tool_handlers
from openrouter_app.engine.accounts import KeyInfo
from openrouter_app.engine.secret import Secret
from openrouter_app.models import Budget, Chain, KillSwitch, Message, ModelCall, Owner, Run, UserKey
from openrouter_app.runs import NEW, Refused, Start, live, paying
from openrouter_app.runs.starting import prepare
from openrouter_app.testing import Gate
from openrouter_app.tool_handlers import Handler
from tests.acting import make_acting_chain, make_group, waits
from tests.factories import make_chain, make_user
from tests.followers import follow_to_end, parts_of, until
from tests.owning import row_of
from tests.pots import assert_sums_agree, make_pot, make_prices, settled

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("noon")]
make = sync_to_async
USD = Decimal
KEY = "sk-or-v1-CANARYofTHEuserCANARY"
SITE = "sk-or-v1-CANARYCANARYCANARY"


@pytest.fixture
async def user(provider):
    return await make(make_user)()


@pytest.fixture
def owner(user):
    return Owner.of_user(user)


@pytest.fixture
async def key(user):
    """The user has connected an account."""
    return await make(keys.store)(
        user, Secret(KEY), UserKey.Origin.OAUTH, KeyInfo(label="sk-or-v1-CAN...ARY")
    )


async def start(owner, chain="echo", **fields):
    return await runs.start(Start(owner, chain=chain, **{"input": {"text": "hi"}, **fields}))


async def ended(owner, **fields):
    """How a run ends: its state."""
    return (await follow_to_end(owner, await start(owner, **fields))).state


def used_keys(provider):
    return [request.api_key for request in provider.requests]


# ---- the key ----


async def test_chain_that_users_pay_is_asked_with_the_users_key(provider, owner, key):
    await make(make_chain)(payer="user")
    provider.reply("Hi", usage={"cost": 0.25})
    state = await ended(owner)
    row, call = await Run.objects.aget(), await ModelCall.objects.aget()
    assert used_keys(provider) == [KEY]
    assert (row.payer, state["payer"], call.key_hash) == ("user", "user", key.key_hash)
    assert (row.cost, state["usage"]["cost"]) == (USD("0.25"), "0.25")
    assert await make(settled)(row.uuid, ["own"]) == USD("0.25")
    assert await make(settled)(row.uuid, ["site"]) == 0
    assert (await follow_to_end(owner, row.uuid)).state == state


async def test_chain_that_the_site_pays_is_asked_with_the_sites_key(provider, owner, key):
    await make(make_chain)()
    provider.reply("Hi")
    state = await ended(owner)
    assert used_keys(provider) == [SITE]
    assert "payer" not in state


async def test_start_without_a_key_is_refused_with_a_way_to_connect(provider, owner):
    await make(make_chain)(payer="user")
    with pytest.raises(Refused) as refused:
        await start(owner)
    assert (refused.value.code, refused.value.details) == ("needs_key", {"connect": True})
    assert not await Run.objects.aexists()
    assert provider.requests == ()


async def test_key_that_is_gone_before_the_model_is_asked_fails_the_run(provider, owner, key):
    await make(make_chain)(payer="user")
    run, _new = await runs.queue(Start(owner, chain="echo", input={"text": "hi"}))
    await make(keys.disconnect)(owner.user_id)
    await runs.execute(run)
    row = await row_of(run)
    assert (row.status, row.error_code, row.private["details"]) == ("failed", "needs_key", {"connect": True})
    assert provider.requests == ()
    assert await make(settled)(run) == 0


async def test_key_that_cannot_be_opened_any_more_counts_as_none(provider, owner, key, settings):
    await make(make_chain)(payer="user")
    run, _new = await runs.queue(Start(owner, chain="echo", input={"text": "hi"}))
    settings.SECRET_KEY = "another one than it was encrypted with"
    await runs.execute(run)
    assert (await row_of(run)).error_code == "needs_key"


async def test_site_pays_for_whom_a_key_cannot_be_opened_where_it_may(provider, owner, key, settings):
    await make(make_chain)(payer="user_or_site")
    settings.SECRET_KEY = "another one than it was encrypted with"
    provider.reply("Hi")
    assert (await ended(owner))["status"] == "done"
    assert used_keys(provider) == [SITE]


async def test_users_key_that_is_rejected_is_dropped_and_the_page_offers_to_connect(provider, owner, key):
    await make(make_chain)(payer="user")
    provider.error("unknown_key")
    state = await ended(owner)
    assert state["error"]["code"] == "key_rejected"
    assert state["error"]["details"] == {"connect": True}
    assert "Connect your account again" in state["error"]["message"]
    assert not await UserKey.objects.aexists()


async def test_key_that_took_the_place_of_a_rejected_one_stays(provider, owner, user, key):
    await make(make_chain)(payer="user")
    provider.clear()
    provider.error("unknown_key")
    run, _new = await runs.queue(Start(owner, chain="echo", input={"text": "hi"}))
    old = key.key_hash
    original = keys.drop_rejected

    def replaced_first(user_id, key_hash):
        assert key_hash == old
        keys.store(user, Secret(KEY + "-new"), UserKey.Origin.OAUTH, KeyInfo())
        return original(user_id, key_hash)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keys, "drop_rejected", replaced_first)
        await runs.execute(run)
    assert (await UserKey.objects.aget()).key_hash != old


async def test_sites_key_that_is_rejected_drops_nobodys(provider, owner, key):
    await make(make_chain)(payer="site_then_user")
    provider.error("unknown_key")
    state = await ended(owner)
    assert (state["error"]["code"], used_keys(provider)) == ("key_rejected", [SITE])
    assert await UserKey.objects.aexists()


async def test_users_key_stands_in_nothing_a_run_leaves_behind(provider, owner, key, caplog):
    await make(make_chain)(payer="user")
    caplog.set_level(logging.DEBUG)
    prepared = await make(prepare)(Start(owner, chain="echo", input={"text": "hi"}), uuid4())
    assert "CANARYofTHE" not in repr(prepared)
    await make(Run.objects.all().delete)()
    gate = Gate()
    provider.reply("Hel", gate, "lo")
    run = await start(owner)
    await until(lambda: (live := runs.registry.find(run)) is not None and live.state.parts())
    live = runs.registry.find(run)
    assert "CANARYofTHE" not in repr([live.__dict__, live.state.snapshot(), live.calls])
    gate.open()
    state = (await follow_to_end(owner, run)).state
    row = await Run.objects.values().aget(uuid=run)
    call = await ModelCall.objects.values().aget()
    assert "CANARYofTHE" not in repr([state, row, call]) + caplog.text


# ---- credit ----


async def test_site_without_credit_offers_the_users_own_account_where_the_chain_lets_users_pay(
    provider, owner, key
):
    await make(make_chain)(payer="site_then_user")
    provider.error("cannot_afford")
    error = (await ended(owner))["error"]
    assert (error["code"], error["details"]) == ("credit", {"connect": True, "affordable_tokens": 512})


async def test_site_without_credit_offers_nothing_where_it_alone_pays(provider, owner):
    await make(make_chain)()
    provider.error("no_credit")
    error = (await ended(owner))["error"]
    assert error["code"] == "credit"
    assert "details" not in error


async def test_visitor_cannot_be_offered_an_account(provider):
    await make(make_chain)(payer="site_then_user")
    provider.error("no_credit")
    assert "details" not in (await ended(Owner.of_visitor(uuid4())))["error"]


async def test_user_without_credit_is_told_whose_account_it_is(provider, owner, key):
    await make(make_chain)(payer="user")
    provider.error("cannot_afford")
    error = (await ended(owner))["error"]
    assert "your OpenRouter account" in error["message"]
    assert error["details"] == {"affordable_tokens": 512}


class TestAffordable:
    """A retry with as many tokens as the account can pay for, of a chain that opens no options."""

    async def refusal(self, owner, **fields):
        with pytest.raises(Refused) as refused:
            await start(owner, **fields)
        return refused.value.code, refused.value.details

    async def failed(self, provider, owner, **fields):
        provider.error("cannot_afford")
        return await ended(owner, **fields)

    async def test_what_failed_is_asked_again_for_less(self, provider, owner):
        await make(make_chain)()
        await self.failed(provider, owner)
        provider.reply("Hi")
        assert (await ended(owner, options={"max_tokens": 512}))["status"] == "done"
        assert provider.requests[-1].json["max_completion_tokens"] == 512

    async def test_answer_in_a_conversation_is_asked_for_again_for_less(self, provider, owner):
        await make(make_chain)()
        state = await self.failed(provider, owner, conversation=NEW)
        provider.reply("Hi")
        where = {"conversation": state["conversation"], "parent": state["parent"], "input": {}}
        assert (await ended(owner, options={"max_tokens": 100}, **where))["status"] == "done"
        assert await Message.objects.filter(role="assistant").acount() == 2

    @pytest.mark.parametrize("tokens", [513, 0, -1, True, "512", None, 512.0, [512]])
    async def test_no_more_than_that(self, provider, owner, tokens):
        await make(make_chain)()
        await self.failed(provider, owner)
        assert await self.refusal(owner, options={"max_tokens": tokens}) == (
            "invalid_input",
            {"options": ["max_tokens"]},
        )

    async def test_nothing_else_and_no_other_option(self, provider, owner):
        await make(make_chain)()
        await self.failed(provider, owner)
        code, _details = await self.refusal(owner, input={"text": "other"}, options={"max_tokens": 512})
        assert code == "invalid_input"
        given = {"max_tokens": 512, "temperature": 0}
        assert (await self.refusal(owner, options=given))[1] == {"options": ["temperature"]}

    async def test_only_as_long_as_it_is_what_was_asked_last(self, provider, owner):
        await make(make_chain)()
        await self.failed(provider, owner)
        provider.reply("Hi")
        await ended(owner)
        assert (await self.refusal(owner, options={"max_tokens": 512}))[0] == "invalid_input"

    async def test_nobody_elses(self, provider, owner):
        await make(make_chain)()
        await self.failed(provider, owner)
        other = Owner.of_user(await make(make_user)("eve"))
        assert (await self.refusal(other, options={"max_tokens": 512}))[0] == "invalid_input"


# ---- budgets and switches ----


async def test_refused_start_leaves_no_reservation(provider, owner):
    await make(make_chain)()
    await make(make_prices)()
    pot = await make(make_pot)("site", "0.000001")
    with pytest.raises(Refused) as refused:
        await start(owner)
    assert refused.value.code == "budget"
    assert not await pot.periods.filter(reserved__gt=0).aexists()


async def test_site_pays_up_to_its_budget_then_the_user(provider, owner, key):
    await make(make_chain)(payer="site_then_user", options={"max_tokens": 100})
    await make(make_prices)()
    await make(make_pot)("site", "0.001")
    for _ in range(2):
        provider.reply("Hi", usage={"cost": 0.001})
    assert "payer" not in await ended(owner)
    assert (await ended(owner))["payer"] == "user"
    assert used_keys(provider) == [SITE, KEY]
    await make(assert_sums_agree)()


async def test_loop_stops_at_the_step_that_the_budget_cannot_pay(provider, owner, monkeypatch):
    """What was said and done until then stays."""
    monkeypatch.setitem(tool_handlers._handlers, "act", Handler("act", make_group))
    await make(make_acting_chain)()
    await make(Chain.objects.all().update)(options={"max_tokens": 100})
    await make((await Chain.objects.aget()).publish)()
    await make(make_prices)()
    pot = await make(make_pot)("site", "0.5")
    provider.call("make_group", {"name": "bears"}, id="c1", usage={"cost": 0.5})
    state = await ended(owner, chain="acting")
    assert (state["status"], state["error"]["code"]) == ("failed", "budget")
    assert set(state["error"]["details"]) == {"left", "resets"}
    assert state["usage"]["cost"] == "0.5"
    assert [part["status"] for part in state["parts"] if part["type"] == "call"] == ["done"]
    period = await pot.periods.aget()
    assert (period.spent, period.reserved) == (USD("0.5"), 0)


@pytest.mark.parametrize("has_key", [True, False])
async def test_loop_that_the_site_cannot_go_on_with_tells_only_who_lacks_an_account_to_connect_one(
    provider, owner, user, monkeypatch, has_key
):
    monkeypatch.setitem(tool_handlers._handlers, "act", Handler("act", make_group))
    await make(make_acting_chain)()
    await make(Chain.objects.all().update)(options={"max_tokens": 100}, payer="site_then_user")
    await make((await Chain.objects.aget()).publish)()
    await make(make_prices)()
    await make(make_pot)("site", "0.5")
    if has_key:
        await make(keys.store)(user, Secret(KEY), UserKey.Origin.OAUTH, KeyInfo())
    provider.call("make_group", {"name": "bears"}, id="c1", usage={"cost": 0.5})
    run, _new = await runs.queue(Start(owner, chain="acting", input={"text": "hi"}))
    await runs.execute(run)
    row = await row_of(run)
    assert (row.error_code, row.payer) == ("budget", "site")
    assert ("connect" in row.private["details"]) is not has_key


async def test_step_that_told_no_cost_is_reckoned_before_the_next_one(provider, owner, monkeypatch):
    monkeypatch.setitem(tool_handlers._handlers, "act", Handler("act", make_group))
    await make(make_acting_chain)()
    await make(make_prices)()
    pot = await make(make_pot)("site", "10")
    gate = Gate()
    provider.call("make_group", {"name": "bears" * 100}, id="c1", usage_event="none")
    provider.reply("said", gate)
    run = await start(owner, "acting")
    await until(lambda: any("said" in part.get("text", "") for part in parts_of(run)))
    assert (await pot.periods.aget()).spent > USD("0.0002")
    gate.open()
    await runs.wait(run)


async def test_model_is_not_asked_again_for_a_run_that_was_deleted(provider, owner, monkeypatch):
    monkeypatch.setitem(tool_handlers._handlers, "act", Handler("act", make_group))
    await make(make_acting_chain)()
    pot = await make(make_pot)("site", "10")
    reserve = paying._reserve

    def delete_first(*args):
        Run.objects.all().delete()
        reserve(*args)

    monkeypatch.setattr(paying, "_reserve", delete_first)
    provider.call("make_group", {"name": "bears"}, id="c1", usage={"cost": 0.5})
    run = await start(owner, "acting")
    await until(lambda: live.executing(run) is None)
    assert len(provider.requests) == 1
    assert await make(settled)(run) == USD("0.5")
    assert (await pot.periods.aget()).reserved == 0


async def test_run_that_waited_fails_where_its_budget_was_spent_meanwhile(provider, owner, monkeypatch):
    monkeypatch.setitem(tool_handlers._handlers, "act", Handler("act", make_group))
    await make(make_acting_chain)(approval="owner")
    await make(make_prices)()
    pot = await make(make_pot)("site", "10")
    provider.call("make_group", {"name": "bears"}, id="c1", usage={"cost": 0.5})
    run = await start(owner, "acting")
    await waits(run)
    await Budget.objects.filter(pk=pot.pk).aupdate(limit=USD("0.5"))
    await runs.decide(owner, run, "c1", approve=True)
    state = (await follow_to_end(owner, run)).state
    assert (state["status"], state["error"]["code"]) == ("failed", "budget")
    assert len(provider.requests) == 1
    period = await pot.periods.aget()
    assert (period.spent, period.reserved) == (USD("0.5"), 0)


@pytest.mark.parametrize("what", ["everything", "the chain"])
async def test_queued_run_does_not_begin_once_it_was_switched_off(provider, owner, what):
    await make(make_chain)()
    await make(make_prices)()
    pot = await make(make_pot)("site", "10")
    run, _new = await runs.queue(Start(owner, chain="echo", input={"text": "hi"}))
    assert (await pot.periods.aget()).reserved > 0
    if what == "everything":
        await KillSwitch.objects.acreate(pk=1, is_on=True, reason="Off until Monday.")
    else:
        await Chain.objects.aupdate(enabled=False)
    await runs.execute(run)
    row = await row_of(run)
    assert (row.status, row.error_code) == ("failed", "forbidden")
    assert what != "everything" or row.error_message == "Off until Monday."
    assert provider.requests == ()
    assert (await pot.periods.aget()).reserved == 0


async def test_fifty_at_once_spend_no_more_than_there_is(provider, settings):
    """A31, through whole runs: the budget pays for three answers."""
    settings.OPENROUTER = {**settings.OPENROUTER, "MAX_RUNS_PER_USER": 0}
    await make(make_chain)(options={"max_tokens": 1_000}, access="public")
    await make(make_prices)()
    pot = await make(make_pot)("site", "0.0065")
    gate = Gate()
    for _ in range(3):
        provider.reply(gate, "Hi", usage={"cost": 0.002})
    owners = [Owner.of_visitor(uuid4()) for _ in range(50)]
    begun = await asyncio.gather(*map(start, owners), return_exceptions=True)
    assert {type(run) for run in begun} == {Refused, UUID}
    made = [(owner, run) for owner, run in zip(owners, begun, strict=True) if isinstance(run, UUID)]
    assert 1 <= len(made) <= 3
    gate.open()
    for who, run in made:
        assert (await follow_to_end(who, run)).state["status"] == "done"
    period = await pot.periods.aget()
    assert period.spent == len(made) * USD("0.002")
    assert period.reserved == 0
    await make(assert_sums_agree)()
    provider.clear()
