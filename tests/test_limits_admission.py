"""May it run, and who pays: what is switched off, and whose account it is."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.utils import timezone, translation

from openrouter_app import limits
from openrouter_app.models import Chain, Charge, KillSwitch, Owner, Run
from openrouter_app.refusals import Refused
from openrouter_app.runs.starting import Start, prepare
from tests.factories import make_chain, make_user
from tests.pots import USD, WORST, ask_of, let_in, make_pot, make_prices, refusal_of, sums

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("noon")]


@pytest.fixture
def chain():
    return make_chain("echo")


@pytest.fixture
def ada():
    return make_user("ada")


@pytest.fixture(autouse=True)
def prices():
    make_prices()


# ---- what is switched off ----


@pytest.mark.parametrize("reason", ["", "Back at noon."])
def test_kill_switch_lets_nobody_in_not_even_the_system(chain, ada, reason):
    switch = KillSwitch.objects.create(pk=1, is_on=True, reason=reason)
    for ask in (ask_of(chain, ada), ask_of(chain), ask_of(chain, owner=Owner.system())):
        refused = refusal_of(ask)
        assert refused.code == "forbidden"
        assert refused.message == (reason or "The models are switched off for now.")
    switch.is_on = False
    switch.save()
    let_in(ask_of(chain, ada))


def test_chain_that_was_switched_off_meanwhile_lets_nobody_in(chain):
    ask = ask_of(chain)
    Chain.objects.update(enabled=False)
    assert refusal_of(ask).message == "This chain is switched off."


def test_what_is_queued_or_goes_on_is_refused_too(chain):
    limits.check_kill_switch()
    limits.check_kill_switch(chain.pk)
    ask = ask_of(chain)
    payer = let_in(ask)
    KillSwitch.objects.create(pk=1, is_on=True)
    for check in (
        lambda: limits.check_kill_switch(),
        lambda: limits.check_kill_switch(chain.pk),
        lambda: limits.reserve_more(ask, payer, cost=USD("0.001")),
    ):
        with pytest.raises(Refused, match="switched off"):
            check()
    KillSwitch.objects.all().delete()
    Chain.objects.update(enabled=False)
    limits.check_kill_switch()
    for check in (
        lambda: limits.check_kill_switch(chain.pk),
        lambda: limits.reserve_more(ask, payer, cost=USD("0.001")),
    ):
        with pytest.raises(Refused, match="This chain is switched off"):
            check()


# ---- who pays ----


def own():
    """What the pot of users' own spending holds: the runs."""
    return list(Charge.objects.filter(period__budget__scope="own").values_list("run_uuid", "reserved"))


@pytest.mark.parametrize(
    ("payer", "has_key", "paid_by"),
    [
        ("site", False, "site"),
        ("site", True, "site"),
        ("user", True, "user"),
        ("user_or_site", False, "site"),
        ("user_or_site", True, "user"),
        ("site_then_user", False, "site"),
        ("site_then_user", True, "site"),
    ],
)
def test_payer_is_as_the_chain_says(ada, payer, has_key, paid_by):
    site = make_pot(limit="1")
    chain = make_chain("echo", payer=payer)
    ask = ask_of(chain, ada, has_user_key=has_key)
    assert let_in(ask) == paid_by
    assert Run.objects.get().payer == paid_by
    assert sums(site) == ([(0, WORST)] if paid_by == "site" else [])
    assert own() == ([(ask.run, 0)] if paid_by == "user" else [])


def test_what_users_pay_is_never_limited_and_in_no_other_pot(ada):
    chain = make_chain("echo", payer="user")
    pots = [
        make_pot(limit="0"),
        make_pot("chain", "0", chain=chain),
        make_pot("user", "0", user=ada),
        make_pot("each_user", "0"),
    ]
    mine = make_pot("own", "0")  # a limit that no form would take
    ask = ask_of(chain, ada, has_user_key=True)
    let_in(ask)
    assert limits.reserve_more(ask, "user", cost=USD("5"))
    limits.settle(ask.run, USD("7"))
    assert [sums(pot) for pot in pots] == [[]] * 4
    assert sums(mine) == [(USD("7"), 0)]


@pytest.mark.parametrize("visitor", [False, True])
def test_without_an_account_a_chain_that_users_pay_asks_for_one(ada, visitor):
    chain = make_chain("echo", payer="user")
    refused = refusal_of(ask_of(chain, None if visitor else ada))
    assert (refused.code, refused.details) == ("needs_key", {"connect": True})
    assert refused.message.startswith("Sign in and connect" if visitor else "Connect an OpenRouter account")


