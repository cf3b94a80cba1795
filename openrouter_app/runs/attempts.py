"""An attempt at a plain handler: it runs in a thread of its own, which nobody can end, and may be given up.

SQLite has one writer. A handler that hangs in its transaction would keep all others from writing, the end
of its own run included. So a transaction that is given up is rolled back from outside, and what its thread
does to that connection afterwards changes nothing.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connections, router, transaction

from ..models import ToolCall

log = logging.getLogger("openrouter_app.tools")

SERIALIZED = 3
"""`sqlite3.threadsafety` of a library whose connections several threads may use."""


class GivenUp(Exception):
    """Nobody waits for this handler any more: what it changed is taken back."""


class Attempt:
    """`transaction` in the handler's thread, `give_up` from any other."""

    def __init__(self) -> None:
        self._given_up = threading.Event()
        # Held for each statement, and to say that the connection is the handler's thread's alone again: one
        # that is closed while another thread uses it takes the process down.
        self._using = threading.Lock()
        self._driver: Any = None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """What the handler and the storing of its result stand in. Raises `GivenUp`."""
        using = router.db_for_write(ToolCall)
        connection = connections[using]
        atomic = transaction.atomic(using=using)
        atomic.__enter__()
        if connection.vendor == "sqlite" and sqlite3.threadsafety == SERIALIZED:
            self._driver = connection.connection
        try:
            with connection.execute_wrapper(self._one_at_a_time):
                self.check()  # it may have waited long for its turn
                yield
            with self._using:
                self.check()
                self._driver = None  # whoever gives up now is too late: it is committed
        except BaseException as error:
            with self._using:
                self._driver = None
            atomic.__exit__(type(error), error, error.__traceback__)
            raise
        atomic.__exit__(None, None, None)

    def check(self) -> None:
        """Raise `GivenUp` where it was."""
        if self._given_up.is_set():
            raise GivenUp

    def give_up(self) -> None:
        """What it has changed is taken back, at once where that holds up others. Waits for nothing."""
        self._given_up.set()
        if self._driver is not None:
            threading.Thread(target=self._roll_back, name="openrouter roll back", daemon=True).start()

    def _one_at_a_time(
        self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]
    ) -> Any:
        with self._using:
            return execute(sql, params, many, context)

    def _roll_back(self) -> None:
        with self._using:
            if self._driver is None:  # it has ended by itself
                return
            try:
                self._driver.execute("PRAGMA query_only = ON")
                self._driver.execute("ROLLBACK")
            except Exception as error:
                log.debug("a handler's transaction could not be rolled back: %s", error)
