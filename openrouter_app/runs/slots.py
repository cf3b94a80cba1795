"""How many runs a process executes at a time, who waits for a place, and for how long."""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from django.utils.translation import gettext as _

from ..conf import get_settings
from ..refusals import Refused


class NoPlace(Exception):
    """A run waited ``QUEUE_TIMEOUT`` seconds for its turn."""


class Slots:
    """Places for ``MAX_RUNS`` runs on one loop, taken in the order in which they were asked for."""

    def __init__(self) -> None:
        self._taken = 0
        self._queue: deque[asyncio.Future[None]] = deque()
        self._promised = 0

    def promise(self) -> None:
        """Raise `Refused` (``busy``) where the queue is full; before anything is stored."""
        settings = get_settings()
        free = settings.MAX_RUNS - self._taken
        if len(self._queue) + self._promised >= free + settings.MAX_QUEUED_RUNS:
            sentence = _("Too many answers are being written at the moment. Try again in a minute.")
            raise Refused("busy", sentence, {"retry_after": settings.QUEUE_TIMEOUT})
        self._promised += 1

    def release_promise(self) -> None:
        """The run that was promised a place asks for it now, or does not come."""
        self._promised -= 1

    @asynccontextmanager
    async def place(self) -> AsyncGenerator[None, None]:
        """Wait for a place and hold it. Raises `NoPlace`."""
        await self._enter()
        try:
            yield
        finally:
            self._leave()

    async def _enter(self) -> None:
        settings = get_settings()
        if self._taken < settings.MAX_RUNS and not self._queue:
            self._taken += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            async with asyncio.timeout(settings.QUEUE_TIMEOUT):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self._leave()  # it was this one's turn, and it does not come
            elif turn in self._queue:
                self._queue.remove(turn)
            if isinstance(error, TimeoutError):
                raise NoPlace from None
            raise

    def _leave(self) -> None:
        self._taken -= 1
        most = get_settings().MAX_RUNS
        while self._queue and self._taken < most:
            turn = self._queue.popleft()
            if not turn.done():  # who waited may have gone in this very moment
                self._taken += 1
                turn.set_result(None)


_slots: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Slots] = weakref.WeakKeyDictionary()


def slots() -> Slots:
    """The running loop's places."""
    return _slots.setdefault(asyncio.get_running_loop(), Slots())
