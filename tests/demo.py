"""The demo as a process of its own, as ``make demo`` starts it, for tests from outside."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
OWN = ("OPENROUTER_", "DJANGO_", "DATABASE_URL")
"""What the developer's environment may say, and the demo of a test must not hear."""


@contextmanager
def served(var: Path) -> Iterator[tuple[str, str]]:
    """The demo's address, and what it said at its start: its database in ``var``, a free port, no account.

    All that it says until its end stands in ``var/demo.log``.
    """
    env = {name: value for name, value in os.environ.items() if not name.startswith(OWN)}
    env |= {"PORT": "0", "HOST": "127.0.0.1", "DEMO_VAR": str(var), "MODEL": ""}
    log = var / "demo.log"
    with open(log, "w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "project.serve"], cwd=ROOT, env=env, stdout=out, stderr=out
        )
    try:
        said = ""
        for _ in range(600):
            if "Ctrl-C" in (said := log.read_text()):
                break
            assert process.poll() is None, said
            time.sleep(0.1)
        found = re.search(r"The page +(http://\S+?)/\n", said)
        assert found, said
        yield found.group(1), said
    finally:
        process.terminate()
        process.wait(20)
