"""Pots and their ledger: what is reserved before a model is asked, and settled after."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import uuid4

import pytest
from django.contrib.auth.models import Group
from django.db import transaction
from django.utils import timezone

from openrouter_app import limits
from openrouter_app.limits import ledger
from openrouter_app.models import Budget, BudgetPeriod, Charge, ModelCall, Owner, Run
from openrouter_app.refusals import Refused
from tests.factories import make_chain, make_run, make_user
from tests.pots import (
    USD,
    WORST,
    ask_of,
    assert_sums_agree,
    let_in,
    make_pot,
    make_prices,
    refusal_of,
    settled,
    sums,
)

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


@pytest.fixture
def now(noon, monkeypatch, settings):
    """Sets the clock, which is the site's."""
    settings.TIME_ZONE = "UTC"

    def at(text: str) -> None:
        moment = datetime.fromisoformat(text).replace(tzinfo=UTC)
        monkeypatch.setattr("django.utils.timezone.now", lambda: moment)

    at("2026-03-30 12:00")
    return at


# ---- what a run may cost ----


@pytest.mark.parametrize(
    ("fields", "cost"),
    [
        ({}, "0.003"),
        ({"prompt_bytes": 0}, "0.002"),
        ({"prompt_bytes": 3}, "0.002003"),
        ({"options": {"max_tokens": 10}}, "0.00102"),
        ({"options": {"max_completion_tokens": 10}}, "0.00102"),
        ({"options": {"max_tokens": 10, "max_completion_tokens": 20}}, "0.00104"),
        ({"options": {"max_tokens": None}}, "0.003"),
        ({"prompt_bytes": 10_000_000}, "0.102"),  # no prompt is longer than the context
        ({"fallbacks": ["dear/one"]}, "0.201"),
        ({"options": {"models": ["dear/one"]}}, "0.201"),
        ({"model": "thinks/dearly"}, "0.031"),
    ],
)
def test_worst_case_is_the_prompt_and_the_longest_answer_of_the_dearest_model(chain, fields, cost):
    site = make_pot(limit="1")
    make_prices("dear/one", completion_price=USD("0.0002"))
    make_prices("thinks/dearly", reasoning_price=USD("0.00003"))
    let_in(ask_of(chain, **fields))
    assert sums(site) == [(0, USD(cost))]


@pytest.mark.parametrize("odd", [-1, 0, True, "10", 1.5, [10], 10**40, float("nan")])
def test_what_is_no_length_of_an_answer_does_not_make_it_cheaper(chain, odd):
    site = make_pot(limit="1")
    try:
        let_in(ask_of(chain, options={"max_tokens": odd, "max_completion_tokens": 5}))
    except Refused as refused:
        assert (refused.code, odd) == ("budget", 10**40)
    else:
        assert sums(site) == [(0, WORST)]


def test_length_of_the_context_counts_where_no_other_is_known(chain):
    site = make_pot(limit="1")
    make_prices("long/one", max_completion_tokens=None)
    let_in(ask_of(chain, model="long/one", prompt_bytes=0))
    assert sums(site) == [(0, USD("0.2"))]


@pytest.mark.parametrize("model", ["not/listed", "open/auto", "long/unknown"])
def test_what_nobody_knows_the_price_of_takes_all_that_is_left_and_runs_alone(chain, model):
    make_prices("open/auto", prompt_price=None, completion_price=None)
    make_prices("long/unknown", max_completion_tokens=None, context_length=None)
    site, of_chain = make_pot(limit="1"), make_pot("chain", "0.4", chain=chain)
    first = ask_of(chain, model=model)
    let_in(first)
    assert [sums(site), sums(of_chain)] == [[(0, USD("0.4"))], [(0, USD("0.4"))]]
    refused = refusal_of(ask_of(chain, model=model))
    assert (refused.code, refused.details["left"]) == ("budget", "0")
    limits.settle(first.run, USD("0.1"))
    let_in(ask_of(chain, model=model))
    assert sums(of_chain) == [(USD("0.1"), USD("0.3"))]
    assert_sums_agree()


