"""The chat from the first message on: what is asked, what is shown, what a reload finds."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from .chatting import DONE, USAGE, Conversation, Talk, ident, said, talking, text

pytestmark = pytest.mark.browser


@pytest.fixture
def talk(browser: Browser, static_server: str) -> Iterator[Talk]:
    with talking(browser, static_server) as talk:
        yield talk


def test_a_first_message_begins_a_conversation(talk: Talk) -> None:
    page = talk.open()
    expect(page.locator("[data-target=empty]")).to_be_visible()
    talk.send("Where is my order?")
    [start] = talk.asked_for("run.start")
    assert start["conversation"] == "new"
    assert start["input"] == {"message": "Where is my order?"}
    assert "parent" not in start
    expect(talk.questions).to_have_text("Where is my order?")
    expect(page.locator("[data-target=empty]")).to_be_hidden()
    expect(talk.field).to_have_value("")
    talk.accept()
    expect(page).to_have_url(re.compile(f"/conversations/{ident(77)}/$"))
    talk.tell({"type": "started", "chain": "talk", "version": 3}, text("On its "))
    expect(talk.status).to_have_text("Answering…")
    expect(page.get_by_role("log")).to_have_attribute("aria-busy", "true")
    talk.tell(text("way."), USAGE, DONE)
    expect(talk.answers).to_contain_text("On its way.")
    expect(talk.status).to_have_text("Answer complete.")
    expect(page.get_by_role("log")).to_have_attribute("aria-busy", "false")
    facts = page.locator(".openrouter-usage > span").all_text_contents()
    assert [fact.split(": ")[-1] for fact in facts] == [
        "openai/gpt-4o-mini",
        "OpenAI",
        "812 → 96 tokens",
        "$0.00031",
        "2.1s",
        "version 3",
    ]
    talk.send("And the other?")
    assert talk.asked_for("run.start")[-1]["conversation"] == ident(77)
    assert talk.asked_for("run.follow") == [{"type": "run.follow", "conversation": ident(77)}]


def test_a_stored_conversation_is_shown_as_it_was(talk: Talk) -> None:
    conversation = Conversation()
    conversation.ask("Hello")
    conversation.answer(said("Hi **there**", "<p>Hi <strong>there</strong></p>"), left_out=12)
    page = talk.open(conversation)
    expect(talk.questions).to_have_text("Hello")
    expect(talk.answers.locator("strong")).to_have_text("there")
    expect(page.get_by_text("12 earlier messages were not given to the model.")).to_be_visible()
    expect(page.get_by_role("heading", name=conversation.title)).to_be_visible()
