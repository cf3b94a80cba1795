"""How much is measured: all of it, or just enough to see that everything runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    rounds: int = 5
    turns: int = 9  # of the floor and the chain in each round: they are cheap, and near to each other
    chunks: int = 3000
    paced_chunks: int = 500
    prefixes: int = 64  # of so many, one is read by those that read prefixes; fewer on small documents
    memory_of_peers: bool = True
    # ---- the push path ----
    push_rounds: int = 3
    flow: float = 4  # seconds for which streams are measured
    many: int = 50  # streams at once, for what is not measured at ten
    sweep_rounds: int = 3
    sweep_flow: float = 3
    sweep_most: int = 800  # streams
    # ---- what a site does beside pushing ----
    busy: int = 200  # streams while transactions are counted
    answer: int = 32_000  # tokens of the answer whose bytes are counted
    follows: int = 20
    stops: int = 40
    megabytes: int = 50
    stalled: int = 100
    stalled_flow: float = 15
    in_a_row: int = 1_000


FULL = Plan()
QUICK = Plan(
    rounds=1,
    turns=3,
    chunks=500,
    paced_chunks=50,
    prefixes=512,
    memory_of_peers=False,
    push_rounds=1,
    flow=0.3,
    many=10,
    sweep_rounds=1,
    sweep_flow=0.3,
    sweep_most=12,
    busy=10,
    answer=500,
    follows=2,
    stops=4,
    megabytes=1,
    stalled=10,
    stalled_flow=0.5,
    in_a_row=20,
)
