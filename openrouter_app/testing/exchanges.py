"""The ASGI side of one answer: actions are performed while somebody watches for the client to leave.

The one rule: an exchange ends exactly one way, "complete", "cut" (by the script or by us) or
"closed early" (by the client), and nothing of it outlives it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any, Literal, TypeAlias

from .answers import Action, Body, HangUp, Head, Pause, json_head
from .recorded import RecordedRequest
from .scripts import Gate, ScriptError, compact

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

HANG_UP = "openrouter_app.hang_up"
"""The ASGI extension, a function, through which a server lets an application close the connection."""


@dataclass(eq=False, slots=True)
class Exchange:
    """One answer under way."""

    request: RecordedRequest
    loop: asyncio.AbstractEventLoop
    state: Literal["open", "complete", "cut", "closed early"] = "open"
    sender: asyncio.Future[None] | None = field(default=None, repr=False)

    def cut_soon(self) -> None:
        """From any thread: break the answer off."""
        self._soon(self._cut)

    def _soon(self, do: Callable[[], None]) -> None:
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(do)

    def _cut(self) -> None:
        if self.state == "open":
            self.state = "cut"
            if self.sender is not None:
                self.sender.cancel()

    async def run(self, actions: Iterator[Action], scope: Scope, receive: Receive, send: Send) -> None:
        sender = self.sender = asyncio.ensure_future(self._send(actions, send))
        watcher = asyncio.ensure_future(_until_client_leaves(receive))
        try:
            await asyncio.wait((sender, watcher), return_when=asyncio.FIRST_COMPLETED)
            if self.state == "open" and not sender.done():
                self.state = "closed early"
            elif self.state == "cut":
                await _hang_up(scope, watcher)
        finally:
            sender.cancel()
            watcher.cancel()
            outcome, _ = await asyncio.gather(sender, watcher, return_exceptions=True)
        if isinstance(outcome, OSError) and self.state == "open":
            self.state = "closed early"  # some servers tell it by an exception
        elif isinstance(outcome, Exception):
            raise outcome

    async def _send(self, actions: Iterator[Action], send: Send) -> None:
        for action in actions:
            match action:
                case Pause(seconds):
                    await asyncio.sleep(seconds)
                case Gate():
                    opened = asyncio.Event()
                    action.when_open(partial(self._soon, opened.set))
                    await opened.wait()
                case HangUp():
                    self.state = "cut"
                    return
                case Head() | Body():
                    await asyncio.sleep(0)  # a long answer must not keep others, or a disconnect, waiting
                    await send(_message(action))
        self.state = "complete"
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _message(action: Head | Body) -> Message:
    if isinstance(action, Body):
        return {"type": "http.response.body", "body": action.data, "more_body": True}
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in action.headers]
    return {"type": "http.response.start", "status": action.status, "headers": headers}


async def _until_client_leaves(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _hang_up(scope: Scope, watcher: asyncio.Future[None]) -> None:
    close = (scope.get("extensions") or {}).get(HANG_UP)
    if close is None:
        raise ConnectionAbortedError("the script cuts the connection here, and this server has no other way")
    close()
    await asyncio.wait((watcher,), timeout=1)


@dataclass(frozen=True, slots=True)
class Page:
    """An answer for a browser: HTML, or a redirect by its header ``location``."""

    html: str
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


def plain(answer: tuple[int, object] | Page) -> Iterator[Action]:
    """A status and what is JSON, or a page."""
    if isinstance(answer, Page):
        kind = {"content-type": "text/html; charset=utf-8"}
        return iter((json_head(answer.status, {**kind, **answer.headers}), Body(answer.html.encode())))
    status, value = answer
    return iter((json_head(status), Body(compact(value).encode())))


def checked(actions: Iterator[Action]) -> Iterator[Action]:
    """``actions``, or a 500 that tells the test what is wrong with its script."""
    try:
        return chain((next(actions),), actions)
    except ScriptError as error:
        return plain((500, {"error": {"message": f"The script does not fit: {error}", "code": 500}}))


async def read_body(receive: Receive) -> bytes | None:
    """The whole request body; None where the client left before its end."""
    parts: list[bytes] = []
    while (message := await receive())["type"] == "http.request":
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)
    return None


async def answer_lifespan(receive: Receive, send: Send) -> None:
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return
