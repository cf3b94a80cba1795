"""A fake of its own for each test here, served without the plugin that is under test elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from openrouter_app.engine.client import httpx
from openrouter_app.testing import FakeOpenRouter
from openrouter_app.testing.serving import Mounts, serve

KEY = "sk-or-v1-very-secret"


@pytest.fixture(scope="session")
def mounts() -> Iterator[Mounts]:
    mounts = Mounts()
    with serve(mounts):
        yield mounts


@pytest.fixture
def fake(mounts: Mounts) -> Iterator[FakeOpenRouter]:
    fake = FakeOpenRouter()
    with mounts.mounted(fake):
        yield fake


@pytest.fixture(scope="session")
def any_client() -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {KEY}"}
    with httpx.Client(headers=headers, timeout=5, trust_env=False, verify=False) as client:
        yield client


@pytest.fixture
def client(any_client: httpx.Client, fake: FakeOpenRouter) -> httpx.Client:
    any_client.base_url = httpx.URL(fake.base_url)
    return any_client


@pytest.fixture
def question() -> dict[str, Any]:
    return {"model": "example/model", "messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture
def ask(client: httpx.Client, question: dict[str, Any]) -> Callable[..., httpx.Response]:
    def ask(**members: Any) -> httpx.Response:
        return client.post("/chat/completions", json=question | members)

    return ask


@pytest.fixture
def stream(client: httpx.Client, question: dict[str, Any]) -> Callable[..., Any]:
    """The answer as a stream: ``with stream() as response``."""

    def stream(**members: Any) -> Any:
        return client.stream("POST", "/chat/completions", json=question | {"stream": True} | members)

    return stream


@pytest.fixture
def events(ask: Callable[..., httpx.Response]) -> Callable[..., list[Any]]:
    """The data events of a streamed answer, decoded; ``[DONE]`` stays a string."""

    def events(**members: Any) -> list[Any]:
        response = ask(stream=True, **members)
        assert response.headers["content-type"] == "text/event-stream"
        data = [line[6:] for line in response.text.split("\n") if line.startswith("data: ")]
        return [text if text == "[DONE]" else json.loads(text) for text in data]

    return events
