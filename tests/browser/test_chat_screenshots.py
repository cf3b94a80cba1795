"""Pictures of the chat in each state, light and dark, narrow and wide; nothing sticks out of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from .chatting import DONE, USAGE, Conversation, Talk, ident, said, talking, text
from .visitors import shoot

pytestmark = pytest.mark.browser

MARKDOWN = (
    "<p>Your order <strong>1041</strong> has left our house on Monday. It holds three things, of which one "
    "comes later:</p>",
    "<table><thead><tr><th>Article</th><th>Pieces</th><th>State</th></tr></thead><tbody><tr><td>Lamp, brass"
    "</td><td>1</td><td>sent</td></tr><tr><td>Bulb, warm</td><td>4</td><td>sent</td></tr><tr><td>Shade"
    "</td><td>1</td><td>in production</td></tr></tbody></table>",
    "<p>If you want to ask for it in your own shop, this does it:</p>",
    '<pre><code class="language-python">order = Order.objects.get(number=1041)\n'
    "for line in order.lines.all():\n    print(line.article, line.state)\n</code></pre>",
    "<ul><li>The lamp and the bulbs are with the carrier.</li><li>The shade follows "
    'in <a href="https://example.org/">about two weeks</a>.</li></ul>',
)
REASONING = {"type": "reasoning", "text": "The order number is given, so look it up first.", "ms": 3200}
CHANGE = {"type": "call", "call": "c", "name": "change_address", "status": "waiting", "approval": "owner"}
ADDRESS = {
    "order": 1041,
    "street": "Lindenweg 4",
    "city": "Marburg",
    "note": "Ring twice, the bell is faint",
}
WAITING = {**CHANGE, "arguments": ADDRESS, "expires": "2027-01-05T18:30:00+00:00"}
LOOKED_UP = {
    "type": "call",
    "call": "l",
    "name": "look_up_order",
    "status": "done",
    "arguments": {"order": 1041},
    "output": {"state": "sent", "lines": 3},
}


@pytest.fixture
def talk(browser: Browser, static_server: str) -> Iterator[Talk]:
    with talking(browser, static_server) as talk:
        for number, title in enumerate(["Return of a lamp", "Bulbs that fit E14", "Hours in May"], 40):
            talk.conversations.append(Conversation(number, title))
        talk.conversations[1].run = ident(5)
        yield talk


def begun() -> Conversation:
    conversation = Conversation()
    conversation.ask("Where is my order 1041, and what is in it?")
    conversation.answer(REASONING, LOOKED_UP, said("…", *MARKDOWN))
    return conversation


def ask(talk: Talk, words: str, *parts: dict[str, object], status: str = "running") -> Page:
    talk.send(words)
    talk.accept(status=status, parts=[{"type": "step", "model": "openai/gpt-4o-mini"}, *parts])
    return talk.page


def test_screenshots_of_the_empty_chat(talk: Talk) -> None:
    talk.models = ["openai/gpt-4o-mini", "mistralai/mistral-small"]
    page = talk.open()
    expect(page.get_by_role("link", name="Return of a lamp")).to_have_count(1)
    shoot(page, "chat-empty")


def test_screenshots_of_an_answer_that_is_written(talk: Talk) -> None:
    talk.open(begun())
    words = "Die Lampe steht morgen vor der Tür; die vier Birnen liegen im selben"
    page = ask(talk, "And when is it here?", {"type": "reasoning", "text": "Ask the carrier.", "ms": 1200})
    talk.tell({"type": "text", "part": 2, "delta": words})
    expect(talk.answers.last).to_contain_text("im selben")
    shoot(page, "chat-writing")


def test_screenshots_of_a_tool_that_waits_for_approval(talk: Talk) -> None:
    talk.open(begun())
    page = ask(talk, "Send the shade to Lindenweg 4 in Marburg, please.", WAITING, status="waiting")
    expect(page.get_by_role("button", name="Approve")).to_be_visible()
    shoot(page, "chat-approval")


def test_screenshots_of_an_error(talk: Talk) -> None:
    talk.open(begun())
    page = ask(talk, "And the bill?")
    failed = {"type": "failed", "code": "provider", "message": "The model's provider is not available."}
    talk.tell(text("It is", 1), {**failed, "retryable": True})
    expect(page.get_by_role("alert").filter(has_text="not available")).to_be_visible()
    shoot(page, "chat-error")


def test_screenshots_of_a_long_conversation_with_versions(talk: Talk) -> None:
    conversation = begun()
    conversation.ask("Can you send it to my sister?", siblings=2)
    conversation.answer(said("Of course.", "<p>Of course: to which address?</p>"), siblings=3, left_out=12)
    conversation.ask("To Lindenweg 4, 35037 Marburg.")
    conversation.answer(said("Done.", "<p>Done. The shade goes there; the rest is on its way to you.</p>"))
    page = talk.open(conversation)
    page.locator(".openrouter-reply").nth(1).hover()
    shoot(page, "chat-long")


def test_screenshots_of_the_list_and_a_held_message(talk: Talk) -> None:
    talk.open(begun())
    page = ask(talk, "What does the lamp weigh?")
    talk.tell(text("About two", 1))
    talk.field.fill("And the shade?")
    talk.field.press("Enter")
    expect(page.get_by_text("Sends when the answer is done")).to_be_visible()
    row = page.locator(".openrouter-list__row").first
    row.hover()
    row.get_by_role("button").click()
    shoot(page, "chat-held")
    page.set_viewport_size({"width": 360, "height": 800})
    page.get_by_role("button", name="Conversations").click()
    shoot(page, "chat-list")


def test_screenshots_of_an_edit(talk: Talk) -> None:
    page = talk.open(begun())
    page.locator(".openrouter-question").hover()
    page.get_by_role("button", name="Edit message").click()
    shoot(page, "chat-edit")
    talk.tell(USAGE, DONE)
