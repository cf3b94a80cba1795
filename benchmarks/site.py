"""Our own site in a process of the benchmarks: the demo's settings, SQLite in a folder or a database that is
given, one public chain.

No server: a `Socket` calls the ASGI application, the whole of it with its check of the origin, its sessions
and the consumer, as a server would, and is handed each frame as text.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from .contestants import KEY
from .stream_server import MODEL

Take = Callable[[str], Awaitable[None]]
CHAIN = "bench"


def begin(folder: Path, base_url: str, transport: str, database: str = "", **numbers: Any) -> None:
    """Set Django up, and make tables and chain where they are not there yet; a ``database`` has none."""
    file = folder / "site.sqlite3"
    os.environ.update(
        DJANGO_SETTINGS_MODULE="project.settings",
        DATABASE_URL=database or f"sqlite:///{file}",
        DEMO_VAR=str(folder),
        SECRET_KEY="not-secret-for-nobody-comes-here",  # two processes on one database
        DEBUG="0",
        OPENROUTER_API_KEY=KEY,
        OPENROUTER_BASE_URL=base_url,
        **{f"OPENROUTER_{name}": str(value) for name, value in numbers.items()},
    )
    is_new = bool(database) or not file.exists()
    import django

    django.setup()
    from openrouter_app.engine import client

    client.set_transport(transport)
    if is_new:
        _fill()
    import project.asgi  # noqa: F401 - what it loads belongs to no measurement


def _fill() -> None:
    from django.core.management import call_command

    from openrouter_app.models import Chain, PromptRow, PromptTemplate

    call_command("migrate", verbosity=0)
    prompt = PromptTemplate.objects.create(slug=CHAIN)
    PromptRow.objects.create(template=prompt, position=1, role="human", text="{text}")
    Chain.objects.create(slug=CHAIN, title="Bench", model=MODEL, prompt=prompt, access="public").publish()


def visitor() -> str:
    """A session's cookie: what starts with it may be followed from any socket that has it too."""
    from uuid import uuid4

    from django.conf import settings
    from django.contrib.sessions.backends.db import SessionStore

    from openrouter_app.identity import SESSION_KEY

    session = SessionStore()
    session[SESSION_KEY] = str(uuid4())
    session.save()
    return f"{settings.SESSION_COOKIE_NAME}={session.session_key}"


class Socket:
    """A page's websocket. Every frame goes to ``take``, which may wait as it does for a slow reader."""

    def __init__(
        self, take: Take, cookie: str = "", on_close: Callable[[int], object] = lambda code: None
    ) -> None:
        from project.asgi import application

        self._take = take
        self._on_close = on_close
        self._inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._inbox.put_nowait({"type": "websocket.connect"})
        headers = [(b"host", b"localhost"), (b"origin", b"http://localhost")]
        if cookie:
            headers.append((b"cookie", cookie.encode()))
        scope = {
            "type": "websocket",
            "path": "/ws/openrouter/",
            "query_string": b"",
            "headers": headers,
            "subprotocols": [],
        }
        self._task: asyncio.Future[None] = asyncio.ensure_future(
            application(scope, self._inbox.get, self._send)
        )

    async def _send(self, message: dict[str, Any]) -> None:
        if message["type"] == "websocket.send":
            await self._take(message["text"])
        elif message["type"] == "websocket.close":
            self._on_close(message.get("code", 1000))

    def say(self, type: str, **fields: Any) -> None:
        """A frame from the page."""
        text = json.dumps({"type": type, **fields})
        self._inbox.put_nowait({"type": "websocket.receive", "text": text})

    def start(self, order: str, id: str = "1") -> None:
        """Run the chain with this order to the provider."""
        self.say("run.start", id=id, chain=CHAIN, input={"text": order})

    async def close(self) -> None:
        """Leave; runs of a page without a session end with it."""
        self._inbox.put_nowait({"type": "websocket.disconnect", "code": 1000})
        with suppress(asyncio.CancelledError):
            await self._task
