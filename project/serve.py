"""``python -m project.serve`` (``make demo``): the whole demo in one command.

Migrates, seeds, finds out who answers, and serves. Read from the environment: ``HOST``, ``PORT``,
``OPENROUTER_API_KEY``, ``OPENROUTER_BASE_URL``, ``MODEL=local``. What it starts, it ends.
"""

from __future__ import annotations

import os
import socket

from . import listening, preparation, providers, var, web
from .children import ROOT
from .console import leave_on_signals, say


def main() -> None:
    """Serve until Ctrl-C or a signal."""
    leave_on_signals()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    os.chdir(ROOT)
    var.prepare()
    try:
        # The socket first: nothing is started when the port is somebody else's.
        with (
            listening.listen(*listening.asked_for()) as taken,
            providers.started(providers.choose(dict(os.environ))) as environment,
        ):
            os.environ.update(environment)
            preparation.prepare_site()
            _say_where(taken)
            web.serve(taken)
    except KeyboardInterrupt:
        say("")


def _say_where(taken: socket.socket) -> None:
    host, port = taken.getsockname()[:2]
    site = f"http://{listening.reachable(host)}:{port}/"
    say(
        f"\n  The page   {site}\n  The admin  {site}admin/{preparation.login()}\n"
        f"  {preparation.answers()}\n  Ctrl-C ends it.\n"
    )


if __name__ == "__main__":
    main()
