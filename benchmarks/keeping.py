"""What a site does beside pushing: its log, its database, stops, followers, slow readers, its memory."""

from __future__ import annotations

import json
import tempfile
import urllib.request
from pathlib import Path
from statistics import median
from typing import Any

from .page import Section, Verdict, prose, spread, table
from .plan import Plan
from .push import FAST, RATE, SITE, Paths
from .pushing import percentile
from .rounds import Unfit, Worker

LOG_LIMIT, TRANSACTIONS_LIMIT = 5.0, 5.0
FOLLOW_LIMIT, STOP_LIMIT = 300.0, 500.0
STALLED_LIMIT, HARM_LIMIT, ROW_LIMIT = 20.0, 10.0, 5.0
KILOBYTES = 100
STALLED_RUNS = 10
WARM_UP = 100


def measure(paths: Paths, plan: Plan) -> Section:
    """All of it, on SQLite with the default settings; `fast` where it makes a difference and is there."""
    site = SITE if paths.all_fit(FAST) else FAST
    verdicts: list[Verdict] = []
    told = []
    for what in (_log, _transactions, _elsewhere, _stalled, _in_a_row):
        try:
            made, text = what(paths, plan, site)
        except Unfit as reason:
            paths.unfit[f"beside the push path, {what.__name__.strip('_')}"] = str(reason)
            continue
        verdicts += made
        told.append(text)
    text = prose(
        f"""Of the site alone (`{site}`), on SQLite in WAL mode with the default settings but for limits of
        how many runs there may be. Two processes share the database and no channel layer, so that they know
        of each other by the log and the rows alone."""
    )
    return Section("Beside the push path", "\n\n".join((text, *told)), verdicts)


Part = tuple[list[Verdict], str]


def _log(paths: Paths, plan: Plan, site: str) -> Part:
    rows, shares = [], {}
    for streams in (10, plan.many):
        taken = []
        for _ in range(plan.push_rounds):
            with paths.worker(site) as worker:
                worker.turn("steady", 2, RATE, min(plan.flow, 1))
                taken.append(worker.turn("log_share", streams, RATE, plan.flow))
        shares[streams] = [100 * one["share"] for one in taken]
        cells = (
            spread([one["cpu_a_token"] for one in taken], 1e6),
            spread([one["share"] * one["cpu_a_token"] for one in taken], 1e6),
        )
        rows.append((str(streams), *cells, spread(shares[streams])))
    title = f"CPU of keeping the log, of a token's at {plan.many} streams"
    verdict = Verdict(title, LOG_LIMIT, median(shares[plan.many]), " %")
    text = prose(
        """Keeping the log: CPU of the log's thread, which writes and looks at the rows, and of flushing on
        the loop, while all streams flow, in a share of the whole process's."""
    )
    return [verdict], f"{text}\n\n{table(('streams', 'µs CPU a token', 'of it the log', 'in %'), rows)}"


def _transactions(paths: Paths, plan: Plan, site: str) -> Part:
    with paths.worker(site) as worker:
        busy = worker.turn("transactions", plan.busy, RATE, max(plan.flow, 1))
    verdict = Verdict(
        f"database transactions a second at {plan.busy} streams", TRANSACTIONS_LIMIT, busy["transactions"]
    )
    text = prose(
        f"""Transactions at {plan.busy} streams of {RATE} tokens/s: {busy["transactions"]:.1f} a second,
        reads too, as SQLite itself tells them."""
    )
    return [verdict], text


