"""Who streams an answer: the floor, our chain, the peers. Each joins the same text from the same bytes.

An entry opens its client once, as its documentation does, and answers a function that streams one
answer and hands each piece of text to ``take``. Packages are imported inside, for each contestant runs
in an environment of its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from .stream_server import MODEL

Take = Callable[[str], object]
Stream = Callable[[str, Take], Awaitable[None]]
KEY = "sk-or-none"


class NotOffered(Exception):
    """This version has no such thing."""


@dataclass(frozen=True)
class Contestant:
    """Where it runs, how it opens, and whether on uvloop."""

    environment: str
    open: Callable[[str], Stream]
    uvloop: bool = False


def _floor(base_url: str, **transport: Any) -> Stream:
    """The least that reads a stream: httpx, a split, a typed decoder. No events, errors or tools."""
    import httpx
    import msgspec

    delta = msgspec.defstruct("Delta", [("content", str | None, None)])
    choice = msgspec.defstruct("Choice", [("delta", delta)])
    chunk = msgspec.defstruct("Chunk", [("choices", list[choice])])  # type: ignore[valid-type]
    decode: Callable[[bytes], Any] = msgspec.json.Decoder(chunk).decode
    client = httpx.AsyncClient(**transport)

    async def stream(text: str, take: Take) -> None:
        body = {"model": MODEL, "stream": True, "messages": [{"role": "user", "content": text}]}
        rest = b""
        async with client.stream("POST", f"{base_url}/chat/completions", json=body) as response:
            async for data in response.aiter_raw():
                *events, rest = (rest + data).split(b"\n\n")
                for event in events:
                    if event.startswith(b"data: {"):
                        for choice in decode(event[6:]).choices:
                            take(choice.delta.content or "")

    return stream


def _fast_floor(base_url: str) -> Stream:
    import httpx_aiohttp

    return _floor(base_url, transport=httpx_aiohttp.AiohttpTransport())


def _chain(base_url: str) -> Stream:
    # Said, because by default the engine takes aiohttp where that is installed, as it is here.
    return _chain_over("httpx", base_url)


def _fast(base_url: str) -> Stream:
    return _chain_over("aiohttp", base_url)


def _chain_over(transport: str, base_url: str) -> Stream:
    from openrouter_app import ChatOpenRouter, ChatPromptTemplate, StringOutputParser
    from openrouter_app.engine import client

    choose: Callable[[str], object] | None = getattr(client, "set_transport", None)
    if choose:
        choose(transport)
    elif transport != "httpx":
        raise NotOffered("the engine has no `set_transport` yet")
    model = ChatOpenRouter(model=MODEL, api_key=KEY, base_url=base_url)
    chain = ChatPromptTemplate.from_template("{text}") | model | StringOutputParser()

    async def stream(text: str, take: Take) -> None:
        async for part in chain.astream({"text": text}):
            take(part)

    return stream


def _openai(base_url: str) -> Stream:
    import openai

    client = openai.AsyncOpenAI(base_url=base_url, api_key=KEY)

    async def stream(text: str, take: Take) -> None:
        messages: Any = [{"role": "user", "content": text}]
        async for chunk in await client.chat.completions.create(model=MODEL, messages=messages, stream=True):
            if chunk.choices:
                take(chunk.choices[0].delta.content or "")

    return stream


def _pydantic_ai(base_url: str) -> Stream:
    import openai
    from pydantic_ai import Agent
    from pydantic_ai.models.openrouter import OpenRouterModel
    from pydantic_ai.providers.openrouter import OpenRouterProvider

    provider = OpenRouterProvider(openai_client=openai.AsyncOpenAI(base_url=base_url, api_key=KEY))
    agent = Agent(OpenRouterModel(MODEL, provider=provider))

    async def stream(text: str, take: Take) -> None:
        async with agent.run_stream(text) as run:
            async for part in run.stream_text(delta=True, debounce_by=None):
                take(part)

    return stream


def _langchain(base_url: str) -> Stream:
    from langchain_core.output_parsers import StrOutputParser
    from langchain_core.prompts import ChatPromptTemplate
    from langchain_openrouter import ChatOpenRouter

    model = ChatOpenRouter(model=MODEL, api_key=KEY, base_url=base_url)
    chain = ChatPromptTemplate.from_messages([("user", "{text}")]) | model | StrOutputParser()

    async def stream(text: str, take: Take) -> None:
        async for part in chain.astream({"text": text}):
            take(part)

    return stream


def _litellm(base_url: str) -> Stream:
    import litellm

    async def stream(text: str, take: Take) -> None:
        messages = [{"role": "user", "content": text}]
        answer: Any = await litellm.acompletion(
            model=f"openrouter/{MODEL}", messages=messages, api_base=base_url, api_key=KEY, stream=True
        )
        async for chunk in answer:
            if chunk.choices:
                take(chunk.choices[0].delta.content or "")

    return stream


STREAMS = {
    "httpx + msgspec": Contestant("ours", _floor),
    "chain": Contestant("ours", _chain),
    "httpx + msgspec, fast": Contestant("ours", _fast_floor, uvloop=True),
    "chain, fast": Contestant("ours", _fast, uvloop=True),
    "openai": Contestant("openai", _openai),
    "pydantic-ai": Contestant("pydantic-ai", _pydantic_ai),
    "langchain-openrouter": Contestant("langchain-openrouter", _langchain),
    "litellm": Contestant("litellm", _litellm),
}
PEERS = ("openai", "pydantic-ai", "langchain-openrouter", "litellm")