def test_what_costs_nothing_is_let_in_where_nothing_is_left(chain):
    make_prices("free/one", prompt_price=0, completion_price=0, max_completion_tokens=None)
    site = make_pot(limit="0")
    let_in(ask_of(chain, model="free/one"))
    assert sums(site) == [(0, 0)]
    assert refusal_of(ask_of(chain)).code == "budget"


# ---- pots ----


def test_without_a_limit_nothing_is_reserved_and_all_is_counted(chain, ada):
    ask = ask_of(chain, ada, model="not/listed")
    let_in(ask)
    site = Budget.objects.get()
    assert (site.scope, site.period, site.limit) == ("site", "day", None)
    assert sums(site) == [(0, 0)]
    limits.settle(ask.run, USD("0.0012"), model="a/b-2026", estimated=True)
    assert sums(site) == [(USD("0.0012"), 0)]
    charge = Charge.objects.get()
    assert (charge.user, charge.chain_slug, charge.run.uuid) == (ada, "echo", ask.run)
    assert (charge.settled, charge.model, charge.estimated) == (USD("0.0012"), "a/b-2026", True)


def test_all_pots_of_a_run_hold_it_and_no_others(chain, ada):
    ours, theirs = Group.objects.create(name="ours"), Group.objects.create(name="theirs")
    ada.groups.add(ours)
    bob = make_user("bob")
    mine = [
        make_pot(),
        make_pot("site", "5", "month"),
        make_pot("chain", chain=chain),
        make_pot("chain", "5", "month", chain=chain),
        make_pot("group", "5", group=ours),
        make_pot("user", "5", user=ada),
        make_pot("each_user", "5", "month"),
    ]
    others = [
        make_pot("chain", "5", chain=make_chain("other")),
        make_pot("group", "5", group=theirs),
        make_pot("user", "5", user=bob),
        make_pot("own"),
        make_pot("each_user", "5", "day"),  # Ada has one of her own for a day
        make_pot("chain", "5"),  # whose chain is gone
        make_pot("user", "5", "month"),
    ]
    ask = ask_of(chain, ada)
    let_in(ask)
    assert [sums(pot) for pot in mine] == [[(0, WORST)]] * len(mine)
    assert [sums(pot) for pot in others] == [[]] * len(others)
    limits.settle(ask.run, USD("0.001"))
    assert [sums(pot) for pot in mine] == [[(USD("0.001"), 0)]] * len(mine)
    assert BudgetPeriod.objects.get(budget__scope="each_user").holder == str(ada.pk)


def test_each_user_has_a_pot_of_his_own(chain, ada):
    pot = make_pot("each_user", "0.004")
    let_in(ask_of(chain, ada))
    assert refusal_of(ask_of(chain, ada)).message.startswith("Your budget for today has $0.001 left")
    let_in(ask_of(chain, make_user("bob")))
    assert sums(pot) == [(0, WORST), (0, WORST)]


def test_visitors_and_the_system_count_for_the_site_and_the_chain_alone(chain):
    site, of_chain = make_pot(limit="1"), make_pot("chain", "0.007", chain=chain)
    each = make_pot("each_user", "0")
    let_in(ask_of(chain))
    let_in(ask_of(chain, owner=Owner.system()))
    assert [sums(site), sums(of_chain), sums(each)] == [[(0, 2 * WORST)], [(0, 2 * WORST)], []]
    assert refusal_of(ask_of(chain, owner=Owner.system())).message.startswith("This chain's budget")


def test_one_pot_without_room_leaves_all_others_untouched(chain, ada):
    pots = [make_pot(limit="1"), make_pot("user", "0.002", user=ada), make_pot("chain", "1", chain=chain)]
    refusal_of(ask_of(chain, ada))
    assert [sums(pot) for pot in pots] == [[]] * 3


