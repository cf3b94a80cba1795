"""An attempt at a plain handler: it runs in a thread of its own, which nobody can end, and may be given up.

SQLite has one writer. A handler that hangs in its transaction would keep all others from writing, the end
of its own run included. So a transaction that is given up is rolled back from outside, and what its thread
does to that connection afterwards changes nothing.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connections, router, transaction

from ..models import ToolCall

log = logging.getLogger("openrouter_app.tools")


class GivenUp(Exception):
    """Nobody waits for this handler any more: what it changed is taken back."""


class Attempt:
    """`transaction` in the handler's thread, `give_up` from any other."""

    def __init__(self) -> None:
        self._given_up = threading.Event()
        self._driver: Any = None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """What the handler and the storing of its result stand in. Raises `GivenUp`."""
        using = router.db_for_write(ToolCall)
        with transaction.atomic(using=using):
            if connections[using].vendor == "sqlite":
                self._driver = connections[using].connection
            self.check()  # it may have waited long for its turn
            yield
            self.check()

    def check(self) -> None:
        """Raise `GivenUp` where it was."""
        if self._given_up.is_set():
            raise GivenUp

    def give_up(self) -> None:
        """What it has changed is taken back, at once where that holds up others. Waits for nothing."""
        self._given_up.set()
        if self._driver is not None:
            threading.Thread(target=self._roll_back, name="openrouter roll back", daemon=True).start()

    def _roll_back(self) -> None:
        try:
            self._driver.interrupt()
            self._driver.execute("PRAGMA query_only = ON")
            self._driver.execute("ROLLBACK")
        except Exception as error:  # it has ended by itself
            log.debug("a handler's transaction could not be rolled back: %s", error)
