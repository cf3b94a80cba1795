"""What one socket, and all sockets of one person together, may take of a process."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from . import protocol, runs
from .models import Owner

BURST = 100
"""Frames a page may send at once."""
FRAMES_A_SECOND = 20.0
"""What it may send all the time."""


class Allowance:
    """How many frames a socket may still send: a bucket that fills up again."""

    def __init__(self) -> None:
        self._left = float(BURST)
        self._counted = time.monotonic()

    def take(self) -> bool:
        """Count a frame; False where it is one too many."""
        now = time.monotonic()
        self._left = min(float(BURST), self._left + (now - self._counted) * FRAMES_A_SECOND) - 1
        self._counted = now
        return self._left >= 0


class Crowd:
    """The open sockets of a process, by whose they are: of a socket without a session, by its address."""

    def __init__(self) -> None:
        self._whose: dict[int, tuple[str, Any]] = {}
        self._sockets: Counter[tuple[str, Any]] = Counter()

    def enter(self, socket: object, owner: Owner, scope: Mapping[str, Any], *, most: int) -> bool:
        """Count a socket; False where its person has so many (0: any number)."""
        if owner.ephemeral:
            whose = ("address", (scope.get("client") or ("",))[0])
        else:
            whose = ("user", owner.user_id) if owner.user_id is not None else ("visitor", owner.visitor)
        if most and self._sockets[whose] >= most:
            return False
        self._whose[id(socket)] = whose
        self._sockets[whose] += 1
        return True

    def leave(self, socket: object) -> None:
        """It has closed; one that was not counted is none the less."""
        if (whose := self._whose.pop(id(socket), None)) is not None:
            self._sockets[whose] -= 1
            if not self._sockets[whose]:
                del self._sockets[whose]


crowd = Crowd()


class SocketTurn(runs.Turn):
    """One update a socket at a time is made and sent, however many runs it follows."""

    def __init__(self, send: Callable[[protocol.ServerFrame], Awaitable[None]]) -> None:
        self._send = send
        self._taken = False
        self._waiting: deque[asyncio.Future[None]] = deque()

    def begin(self) -> bool:
        if self._taken or self._waiting:
            return False
        self._taken = True
        return True

    async def wait(self) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.end()  # it came in that very moment
            raise

    def end(self) -> None:
        self._taken = False
        while self._waiting:
            if not (turn := self._waiting.popleft()).done():
                self._taken = True
                turn.set_result(None)
                return

    async def until_read(self) -> None:
        # A small frame goes through only when the page has read on; a whole answer that waits for that
        # would be kept once for each page.
        await self._send(protocol.Pong())
