"""Money while processes die: no reservation is lost, and the ledger has what the runs have cost.

Through whole sites; `tests.faults.test_budgets` does the same below them, with more at once.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from decimal import Decimal
from typing import Any

import pytest

from openrouter_app.testing import Gate
from project.children import ROOT
from tests.faults.bed import Bed
from tests.faults.pages import Page
from tests.followers import until

SEED = int(os.environ.get("FAULTS_SEED", random.randrange(2**32)))
LONG = 60.0
"""Seconds for what a busy machine has to do several times over."""
LEDGER = (
    "SELECT COALESCE(SUM(charge.settled), 0) FROM openrouter_app_charge charge "
    "JOIN openrouter_app_budgetperiod period ON period.id = charge.period_id "
    "JOIN openrouter_app_budget budget ON budget.id = period.budget_id "
    "WHERE budget.scope IN ('site', 'own') AND budget.period = 'day'"
)


async def prepare(bed: Bed) -> None:
    environment = {**bed.environment, "DATABASE_URL": bed.database.url}
    seeding = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.faults.priced", cwd=ROOT, env=environment
    )
    assert await seeding.wait() == 0


async def value(bed: Bed, sql: str) -> Any:
    """The one value of a statement; money as a Decimal."""
    ((found,),) = await asyncio.to_thread(bed.database.query, sql)
    return round(Decimal(str(found)), 10)


async def unfinished(bed: Bed) -> int:
    sql = "SELECT count(*) FROM openrouter_app_run WHERE status IN ('queued', 'running')"
    return int(await value(bed, sql))


async def all_ended(bed: Bed, seconds: float = LONG) -> None:
    for _ in range(round(seconds / 0.1)):
        if not await unfinished(bed):
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"{await unfinished(bed)} runs have not ended\n{bed.logs()}")


async def sums_agree(bed: Bed, *, is_known: bool = True) -> Decimal:
    """All sums are the same, and nothing is reserved once it is known what everything has cost; answers what
    the runs have cost.
    """
    charges, periods = [
        await value(bed, f"SELECT COALESCE(SUM(reserved), 0) FROM openrouter_app_{table}")
        for table in ("charge", "budgetperiod")
    ]
    assert charges == periods
    assert not is_known or charges == 0
    cost = await value(bed, "SELECT COALESCE(SUM(cost), 0) FROM openrouter_app_run")
    calls = await value(bed, "SELECT COALESCE(SUM(cost), 0) FROM openrouter_app_modelcall")
    assert await value(bed, LEDGER) == cost == calls
    for period in ("day", "month"):
        spent = (
            "SELECT COALESCE(SUM(period.spent), 0) FROM openrouter_app_budgetperiod period "
            "JOIN openrouter_app_budget budget ON budget.id = period.budget_id "
            f"WHERE budget.scope = 'site' AND budget.period = '{period}'"
        )
        assert await value(bed, spent) == cost
    return cost


async def settled(bed: Bed) -> None:
    """Until OpenRouter was asked about all that can be asked about."""
    open_calls = (
        "SELECT count(*) FROM openrouter_app_modelcall WHERE settled_at IS NULL AND ask_after IS NOT NULL"
    )
    for _ in range(400):
        if not await value(bed, open_calls):
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"{await value(bed, open_calls)} calls are not settled\n{bed.logs()}")


async def killed_in_mid_answer(bed: Bed) -> None:
    await prepare(bed)
    site = await bed.site(IDLE_TIMEOUT=60, FIRST_CONTENT_TIMEOUT=60)  # what is held back is only killed
    page = await bed.page(site)
    for _ in range(3):
        bed.provider.reply("It has come to an end.")
    done = [await page.start() for _ in range(3)]
    for run in done:
        await page.ended(run)
    gates = [Gate() for _ in range(5)]
    for gate in gates:
        bed.provider.reply("word " * 40, gate, "never said")
    begun = [await page.start() for _ in gates]
    for run in begun:
        await page.says(run, "word")
    stored = "SELECT count(*) FROM openrouter_app_modelcall WHERE ended IS NULL"
    for _ in range(100):
        if await value(bed, stored) == len(begun):
            break
        await asyncio.sleep(0.05)
    reserved = await value(bed, "SELECT SUM(reserved) FROM openrouter_app_charge")
    assert reserved > 0
    site.kill()
    assert await value(bed, "SELECT SUM(reserved) FROM openrouter_app_charge") == reserved
    await site.serves()
    await all_ended(bed)
    for run in begun:
        assert (await page.ended(run, LONG))["status"] == "interrupted"
    assert await sums_agree(bed, is_known=False) > 0
    await settled(bed)
    exact = sum(round(Decimal(str(made.cost)), 10) for made in bed.provider.generations.values())
    assert len(bed.provider.generations) == 8
    assert await sums_agree(bed) == exact
    estimates = "SELECT count(*) FROM openrouter_app_run WHERE cost_estimated"
    assert await value(bed, estimates) == 0
    for gate in gates:
        gate.open()
    await bed.check(fresh_snapshots=True)


async def killed_at_any_moment(bed: Bed) -> None:
    draw = random.Random(SEED)
    await prepare(bed)
    site = await bed.site()
    page = await bed.page(site)
    started: list[str] = []
    for _ in range(4):
        bed.provider.chunk_delay = draw.choice([0.0, 0.01, 0.05])
        started += [await page.start(wait=False) for _ in range(draw.randrange(3, 8))]
        if draw.random() < 0.5:
            await _stop_one(page, started, draw)
        await asyncio.sleep(draw.uniform(0, 0.6))
        site.kill()
        await site.serves()
    for start in started:
        await page.ended(await page.accepted(start, LONG), LONG)
    await all_ended(bed)
    await until(lambda: page.is_connected)
    await sums_agree(bed, is_known=False)
    await settled(bed)
    assert await sums_agree(bed) > 0


async def _stop_one(page: Page, started: list[str], draw: random.Random) -> None:
    known = [page.runs[start] for start in started if start in page.runs]
    if known:
        await page.stop(draw.choice(known))


@pytest.fixture(autouse=True)
def _seed() -> None:
    print(f"FAULTS_SEED={SEED}")


async def test_runs_of_a_killed_site_cost_what_openrouter_says_on_sqlite(bed: Bed):
    await killed_in_mid_answer(bed)


async def test_runs_of_a_killed_site_cost_what_openrouter_says_on_postgresql(cluster_bed: Bed):
    await killed_in_mid_answer(cluster_bed)


async def test_no_reservation_is_lost_whenever_a_site_is_killed_on_sqlite(bed: Bed):
    await killed_at_any_moment(bed)


async def test_no_reservation_is_lost_whenever_a_site_is_killed_on_postgresql(cluster_bed: Bed):
    await killed_at_any_moment(cluster_bed)
