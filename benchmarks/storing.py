"""What an answer costs a database: the bytes it is handed, those it writes, and the pages it takes."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from .page import Section, Verdict, prose, table
from .plan import Plan
from .push import FAST, RATE, SITE, Paths
from .rounds import Unfit

HANDED_LIMIT = 4.0
FLUSH_INTERVAL, A_FLUSH = 0.25, RATE * 0.25  # the default, and the tokens that come meanwhile
COMPRESSED = 25
SQLITE, POSTGRES = "SQLite", "PostgreSQL"


def measure(paths: Paths, plan: Plan) -> Section:
    """The same answer on SQLite, and on PostgreSQL where there is one."""
    site = SITE if paths.all_fit(FAST) else FAST
    taken: dict[str, Any] = {}
    for name in (SQLITE, POSTGRES):
        try:
            taken[name] = stored(paths, site, name, plan.answer)
        except Unfit as reason:
            paths.unfit[f"what an answer costs {name}"] = str(reason)
    handed = taken[SQLITE]["all"] if SQLITE in taken else None
    title = f"bytes written for an answer of {plan.answer:,} tokens, its text"
    verdict = Verdict(title, HANDED_LIMIT, handed, why=paths.unfit.get(f"what an answer costs {SQLITE}", ""))
    return Section("What an answer costs the database", f"{_about(plan)}\n\n{_table(taken)}", [verdict])


def stored(paths: Paths, site: str, name: str, tokens: int) -> dict[str, Any]:
    """What such a database says of one answer. Raises `Unfit`."""
    with (
        paths.postgres() if name == POSTGRES else nullcontext("") as database,
        paths.worker(site, database=database) as worker,
    ):
        said: dict[str, Any] = worker.turn("payload", tokens, FLUSH_INTERVAL / COMPRESSED, A_FLUSH)
    return said


def _about(plan: Plan) -> str:
    return prose(
        f"""One answer of {plan.answer:,} tokens, {RATE} a second: bytes of the parameters of all INSERTs and
        UPDATEs (of them those into the log), bytes of the database's own write-ahead log, and the pages that
        its file, or the app's tables and indexes, are larger by. Write-ahead log and pages are reported, not
        bounded: SQLite writes every page that a transaction touches, PostgreSQL what has changed in it, and
        the page itself only the first time after a checkpoint. The log's rows are deleted when the answer
        ends, and their pages used again, in PostgreSQL after a VACUUM. No checkpoint and no VACUUM falls into
        the measurement; one of each precedes SQLite's, a checkpoint PostgreSQL's. Time is compressed: the log
        is flushed every {FLUSH_INTERVAL / COMPRESSED * 1e3:g} ms, and as many tokens come that a flush has
        the {A_FLUSH:g} that it has at {RATE} a second and {FLUSH_INTERVAL} s; leases are renewed that much
        more seldom. These are counts, which need no quiet machine: `make bench BENCH_ARGS="--only storing"`
        measures them alone."""
    )


def _table(taken: dict[str, Any]) -> str:
    head = (
        "",
        "text, KB",
        "flushes",
        "parameters, times the text",
        "into the log",
        "write-ahead log, MB",
        "times the text",
        "KB a flush",
        "pages more",
        "MB",
    )
    rows = []
    for name, said in taken.items():
        ahead, pages = said["ahead"], said["pages"]
        rows.append(
            (
                f"{name} {said['version']}",
                f"{said['text'] / 1e3:.0f}",
                f"{said['rows']:,}",
                f"{said['all']:.2f}",
                f"{said['logged']:.2f}",
                f"{ahead / 1e6:.2f}",
                f"{ahead / said['text']:.1f}",
                f"{ahead / said['rows'] / 1e3:.2f}",
                f"{pages:,}",
                f"{pages * said['page'] / 1e6:.2f}",
            )
        )
    return table(head, rows)
