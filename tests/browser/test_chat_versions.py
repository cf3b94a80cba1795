"""Versions of messages, and a conversation that is open in more than one place."""

from __future__ import annotations

import pytest
from playwright.sync_api import Route, expect

from .chatting import DONE, Conversation, Talk, ident, said, text

pytestmark = pytest.mark.browser


@pytest.fixture
def conversation() -> Conversation:
    conversation = Conversation()
    conversation.ask("Hello")
    conversation.answer(said("Hi"))
    return conversation


def test_another_answer_stands_beside_the_first(talk: Talk, conversation: Conversation) -> None:
    page = talk.open(conversation)
    question, answer = (message["message"] for message in conversation.messages)
    page.get_by_role("button", name="Answer again").click()
    talk.wait_for(lambda: talk.asked_for("run.start"))
    [start] = talk.asked_for("run.start")
    assert (start["parent"], start["conversation"]) == (question, conversation.id)
    assert not start.keys() & {"input", "options"}
    talk.accept()
    talk.tell(text("Good day"), DONE)
    expect(talk.answers).to_have_count(1)
    expect(talk.answers).to_contain_text("Good day")
    expect(page.get_by_text("2 / 2")).to_be_visible()
    expect(talk.questions).to_have_text(["Hello"])
    other = [conversation.messages[0], {**conversation.messages[1], "siblings": [answer, ident(9002)]}]
    conversation.others[answer] = other
    page.get_by_role("button", name="Previous version").click()
    expect(talk.answers).to_contain_text("Hi")
    expect(page.get_by_text("1 / 2")).to_be_visible()
    expect(page.get_by_role("button", name="Previous version")).to_be_focused()
    talk.wait_for(lambda: talk.posted)
    assert talk.posted == [(f"/conversations/{conversation.id}/head/", {"message": answer})]


def test_an_answer_too_long_for_the_account_is_asked_for_again_as_long_as_it_can_pay(
    talk: Talk, conversation: Conversation
) -> None:
    question = conversation.messages[0]["message"]
    error = {"code": "credit", "message": "Not enough credit.", "retryable": False}
    conversation.messages[1]["state"].update(
        status="failed", error={**error, "details": {"affordable_tokens": 512}}
    )
    page = talk.open(conversation)
    page.get_by_role("button", name="Ask for a shorter answer (512 tokens at most)").click()
    talk.wait_for(lambda: talk.asked_for("run.start"))
    [start] = talk.asked_for("run.start")
    assert (start["parent"], start["options"]) == (question, {"max_tokens": 512})
    talk.accept()
    talk.tell(text("Short."), DONE)
    expect(talk.answers).to_contain_text("Short.")


def test_a_shorter_answer_that_is_refused_is_asked_for_again(talk: Talk, conversation: Conversation) -> None:
    details = {"affordable_tokens": 512}
    error = {"code": "credit", "message": "Not enough credit.", "retryable": False, "details": details}
    conversation.messages[1]["state"].update(status="failed", error=error)
    page = talk.open(conversation)
    shorter = page.get_by_role("button", name="Ask for a shorter answer (512 tokens at most)")
    for times in (1, 2):
        shorter.click()
        talk.wait_for(lambda times=times: len(talk.asked_for("run.start")) == times)
        start = talk.asked_for("run.start")[-1]
        talk.say(type="error", id=start["id"], code="limit", message="Too many.")
        expect(page.get_by_role("alert").filter(has_text="Too many.")).to_be_visible()
        expect(shorter).to_be_visible()


def test_an_edit_makes_another_question(talk: Talk, conversation: Conversation) -> None:
    page = talk.open(conversation)
    page.locator(".openrouter-question").hover()
    page.get_by_role("button", name="Edit message").click()
    field = page.get_by_label("Changed message")
    expect(field).to_be_focused()
    expect(field).to_have_value("Hello")
    field.fill("Good morning")
    page.keyboard.press("Enter")
    talk.wait_for(lambda: talk.asked_for("run.start"))
    [start] = talk.asked_for("run.start")
    assert start["parent"] is None
    assert start["input"] == {"message": "Good morning"}
    talk.accept()
    talk.tell(text("Morning!"), DONE)
    expect(talk.questions).to_have_text(["Good morning"])
    expect(talk.answers).to_contain_text("Morning!")
    expect(page.get_by_text("2 / 2")).to_be_visible()


