"""The chat for everybody: axe finds nothing, the keyboard does all, nobody's focus or view is moved."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from .accessible import problems
from .chatting import DONE, Conversation, Talk, ident, said, talking, text

pytestmark = pytest.mark.browser

CODE = '<pre tabindex="0" dir="ltr" data-language="python"><code>print("hello")\n</code></pre>'
CALL = {
    "type": "call",
    "call": "a",
    "name": "change_address",
    "arguments": {"street": "Lindenweg 4", "list": [1]},
}
WAITING = {**CALL, "status": "waiting", "approval": "owner", "expires": "2030-01-05T18:30:00+00:00"}
DONE_CALL = {**CALL, "call": "b", "status": "done", "output": {"changed": True}}
BROKEN = {"code": "provider", "message": "The provider is away.", "retryable": True}


def long_talk(pairs: int = 12) -> Conversation:
    conversation = Conversation()
    for number in range(pairs):
        conversation.ask(f"Question {number}: " + "why? " * 30, siblings=1 + number % 2)
        conversation.answer(said("Because. " * 60), siblings=1 + number % 3)
    return conversation


def rich_talk() -> Conversation:
    conversation = Conversation()
    conversation.ask("Show me")
    thought = {"type": "reasoning", "text": "Hm.", "ms": 900}
    conversation.answer(
        thought, DONE_CALL, said("…", "<p>Like <em>this</em>:</p>", CODE), left_out=3, siblings=2
    )
    conversation.ask("And this?", siblings=2)
    conversation.answer(said("It is"), status="failed", error=BROKEN)
    conversation.ask("Then do it")
    conversation.answer(WAITING, run=ident(6), status="waiting")
    conversation.run = ident(6)
    return conversation


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_axe_finds_nothing(talk: Talk, scheme: Any, width: int) -> None:
    page = talk.page
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.set_viewport_size({"width": width, "height": 800})
    talk.models = ["openai/gpt-4o-mini", "a/b"]
    talk.open()
    assert problems(page) == []
    talk.open(rich_talk())
    expect(page.get_by_role("button", name="Approve")).to_be_visible()
    assert problems(page) == []
    page.locator(".openrouter-reasoning summary").click()
    page.get_by_role("button", name="Edit message").first.click()
    talk.field.fill("Wait")
    talk.field.press("Enter")
    if width < 500:
        page.get_by_role("button", name="Conversations", exact=True).click()
    page.get_by_role("button", name="More for").first.click()
    assert problems(page) == []


def test_axe_finds_nothing_while_an_answer_is_written(talk: Talk) -> None:
    page = talk.open()
    talk.send("Hi")
    talk.accept(status="running", parts=[{**CALL, "status": "writing", "open": "/street"}])
    talk.tell(text("Half an ans", 1))
    expect(talk.answers).to_contain_text("Half an ans")
    assert problems(page) == []


def test_the_log_is_quiet_and_the_status_polite(talk: Talk) -> None:
    page = talk.open()
    log = page.get_by_role("log")
    expect(log).to_have_attribute("aria-live", "off")
    watch = """() => {
        window.said = [];
        const live = document.querySelectorAll("[aria-live=polite], [role=status], [role=alert]");
        const seen = new MutationObserver((records) => {
            for (const { target } of records) window.said.push(target.textContent);
        });
        const all = { childList: true, characterData: true, subtree: true };
        for (const region of live) seen.observe(region, all);
    }"""
    page.evaluate(watch)
    talk.send("Hi")
    talk.accept()
    talk.tell({"type": "started", "chain": "talk", "version": 3})
    for word in ("One ", "two ", "three ", "four."):
        talk.tell(text(word))
        page.wait_for_timeout(30)
    expect(log).to_have_attribute("aria-busy", "true")
    talk.tell(DONE)
    expect(talk.status).to_have_text("Answer complete.")
    said = [words for words in page.evaluate("window.said") if words]
    assert set(said) <= {"Sending…", "Waiting for its turn…", "Answering…", "Answer complete."}
    assert log.locator("[aria-live=polite], [aria-live=assertive]").count() == 0


def test_the_focus_stays_where_it_is(talk: Talk) -> None:
    page = talk.open(rich_talk())
    link = page.get_by_role("link", name="New chat")
    link.focus()
    talk.snapshot(ident(6), status="running", conversation=ident(1), parts=[DONE_CALL])
    talk.tell(text("Done", 1), {"type": "failed", **BROKEN}, run=ident(6))
    expect(page.get_by_role("alert").filter(has_text="The provider is away.")).to_have_count(2)
    expect(link).to_be_focused()


def test_everything_is_done_with_the_keyboard(talk: Talk) -> None:
    """From the top of the page by Tab: the list, the thread, a decision, the composer."""
    page = talk.open(rich_talk())
    reached: list[str] = []
    name = """() => {
        const at = document.activeElement;
        const said = at.getAttribute("aria-label") || at.title || at.closest("label")?.innerText;
        return said || at.innerText || at.tagName;
    }"""
    ring = "() => parseFloat(getComputedStyle(document.activeElement).outlineWidth) > 0"
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.append(page.evaluate(name).split("\n")[0])
        framed = page.evaluate("() => Boolean(document.activeElement.closest('.openrouter-composer__box'))")
        assert page.evaluate(ring) or framed or reached[-1] == "BODY", reached[-1]
    wanted = [
        "New chat", "Search conversations", "Order 1041", "More for “Order 1041”", "Messages", "Copy message",
        "Edit message", "Copy code", "Answer again", "Approve", "Deny", "Message", "Send",
    ]  # fmt: skip
    assert [what for what in wanted if what not in reached] == []
    assert reached.index("Messages") < reached.index("Approve") < reached.index("Message")


def test_nothing_sticks_out_at_360_pixels(talk: Talk) -> None:
    page = talk.page
    page.set_viewport_size({"width": 360, "height": 700})
    conversation = rich_talk()
    conversation.messages[0]["input"]["message"] = "W" * 400
    table = "<table><tr>" + "<td>eine lange Zelle</td>" * 12 + "</tr></table>"
    code = f"<pre><code>{'c' * 300}</code></pre>"
    conversation.messages[1]["state"]["parts"] += [said("x" * 900), said("t", table, code)]
    talk.open(conversation)
    wide = "(node) => node.scrollWidth <= node.clientWidth"
    assert page.evaluate(f"({wide})(document.documentElement)")
    assert page.locator("[data-target=messages]").evaluate(wide)
    boxes = ".openrouter-chat :is(.openrouter-card, .openrouter-question__bubble, form, button):visible"
    for box in page.locator(boxes).all():
        place = box.bounding_box()
        assert place is None or (place["x"] >= 0 and place["x"] + place["width"] <= 360), box.inner_html()[
            :200
        ]


def test_right_to_left_turns_the_whole_page(talk: Talk) -> None:
    page = talk.page
    page.set_viewport_size({"width": 1280, "height": 800})
    talk.language = "ar"
    talk.open(rich_talk())
    expect(page.locator("html")).to_have_attribute("dir", "rtl")

    def middle(selector: str) -> float:
        box = page.locator(selector).first.bounding_box()
        assert box is not None
        return box["x"] + box["width"] / 2

    assert middle(".openrouter-list") > 900
    assert middle(".openrouter-question__bubble") < middle(".openrouter-thread")
    assert middle("[data-target=send]") < middle("[data-target=form]")
    code = page.locator("pre[data-language]").bounding_box()
    copy = page.locator(".openrouter-code > button").bounding_box()
    assert code is not None
    assert copy is not None
    assert copy["x"] > code["x"] + code["width"] / 2  # the language's name stands at the left
    turned = page.locator("[data-icon=previous]:visible").first.evaluate(
        "(icon) => getComputedStyle(icon).transform"
    )
    assert turned == "matrix(-1, 0, 0, 1, 0, 0)"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_reduced_motion_stands_still(browser: Browser, static_server: str) -> None:
    with talking(browser, static_server) as talk:
        talk.page.emulate_media(reduced_motion="reduce")
        talk.open()
        talk.send("Hi")
        talk.accept(status="running")
        talk.tell(text("Half"))
        expect(talk.answers).to_contain_text("Half")
        running = "document.getAnimations().filter((moving) => moving.playState === 'running').length"
        talk.wait_for(lambda: talk.page.evaluate(running) == 0)


def grow(talk: Talk, page: Page) -> None:
    for _ in range(20):
        talk.tell(text("More and more text, line after line. " * 8 + "\n\n"))
    page.wait_for_timeout(100)


AT_END = "(box) => box.scrollHeight - box.scrollTop - box.clientHeight < 2"


def test_the_view_stays_at_the_end_if_the_reader_is_there(talk: Talk) -> None:
    page = talk.open(long_talk())
    viewport = page.get_by_role("log")
    jump = page.get_by_role("button", name="Jump to latest")
    assert viewport.evaluate(AT_END)
    talk.send("Go on")
    talk.accept(status="running")
    grow(talk, page)
    assert viewport.evaluate(AT_END)
    expect(jump).to_be_hidden()
    viewport.hover()
    page.mouse.wheel(0, -600)
    expect(jump).to_be_visible()
    before = viewport.evaluate("(box) => box.scrollTop")
    grow(talk, page)
    assert viewport.evaluate("(box) => box.scrollTop") == pytest.approx(before, abs=2)
    jump.focus()
    page.keyboard.press("Enter")
    expect(jump).to_be_hidden()
    expect(viewport).to_be_focused()
    grow(talk, page)
    assert viewport.evaluate(AT_END)


def test_a_banner_stands_there_while_the_page_reconnects(talk: Talk) -> None:
    page = talk.open()
    talk.silent = True
    talk.sockets[-1].close(code=1012)
    expect(page.locator("[data-target=banner]")).to_contain_text("The connection is gone.")
    talk.field.fill("Kept")
    talk.field.press("Enter")
    expect(talk.answers).to_contain_text("Sending")
    talk.silent = False
    talk.wait_for(lambda: len(talk.sockets) > 1)
    talk.say(type="hello", protocol=1, heartbeat=20, max_frame=65_536, features=[])
    expect(page.locator("[data-target=banner]")).to_be_hidden()
    talk.wait_for(lambda: talk.asked_for("run.start"))


def test_copying_a_message_and_its_code(browser: Browser, static_server: str) -> None:
    with talking(browser, static_server) as talk:
        talk.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page = talk.open(rich_talk())
        clipboard = "navigator.clipboard.readText()"
        page.get_by_role("button", name="Copy code").click()
        expect(talk.status).to_have_text("Copied")
        assert page.evaluate(clipboard) == 'print("hello")'
        page.get_by_role("button", name="Copy message").nth(1).click()
        talk.wait_for(lambda: page.evaluate(clipboard) == "…")
        page.get_by_role("button", name="Copy message").first.click()
        talk.wait_for(lambda: page.evaluate(clipboard) == "Show me")
        expect(page.get_by_role("button", name="Copied").first).to_be_visible()
        expect(page.get_by_role("button", name="Copied")).to_have_count(0)


def test_copying_where_the_browser_gives_no_clipboard(talk: Talk) -> None:
    talk.page.add_init_script("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    page = talk.open(rich_talk())
    page.evaluate("document.addEventListener('copy', () => { window.copied = String(getSelection()); })")
    button = page.get_by_role("button", name="Copy message").first
    button.focus()
    page.keyboard.press("Enter")
    talk.wait_for(lambda: page.evaluate("window.copied ?? null") is not None)
    expect(page.locator(":focus")).to_have_class("openrouter-icon-button is-said")
