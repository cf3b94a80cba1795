"""Rendered text in a real browser: whatever a model says, nothing runs and nothing is asked for. A21, A22.

With our policy and without any: the policy is the second wall, not the first.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from openrouter_app.blocks import BlockSplitter
from openrouter_app.markdown import ATTRIBUTES, TAGS, render
from tests.hostile_texts import hostile_texts
from tests.test_markdown import BOMBS

from .canary import Canary, listening
from .conftest import blank_page
from .modules import run_js

pytestmark = pytest.mark.browser


@pytest.fixture
def canary() -> Iterator[Canary]:
    with listening() as canary:
        yield canary


@contextmanager
def unprotected_page(browser: Browser, address: str) -> Iterator[Page]:
    """A blank page to which no policy applies."""
    context = browser.new_context(bypass_csp=True)
    page = context.new_page()
    page.goto(address)
    yield page
    context.close()


@pytest.fixture(params=[blank_page, unprotected_page], ids=["our policy", "no policy"])
def page(request: pytest.FixtureRequest, browser: Browser, static_server: str) -> Iterator[Page]:
    with request.param(browser, static_server) as page:
        yield page


def frames_of(text: str, dice: random.Random, longest: int = 6) -> list[list[dict[str, Any]]]:
    """What a socket with ``html=1`` says while this is written in pieces: events, a frame each."""
    splitter, frames, at = BlockSplitter(), [], 0
    while at < len(text):
        upto = at + dice.randint(1, longest)
        events: list[dict[str, Any]] = [{"type": "text", "part": 0, "delta": text[at:upto]}]
        blocks = splitter.feed(text[at:upto])
        if upto >= len(text):
            blocks += splitter.close()
            events.append({"type": "finished", "reason": "stop"})
        if html := [html for block in blocks if (html := render(block))]:
            events.append({"type": "html", "part": 0, "html": html, "rest": splitter.rest})
        frames.append(events)
        at = upto
    return frames


SHOW = """
window.ran = 0;
window.pwned = () => { window.ran += 1; };
window.alert = window.confirm = window.prompt = window.pwned;
window.addEventListener("message", window.pwned);
const tags = new Set(given.tags), attributes = new Set(given.attributes), strange = [];
const check = (root) => {
  for (const node of root.querySelectorAll("*")) {
    const known = tags.has(node.localName) && node.namespaceURI === "http://www.w3.org/1999/xhtml";
    if (!known) strange.push(node.outerHTML);
    for (const { name, value } of node.attributes) {
      if (!attributes.has(name)) strange.push(node.outerHTML);
      if (name === "href" && !/^(https?|mailto):$/.test(node.protocol)) strange.push(value);
    }
  }
};
for (const frames of given.texts) {
  const run = new RunState();
  run.replace({ seq: 0, state: { status: "running", parts: [] } });
  const view = partView("text", new Strings(null, "en"));
  document.body.append(view.element);
  frames.forEach((events, at) => {
    run.advance({ after: at, seq: at + 1, events });
    view.update(run.state.parts[0], []);
  });
  check(view.element);
  // What a page makes of its own markup must be the same again: what is written here may be copied there.
  const again = document.createElement("div");
  again.innerHTML = view.element.innerHTML;
  check(again);
  document.body.append(again);
  for (const node of document.body.lastChild.querySelectorAll("*")) {
    for (const type of ["mouseover", "pointerenter", "focus", "toggle", "animationstart", "load", "error"])
      node.dispatchEvent(new Event(type, { bubbles: true }));
    node.focus?.();
  }
  document.title = run.state.parts[0].text.slice(0, 200);
}
await new Promise((done) => setTimeout(done, 500));
const { forms, images } = document;
return { ran: window.ran, strange, frames: window.length, forms: forms.length, images: images.length };
"""


def test_a21_a22_nothing_a_model_says_runs_or_loads_anything(page: Page, canary: Canary) -> None:
    dice = random.Random(21)
    texts = [frames_of(text, dice) for text in hostile_texts(canary.address)]
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    given = {"texts": texts, "tags": sorted(TAGS), "attributes": sorted({*ATTRIBUTES, "hidden"})}
    result = run_js(page, SHOW, given)
    assert result == {"ran": 0, "strange": [], "frames": 0, "forms": 0, "images": 0}
    assert canary.asked == []
    assert [url for url in asked if "/js/" not in url] == []


def test_the_canary_would_sing(browser: Browser, static_server: str, canary: Canary) -> None:
    """The test above sees what it looks for, where a page lets it happen."""
    html = [f"<img src={canary.address}/x onload=pwned()>"]
    events = [
        {"type": "text", "part": 0, "delta": "x"},
        {"type": "html", "part": 0, "html": html, "rest": ""},
    ]
    given = {"texts": [[events]], "tags": ["div"], "attributes": ["class", "dir", "hidden"]}
    with unprotected_page(browser, static_server) as page:
        result = run_js(page, SHOW, given)
    assert result["strange"]
    assert result["images"] == 2
    assert result["ran"] > 0
    assert canary.asked


PAINT = """
const link = document.createElement("link");
Object.assign(link, { rel: "stylesheet", href: "/openrouter_app/css/markdown.css" });
document.head.append(link);
await new Promise((done) => { link.onload = done; });
const run = new RunState();
run.replace({ seq: 0, state: { status: "running", parts: [] } });
const view = partView("text", new Strings(null, "en"));
document.body.append(view.element);
let longest = 0;
for (const [at, events] of given.entries()) {
  const begun = performance.now();
  run.advance({ after: at, seq: at + 1, events });
  view.update(run.state.parts[0], []);
  view.element.getBoundingClientRect();
  longest = Math.max(longest, performance.now() - begun);
  await new Promise(requestAnimationFrame);
}
return { longest, length: view.element.textContent.length };
"""
SIZE = 60_000  # what a model says in a minute


@pytest.mark.parametrize(
    "name", ["table", "wide table", "narrow table", "line", "headings", "newlines", "lists"]
)
def test_a23_no_frame_holds_the_page_up(static_page: Page, name: str) -> None:
    frames = frames_of(BOMBS[name][:SIZE], random.Random(23), 2 * SIZE // 60)
    result = run_js(static_page, PAINT, frames)
    assert result["longest"] < 400  # 200 on a machine with nothing else to do
    assert result["length"]