def test_a_user_model_without_groups_has_no_pots_of_groups(chain):
    class Plain:
        pk = 5

    make_pot("group", "0", group=Group.objects.create(name="ours"))
    ask = ask_of(chain, owner=Owner.system())
    from openrouter_app.limits.pots import budgets_for

    assert [budget.scope for budget in budgets_for("site", ask.chain, None)] == ["site"]


@pytest.mark.parametrize(
    ("at", "starts"),
    [
        ("2026-03-30 21:30", [date(2026, 3, 30), date(2026, 3, 1)]),
        ("2026-03-30 22:30", [date(2026, 3, 31), date(2026, 3, 1)]),
        ("2026-03-31 22:30", [date(2026, 4, 1), date(2026, 4, 1)]),
    ],
)
def test_days_and_months_are_those_of_the_sites_time_zone(chain, settings, now, at, starts):
    settings.TIME_ZONE = "Europe/Berlin"
    now(at)
    day, month = make_pot(), make_pot(period="month")
    let_in(ask_of(chain))
    assert [pot.periods.get().starts for pot in (day, month)] == starts


@pytest.mark.parametrize(
    ("at", "period", "resets"),
    [
        ("2026-03-30 12:00", "day", "2026-03-31T00:00:00+02:00"),
        ("2026-03-28 12:00", "day", "2026-03-29T00:00:00+01:00"),
        ("2026-03-30 12:00", "month", "2026-04-01T00:00:00+02:00"),
        ("2026-12-31 12:00", "month", "2027-01-01T00:00:00+01:00"),
        ("2026-12-31 12:00", "day", "2027-01-01T00:00:00+01:00"),
    ],
)
def test_refusal_says_when_the_pot_starts_anew(chain, settings, now, at, period, resets):
    settings.TIME_ZONE = "Europe/Berlin"
    now(at)
    make_pot(limit="0.001", period=period)
    refused = refusal_of(ask_of(chain))
    assert refused.details == {"left": "0.001", "resets": resets}


def test_a_new_day_has_its_whole_budget(chain, now):
    site = make_pot(limit="0.004")
    let_in(ask_of(chain))
    refusal_of(ask_of(chain))
    now("2026-03-31 00:00")
    let_in(ask_of(chain))
    assert sums(site) == [(0, WORST), (0, WORST)]


# ---- what is settled ----


@pytest.mark.parametrize("cost", ["0", "0.0000000001", "0.0029", "0.5", "12345.0000000001"])
def test_settled_is_what_it_cost_and_nothing_stays_reserved(chain, cost):
    site = make_pot(limit="1")
    ask = ask_of(chain)
    let_in(ask)
    for _ in range(2):  # the same again changes nothing
        limits.settle(ask.run, USD(cost))
        assert sums(site) == [(USD(cost), 0)]
    assert settled(ask.run) == USD(cost)


def test_many_small_amounts_leave_nothing_behind(chain):
    site = make_pot(limit="1")
    costs = [USD("0.0000000003") * number for number in range(1, 40)]
    asks = [ask_of(chain, prompt_bytes=7 * number) for number in range(1, 40)]
    for ask in asks:
        let_in(ask)
    for ask, cost in zip(asks, costs, strict=True):
        limits.settle(ask.run, cost)
    assert sums(site) == [(sum(costs), 0)]
    assert_sums_agree()


def test_cost_that_was_corrected_moves_what_was_settled(chain, ada):
    site, mine = make_pot(), make_pot("user", "1", user=ada)
    ask = ask_of(chain, ada)
    let_in(ask)
    limits.settle(ask.run, USD("0.002"), model="a/b", estimated=True)
    assert Charge.objects.filter(estimated=True).count() == 2
    for cost in (USD("0.0025"), USD("0.0005"), USD(0), USD("0.001")):
        limits.settle(ask.run, cost)
        assert [sums(site), sums(mine)] == [[(cost, 0)]] * 2
    assert not Charge.objects.filter(estimated=True).exists()
    assert set(Charge.objects.values_list("model", flat=True)) == {"a/b"}


