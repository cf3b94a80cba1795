"""Random schedules of faults, each followed by the checker. The seed is printed; ``FAULTS_SEED`` repeats it.

Two processes on PostgreSQL with Valkey between them, a proxy before each page. ``FAULTS_SCHEDULES`` says
how many there are (20; ``make soak`` has 200).
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from openrouter_app.testing import Cut, End, ErrorReply, Reply, Stall, StreamError
from tests.faults.bed import Bed
from tests.faults.pages import FINAL, Page, Refused
from tests.faults.proxy import FaultProxy
from tests.faults.sites import Site
from tests.followers import until

SEED = int(os.environ.get("FAULTS_SEED", random.randrange(2**32)))
SCHEDULES = int(os.environ.get("FAULTS_SCHEDULES", "20"))
STEPS = 14
WORDS = [f"word{number} " for number in range(40)]


class Schedule:
    """What happens to one bed, drawn by one seed."""

    def __init__(self, bed: Bed, seed: int) -> None:
        self.bed = bed
        self.draw = random.Random(seed)
        self.done: list[str] = []
        self.sites: list[Site] = []
        self.pages: list[tuple[Page, FaultProxy]] = []
        self.starts: list[tuple[Page, str]] = []

    async def prepare(self) -> None:
        """Two sites, two visitors; the first one's page at one site, his other tab at the other."""
        self.bed.provider.default = self.answer
        self.sites = [await self.bed.site(), await self.bed.site()]
        visitor = None
        for site in (self.sites[0], self.sites[1], self.sites[1]):
            proxy = await self.bed.proxy(site.port)
            page = await self.bed.page(site, visitor=visitor, through=proxy)
            visitor = page.visitor if visitor is None else None
            self.pages.append((page, proxy))

    def answer(self, asked: Any) -> Reply | ErrorReply:
        """An answer as providers give them, most of them whole."""
        words = WORDS[: self.draw.randrange(1, len(WORDS))]
        kind = self.draw.random()
        if kind < 0.1:
            return ErrorReply(503, {"code": 503, "message": "busy"})
        ends = [()] * 7 + [(Cut(),), (End(),), (StreamError(),), (Stall(1.0), "late")]
        return Reply((*words, *self.draw.choice(ends)), delay=self.draw.choice([0, 0.01, 0.04]))

    async def go(self) -> None:
        """Some steps, then everything is mended, and everybody waits for his answers."""
        steps = self.draw.choices(list(STEPS_BY_WEIGHT), list(STEPS_BY_WEIGHT.values()), k=STEPS)
        for step in [Schedule.start, *steps]:
            self.done.append(step.__name__)
            await step(self)
            await asyncio.sleep(self.draw.uniform(0, 0.3))
        await self.mend()
        for page, start in self.starts:
            with suppress(Refused):
                run = await page.accepted(start, 15)
                await page.ended(run, 15)
        await until(lambda: all(row.status in FINAL for row in self.bed.database.runs()), 15)

    async def mend(self) -> None:
        """All is well again."""
        for site in self.sites:
            site.thaw()
            await site.serves()
        if not self.bed.valkey.is_running:
            await asyncio.to_thread(self.bed.valkey.start)
        for page, proxy in self.pages:
            proxy.heal()
            page.read_on()

    # What people do

    async def start(self) -> None:
        page, _ = self.draw.choice(self.pages)
        self.starts.append((page, await page.start(wait=False)))

    async def stop(self) -> None:
        started = [(page, page.runs[start]) for page, start in self.starts if start in page.runs]
        if started:
            page, run = self.draw.choice(started)
            same = [one for one, _ in self.pages if one.visitor == page.visitor]
            await self.draw.choice(same).stop(run)

    async def look_on(self) -> None:
        """The other tab follows."""
        (first, _), (second, _) = self.pages[:2]
        for run in [*first.runs.values()][:2]:
            await second.follow(run)

    async def reload(self) -> None:
        page, _ = self.draw.choice(self.pages)
        if page.is_connected:
            with suppress(TimeoutError):
                await page.reload()

    # What happens to networks

    async def reset(self) -> None:
        self.draw.choice(self.pages)[0].reset()

    async def half_open(self) -> None:
        proxy = self.draw.choice(self.pages)[1]
        proxy.half_open()
        await asyncio.sleep(self.draw.uniform(0, 0.5))
        proxy.heal()

    async def refuse(self) -> None:
        proxy = self.draw.choice(self.pages)[1]
        proxy.refuse()
        await asyncio.sleep(self.draw.uniform(0, 0.5))
        proxy.heal()

    # What happens to processes

    async def kill(self) -> None:
        site = self.draw.choice(self.sites)
        site.kill()
        await asyncio.sleep(self.draw.uniform(0, 0.5))
        await site.serves()

    async def restart(self) -> None:
        site = self.draw.choice(self.sites)
        await site.terminate()
        await site.serves()

    async def freeze(self) -> None:
        site = self.draw.choice(self.sites)
        site.freeze()
        await asyncio.sleep(self.draw.choice([0.3, 2.5]))
        site.thaw()

    async def lose_the_layer(self) -> None:
        self.bed.valkey.kill()
        await asyncio.sleep(self.draw.uniform(0, 0.5))
        await asyncio.to_thread(self.bed.valkey.start)

    async def freeze_the_layer(self) -> None:
        self.bed.valkey.freeze()
        await asyncio.sleep(self.draw.uniform(0, 1))
        self.bed.valkey.thaw()

    async def lose_connections(self) -> None:
        await asyncio.to_thread(self.bed.database.disconnect)


STEPS_BY_WEIGHT: dict[Callable[[Schedule], Awaitable[None]], float] = {
    Schedule.start: 5,
    Schedule.stop: 2,
    Schedule.look_on: 2,
    Schedule.reload: 2,
    Schedule.reset: 2,
    Schedule.half_open: 1,
    Schedule.refuse: 1,
    Schedule.kill: 1,
    Schedule.restart: 0.5,
    Schedule.freeze: 1,
    Schedule.lose_the_layer: 1,
    Schedule.freeze_the_layer: 0.5,
    Schedule.lose_connections: 1.5,
}


@pytest.mark.parametrize("number", range(SCHEDULES))
async def test_random_schedule_keeps_the_claim(cluster_bed: Bed, number: int):
    seed = (SEED + number) % 2**32
    print(f"FAULTS_SEED={seed}")
    schedule = Schedule(cluster_bed, seed)
    await schedule.prepare()
    try:
        await schedule.go()
        await cluster_bed.check(within=8, fresh_snapshots=True)
    except (AssertionError, TimeoutError) as error:
        raise AssertionError(
            f"FAULTS_SEED={seed}: {' '.join(schedule.done)}\n{error}\n{cluster_bed.logs()}"
        ) from error
