"""Tools that act, for tests: a chain whose tool has a handler (the fixture ``handle``), and its runs."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

from django.contrib.auth.models import Group

from openrouter_app import runs
from openrouter_app.models import Chain, Owner, ToolCall, ToolSpec
from openrouter_app.runs import Start
from tests.factories import make_chain
from tests.owning import row_of

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}},
    "required": ["name"],
    "additionalProperties": False,
}


def make_acting_chain(
    slug: str = "acting", tool: str = "make_group", handler: str = "act", **fields: Any
) -> Chain:
    """A chain with one tool that has a handler."""
    spec = ToolSpec.objects.create(name=tool, schema=SCHEMA, handler=handler, **fields)
    return make_chain(slug, tools=(spec,))


def make_group(context: Any, name: str) -> dict[str, str]:
    """A handler: what it did is a row."""
    Group.objects.create(name=name)
    return {"made": name}


async def start(owner: Owner, chain: str = "acting", **fields: Any) -> UUID:
    """A run of the chain."""
    return await runs.start(Start(owner, chain=chain, input={"text": "hi"}, **fields))


async def call_of(run: UUID) -> ToolCall:
    """The row of the run's one call."""
    return await ToolCall.objects.aget(run__uuid=run)


async def waits(run: UUID) -> None:
    """Until its row says that it waits."""
    for _ in range(1_500):
        if (await row_of(run)).status == "waiting":
            return
        await asyncio.sleep(0.02)
    raise AssertionError((await row_of(run)).status)


def calls_in(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The calls among an answer's parts."""
    return [part for part in parts if part["type"] == "call"]


def told(provider: Any, at: int = -1) -> list[str]:
    """What the model was told of the calls, in its last request."""
    return [m["content"] for m in provider.requests[at].json["messages"] if m["role"] == "tool"]
