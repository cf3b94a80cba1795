"""A Chromium for the tests in this directory, and the app's static files on a loopback address."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Error, Page, sync_playwright

import openrouter_app
from project.csp import POLICY
from tests.demo import served

from . import chromium

STATIC = Path(openrouter_app.__file__).parent / "static"


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """One Chromium for this directory.

    Package scope, not session: as long as Playwright's sync API is started, it keeps an event loop
    running in this thread, where no asynchronous test could run and Django allows no query.
    """
    path = chromium.find()
    if path is None:
        if os.environ.get("OPENROUTER_TESTS_NEED_BROWSER"):
            pytest.fail("there is no Chromium, and the browser tests must run here")
        pytest.skip("there is no Chromium; `python -m tests.browser.chromium` gets one")
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setitem(os.environ, "DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-background-networking"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a demo of the module's own: a fresh database, a free port, no account.

    A traceback in what it said until its end fails the test.
    """
    var = tmp_path_factory.mktemp("var")
    with served(var) as (address, _):
        yield address
    assert "Traceback" not in (var / "demo.log").read_text()


@pytest.fixture
def visitor(browser: Browser, demo: str) -> Iterator[BrowserContext]:
    """A visitor of the demo; an error of a script, or a refusal of the policy, fails the test."""
    context = browser.new_context(base_url=demo, viewport={"width": 1280, "height": 800})
    context.set_default_timeout(30_000)
    problems: list[str] = []
    context.on("weberror", lambda error: problems.append(str(error.error)))
    context.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    yield context
    context.close()
    assert [problem for problem in problems if "WebSocket" not in problem] == []


@pytest.fixture(scope="session")
def static_server() -> Iterator[str]:
    """The address of a server with a blank page at ``/`` and the static files of the app, under the CSP."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_StaticFiles, directory=str(STATIC)))
    server.daemon_threads = True
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def static_page(browser: Browser, static_server: str) -> Iterator[Page]:
    """A blank page that can ``import()`` the modules; an error or a refused script in it fails the test."""
    with blank_page(browser, static_server) as page:
        yield page


@pytest.fixture
def talk(browser: Browser, static_server: str) -> Iterator[Any]:
    """A page with a chat, and its server's end: see `chatting`."""
    from .chatting import talking

    with talking(browser, static_server) as talk:
        yield talk


@contextmanager
def blank_page(browser: Browser, address: str, expected: list[str] | None = None) -> Iterator[Page]:
    """What `static_page` gives, for as long as its user likes; ``expected``: words of harmless problems."""
    context = browser.new_context()
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(_described(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.goto(address)
    yield page
    context.close()
    assert not [problem for problem in problems if not any(word in problem for word in expected or ())]


def _described(error: Error) -> str:
    return f"{error.message}\n{error.stack}"


class _StaticFiles(SimpleHTTPRequestHandler):
    """Static files and a blank page, as a site under our policy sends them."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/":
            body = b"<!doctype html><html lang=en><title>blank</title><body class=openrouter>"
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        elif self.path == "/favicon.ico":
            self.send_response(204)
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            super().do_GET()

    def translate_path(self, path: str) -> str:
        return super().translate_path(path.removeprefix("/static"))

    def end_headers(self) -> None:
        self.send_header("Content-Security-Policy", POLICY)
        super().end_headers()

    def log_message(self, *args: Any) -> None:
        """Silent: the tests say what went wrong."""
