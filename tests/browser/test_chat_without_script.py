"""The chat where no script runs: one page that scrolls, and links that lead to messages."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

from .chatting import Conversation, Talk, said

pytestmark = pytest.mark.browser
Open = Callable[..., Page]


@pytest.fixture
def quiet(talk: Talk) -> Iterator[Open]:
    """Opens a page of the same site in a browser without scripts."""
    contexts = []

    def opened(conversation: Conversation | None, width: int = 1280, anchor: str = "") -> Page:
        viewport = {"width": width, "height": 800}
        context = talk.page.context.browser.new_context(java_script_enabled=False, viewport=viewport)  # type: ignore[union-attr, arg-type]
        contexts.append(context)
        page = context.new_page()
        site = Talk(page, talk.address, [])
        if conversation is None:
            page.goto(f"{talk.address}/chains/talk/")
        else:
            site.conversations.append(conversation)
            page.goto(f"{talk.address}/conversations/{conversation.id}/{anchor}")
        return page

    yield opened
    for context in contexts:
        context.close()


def long_conversation() -> Conversation:
    conversation = Conversation()
    for number in range(12):
        conversation.ask(f"Question {number}")
        conversation.answer(said("word " * 150), siblings=3 if number == 11 else 1, left_out=12)
    return conversation


def box(page: Page, selector: str) -> dict[str, float]:
    found = page.locator(selector).last.bounding_box()
    assert found is not None
    return dict(found)  # type: ignore[arg-type]


@pytest.mark.parametrize("width", [1280, 360])
def test_messages_line_up_with_the_composer(quiet: Open, width: int) -> None:
    page = quiet(long_conversation(), width)
    composer = box(page, ".openrouter-composer")
    for selector in (".openrouter-reply", ".openrouter-answer"):
        shown = box(page, selector)
        assert shown["x"] == pytest.approx(composer["x"], abs=1)
        assert shown["width"] == pytest.approx(composer["width"], abs=1)
    assert box(page, "html")["width"] <= width


@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("which", [5, 23], ids=["earlier", "newest"])
def test_address_of_a_message_leads_to_it(quiet: Open, width: int, which: int) -> None:
    conversation = long_conversation()
    message = f"message-{conversation.messages[which]['message']}"
    page = quiet(conversation, width, f"#{message}")
    expect(page.locator(f"[id='{message}']")).to_be_in_viewport()
    is_at_its_end = page.evaluate("innerHeight + scrollY >= document.documentElement.scrollHeight - 1")
    y = box(page, f"[id='{message}']")["y"]
    assert y == pytest.approx(16, abs=5) or (y > 16 and is_at_its_end and which == 23)
    # the page has scrolled, not a box in it
    expect(page.locator(".openrouter-header")).not_to_be_in_viewport()


def test_question_has_no_lines_that_are_the_templates(quiet: Open) -> None:
    conversation = Conversation()
    conversation.ask("Where is it?\nAnd when?")
    page = quiet(conversation)
    bubble, words = box(page, ".openrouter-question__bubble"), box(page, ".openrouter-question__text")
    assert bubble["height"] == pytest.approx(words["height"] + 20, abs=2)
    assert words["height"] > 40  # two lines, as they were written


def test_versions_are_links(quiet: Open) -> None:
    conversation = long_conversation()
    page = quiet(conversation)
    expect(page.get_by_role("navigation", name="Versions")).to_contain_text("3 / 3")
    expect(page.get_by_role("link", name="Previous version")).to_have_attribute(
        "href",
        f"/conversations/{conversation.id}/?message={conversation.messages[-1]['siblings'][1]}"
        f"#message-{conversation.messages[-1]['siblings'][1]}",
    )
    expect(page.get_by_role("link", name="Next version")).to_have_count(0)


@pytest.mark.parametrize("width", [1280, 360])
def test_new_chat_fits_into_the_window(quiet: Open, width: int) -> None:
    page = quiet(None, width)
    expect(page.get_by_role("button", name="Send")).to_be_in_viewport()
    assert box(page, "html")["height"] <= 801
