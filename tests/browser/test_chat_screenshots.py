"""Pictures of a conversation in each state, light and dark, narrow and wide; nothing sticks out of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from openrouter_app.pages.fields import Field

from .chatting import MESSAGE, USAGE, Conversation, Talk, talking, text
from .pictured import ask, begun, rendered, short, with_list
from .visitors import shoot

pytestmark = pytest.mark.browser


@pytest.fixture
def talk(browser: Browser, static_server: str) -> Iterator[Talk]:
    with talking(browser, static_server) as talk:
        yield with_list(talk)


def test_screenshots_of_the_empty_chat(talk: Talk) -> None:
    talk.models = ["openai/gpt-4o-mini", "mistralai/mistral-small"]
    page = talk.open()
    expect(page.get_by_role("link", name="Return of a lamp")).to_have_count(1)
    expect(page.get_by_role("combobox", name="Model")).to_be_visible()
    shoot(page, "chat-empty")


def test_screenshots_of_further_fields_of_which_one_is_missing(talk: Talk) -> None:
    talk.fields = [Field("language", "English", True), Field("order_number", "", True), MESSAGE]
    page = talk.open()
    talk.field.fill("Where is it?")
    talk.field.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("Fill in this field.")
    expect(page.get_by_label("Order number")).to_be_focused()
    shoot(page, "chat-fields")


def test_screenshots_of_an_answer_before_its_first_word(talk: Talk) -> None:
    talk.open(short())
    page = ask(talk, "And when is it here?")
    expect(page.locator(".openrouter-answer.is-thinking")).to_be_visible()
    shoot(page, "chat-thinking")


def test_screenshots_of_an_answer_that_is_written(talk: Talk) -> None:
    talk.open(begun())
    words = "The lamp is at your door tomorrow; the four bulbs lie in the same"
    page = ask(talk, "And when is it here?", {"type": "reasoning", "text": "Ask the carrier.", "ms": 1200})
    talk.tell({"type": "text", "part": 2, "delta": words})
    expect(talk.answers.last).to_contain_text("in the same")
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    shoot(page, "chat-writing")


def test_screenshots_of_a_stopped_answer(talk: Talk) -> None:
    talk.open(short())
    page = ask(talk, "And what is in it?")
    talk.tell(text("A lamp of brass, four bulbs, and a", 1), {"type": "stopped", "by": "user"}, USAGE)
    expect(talk.answers.last.get_by_text("Stopped", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="Stop")).to_be_hidden()
    shoot(page, "chat-stopped")


def test_screenshots_of_an_error_that_may_go_away(talk: Talk) -> None:
    talk.open(begun())
    page = ask(talk, "And the bill?")
    failed = {"type": "failed", "code": "provider", "message": "The model's provider is not available."}
    talk.tell(text("It is", 1), {**failed, "retryable": True})
    expect(page.get_by_role("alert").filter(has_text="Trying again may help.")).to_be_visible()
    expect(page.get_by_role("button", name="Try again")).to_be_visible()
    shoot(page, "chat-error")


def test_screenshots_of_an_error_that_somebody_else_has_to_mend(talk: Talk) -> None:
    talk.open(short())
    page = ask(talk, "And the bill?")
    talk.tell({"type": "failed", "code": "credit", "message": "The account has no credit left."})
    expect(page.get_by_role("alert").filter(has_text="have to add credit")).to_be_visible()
    expect(page.get_by_role("button", name="Try again")).to_have_count(0)
    shoot(page, "chat-error-final")


def test_screenshots_of_an_answer_that_broke_off(talk: Talk) -> None:
    talk.open(short())
    page = ask(talk, "And what is in it?")
    lost = {"type": "interrupted", "code": "provider", "message": "The server was lost in mid-answer."}
    talk.tell(text("A lamp of brass, four bulbs, and a", 1), {**lost, "retryable": True})
    expect(page.get_by_role("alert").filter(has_text="What came until then stands above.")).to_be_visible()
    shoot(page, "chat-interrupted")


def test_screenshots_of_a_lost_connection(talk: Talk) -> None:
    talk.open(short())
    page = ask(talk, "And what is in it?")
    talk.tell(text("A lamp of brass, four bulbs, and a", 1))
    expect(talk.answers.last).to_contain_text("bulbs, and a")
    talk.silent = True
    talk.sockets[-1].close(code=1012)
    expect(page.get_by_text("This page connects again by itself")).to_be_visible()
    shoot(page, "chat-reconnecting")


def test_screenshots_of_a_page_that_must_be_loaded_anew(talk: Talk) -> None:
    page = talk.open(short())
    talk.field.fill("And what is in it?")
    talk.sockets[-1].close(code=4401)
    expect(page.get_by_text("You have signed in or out since.")).to_be_visible()
    expect(page.get_by_role("button", name="Reload the page")).to_be_visible()
    shoot(page, "chat-signed-out")


def test_screenshots_of_a_long_conversation_with_versions(talk: Talk) -> None:
    conversation = begun()
    conversation.ask("Can you send it to my sister?", siblings=2)
    conversation.answer(rendered("Of course: to which address?"), siblings=3, left_out=12)
    conversation.ask("To Lindenweg 4, 35037 Marburg.")
    conversation.answer(rendered("Done. The shade goes there; the rest is on its way to you."))
    page = talk.open(conversation)
    expect(page.get_by_text("12 earlier messages were not given to the model.")).to_be_visible()
    page.locator(".openrouter-reply").nth(1).hover()
    shoot(page, "chat-long")


def test_screenshots_of_the_second_version_of_three(talk: Talk) -> None:
    conversation = short()
    conversation.ask("Can you send it to my sister?", siblings=3)
    conversation.answer(rendered("Of course: to which address?"), siblings=3)
    for message in conversation.messages[2:]:
        message["message"] = message["siblings"][1]
    page = talk.open(conversation)
    expect(page.get_by_role("group", name="Versions").get_by_text("2 / 3")).to_have_count(2)
    page.locator(".openrouter-question").last.hover()
    shoot(page, "chat-versions")


def test_screenshots_of_the_way_back_to_the_end(talk: Talk) -> None:
    talk.open(begun())
    page = ask(talk, "And when is it here?")
    talk.tell(text("The lamp is at your door tomorrow.\n\n" * 6, 1))
    expect(talk.answers.last).to_contain_text("at your door")
    page.get_by_role("log").hover()
    page.mouse.wheel(0, -400)
    expect(page.get_by_role("button", name="Jump to latest")).to_be_visible()
    shoot(page, "chat-jump")


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
    expect(page.get_by_role("link", name="Export as Markdown")).to_be_visible()
    shoot(page, "chat-held")
    page.set_viewport_size({"width": 360, "height": 800})
    page.get_by_role("button", name="Conversations").click()
    expect(page.get_by_role("searchbox")).to_be_visible()
    shoot(page, "chat-list")


@pytest.mark.parametrize(("choice", "asks"), [("Rename", "Save"), ("Delete", "Delete it")])
def test_screenshots_of_a_conversation_that_is_renamed_or_deleted(talk: Talk, choice: str, asks: str) -> None:
    page = talk.open(short())
    page.set_viewport_size({"width": 360, "height": 800})
    page.get_by_role("button", name="Conversations").click()
    page.get_by_role("button", name="More for “Return of a lamp”").click()
    page.get_by_role("button", name=choice, exact=True).click()
    expect(page.get_by_role("button", name=asks, exact=True)).to_be_visible()
    shoot(page, f"chat-list-{choice.lower()}")


def test_screenshots_of_an_edit(talk: Talk) -> None:
    page = talk.open(begun())
    page.locator(".openrouter-question").hover()
    page.get_by_role("button", name="Edit message").click()
    expect(page.get_by_role("textbox", name="Changed message")).to_be_focused()
    shoot(page, "chat-edit")


def test_screenshots_of_a_conversation_that_can_only_be_read(talk: Talk) -> None:
    talk.may_send = False
    page = talk.open(short())
    expect(page.get_by_text("You can read this conversation, but not go on with it")).to_be_visible()
    shoot(page, "chat-read-only")


def test_screenshots_of_a_conversation_without_an_end_in_its_words(talk: Talk) -> None:
    conversation = Conversation(title="x" * 120)
    conversation.ask("w" * 300)
    words = f"<https://example.org/{'path/' * 40}>\n\n```\n{'code ' * 60}\n```\n"
    model = "somebody/a-model-" + "with-a-long-name-" * 4 + "1.5"
    conversation.answer(rendered(words), usage={**USAGE, "model": model})
    page = talk.open(conversation)
    expect(talk.questions).to_have_text(["w" * 300])
    shoot(page, "chat-unbroken")
