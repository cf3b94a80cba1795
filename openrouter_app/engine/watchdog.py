"""Deadlines for threads that wait for bytes: one watchdog for all of them.

A socket's own timeout is for one read and cannot know that only comments come; and a blocked thread
can be woken by nothing but its socket. So one thread looks four times a second at the deadlines of
the others, and shuts down the socket of each that has passed.
"""

from __future__ import annotations

import os
import threading
import time
from typing import Protocol

INTERVAL = 0.25
_NEVER = float("inf")


class Waiting(Protocol):
    """Somebody who waits: until when (`time.monotonic`; infinite while not waiting), and what wakes them."""

    due: float

    def abort(self) -> None:
        """Wake them. Must not wait: the watchdog's lock is held meanwhile."""


_waiting: set[Waiting] = set()
_lock = threading.Lock()
_wake = threading.Event()
_thread: threading.Thread | None = None


def watch(waiting: Waiting) -> None:
    """Look at its ``due`` from now on."""
    global _thread
    with _lock:
        _waiting.add(waiting)
        if _thread is None or not _thread.is_alive():
            _thread = threading.Thread(target=_run, name="openrouter watchdog", daemon=True)
            _thread.start()
    _wake.set()


def unwatch(waiting: Waiting) -> None:
    """Look at it no more."""
    with _lock:
        _waiting.discard(waiting)
        if not _waiting:
            _wake.clear()


def _run() -> None:
    while True:
        _wake.wait()
        time.sleep(INTERVAL)
        with _lock:  # held while they are woken: nobody's socket may be another's by then
            for waiting in _waiting:
                if waiting.due < time.monotonic():
                    waiting.due = _NEVER
                    waiting.abort()


def _after_fork() -> None:
    """The thread is the parent's, and so is what it watches; a lock may be held for ever."""
    global _waiting, _lock, _wake, _thread
    _waiting, _lock, _wake, _thread = set(), threading.Lock(), threading.Event(), None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
