"""A contestant's process: each line in is an order, each line out what it took.

``python -m benchmarks.worker stream NAME BASE_URL`` and ``… parse NAME``. The CPU time is this
process's own, around the work alone; imports, clients and documents are made before.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

from . import documents
from .contestants import STREAMS, NotOffered

Turn = Callable[..., dict[str, Any]]


def streaming(name: str, base_url: str) -> Turn:
    """Turns of ``(order)``: one streamed answer, its text joined; or ``(order, False)``: dropped."""
    contestant = STREAMS[name]
    stream = contestant.open(base_url)
    loop_factory = None
    if contestant.uvloop:
        import uvloop

        loop_factory = uvloop.new_event_loop
    runner = asyncio.Runner(loop_factory=loop_factory)

    async def timed(order: str, join: bool) -> dict[str, Any]:
        parts: list[str] = []
        length = 0

        def count(part: str) -> None:
            nonlocal length
            length += len(part)

        before = time.process_time()
        await stream(order, parts.append if join else count)
        text = "".join(parts)
        cpu = time.process_time() - before
        return {"cpu": cpu, "length": len(text) or length, "text": digest(text), "peak": _peak()}

    def turn(order: str, join: bool = True) -> dict[str, Any]:
        gc.collect()
        return runner.run(timed(order, join))

    return turn


def parsing(name: str) -> Turn:
    """Turns of ``(document, size, share)``, see `documents`."""
    turn = documents.PARSERS[name]

    def collected(*order: Any) -> dict[str, Any]:
        gc.collect()
        return {"cpu": turn(*order)}

    return collected


def digest(text: str) -> str:
    """What tells whether two texts are equal."""
    return hashlib.sha256(text.encode()).hexdigest()


def _peak() -> float:
    """The most memory this process has had, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1024 if sys.platform != "darwin" else peak / 1024 / 1024


def main() -> None:
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # a package that prints shall not answer in our place
    kind, *arguments = sys.argv[1:]

    def reply(said: object) -> None:
        print(json.dumps(said), file=replies, flush=True)

    try:
        turn = streaming(*arguments) if kind == "stream" else parsing(*arguments)
    except NotOffered as reason:
        reply({"not_offered": str(reason)})
        return
    reply({"ready": True})
    for line in sys.stdin:
        reply(turn(*json.loads(line)))


if __name__ == "__main__":
    main()
