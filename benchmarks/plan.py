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


FULL = Plan()
QUICK = Plan(rounds=1, turns=3, chunks=500, paced_chunks=50, prefixes=512, memory_of_peers=False)
