"""The html face of a run: followers who want it get finished blocks of text as HTML, and the open rest.

A follower's updates pass through `_with_html`: a range gets ``html`` events at its end, a text part of
a snapshot gets ``blocks`` and ``rest``. They are made from the run's state when the update is taken, so
they stand for the update's ``seq``; nothing of them is logged, and they cross no layer.

All who follow a run on a loop share one `Rendering`: it hears the run's events as a follower does, and
each block is made once. Text is split and rendered in a thread, one piece of work after another, so
that the loop never waits for it; whoever did not ask for HTML is not in here at all.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

import msgspec

from ..blocks import BlockSplitter
from ..markdown import render, render_parts
from .live import Followed, Range, Snapshot, Turn, Update
from .state import FINAL, PageEvent

T = TypeVar("T")

ENOUGH = 4_000
"""Characters that are split although no line has ended in them."""


def updates_of(followed: Followed, turn: Turn | None, *, html: bool) -> AsyncGenerator[Update, None]:
    """The updates of a run that is followed on this loop, with its text rendered where that is wanted."""
    return _with_html(followed, turn) if html else followed.updates(turn)


async def with_blocks(snapshot: Snapshot) -> Snapshot:
    """The snapshot of a run that has ended, its text rendered."""
    parts = await _in_thread(_stored(), render_parts, snapshot.state["parts"])
    return msgspec.structs.replace(snapshot, state={**snapshot.state, "parts": parts})


async def _with_html(followed: Followed, turn: Turn | None) -> AsyncGenerator[Update, None]:
    rendering = _renderings.setdefault(followed, Rendering(followed))
    rendering.begin()
    known: dict[int, _Known] = {}
    try:
        async with aclosing(followed.updates(turn)) as updates:
            async for update in updates:
                # Between the making of an update and this line nothing else has run.
                if isinstance(update, Range):
                    if work := rendering.take(known):
                        events = [*update.events, *await _html_events(work, known)]
                        update = msgspec.structs.replace(update, events=events)
                elif update.state["status"] in FINAL:
                    update = await with_blocks(update)
                else:
                    known = {}
                    work = rendering.take(known, whole=True)
                    update = await _with_blocks_so_far(update, work, known)
                yield update
                del update
    finally:
        if rendering.end():
            _renderings.pop(followed, None)


async def _html_events(work: list[_Work], known: dict[int, _Known]) -> list[PageEvent]:
    events: list[PageEvent] = []
    for made in await _in_thread(_live(), _do, work):
        if made.html:
            html = [block for block in made.html if block]
            events.append({"type": "html", "part": made.part, "html": html, "rest": made.rest})
        known[made.part] = made.known
    return events


async def _with_blocks_so_far(snapshot: Snapshot, work: list[_Work], known: dict[int, _Known]) -> Snapshot:
    parts = list(snapshot.state["parts"])
    for made in await _in_thread(_live(), _do, work):
        html = [block for block in made.html if block]
        parts[made.part] = {**parts[made.part], "blocks": html, "rest": made.rest}
        known[made.part] = made.known
    return msgspec.structs.replace(snapshot, state={**snapshot.state, "parts": parts})


class Rendering:
    """The texts of a run that somebody follows with HTML: heard here, rendered in the thread."""

    def __init__(self, followed: Followed) -> None:
        self._followed = followed
        self._texts: dict[int, _Text] = {}
        self._open: tuple[int, _Text] | None = None
        self._is_stale = True
        """What was heard is not all: the run's state tells."""
        self._watchers = 0

    def begin(self) -> None:
        """One more follower."""
        self._watchers += 1
        self._followed.attach(self)

    def end(self) -> bool:
        """One less; whether that was the last."""
        self._watchers -= 1
        if not self._watchers:
            self._followed.detach(self)
        return not self._watchers

    def put(self, event: PageEvent, size: int) -> None:
        """An event that every follower gets; the state is past it."""
        if self._is_stale:
            return
        if event["type"] == "text":
            if self._open is None or self._open[0] != event["part"]:
                self._end_text()
                self._open = event["part"], self._texts.setdefault(event["part"], _Text())
            self._open[1].pieces.append(event["delta"])
        elif event["type"] == "reset":
            self._open = None
            left = self._followed.state.next_part
            self._texts = {part: text for part, text in self._texts.items() if part < left}
        elif "part" in event or self._followed.state.is_final:
            self._end_text()

    def overflow(self) -> None:
        """The state was made anew."""
        self._is_stale = True
        self._texts, self._open = {}, None

    def take(self, known: dict[int, _Known], *, whole: bool = False) -> list[_Work]:
        """What is to be done so that somebody who knows this knows everything; ``whole``: the rest, too."""
        if self._is_stale:
            self._read_state()
        return [
            work
            for part, text in self._texts.items()
            if (work := text.take(part, known.get(part), whole=whole)) is not None
        ]

    def _read_state(self) -> None:
        parts = self._followed.state.parts()
        self._texts = {at: _Text(part["text"]) for at, part in enumerate(parts) if part["type"] == "text"}
        for at, text in self._texts.items():
            text.is_over = at < len(parts) - 1 or self._followed.state.is_final
            if not text.is_over:
                self._open = at, text
        self._is_stale = False

    def _end_text(self) -> None:
        if self._open is not None:
            self._open[1].is_over = True
            self._open = None


