"""The one writer of a process: what its runs said goes to the log, for all of them in one transaction.

On every event loop that executes runs there is one `Writer`, with a thread and a database
connection of its own, so that nobody's slow query holds it up. At most every ``FLUSH_INTERVAL`` it
writes what is new and looks at the runs' rows in the same transaction: whether somebody asked them
to stop, and whether they are still this process's. Every ``LEASE_RENEWAL`` it renews the leases.
Claims and ends go through the same thread, so they and the flushes never cross.
"""

from __future__ import annotations

import asyncio
import logging
import time
import weakref
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar
from uuid import uuid4

from django.db import reset_queries
from django.utils.translation import gettext as _

from ..conf import get_settings
from ..database import LOST_DATABASE
from . import leases
from .live import Batch, LiveRun

log = logging.getLogger("openrouter_app.runs")

Result = TypeVar("Result")

PAUSES = (0.1, 0.5, 1.0, 2.0)
"""Seconds between attempts to reach the database; the last one again and again."""


def not_stored() -> str:
    """What people are told where it does not."""
    return _("The answer could not be stored on this site. Try again later.")


class Writer:
    """Writes the log of the runs on one event loop, and keeps their leases."""

    def __init__(self) -> None:
        self.process = f"process.{uuid4().hex}"
        """The name under which this loop owns runs."""
        self.before_flush: Callable[[LiveRun], object] = lambda live: None
        """Called with each run whose events are about to be logged."""
        self.failing_since: float | None = None
        self._runs: dict[int, LiveRun] = {}
        self._task: asyncio.Task[None] | None = None
        self._renewed = 0.0
        self._one_at_a_time = asyncio.Lock()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="openrouter-log")

    async def call(self, function: Callable[..., Result], *args: Any) -> Result:
        """Run a transaction in the writer's thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, _fresh, function, *args)

    async def claim(self, live: LiveRun) -> bool:
        """Make the run this process's. False where somebody else took it, or it has ended."""
        settings = get_settings()
        begun = time.monotonic()
        live.fence = await self.call(
            lambda: leases.claim(
                live.run,
                self.process,
                fence=live.queued_fence,
                lease=settings.LEASE,
                total=settings.TOTAL_TIMEOUT,
            )
        )
        if live.fence is None:
            return False
        live.confirm(begun + settings.LEASE)
        return True

    @property
    def is_named(self) -> bool:
        """Whether other processes can reach this one by its name."""
        return not self.process.startswith("process.")

    def name(self, channel: str) -> None:
        """Own runs under the name of this channel from now on; not while some are owned under another."""
        if all(live.fence is None for live in self._runs.values()):
            self.process = channel

    def watch(self, live: LiveRun) -> None:
        """From now on its events are logged, and its row is looked at."""
        self._runs[live.pk] = live
        if self._task is None:
            self._task = asyncio.create_task(self._work(), name="openrouter log")

    def forget(self, live: LiveRun) -> None:
        """It has ended, or is somebody else's."""
        self._runs.pop(live.pk, None)

    async def _work(self) -> None:
        try:
            while self._runs:
                await asyncio.sleep(get_settings().FLUSH_INTERVAL)
                try:
                    if self._runs:
                        await self.flush()
                except Exception:
                    log.exception("the log could not be looked after")
        finally:
            self._task = None
            self.failing_since = None  # where nothing is to be written, nothing fails
            self._thread.submit(leases.close_connections)
        if self._runs:
            self._task = asyncio.create_task(self._work(), name="openrouter log")

    async def until_flushed(self) -> None:
        """Wait for a flush that is under way: what it took is written then, or given back."""
        async with self._one_at_a_time:
            pass

    async def flush(self) -> None:
        """Write what is new and look at every row; what fails comes again the next time."""
        async with self._one_at_a_time:
            # Not to be cut short with whoever waits for it: what was taken from the runs is written, or
            # given back.
            flushing = asyncio.ensure_future(self._flush())
            try:
                await asyncio.shield(flushing)
            except asyncio.CancelledError:
                await asyncio.wait([flushing])
                raise

    async def _flush(self) -> None:
        settings = get_settings()
        begun = time.monotonic()
        watched = list(self._runs.values())
        batches: dict[int, tuple[int, Batch]] = {}
        for live in watched:
            if live.fence is not None and not live.is_ending:
                self.before_flush(live)
                if (batch := live.take()) is not None:
                    batches[live.pk] = (live.fence, batch)
        called = {
            live.pk: (live.fence, new)
            for live in watched
            if live.fence is not None and (new := live.unstored_calls())
        }
        uuids = {live.pk: live.run for live in watched}
        rows = {
            pk: (fence, [call.row(uuids[pk], pk) for call, _ in new]) for pk, (fence, new) in called.items()
        }
        due = begun - self._renewed >= settings.LEASE_RENEWAL or any(live.is_in_doubt for live in watched)
        renew = (self.process, settings.LEASE) if due else None
        keys = [live.pk for live in watched]
        try:
            again = self.failing_since is not None
            found = await self.call(partial(leases.write, batches, keys, renew, again=again, calls=rows))
            standing = {pk: found.get(pk) for pk in keys}
            for _fence, new in called.values():
                for call, changes in new:
                    call.stored = changes
        except LOST_DATABASE as error:
            for live in watched:
                if live.pk in batches:
                    live.give_back(batches[live.pk][1])
            self._note_failure(error, begun, settings.DATABASE_PATIENCE)
            return
        except Exception:
            log.exception("the log of %d runs could not be written together", len(batches))
            standing = await self._one_by_one(watched, batches, renew)
        if self.failing_since is not None:
            log.warning("the log is written again, after %.1f s", time.monotonic() - self.failing_since)
            self.failing_since = None
        if due:
            self._renewed = begun
        for live in watched:
            if live.pk in standing:
                self._look(live, standing[live.pk], begun + settings.LEASE if due else None)

    async def _one_by_one(
        self, watched: list[LiveRun], batches: dict[int, tuple[int, Batch]], renew: tuple[str, float] | None
    ) -> dict[int, leases.Standing | None]:
        """Find whose events no database takes: that run fails, the others do not."""
        standing: dict[int, leases.Standing | None] = {}
        for live in watched:
            mine = {live.pk: batches[live.pk]} if live.pk in batches else {}
            try:
                found = await self.call(partial(leases.write, mine, [live.pk], renew, again=True))
                standing[live.pk] = found.get(live.pk)
            except LOST_DATABASE:
                if live.pk in batches:
                    live.give_back(batches[live.pk][1])
            except Exception:
                log.exception("the log of run %s could not be written", live.run)
                live.fail(not_stored())
        return standing

    def _look(self, live: LiveRun, row: leases.Standing | None, valid_until: float | None) -> None:
        """Act on what the row of a run says; None: there is none."""
        if live.is_ending or live.has_moved:
            return
        # Of a run that was not claimed yet, only an end is news: a claim may be on its way.
        mine = row is not None and (
            not row.is_final if live.fence is None else (row.fence, row.status) == (live.fence, "running")
        )
        if not mine or row is None:
            log.warning("run %s is not this process's any more", live.run)
            live.lose()
            return
        if valid_until is not None and live.fence is not None:
            live.confirm(valid_until)
        if row.is_stop_requested:
            live.stop("user")

    def _note_failure(self, error: Exception, begun: float, patience: float) -> None:
        if self.failing_since is None:
            self.failing_since = begun
            log.error("the log of %d runs could not be written: %s", len(self._runs), type(error).__name__)
            log.debug("the log could not be written", exc_info=error)
        if time.monotonic() - self.failing_since >= patience:
            for live in list(self._runs.values()):
                live.fail(not_stored())


async def patiently(live: LiveRun, attempt: Callable[[], Awaitable[Result]]) -> Result:
    """Try again while the database is away, as long as the lease may stand."""
    until = time.monotonic() + get_settings().LEASE
    pauses = iter(PAUSES)
    while True:
        try:
            return await attempt()
        except LOST_DATABASE:
            log.exception("what became of run %s could not be written", live.run)
            if time.monotonic() > until:
                raise
            await asyncio.sleep(next(pauses, PAUSES[-1]))


def _fresh(function: Callable[..., Result], *args: Any) -> Result:
    """Call it; a connection that broke is closed, and made anew the next time."""
    try:
        return function(*args)
    except LOST_DATABASE:
        leases.close_connections()
        raise
    finally:
        reset_queries()  # with DEBUG, Django keeps each statement, and answers stand in them


_writers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Writer] = weakref.WeakKeyDictionary()


def writer() -> Writer:
    """The running loop's writer."""
    loop = asyncio.get_running_loop()
    if (found := _writers.get(loop)) is None:
        found = _writers[loop] = Writer()
    return found


def log_is_failing() -> bool:
    """Whether some loop of this process cannot write its log at the moment."""
    return any(one.failing_since is not None for one in list(_writers.values()))
