"""One test's bed: a provider, a database, perhaps Valkey, and the sites, pages and proxies it asks for.

    async def test_reset(bed):
        bed.provider.reply("one ", gate := Gate(), "two")
        page = await bed.page(await bed.site())
        run = await page.start()
        await page.says(run, "one")
        page.reset()
        gate.open()
        await page.ended(run)
        await bed.check()

All it was asked for it ends when it is left, frozen processes too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit

from project.valkey import Valkey
from tests.faults.databases import Database
from tests.faults.histories import History, Told, problems
from tests.faults.pages import Page, new_visitor
from tests.faults.provider import Provider
from tests.faults.proxy import FaultProxy
from tests.faults.sites import Site


class Bed:
    """See the module."""

    def __init__(
        self,
        provider: Provider,
        database: Database,
        valkey: Valkey | None,
        *,
        folder: Path,
        environment: Mapping[str, str],
    ) -> None:
        self.provider = provider
        self.database = database
        self.valkey = valkey
        self.folder = folder
        self.environment = environment
        self.clocks: dict[str, float] = {}
        """What its sites have instead of the fast clocks, where a test does not say otherwise."""
        self.sites: list[Site] = []
        self.pages: list[Page] = []
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Bed:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        # Pages first, so that none connects again to what is being ended; then nobody waits for answers.
        await self._stack.aclose()
        self.provider.hang_up()
        for site in self.sites:
            site.kill()

    @property
    def provider_port(self) -> int:
        """Where a proxy to the provider leads."""
        return urlsplit(self.provider.base_url).port or 80

    async def site(
        self,
        *,
        provider_port: int | None = None,
        layer_port: int | None = None,
        database_port: int | None = None,
        **settings: float,
    ) -> Site:
        """Another web process, serving. A port is a proxy's; ``settings`` are clocks of its own."""
        environment = dict(self.environment)
        environment["DATABASE_URL"] = _with_port(self.database.url, database_port)
        environment["OPENROUTER_BASE_URL"] = _with_port(self.provider.base_url, provider_port)
        if self.valkey is not None:
            environment["CHANNEL_LAYER_URL"] = _with_port(self.valkey.url(), layer_port)
        log = self.folder / f"site-{len(self.sites) + 1}.log"
        site = Site(environment, log=log, **{**self.clocks, **settings})
        self.sites.append(site)
        await site.serves()
        return site

    async def page(
        self, site: Site, *, visitor: str | None = None, through: FaultProxy | None = None
    ) -> Page:
        """A page of the site, connected: a new visitor's, or another tab of one; perhaps through a proxy."""
        visitor = visitor or await asyncio.to_thread(new_visitor, site.address)
        address = site.address if through is None else f"http://127.0.0.1:{through.port}"
        page = Page(address, visitor, name=f"page {len(self.pages) + 1}")
        self.pages.append(page)
        return await self._stack.enter_async_context(page)

    async def proxy(self, port: int) -> FaultProxy:
        """A proxy to a port of this machine."""
        return await self._stack.enter_async_context(FaultProxy(port))

    def history(self, **judged: bool) -> History:
        """What has happened so far."""
        told = [Told(p.name, tuple(p.history), dict(p.views), p.is_connected) for p in self.pages]
        return History(
            tuple(self.provider.asked), self.database.runs(), self.database.logged(), told, **judged
        )

    async def check(self, *, within: float = 3, crashes: bool = False, **judged: bool) -> History:
        """Fail unless the claim holds, now or after the seconds that writes and frames under way may take.

        ``crashes``: exceptions that nobody caught are forgiven; ``judged`` is what `History` takes.
        """
        deadline = time.monotonic() + within
        while True:
            history = await asyncio.to_thread(self.history, **judged)
            wrong = [*problems(history), *(() if crashes else self._crashes())]
            if not wrong:
                return history
            if time.monotonic() > deadline:
                raise AssertionError("\n".join([*wrong, "", self.logs()]))
            await asyncio.sleep(0.05)

    def _crashes(self) -> Iterator[str]:
        """What ended in the server's hands: a page got a 500, or its socket was torn down."""
        for site in self.sites:
            if crashes := site.said().count("Exception in ASGI application"):
                yield f"{site.log.name if site.log else site}: {crashes} exceptions that nobody caught"

    def logs(self) -> str:
        """What the sites said, for whoever has to find out why."""
        return "\n".join(f"--- {site.log}\n{site.said()[-5_000:]}" for site in self.sites)


def _with_port(url: str, port: int | None) -> str:
    if port is None:
        return url
    scheme, _, rest = url.partition("://")
    place, _, path = rest.partition("/")
    return f"{scheme}://{place.rpartition(':')[0]}:{port}/{path}"
