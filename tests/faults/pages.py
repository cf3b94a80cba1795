"""A page without a browser: speaks docs/protocol.md as the page's own client does, and forgets nothing.

It connects again when its socket is lost, says a start again that was not answered, follows again what
has not ended, and pings a silent server, all twenty times as fast as a browser's page.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import Any, Literal
from urllib.parse import urlsplit
from uuid import uuid4

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from tests.followers import View, until

FINAL = frozenset({"done", "stopped", "failed", "interrupted"})
LAST_EVENTS = frozenset({"finished", "stopped", "failed", "interrupted"})
NEVER_AGAIN = frozenset({4401})
SHORTEST_DELAY, LONGEST_DELAY = 0.0125, 0.75
PATIENCE = 30.0
"""Seconds after which what a page waits for is not coming, however busy the machine."""
COOKIE = "openrouter_demo_session"

INPUTS = {
    "translate": ("text", {"input_language": "English", "output_language": "French"}),
    "joke": ("foo", {}),
    "count": ("max_num", {}),
    "ledger": ("message", {}),
}
"""The demo's chains: the variable that takes the start's id, by which the provider's requests are known."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened to a page. ``lost`` has the close code where one was sent."""

    at: float
    what: Literal["opened", "sent", "got", "lost"]
    frame: dict[str, Any] = field(default_factory=dict)


class Refused(Exception):
    """The server answered a start with an error."""


