"""A31: who tries to spend more than was meant. Through whole runs, against the fake OpenRouter."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone

from openrouter_app import changing, limits, runs
from openrouter_app.models import Budget, Charge, Conversation, KillSwitch, ModelCall, Owner, Run
from openrouter_app.runs import Refused, Start
from openrouter_app.runs.conversing import NEW
from openrouter_app.testing.scripts import Gate
from tests.factories import make_chain, make_user
from tests.owning import row_of, says
from tests.pots import USD, assert_sums_agree, make_pot, make_prices, sums

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("noon", "provider")]
make = sync_to_async
ENDLESS = 10**9


@pytest.fixture(autouse=True)
async def models(db):
    """``a/b`` costs two dollars for a million tokens of answer, and ``dear/one`` a thousand times as much."""
    await make(make_prices)()
    await make(make_prices)("dear/one", completion_price=USD("0.002"))


def visitor():
    return Owner.of_visitor(uuid4())


async def start(owner, **fields):
    return await runs.start(Start(owner, **{"chain": "echo", "input": {"text": "hi"}, **fields}))


async def refusal(owner, **fields):
    before = await Run.objects.acount(), await Charge.objects.acount()
    with pytest.raises(Refused) as caught:
        await start(owner, **fields)
    assert (await Run.objects.acount(), await Charge.objects.acount()) == before
    return caught.value


async def asked(provider):
    """How often a model was asked."""
    return len(provider.requests)


async def test_A31_of_fifty_visitors_at_once_one_gets_the_budget_for_one(provider):
    await make(make_chain)("echo", options={"max_tokens": 1_000})
    site = await make(make_pot)(limit="0.0021")
    provider.reply("hi", Gate())
    told = await asyncio.gather(*(start(visitor()) for _ in range(50)), return_exceptions=True)
    refused = [error for error in told if isinstance(error, Refused)]
    assert [error.code for error in refused] == ["budget"] * 49
    assert await Run.objects.acount() == 1
    assert len(await make(sums)(site)) == 1


async def test_A31_throwing_the_cookie_away_gives_no_budget_of_ones_own(provider):
    await make(make_chain)("echo")
    await make(make_pot)("each_user", "1000")
    await make(make_pot)(limit="0")
    for _ in range(3):
        assert (await refusal(visitor())).code == "budget"


@pytest.mark.parametrize("length", [ENDLESS, -1, 0, "1", None, 1e308, [1], {"a": 1}, True])
async def test_A31_no_length_that_a_client_asks_for_gets_past_the_budget(provider, length):
    await make(make_chain)("echo", client_options=["max_tokens"], options={"max_tokens": 1})
    await make(make_pot)(limit="0.001")
    assert (await refusal(visitor(), options={"max_tokens": length})).code == "budget"


async def test_A31_dearer_model_is_reckoned_at_its_own_price(provider):
    await make(make_chain)(
        "echo", client_models=["a/b", "dear/one", "not/listed"], options={"max_tokens": 100}
    )
    site = await make(make_pot)(limit="0.1")
    assert (await refusal(visitor(), options={"model": "dear/one"})).code == "budget"
    assert (await refusal(visitor(), options={"model": "other/one"})).code == "invalid_input"
    gate = Gate()
    provider.reply("hi", gate)
    run = await start(
        visitor(), options={"model": "not/listed"}
    )  # may cost anything: it has all that is left
    await says(run, "hi")
    assert await make(sums)(site) == [(0, USD("0.1"))]
    assert (await refusal(visitor())).code == "budget"
    gate.open()
    await until_final(run)
    assert (await make(sums)(site))[0][1] == 0


async def until_final(run):
    await runs.wait(run)
    assert (await row_of(run)).is_final


@pytest.mark.parametrize("name", ["model", "models", "provider", "max_tokens", "max_completion_tokens"])
async def test_A31_what_the_chain_does_not_leave_to_clients_they_cannot_make_dearer(provider, name):
    await make(make_chain)("echo")
    assert (await refusal(visitor(), options={name: ["dear/one"]})).code == "invalid_input"


async def test_A31_long_question_is_reckoned_before_it_is_asked(provider):
    await make(make_chain)("echo", options={"max_tokens": 1})
    await make(make_pot)(limit="0.01")
    assert (await refusal(visitor(), input={"text": "x" * 30_000})).code == "budget"
    assert await asked(provider) == 0


async def test_A31_deleting_what_was_said_gives_no_money_back(provider):
    await make(make_chain)("echo", options={"max_tokens": 1_000})
    ada = await make(make_user)("ada")
    pot = await make(make_pot)("user", "0.01", user=ada)
    provider.reply("hi", usage={"cost": 0.009})
    owner = Owner.of_user(ada)
    await until_final(await start(owner, conversation=NEW))
    await changing.delete(await Conversation.objects.aget())
    assert await Run.objects.acount() == 0
    assert await make(sums)(pot) == [(USD("0.009"), 0)]
    assert (await refusal(owner)).code == "budget"
    await make(assert_sums_agree)()


async def test_A31_deleting_what_was_stopped_before_its_cost_is_known_does_not_make_it_free(provider):
    await make(make_chain)("echo", model="not/listed")
    ada = await make(make_user)("ada")
    pot = await make(make_pot)("user", "0.01", user=ada)
    gate, owner = Gate(), Owner.of_user(ada)
    provider.reply("some words that were said", gate)
    run = await start(owner, conversation=NEW)
    await says(run, "some words that were said")
    await runs.stop(owner, run)
    await until_final(run)
    gate.open()
    assert await make(sums)(pot) == [(0, USD("0.01"))]  # it may have cost all of it
    await changing.delete(await Conversation.objects.aget())
    assert not await Run.objects.aexists()
    assert await make(limits.release_orphans)() == 0
    assert (await refusal(owner)).code == "budget"
    provider.route("GET", "/generation", {"data": {"total_cost": 0.02}})
    await ModelCall.objects.aupdate(ask_after=timezone.now())
    assert await runs.settle() == 1
    assert await make(sums)(pot) == [(USD("0.02"), 0)]
    assert (await refusal(owner)).code == "budget"
    assert await runs.settle() == 0
    assert not await ModelCall.objects.aexists()


async def test_A31_no_limit_is_passed_by_stopping_answers_before_their_cost_is_known(provider):
    await make(make_chain)("echo", options={"max_tokens": 1_000})
    owner = Owner.of_user(await make(make_user)("ada"))
    site = await make(make_pot)(limit="0.0031")  # for one answer, and half another
    provider.reply("some words that were said", Gate())
    run = await start(owner)
    await says(run, "some words that were said")
    worst = (await make(sums)(site))[0][1]
    await runs.stop(owner, run)
    await until_final(run)
    spent, reserved = (await make(sums)(site))[0]
    assert spent > 0
    assert (await row_of(run)).cost_estimated
    assert spent + reserved == worst
    assert (await refusal(owner)).code == "budget"
    provider.route("GET", "/generation", {"data": {"total_cost": 0.001}})
    await ModelCall.objects.aupdate(ask_after=timezone.now())
    assert await runs.settle() == 1
    assert await make(sums)(site) == [(USD("0.001"), 0)]
    provider.reply("whole", usage={"cost": 0.0001})
    await until_final(await start(owner))


async def test_A31_stopping_at_once_again_and_again_is_paid_for(provider):
    await make(make_chain)("echo", options={"max_tokens": 1_000})
    ada = await make(make_user)("ada")
    pot = await make(make_pot)("user", "1", user=ada)
    owner = Owner.of_user(ada)
    for _ in range(3):
        provider.reply("some words that were said", Gate())
        run = await start(owner)
        await says(run, "some words that were said")
        await runs.stop(owner, run)
        await until_final(run)
    spent, reserved = (await make(sums)(pot))[0]
    assert reserved > 0
    assert spent > 0
    await ModelCall.objects.aupdate(ask_after=None)  # whoever could tell knows nothing
    assert await make(limits.release_orphans)() == 3
    assert (await make(sums)(pot))[0] == (spent, 0)
    assert spent == sum([row.cost async for row in Run.objects.all()])


async def test_A31_what_is_over_the_limit_stays_over_it(provider):
    await make(make_chain)("echo", options={"max_tokens": 1})
    site = await make(make_pot)(limit="0.01")
    provider.reply("hi", usage={"cost": 5})  # whatever was reckoned
    await until_final(await start(visitor()))
    assert await make(sums)(site) == [(USD("5"), 0)]
    for _ in range(3):
        assert (await refusal(visitor())).code == "budget"


async def test_A31_everything_is_switched_off_at_once(provider):
    await make(make_chain)("echo")
    await KillSwitch.objects.acreate(pk=1, is_on=True)
    for owner in (visitor(), Owner.of_user(await make(make_user)("boss", is_superuser=True)), Owner.system()):
        assert (await refusal(owner)).code == "forbidden"
    assert await asked(provider) == 0
    assert not await Budget.objects.aexists()


async def test_A31_low_rights_start_no_chain_that_is_not_open_to_them(provider):
    await make(make_chain)("echo", access="staff")
    for owner in (visitor(), Owner.of_user(await make(make_user)("ada"))):
        assert (await refusal(owner)).code == "forbidden"
    assert await asked(provider) == 0
