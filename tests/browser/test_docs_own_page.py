"""docs/your-own-page.md is true: its page runs, its tables name what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from .chatting import DONE, HEADERS, Talk, ident, text
from .conftest import STATIC

pytestmark = pytest.mark.browser

DOC = (Path(__file__).parents[2] / "docs" / "your-own-page.md").read_text()
CSS = STATIC / "openrouter_app" / "css"


def block(language: str) -> str:
    """The first example in this language."""
    found = re.search(rf"^```{language}\n(.*?)^```$", DOC, re.MULTILINE | re.DOTALL)
    assert found
    return found[1]


def test_the_page_talks_stops_and_decides(talk: Talk) -> None:
    page = talk.page
    script = {"Content-Type": "text/javascript"}
    page.route("**/mine/", lambda route: route.fulfill(body=block("html"), headers=HEADERS))
    page.route("**/static/mine.js", lambda route: route.fulfill(body=block("js"), headers=script))
    page.goto(f"{talk.address}/mine/")
    talk.wait_for(lambda: talk.sockets)
    field = page.get_by_label("Ask")
    field.fill("Where is my order?")
    page.get_by_role("button", name="Send").click()
    talk.wait_for(lambda: talk.asked_for("run.start"))
    [start] = talk.asked_for("run.start")
    assert (start["chain"], start["conversation"]) == ("support", "new")
    talk.accept()
    call = {"type": "tool.started", "part": 1, "call": "a", "name": "look_up"}
    ops = [{"op": "add", "path": "/order", "value": "10"}, {"op": "append", "path": "/order", "value": "41"}]
    talk.tell(text("<b>One moment. "), call, {"type": "tool.arguments", "call": "a", "ops": ops})
    answer = page.locator("#talk li")
    expect(answer).to_have_text('<b>One moment. look_up {"order":"1041"} writing')
    talk.tell({"type": "tool.approval", "call": "a", "expires": "2030-01-01T00:00:00Z", "approval": "owner"})
    page.get_by_role("button", name="Approve").click()
    talk.wait_for(lambda: talk.asked_for("tool.decide"))
    assert talk.heard[-1] == {"type": "tool.decide", "run": "R", "call": "a", "approve": True}
    page.get_by_role("button", name="Stop").click()
    talk.wait_for(lambda: talk.asked_for("run.stop"))
    talk.tell(text("It came.", 2), DONE)
    expect(page.locator("#status")).to_have_text("done")
    field.fill("And now?")
    field.press("Enter")
    talk.wait_for(lambda: len(talk.asked_for("run.start")) == 2)
    assert talk.heard[-1]["conversation"] == ident(77)
    talk.say(type="error", id=talk.heard[-1]["id"], code="busy", message="An answer is being written.")
    expect(page.locator("#status")).to_have_text("An answer is being written.")


def test_the_properties_are_those_of_the_style_sheets() -> None:
    named = set(re.findall(r"`(--openrouter-[\w-]+)`", DOC.split("## Another look")[1]))
    tokens = set(re.findall(r"^  (--openrouter-[\w-]+):", (CSS / "tokens.css").read_text(), re.MULTILINE))
    own = set(re.findall(r"var\((--openrouter-chat-[\w-]+)", (CSS / "chat.css").read_text()))
    assert named == tokens | own


def test_the_templates_and_their_blocks_are_there() -> None:
    rows = re.findall(r"^\| `(openrouter_app/[\w.]+)` \|[^|]*\|([^|]*)\|$", DOC, re.MULTILINE)
    assert len(rows) > 5
    for name, blocks in rows:
        source = (STATIC.parent / "templates" / name).read_text()
        for named in re.findall(r"`(\w+)`", blocks.split(", and those of")[0]):
            assert f"{{% block {named} %}}" in source, (name, named)


def test_every_function_and_event_is_the_modules() -> None:
    source = (STATIC / "openrouter_app/js/client.js").read_text()
    for name in re.findall(r"`(?:client|run)\.(\w+)\(", DOC):
        assert re.search(rf"^  {name}\(", source, re.MULTILINE), name
