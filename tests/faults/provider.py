"""The provider of these tests: the fake OpenRouter, which also keeps what it said to whom, and when."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from openrouter_app.testing import FakeOpenRouter

Message = MutableMapping[str, Any]


@dataclass(eq=False, slots=True)
class Asked:
    """One request, and what of an answer had been sent when."""

    at: float
    body: str = ""
    status: int | None = None
    said: list[tuple[float, str]] = field(default_factory=list)
    ended: bool = False
    left_at: float | None = None
    """When the asker hung up, where that was before the end."""

    def is_about(self, start: str) -> bool:
        """Whether it was made for the start with this id, which each page writes into its input.

        That is what the person said last: a conversation's history has what was said before.
        """
        said = [message for message in self.messages if message.get("role") == "user"]
        return start in (str(said[-1]["content"]) if said else self.body)

    @property
    def messages(self) -> list[dict[str, Any]]:
        """What the model was told."""
        try:
            return list(json.loads(self.body)["messages"])
        except (ValueError, LookupError, TypeError):
            return []

    @property
    def results(self) -> int:
        """How many results of tools were among it."""
        return sum(message.get("role") == "tool" for message in self.messages)

    @property
    def text(self) -> str:
        """The content that was sent: text, reasoning and arguments, in order."""
        return "".join(text for _, text in self.said)

    @property
    def last_said(self) -> float:
        """When the last piece of content was sent; when it was asked where there was none."""
        return self.said[-1][0] if self.said else self.at


class Provider(FakeOpenRouter):
    """What is scripted as ever; `asked` is the history of it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.asked: list[Asked] = []

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """Answer, and write down what goes by."""
        if scope["type"] != "http" or not scope["path"].endswith("/chat/completions"):
            return await super().__call__(scope, receive, send)
        asked = Asked(time.monotonic())
        self.asked.append(asked)

        async def receiving() -> Message:
            message = await receive()
            if message["type"] == "http.request":
                asked.body += message.get("body", b"").decode(errors="replace")
            elif not asked.ended and asked.left_at is None:
                asked.left_at = time.monotonic()
            return message

        async def sending(message: Message) -> None:
            await send(message)
            if message["type"] == "http.response.start":
                asked.status = message["status"]
                return
            asked.said += [(time.monotonic(), text) for text in _content(message.get("body", b""))]
            asked.ended = not message.get("more_body", False)

        return await super().__call__(scope, receiving, sending)


def _content(data: bytes) -> Iterator[str]:
    """The pieces of an answer in some events; what is no whole event holds none."""
    for line in data.decode(errors="replace").splitlines():
        try:
            event = json.loads(line.removeprefix("data: "))
            delta = event["choices"][0]["delta"]
        except (ValueError, LookupError, TypeError):
            continue
        pieces = [delta.get("content"), delta.get("reasoning")]
        pieces += [call.get("function", {}).get("arguments") for call in delta.get("tool_calls") or []]
        yield from filter(None, pieces)
