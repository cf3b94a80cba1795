"""A browser's socket in tests: the real ASGI application, JSON frames, a session cookie."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from asgiref.sync import sync_to_async
from asgiref.testing import ApplicationCommunicator
from django.conf import settings
from django.test import Client

from openrouter_app.identity import SESSION_KEY
from project.asgi import application
from tests.followers import View


class Socket(ApplicationCommunicator):
    """`connect`, `send_frame`, `frame`, `until`, `disconnect`: what a browser does, in ASGI messages.

    (Channels' own communicator imports daphne, which nothing here needs.)
    """

    def __init__(self, path: str, headers: list[tuple[bytes, bytes]], query: bytes = b"") -> None:
        scope = {
            "type": "websocket",
            "path": path,
            "query_string": query,
            "headers": headers,
            "subprotocols": [],
        }
        super().__init__(application, scope)

    async def connect(self, timeout: float = 10) -> tuple[bool, int | None]:
        """Whether the handshake was accepted, and the code with which it was not."""
        await self.send_input({"type": "websocket.connect"})
        answer = await self.receive_output(timeout)
        return answer["type"] == "websocket.accept", answer.get("code")

    async def send_to(self, *, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        await self.send_input({"type": "websocket.receive", "text": text_data, "bytes": bytes_data})

    async def receive_from(self, timeout: float = 10) -> str:
        message = await self.receive_output(timeout)
        assert message["type"] == "websocket.send", message
        return message["text"]

    async def disconnect(self) -> None:
        await self.send_input({"type": "websocket.disconnect", "code": 1000})
        await self.wait(10)

    async def send_frame(self, type: str, **fields: Any) -> None:
        await self.send_to(text_data=json.dumps({"type": type, **fields}))

    async def frame(self, timeout: float = 10) -> dict[str, Any]:
        return json.loads(await self.receive_from(timeout))

    async def until(self, type: str) -> dict[str, Any]:
        """The next frame of this type; others are passed over."""
        while (frame := await self.frame())["type"] != type:
            pass
        return frame

    async def watch(self, run: str) -> View:
        """Fold this run's frames until it has ended."""
        view = View()
        while view.state.get("status") not in ("done", "stopped", "failed", "interrupted"):
            frame = await self.frame()
            if frame.get("run") != run:
                continue
            if frame["type"] == "run.snapshot":
                view.snapshot(frame["seq"], frame["state"])
            elif frame["type"] == "run.events":
                view.range(frame["after"], frame["seq"], frame["events"])
        assert not view.gap
        return view


def session_of(user: Any = None) -> Client:
    """A browser's cookies: logged in, or an anonymous visitor who has been to a chain's page."""
    client = Client()
    if user is not None:
        client.force_login(user)
    else:
        session = client.session
        session[SESSION_KEY] = str(uuid4())
        session.save()
        client.cookies[settings.SESSION_COOKIE_NAME] = session.session_key
    return client


def socket(
    client: Client | None = None,
    *,
    origin: str | None = "http://localhost",
    host: str = "localhost",
    query: bytes = b"",
) -> Socket:
    """A socket that is not connected yet."""
    headers = [(b"host", host.encode())]
    if origin is not None:
        headers.append((b"origin", origin.encode()))
    if client is not None:
        cookie = client.cookies[settings.SESSION_COOKIE_NAME].value
        headers.append((b"cookie", f"{settings.SESSION_COOKIE_NAME}={cookie}".encode()))
    return Socket("/ws/openrouter/", headers, query)


@asynccontextmanager
async def connected(
    user: Any = None, *, anonymous: bool = False, client: Client | None = None, query: bytes = b""
):
    """A connected socket past its ``hello``: a visitor's, a user's, or (``anonymous``) without a session."""
    if client is None and not anonymous:
        client = await sync_to_async(session_of)(user)
    sock = socket(client, query=query)
    accepted, _ = await sock.connect()
    assert accepted
    assert (await sock.frame())["type"] == "hello"
    try:
        yield sock
    finally:
        await sock.disconnect()
