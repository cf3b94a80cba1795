"""A PostgreSQL for one measurement: ``python -m benchmarks.postgres_server FOLDER``, until it is told to end.

In a process of its own, for its programs are installed for our environment and not for the interpreter
of ``make bench``. Answers ``["url"]``; ends itself at any other order, and where nobody asks any more.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from project.children import running
from project.postgres import Missing, Postgres, remove


def main() -> None:
    folder = Path(sys.argv[1])
    try:
        server = Postgres(folder)
    except Missing as missing:
        _reply({"not_offered": str(missing)})
        return
    try:
        with running(server):
            server.execute("ALTER SYSTEM SET autovacuum = off")
            server.execute("SELECT pg_reload_conf()")
            _reply({"ready": True})
            while (line := sys.stdin.readline()) and json.loads(line) == ["url"]:
                _reply(server.url())
    finally:
        remove(folder)
    if line:
        _reply({})


def _reply(said: object) -> None:
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