class Page:
    """One tab of a visitor. ``history`` is all that it heard and said, ``views`` what it shows, by run."""

    def __init__(self, address: str, visitor: str, *, name: str = "page") -> None:
        self.address = address
        self.visitor = visitor
        self.name = name
        self.history: list[Entry] = []
        self.views: dict[str, View] = {}
        self.runs: dict[str, str] = {}
        """Which run a start became."""
        self.hello: dict[str, Any] = {}
        self._starting: dict[str, dict[str, Any]] = {}
        self._refused: dict[str, dict[str, Any]] = {}
        self._awaiting: set[str] = set()
        self._stopping: set[str] = set()
        self._deciding: dict[tuple[str, str], dict[str, Any]] = {}
        self._watched: set[str] = set()
        self.conversations: dict[str, str] = {}
        """Which conversation a start belongs to."""
        self._socket: ClientConnection | None = None
        self._reading = asyncio.Event()
        self._reading.set()
        self._failures = 0
        self._life: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Page:
        self._life = asyncio.create_task(self._live())
        await self._until(lambda: self.is_connected)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._life is not None:
            self._life.cancel()
            await asyncio.gather(self._life, return_exceptions=True)

    # What a person does

    async def start(
        self,
        id: str | None = None,
        *,
        chain: str = "translate",
        conversation: str | None = None,
        wait: bool = True,
        **input: str,
    ) -> str:
        """Start a run; answers the run once it is accepted, without ``wait`` the start's id at once."""
        id = id or uuid4().hex
        name, others = INPUTS[chain]
        frame = {"type": "run.start", "id": id, "chain": chain, "input": {**others, name: id, **input}}
        if conversation is not None:
            frame["conversation"] = conversation
        self._starting[id] = frame
        self._refused.pop(id, None)  # it may be said again
        await self._send(frame)
        return await self.accepted(id) if wait else id

    async def accepted(self, id: str, seconds: float = PATIENCE) -> str:
        """The run that a start became. Raises `Refused`."""
        await self._until(lambda: id in self.runs or id in self._refused, seconds)
        if id in self._refused:
            raise Refused(self._refused[id])
        return self.runs[id]

    async def follow(self, run: str) -> None:
        """Watch a run that was started elsewhere, from its beginning."""
        self.views.setdefault(run, View())
        self._awaiting.add(run)
        await self._send({"type": "run.follow", "run": run})

    async def stop(self, run: str) -> None:
        """Stop it; said again after a break until it has ended."""
        self._stopping.add(run)
        await self._send({"type": "run.stop", "run": run})

    async def decide(self, run: str, call: str, *, approve: bool = True, wait: bool = True) -> None:
        """Allow a call or deny it; said again after a break, while it is shown to wait."""
        frame = {"type": "tool.decide", "run": run, "call": call, "approve": approve}
        self._deciding[run, call] = frame
        await self._send(frame)
        if wait:
            await self._until(lambda: self.call(run, call).get("status") != "waiting")

    async def watch(self, conversation: str) -> None:
        """Follow a conversation."""
        self._watched.add(conversation)
        await self._send({"type": "run.follow", "conversation": conversation})

    async def reload(self) -> None:
        """All that was shown is gone; what runs is followed again."""
        self.views = {run: View() for run in self.views}
        before = len(self.history)
        if self._socket is not None:
            await self._socket.close(1001)
        await self._until(lambda: any(entry.what == "opened" for entry in self.history[before:]))

    # What happens to it

    def reset(self) -> None:
        """Its network is gone: the connection ends with a reset."""
        if self._socket is not None:
            transport = self._socket.transport
            lingering = struct.pack("ii", 1, 0)
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, lingering)
            transport.abort()

    def stall(self) -> None:
        """Read nothing any more, the socket open."""
        self._reading.clear()

    def read_on(self) -> None:
        """Read again."""
        self._reading.set()

    # What it shows

    @property
    def is_connected(self) -> bool:
        """Whether it was greeted on a socket that stands."""
        return bool(self.history) and self.history[-1].what != "lost" and bool(self.hello)

    @property
    def unanswered(self) -> list[str]:
        """The starts that the server has not answered yet."""
        return list(self._starting)

    @property
    def connections(self) -> int:
        """How often it connected."""
        return sum(entry.what == "opened" for entry in self.history)

    def status(self, run: str) -> str | None:
        """The run's, as it is shown."""
        return self.views[run].state.get("status") if run in self.views else None

    def text(self, run: str) -> str:
        """The run's text, as it is shown."""
        parts = self.views[run].state.get("parts", []) if run in self.views else []
        return "".join(part["text"] for part in parts if part["type"] == "text")

    def call(self, run: str, call: str) -> dict[str, Any]:
        """A call of the run, as it is shown; empty while it is not."""
        parts = self.views[run].state.get("parts", []) if run in self.views else []
        return next((part for part in parts if part.get("call") == call), {})

    async def waits(self, run: str, seconds: float = PATIENCE) -> None:
        """Wait until the run waits for a person."""
        await self._until(lambda: self.status(run) == "waiting", seconds)

    async def says(self, run: str, text: str, seconds: float = PATIENCE) -> None:
        """Wait until the run's text has come this far."""
        await self._until(lambda: text in self.text(run), seconds)

    async def ended(self, run: str, seconds: float = PATIENCE) -> dict[str, Any]:
        """Wait until the run has ended; answers its state."""
        await self._until(lambda: self.status(run) in FINAL, seconds)
        return self.views[run].state

    def got(self, type: str) -> list[dict[str, Any]]:
        """Every frame of this type, ever."""
        return [entry.frame for entry in self.history if entry.what == "got" and entry.frame["type"] == type]

    async def _until(self, condition: Callable[[], Any], seconds: float = PATIENCE) -> None:
        try:
            await until(condition, seconds)
        except TimeoutError:
            now = time.monotonic()
            last = [f"{entry.at - now:8.3f} {entry.what:6} {entry.frame!r:.200}" for entry in self.history]
            shown = [
                f"{run} {view.state.get('status')} {view.state.get('error', '')}"
                for run, view in self.views.items()
            ]
            raise AssertionError("\n".join([f"{self.name} waited in vain:", *shown, *last[-15:]])) from None

    # Its life

    async def _live(self) -> None:
        while True:
            code = None
            try:
                async with self._connection() as self._socket:
                    self._note("opened")
                    await self._listen(self._socket)
            except ConnectionClosed as closed:
                code = closed.rcvd.code if closed.rcvd else None
            except (OSError, WebSocketException, TimeoutError):
                pass
            finally:
                self._socket, self.hello = None, {}
                self._note("lost", code=code)
            if code in NEVER_AGAIN:
                return
            self._failures += 1
            longest = min(SHORTEST_DELAY + 0.025 * 2**self._failures, LONGEST_DELAY)
            await asyncio.sleep(random.uniform(SHORTEST_DELAY, longest))

    def _connection(self) -> connect:
        place = urlsplit(self.address)
        return connect(
            f"ws://{place.netloc}/ws/openrouter/",
            origin=self.address,
            additional_headers={"Cookie": f"{COOKIE}={self.visitor}"},
            proxy=None,
            compression=None,
            ping_interval=None,
            max_size=None,
            max_queue=1,
            open_timeout=2,
            close_timeout=0.25,
        )

    async def _listen(self, connection: ClientConnection) -> None:
        while True:
            await self._reading.wait()
            frame = json.loads(await self._next(connection))
            self._note("got", **frame)
            if frame["type"] == "hello":
                self.hello, self._failures = frame, 0
                await self._resume()
            else:
                await self._take(frame)

    async def _next(self, connection: ClientConnection) -> str | bytes:
        """The next frame. A silent server is asked; one that stays silent is given up."""
        patience = self.hello.get("heartbeat", 1)
        try:
            async with asyncio.timeout(patience):
                return await connection.recv()
        except TimeoutError:
            await self._send({"type": "ping"})
        try:
            async with asyncio.timeout(patience):
                return await connection.recv()
        except TimeoutError:
            connection.transport.abort()
            raise

    async def _resume(self) -> None:
        for frame in tuple(self._starting.values()):
            await self._send(frame)
        for run in self.views:
            if self.status(run) not in FINAL:
                await self.follow(run)
                if run in self._stopping:
                    await self.stop(run)
        for (run, call), frame in self._deciding.items():
            if self.call(run, call).get("status") == "waiting":
                await self._send(frame)
        for conversation in self._watched:
            await self._send({"type": "run.follow", "conversation": conversation})

    async def _take(self, frame: dict[str, Any]) -> None:
        match frame:
            case {"type": "run.accepted", "id": id, "run": run}:
                self._starting.pop(id, None)
                self.runs[id] = run
                self.conversations[id] = frame["conversation"]
                self.views.setdefault(run, View())
                self._awaiting.add(run)
            case {"type": "run.snapshot", "run": run, "seq": seq, "state": state}:
                self.views.setdefault(run, View()).snapshot(seq, state)
                self._awaiting.discard(run)
            case {"type": "run.events", "run": run, "after": after, "seq": seq, "events": events}:
                if run not in self._awaiting and run in self.views:
                    self.views[run].range(after, seq, events)
                    if self.views[run].gap:
                        self.views[run].gap = False
                        await self.follow(run)
            case {"type": "error", "id": str(id)} if id in self._starting:
                del self._starting[id]
                self._refused[id] = frame

    async def _send(self, frame: dict[str, Any]) -> None:
        """Say it, where there is somebody; what must be said again is said after the next hello."""
        if self._socket is None or not self.hello:
            return
        self._note("sent", **frame)
        with suppress(ConnectionClosed):
            await self._socket.send(json.dumps(frame))

    def _note(self, what: Literal["opened", "sent", "got", "lost"], **frame: Any) -> None:
        self.history.append(Entry(time.monotonic(), what, frame))


def new_visitor(address: str) -> str:
    """The session of somebody who looked at a chain's page for the first time."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{address}/chains/translate/", timeout=10) as response:
        cookies = SimpleCookie()
        for header in response.headers.get_all("Set-Cookie", []):
            cookies.load(header)
    return cookies[COOKIE].value
