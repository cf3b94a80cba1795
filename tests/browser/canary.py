"""A canary: a server that nothing may be asked of, and a visitor who hears every script that runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Dialog, Frame, Page, Request


class Canary:
    """A server that nothing may be asked of."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        asked = self.asked

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                self.send_response(200)
                self.send_header("Access-Control-Allow-Origin", "*")
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_POST = do_HEAD = do_OPTIONS = do_GET

            def log_message(self, *args: Any) -> None:
                """Silent."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.server.server_port}"


@contextmanager
def listening() -> Iterator[Canary]:
    """A canary on a port of its own."""
    canary = Canary()
    Thread(target=canary.server.serve_forever, daemon=True).start()
    yield canary
    canary.server.shutdown()
    canary.server.server_close()


LOOK = """() => {
  const strange = [];
  const elements = "iframe frame object embed base math foreignobject style marquee portal".split(" ");
  const addresses = "href xlink:href src srcset action formaction data poster background ping".split(" ");
  const web = ({ protocol }) => ["http:", "https:", "mailto:"].includes(protocol);
  for (const node of document.querySelectorAll("*")) {
    const says = (what) => strange.push(`${what}: ${node.cloneNode().outerHTML}`);
    for (const { name, value } of node.attributes) {
      if (name.startsWith("on")) says("handler");
      if (name === "style" && value.includes("url")) says("style");
      if (!addresses.includes(name) || !URL.canParse(value, document.baseURI)) continue;
      const url = new URL(value, document.baseURI);
      const leadsThere = node.localName === "a" && name === "href";
      if (leadsThere ? !web(url) : url.host !== location.host) says("address");
    }
    if (elements.includes(node.localName)) says("element");
    if (node.localName === "script" && !node.src && node.type !== "application/json") says("script");
    if (node.localName === "meta" && node.httpEquiv) says("meta");
    for (const type of ["mouseover", "pointerenter", "focus"])
      node.dispatchEvent(new Event(type, { bubbles: false }));
  }
  for (const node of document.querySelectorAll("details")) node.open = true;
  return strange;
}"""
"""What no page of ours has: elements, attributes and addresses that run, load or send something.

And what a reader does, so that what waits for him runs now: goes over everything, opens everything.
"""


class Reader:
    """A browser in which all that runs, loads or complains is written down.

    ``protected`` is false where no policy of the site's counts.
    """

    def __init__(self, browser: Browser, address: str, protected: bool, **options: Any) -> None:
        self.context = browser.new_context(base_url=address, bypass_csp=not protected, **options)
        self.protected = protected
        self.host = urlsplit(address).netloc
        self.ran: list[str] = []
        self.elsewhere: list[str] = []
        self.problems: list[str] = []
        self.strange: list[str] = []
        self.context.expose_binding(
            "pwned", lambda source, *_: self.ran.append(f"pwned in {source['page'].url}")
        )
        self.context.on("request", self._request)
        self.context.on("dialog", self._dialog)
        self.context.on("console", self._console)
        self.context.on("weberror", lambda error: self.problems.append(str(error.error)))

    def tab(self) -> Page:
        """A new page of it."""
        page = self.context.new_page()
        page.on("frameattached", self._frame)
        return page

    def look(self, page: Page) -> None:
        """Everything that the page is made of, and all that a reader might do with it."""
        self.strange += page.evaluate(LOOK)
        page.wait_for_timeout(200)

    @property
    def found(self) -> list[str]:
        """What should not have been."""
        return [*self.ran, *self.elsewhere, *self.problems, *self.strange]

    def _request(self, request: Request) -> None:
        url = urlsplit(request.url)
        if url.scheme not in ("data", "blob") and url.netloc != self.host:
            self.elsewhere.append(request.url)

    def _dialog(self, dialog: Dialog) -> None:
        self.ran.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.problems.append(message.text)

    def _frame(self, frame: Frame) -> None:
        self.strange.append(f"frame: {frame.url}")
