"""A whole chain against httpx and msgspec alone: CPU for each chunk of a streamed answer."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys

import httpx
import msgspec

from openrouter_app import ChatOpenRouter, ChatPromptTemplate, StringOutputParser
from openrouter_app.engine import client

from .rounds import medians

CHUNKS = 5_000
_tls = httpx.create_ssl_context()  # once, as the app does: it is most of what a client costs


class _Delta(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta


class _Chunk(msgspec.Struct):
    choices: list[_Choice]


async def _floor(base_url: str) -> str:
    """The least that reads a stream: bytes, lines, a typed decoder."""
    decode = msgspec.json.Decoder(_Chunk).decode
    text, rest = [], b""
    async with (
        httpx.AsyncClient(verify=_tls) as http,
        http.stream("POST", f"{base_url}/chat/completions", content=b"{}") as response,
    ):
        async for data in response.aiter_raw():
            *events, rest = (rest + data).split(b"\n\n")
            for event in events:
                if event.startswith(b"data: {"):
                    text.extend(choice.delta.content or "" for choice in decode(event[6:]).choices)
    return "".join(text)


async def _chain(base_url: str) -> str:
    model = ChatOpenRouter(model="a/b", api_key="test", base_url=base_url)
    chain = ChatPromptTemplate.from_template("{text}") | model | StringOutputParser()
    text = "".join([part async for part in chain.astream({"text": "hi"})])
    await client.aclose()
    return text


def measure() -> str:
    """Both over the same server, one event a network write."""
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.stream_server", str(CHUNKS)], stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            base_url = server.stdout.readline().strip()
            assert asyncio.run(_chain(base_url)) == asyncio.run(_floor(base_url))
            taken = medians(
                {
                    "floor": lambda: asyncio.run(_floor(base_url)) and None,
                    "chain": lambda: asyncio.run(_chain(base_url)) and None,
                }
            )
        finally:
            server.terminate()
    rows = "\n".join(
        f"| {name} | {seconds / CHUNKS * 1e6:.1f} | {seconds / taken['floor']:.2f} |"
        for name, seconds in taken.items()
    )
    return f"""## A chain, for each chunk

`prompt | model | parser` on httpx's own transport against httpx and msgspec alone ("floor": no events,
no errors, no tools), {CHUNKS:,} chunks, one event a network write. To reach: 1.25.

| | µs CPU a chunk | against the floor |
|---|---|---|
{rows}"""


def chunk(text: str) -> bytes:
    """One event as OpenRouter sends it."""
    choice = {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": None}
    members = {"id": "gen-1", "object": "chat.completion.chunk", "model": "a/b", "provider": "P"}
    return b"data: " + json.dumps({**members, "choices": [choice]}).encode() + b"\n\n"