def test_an_edit_of_what_was_just_sent_keeps_what_was_said_before(talk: Talk) -> None:
    page = talk.open()
    talk.talk("Hello one", "One", "R", 101)
    talk.talk("Hello two", "Two", "S", 201)
    page.get_by_role("button", name="Edit message").last.click()
    page.get_by_label("Changed message").fill("Hello three")
    page.keyboard.press("Enter")
    talk.wait_for(lambda: len(talk.asked_for("run.start")) == 3)
    edited = talk.asked_for("run.start")[2]
    assert edited["parent"] == ident(102)
    expect(talk.questions).to_have_text(["Hello one", "Hello three"])


def test_an_edit_can_be_left(talk: Talk, conversation: Conversation) -> None:
    page = talk.open(conversation)
    page.get_by_role("button", name="Edit message").click()
    page.keyboard.type(" you")
    page.keyboard.press("Escape")
    expect(talk.questions).to_have_text(["Hello"])
    expect(page.get_by_role("button", name="Edit message")).to_be_focused()
    assert talk.asked_for("run.start") == []


def test_a_refused_edit_keeps_what_was_written(talk: Talk, conversation: Conversation) -> None:
    page = talk.open(conversation)
    page.get_by_role("button", name="Edit message").click()
    page.get_by_label("Changed message").fill("Good morning")
    page.get_by_role("button", name="Send").first.click()
    talk.wait_for(lambda: talk.asked_for("run.start"))
    [start] = talk.asked_for("run.start")
    talk.say(type="error", id=start["id"], code="limit", message="Too many.")
    expect(page.get_by_label("Changed message")).to_have_value("Good morning")
    expect(page.get_by_role("alert").filter(has_text="Too many.")).to_be_visible()
    expect(talk.answers).to_contain_text("Hi")


def test_a_message_sent_meanwhile_waits_for_the_answer(talk: Talk, conversation: Conversation) -> None:
    page = talk.open(conversation)
    talk.send("First")
    talk.accept()
    talk.tell(text("One"))
    talk.field.fill("Second")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Sends when the answer is done")).to_be_visible()
    expect(talk.field).to_have_value("")
    talk.field.fill("Third")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert").filter(has_text="One message waits already.")).to_be_visible()
    expect(talk.field).to_have_value("Third")
    assert len(talk.asked_for("run.start")) == 1
    conversation.ask("First")
    conversation.answer(said("One"), run="R", status="running")
    conversation.run = "R"
    page.reload()
    talk.connected()
    expect(page.locator(".openrouter-held__text")).to_have_text("Second")


def test_a_message_that_waits_is_sent_when_the_answer_is_done(talk: Talk, conversation: Conversation) -> None:
    page = talk.open(conversation)
    talk.send("First")
    talk.accept()
    talk.field.fill("Second")
    page.keyboard.press("Enter")
    talk.tell(text("One"), DONE)
    talk.wait_for(lambda: len(talk.asked_for("run.start")) == 2)
    second = talk.asked_for("run.start")[1]
    assert second["input"] == {"message": "Second"}
    expect(page.locator("[data-target=held]")).to_be_hidden()
    expect(talk.questions).to_have_text(["Hello", "First", "Second"])


