"""Budgets under many runs at once, in processes that are killed, on SQLite and PostgreSQL.

What spends is `tests.faults.spenders`: the floor of limits with no face above it, so that as much as can be
happens at the same time.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from project.children import ROOT
from tests.faults.databases import Database
from tests.faults.sites import base_environment
from tests.pots import WORST, zone_at_noon

pytestmark = pytest.mark.timeout(300)  # two processes full of threads, on a machine that has others
SEED = int(os.environ.get("FAULTS_SEED", random.randrange(2**32)))
LIMITED = {
    "site day": "0.06",
    "site month": "0.1",
    "chain day": "0.03",
    "user month": "0.05",
    "each_user day": "0.07",
    "group day": "0.09",
    "own day": None,
}

TOLD = {"site", "user", "budget", "failed", "died", "busy"}
PATIENCE = "OperationalError: database is locked"
"""What SQLite tells who has waited for 20 s while others were luckier; then it is as if he had died."""
THREADS = {"sqlite": 3, "postgres": 5}

Spend = Callable[..., Any]


@pytest.fixture(params=["sqlite", "postgres"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def database(kind: str, request: pytest.FixtureRequest) -> Database:
    return request.getfixturevalue(f"{kind}_database")


@pytest.fixture
def spend(database: Database, var) -> Spend:
    """Do this in a process; answers what it says. With ``wait=False`` the process."""
    environment = {
        **base_environment(var),
        "DATABASE_URL": database.url,
        "TIME_ZONE": zone_at_noon(),
        # Not without a limit: its locks are part of what happens at the same time.
        "OPENROUTER_MAX_RUNS_PER_USER": "1000000",
        "OPENROUTER_MAX_STARTS_PER_USER": "1000000",
    }

    def call(do: str, *, wait: bool = True, **given: Any) -> Any:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.spenders", json.dumps({"do": do, **given})],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        return said(process) if wait else process

    return call


def said(process: subprocess.Popen[str]) -> Any:
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    return json.loads(out)


def of_both(spend: Spend, do: str, **given: Any) -> Counter[str]:
    """Two processes at once, and what they were told together."""
    two = [
        spend(do, wait=False, **given, **({"seed": SEED + number} if do == "churn" else {}))
        for number in (1, 2)
    ]
    return sum((Counter(said(process)) for process in two), Counter())


def assert_ledger_is_right(spend: Spend) -> None:
    """Sums are those of their charges, nothing is reserved any more, no limit was overshot, and what the
    ledger has is what the runs have cost."""
    state = spend("state")
    assert state["periods"]
    for period in state["periods"]:
        assert Decimal(period["spent"]) == Decimal(period["settled"]), period
        assert Decimal(period["reserved"]) == Decimal(period["set_aside"]) == 0, period
        if period["limit"] is not None:
            assert Decimal(period["spent"]) <= Decimal(period["limit"]), period
    ledger = sum(Decimal(period["settled"]) for period in state["periods"] if period["is_ledger"])
    assert ledger == Decimal(state["cost"])


def test_of_fifty_at_once_one_gets_the_budget_for_one(spend):
    spend("seed", pots={"site day": str(WORST), "site month": "1", "each_user day": "1"})
    assert of_both(spend, "race", threads=25) == {"site": 1, "budget": 49}
    reserved = {Decimal(period["reserved"]) for period in spend("state")["periods"]}
    assert reserved == {WORST}


def test_of_fifty_at_once_one_runs_at_a_price_that_nobody_knows(spend):
    spend("seed", pots={"site day": "1"})
    assert of_both(spend, "race", threads=25, model="not/listed") == {"site": 1, "budget": 49}


@pytest.mark.parametrize("setting", ["MAX_STARTS_PER_USER", "MAX_STARTS_PER_CHAIN"])
def test_of_many_starts_at_once_as_many_are_let_in_as_a_minute_may_have(spend, setting):
    spend("seed", pots={})
    told = spend("hurry", threads=8, **{setting: 2})
    assert told == {"site": 2, "limit": 6}


def test_ledger_is_right_after_many_runs_that_end_fail_and_die(spend, kind):
    spend("seed", pots=LIMITED, payer="site_then_user")
    told = of_both(spend, "churn", threads=THREADS[kind], rounds=8)
    assert_only(told, kind)
    assert told["site"]
    assert told["user"]
    assert spend("reap") >= told["died"]
    assert_ledger_is_right(spend)


def test_ledger_is_right_after_a_process_was_killed(spend, kind):
    spend("seed", pots=LIMITED, payer="site_then_user")
    killed = spend("churn", wait=False, threads=THREADS[kind], rounds=10_000, seed=SEED)
    other = spend("churn", wait=False, threads=THREADS[kind], rounds=8, seed=SEED + 1)
    told = said(other)
    assert killed.poll() is None
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=20)
    assert_only(told, kind)
    assert spend("reap")
    assert_ledger_is_right(spend)


@pytest.mark.parametrize("what", ["user", "conversation", "old run", "run"])
def test_run_is_deleted_in_the_moment_it_is_settled(spend, what):
    spend("seed", pots=LIMITED)
    assert spend("delete", what=what) == {"settled": 1, "deleted": 1}
    spent = [period["spent"] for period in spend("state")["periods"] if period["is_ledger"]]
    assert [Decimal(amount) for amount in spent] == [WORST]


def assert_only(told: dict[str, int], kind: str) -> None:
    """Nothing but what may happen; no deadlock above all."""
    assert set(told) <= (TOLD | {PATIENCE} if kind == "sqlite" else TOLD), (SEED, told)
