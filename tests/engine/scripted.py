"""Steps that say what a test wants, and both faces of a chain side by side."""

from __future__ import annotations

import asyncio
from typing import Any

from openrouter_app.engine.chains.steps import Call, Step, Upstream
from openrouter_app.engine.messages import ReplyFinished

FINISHED = ReplyFinished("stop", "", None, "gen-1", "a/b", "P")


class Says(Step[Any]):
    """Ignores its input, keeps it for the test, and says the same every time; an error among it is raised."""

    def __init__(self, *items: Any) -> None:
        self.items = items
        self.inputs: list[Any] = []
        self.calls: list[Call] = []

    def flow(self, upstream: Upstream, call: Call):
        self.inputs.append((yield from upstream.value()))
        self.calls.append(call)
        for item in self.items:
            if isinstance(item, Exception):
                raise item
            yield item


class InTurn(Step[Any]):
    """At each run, what the next of some lists says; the last one again and again."""

    def __init__(self, *turns: list[Any]) -> None:
        self.turns = [Says(*turn) for turn in turns]
        self.runs = 0

    def flow(self, upstream: Upstream, call: Call):
        turn = self.turns[min(self.runs, len(self.turns) - 1)]
        self.runs += 1
        yield from turn.flow(upstream, call)


async def outcome(awaitable: Any) -> Any:
    try:
        return await awaitable
    except Exception as error:
        return type(error), str(error)


async def faces(make: Any, value: Any, verb: str, **options: Any) -> Any:
    """What both faces of a fresh chain answer, which must be the same: items or value, or the error."""

    def sync() -> Any:
        made = getattr(make(), verb)(value, **options)
        return list(made) if verb == "stream" else made

    async def on_loop() -> Any:
        made = getattr(make(), "a" + verb)(value, **options)
        return [item async for item in made] if verb == "stream" else await made

    results = [await outcome(asyncio.to_thread(sync)), await outcome(on_loop())]
    assert results[0] == results[1]
    return results[0]
