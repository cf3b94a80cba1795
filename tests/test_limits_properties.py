"""The ledger after any sequence of runs that begin, go on, wait, end, are corrected, die and are deleted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from unittest import mock

import pytest
from django.db import transaction
from hypothesis import example, given, settings
from hypothesis import strategies as st

from openrouter_app import limits
from openrouter_app.limits import Ask
from openrouter_app.models import Budget, BudgetPeriod, Charge, Run
from openrouter_app.refusals import Refused
from tests.engine.properties import MANY
from tests.factories import make_chain, make_user
from tests.pots import USD, WORST, ask_of, assert_sums_agree, let_in, make_pot, make_prices, settled

pytestmark = pytest.mark.django_db

PERCENT = st.integers(0, 100)
ONE = st.integers(0, 5)
STEPS = st.one_of(
    st.tuples(st.just("start"), st.integers(0, 1), st.integers(0, 1), st.booleans()),
    st.tuples(st.just("go on"), ONE, PERCENT),
    st.tuples(st.just("wait"), ONE, PERCENT),
    st.tuples(st.just("end"), ONE, PERCENT),
    st.tuples(st.just("correct"), ONE, PERCENT),
    st.tuples(st.just("die"), ONE),
    st.tuples(st.just("delete"), ONE),
    st.tuples(st.just("limit"), st.integers(0, 6)),
    st.tuples(st.just("reap")),
    st.tuples(st.just("tomorrow")),
)


class Spent:
    """A run as the test knows it: what it has cost, and what may still be said of it."""

    def __init__(self, ask: Ask, payer: str) -> None:
        self.ask, self.payer = ask, payer
        self.cost = Decimal(0)
        self.is_over = self.is_gone = self.is_unsettled = False


class World:
    """Two users, two chains, pots of each kind; each step is done to the ledger, and noted."""

    def __init__(self) -> None:
        make_prices()
        self.chains = [
            make_chain(name, payer=payer) for name, payer in (("a", "site"), ("b", "site_then_user"))
        ]
        self.users = [make_user(name) for name in ("ada", "bob")]
        make_pot(limit=str(4 * WORST))
        make_pot(limit=str(7 * WORST), period="month")
        make_pot("chain", str(3 * WORST), chain=self.chains[0])
        make_pot("each_user", str(3 * WORST))
        self.runs: list[Spent] = []
        self.was_lowered = False
        self.now = datetime(2026, 3, 30, 12, tzinfo=UTC)

    def do(self, step: tuple[Any, ...]) -> None:
        with mock.patch("django.utils.timezone.now", return_value=self.now):
            name, *given = step
            if name in ("go on", "wait", "end", "correct", "die", "delete"):
                self._to_a_run(name, *given)
            else:
                getattr(self, f"_{name}")(*given)
        assert_sums_agree()
        for period in BudgetPeriod.objects.exclude(budget__limit=None).select_related("budget"):
            assert period.spent + period.reserved <= period.budget.limit or self.was_lowered

    def _start(self, chain: int, user: int, has_key: bool) -> None:
        ask = ask_of(self.chains[chain], self.users[user], has_user_key=has_key)
        try:
            self.runs.append(Spent(ask, let_in(ask)))
        except Refused as refused:
            assert refused.code == "budget"
            assert not Charge.objects.filter(run_uuid=ask.run).exists()

    def _to_a_run(self, name: str, number: int, percent: int = 0) -> None:
        if not self.runs:
            return
        run = self.runs[number % len(self.runs)]
        if name != "delete" and run.is_over != (name == "correct"):
            return
        cost = (WORST * percent / 100).quantize(USD("1e-10"))
        if name == "correct":
            if not run.is_unsettled:
                run.cost = min(run.cost, cost)
                Run.objects.filter(uuid=run.ask.run).update(cost=run.cost)
                limits.settle(run.ask.run, run.cost)
        elif name == "go on":
            try:
                limits.reserve_more(run.ask, run.payer, cost=run.cost + cost)
            except Refused:
                self._end(run, run.cost + cost)
            else:
                run.cost += cost
        elif name == "wait":
            run.cost += cost
            Run.objects.filter(uuid=run.ask.run).update(cost=run.cost)
            limits.settle(run.ask.run, run.cost, final=False)
            limits.settle(run.ask.run, run.cost, final=False)
            self._to_a_run("go on", number)
        elif name == "end":
            self._end(run, run.cost + cost)
        elif name == "die":
            self._mark(run, run.cost)
            run.is_unsettled = True
        elif not run.is_gone:
            Run.objects.filter(uuid=run.ask.run).delete()
            run.is_gone, run.is_unsettled = True, run.is_unsettled or not run.is_over
            run.is_over = True

    def _end(self, run: Spent, cost: Decimal) -> None:
        self._mark(run, cost)
        limits.settle(run.ask.run, cost, model="a/b")

    def _mark(self, run: Spent, cost: Decimal) -> None:
        run.cost, run.is_over = cost, True
        Run.objects.filter(uuid=run.ask.run).update(
            status="done", ended=self.now, lease_until=None, cost=cost
        )

    def _limit(self, worsts: int) -> None:
        Budget.objects.filter(scope="site", period="day").update(limit=worsts * WORST)
        self.was_lowered = True

    def _reap(self) -> None:
        limits.release_orphans()
        for run in self.runs:
            run.is_unsettled = False

    def _tomorrow(self) -> None:
        self.now += timedelta(days=1)


@given(st.lists(STEPS, max_size=25))
@settings(max_examples=500 if MANY else 25)
@example(
    [
        ("start", 0, 0, False),
        ("wait", 0, 50),
        ("tomorrow",),
        ("go on", 0, 50),
        ("end", 0, 10),
        ("correct", 0, 5),
    ]
)
@example([("start", 0, 0, False), ("tomorrow",), ("go on", 0, 100), ("die", 0), ("reap",), ("correct", 0, 0)])
@example([("limit", 0), ("start", 1, 0, True), ("die", 0)])
@example([("start", 1, 0, True)] * 5 + [("limit", 0), ("go on", 0, 10), ("delete", 1), ("reap",)])
def test_ledger_holds_after_any_sequence_of_steps(steps):
    with transaction.atomic():
        world = World()
        for step in steps:
            world.do(step)
        for run in world.runs:
            if not run.is_over:
                world._end(run, run.cost)
        world.do(("reap",))
        assert not BudgetPeriod.objects.exclude(reserved=0).exists()
        assert not Charge.objects.filter(settled=None).exists()
        for run in world.runs:
            if not run.is_gone:
                assert settled(run.ask.run) == run.cost
        transaction.set_rollback(True)
