"""Tool arguments in small deltas: our incremental parser against reading the whole prefix each time."""

from __future__ import annotations

from statistics import median

from .documents import DELTA, DOCUMENTS, LARGE, SMALL, document
from .environments import Environment
from .page import Section, Verdict, prose, share, spread, table
from .plan import Plan
from .rounds import Taken, Worker, exponent, ratio

LIMITS = {"records": 1 / 200, "long text": 1 / 150}
GROWTH_LIMIT = 1.1


def measure(environment: Environment, plan: Plan) -> Section:
    """Both documents, small and large."""
    verdicts, growths, rows = [], [], []
    for name in DOCUMENTS:
        deltas = len(document(name, LARGE)) / DELTA
        shares = {"ours": 16, "jiter": max(plan.prefixes // 64, 1)}
        small = _taken(environment, name, SMALL, plan.rounds, shares)
        large = _taken(environment, name, LARGE, plan.rounds, {"ours": 1, "jiter": plan.prefixes})
        against = ratio(large, "ours", "jiter")
        title = f"arguments: {name}, 256 KB in {DELTA}-byte deltas, against jiter"
        verdicts.append(Verdict(title, LIMITS[name], against))
        sizes = len(document(name, LARGE)) / len(document(name, SMALL))
        for reader in ("ours", "jiter"):
            growth = exponent(median(small[reader]), median(large[reader]), sizes)
            if reader == "ours":
                growths.append(
                    Verdict(f"arguments: {name}, growth from 8 KB to 256 KB", GROWTH_LIMIT, growth)
                )
            cells = (spread(small[reader], 1e6 / deltas * sizes), spread(large[reader], 1e6 / deltas))
            total = f"{median(large[reader]):.2f}"
            told = share(against) if against and reader == "ours" else ""
            rows.append((name, reader, *cells, total, f"{growth:.2f}", told))
    head = ("", "", "µs CPU a delta at 8 KB", "at 256 KB", "s for all of 256 KB", "exponent", "ours takes")
    text = prose(
        f"""Argument text in {DELTA}-byte deltas. Ours feeds each to `PartialJSON` and has its operations.
        Beside it the whole prefix is read again at each delta, as the peers do, with the fastest reader
        there is: `jiter.from_json(prefix, partial_mode="trailing-strings")`. What that costs depends on the
        prefix alone, so one delta in {plan.prefixes} is taken, evenly spread, and the sum multiplied. The
        exponent is that of the growth from 8 KB to 256 KB: 1 is in proportion, 2 with the square."""
    )
    return Section("Progressive tool arguments", f"{text}\n\n{table(head, rows)}", [*verdicts, *growths])


def _taken(environment: Environment, name: str, size: int, rounds: int, shares: dict[str, int]) -> Taken:
    """CPU seconds for a document, a figure a round, each after a small one unmeasured."""
    taken: Taken = {reader: [] for reader in shares}
    for _ in range(rounds):
        for reader, share_ in shares.items():
            with Worker(environment, "parse", reader) as worker:
                worker.turn(name, SMALL, 4)
                taken[reader].append(float(worker.turn(name, size, share_)["cpu"]))
    return taken
