"""Contestants in turns: the median CPU seconds of each."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median


def medians(contestants: dict[str, Callable[[], None]], rounds: int = 7) -> dict[str, float]:
    """One round unmeasured, then ``rounds`` in which each takes its turn."""
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds + 1):
        for name, run in contestants.items():
            before = time.process_time()
            run()
            if number:
                taken[name].append(time.process_time() - before)
    return {name: median(times) for name, times in taken.items()}
