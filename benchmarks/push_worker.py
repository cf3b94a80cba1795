"""The process of a way from provider to ``send``: each line in is an order, each line out what it took.

``python -m benchmarks.push_worker NAME BASE_URL FOLDER DATABASE``: a name of `benchmarks.paths`, and for
our own site the address of an empty database, or "" for a file in the folder. Orders are
``["steady", …]`` of `pushing` for all, and for our own site the functions of `site_turns`. The loop
runs all the time: a run that one order has started goes on while the next is waited for.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from . import site
from .paths import PATHS
from .pushing import opener, steady

SETTINGS: dict[str, Any] = {
    "MAX_RUNS": 5_000,
    "MAX_QUEUED_RUNS": 5_000,
    "MAX_RUNS_PER_SOCKET": 1_000,
    "MAX_RUNS_PER_USER": 0,
    "MAX_SOCKETS_PER_USER": 0,
    "MAX_STARTS_PER_USER": 0,
}
"""Nothing else than the defaults but limits of how many."""


async def _turns(name: str, base_url: str, reply: Any) -> None:
    if PATHS[name].open is None:
        from .site_turns import TURNS
    else:
        TURNS = {}
    open_stream = opener(name, base_url)
    reply({"ready": True})
    while line := await asyncio.to_thread(sys.stdin.readline):
        order, *arguments = json.loads(line)
        if order == "steady":
            reply(await steady(open_stream, *arguments))
        else:
            reply(await TURNS[order](*arguments))
        if PATHS[name].open is None:
            await _until_all_have_ended()


async def _until_all_have_ended() -> None:
    """What this process has left of an order must not be in the next one's figures."""
    from openrouter_app import runs
    from openrouter_app.runs.writer import writer

    from .site_turns import held

    while not held() and (runs.executing_count() or writer()._task is not None):  # noqa: ASYNC110
        await asyncio.sleep(0.02)


def main() -> None:
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # a package that prints shall not answer in our place
    name, base_url, folder, database = sys.argv[1:]

    def reply(said: object) -> None:
        print(json.dumps(said), file=replies, flush=True)

    path = PATHS[name]
    if path.open is None:
        site.begin(Path(folder), base_url, path.transport, database, **SETTINGS)
    loop_factory = None
    if path.uvloop:
        import uvloop

        loop_factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(_turns(name, base_url, reply))


if __name__ == "__main__":
    main()
