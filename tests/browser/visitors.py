"""A real site with visitors: a process that can be killed and started again, and a network that breaks.

The site's process, its database and the proxy are those of the tests of faults; the pages are real ones.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Locator, Page, expect

from tests.faults.databases import Row
from tests.faults.proxy import FaultProxy

SHOTS = Path(__file__).parents[2] / "screenshots"
LIMIT = 20_000
SAID_BY_THE_BROWSER = ("WebSocket connection to", "net::ERR_", "Failed to load resource")
"""What Chromium itself writes into the console when nobody answers."""


class Visitor:
    """A browser of somebody's: cookies of its own, any number of tabs."""

    def __init__(self, browser: Browser, address: str) -> None:
        self.context = browser.new_context(base_url=address, viewport={"width": 1280, "height": 800})
        self.problems: list[str] = []

    def tab(self, chain: str = "count") -> Page:
        """A new tab with this chain's page; connected."""
        page = self.context.new_page()
        page.set_default_timeout(LIMIT)
        page.on("pageerror", lambda error: self.problems.append(f"{error.message}\n{error.stack}"))
        page.on("console", lambda message: self._hear(message.type, message.text))
        page.goto(f"/chains/{chain}/")
        connected(page)
        return page

    def sign_in(self, name: str = "demo") -> None:
        """As the demo's staff user."""
        page = self.context.new_page()
        page.goto("/admin/login/?next=/")
        page.locator("[name=username]").fill(name)
        page.locator("[name=password]").fill(name)
        page.locator("[type=submit]").click()
        page.wait_for_url("**/")
        page.close()

    def _hear(self, kind: str, text: str) -> None:
        if kind == "error" and not any(known in text for known in SAID_BY_THE_BROWSER):
            self.problems.append(text)


def connected(page: Page) -> None:
    """Wait until the page is."""
    expect(page.locator("[data-target=connection]")).to_have_text("Connected", timeout=LIMIT)


def run(page: Page) -> None:
    """Press Run."""
    page.get_by_role("button", name="Run").click()


def status(page: Page) -> Locator:
    """The word above the newest answer."""
    return page.locator("[data-target=current] > article > .openrouter-status")


def has_status(page: Page, word: str) -> None:
    """Wait until the newest answer has."""
    expect(status(page)).to_have_text(word, timeout=LIMIT)


def banner(page: Page) -> Locator:
    """What stands over the page while it is not connected."""
    return page.locator("[data-target=banner]")


def shown(page: Page) -> str:
    """The text of the newest answer, to the character."""
    return "".join(page.locator("[data-target=current] .openrouter-text").all_text_contents())


def shows(page: Page, text: str) -> None:
    """Wait until it is this."""
    until(page, lambda: shown(page) == text)


def begins(page: Page, text: str) -> None:
    """Wait until it begins with this."""
    until(page, lambda: shown(page).startswith(text))


def until(page: Page, happened: Callable[[], object], seconds: float = LIMIT / 1000) -> None:
    """Wait, and let the browser work meanwhile."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"It did not happen. The page shows {shown(page)[-200:]!r}"
        page.wait_for_timeout(20)


def text_of(row: Row) -> str:
    """The text that the database has of a run."""
    return "".join(part["text"] for part in row.parts if part["type"] == "text")


def shoot(page: Page, name: str, *, full_page: bool = False) -> None:
    """Pictures of the page as it is, or all of it: light and dark, on a phone and on a desk."""
    SHOTS.mkdir(exist_ok=True)
    before = page.viewport_size
    for width in (360, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            path = SHOTS / f"{name}-{width}-{scheme}.png"
            page.screenshot(path=path, animations="disabled", full_page=full_page)
            wide = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
            assert page.evaluate(wide), path.name
    page.emulate_media(color_scheme="light")
    if before is not None:
        page.set_viewport_size(before)


class Network:
    """What lies between a visitor and a site; the verbs are the proxy's, from any thread."""

    def __init__(self, proxy: FaultProxy, loop: asyncio.AbstractEventLoop) -> None:
        self._proxy = proxy
        self._loop = loop
        self.address = f"http://127.0.0.1:{proxy.port}"

    def __getattr__(self, verb: str) -> Callable[[], None]:
        return lambda: self._call(getattr(self._proxy, verb))

    def _call(self, verb: Callable[[], None]) -> None:
        async def called() -> None:
            verb()

        asyncio.run_coroutine_threadsafe(called(), self._loop).result(5)


@contextmanager
def network(port: int) -> Iterator[Network]:
    """A proxy in front of a port, on a loop and a thread of its own: Playwright has this one's."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def wait(coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(10)

    proxy = wait(FaultProxy(port).__aenter__())
    try:
        yield Network(proxy, loop)
    finally:
        wait(proxy.__aexit__())
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        loop.close()
