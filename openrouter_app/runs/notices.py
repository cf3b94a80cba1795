"""Tell a signal's receivers what became of runs, without ever harming a run.

``notify`` only puts a notice into a bounded queue. One daemon thread, started at the first notice that
somebody listens to, calls the receivers, one notice after another; so a receiver may use the database,
raise, or hang. One that hangs holds up later notices and nothing else, and what no longer fits into the
queue is dropped, and said so in the log.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from django.db import close_old_connections, connections
from django.dispatch import Signal

from ..models import Run
from ..signals import run_failed, run_finished

log = logging.getLogger("openrouter_app.runs")

LONGEST_QUEUE = 1_000
"""Notices that wait at most; further ones are dropped."""
SAY_AGAIN_AFTER = 60.0
"""Seconds between two log lines about dropped notices."""
AT_EXIT = 2.0
"""Seconds a process that ends leaves to the receivers. They are the last to hear of its last run."""

BY_STATUS: Mapping[str, Signal] = {
    Run.Status.DONE: run_finished,
    Run.Status.STOPPED: run_finished,
    Run.Status.FAILED: run_failed,
    Run.Status.INTERRUPTED: run_failed,
}
"""The signal of each final state."""


def notify(signal: Signal, **facts: Any) -> None:
    """Tell the receivers of ``signal`` these facts, soon. Returns at once, never raises; from any thread."""
    try:
        if signal.has_listeners(Run):
            _queue.put(signal, facts)
    except Exception:
        log.exception("run %s: its receivers could not be told", facts.get("run"))


def settled(timeout: float) -> bool:
    """Wait until every notice so far has been heard; False where ``timeout`` seconds are too short."""
    return _queue.settled(timeout)


class _Queue:
    """What waits, and the thread that works it off. Its lock is held for moments only."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Signal, dict[str, Any]]] = deque()
        self._busy = False
        self._thread: threading.Thread | None = None
        self._changed = threading.Condition()
        self._dropped = 0
        self._said = float("-inf")

    def put(self, signal: Signal, facts: dict[str, Any]) -> None:
        """Append a notice, or drop it where the queue is full."""
        with self._changed:
            if len(self._waiting) < LONGEST_QUEUE:
                self._waiting.append((signal, facts))
                self._changed.notify_all()
                dropped = 0
            else:
                dropped = self._count_dropped()
            if self._thread is None or not self._thread.is_alive():
                thread = threading.Thread(target=self._work, name="openrouter notices", daemon=True)
                thread.start()
                self._thread = thread
        if dropped:
            log.error("receivers of signals are too slow: %d notices about runs were dropped", dropped)

    def settled(self, timeout: float) -> bool:
        """See the function of this name. Nothing is waited for where no thread works it off."""

        def is_over() -> bool:
            return not (self._waiting or self._busy) or self._thread is None or not self._thread.is_alive()

        with self._changed:
            self._changed.wait_for(is_over, timeout)
            return not (self._waiting or self._busy)

    def _count_dropped(self) -> int:
        """How many to speak of now: all that were dropped since it was last said, or none yet."""
        self._dropped += 1
        if time.monotonic() < self._said + SAY_AGAIN_AFTER:
            return 0
        dropped, self._dropped, self._said = self._dropped, 0, time.monotonic()
        return dropped

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._waiting))
                signal, facts = self._waiting.popleft()
                self._busy = True
            try:
                _tell(signal, facts)
            finally:
                with self._changed:
                    idle = not self._waiting
                if idle:
                    _close_connections()
                with self._changed:
                    self._busy = False
                    self._changed.notify_all()


def _tell(signal: Signal, facts: dict[str, Any]) -> None:
    """Call every receiver; nothing one does keeps the next from being called, or the thread from going on."""
    run = facts.get("run")
    try:
        # Coroutine functions are run here as well, in a loop of their own, with this thread's connections.
        for receiver, answer in signal.send_robust(Run, **facts):
            if isinstance(answer, Exception):  # Django has logged it, but not which run it was about
                name = getattr(receiver, "__qualname__", type(receiver).__qualname__)
                log.error("run %s: the receiver %s raised %s", run, name, type(answer).__name__)
    except BaseException:  # SystemExit ends a process from its main thread only
        log.exception("run %s: a receiver broke off", run)
    try:
        close_old_connections()
    except Exception:
        log.exception("run %s: after its receivers, the database connection could not be closed", run)


def _close_connections() -> None:
    """While nothing is to be said no connection is held, however long the site keeps those of requests."""
    try:
        connections.close_all()
    except Exception:
        log.exception("the database connection of the signals' receivers could not be closed")


_queue = _Queue()


def _begin_anew() -> None:
    """A forked process has the parent's queue without its thread; what waits there the parent says."""
    global _queue
    _queue = _Queue()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
atexit.register(lambda: settled(AT_EXIT))
