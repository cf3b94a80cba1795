"""One web process of the demo: uvicorn with the app, on a socket that it is given.

`serve` is that process; `WebProcess` is the same from outside, with an address that stays its own when
it is started again (``python -m project.web FD`` is what it runs).
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from .children import Child, NotServing
from .listening import listen, reachable

FRAME_LIMIT = 4 * 65_536
"""Bytes after which the server closes a socket; from a quarter of it on the app answers with an error."""


def serve(listening: socket.socket) -> None:
    """Serve until a signal."""
    import uvicorn

    config = uvicorn.Config(
        "project.asgi:application",
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        ws_max_size=FRAME_LIMIT,
        lifespan="on",
        log_level="warning",
        timeout_graceful_shutdown=5,
    )
    uvicorn.Server(config).run(sockets=[listening])


class WebProcess(Child):
    """`serve` in a process of its own. It keeps its port; while it does not run, nobody is there."""

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        log: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        # Its runs may go on for a while after it was asked to leave.
        super().__init__([], log=log, environment=environment, patience=45)
        self.host = host
        self._listening: socket.socket | None = listen(host, port)
        self.port = int(self._listening.getsockname()[1])

    @property
    def address(self) -> str:
        """Where it serves, without a slash at the end."""
        return f"http://{reachable(self.host)}:{self.port}"

    def start(self) -> None:
        """Start it; connections wait until it serves."""
        # The socket is let go as soon as the process has it: when that has ended, who connects is refused.
        with self._listening or listen(self.host, self.port) as listening:
            self._listening = None
            self.command = [sys.executable, "-m", "project.web", str(listening.fileno())]
            self._spawn(pass_fds=[listening.fileno()])

    def wait_ready(self, seconds: float = 30) -> None:
        """Block until it answers a request. `NotServing` where it ends before, or does not in time."""
        deadline = time.monotonic() + seconds
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        while time.monotonic() < deadline and self.is_running:
            try:
                with opener.open(f"{self.address}/static/openrouter_app/img/icon.svg", timeout=seconds):
                    return
            except urllib.error.HTTPError:
                return
            except OSError:
                time.sleep(0.02)
        raise NotServing(f"{' '.join(self.command)} does not serve.\n{self.said()}")


if __name__ == "__main__":
    # uvicorn says the signal again once it has left, which would look like a crash.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    serve(socket.socket(fileno=int(sys.argv[1])))
