"""How many streams a process carries before they are late."""

from __future__ import annotations

from collections.abc import Callable

from .rounds import Worker

MOST_LATENCY = 0.05
LEAST_SHARE = 0.95
"""Of the tokens: where fewer come, somebody cannot keep up, and the latency tells nothing."""
STEP = 1.05
FEWEST = 4
TRIES = 2


def streams_before_late(worker: Worker, rate: int, seconds: float, guess: float, most: int) -> int:
    """The largest number of streams that is in time."""

    def is_in_time(streams: int) -> bool:
        for _ in range(TRIES):
            said = worker.turn("steady", streams, rate, seconds)
            if said["p99"] <= MOST_LATENCY and said["came"] >= LEAST_SHARE:
                return True
        return False

    worker.turn("steady", FEWEST, rate, min(seconds, 1))
    return largest(is_in_time, _ladder(most), guess)


def _ladder(most: int) -> list[int]:
    steps, at = [FEWEST], float(FEWEST)
    while steps[-1] < most:
        at *= STEP
        if round(at) > steps[-1]:
            steps.append(min(round(at), most))
    return steps


def largest(holds: Callable[[int], bool], ladder: list[int], guess: float) -> int:
    """The largest number of the ladder for which it holds, 0 where for none: from a guess in growing
    strides to where it turns, then by halves.
    """
    at = max((step for step, number in enumerate(ladder) if number <= guess), default=0)
    stride, low, high = 1, -1, len(ladder)
    while high - low > 1:
        if holds(ladder[at]):
            low = at
        else:
            high = at
        if low >= 0 and high < len(ladder):
            at = (low + high) // 2
        elif low >= 0:
            at = min(low + stride, len(ladder) - 1)
        else:
            at = max(high - stride, 0)
        stride *= 2
    return ladder[low] if low >= 0 else 0
