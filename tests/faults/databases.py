"""A database for each test, cloned from one that was migrated and seeded once; and what is in it.

What a test reads, it reads as an outsider, in plain SQL: Django's own connections are the site's.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg

from project.children import ROOT
from project.postgres import Postgres

COLUMNS = (
    "uuid, client_id, status, last_seq, parts, output, prompt_tokens, completion_tokens, cost, error_code"
)


@dataclass(frozen=True, slots=True)
class Row:
    """A run as the database has it."""

    uuid: str
    client_id: str | None
    status: str
    last_seq: int
    parts: list[dict[str, Any]]
    output: Any
    prompt_tokens: int | None
    completion_tokens: int | None
    cost: Decimal | None
    error_code: str

    @classmethod
    def of(cls, values: Sequence[Any]) -> Row:
        """From the columns as either database gives them."""
        uuid, client_id, status, last_seq, parts, output, *tokens, cost, error_code = values
        return cls(
            str(UUID(str(uuid))),
            client_id,
            status,
            last_seq,
            json.loads(parts),
            None if output is None else json.loads(output),
            *tokens,
            None if cost is None else round(Decimal(str(cost)), 10),
            error_code,
        )


class Database:
    """One test's own."""

    url: str

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a statement."""
        raise NotImplementedError

    def drop(self) -> None:
        """Delete it, whoever is connected."""
        raise NotImplementedError

    def locked(self, table: str = "") -> AbstractContextManager[None]:
        """Nobody else writes meanwhile; in PostgreSQL, nobody reads or writes this table."""
        raise NotImplementedError

    def runs(self) -> list[Row]:
        """Every run there is."""
        return [Row.of(values) for values in self.query(f"SELECT {COLUMNS} FROM openrouter_app_run")]

    def logged(self) -> list[tuple[str, int]]:
        """The event log: (run, seq), a row each."""
        rows = self.query(
            "SELECT run.uuid, event.seq FROM openrouter_app_runevent event "
            "JOIN openrouter_app_run run ON run.id = event.run_id"
        )
        return [(str(UUID(str(uuid))), seq) for uuid, seq in rows]


class SqliteFile(Database):
    """A copy of the template file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = f"sqlite:///{path}"

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.path, timeout=20)) as connection:
            return connection.execute(sql).fetchall()

    @contextmanager
    def locked(self, table: str = "") -> Iterator[None]:
        with closing(sqlite3.connect(self.path, timeout=20, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield
            connection.execute("ROLLBACK")

    def drop(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self.path}{suffix}").unlink(missing_ok=True)


class PostgresClone(Database):
    """A database made from the template database, which takes PostgreSQL a twentieth of a second."""

    def __init__(self, server: Postgres, name: str) -> None:
        self.server = server
        self.name = name
        self.url = server.url(name)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        return self.server.execute(sql, database=self.name)

    @contextmanager
    def locked(self, table: str = "openrouter_app_run") -> Iterator[None]:
        with psycopg.connect(self.url.replace("postgres://", "postgresql://")) as connection:
            connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            yield
            connection.rollback()

    def connections(self) -> int:
        """How many the site has open."""
        sql = (
            f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{self.name}' AND pid <> pg_backend_pid()"
        )
        return int(self.server.execute(sql)[0][0])

    def disconnect(self) -> None:
        """Close every connection of the site."""
        self.server.execute(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{self.name}'"
        )

    def make_read_only(self, read_only: bool) -> None:
        """Every connection, those that are open too: they are closed."""
        state = "on" if read_only else "off"
        self.server.execute(f"ALTER DATABASE {self.name} SET default_transaction_read_only = {state}")
        self.disconnect()

    def drop(self) -> None:
        self.server.execute(f"DROP DATABASE {self.name} WITH (FORCE)")


class SqliteTemplate:
    """A file that was migrated and seeded."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self._numbers = count(1)
        self._path = folder / "template.sqlite3"
        prepare({**environment, "DATABASE_URL": f"sqlite:///{self._path}"})

    def clone(self) -> SqliteFile:
        path = self.folder / f"test-{next(self._numbers)}.sqlite3"
        shutil.copyfile(self._path, path)
        return SqliteFile(path)


class PostgresTemplate:
    """A database that was migrated and seeded."""

    NAME = "template_site"

    def __init__(self, server: Postgres, environment: Mapping[str, str]) -> None:
        self.server = server
        self._numbers = count(1)
        server.execute(f"CREATE DATABASE {self.NAME}")
        prepare({**environment, "DATABASE_URL": server.url(self.NAME)})

    def clone(self) -> PostgresClone:
        name = f"test_{next(self._numbers)}"
        self.server.execute(f"CREATE DATABASE {name} TEMPLATE {self.NAME}")
        return PostgresClone(self.server, name)


def prepare(environment: Mapping[str, str]) -> None:
    """Migrate and seed, as the demo does at its start."""
    done = subprocess.run(
        [sys.executable, "-m", "project.preparation"],
        cwd=ROOT,
        env=dict(environment),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
