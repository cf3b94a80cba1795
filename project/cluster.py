"""``python -m project.cluster`` (``make demo-cluster``): the demo as a site of several processes has it.

PostgreSQL, Valkey as the channel layer, and two web processes, on ``PORT`` and the one after it: a run
that was started at one address is watched and stopped at the other. Read from the environment: what
`project.serve` reads. What it starts, it ends.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence

from . import listening, preparation, providers, var
from .children import ROOT, NotServing, running
from .console import give_up, leave_on_signals, say
from .postgres import Missing, Postgres
from .valkey import Valkey
from .web import WebProcess


def main() -> None:
    """Serve until Ctrl-C or a signal."""
    leave_on_signals(signal.SIGINT)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    os.chdir(ROOT)
    var.prepare()
    host, port = listening.asked_for()
    # The sockets first: nothing is started when a port is somebody else's.
    web = [WebProcess(host, port), WebProcess(host, port and port + 1)]
    try:
        _serve(web, Postgres(var.VAR / "cluster" / "postgres"), Valkey(var.VAR / "cluster" / "valkey"))
    except (Missing, NotServing) as error:
        give_up(str(error))


def _serve(web: Sequence[WebProcess], postgres: Postgres, valkey: Valkey) -> None:
    with (
        providers.started(providers.choose(dict(os.environ))) as environment,
        running(postgres, valkey),
    ):
        os.environ.update(
            environment, DATABASE_URL=postgres.url("openrouter"), CHANNEL_LAYER_URL=valkey.url()
        )
        if not postgres.execute("SELECT 1 FROM pg_database WHERE datname = 'openrouter'"):
            postgres.execute("CREATE DATABASE openrouter")
        preparation.prepare_site()
        with running(*web):
            _say_where(web)
            while all(child.is_running for child in (*web, postgres, valkey)):
                time.sleep(0.5)
            give_up("A process of the cluster has ended by itself, so the others are ended too.")


def _say_where(web: Sequence[WebProcess]) -> None:
    for process in web:
        process.wait_ready()
    pages = "".join(f"\n  The page   {process.address}/" for process in web)
    say(
        f"{pages}\n  The admin  {web[0].address}/admin/{preparation.login()}\n"
        f"  {preparation.answers()}\n  Ctrl-C ends it.\n"
    )


if __name__ == "__main__":
    main()
