"""The demo as a visitor meets it: ``make demo``'s own server, its simulation, its admin, a browser.

Leaves pictures of the pages in ``screenshots/`` (git ignores it): light and dark, 360 and 1280 pixels.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
SHOTS = ROOT / "screenshots"
LIMIT = 60_000


@pytest.fixture
def page(browser: Browser, demo: str) -> Iterator[Page]:
    """A visitor's page; a script error or a violation of the policy fails the test."""
    context = browser.new_context(base_url=demo, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(LIMIT)
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    yield page
    context.close()
    assert not problems


def run(page: Page, chain: str, **values: str) -> None:
    """Run a chain on its page, without the answer that the page remembers from before."""
    page.goto(f"/chains/{chain}/")
    page.evaluate("sessionStorage.clear()")
    page.reload()
    for name, value in values.items():
        page.locator(f"[name={name}]").fill(value)
    button = page.get_by_role("button", name="Run")
    expect(button).to_be_enabled(timeout=LIMIT)
    button.click()


def answer(page: Page) -> str:
    """The text of the newest answer, once it is complete."""
    current = page.locator("[data-target=current]")
    expect(current.locator(".openrouter-status").first).to_have_text("Done", timeout=LIMIT)
    return current.inner_text()


def sign_in(page: Page, path: str) -> None:
    """Sign in as the demo's staff user and go on to this page of the admin."""
    page.goto(f"/admin/login/?next={path}")
    page.locator("[name=username]").fill("demo")
    page.locator("[name=password]").fill("demo")
    page.locator("[type=submit]").click()
    page.wait_for_url(f"**{path}")


FRAMES = """() => {
    const seen = [];
    const look = () => {
        const fields = [...document.querySelectorAll("[data-target=current] .openrouter-card dt")];
        const values = fields.map((dt) => [dt.textContent, dt.nextElementSibling.textContent]);
        const now = JSON.stringify(values);
        if (values.length && now !== seen.at(-1)) seen.push(now);
    };
    window.framesSeen = seen;
    new MutationObserver(look).observe(document.body, {subtree: true, childList: true, characterData: true});
}"""


def test_index_lists_the_demos_chains_and_says_that_it_is_a_simulation(page: Page) -> None:
    page.goto("/")
    for chain in ("Translate", "Count", "Joke"):
        expect(page.get_by_role("link", name=chain)).to_be_visible()
    expect(page.get_by_text("Answers are simulated")).to_be_visible()


def test_count_streams_into_the_page(page: Page) -> None:
    page.goto("/chains/count/")
    page.evaluate(
        """() => {
            window.lengths = new Set();
            new MutationObserver(() => {
                const text = document.querySelector("[data-target=current] .openrouter-text");
                if (text) window.lengths.add(text.textContent.length);
            }).observe(document.body, {subtree: true, childList: true, characterData: true});
        }"""
    )
    page.locator("[name=max_num]").fill("30")
    page.get_by_role("button", name="Run").click()
    assert "".join(map(str, range(1, 31))) in answer(page).replace("\n", "")
    assert page.evaluate("window.lengths.size") > 3


def test_translate_answers(page: Page) -> None:
    run(page, "translate", input_language="English", output_language="French", text="I love programming.")
    assert "la programmation" in answer(page).lower()  # another test asks for capital letters


def test_joke_card_grows_its_setup_before_there_is_a_punchline(page: Page) -> None:
    page.goto("/chains/joke/")
    page.evaluate(FRAMES)
    page.get_by_role("button", name="Run").click()
    text = answer(page)
    frames: list[list[list[str]]] = [json.loads(frame) for frame in page.evaluate("window.framesSeen")]
    alone = [frame[0][1] for frame in frames if [name for name, _ in frame] == ["setup"]]
    assert len(set(alone)) > 5
    for before, after in itertools.pairwise(alone):
        assert after.startswith(before)
    assert [name for name, _ in frames[-1]] == ["setup", "punchline"]
    assert "punchline" in text


def test_stop_stops_and_keeps_what_came(page: Page) -> None:
    run(page, "count", max_num="500")
    current = page.locator("[data-target=current]")
    expect(current).to_contain_text("123", timeout=LIMIT)
    page.get_by_role("button", name="Stop").click()
    expect(current.locator(".openrouter-status").first).to_have_text("Stopped", timeout=10_000)
    text = current.inner_text()
    assert "123" in text
    assert "500" not in text
    page.wait_for_timeout(500)
    assert current.inner_text() == text


def test_prompt_edited_and_published_in_the_admin_changes_the_next_run(page: Page) -> None:
    values = {"input_language": "English", "output_language": "French", "text": "I love programming."}
    run(page, "translate", **values)
    assert "la programmation" in answer(page)

    sign_in(page, "/admin/openrouter_app/prompttemplate/")
    page.get_by_role("link", name="translate", exact=True).click()
    system = page.locator("textarea[name$='-text']").first
    system.fill(system.input_value() + " Answer in capital letters.")
    page.locator("[name=_save]").click()
    expect(page.locator(".messagelist .success")).to_be_visible()
    run(page, "translate", **values)
    assert "la programmation" in answer(page), "what is saved only must not change what is published"

    page.goto("/admin/openrouter_app/chain/")
    page.get_by_role("link", name=re.compile("^translate$", re.IGNORECASE)).first.click()
    page.get_by_role("button", name="Publish what is saved").click()
    expect(page.locator(".messagelist .success")).to_contain_text("v2 is published")
    run(page, "translate", **values)
    assert "LA PROGRAMMATION" in answer(page)


def test_stray_brace_is_refused_in_the_admin_with_its_place(page: Page) -> None:
    sign_in(page, "/admin/openrouter_app/prompttemplate/add/")
    page.locator("[name=slug]").fill("stray")
    page.locator("textarea[name$='-text']").first.fill("Hello {name}\nand a stray } brace")
    page.locator("[name=_save]").click()
    expect(page.locator("body")).to_contain_text("line 2, column 13")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_screenshots_of_every_page(browser: Browser, demo: str, scheme: str, width: int) -> None:
    SHOTS.mkdir(exist_ok=True)
    context = browser.new_context(
        base_url=demo,
        viewport={"width": width, "height": 800},
        color_scheme=scheme,  # type: ignore[arg-type]
    )
    page = context.new_page()
    page.set_default_timeout(LIMIT)

    def shot(name: str) -> None:
        page.screenshot(path=SHOTS / f"{name}-{width}-{scheme}.png", full_page=True)
        assert page.evaluate(
            "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        ), name

    page.goto("/")
    shot("index")
    page.goto("/chains/joke/")
    shot("joke-empty")
    run(page, "joke", foo="bears")
    expect(page.locator("[data-target=current] .openrouter-card dt")).to_have_count(2, timeout=LIMIT)
    shot("joke-writing")
    answer(page)
    shot("joke-done")
    run(page, "translate", input_language="English", output_language="German", text="I love programming.")
    answer(page)
    shot("translate-done")
    sign_in(page, "/admin/openrouter_app/prompttemplate/")
    page.get_by_role("link", name="joke", exact=True).click()
    page.screenshot(path=SHOTS / f"admin-prompt-{width}-{scheme}.png", full_page=True)
    for model in ("chain", "toolspec", "run"):
        page.goto(f"/admin/openrouter_app/{model}/")
        page.screenshot(path=SHOTS / f"admin-{model}s-{width}-{scheme}.png", full_page=True)
        page.locator("#result_list tbody th a").first.click()
        page.screenshot(path=SHOTS / f"admin-{model}-{width}-{scheme}.png", full_page=True)
    context.close()
