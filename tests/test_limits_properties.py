"""The ledger after any sequence of runs that begin, go on, wait, end, are stopped, asked about and corrected,
die and are deleted.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from unittest import mock

import pytest
from django.db import transaction
from django.db.models import F
from hypothesis import example, given, settings
from hypothesis import strategies as st

from openrouter_app import limits
from openrouter_app.limits import Ask
from openrouter_app.limits.ledger import PATIENT_QUESTIONS
from openrouter_app.models import Budget, BudgetPeriod, Charge, ModelCall, Run
from openrouter_app.refusals import Refused
from openrouter_app.runs import costs, leases, settling
from openrouter_app.runs.costs import Called
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
    st.tuples(st.just("delete"), ONE, PERCENT),
    st.tuples(st.just("stop"), ONE, PERCENT, PERCENT),
    st.tuples(st.just("store"), ONE),
    st.tuples(st.just("report"), ONE, PERCENT),
    st.tuples(st.just("ask"), ONE),
    st.tuples(st.just("tell"), ONE),
    st.tuples(st.just("clear up")),
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
        self.steps = 1
        self.before = Decimal(0)
        """What the calls before the last one have cost, where that broke off."""
        self.real: Decimal | None = None
        """What it has cost in truth, where only OpenRouter knows that; the last call broke off then."""
        self.is_reported = self.is_told = False
        """Whether its process has said how the last call ended; whether OpenRouter has said what it cost."""
        self.is_covered = True
        """Whether what it may have cost is still reserved."""

    @property
    def calls(self) -> Any:
        return ModelCall.objects.filter(run_uuid=self.ask.run)

    @property
    def unknown(self) -> ModelCall | None:
        """The call that OpenRouter is asked about."""
        return self.calls.filter(settled_at=None, ask_after__isnull=False).first()

    def called(self, cost: Decimal | None = None, *, is_known: bool = False, is_over: bool = True) -> Called:
        """The last call, as its process has it; the calls before have cost what the run has so far."""
        call = Called(self.steps, "a/b", generation_id="gen-x", prompt_bytes=400, cost=cost, is_said=is_known)
        if is_over:
            call.end()
        return call

    def store(self, *calls: Called) -> None:
        row = Run.objects.filter(uuid=self.ask.run).values_list("pk", flat=True).first()
        costs.store([call.row(self.ask.run, row) for call in calls])


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
        """Whether there may be less room than was taken."""
        self.now = datetime(2026, 3, 30, 12, tzinfo=UTC)

    def do(self, step: tuple[Any, ...]) -> None:
        with mock.patch("django.utils.timezone.now", return_value=self.now):
            name, *given = step
            if name in ("stop", "store", "report", "ask", "tell"):
                if self.runs:
                    number, *percents = given
                    getattr(self, f"_{name}")(self.runs[number % len(self.runs)], *map(self._part, percents))
            elif name in ("go on", "wait", "end", "correct", "die", "delete"):
                self._to_a_run(name, *given)
            else:
                getattr(self, f"_{name.replace(' ', '_')}")(*given)
        assert_sums_agree()
        for run in self.runs:
            self._assert_is_covered(run)
        for period in BudgetPeriod.objects.exclude(budget__limit=None).select_related("budget"):
            assert period.spent + period.reserved <= period.budget.limit or self.was_lowered

    @staticmethod
    def _part(percent: int) -> Decimal:
        return (WORST * percent / 100).quantize(USD("1e-10"))

    @staticmethod
    def _assert_is_covered(run: Spent) -> None:
        """What it has cost in truth is charged or reserved as long as there is hope to learn it."""
        if run.real is None or not run.is_covered or run.payer != "site":
            return
        if not run.calls.filter(attempts__gte=PATIENT_QUESTIONS).exists():
            charges = Charge.objects.filter(
                run_uuid=run.ask.run, period__budget__scope="site", period__budget__period="day"
            )
            assert sum((charge.settled or 0) + charge.reserved for charge in charges) >= run.real

    def _stop(self, run: Spent, estimate: Decimal, real: Decimal) -> None:
        if run.is_over:
            return
        run.store(run.called(estimate))
        run.before, run.real, run.is_reported = run.cost, run.cost + real, True
        self._mark(run, run.cost + estimate, status="stopped", cost_estimated=True)
        leases.settle(Run.objects.get(uuid=run.ask.run).pk, final=True)

    def _store(self, run: Spent) -> None:
        """Its process writes down that a model has begun to answer."""
        if not run.is_over:
            run.store(run.called(is_over=False))

    def _report(self, run: Spent, estimate: Decimal) -> None:
        """Its process finds that it is gone."""
        if run.is_told and not run.calls.exists():
            return  # too late: until it is told again this would be an estimate
        if run.is_gone and run.real is not None and not run.is_reported:
            earlier = costs.Totals(cost=run.before, calls=run.steps - 1)
            assert leases.settle_gone(run.ask.run, [run.called(estimate)], earlier)
            run.is_reported = True
            self.was_lowered |= not run.is_covered

    def _ask(self, run: Spent) -> None:
        """OpenRouter does not know it yet."""
        run.calls.filter(settled_at=None, ask_after__isnull=False).update(attempts=F("attempts") + 1)

    def _tell(self, run: Spent) -> None:
        if run.real is not None and (call := run.unknown) is not None:
            self.was_lowered |= not run.is_covered or call.attempts >= PATIENT_QUESTIONS
            assert settling.note(call.pk, {"total_cost": str(run.real - run.before)})
            run.cost, run.is_told = run.real, True

    def _clear_up(self) -> None:
        settling.clear_up()

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
        cost = self._part(percent)
        if name in ("go on", "wait", "end", "die"):
            run.store(run.called(cost, is_known=True))
        if name == "correct":
            if run.real is None and not run.is_unsettled:
                run.cost = min(run.cost, cost)
                Run.objects.filter(uuid=run.ask.run).update(cost=run.cost)
                limits.settle(run.ask.run, run.cost)
        elif name == "go on":
            try:
                limits.reserve_more(run.ask, run.payer, cost=run.cost + cost)
            except Refused:
                self._end(run, run.cost + cost)
            else:
                run.cost, run.steps = run.cost + cost, run.steps + 1
        elif name == "wait":
            run.cost, run.steps = run.cost + cost, run.steps + 1
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
            run.is_gone = True
            if not run.is_over:
                run.is_over, run.before, run.real = True, run.cost, run.cost + cost

    def _end(self, run: Spent, cost: Decimal) -> None:
        self._mark(run, cost)
        limits.settle(run.ask.run, cost, model="a/b")

    def _mark(self, run: Spent, cost: Decimal, status: str = "done", **fields: Any) -> None:
        run.cost, run.is_over = cost, True
        Run.objects.filter(uuid=run.ask.run).update(
            status=status, ended=self.now, lease_until=None, cost=cost, **fields
        )

    def _limit(self, worsts: int) -> None:
        Budget.objects.filter(scope="site", period="day").update(limit=worsts * WORST)
        self.was_lowered = True

    def _reap(self) -> None:
        limits.release_orphans()
        for run in self.runs:
            run.is_unsettled = False
            if run.is_gone and run.real is not None and not run.is_reported and not run.calls.exists():
                run.is_covered = False  # nobody has written down that a model was asked

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
@example(
    [("start", 0, 0, False), ("store", 0), ("delete", 0, 90), ("clear up",), ("tell", 0), ("report", 0, 10)]
)
@example(
    [("start", 0, 0, False), ("stop", 0, 10, 90), ("reap",), ("delete", 0, 0), ("clear up",), ("tell", 0)]
)
@example(
    [
        ("start", 0, 0, False),
        ("wait", 0, 50),
        ("store", 0),
        ("delete", 0, 90),
        ("clear up",),
        ("reap",),
        ("report", 0, 10),
        ("tell", 0),
        ("clear up",),
    ]
)
@example(
    [("start", 0, 0, False), ("wait", 0, 50), ("delete", 0, 90), ("report", 0, 10), ("reap",), ("tell", 0)]
)
@example([("start", 1, 0, True)] * 5 + [("limit", 0), ("go on", 0, 10), ("delete", 1), ("reap",)])
def test_ledger_holds_after_any_sequence_of_steps(steps):
    with transaction.atomic():
        world = World()
        for step in steps:
            world.do(step)
        for run in world.runs:
            if not run.is_over:
                world._end(run, run.cost)
        world.do(("clear up",))
        for number in range(len(world.runs)):
            for _ in range(0 if number % 2 else PATIENT_QUESTIONS):
                world.do(("ask", number))
            world.do(("tell", number) if number % 2 else ("reap",))
        world.do(("reap",))
        world.do(("clear up",))
        assert not BudgetPeriod.objects.exclude(reserved=0).exists()
        assert not Charge.objects.filter(settled=None).exists()
        for run in world.runs:
            if run.is_told or not run.is_gone:
                assert settled(run.ask.run) == run.cost
        transaction.set_rollback(True)
