"""Random schedules of faults. ``OPENROUTER_TESTS_SCHEDULES=200`` plays as many instead of a few.

A schedule that fails says its seed: ``OPENROUTER_TESTS_SEED=17`` plays that one alone.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest

from tests.faults.bed import Bed
from tests.faults.schedules import Schedule

ONE = os.environ.get("OPENROUTER_TESTS_SEED")
SEEDS = [int(ONE)] if ONE else range(int(os.environ.get("OPENROUTER_TESTS_SCHEDULES", "5")))


@pytest.mark.parametrize("seed", SEEDS)
async def test_random_faults_break_no_promise(cluster_bed: Bed, seed: int):
    schedule = Schedule(cluster_bed, seed)
    try:
        history = await schedule.play()
    finally:
        print(f"seed {seed}: {', '.join(schedule.deeds)}")
    print(f"{len(history.rows)} runs: {Counter(row.status for row in history.rows)}")
