"""A flow exists once: for the same bytes both faces give the same events, on both transports.

The bytes are OpenRouter's, recorded. They stand beside the checkout, not in it; without them these tests
are skipped.
"""

from __future__ import annotations

import asyncio
import json
import random

import pytest

from openrouter_app.engine import client
from openrouter_app.engine.chains import ChatOpenRouter
from openrouter_app.engine.errors import OpenRouterError

from .loopback import framed, serving
from .test_recordings import BODIES, PAGES, RECORDINGS, STREAMS, meta

pytestmark = pytest.mark.skipif(not RECORDINGS.is_dir(), reason=f"no recordings at {RECORDINGS.name}/")

TRANSPORTS = ["httpx"] + (["aiohttp"] if client._has_aiohttp() else [])


def replay(path):
    """A handler that answers as it was recorded, in random pieces."""
    about, body = meta(path), path.read_bytes()
    kind = next(
        (
            value
            for name, value in (about.get("response_headers") or {}).items()
            if name.lower() == "content-type"
        ),
        {".sse": "text/event-stream", ".html": "text/html"}.get(path.suffix, "application/json"),
    )
    status = about.get("status") or 200

    def answer(server, connection):
        rng = random.Random(f"{path.name} {len(server.requests)}")
        cuts = sorted(rng.randrange(len(body) + 1) for _ in range(rng.randrange(6)))
        connection.sendall(
            f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        )
        for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True):
            if end > start:
                connection.sendall(framed(body[start:end]))
        connection.sendall(framed(b""))

    return answer


class Play:
    """Events and error of one face."""

    def __init__(self):
        self.events = []
        self.error = None

    async def on_loop(self, step, streaming):
        try:
            if streaming:
                async for event in step.astream("hi"):
                    self.events.append(event)
            else:
                self.events.append(await step.ainvoke("hi"))
        except OpenRouterError as error:
            self.error = error
        return self

    def in_thread(self, step, streaming):
        try:
            if streaming:
                self.events.extend(step.stream("hi"))
            else:
                self.events.append(step.invoke("hi"))
        except OpenRouterError as error:
            self.error = error
        return self

    def result(self):
        """To be compared. How long to wait may be told as a moment, and that comes nearer."""
        if self.error is None:
            return self.events, None
        told = {name: value for name, value in vars(self.error).items() if name != "retry_after"}
        return self.events, (type(self.error), told)


@pytest.mark.parametrize("path", STREAMS + BODIES + PAGES, ids=lambda path: path.stem)
async def test_both_faces_give_the_same_events_for_the_same_bytes(path):
    with serving(replay(path)) as server:
        step = ChatOpenRouter(model="a/b", api_key="k", base_url=server.base_url, retries=0)
        for streaming in (True, False):
            plays = [await asyncio.to_thread(Play().in_thread, step, streaming)]
            for transport in TRANSPORTS:
                client.set_transport(transport)
                plays.append(await Play().on_loop(step, streaming))
                await client.aclose()
            assert plays[0].events or plays[0].error
            for play in plays[1:]:
                assert play.result() == plays[0].result()
        assert json.loads(server.requests[0].partition(b"\r\n\r\n")[2])["model"] == "a/b"


@pytest.fixture(autouse=True)
def closed_clients():
    yield
    client.close()
    client.set_transport("auto")