def test_site_pays_for_the_system_whoever_else_would(settings):
    make_pot(limit="1")
    for payer in Chain.Payer.values:
        chain = make_chain(f"chain-{payer}", payer=payer)
        assert let_in(ask_of(chain, owner=Owner.system())) == "site"


def test_site_pays_up_to_its_budget_and_then_the_user(ada):
    chain = make_chain("echo", payer="site_then_user")
    site = make_pot(limit="0.004")
    first, second = (ask_of(chain, ada, has_user_key=True) for _ in range(2))
    assert [let_in(first), let_in(second)] == ["site", "user"]
    assert sums(site) == [(0, WORST)]
    assert own() == [(second.run, 0)]
    refused = refusal_of(ask_of(chain, ada))
    assert refused.code == "budget"
    assert refused.details["connect"] is True
    assert "OpenRouter account of your own" in refused.message
    assert "connect" not in refusal_of(ask_of(chain, owner=Owner.system())).details


def test_account_of_ones_own_is_offered_wherever_it_would_be_used_instead(ada):
    make_pot(limit="0")
    ask = {payer: ask_of(make_chain(payer, payer=payer), ada) for payer in ("site", "user_or_site")}
    assert "connect" not in refusal_of(ask["site"]).details
    refused = refusal_of(ask["user_or_site"])
    assert refused.code == "budget"
    assert refused.details["connect"] is True
    assert "OpenRouter account of your own" in refused.message


# ---- what is told ----


def test_refusal_says_what_is_left_what_is_set_aside_and_when_it_starts_anew(chain, ada):
    make_pot("user", "0.5", user=ada)
    first = ask_of(chain, ada, prompt_bytes=0, options={"max_tokens": 200_000})
    let_in(first)
    refused = refusal_of(ask_of(chain, ada, options={"max_tokens": 100_000}))
    said = refused.message
    assert said.startswith("Your budget for today has $0.10 left; this answer may cost $0.201. ")
    assert "$0.40 are set aside for answers whose cost is not known yet." in said
    assert "It starts anew on " in said
    assert refused.details["left"] == "0.1"
    limits.settle(first.run, USD("0.5"))
    said = refusal_of(ask_of(chain, ada)).message
    assert said.startswith("Your budget for today has nothing left. It starts anew on ")
    limits.settle(first.run, USD("0.7"))
    assert refusal_of(ask_of(chain, ada)).details["left"] == "0"


@pytest.mark.parametrize(
    ("scope", "period", "named"),
    [
        ("site", "day", "The site's budget for today"),
        ("site", "month", "The site's budget for this month"),
        ("chain", "day", "This chain's budget for today"),
        ("chain", "month", "This chain's budget for this month"),
        ("group", "day", "Your group's budget for today"),
        ("group", "month", "Your group's budget for this month"),
        ("user", "day", "Your budget for today"),
        ("user", "month", "Your budget for this month"),
        ("each_user", "day", "Your budget for today"),
        ("each_user", "month", "Your budget for this month"),
    ],
)
def test_refusal_names_the_pot(chain, ada, scope, period, named):
    from django.contrib.auth.models import Group

    group = Group.objects.create(name="ours")
    ada.groups.add(group)
    target = {"chain": chain, "group": group, "user": ada}
    make_pot(scope, "0.001", period, **({scope: target[scope]} if scope in target else {}))
    assert refusal_of(ask_of(chain, ada)).message.startswith(named)


@pytest.mark.parametrize(
    ("amount", "shown"),
    [("0", "0.00"), ("0.0000001", "0.000001"), ("0.0123456", "0.0124"), ("1.001", "1.01"), ("12", "12.00")],
)
def test_amounts_are_as_exact_as_people_need_them(amount, shown):
    from decimal import ROUND_CEILING

    from openrouter_app.limits.admitting import dollars

    assert dollars(USD(amount), ROUND_CEILING) == shown


def test_amounts_are_written_as_the_reader_writes_them(chain):
    make_pot(limit="0.001")
    with translation.override("de"):
        assert "0,001" in refusal_of(ask_of(chain)).message


def test_time_that_ends_with_a_full_stop_needs_no_other(chain, settings):
    settings.TIME_ZONE = "UTC"
    make_pot(limit="0.001")
    with timezone.override("Asia/Tokyo"):
        assert refusal_of(ask_of(chain)).message.endswith(", 9 a.m.")


def test_start_that_is_made_again_because_its_answer_was_lost_is_the_same_run(chain):
    make_pot(limit=str(WORST))
    start = Start(Owner.of_visitor(uuid4()), chain="echo", input={"text": "x" * 800})
    run = uuid4()
    made = [prepare(start, run) for _ in range(2)]
    assert [again.run for again in made] == [run, run]
    assert Run.objects.count() == 1
    with pytest.raises(Refused):
        prepare(start, uuid4())
