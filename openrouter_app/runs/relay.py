"""Between processes: what the channel layer carries. It may lose everything; then things take a poll longer.

Each event loop has one channel. To it come, for runs that are executed here, words that somebody
follows or stops one (``openrouter.follow``, ``openrouter.stop``); and for runs that are followed
here and executed elsewhere, their frames (``openrouter.frame``), from the run's group. An owner sends
frames only while somebody elsewhere has said that he follows, not longer than ``PRESENCE_TIMEOUT`` ago.

No call of the layer takes longer than ``LAYER_TIMEOUT``, and none that fails harms a run.
"""

from __future__ import annotations

import asyncio
import logging
import time
import weakref
from collections.abc import Callable, Coroutine
from typing import Any
from uuid import UUID

import msgspec
from channels.layers import get_channel_layer

from ..conf import get_settings
from . import live as registry
from .events import Event
from .live import LiveRun, size_of
from .log import decode, encode, merged
from .replica import Frame
from .writer import writer

log = logging.getLogger("openrouter_app.layer")

WINDOW = 0.033
"""Seconds between two frames of one run to other processes."""
LARGEST = 200_000
"""Characters of text in one message; layers and their servers have their limits."""
AGAIN_AFTER = 0.5
"""Seconds after a failed receive."""


def group_of(run: UUID) -> str:
    """The group in which a run's frames are sent."""
    return f"openrouter.run.{run.hex}"


class Outbox:
    """What a run executed here says to other processes while somebody there follows it."""

    def __init__(self, live: LiveRun) -> None:
        self.live = live
        self.until = 0.0
        self._after = live.seq
        self._events: list[Event] = []
        self._size = 0
        self._frames: list[Frame] = []

    def put(self, event: Event) -> None:
        self._events.append(event)
        self._size += size_of(event)
        if self._size > LARGEST:
            self.cut()

    def cut(self) -> None:
        """End the frame here: a logged seq is a frame's border."""
        live = self.live
        if self._events and live.fence is not None:
            self._frames.append(Frame(live.fence, self._after, live.seq, merged(self._events)))
            self._after, self._events, self._size = live.seq, [], 0

    def take(self) -> list[Frame]:
        self.cut()
        frames, self._frames = self._frames, []
        return frames


