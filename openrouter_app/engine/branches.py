"""Flows at the same time in threads, or one after another; their items as they come.

Each flow sees a copy of its own of the context variables, as tasks on a loop do.
"""

from __future__ import annotations

import contextvars
import queue
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, suppress
from typing import Any, Protocol

from .errors import UsageError
from .flows import Fork
from .threads import end_thread

WAITING = 64
"""Items that may wait to be taken; then the flows do."""
LEFT = "The chain was left before its end."
_END = object()


class Failed:
    """An error on its way from a branch to whoever asked for the next item."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


class Abortable(Protocol):
    """What a thread may be waiting for, and what ends its waiting, from another one."""

    def abort(self) -> None: ...


class Stop:
    """Tells threads that nobody waits for them any more: a flag, and what to cut short."""

    def __init__(self) -> None:
        self._flag = threading.Event()
        self._lock = threading.Lock()
        self._open: set[Abortable] = set()
        self.is_set = self._flag.is_set
        self.wait = self._flag.wait

    def add(self, opened: Abortable) -> None:
        """Cut this one short as well."""
        with self._lock:
            self._open.add(opened)
            late = self._flag.is_set()
        if late:
            opened.abort()

    def discard(self, opened: Abortable) -> None:
        """It is closed."""
        with self._lock:
            self._open.discard(opened)

    def set(self) -> None:
        """From now on."""
        with self._lock:
            self._flag.set()
            all_open = tuple(self._open)
        for opened in all_open:
            opened.abort()


Drive = Callable[..., Generator[Any, None, None]]


class SequentialBranches:
    """One flow after another, in the caller's thread, as the items are asked for."""

    def __init__(self, fork: Fork, drive: Drive, stop: Stop) -> None:
        self._items = self._work(fork, drive, stop)

    def next(self) -> Any:
        """``(key, item)``, or None at the end."""
        return next(self._items, None)

    def close(self) -> None:
        """Leave the one that runs."""
        self._items.close()

    @staticmethod
    def _work(fork: Fork, drive: Drive, stop: Stop) -> Generator[Any, None, None]:
        for key, flow in fork.flows:
            inside = contextvars.copy_context().run
            items = drive(flow, stop)
            try:
                while (item := inside(next, items, _END)) is not _END:
                    yield key, item
            finally:
                inside(items.close)


class ThreadBranches:
    """Daemon threads, as many as there is work for, each taking one flow after another."""

    def __init__(self, fork: Fork, drive: Drive) -> None:
        self._flows = iter(fork.flows)
        self._drive = drive
        self._lock = threading.Lock()
        self._stop = Stop()
        self._context = contextvars.copy_context()
        self._items: queue.Queue[Any] = queue.Queue(WAITING)
        firsts = list(first_of(self._flows, fork.limit))
        self._working = len(firsts)
        try:
            for first in firsts:
                threading.Thread(
                    target=self._work, args=(first,), name="openrouter branch", daemon=True
                ).start()
        except BaseException:  # the machine has no thread left
            self.close()
            raise

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

    def abort(self) -> None:
        """End them, and whoever waits for their next item."""
        self.close()
        with suppress(queue.Full):  # then nobody waits
            self._items.put_nowait(Failed(UsageError(LEFT)))

    def _work(self, taken: Any) -> None:
        try:
            while taken is not None and not self._stop.is_set():
                self._context.copy().run(self._run, *taken)
                with self._lock:
                    taken = next(self._flows, None)
        except BaseException as error:
            self._put(Failed(error))
        finally:
            self._put(None)
            end_thread()

    def _run(self, key: Any, flow: Any) -> None:
        with closing(self._drive(flow, self._stop)) as items:
            for item in items:
                self._put((key, item))

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
