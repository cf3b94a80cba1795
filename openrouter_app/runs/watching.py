"""Conversations that pages watch: where each ends, and which answer is being written in it.

What happens in this process is told at once. What other processes do is found in the rows: one look a
second at all watched conversations together, and none while nobody watches.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import AsyncGenerator, Iterable
from contextlib import suppress
from uuid import UUID

import msgspec

from ..conf import get_settings
from ..database import again_in_database_thread
from ..models import Conversation, Owner, Run
from ..refusals import gone

log = logging.getLogger("openrouter_app.runs")

AT_ONCE = 500
"""Conversations that are looked at in one go."""


class Place(msgspec.Struct, frozen=True):
    """Where a conversation stands: its newest message, and its unfinished run."""

    conversation: UUID
    head: UUID | None
    run: UUID | None
    title: str


class _Watch:
    """The conversations that are watched on one loop."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._queues: dict[UUID, set[asyncio.Queue[Place | None]]] = {}
        self._known: dict[UUID, Place | None] = {}
        self._woken: set[UUID] = set()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def add(self, conversation: UUID) -> asyncio.Queue[Place | None]:
        queue: asyncio.Queue[Place | None] = asyncio.Queue()
        self._queues.setdefault(conversation, set()).add(queue)
        if self._task is None:
            self._task = asyncio.create_task(self._look_again(), name="openrouter conversations")
        return queue

    def know(self, place: Place) -> None:
        self._known.setdefault(place.conversation, place)

    def remove(self, conversation: UUID, queue: asyncio.Queue[Place | None]) -> None:
        queues = self._queues[conversation]
        queues.discard(queue)
        if not queues:
            del self._queues[conversation]
            self._known.pop(conversation, None)
        if not self._queues and self._task is not None:
            self._task.cancel()
            self._task = None

    def wake(self, conversation: UUID) -> None:
        if conversation in self._queues:
            self._woken.add(conversation)
            self._wake.set()

    async def _look_again(self) -> None:
        """At all of them once in ``FOLLOW_POLL`` seconds, at those that were woken at once."""
        loop = asyncio.get_running_loop()
        due = loop.time() + get_settings().FOLLOW_POLL
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await self._wake.wait()
            self._wake.clear()
            woken, self._woken = self._woken, set()
            watched = [each for each in woken if each in self._queues]
            if is_due := loop.time() >= due:
                watched = list(self._queues)
            for first in range(0, len(watched), AT_ONCE):
                await self._look(watched[first : first + AT_ONCE])
            if is_due:
                due = loop.time() + get_settings().FOLLOW_POLL

    async def _look(self, watched: list[UUID]) -> None:
        try:
            places = await again_in_database_thread(places_of)(watched)
        except Exception:
            log.exception("%d conversations could not be looked at", len(watched))
            return
        for conversation in watched:
            place = places.get(conversation)
            if conversation in self._queues and self._known.get(conversation) != place:
                self._known[conversation] = place
                for queue in self._queues[conversation]:
                    queue.put_nowait(place)


_watches: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Watch] = weakref.WeakKeyDictionary()


def changed(conversation: UUID | str | None) -> None:
    """Something happened in a conversation: whoever watches it here hears of it at once. From any thread."""
    if conversation is None:
        return
    id = conversation if isinstance(conversation, UUID) else UUID(conversation)
    for watch in list(_watches.values()):
        with suppress(RuntimeError):  # a loop that was closed
            watch.loop.call_soon_threadsafe(watch.wake, id)


async def follow_conversation(owner: Owner, conversation: UUID) -> AsyncGenerator[Place, None]:
    """Where it stands now, and again at each change. Raises `Refused` (``not_found``), also when it is
    deleted.
    """
    watch = _watches.setdefault(asyncio.get_running_loop(), _Watch())
    queue = watch.add(conversation)
    try:
        place = await again_in_database_thread(_mine)(owner, conversation)
        if place is None:
            raise gone()
        watch.know(place)
        yield place
        while True:
            newest = await queue.get()
            while not queue.empty():
                newest = queue.get_nowait()
            if newest is None:
                raise gone()
            if newest != place:
                place = newest
                yield place
    finally:
        watch.remove(conversation, queue)


def _mine(owner: Owner, conversation: UUID) -> Place | None:
    if not Conversation.objects.for_owner(owner).filter(uuid=conversation).exists():
        return None
    return places_of([conversation]).get(conversation)


def places_of(conversations: Iterable[UUID]) -> dict[UUID, Place]:
    """Where these stand; two queries."""
    watched = list(conversations)
    rows = Conversation.objects.filter(uuid__in=watched).values_list("uuid", "head__uuid", "title")
    unfinished = Run.objects.filter(conversation__uuid__in=watched, status__in=Run.UNFINISHED)
    runs = dict(unfinished.values_list("conversation__uuid", "uuid"))
    return {id: Place(id, head, runs.get(id), title) for id, head, title in rows}
