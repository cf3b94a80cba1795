"""Meters on our own site: what the log costs, what is said to the database, and what that one writes."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.db import connection
from django.db.backends.signals import connection_created

from openrouter_app.runs.writer import Writer

LOG_THREAD = "openrouter-log"


class LogMeter:
    """CPU seconds of keeping the log: those of the log's thread, and those of flushing on the loop."""

    def __init__(self) -> None:
        self.thread = 0.0
        self.loop = 0.0

    @property
    def seconds(self) -> float:
        return self.thread + self.loop

    def __enter__(self) -> LogMeter:
        self._flush = flush = Writer._flush
        self._before = _cpu_of_log_threads()

        async def metered(writer: Writer) -> None:
            await _Steps(flush(writer), self)

        Writer._flush = metered  # type: ignore[method-assign]
        return self

    def __exit__(self, *_: object) -> None:
        Writer._flush = self._flush  # type: ignore[method-assign]
        self.thread = _cpu_of_log_threads() - self._before


class _Steps:
    """Awaits a coroutine and meters each of its steps."""

    def __init__(self, coroutine: Any, meter: LogMeter) -> None:
        self._coroutine = coroutine
        self._meter = meter

    def __await__(self) -> Generator[Any, Any, Any]:
        step, argument = self._coroutine.send, None
        while True:
            before = time.thread_time()
            try:
                waiting = step(argument)
            except StopIteration as stop:
                return stop.value
            finally:
                self._meter.loop += time.thread_time() - before
            try:
                argument = yield waiting
                step = self._coroutine.send
            except BaseException as error:
                step, argument = self._coroutine.throw, error  # type: ignore[assignment]


def _cpu_of_log_threads() -> float:
    """Of those that are there: the clock of one that has ended is gone."""
    return sum(
        time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
        for thread in threading.enumerate()
        if thread.name.startswith(LOG_THREAD) and thread.ident is not None
    )


@contextmanager
def transactions_of() -> Iterator[Callable[[], int]]:
    """Counts the transactions on every connection that is opened meanwhile: each commit, and each statement
    outside of one. SQLite itself says what it executes.
    """
    made: list[int] = []

    def trace(connection: Any, **_: Any) -> None:
        is_open = False

        def hear(statement: str) -> None:
            nonlocal is_open
            word = statement.split(None, 1)[0].upper()
            if word == "BEGIN":
                is_open = True
            elif word in ("COMMIT", "ROLLBACK"):
                is_open = False
                made.append(1)
            elif word != "PRAGMA" and not is_open:
                made.append(1)

        connection.connection.set_trace_callback(hear)

    connection_created.connect(trace)
    try:
        yield lambda: len(made)
    finally:
        connection_created.disconnect(trace)


class Written:
    """Bytes of the parameters of INSERT and UPDATE on every connection that is opened meanwhile."""

    def __init__(self) -> None:
        self.begin_anew()

    def begin_anew(self) -> None:
        self.bytes = 0
        self.logged = 0
        self.rows = 0

    def __enter__(self) -> Written:
        connection_created.connect(self._opened)
        return self

    def __exit__(self, *_: object) -> None:
        connection_created.disconnect(self._opened)

    def _opened(self, connection: Any, **_: Any) -> None:
        if self._execute not in connection.execute_wrappers:  # it outlives a connection
            connection.execute_wrappers.append(self._execute)

    def _execute(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith(("INSERT", "UPDATE")):
            size = sum(map(_size, params or ()))
            self.bytes += size
            if sql.startswith("INSERT") and "runevent" in sql:
                self.logged += size
                self.rows += 1  # of one run, so one row a flush
        return execute(sql, params, many, context)


def _size(value: Any) -> int:
    if value is None:
        return 0
    return len(value) if isinstance(value, bytes) else len(str(value).encode())


@dataclass(frozen=True)
class Storage:
    """How far a database has come: bytes of its write-ahead log, pages, the bytes of one."""

    ahead: int
    pages: int
    page: int
    version: str


@contextmanager
def storage() -> Iterator[Callable[[], Storage]]:
    """Tells the site's database's storage. No checkpoint happens meanwhile."""
    how = {"sqlite": _sqlite_storage, "postgresql": _postgres_storage}[connection.vendor]
    with how(connection.settings_dict) as now:
        yield now


@contextmanager
def _sqlite_storage(settings: dict[str, Any]) -> Iterator[Callable[[], Storage]]:
    """A reader keeps the oldest state meanwhile, so that the file of the write-ahead log only grows."""
    name = settings["NAME"]

    def now() -> Storage:
        with closing(sqlite3.connect(name)) as fresh:
            pages, page = (
                fresh.execute(f"PRAGMA {asked}").fetchone()[0] for asked in ("page_count", "page_size")
            )
        return Storage(Path(f"{name}-wal").stat().st_size, pages, page, sqlite3.sqlite_version)

    with closing(sqlite3.connect(name, timeout=20, isolation_level=None)) as reader:
        reader.execute("VACUUM")  # pages that are free already would hide growth
        (is_busy, *_) = reader.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if is_busy:
            raise RuntimeError("somebody uses the database: its write-ahead log cannot be measured")
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        yield now


@contextmanager
def _postgres_storage(settings: dict[str, Any]) -> Iterator[Callable[[], Storage]]:
    """The server's autovacuum is off, and its next checkpoint minutes away (`postgres_server`)."""
    import psycopg

    names = {"NAME": "dbname", "USER": "user", "PASSWORD": "password", "HOST": "host", "PORT": "port"}
    asked = """
        SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint,
               sum(pg_total_relation_size(oid))::bigint / current_setting('block_size')::bigint,
               current_setting('block_size')::int, current_setting('server_version')
        FROM pg_class WHERE relkind = 'r' AND relname LIKE 'openrouter\\_app\\_%'
    """

    def now() -> Storage:
        row = own.execute(asked).fetchone()
        assert row is not None
        return Storage(*row)

    given = {name: settings[key] for key, name in names.items()}
    with psycopg.connect(**given, autocommit=True) as own:
        own.execute("CHECKPOINT")
        yield now
