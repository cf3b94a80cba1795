"""The ways from a provider's bytes to ``consumer.send``, a JSON frame a token: the lean loops and the peers.

Our own way is the whole site of `benchmarks.site`. Here stand what it is measured against: loops without a
log, without followers and without a way back after a reload, as one writes them into a consumer.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from .contestants import KEY
from .stream_server import MODEL

Pieces = Callable[[str], AsyncIterator[str]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class _Base:
    """What `channels.consumer.AsyncConsumer` does with a message; the peers have no Channels."""

    def __init__(self, base_send: Send) -> None:
        self.base_send = base_send

    async def send(self, message: dict[str, Any]) -> None:
        await self.base_send(message)


class Consumer(_Base):
    """What `channels.generic.websocket.AsyncWebsocketConsumer` does with a text."""

    async def send(self, text_data: Any = None, bytes_data: Any = None, close: Any = False) -> None:
        if text_data is not None:
            await super().send({"type": "websocket.send", "text": text_data})


@dataclass(frozen=True)
class Path:
    """Where it runs, how it opens (None is our own site), and whether on uvloop."""

    environment: str
    open: Callable[[str], Pieces] | None
    uvloop: bool = False
    transport: str = "httpx"


async def serve(pieces: AsyncIterator[str], consumer: Consumer, encode: Callable[[Any], str]) -> None:
    """The loop that one writes into a consumer."""
    async for piece in pieces:
        if piece:
            await consumer.send(text_data=encode({"type": "text", "delta": piece}))


def encoder(path: Path) -> Callable[[Any], str]:
    """How it makes JSON: the peers as Channels' own `AsyncJsonWebsocketConsumer` does."""
    if path.environment != "ours":
        return json.dumps
    import msgspec

    encode = msgspec.json.Encoder().encode
    return lambda value: encode(value).decode()


def _lean(base_url: str) -> Pieces:
    """Our engine alone."""
    from openrouter_app import ChatOpenRouter
    from openrouter_app.engine.messages import TextDelta

    model = ChatOpenRouter(model=MODEL, api_key=KEY, base_url=base_url)

    async def pieces(text: str) -> AsyncIterator[str]:
        async for event in model.astream(text):
            if type(event) is TextDelta:
                yield event.text

    return pieces


def _openai(base_url: str) -> Pieces:
    import openai

    client = openai.AsyncOpenAI(base_url=base_url, api_key=KEY)

    async def pieces(text: str) -> AsyncIterator[str]:
        messages: Any = [{"role": "user", "content": text}]
        async for chunk in await client.chat.completions.create(model=MODEL, messages=messages, stream=True):
            if chunk.choices:
                yield chunk.choices[0].delta.content or ""

    return pieces


def _langchain(base_url: str) -> Pieces:
    from langchain_core.output_parsers import StrOutputParser
    from langchain_core.prompts import ChatPromptTemplate
    from langchain_openrouter import ChatOpenRouter

    model = ChatOpenRouter(model=MODEL, api_key=KEY, base_url=base_url)
    chain = ChatPromptTemplate.from_messages([("user", "{text}")]) | model | StrOutputParser()

    async def pieces(text: str) -> AsyncIterator[str]:
        async for part in chain.astream({"text": text}):
            yield part

    return pieces


PATHS = {
    "site": Path("ours", None),
    "lean loop": Path("ours", _lean),
    "openai": Path("openai", _openai),
    "langchain-openrouter": Path("langchain-openrouter", _langchain),
    "site, fast": Path("ours", None, uvloop=True, transport="aiohttp"),
    "lean loop, fast": Path("ours", _lean, uvloop=True, transport="aiohttp"),
    "openai, uvloop": Path("openai", _openai, uvloop=True),
    "langchain-openrouter, uvloop": Path("langchain-openrouter", _langchain, uvloop=True),
}