def _elsewhere(paths: Paths, plan: Plan, site: str) -> Part:
    """Followed and stopped: in the process that executes the run, and in another one."""
    with (
        tempfile.TemporaryDirectory() as folder,
        paths.worker(site, Path(folder)) as here,
        paths.worker(site, Path(folder)) as there,
    ):
        cookie = here.turn("visitor")
        run = here.turn("hold", cookie, KILOBYTES)["run"]
        follows = {
            "in the same process": here.turn("follow", cookie, run, plan.follows),
            "in another one, by the log": there.turn("follow", cookie, run, plan.follows),
        }
        here.turn("let_go")
        stops = {
            "in the same process": _stops(paths, plan, cookie, here, here, "h"),
            "in another one, by the row": _stops(paths, plan, cookie, here, there, "t"),
        }
    verdicts = []
    rows = []
    for where, said in follows.items():
        slowest = max(said["seconds"]) if min(said["lengths"]) >= KILOBYTES * 1000 else float("inf")
        title = f"`run.follow` of {KILOBYTES} KB to its snapshot, {where}, the slowest of {plan.follows}"
        verdicts.append(Verdict(title, FOLLOW_LIMIT, slowest * 1e3, " ms"))
        rows.append((f"snapshot, {where}", spread(said["seconds"], 1e3)))
    for where, seconds in stops.items():
        title = f"stop to closed provider connection, {where}, p99 of {plan.stops}"
        verdicts.append(Verdict(title, STOP_LIMIT, percentile(seconds, 99) * 1e3, " ms"))
        rows.append((f"stop, {where}", spread(seconds, 1e3)))
    text = prose(
        f"""Snapshot: from `run.follow` on a fresh socket to the frame, {plan.follows} times, while the run
        goes on. Stop: from `run.stop` to the moment at which the provider sees its connection closed,
        {plan.stops} runs one after another."""
    )
    return verdicts, f"{text}\n\n{table(('', 'ms'), rows)}"


def _stops(paths: Paths, plan: Plan, cookie: str, here: Worker, asked: Worker, tag: str) -> list[float]:
    """Seconds from each stop to its closed connection; infinite where that was never closed."""
    started = here.turn("start_many", cookie, plan.stops, tag)
    moments = asked.turn("stop_many", cookie, started, 0.037)
    with urllib.request.urlopen(f"{paths.base_url}/closed") as said:
        closed: dict[str, float] = json.load(said)
    here.turn("let_go")
    return [closed.get(f"{tag}{number}", float("inf")) - at for number, at in enumerate(moments)]


def _stalled(paths: Paths, plan: Plan, site: str) -> Part:
    taken: dict[int, list[dict[str, Any]]] = {0: [], plan.stalled: []}
    for _ in range(plan.sweep_rounds):
        for readers, said in taken.items():
            with paths.worker(site) as worker:
                worker.turn("steady", 2, RATE, min(plan.flow, 1))
                said.append(worker.turn("stalled", plan.megabytes, readers, STALLED_RUNS, plan.stalled_flow))
    pairs = list(zip(taken[plan.stalled], taken[0], strict=True))
    more = [with_them["more"] - without["more"] for with_them, without in pairs]
    later = [1e3 * (with_them["p99"] - without["p99"]) for with_them, without in pairs]
    who = f"{plan.stalled} stalled readers while {plan.megabytes} MB stream"
    stuck = min(one["stuck"] for one in taken[plan.stalled])
    why = "" if stuck == plan.stalled else f"only {stuck} had stalled"
    verdicts = [
        Verdict(f"{who}, more memory", STALLED_LIMIT, None if why else median(more), " MB", why=why),
        Verdict(f"{who}, others' p99, later", HARM_LIMIT, None if why else median(later), " ms", why=why),
    ]
    rows = (
        (str(readers), spread([one["more"] for one in said]), spread([one["p99"] for one in said], 1e3))
        for readers, said in taken.items()
    )
    head = ("stalled readers", "most memory, more than before, MB", "others' p99, ms")
    text = prose(
        f"""{STALLED_RUNS} runs stream {plan.megabytes} MB in {plan.stalled_flow:g} s, each with a page that
        reads; on them {plan.stalled} readers, whose sockets take a snapshot and nothing after it, and
        beside them ten streams of {RATE} tokens/s. What the answers themselves take is what is more without
        those readers."""
    )
    return verdicts, f"{text}\n\n{table(head, rows)}"


def _in_a_row(paths: Paths, plan: Plan, site: str) -> Part:
    with paths.worker(site) as worker:
        said = worker.turn("in_a_row", plan.in_a_row, min(WARM_UP, plan.in_a_row))
    verdict = Verdict(
        f"{plan.in_a_row:,} runs one after another, more memory", ROW_LIMIT, said["more"], " MB"
    )
    text = prose(
        f"""{plan.in_a_row:,} runs of 20 tokens one after another, each on a socket of its own, after
        {WARM_UP} unmeasured: {said["more"]:.2f} MB more, {said["cpu"] * 1e3:.1f} ms CPU a run from its
        start to its row."""
    )
    return [verdict], text
