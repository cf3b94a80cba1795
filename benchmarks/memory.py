"""What a long answer keeps in memory when its parts are consumed and dropped."""

from __future__ import annotations

from statistics import median

from .chunks import CHAIN, FAST
from .contestants import PEERS
from .page import Section, Verdict, prose, spread, table
from .plan import Plan
from .rounds import Streams, Unfit
from .stream_server import text_of

SHORT, LONG = 2_500, 20_000
LIMIT = 1.0


def measure(streams: Streams, plan: Plan) -> Section:
    """The peak of a fresh process for each length; the peers' once, for they are slow and far away."""
    grown: dict[str, list[float]] = {}
    rows = []
    for name in [CHAIN, FAST, *(PEERS if plan.memory_of_peers else ())]:
        rounds = plan.rounds if name in (CHAIN, FAST) else 1
        try:
            peaks = [(_peak(streams, name, SHORT), _peak(streams, name, LONG)) for _ in range(rounds)]
        except Unfit as reason:
            streams.unfit[name] = str(reason)
            continue
        grown[name] = [long - short for short, long in peaks]
        short, long = zip(*peaks, strict=True)
        rows.append((name, f"{median(short):.1f}", f"{median(long):.1f}", spread(grown[name])))
    head = ("", f"peak at {SHORT:,} chunks, MB", f"at {LONG:,} chunks, MB", "more, MB")
    text = prose(
        f"""The most memory of a fresh process that streams one answer and drops its parts, after {LONG:,}
        chunks and after {SHORT:,}. {"The peers once each." if plan.memory_of_peers else ""}"""
    )
    more = median(grown[CHAIN]) if CHAIN in grown else None
    title = f"memory: {LONG:,} chunks against {SHORT:,}, more"
    verdict = Verdict(title, LIMIT, more, unit=" MB", why=streams.unfit.get(CHAIN, ""))
    return Section("Memory of a long answer", f"{text}\n\n{table(head, rows)}", [verdict])


def _peak(streams: Streams, name: str, count: int) -> float:
    with streams.worker(name) as worker:
        said = worker.turn(f"each {count}", False)
        if said["length"] != len(text_of(count)):
            raise Unfit("it read another text")
        return float(said["peak"])
