"""A real HTTP server on a loopback port, for as long as a ``with`` block lasts.

uvicorn does the work in a daemon thread with an event loop of its own; it belongs to the extra
``testing`` and is imported on use. Not for production: it exists so that tests meet real sockets.
The one rule: when the block is left the port is closed and nothing runs on, whatever was under way.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any, cast

from .exchanges import HANG_UP, Receive, Scope, Send
from .fake import FakeOpenRouter

if TYPE_CHECKING:
    import uvicorn

_PREFIX = "/api/v1"


@contextmanager
def serve(app: FakeOpenRouter | Mounts, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Serve ``app`` and yield its base URL, e.g. ``http://127.0.0.1:40123/api/v1``.

    Port 0 takes a free one. OSError where the port is taken, ImportError without uvicorn.
    """
    server = _server(app)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family, backlog=1024) as listener:
        name = f"[{host}]" if ":" in host else host
        base_url = f"http://{name}:{listener.getsockname()[1]}{_PREFIX}"
        thread = threading.Thread(target=server.run, args=([listener],), name="fake-openrouter", daemon=True)
        thread.start()
        app.served_at(base_url)
        try:
            yield base_url
        finally:
            app.served_at(None)
            server.should_exit = True
            thread.join(timeout=10)


def _server(app: FakeOpenRouter | Mounts) -> uvicorn.Server:
    try:
        import uvicorn
        from uvicorn.protocols.http.h11_impl import H11Protocol
    except ImportError as error:
        raise ImportError(
            "the fake OpenRouter is served by uvicorn: pip install 'django-openrouter-chains[testing]'"
        ) from error

    class Protocol(H11Protocol):
        """HTTP whose application may close the connection in the middle of an answer."""

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            # asyncio does this only for sockets it made itself; without it small chunks wait 40 ms each
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.access_log = False  # here only: uvicorn's own option would silence the host's servers too
            inner = self.app

            async def with_hang_up(scope: Any, receive: Any, send: Any) -> None:
                scope["extensions"] = {**scope.get("extensions", {}), HANG_UP: transport.abort}
                await inner(scope, receive, send)

            self.app = with_hang_up

    class Server(uvicorn.Server):
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            app.hang_up()
            await super().shutdown(sockets)

    return Server(
        uvicorn.Config(
            cast(Any, app),
            http=Protocol,
            loop="asyncio",
            ws="none",
            lifespan="off",
            log_config=None,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=2,
        )
    )


class Mounts:
    """Several fakes behind one port, each under a prefix of its own.

    Starting a server takes longer than most tests, so one serves a whole test session; a fresh prefix
    for each test keeps a straggler of one (a retry in the background, say) out of the script of the next.
    A fake sees its requests as if it were alone, the prefix taken off.
    """

    def __init__(self) -> None:
        self._fakes: dict[str, FakeOpenRouter] = {}
        self._numbers = count(1)
        self._base_url = ""

    @contextmanager
    def mounted(self, fake: FakeOpenRouter) -> Iterator[str]:
        """Serve ``fake`` for a while and yield its base URL."""
        name = f"test-{next(self._numbers)}"
        self._fakes[name] = fake
        fake.served_at(f"{self._base_url.removesuffix(_PREFIX)}/{name}{_PREFIX}")
        try:
            yield fake.base_url
        finally:
            del self._fakes[name]
            fake.served_at(None)
            fake.hang_up()

    def served_at(self, base_url: str | None) -> None:
        self._base_url = base_url or ""

    def hang_up(self) -> None:
        for fake in list(self._fakes.values()):
            fake.hang_up()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        name, _, rest = scope["path"].lstrip("/").partition("/")
        # A test that is over has no script left: its stragglers meet an empty fake's 404.
        fake, rest = (self._fakes[name], rest) if name in self._fakes else (FakeOpenRouter(), "")
        await fake({**scope, "path": f"/{rest}"}, receive, send)