class Relay:
    """One loop's channel, its reader, and what it sends."""

    def __init__(self, layer: Any) -> None:
        self._layer = layer
        self._channel: str | None = None
        self._reader: asyncio.Task[None] | None = None
        self._sender: asyncio.Task[None] | None = None
        self._outboxes: dict[UUID, Outbox] = {}
        self._replicas: dict[UUID, Callable[[Frame], None]] = {}
        self._failing_since: float | None = None
        self._opening = asyncio.Lock()
        self._leaving: set[asyncio.Task[Any]] = set()

    async def open(self) -> str | None:
        """Listen; answers the channel, None where there is no layer or it does not answer."""
        if self._layer is None:
            return None
        async with self._opening:
            if self._channel is None:
                # Its default prefix: channels-redis reads one prefix at a time, five seconds each.
                self._channel = await self._try(self._layer.new_channel)
        if self._channel is not None and (self._reader is None or self._reader.done()):
            self._reader = asyncio.create_task(self._read(self._channel), name="openrouter layer")
        return self._channel

    # ---- what other processes are told of runs that are executed here ----

    def outbox_of(self, live: LiveRun) -> Outbox | None:
        """Where the run's events go while somebody elsewhere follows it."""
        box = self._outboxes.get(live.run)
        return box if box is not None and box.live is live else None

    def _followed_elsewhere(self, run: UUID) -> None:
        if (live := registry.find(run)) is None or live.is_final:
            return
        if (box := self.outbox_of(live)) is None:
            box = self._outboxes[run] = Outbox(live)
            live.on_event = box.put
        box.until = time.monotonic() + get_settings().PRESENCE_TIMEOUT
        if self._sender is None or self._sender.done():
            self._sender = asyncio.create_task(self._send_frames(), name="openrouter frames")

    async def _send_frames(self) -> None:
        while self._outboxes:
            await asyncio.gather(*(self._empty(run, box) for run, box in list(self._outboxes.items())))
            await asyncio.sleep(WINDOW)

    async def _empty(self, run: UUID, box: Outbox) -> None:
        is_over = box.live.is_final or box.live.has_moved or time.monotonic() > box.until
        for frame in [] if box.live.has_moved else box.take():
            message = {
                "type": "openrouter.frame",
                "run": run.hex,
                "fence": frame.fence,
                "after": frame.after,
                "seq": frame.seq,
                "events": encode(frame.events),
            }
            await self._try(self._layer.group_send, group_of(run), message)
        if is_over and self._outboxes.get(run) is box:
            del self._outboxes[run]
            box.live.on_event = None

    # ---- what runs that are executed elsewhere are told and tell ----

    async def follow(self, run: UUID, owner: str, receive: Callable[[Frame], None]) -> None:
        """Hear a run's frames, and tell its owner; to be said again and again (groups expire)."""
        self._replicas[run] = receive
        channel = await self.open()
        if channel is None:
            return
        await self._try(self._layer.group_add, group_of(run), channel)
        await self._tell(owner, {"type": "openrouter.follow", "run": run.hex})

    def unfollow(self, run: UUID, receive: Callable[[Frame], None]) -> None:
        """Hear no more of it, unless another one has begun to since."""
        if self._replicas.get(run) != receive:
            return
        del self._replicas[run]
        if self._channel is not None:
            leaving = asyncio.create_task(self._leave(run, self._channel))
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)

    async def _leave(self, run: UUID, channel: str) -> None:
        await self._try(self._layer.group_discard, group_of(run), channel)
        if run in self._replicas:  # somebody follows it again, and may have joined before this was heard
            await self._try(self._layer.group_add, group_of(run), channel)

    async def ask_to_stop(self, owner: str, run: UUID, by: str) -> None:
        """Tell the process that executes a run. It looks at the row four times a second anyway."""
        if await self.open() is not None:
            await self._tell(owner, {"type": "openrouter.stop", "run": run.hex, "by": by})

    async def _tell(self, owner: str, message: dict[str, Any]) -> None:
        if owner and not owner.startswith("process."):
            await self._try(self._layer.send, owner, message)

    # ---- the channel ----

    async def _read(self, channel: str) -> None:
        while True:
            try:
                self._take(await self._layer.receive(channel))
            except Exception:
                log.debug("nothing could be received from the channel layer", exc_info=True)
                await asyncio.sleep(AGAIN_AFTER)

    def _take(self, message: dict[str, Any]) -> None:
        try:
            run = UUID(hex=message["run"])
            match message["type"]:
                case "openrouter.frame":
                    if (receive := self._replicas.get(run)) is not None:
                        events = decode(message["events"])
                        receive(Frame(message["fence"], message["after"], message["seq"], events))
                case "openrouter.follow":
                    self._followed_elsewhere(run)
                case "openrouter.stop":
                    if (live := registry.find(run)) is not None:
                        live.stop(str(message["by"]))
        except (KeyError, ValueError, TypeError, msgspec.MsgspecError):
            log.warning("a message in the channel layer is not one of ours")

    async def _try(self, call: Callable[..., Coroutine[Any, Any, Any]], *args: Any) -> Any:
        """What the call answers, None where it fails or takes too long; said once in the log."""
        try:
            async with asyncio.timeout(get_settings().LAYER_TIMEOUT):
                answer = await call(*args)
        except Exception as error:
            if self._failing_since is None:
                self._failing_since = time.monotonic()
                log.warning("the channel layer does not answer: %s; runs go on", type(error).__name__)
            return None
        if self._failing_since is not None:
            log.warning("the channel layer answers again")
            self._failing_since = None
        return answer


_relays: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Relay] = weakref.WeakKeyDictionary()


def relay() -> Relay:
    """The running loop's relay."""
    loop = asyncio.get_running_loop()
    if (found := _relays.get(loop)) is None:
        found = _relays[loop] = Relay(get_channel_layer())
    return found


async def join() -> str:
    """Make this loop's channel the name under which its writer owns runs; answers it. Before a claim."""
    owner = writer()
    if (channel := await relay().open()) is not None and not owner.is_named:
        owner.name(channel)
    owner.before_flush = _cut
    return owner.process


def _cut(live: LiveRun) -> None:
    if (box := relay().outbox_of(live)) is not None:
        box.cut()
