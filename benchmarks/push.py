"""From the provider's bytes to a websocket's frame: our site against the lean loops and the peers."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .environments import Environment
from .page import Section, Verdict, prose, share, spread, table
from .paths import PATHS
from .plan import Plan
from .rounds import Taken, Unfit, Worker, ratio
from .sweep import MOST_LATENCY, streams_before_late

WORKER, SERVER = "benchmarks.push_worker", "benchmarks.postgres_server"
FEW, RATE, SLOW_RATE = 10, 50, 30
SITE, FAST, LEAN, LEAN_FAST = "site", "site, fast", "lean loop", "lean loop, fast"
PEERS = {
    SITE: {"openai": 1 / 1.7, "langchain-openrouter": 1 / 6},
    FAST: {"openai, uvloop": 1 / 2.5, "langchain-openrouter, uvloop": 1 / 9},
}
LEAN_LIMIT = 1.3
LATENCY_LIMITS = {"p50": 25.0, "p99": 100.0}
SWEPT = (LEAN_FAST, FAST, "openai, uvloop")
SWEEP_LIMITS = {LEAN_FAST: 0.8, "openai, uvloop": 4.0}
AT_FEW, AT_MANY, LATE50, LATE99 = "few", "many", "p50", "p99"


class Paths:
    """The ways that can take part, against one provider. Each worker has a folder of its own for its site."""

    def __init__(self, environments: dict[str, Environment], base_url: str) -> None:
        self._environments = environments
        self.base_url = base_url
        self.unfit: dict[str, str] = {}

    @contextmanager
    def worker(self, name: str, folder: Path | None = None, database: str = "") -> Iterator[Worker]:
        """A fresh process; its site is on a new SQLite file or on this empty ``database``. Raises `Unfit`."""
        environment = self._environments.get(PATHS[name].environment)
        if environment is None:
            raise Unfit("its packages could not be installed")
        with tempfile.TemporaryDirectory() as fresh:
            home = str(folder or fresh)
            with Worker(environment, name, self.base_url, home, database, module=WORKER) as worker:
                yield worker

    @contextmanager
    def postgres(self) -> Iterator[str]:
        """The address of an empty database of a PostgreSQL of its own. Raises `Unfit`."""
        with tempfile.TemporaryDirectory() as folder:
            data = str(Path(folder) / "postgres")
            with Worker(self._environments["ours"], data, module=SERVER) as server:
                try:
                    yield server.turn("url")
                finally:
                    server.turn("end")

    def all_fit(self, *names: str) -> str:
        """Why some of these took no part; empty where all did."""
        return next((self.unfit[name] for name in names if name in self.unfit), "")


def measure(paths: Paths, plan: Plan) -> Section:
    """CPU a token, latency, and how many streams a process carries."""
    taken = _rounds(paths, plan)
    swept = _sweep(paths, plan, taken)
    verdicts = [*_cpu_verdicts(paths, plan, taken), *_sweep_verdicts(paths, swept)]
    for name in (SITE, FAST):
        for which, limit in LATENCY_LIMITS.items():
            title = f"push: {name}, {plan.many} streams x {SLOW_RATE} tokens/s, added latency, {which}"
            figures = taken[which].get(name)
            worst = max(figures) * 1e3 if figures else None
            verdicts.append(Verdict(title, limit, worst, " ms", why=paths.all_fit(name)))
    text = "\n\n".join((_about(plan), _cpu_table(plan, taken), _sweep_text(plan), _sweep_table(swept)))
    return Section("The push path", text, verdicts)


def _rounds(paths: Paths, plan: Plan) -> dict[str, Taken]:
    """What each took, by the figure: one a round, all paths in turns, each in a fresh process."""
    taken: dict[str, Taken] = {figure: {} for figure in (AT_FEW, AT_MANY, LATE50, LATE99)}
    for _ in range(plan.push_rounds):
        for name in PATHS:
            if name in paths.unfit:
                continue
            try:
                with paths.worker(name) as worker:
                    figures = _figures(worker, name, plan)
            except Unfit as reason:
                paths.unfit[name] = str(reason)
                continue
            for figure, value in figures.items():
                taken[figure].setdefault(name, []).append(value)
    return {
        figure: {name: values for name, values in by_name.items() if name not in paths.unfit}
        for figure, by_name in taken.items()
    }


def _figures(worker: Worker, name: str, plan: Plan) -> dict[str, float]:
    worker.turn("steady", 2, RATE, min(plan.flow, 1))  # imports, caches, connections
    figures = {AT_FEW: worker.turn("steady", FEW, RATE, plan.flow)["cpu_a_token"]}
    if PATHS[name].environment == "ours":
        figures[AT_MANY] = worker.turn("steady", plan.many, RATE, plan.flow)["cpu_a_token"]
        late = worker.turn("steady", plan.many, SLOW_RATE, plan.flow)
        figures |= {LATE50: late["p50"], LATE99: late["p99"]}
    return figures


def _cpu_verdicts(paths: Paths, plan: Plan, taken: dict[str, Taken]) -> Iterator[Verdict]:
    for ours, limits in PEERS.items():
        for peer, limit in limits.items():
            title = f"push: CPU a token, {FEW} streams, {ours}, against {peer}"
            against = ratio(taken[AT_FEW], ours, peer)
            yield Verdict(title, limit, against, why=paths.all_fit(ours, peer))
    for ours, lean in ((SITE, LEAN), (FAST, LEAN_FAST)):
        title = f"push: CPU a token, {plan.many} streams, {ours}, against the {lean}"
        against = ratio(taken[AT_MANY], ours, lean)
        yield Verdict(title, LEAN_LIMIT, against, why=paths.all_fit(ours, lean))


def _sweep(paths: Paths, plan: Plan, taken: dict[str, Taken]) -> Taken:
    """Streams before they are late, a figure a round; each search begins where the last one ended."""
    swept: Taken = {}
    for _ in range(plan.sweep_rounds):
        for name in SWEPT:
            if name in paths.unfit:
                continue
            few = taken[AT_FEW][name][0]
            guess = swept[name][-1] if name in swept else 0.9 / (RATE * few)
            try:
                with paths.worker(name) as worker:
                    found = streams_before_late(worker, RATE, plan.sweep_flow, guess, plan.sweep_most)
            except Unfit as reason:
                paths.unfit[name] = str(reason)
                continue
            swept.setdefault(name, []).append(float(found))
    return {name: found for name, found in swept.items() if name not in paths.unfit}


def _sweep_verdicts(paths: Paths, swept: Taken) -> Iterator[Verdict]:
    for base, limit in SWEEP_LIMITS.items():
        title = f"push: streams of {RATE} tokens/s in a process, {FAST}, against the {base}"
        yield Verdict(title, limit, ratio(swept, FAST, base), why=paths.all_fit(FAST, base), is_least=True)


def _about(plan: Plan) -> str:
    return prose(
        f"""From the bytes of a provider in another process to the frame that is handed to the ASGI `send`.
        "site" is all of ours: the ASGI application with sessions and the consumer, a run for each stream
        with its log in SQLite, lease and followers, one socket a stream. Nothing is a server here: a
        function stands where uvicorn's `send` would, for all of them alike, so that its cost, the same for
        all, does not hide the differences. "Lean loop": `ChatOpenRouter.astream` over the same transport
        into `consumer.send`, one frame a token, without log, followers and a way back. The peers are the
        same loop with their own client. "fast": aiohttp and uvloop; there the peers are on uvloop too. CPU
        of the whole process, all its threads, in {plan.flow:g} s in which all streams flow; starts and ends
        of runs are outside. A delta is the moment it is sent, so that its latency is known where it is
        handed over."""
    )


def _cpu_table(plan: Plan, taken: dict[str, Taken]) -> str:
    def against(figure: str, name: str, base: str) -> str:
        value = ratio(taken[figure], name, base)
        return "" if value is None else share(value)

    def cell(figure: str, name: str, scale: float) -> str:
        return spread(taken[figure][name], scale) if name in taken[figure] else ""

    rows = []
    for name in (name for name in PATHS if name in taken[AT_FEW]):
        is_fast = PATHS[name].uvloop
        ours, lean = (FAST, LEAN_FAST) if is_fast else (SITE, LEAN)
        late = [cell(LATE50, name, 1e3), cell(LATE99, name, 1e3)]
        few, many = cell(AT_FEW, name, 1e6), cell(AT_MANY, name, 1e6)
        rows.append((name, few, against(AT_FEW, ours, name), many, against(AT_MANY, name, lean), *late))
    head = (
        "",
        f"µs CPU a token, {FEW} streams",
        "site takes",
        f"{plan.many} streams",
        "against lean",
        f"latency at {plan.many} x {SLOW_RATE}/s: p50, ms",
        "p99, ms",
    )
    return table(head, rows)


def _sweep_text(plan: Plan) -> str:
    return prose(
        f"""How many streams of {RATE} tokens/s a process carries before the 99th percentile of the added
        latency, over {plan.sweep_flow:g} s, passes {MOST_LATENCY * 1e3:.0f} ms or less than 95 % of the
        tokens come: searched in steps of 5 %, a number that fails being tried twice. The provider takes a
        part of the machine too."""
    )


def _sweep_table(swept: Taken) -> str:
    rows = []
    for name in (name for name in SWEPT if name in swept):
        against: Any = ratio(swept, FAST, name)
        rows.append((name, spread(swept[name]), "" if against is None else share(against)))
    return table(("", "streams", "site, fast carries"), rows)