def test_a_message_that_waits_is_not_sent_after_a_failure(talk: Talk, conversation: Conversation) -> None:
    page = talk.open(conversation)
    talk.send("First")
    talk.accept()
    talk.field.fill("Second")
    page.keyboard.press("Enter")
    talk.tell({"type": "failed", "code": "timeout", "message": "Too slow.", "retryable": True})
    expect(page.get_by_text("Not sent, because")).to_be_visible()
    assert len(talk.asked_for("run.start")) == 1
    conversation.ask("First")
    conversation.answer(status="failed", error={"code": "timeout", "message": "Too slow."})
    page.reload()
    talk.connected()
    expect(page.get_by_text("Not sent, because")).to_be_visible()
    page.get_by_role("link", name="New chat").click()
    expect(page.get_by_text("Not sent, because")).to_be_hidden()
    page.go_back()
    expect(page.get_by_text("Not sent, because")).to_be_visible()
    page.wait_for_timeout(100)
    assert len(talk.asked_for("run.start")) == 1
    page.get_by_role("button", name="Take it back").click()
    expect(talk.field).to_have_value("Second")
    expect(talk.field).to_be_focused()


@pytest.mark.parametrize("status", ["done", "failed"])
def test_a_message_that_waits_in_another_conversation_is_not_forgotten(
    talk: Talk, conversation: Conversation, status: str
) -> None:
    page = talk.open(conversation)
    talk.send("First")
    talk.accept()
    talk.field.fill("Second")
    page.keyboard.press("Enter")
    page.get_by_role("link", name="New chat").click()
    row = page.get_by_role("link", name="Order 1041 (your message waits here to be sent)")
    expect(row).to_be_visible()
    conversation.ask("First")
    conversation.answer(said("One"), status=status, error={"code": "timeout", "message": "Too slow."})
    row.click()
    if status == "failed":
        expect(page.get_by_text("Not sent, because")).to_be_visible()
        assert len(talk.asked_for("run.start")) == 1
        page.get_by_role("button", name="Send it now").click()
    talk.wait_for(lambda: len(talk.asked_for("run.start")) == 2)
    second = talk.asked_for("run.start")[1]
    assert (second["conversation"], second["input"]) == (conversation.id, {"message": "Second"})
    expect(row).to_have_count(0)
    expect(page.get_by_role("link", name="Order 1041")).to_be_visible()


def test_what_another_tab_has_asked_first_is_waited_for(talk: Talk, conversation: Conversation) -> None:
    page = talk.open(conversation)
    talk.send("Mine")
    conversation.ask("Theirs")
    conversation.answer(said("Theirs is being "), run=ident(6), status="running")
    conversation.run = ident(6)
    start = talk.asked_for("run.start")[-1]
    talk.say(type="error", id=start["id"], code="busy", run=ident(6), message="An answer is being written.")
    expect(page.get_by_text("Sends when the answer is done")).to_be_visible()
    expect(talk.questions).to_have_text(["Hello", "Theirs"])
    talk.wait_for(lambda: {"type": "run.follow", "run": ident(6)} in talk.heard)
    part = said("Theirs is being ")
    talk.snapshot(ident(6), status="running", conversation=conversation.id, parts=[part])
    talk.tell(text("answered."), DONE, run=ident(6))
    talk.wait_for(lambda: len(talk.asked_for("run.start")) == 2)
    assert talk.asked_for("run.start")[1]["input"] == {"message": "Mine"}
    expect(talk.questions).to_have_text(["Hello", "Theirs", "Mine"])


def test_an_answer_that_another_tab_asked_for_is_joined(talk: Talk, conversation: Conversation) -> None:
    talk.open(conversation)
    conversation.ask("From the phone")
    head = conversation.answer(run=ident(6), status="queued", usage=None)
    conversation.run = ident(6)
    talk.say(type="conversation", conversation=conversation.id, head=head, run=ident(6))
    talk.snapshot(ident(6), status="running", conversation=conversation.id, message=head)
    expect(talk.questions).to_have_text(["Hello", "From the phone"])
    expect(talk.status).to_have_text("Answering…")
    talk.tell(text("Here too"), run=ident(6))
    expect(talk.answers.last).to_contain_text("Here too")
    talk.tell(DONE, run=ident(6))
    expect(talk.status).to_have_text("Answer complete.")


