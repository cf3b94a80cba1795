"""Processes that the demo and the tests of faults start.

Each is in a session of its own, so that Ctrl-C reaches only whoever started it, which then ends it.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent


class NotServing(RuntimeError):
    """A process was started and does not serve; the text ends with what it said."""


class Account(NamedTuple):
    """Whom a process runs as, by number."""

    user: int
    group: int

    def options(self) -> dict[str, object]:
        """What `subprocess.Popen` takes for it."""
        return {"user": self.user, "group": self.group, "extra_groups": []}


class Child:
    """One process: its command, and what may be done to it. It can be started again after its end.

    ``log`` is the file its output is added to; without one it writes where this process does.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Path | None = None,
        environment: Mapping[str, str] | None = None,
        account: Account | None = None,
        patience: float = 10,
    ) -> None:
        self.command = list(command)
        self.log = log
        self.environment = dict(environment or {})
        self.account = account
        self.patience = patience
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; whether it serves yet is for its kind to say."""
        self._spawn()

    def _spawn(self, pass_fds: Sequence[int] = ()) -> None:
        output = (
            None if self.log is None else os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        )
        try:
            self._process = subprocess.Popen(  # noqa: S603  (our own commands)
                self.command,
                cwd=ROOT,
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                pass_fds=pass_fds,
                **(self.account.options() if self.account else {}),  # type: ignore[call-overload]
            )
        finally:
            if output is not None:
                os.close(output)

    @property
    def pid(self) -> int | None:
        """Its number while it runs."""
        return self._process.pid if self._process is not None and self.is_running else None

    @property
    def is_running(self) -> bool:
        """Whether it has been started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def send(self, number: int) -> None:
        """Send a signal; nothing where it has ended."""
        if self._process is not None:
            self._process.send_signal(number)

    def freeze(self) -> None:
        """It stands still, its sockets open, as on a machine that swaps or sleeps."""
        self.send(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on where it stood."""
        self.send(signal.SIGCONT)

    def kill(self) -> None:
        """Gone at once, with nothing cleaned up."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def end(self, number: int = signal.SIGTERM) -> None:
        """Ask it to leave and wait; after its ``patience`` it is killed."""
        if self._process is None:
            return
        self.send(number)
        self.thaw()
        try:
            self._process.wait(self.patience)
        except subprocess.TimeoutExpired:
            self.kill()

    @property
    def exit_code(self) -> int | None:
        """With what it ended, None while it runs."""
        return None if self._process is None else self._process.poll()

    def said(self) -> str:
        """What is in its log, all its lives together."""
        return self.log.read_text(errors="replace") if self.log is not None and self.log.exists() else ""


@contextmanager
def running(*children: Child) -> Iterator[None]:
    """Start them in this order; at the end ask all of them at once to leave, the last one first."""
    try:
        for child in children:
            child.start()
        yield
    finally:
        for child in reversed(children):
            child.send(signal.SIGTERM)
        for child in reversed(children):
            child.end()
