"""Whatever is said: no page of the site runs any of it, or loads anything for it. A21, A22, A32.

The whole of `hostile_texts` goes through a real site, as rows that are shown and as an answer that streams;
with our policy and without any, because the policy is the second wall and not the first.
"""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from openrouter_app.testing import FakeOpenRouter
from openrouter_app.testing.scripts import Piece, Reasoning, ToolCallScript
from openrouter_app.testing.serving import serve
from project.children import ROOT
from project.web import WebProcess
from tests.faults.databases import SqliteTemplate
from tests.faults.sites import base_environment
from tests.hostile_texts import hostile_texts

from .canary import Canary, Reader, listening
from .hostile_rows import CUSTOMER, Places, packed

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

LIMIT = 30_000


@pytest.fixture(scope="module")
def canary() -> Iterator[Canary]:
    with listening() as canary:
        yield canary


@pytest.fixture(scope="module")
def model() -> Iterator[FakeOpenRouter]:
    """Who answers."""
    fake = FakeOpenRouter()
    with serve(fake):
        yield fake


class Site:
    """A real site whose database has every text wherever there is a place for one."""

    def __init__(self, process: WebProcess, places: Places, texts: list[str]) -> None:
        self.address = process.address
        self.places = places
        self.texts = texts


@pytest.fixture(scope="module")
def site(canary: Canary, model: FakeOpenRouter, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder: Path = tmp_path_factory.mktemp("site")
    environment = base_environment(folder)
    database = SqliteTemplate(folder, environment).clone()
    environment |= {
        "DATABASE_URL": database.url,
        "OPENROUTER_BASE_URL": str(model.base_url),
        "DJANGO_ALLOW_ASYNC_UNSAFE": "",  # meant for this process
    }
    command = [sys.executable, "-m", "tests.browser.hostile_rows", canary.address]
    made = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    process = WebProcess(log=folder / "site.log", environment=environment)
    process.start()
    try:
        process.wait_ready()
        yield Site(process, json.loads(made.stdout), hostile_texts(canary.address))
    finally:
        model.hang_up()
        process.kill()
    assert "Traceback" not in process.said(), process.said()


@pytest.fixture(params=[True, False], ids=["our policy", "no policy"])
def reader(request: pytest.FixtureRequest, browser: Browser, site: Site, canary: Canary) -> Iterator[Reader]:
    """The demo's user, signed in; what no page may do fails the test."""
    reader = Reader(browser, site.address, request.param)
    sign_in(reader)
    yield reader
    reader.context.close()
    assert reader.found == []
    assert canary.asked == []


def sign_in(reader: Reader) -> None:
    page = reader.tab()
    page.goto("/admin/login/?next=/")
    page.locator("[name=username]").fill("demo")
    page.locator("[name=password]").fill("demo")
    page.locator("[type=submit]").click()
    page.wait_for_url("**/")
    page.close()


def opened(reader: Reader, path: str) -> Page:
    page = reader.tab()
    page.set_default_timeout(LIMIT)
    page.goto(path)
    expect(page.locator("[data-target=connection]")).to_have_attribute("data-status", "ready", timeout=LIMIT)
    return page


def test_a21_a22_a_conversation_that_was_stored(reader: Reader, site: Site) -> None:
    page = opened(reader, site.places["conversation"])
    expect(page.locator(".openrouter-reply")).to_have_count(len(site.texts) // 10)
    assert "<script>pwned()</script>" in (page.locator("h2").text_content() or "")
    shown = page.locator("[data-target=messages]").text_content() or ""
    assert shown.count("<img src=x onerror=pwned()>") > 20
    reader.look(page)


def test_a21_a22_lists_titles_and_models(reader: Reader, site: Site) -> None:
    for path in site.places["chains"]:
        page = opened(reader, path)
        expect(
            page.locator("[data-target=conversations] li").nth(20 if path.endswith("0/") else 0)
        ).to_be_visible()
        assert page.title().count("<")
        page.get_by_role("button", name="More for").first.click()
        page.get_by_role("button", name="Rename").click()
        reader.look(page)
        page.close()
    page = reader.tab()
    for path in [
        "/",
        *(f"/conversations/?page={number}" for number in (1, 2, 3)),
        "/conversations/?q=<img+src",
    ]:
        page.goto(path)
        assert "pwned()" in (page.locator("main").text_content() or "")
        reader.look(page)


def test_a21_a22_the_pages_without_a_script(browser: Browser, reader: Reader, site: Site) -> None:
    cookies = reader.context.storage_state()
    quiet = Reader(browser, site.address, reader.protected, java_script_enabled=False, storage_state=cookies)
    page = quiet.tab()
    for path in [site.places["conversation"], *site.places["chains"], "/conversations/"]:
        page.goto(path)
        assert "pwned()" in (page.locator("main").text_content() or "")
        quiet.look(page)
    quiet.context.close()
    assert quiet.found == []


def test_a21_a22_exports_that_a_browser_shows(reader: Reader, site: Site) -> None:
    """They are downloads; here they are opened nevertheless, as what the site says they are."""

    def shown(route: Route) -> None:
        answer = route.fetch()
        headers = {name: value for name, value in answer.headers.items() if name != "content-disposition"}
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-disposition"].startswith("attachment")
        route.fulfill(response=answer, headers=headers)

    page = reader.tab()
    page.route("**/export.*", shown)
    for path in site.places["exports"]:
        try:
            page.goto(path)
        except Exception as error:
            assert "Download is starting" in str(error)
            continue
        assert "pwned()" in (page.locator("body").text_content() or "")
        reader.look(page)


def test_a21_a22_a32_the_admin(reader: Reader, site: Site) -> None:
    page = reader.tab()
    for path in site.places["admin"]:
        page.goto(path)
        assert "pwned()" in (page.locator("#content").text_content() or ""), path
        reader.look(page)


def pieces(text: str, dice: random.Random) -> list[str]:
    """The text as a model may cut it: in the middle of a tag, of a word, of an address."""
    cut: list[str] = []
    while text:
        size = dice.randint(1, 9)
        cut.append(text[:size])
        text = text[size:]
    return cut


def script(model: FakeOpenRouter, site: Site) -> None:
    """Two answers of which a person has to decide something, and the last; each of every text there is."""
    dice = random.Random(22)
    said: list[Piece] = []
    for text in site.texts:
        said += [Reasoning(piece) for piece in pieces(text, dice)]
        said += pieces(text, dice)
    for pack in packed(site.texts, 6_000):
        said.append(ToolCallScript("find_orders", pieces(json.dumps({"customer": pack}), dice)))
        said.append(ToolCallScript("find_orders", pieces(json.dumps({pack: {pack: [pack]}}), dice)))
        said.append(ToolCallScript("find_orders", pieces(pack, dice)))
        said.append(ToolCallScript(pack[:60], "{}"))
    for number in range(site.places["batches"]):
        customer = CUSTOMER.format(number=number).strip()
        said.append(ToolCallScript("find_orders", {"customer": customer}))
    date = json.dumps({"number": 1003, "new_date": " ".join(site.texts)})
    said.append(ToolCallScript("change_delivery_date", pieces(date, dice)))
    model.reply(*said, model=site.texts[0], provider=site.texts[-1])
    model.reply(ToolCallScript("change_delivery_date", pieces(date, dice)))
    model.reply(*pieces("\n\n".join(site.texts), dice))
    model.error(400, " ".join(site.texts))


def test_a21_a22_an_answer_that_streams(reader: Reader, site: Site, model: FakeOpenRouter) -> None:
    model.clear()
    script(model, site)
    page = opened(reader, "/chains/chat/")
    field = page.get_by_role("textbox", name="Message", exact=True)
    status = page.locator("[data-target=status]")
    field.fill("\n".join(site.texts))
    field.press("Enter")
    expect(status).to_have_text("Waiting for a decision.", timeout=LIMIT)
    reader.look(page)
    page.get_by_label("Reason").fill(next(packed(site.texts, 500)))
    page.get_by_role("button", name="Deny").click()
    card = page.get_by_role("group", name="Tool call: change_delivery_date")
    expect(card).to_have_count(2, timeout=LIMIT)
    page.get_by_role("button", name="Approve").click()
    expect(status).to_have_text("Answer complete.", timeout=LIMIT)
    expect(card.first).to_contain_text("Denied")
    expect(card.last).to_contain_text("is no date")
    assert page.get_by_role("group", name="Tool call: find_orders").filter(has_text="batch1").count()
    reader.look(page)
    field.fill(site.texts[0])
    field.press("Enter")
    expect(page.get_by_role("alert").filter(has_text=re.compile(".+")).first).to_be_visible()
    reader.look(page)
    more = page.get_by_role("button", name="More for").first
    more.focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Rename").click()
    page.get_by_label("Title").fill(site.texts[1])
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=2)).to_have_text(site.texts[1])
    reader.look(page)
    page.reload()
    expect(page.locator(".openrouter-reply")).to_have_count(2)
    reader.look(page)
    assert not model.unused


@pytest.mark.parametrize("protected", [True, False], ids=["our policy", "no policy"])
def test_one_text_as_it_stands_would_be_seen(
    browser: Browser, site: Site, canary: Canary, protected: bool
) -> None:
    """The tests above find what they look for, where a page lets it happen."""
    raw = f"<a href=javascript:pwned()>x</a><img src={canary.address}/x.png onerror=pwned()>"
    reader = Reader(browser, site.address, protected)
    page = opened(reader, "/chains/chat/")
    page.evaluate("(html) => document.querySelector('main').insertAdjacentHTML('beforeend', html)", raw)
    reader.look(page)
    assert len([what for what in reader.strange if what.startswith(("handler", "address"))]) == 3
    if protected:
        assert [problem for problem in reader.problems if "Content Security Policy" in problem]
        assert reader.ran == canary.asked == []
    else:
        assert reader.ran
        assert reader.elsewhere
        assert set(canary.asked) == {"/x.png"}
        canary.asked.clear()
    reader.context.close()
