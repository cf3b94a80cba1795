"""The chat from the first message on: what is asked, what is shown, what a reload finds."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from openrouter_app.pages.fields import Field

from .chatting import DONE, USAGE, Conversation, Talk, ident, said, text

pytestmark = pytest.mark.browser


def test_a_first_message_begins_a_conversation(talk: Talk) -> None:
    page = talk.open()
    expect(page.locator("[data-target=empty]")).to_be_visible()
    talk.send("Where is my order?")
    [start] = talk.asked_for("run.start")
    assert start["conversation"] == "new"
    assert start["input"] == {"message": "Where is my order?"}
    assert "parent" not in start
    expect(talk.questions).to_have_text(["Where is my order?"])
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
    shown = [fact.split(": ")[-1] for fact in facts]
    assert shown == ["openai/gpt-4o-mini", "OpenAI", "812 → 96 tokens", "$0.00031", "2.1s", "version 3"]
    talk.send("And the other?")
    assert talk.asked_for("run.start")[-1]["conversation"] == ident(77)
    assert talk.asked_for("run.follow") == [{"type": "run.follow", "conversation": ident(77)}]


def test_a_stored_conversation_is_shown_as_it_was(talk: Talk) -> None:
    conversation = Conversation()
    conversation.ask("Hello")
    conversation.answer(said("Hi **there**", "<p>Hi <strong>there</strong></p>"), left_out=12)
    page = talk.open(conversation)
    expect(talk.questions).to_have_text(["Hello"])
    expect(talk.answers.locator("strong")).to_have_text("there")
    expect(page.get_by_text("12 earlier messages were not given to the model.")).to_be_visible()
    expect(page.get_by_role("heading", name=conversation.title)).to_be_visible()
    expect(page).to_have_title(f"{conversation.title} \u2013 Ask the shop")


def test_finished_blocks_are_rendered_once_and_the_rest_stays_text(talk: Talk) -> None:
    talk.open()
    talk.send("Hi")
    talk.accept()
    talk.tell(text("One **bold**\n\n<b>two"))
    expect(talk.answers).to_contain_text("<b>two")
    html = {"type": "html", "part": 0, "html": ["<p>One <strong>bold</strong></p>"], "rest": "<b>two"}
    talk.tell(html)
    block = talk.answers.locator("strong").element_handle()
    talk.tell(text(" three"))
    expect(talk.answers).to_contain_text("One bold<b>two three")
    assert block.is_visible()
    assert talk.answers.locator("b").count() == 0


def test_reasoning_is_folded_and_says_how_long_it_took(talk: Talk) -> None:
    page = talk.open()
    talk.send("Hi")
    talk.accept()
    talk.tell({"type": "reasoning", "part": 0, "delta": "Let me see.", "ms": 3200}, text("Yes.", 1))
    expect(page.get_by_text("Thought for 3.2s")).to_be_visible()
    expect(page.get_by_text("Let me see.")).to_be_hidden()
    page.get_by_text("Thought for 3.2s").click()
    expect(page.get_by_text("Let me see.")).to_be_visible()


def test_enter_sends_and_shift_enter_begins_a_line(talk: Talk) -> None:
    page = talk.open()
    talk.field.fill("One")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("two")
    expect(talk.field).to_have_value("One\ntwo")
    page.keyboard.press("Enter")
    talk.wait_for(lambda: talk.asked_for("run.start"))
    assert talk.heard[-1]["input"] == {"message": "One\ntwo"}
    expect(talk.field).to_be_focused()


@pytest.mark.parametrize("event", [{"isComposing": True}, {"keyCode": 229}], ids=["composing", "old-code"])
def test_enter_that_ends_a_composed_word_does_not_send(talk: Talk, event: dict[str, object]) -> None:
    page = talk.open()
    talk.field.fill("にほん")
    press = "(field, more) => field.dispatchEvent(new KeyboardEvent('keydown', more))"
    key = {"key": "Enter", "bubbles": True, "cancelable": True, **event}
    talk.field.evaluate(press, key)
    page.wait_for_timeout(100)
    assert talk.asked_for("run.start") == []
    expect(talk.field).to_have_value("にほん")


def test_an_empty_message_is_not_sent(talk: Talk) -> None:
    page = talk.open()
    talk.field.fill("  ")
    page.get_by_role("button", name="Send").click()
    expect(talk.field).to_be_focused()
    assert talk.heard == []


def test_the_button_and_escape_stop_an_answer(talk: Talk) -> None:
    page = talk.open()
    stop = page.get_by_role("button", name="Stop")
    expect(stop).to_be_hidden()
    talk.send("Hi")
    talk.accept()
    stop.click()
    talk.wait_for(lambda: talk.asked_for("run.stop"))
    expect(talk.status).to_have_text("Stopping…")
    talk.tell(text("Half"), {"type": "stopped", "by": "user"})
    expect(talk.status).to_have_text("Stopped.")
    expect(stop).to_be_hidden()
    expect(talk.field).to_be_focused()
    talk.send("Again")
    talk.accept("S", message=9004, parent=9003)
    page.keyboard.press("Escape")
    talk.wait_for(lambda: len(talk.asked_for("run.stop")) == 2)
    assert talk.heard[-1] == {"type": "run.stop", "run": "S"}


def test_escape_in_another_field_stops_nothing(talk: Talk) -> None:
    conversation = Conversation()
    conversation.ask("Move it")
    call = {"type": "call", "call": "a", "name": "move", "arguments": {}, "status": "waiting"}
    conversation.answer({**call, "approval": "owner"}, run=ident(6), status="waiting")
    conversation.run = ident(6)
    page = talk.open(conversation)
    reason = page.get_by_label("Reason for a denial, which the model is told (optional)")
    more = page.get_by_role("button", name="More for")
    for field in (page.get_by_label("Search conversations"), reason, more):
        field.focus()
        page.keyboard.press("Escape")
    more.click()
    page.get_by_role("button", name="Rename").click()
    page.get_by_label("Title").press("Escape")
    page.wait_for_timeout(100)
    assert talk.asked_for("run.stop") == []
    page.get_by_role("log").press("Escape")
    talk.wait_for(lambda: talk.asked_for("run.stop"))


def test_an_error_says_what_to_do_and_is_tried_again(talk: Talk) -> None:
    page = talk.open()
    talk.send("Hi")
    talk.accept()
    failed = {"type": "failed", "code": "provider", "message": "The model broke.", "retryable": True}
    talk.tell(text("Ha"), failed)
    problem = page.get_by_role("alert").filter(has_text="The model broke.")
    expect(problem).to_contain_text("Trying again may help.")
    problem.get_by_role("button", name="Try again").click()
    talk.wait_for(lambda: len(talk.asked_for("run.start")) == 2)
    again = talk.asked_for("run.start")[1]
    assert again["parent"] == ident(9001)
    assert "input" not in again


def test_a_refusal_leaves_the_text_where_it_was_written(talk: Talk) -> None:
    page = talk.open()
    talk.send("Too much")
    start = talk.asked_for("run.start")[-1]
    talk.say(type="error", id=start["id"], code="limit", message="Too many answers at once.")
    expect(page.get_by_role("alert").filter(has_text="Too many answers")).to_be_visible()
    expect(talk.field).to_have_value("Too much")
    expect(talk.questions).to_have_count(0)
    expect(page.locator("[data-target=empty]")).to_be_visible()


def test_a_draft_is_kept_for_each_conversation(talk: Talk) -> None:
    conversation = Conversation()
    conversation.ask("Hello")
    conversation.answer(said("Hi"))
    page = talk.open(conversation)
    talk.field.fill("half a thought")
    page.reload()
    talk.connected()
    expect(talk.field).to_have_value("half a thought")
    page.get_by_role("link", name="New chat").click()
    expect(talk.field).to_have_value("")
    page.go_back()
    expect(talk.field).to_have_value("half a thought")


def test_what_one_has_written_is_not_there_for_the_next_in_the_same_tab(talk: Talk) -> None:
    page = talk.open()
    talk.send("Never answered")
    talk.field.fill("half a secret")
    talk.owner = "fedcba9876543210"
    page.reload()
    talk.connected()
    expect(talk.field).to_have_value("")
    expect(talk.questions).to_have_count(0)
    assert len(talk.asked_for("run.start")) == 1
    talk.owner = "0123456789abcdef"
    page.reload()
    expect(talk.field).to_have_value("half a secret")
    expect(talk.questions).to_have_text(["Never answered"])


def test_a_reload_amid_an_answer_goes_on_with_it(talk: Talk) -> None:
    conversation = Conversation()
    conversation.ask("Hello")
    run = ident(5)
    conversation.answer(said("Half an ans"), run=run, status="running", usage=None)
    conversation.run = run
    talk.open(conversation)
    expect(talk.answers).to_contain_text("Half an ans")
    expect(talk.status).to_have_text("Answering…")
    talk.wait_for(lambda: len(talk.asked_for("run.follow")) == 2)
    talk.snapshot(run, status="running", conversation=conversation.id, parts=[said("Half an answ")])
    talk.tell(text("er."), DONE, run=run)
    expect(talk.answers).to_contain_text("Half an answer.")
    expect(talk.status).to_have_text("Answer complete.")
    expect(talk.answers).to_have_count(1)


def test_a_start_that_nobody_answered_is_said_again_after_a_reload(talk: Talk) -> None:
    page = talk.open()
    talk.send("Hello?")
    page.reload()
    talk.wait_for(lambda: len(talk.asked_for("run.start")) == 2)
    first, second = talk.asked_for("run.start")
    assert first == second
    talk.accept()
    talk.tell(text("Yes."), DONE)
    expect(talk.questions).to_have_text(["Hello?"])
    expect(talk.answers).to_contain_text("Yes.")


def test_the_model_can_be_picked_where_the_chain_allows_it(talk: Talk) -> None:
    talk.models = ["openai/gpt-4o-mini", "mistralai/mistral-small"]
    page = talk.open()
    page.get_by_label("Model").select_option("mistralai/mistral-small")
    talk.send("Hi")
    assert talk.heard[-1]["options"] == {"model": "mistralai/mistral-small"}
    talk.accept()
    talk.tell(text("Ho"), DONE)
    page.get_by_role("button", name="Answer again").click()
    talk.wait_for(lambda: len(talk.asked_for("run.start")) == 2)
    assert talk.asked_for("run.start")[1]["options"] == {"model": "mistralai/mistral-small"}


def test_further_fields_are_asked_for_and_remembered(talk: Talk) -> None:
    talk.fields = [Field("language", "", True), *talk.fields]
    page = talk.open()
    language = page.get_by_label("Language")
    expect(language).to_be_visible()
    language.fill("")
    talk.field.fill("Hi")
    talk.field.press("Enter")
    expect(page.get_by_role("alert").filter(has_text="Fill in this field.")).to_be_visible()
    expect(language).to_be_focused()
    language.fill("German")
    talk.send("Hi")
    assert talk.heard[-1]["input"] == {"language": "German", "message": "Hi"}
    expect(talk.page.locator(".openrouter-question")).to_contain_text("German")
    page.reload()
    expect(language).to_have_value("German")


def test_a_suggestion_fills_the_field(talk: Talk) -> None:
    page = talk.open()
    page.get_by_role("button", name="What can you do?").click()
    expect(talk.field).to_have_value("What can you do?")
    expect(talk.field).to_be_focused()


def test_who_may_only_read_has_no_field(talk: Talk) -> None:
    talk.may_send = False
    conversation = Conversation()
    conversation.ask("Hello")
    conversation.answer(said("Hi"))
    page = talk.open(conversation)
    expect(page.get_by_text("You can read this conversation")).to_be_visible()
    expect(talk.field).to_have_count(0)
    expect(page.get_by_role("button", name="Answer again")).to_be_hidden()
