"""``make bench``: what a chunk and a delta cost, as ratios in one run. Writes ``docs/benchmarks.md``.

CPU time of this process, medians of rounds in which the contestants take turns; the server is another
process. Absolute figures are this machine's and drift; the ratios are what to read.
"""

from __future__ import annotations

import platform
import sys
from datetime import date
from importlib.metadata import version
from pathlib import Path

from . import arguments, chunks

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
PACKAGES = ("httpx", "msgspec", "partial-json-parser", "django", "uvicorn")


def main() -> None:
    """Run everything and write the page."""
    sections = [chunks.measure(), arguments.measure()]
    about = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    body = "\n\n".join(sections)
    text = f"""# Benchmarks

Made by `make bench` on {date.today().isoformat()}: Python {platform.python_version()}, {about};
CPU time, medians of alternating rounds on a shared machine. Read the ratios: absolute figures drift.

{body}
"""
    PAGE.write_text(text)
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