def test_what_a_stopped_answer_was_not_charged_stays_reserved_until_it_is_known(chain, ada):
    site, mine = make_pot(limit="1"), make_pot("user", "1", user=ada)
    ask = ask_of(chain, ada)
    let_in(ask)
    for _ in range(2):  # said again, it changes nothing
        limits.settle(ask.run, USD("0.002"), estimated=True, hold=True)
        assert [sums(site), sums(mine)] == [[(USD("0.002"), WORST - USD("0.002"))]] * 2
    limits.settle(ask.run, USD("0.0005"), estimated=True, hold=True)  # one of its calls was cheaper
    assert [sums(site), sums(mine)] == [[(USD("0.0005"), WORST - USD("0.002"))]] * 2
    limits.settle(ask.run, USD("0.0009"))
    assert [sums(site), sums(mine)] == [[(USD("0.0009"), 0)]] * 2
    assert_sums_agree()


def test_answer_that_cost_more_than_was_reserved_holds_nothing(chain):
    site = make_pot(limit="1")
    ask = ask_of(chain)
    let_in(ask)
    limits.settle(ask.run, USD("0.5"), estimated=True, hold=True)
    assert sums(site) == [(USD("0.5"), 0)]


def test_yesterdays_run_is_corrected_in_yesterdays_pot(chain, now):
    site = make_pot(limit="1")
    ask = ask_of(chain)
    let_in(ask)
    now("2026-03-31 09:00")
    limits.settle(ask.run, USD("0.002"), estimated=True)
    limits.settle(ask.run, USD("0.001"))
    assert site.periods.get().starts == date(2026, 3, 30)
    assert sums(site) == [(USD("0.001"), 0)]


def test_run_that_waited_reserves_in_the_period_of_now(chain, now):
    day, month = make_pot(limit="1"), make_pot(limit="1", period="month")
    ask = ask_of(chain)
    payer = let_in(ask)
    limits.settle(ask.run, USD("0.001"), final=False)
    assert [sums(day), sums(month)] == [[(USD("0.001"), 0)]] * 2
    now("2026-03-31 09:00")
    assert limits.reserve_more(ask, payer, cost=USD("0.001"))
    assert sums(day) == [(0, WORST), (USD("0.001"), 0)]
    assert sums(month) == [(USD("0.001"), WORST)]
    limits.settle(ask.run, USD("0.0035"))
    assert sums(day) == [(USD("0.0025"), 0), (USD("0.001"), 0)]
    assert sums(month) == [(USD("0.0035"), 0)]
    limits.settle(ask.run, USD("0.0005"))  # less than the first day had: that is given back too
    assert sums(day) == [(0, 0), (USD("0.0005"), 0)]
    assert sums(month) == [(USD("0.0005"), 0)]
    assert_sums_agree()


def test_further_step_gives_back_what_the_one_before_did_not_use(chain):
    site = make_pot(limit="0.0045")
    ask = ask_of(chain)
    payer = let_in(ask)
    for _ in range(2):  # said again where nobody knows what became of the first time
        assert limits.reserve_more(ask, payer, cost=USD("0.001"))
        assert sums(site) == [(USD("0.001"), WORST)]
    with pytest.raises(Refused) as caught:
        limits.reserve_more(ask, payer, cost=USD("0.002"))
    assert (caught.value.code, caught.value.details["left"]) == ("budget", "0.0025")
    assert sums(site) == [(USD("0.001"), WORST)]  # nothing was changed
    limits.settle(ask.run, USD("0.002"))
    assert sums(site) == [(USD("0.002"), 0)]
    assert_sums_agree()


