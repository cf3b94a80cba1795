"""Flows at the same time in threads, or one after another; their items as they come."""

from __future__ import annotations

import contextvars
import queue
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import Any

from .connections import Connection
from .flows import Fork

WAITING = 64
"""Items that may wait to be taken; then the flows do."""


class Failed:
    """An error on its way from a branch to whoever asked for the next item."""

    __slots__ = ("error",)

    def __init__(self, error: Exception) -> None:
        self.error = error


class SequentialBranches:
    """One flow after another, in the caller's thread, as the items are asked for."""

    def __init__(self, fork: Fork, drive: Callable[..., Generator[Any, None, None]]) -> None:
        self._items = self._work(fork, drive)

    def next(self) -> Any:
        """``(key, item)``, or None at the end."""
        return next(self._items, None)

    def close(self) -> None:
        """Leave the one that runs."""
        self._items.close()

    @staticmethod
    def _work(fork: Fork, drive: Callable[..., Generator[Any, None, None]]) -> Generator[Any, None, None]:
        for key, flow in fork.flows:
            with closing(drive(flow)) as items:
                for item in items:
                    yield key, item


class Stop:
    """Tells threads that nobody waits for them any more: a flag, and the connections to cut short."""

    def __init__(self) -> None:
        self._flag = threading.Event()
        self._lock = threading.Lock()
        self._connections: set[Connection] = set()
        self.is_set = self._flag.is_set
        self.wait = self._flag.wait

    def add(self, connection: Connection) -> None:
        """Cut this one short as well."""
        with self._lock:
            self._connections.add(connection)
            late = self._flag.is_set()
        if late:
            connection.abort()

    def discard(self, connection: Connection) -> None:
        """It is closed."""
        with self._lock:
            self._connections.discard(connection)

    def set(self) -> None:
        """From now on."""
        with self._lock:
            self._flag.set()
            connections = tuple(self._connections)
        for connection in connections:
            connection.abort()


class ThreadBranches:
    """Daemon threads, as many as there is work for, each taking one flow after another."""

    def __init__(self, fork: Fork, drive: Callable[..., Generator[Any, None, None]]) -> None:
        self._flows = iter(fork.flows)
        self._drive = drive
        self._lock = threading.Lock()
        self._stop = Stop()
        self._items: queue.Queue[Any] = queue.Queue(WAITING)
        firsts = list(first_of(self._flows, fork.limit))
        self._working = len(firsts)
        for first in firsts:
            work = contextvars.copy_context().run
            threading.Thread(
                target=work, args=(self._work, first), name="openrouter branch", daemon=True
            ).start()

    def next(self) -> Any:
        """``(key, item)``, or None at the end."""
        while self._working:
            item = self._items.get()
            if isinstance(item, Failed):
                raise item.error
            if item is not None:
                return item
            self._working -= 1
        return None

    def close(self) -> None:
        """Tell those that still run to end; they are not waited for."""
        self._stop.set()

    def _work(self, taken: Any) -> None:
        try:
            while taken is not None and not self._stop.is_set():
                key, flow = taken
                with closing(self._drive(flow, self._stop)) as items:
                    for item in items:
                        self._put((key, item))
                with self._lock:
                    taken = next(self._flows, None)
        except Exception as error:
            self._put(Failed(error))
        self._put(None)

    def _put(self, item: Any) -> None:
        while not self._stop.is_set():
            try:
                return self._items.put(item, timeout=0.1)
            except queue.Full:
                continue


def first_of(flows: Iterator[Any], limit: int) -> Iterator[Any]:
    """As many as may run at once: the limit may be far above the work."""
    for _ in range(limit):
        first = next(flows, None)
        if first is None:
            return
        yield first
