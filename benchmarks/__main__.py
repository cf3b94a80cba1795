"""``make bench``: what we cost against the peers and against the floors. Writes ``docs/benchmarks.md``.

It makes its own environments at the first run. ``--quick`` measures next to nothing, to see that
everything runs, and writes to ``build/bench/quick.md`` instead. ``--only push keeping`` measures these
subjects and puts them into the page that is there.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

from . import arguments, chunks, environments, imports, keeping, memory, push, storing
from .page import Section, render, spliced
from .plan import FULL, QUICK
from .rounds import Streams, server

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "benchmarks.md"
NOTES = HERE / "notes.md"
SUBJECTS = ("chunks", "arguments", "memory", "push", "keeping", "storing", "imports")


def main() -> None:
    """Run everything and write the page."""
    asked = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    asked.add_argument("--quick", action="store_true", help="a smoke run: no figure in it means anything")
    asked.add_argument("--only", nargs="+", choices=SUBJECTS, default=SUBJECTS, metavar="SUBJECT")
    said = asked.parse_args()
    plan = QUICK if said.quick else FULL
    ready = environments.prepare()
    ours = ready["ours"]
    with server(ours.python) as base_url, server(ours.python, "benchmarks.pacing") as paced_url:
        streams = Streams(ready, base_url)
        paths = push.Paths(ready, paced_url)
        subjects: dict[str, Callable[[], Section]] = {
            "imports": lambda: imports.measure(ready, plan),
            "chunks": lambda: chunks.measure(streams, plan),
            "arguments": lambda: arguments.measure(ours, plan),
            "memory": lambda: memory.measure(streams, plan),
            "push": lambda: push.measure(paths, plan),
            "keeping": lambda: keeping.measure(paths, plan),
            "storing": lambda: storing.measure(paths, plan),
        }
        measured = {}
        for name, measure in subjects.items():
            if name not in said.only:
                continue
            begun = time.monotonic()
            measured[name] = measure()
            print(f"{name}: {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
    sections = [measured[name] for name in SUBJECTS if name in measured]
    unfit = streams.unfit | paths.unfit
    if len(sections) == len(SUBJECTS) or said.quick:
        text = render(_about(ready), sections, unfit, NOTES.read_text())
    else:
        text = spliced(PAGE.read_text(), sections, f"Measured by itself. {_about(ready)}", unfit)
    page = environments.HOME / "quick.md" if said.quick else PAGE
    page.write_text(text)
    sys.stdout.write(text)


def _about(ready: dict[str, environments.Environment]) -> str:
    versions = ready["ours"].versions
    own = ", ".join(f"{name} {versions[name]}" for name in environments.SHOWN if name in versions)
    packages = {name: wanted[0].split("[")[0] for name, wanted in environments.PEERS.items() if name in ready}
    peers = ", ".join(f"{package} {ready[name].versions[package]}" for name, package in packages.items())
    machine = f"Python {versions['python']}, {platform.machine()}, {os.cpu_count()} cores"
    return f"""Made by `make bench` on {date.today().isoformat()}: {machine}. Ours: {own}. Peers: {peers}.
CPU time, medians of alternating rounds; in brackets the least and the most. Read the ratios: absolute
figures are this machine's and drift."""


if __name__ == "__main__":
    main()