def test_limit_that_was_set_meanwhile_holds_for_the_next_step(chain):
    site = make_pot()
    ask = ask_of(chain)
    payer = let_in(ask)
    Budget.objects.update(limit=USD("0.001"))
    with pytest.raises(Refused):
        limits.reserve_more(ask, payer, cost=USD("0.0001"))
    assert sums(site) == [(0, 0)]


def test_pot_that_is_new_counts_from_the_next_step_on(chain):
    ask = ask_of(chain)
    payer = let_in(ask)
    limits.settle(ask.run, USD("0.001"), final=False)
    new = make_pot("chain", "1", chain=chain)
    limits.reserve_more(ask, payer, cost=USD("0.001"))
    limits.settle(ask.run, USD("0.003"))
    assert sums(new) == [(USD("0.002"), 0)]
    limits.settle(ask.run, USD("0.0005"))
    assert sums(new) == [(0, 0)]
    assert settled(ask.run) == USD("0.0005")
    assert_sums_agree()


def test_run_stays_in_the_pots_it_began_in(chain, ada):
    ours = Group.objects.create(name="ours")
    ada.groups.add(ours)
    pot = make_pot("group", "1", group=ours)
    ask = ask_of(chain, ada)
    payer = let_in(ask)
    ada.groups.clear()
    limits.reserve_more(ask, payer, cost=USD("0.001"))
    limits.settle(ask.run, USD("0.002"))
    assert sums(pot) == [(USD("0.002"), 0)]


@pytest.mark.parametrize("status", sorted(Run.FINAL))
def test_run_that_has_ended_reserves_no_more(chain, status):
    site = make_pot(limit="1")
    ask = ask_of(chain)
    payer = let_in(ask)
    limits.settle(ask.run, USD("0.001"))
    end(ask, status)
    assert not limits.reserve_more(ask, payer, cost=USD("0.002"))
    assert sums(site) == [(USD("0.001"), 0)]


def end(ask, status="done", **fields):
    from django.utils.timezone import now

    Run.objects.filter(uuid=ask.run).update(status=status, ended=now(), lease_until=None, **fields)


def test_run_without_charges_gets_them_when_it_cost_something(chain, ada):
    free, dear = make_run(chain=chain, user=ada), make_run(chain=chain, user=ada, payer="user")
    limits.settle(free.uuid, USD(0))
    limits.settle(dear.uuid, USD("0.2"))
    limits.settle(uuid4(), USD("0.2"))  # nobody knows whose it was
    charge = Charge.objects.get()
    assert (charge.run, charge.user, charge.settled) == (dear, ada, USD("0.2"))
    assert charge.period.budget.scope == "own"


def test_settling_is_part_of_the_callers_transaction(chain):
    site = make_pot(limit="1")
    ask = ask_of(chain)
    let_in(ask)
    with pytest.raises(RuntimeError), transaction.atomic():
        limits.settle(ask.run, USD("0.001"))
        raise RuntimeError
    assert sums(site) == [(0, WORST)]


# ---- what is left over ----


def test_charges_survive_the_run_and_the_user(chain, ada):
    make_pot("user", "1", user=ada)
    ask = ask_of(chain, ada)
    let_in(ask)
    limits.settle(ask.run, USD("0.001"))
    ada.delete()
    assert {(c.run, c.user, c.chain_slug, c.settled) for c in Charge.objects.all()} == {
        (None, None, "echo", USD("0.001"))
    }
    assert_sums_agree()


def test_reservations_of_runs_that_ended_or_are_gone_come_back(chain):
    site = make_pot(limit="1")
    going, waiting, ended, gone, half = (ask_of(chain) for _ in range(5))
    for ask in (going, waiting, ended, gone, half):
        let_in(ask, "waiting" if ask is waiting else "running")
    limits.reserve_more(half, "site", cost=USD("0.0005"))
    end(ended, cost=USD("0.002"))
    Run.objects.filter(uuid__in=[gone.run, half.run]).delete()
    assert set(limits.orphans()) == {ended.run, gone.run, half.run}
    assert limits.release_orphans() == 3
    assert limits.orphans() == []
    assert sums(site) == [(USD("0.0025"), 2 * WORST)]
    assert [settled(ask.run) for ask in (ended, gone, half)] == [USD("0.002"), 0, USD("0.0005")]
    assert not Charge.objects.filter(run_uuid=gone.run, settled=None).exists()
    assert_sums_agree()


