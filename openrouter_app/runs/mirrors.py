"""Runs that another process executes (or another loop of this one), followed here.

A `Mirror` is a `Replica` with its sources: the log, read at first, at a hole, and once a second
while no frames come; and the frames of the channel layer. It lives while somebody follows it.
"""

from __future__ import annotations

import asyncio
import logging
import time
import weakref
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from uuid import UUID

from ..conf import get_settings
from ..database import again_in_database_thread
from ..refusals import gone
from .live import Turn, Update
from .reaping import reap
from .relay import relay
from .rendered import updates_of
from .replica import Frame, Replica
from .rows import Reading, new_state_of, read
from .state import RunState

log = logging.getLogger("openrouter_app.runs")


class Mirror(Replica):
    """A run elsewhere, kept up to date."""

    def __init__(self, run: UUID, new_state: Callable[[], RunState]) -> None:
        super().__init__(run, new_state)
        self.watchers = 0
        self.is_read = asyncio.Event()
        """Set once it knows as much as the log did."""
        self.is_handed_over = False
        """It is executed on this loop now: followers get it from there."""
        self._owner = ""
        self._wake = asyncio.Event()
        self._heard = 0.0
        self._told: tuple[str, float] = ("", 0.0)
        self._task = asyncio.create_task(self._keep(), name=f"openrouter mirror {run}")

    def receive(self, frame: Frame) -> None:
        """A frame of the layer."""
        self._heard = time.monotonic()
        super().receive(frame)
        if self.needs_reading or self.is_final:
            self._wake.set()

    def hand_over(self) -> None:
        """Let its followers go to where the run is now."""
        self.is_handed_over = True
        self.move()
        self._wake.set()

    def close(self) -> None:
        """Nobody follows it any more."""
        self._task.cancel()
        relay().unfollow(self.run, self.receive)

    async def _keep(self) -> None:
        while not (self.is_final or self.has_moved):
            settings = get_settings()
            quiet = time.monotonic() - self._heard >= settings.FOLLOW_POLL
            if self.needs_reading or quiet:
                try:
                    await self._look()
                except Exception:
                    log.exception("the log of run %s could not be read", self.run)
            if self.is_final or self.has_moved:
                break
            await self._announce(settings.PRESENCE_INTERVAL)
            if self.needs_reading:
                # The owner's next flush fills the hole.
                await asyncio.sleep(settings.FLUSH_INTERVAL)
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(min(settings.FOLLOW_POLL, settings.PRESENCE_INTERVAL)):
                    await self._wake.wait()
            self._wake.clear()
        self.is_read.set()

    async def _look(self) -> None:
        found = await again_in_database_thread(_read_or_reap)(self.run, self.read_from, self.fence)
        if found is None:
            self.move()
            return
        self._owner = found.process
        if found.whole is not None:
            self.end_as(found.whole)
        else:
            if found.rows and self.is_read.is_set():
                self._told = ("", 0.0)  # the log knew more than the frames: the owner has not heard of us
            self.read(found.fence, found.after, found.rows)
        self.is_read.set()

    async def _announce(self, interval: float) -> None:
        """Tell the owner that somebody follows, at once and again and again."""
        owner, at = self._told
        if self._owner != owner or time.monotonic() - at >= interval:
            self._told = (self._owner, time.monotonic())
            await relay().follow(self.run, self._owner, self.receive)


def _read_or_reap(run: UUID, after: int, fence: int) -> Reading | None:
    found = read(run, after, fence)
    if found is not None and found.is_given_up and reap(run):
        found = read(run, after, fence)
    return found


_mirrors: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[UUID, Mirror]] = (
    weakref.WeakKeyDictionary()
)


def hand_over(run: UUID) -> None:
    """The run is executed on this loop from now on."""
    if (mirror := _mirrors.get(asyncio.get_running_loop(), {}).pop(run, None)) is not None:
        mirror.hand_over()


async def updates_elsewhere(
    run: UUID, turn: Turn | None = None, *, html: bool = False
) -> AsyncGenerator[Update, None]:
    """A snapshot, then what happens, until the run has ended or is executed on this loop.

    Raises `Refused` where it is gone.
    """
    mirrors = _mirrors.setdefault(asyncio.get_running_loop(), {})
    mirror = mirrors.get(run)
    if mirror is None:
        new_state = await again_in_database_thread(new_state_of)(run)
        if new_state is None:
            raise gone()
        mirror = mirrors.get(run) or mirrors.setdefault(run, Mirror(run, new_state))
    mirror.watchers += 1
    try:
        await mirror.is_read.wait()
        async with aclosing(updates_of(mirror, turn, html=html)) as updates:
            async for update in updates:
                yield update
                del update
        if mirror.has_moved and not mirror.is_handed_over:
            raise gone()
    finally:
        mirror.watchers -= 1
        if not mirror.watchers:
            if mirrors.get(run) is mirror:
                del mirrors[run]
            mirror.close()