def test_news_that_come_late_take_away_nothing_that_was_asked_since(
    talk: Talk, conversation: Conversation
) -> None:
    page = talk.open(conversation)
    late: list[Route] = []
    page.route("**/conversations/*/data/", lambda route: late.append(route))
    before = conversation.data()
    talk.say(type="conversation", conversation=conversation.id, head=ident(55), run=None)
    talk.wait_for(lambda: late)
    talk.send("Mine")
    late.pop().fulfill(json=before)
    page.wait_for_timeout(100)
    expect(talk.questions).to_have_text(["Hello", "Mine"])
    conversation.ask("Theirs")
    conversation.answer(said("To them"))
    conversation.ask("Mine")
    conversation.messages[-1]["message"] = ident(9001)
    conversation.answer(run="R")
    conversation.messages[-1]["message"] = ident(9002)
    conversation.run = "R"
    talk.accept()
    talk.wait_for(lambda: late)
    late.pop().fulfill(json=conversation.data())
    expect(talk.questions).to_have_text(["Hello", "Theirs", "Mine"])


def test_what_was_said_while_the_page_was_away_stands_before_its_own(
    talk: Talk, conversation: Conversation
) -> None:
    page = talk.open(conversation)
    talk.silent = True
    talk.sockets[-1].close(code=1012)
    expect(page.locator("[data-target=banner]")).to_contain_text("The connection is gone.")
    conversation.ask("From P")
    conversation.answer(said("To P"))
    talk.field.fill("From Q")
    talk.field.press("Enter")
    expect(talk.questions).to_have_text(["Hello", "From Q"])
    talk.wait_for(lambda: len(talk.sockets) > 1)
    conversation.ask("From Q")
    conversation.messages[-1]["message"] = ident(9001)
    conversation.answer(run="R", status="queued")
    conversation.messages[-1]["message"] = ident(9002)
    conversation.run = "R"
    talk.say(type="hello", protocol=1, heartbeat=20, max_frame=65_536, features=[])
    talk.wait_for(lambda: talk.asked_for("run.start"))
    talk.accept()
    expect(talk.questions).to_have_text(["Hello", "From P", "From Q"])
    talk.tell(text("To Q"), DONE)
    expect(talk.answers.last).to_contain_text("To Q")


def test_what_is_missing_is_read_even_if_the_next_message_is_faster(
    talk: Talk, conversation: Conversation
) -> None:
    talk.expected.append("Failed to load resource")
    page = talk.open(conversation)
    talk.silent = True
    talk.sockets[-1].close(code=1012)
    expect(page.locator("[data-target=banner]")).to_contain_text("The connection is gone.")
    late: list[Route] = []
    page.route("**/conversations/*/data/", lambda route: late.append(route))
    conversation.ask("From P")
    conversation.answer(said("To P"))
    talk.field.fill("From Q")
    talk.field.press("Enter")
    talk.wait_for(lambda: len(talk.sockets) > 1)
    for number, (words, run) in enumerate((("From Q", "R"), ("Once more", "S"))):
        conversation.ask(words)
        conversation.messages[-1]["message"] = ident(9001 + 2 * number)
        conversation.answer(said("To Q"), run=run)
        conversation.messages[-1]["message"] = ident(9002 + 2 * number)
    first, conversation.messages = conversation.messages, conversation.messages[:-2]
    talk.say(type="hello", protocol=1, heartbeat=20, max_frame=65_536, features=[])
    talk.wait_for(lambda: talk.asked_for("run.start"))
    talk.accept("R")
    talk.tell(text("To Q"), DONE)
    talk.wait_for(lambda: late)
    talk.send("Once more")
    conversation.messages = first
    for route in late:
        route.abort()
    late.clear()
    talk.accept("S", message=9004, parent=9003)
    talk.wait_for(lambda: late)
    late[-1].fulfill(json=conversation.data())
    expect(talk.questions).to_have_text(["Hello", "From P", "From Q", "Once more"])


def test_a_conversation_that_was_deleted_elsewhere_is_left(talk: Talk, conversation: Conversation) -> None:
    page = talk.open(conversation)
    talk.say(type="error", code="not_found", conversation=conversation.id, message="No such conversation.")
    expect(page.get_by_role("alert").filter(has_text="not there any more")).to_be_visible()
    expect(talk.questions).to_have_count(0)
    expect(page).to_have_url(f"{talk.address}/chains/talk/")