def test_exact_cost_that_comes_while_others_are_released_stays(chain, monkeypatch):
    make_pot(limit="1")
    asks = [ask_of(chain), ask_of(chain)]
    for ask in asks:
        let_in(ask)
        end(ask, cost=USD("0.002"), cost_estimated=True)
    settle, exact = ledger._settle, USD("0.001")

    def settling(run, *args, **kwargs):
        monkeypatch.setattr(ledger, "_settle", settle)
        [other] = [ask.run for ask in asks if ask.run != run]
        Run.objects.filter(uuid=other).update(cost=exact, cost_estimated=False)
        limits.settle(other, exact)
        return settle(run, *args, **kwargs)

    monkeypatch.setattr(ledger, "_settle", settling)
    assert limits.release_orphans() == 2
    assert sorted(settled(ask.run) for ask in asks) == [exact, USD("0.002")]
    assert_sums_agree()


def test_run_that_cannot_be_released_keeps_no_other_waiting(chain, monkeypatch):
    site = make_pot(limit="1")
    odd, other = ask_of(chain), ask_of(chain)
    for ask in (odd, other):
        let_in(ask)
        end(ask, cost=USD("0.002"))
    settle = ledger._settle

    def settle_others(run, *args, **kwargs):
        if run == odd.run:
            raise ValueError("no sense")
        return settle(run, *args, **kwargs)

    monkeypatch.setattr(ledger, "_settle", settle_others)
    assert limits.release_orphans() == 1
    assert sums(site) == [(USD("0.002"), WORST)]


def test_release_leaves_what_somebody_has_just_begun_to_ask_about(chain, monkeypatch):
    site = make_pot(limit="1")
    ask = ask_of(chain)
    let_in(ask)
    Run.objects.all().delete()
    orphans = ledger.orphans

    def looked_too_early():
        found = orphans()
        call = {"run_uuid": ask.run, "number": 1, "ended": timezone.now(), "ask_after": timezone.now()}
        ModelCall.objects.create(**call)
        limits.settle(ask.run, USD("0.001"), estimated=True, hold=True)
        return found

    monkeypatch.setattr(ledger, "orphans", looked_too_early)
    assert limits.release_orphans() == 1
    assert sums(site) == [(USD("0.001"), WORST - USD("0.001"))]


def test_amounts_are_decimals_of_ten_places(chain):
    ask = ask_of(chain)
    let_in(ask)
    limits.settle(ask.run, Decimal("0.00000000014999"))
    assert settled(ask.run) == USD("0.0000000001")


def test_whatever_a_server_says_that_its_answers_cost_runs_can_end(chain):
    site = make_pot()
    for _ in range(3):
        ask = ask_of(chain)
        let_in(ask)
        limits.settle(ask.run, USD("99999999"))
    assert sums(site) == [(USD("299999997"), 0)]


@pytest.mark.parametrize("limit", ["1000000", "99999999.99"])
@pytest.mark.parametrize("size", [1, 3, 5, 11])
def test_runs_can_end_whatever_the_last_places_of_a_huge_budget_become(chain, limit, size):
    make_prices("odd/price", prompt_price=USD("0.0000001234"))
    site = make_pot(limit=limit)
    priced, unknown = ask_of(chain, model="odd/price", prompt_bytes=size), ask_of(chain, model="not/listed")
    for ask in (priced, unknown):
        let_in(ask)
    for ask in (unknown, priced):
        limits.settle(ask.run, USD("0.001"))
    [(spent, reserved)] = sums(site)
    assert spent == USD("0.002")
    assert 0 <= reserved < USD("0.000001")
