"""A random schedule of faults on a site of two processes, from a seed: the same seed, the same schedule.

For a while pages start and stop runs, and things break around them; then everything is healed, and the
checker has its say. What a schedule may do is in `DEEDS`; how often is its weight.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

from openrouter_app.testing import Reply
from tests.faults.bed import Bed
from tests.faults.histories import History
from tests.faults.pages import FINAL, Page
from tests.faults.proxy import FaultProxy
from tests.faults.sites import CLOCKS, Site
from tests.followers import until

VISITORS = 3
SECONDS = 2.0
SETTLED = 12.0
"""Seconds after the last fault in which every run has ended: a lease, a reaper, and a page's patience."""
BREAKABLE = ("provider",)
"""Not yet the database: a follow that fails with it is answered by an error, and the page is left waiting.
Nor the layer: sockets end with it (see `test_layer`)."""
WORDS = [f"word{number} " for number in range(40)]


@dataclass
class Schedule:
    """What it plays with."""

    bed: Bed
    seed: int
    sites: list[Site] = field(default_factory=list)
    doors: list[FaultProxy] = field(default_factory=list)
    """In front of the sites: each page comes in by one of them."""
    backs: dict[str, FaultProxy] = field(default_factory=dict)
    """Behind them: to the provider, the layer and the database."""
    pages: list[Page] = field(default_factory=list)
    deeds: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    async def play(self) -> History:
        """Set up, break things, heal them, check."""
        await self._set_up()
        ends = time.monotonic() + SECONDS
        while time.monotonic() < ends:
            deed = self.random.choices(list(DEEDS), list(DEEDS.values()))[0]
            self.deeds.append(deed.__name__)
            await deed(self)
            await asyncio.sleep(self.random.uniform(0, 0.1))
        await self._heal()
        with suppress(TimeoutError):  # the checker says what is not over
            await until(self._is_over, SETTLED)
        # Who connects while the database is away is turned away by an exception; pages come again.
        return await self.bed.check(fresh_snapshots=True, lossy_provider=True, crashes=True)

    async def _set_up(self) -> None:
        bed = self.bed
        bed.provider.default = self._answer
        for name, port in (
            ("provider", bed.provider_port),
            ("layer", bed.valkey.port),
            ("database", bed.database.server.port),
        ):
            self.backs[name] = await bed.proxy(port)
        ports = {f"{name}_port": proxy.port for name, proxy in self.backs.items()}
        self.sites = list(await asyncio.gather(*(bed.site(**ports) for _ in range(2))))
        self.doors = [await bed.proxy(site.port) for site in self.sites]
        for _ in range(VISITORS):
            first = await bed.page(self.sites[0], through=self.doors[0])
            second = await bed.page(self.sites[1], visitor=first.visitor, through=self.doors[1])
            self.pages += [first, second]

    def _answer(self, request: object) -> Reply:
        return Reply(tuple(WORDS), delay=self.random.choice((0.0, 0.005, 0.02)))

    async def _heal(self) -> None:
        for proxy in (*self.doors, *self.backs.values()):
            proxy.heal()
            proxy.delay = proxy.rate = 0
        for site in self.sites:
            site.thaw()
            await site.serves()

    def _is_over(self) -> bool:
        return all(
            page.is_connected and not page.unanswered and {page.status(run) for run in page.views} <= FINAL
            for page in self.pages
        )

    def tabs(self, page: Page) -> list[Page]:
        """The page and the visitor's other one."""
        return [other for other in self.pages if other.visitor == page.visitor]


async def starts(schedule: Schedule) -> None:
    """A run begins; sometimes the visitor's other tab watches it."""
    page = schedule.random.choice(schedule.pages)
    await page.start(wait=False)


async def follows(schedule: Schedule) -> None:
    """A tab watches what the other one started."""
    page = schedule.random.choice(schedule.pages)
    for tab in schedule.tabs(page):
        for run in set(tab.views) - set(page.views):
            await page.follow(run)


async def stops(schedule: Schedule) -> None:
    """A run is stopped, from any tab that shows it."""
    page = schedule.random.choice(schedule.pages)
    unfinished = [run for run in page.views if page.status(run) not in FINAL]
    if unfinished:
        await page.stop(schedule.random.choice(unfinished))


async def loses_its_network(schedule: Schedule) -> None:
    """One page's socket is reset."""
    schedule.random.choice(schedule.pages).reset()


async def door_is_cut(schedule: Schedule) -> None:
    """Every page of one process is cut off, and comes again."""
    schedule.random.choice(schedule.doors).cut()


async def door_falls_silent(schedule: Schedule) -> None:
    """The pages of one process are not heard, nor told so, for a moment."""
    door = schedule.random.choice(schedule.doors)
    door.half_open()
    await asyncio.sleep(0.1)
    door.heal()


async def back_is_cut(schedule: Schedule) -> None:
    """Connections to the provider, say, break."""
    schedule.backs[schedule.random.choice(BREAKABLE)].cut()


async def back_stands_still(schedule: Schedule) -> None:
    """Nothing comes from one of the servers for a moment."""
    back = schedule.random.choice(list(schedule.backs.values()))
    back.hold()
    await asyncio.sleep(schedule.random.uniform(0, 0.5))
    back.heal()


async def process_is_killed(schedule: Schedule) -> None:
    """And started again."""
    site = schedule.random.choice(schedule.sites)
    site.kill()
    await asyncio.sleep(schedule.random.uniform(0, 0.5))
    await site.serves()


async def process_stands_still(schedule: Schedule) -> None:
    """For less than its lease, or for longer."""
    site = schedule.random.choice(schedule.sites)
    site.freeze()
    await asyncio.sleep(schedule.random.choice((0.2, CLOCKS["LEASE"] + 0.5)))
    site.thaw()


DEEDS: dict[Callable[[Schedule], Awaitable[None]], int] = {
    starts: 10,
    follows: 6,
    stops: 2,
    loses_its_network: 3,
    door_is_cut: 2,
    door_falls_silent: 1,
    back_is_cut: 2,
    back_stands_still: 2,
    process_is_killed: 1,
    process_stands_still: 1,
}