class _Text:
    """A text part: what came of it is kept on the loop, what was made of it belongs to the thread."""

    __slots__ = ("html", "is_over", "is_settled", "pieces", "splitter", "times")

    def __init__(self, text: str = "") -> None:
        self.pieces = [text] if text else []
        self.is_over = False
        """No more will come."""
        self.is_settled = False
        """And that was told to the thread."""
        self.times = 0
        """How often there was work."""
        self.splitter = BlockSplitter()
        self.html: list[str] = []

    def take(self, part: int, known: _Known | None, *, whole: bool) -> _Work | None:
        """The work that makes ``known`` newer; None where it is as new as it can be."""
        mine = known if known is not None and known.text is self else _Known(self, 0, 0)
        is_news = self.is_over and not self.is_settled
        if not (whole or is_news or mine.times != self.times or self._may_end_a_block()):
            return None
        # All pieces, whatever the work is for: the rest is to be that of this moment.
        pieces, self.pieces = self.pieces, []
        if pieces or is_news:
            self.is_settled = self.is_over
            self.times += 1
        return _Work(part, self, pieces, self.is_settled, mine.blocks, self.times)

    def _may_end_a_block(self) -> bool:
        # What the thread has yet to do may change the answer; then it comes with the next line.
        if not self.pieces:
            return False
        if self.splitter.is_waiting or any("\n" in piece for piece in self.pieces):
            return True
        return sum(map(len, self.pieces)) > ENOUGH


class _Known(NamedTuple):
    """What a follower has of a text: so many of its blocks, after it was worked on so often."""

    text: _Text
    blocks: int
    times: int


class _Work(NamedTuple):
    """New pieces of a text, whether they are its last, and what a follower has of it."""

    part: int
    text: _Text
    pieces: list[str]
    is_last: bool
    there: int
    times: int


class _Made(NamedTuple):
    """The blocks a follower does not have yet, the open rest, and what he has then."""

    part: int
    html: list[str]
    rest: str
    known: _Known


def _do(work: list[_Work]) -> list[_Made]:
    """In the thread, one after another: as the pieces were taken, so they are split."""
    return [_made(*one) for one in work]


def _made(part: int, text: _Text, pieces: list[str], is_last: bool, there: int, times: int) -> _Made:
    blocks = text.splitter.feed("".join(pieces)) + (text.splitter.close() if is_last else [])
    text.html += map(render, blocks)
    return _Made(part, text.html[there:], text.splitter.rest, _Known(text, len(text.html), times))


_renderings: dict[Followed, Rendering] = {}


async def _in_thread(pool: ThreadPoolExecutor, function: Callable[..., T], *args: Any) -> T:
    """What the function answers. Shielded: work that was taken must be done, also for who has left."""
    return await asyncio.shield(asyncio.get_running_loop().run_in_executor(pool, function, *args))


@lru_cache(maxsize=1)
def _live() -> ThreadPoolExecutor:
    """One thread for the texts that are being written: what was taken first is done first."""
    return ThreadPoolExecutor(1, "openrouter markdown")


@lru_cache(maxsize=1)
def _stored() -> ThreadPoolExecutor:
    """And one for texts that have ended, which may be long, so that the others need not wait."""
    return ThreadPoolExecutor(1, "openrouter stored markdown")


def _begin_anew() -> None:
    """A forked process has none of the threads."""
    _live.cache_clear()
    _stored.cache_clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
