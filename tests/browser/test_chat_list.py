"""The list of conversations: open, find, rename, delete, export, wherever the list stands."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, Route, expect

from .chatting import DONE, Conversation, Talk, ident, said, text

pytestmark = pytest.mark.browser


@pytest.fixture
def page(talk: Talk) -> Page:
    for number, title in enumerate(["Order 1041", "Return of a lamp", "Bulbs"], 1):
        conversation = Conversation(number, title)
        conversation.ask(f"About {title}")
        conversation.answer(said(f"Well, {title}"))
        talk.conversations.append(conversation)
    talk.conversations[2].run = ident(5)
    talk.page.set_viewport_size({"width": 1280, "height": 800})
    return talk.open(talk.conversations[0])


def row(page: Page, title: str, act: str) -> None:
    line = page.locator(".openrouter-list__row").filter(has_text=title)
    line.hover()
    line.get_by_role("button", name=f"More for “{title}”").click()
    page.get_by_role("group", name=f"More for “{title}”").get_by_text(act, exact=True).click()


def test_one_is_marked_and_another_opens_in_place(talk: Talk, page: Page) -> None:
    expect(page.get_by_role("link", name="Order 1041")).to_have_attribute("aria-current", "page")
    page.evaluate("window.same = true")
    page.get_by_role("link", name="Return of a lamp").click()
    expect(talk.questions).to_have_text(["About Return of a lamp"])
    expect(page).to_have_url(f"{talk.address}/conversations/{ident(2)}/")
    expect(page.get_by_role("link", name="Return of a lamp")).to_have_attribute("aria-current", "page")
    expect(page.get_by_role("link", name="Bulbs (an answer is being written)")).to_be_visible()
    page.go_back()
    expect(talk.questions).to_have_text(["About Order 1041"])
    assert page.evaluate("window.same")
    follows = [frame["conversation"] for frame in talk.asked_for("run.follow")]
    assert follows == [ident(1), ident(2), ident(1)]
    assert len(talk.asked_for("run.unfollow")) == 2


def test_a_new_chat_is_empty(talk: Talk, page: Page) -> None:
    page.get_by_role("link", name="New chat").click()
    expect(talk.questions).to_have_count(0)
    expect(page).to_have_url(f"{talk.address}/chains/talk/")
    talk.send("Something new")
    expect(page.get_by_role("heading", level=2)).to_have_text("New chat")
    talk.accept()
    expect(page.get_by_role("heading", level=2)).to_have_text("Something new")


def test_words_find_a_title(page: Page) -> None:
    page.get_by_label("Search conversations").fill("lamp")
    items = page.locator("[data-target=conversations] > li")
    expect(items).to_have_count(1)
    expect(items).to_contain_text("Return of a lamp")
    page.get_by_label("Search conversations").fill("chair")
    expect(page.get_by_text("Nothing found.")).to_be_visible()


def test_a_title_is_changed_in_place(talk: Talk, page: Page) -> None:
    row(page, "Order 1041", "Rename")
    field = page.get_by_label("Title")
    expect(field).to_be_focused()
    field.fill("The lamp's order")
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="The lamp's order")).to_be_focused()
    expect(page.get_by_role("heading", level=2)).to_have_text("The lamp's order")
    assert talk.posted == [(f"/conversations/{ident(1)}/rename/", {"title": "The lamp's order"})]


def test_deleting_asks_first(talk: Talk, page: Page) -> None:
    row(page, "Order 1041", "Delete")
    expect(page.get_by_text("Delete this conversation with all its messages?")).to_be_visible()
    expect(page.get_by_role("button", name="Keep it")).to_be_focused()
    page.keyboard.press("Enter")
    assert talk.posted == []
    row(page, "Order 1041", "Delete")
    page.get_by_role("button", name="Delete it").click()
    expect(page.get_by_role("link", name="Order 1041")).to_have_count(0)
    expect(talk.questions).to_have_count(0)
    expect(page).to_have_url(f"{talk.address}/chains/talk/")
    assert talk.posted == [(f"/conversations/{ident(1)}/delete/", {})]


def test_exports_are_links(page: Page) -> None:
    page.get_by_role("button", name="More for “Bulbs”").focus()
    page.keyboard.press("Enter")
    markdown = page.get_by_role("link", name="Export as Markdown")
    expect(markdown).to_have_attribute("href", f"/conversations/{ident(3)}/export.md")
    expect(page.get_by_role("link", name="Export as JSON")).to_have_attribute(
        "href", f"/conversations/{ident(3)}/export.json"
    )
    page.keyboard.press("Tab")
    page.keyboard.press("Escape")
    expect(markdown).to_be_hidden()
    expect(page.get_by_role("button", name="More for “Bulbs”")).to_be_focused()


def test_the_list_folds_on_a_phone(talk: Talk, page: Page) -> None:
    page.set_viewport_size({"width": 360, "height": 700})
    listed = page.get_by_role("navigation", name="Conversations")
    toggle = page.get_by_role("button", name="Conversations", exact=True)
    expect(listed).to_be_hidden()
    toggle.click()
    expect(toggle).to_have_attribute("aria-expanded", "true")
    expect(listed).to_be_visible()
    page.keyboard.press("Escape")
    expect(listed).to_be_hidden()
    expect(toggle).to_be_focused()
    toggle.click()
    page.get_by_role("link", name="Return of a lamp").click()
    expect(listed).to_be_hidden()
    expect(talk.questions).to_have_text(["About Return of a lamp"])


@pytest.mark.parametrize(("choice", "asks"), [("Rename", "Save"), ("Delete", "Delete it")])
def test_the_list_of_a_phone_stays_while_something_is_done_in_it(page: Page, choice: str, asks: str) -> None:
    page.set_viewport_size({"width": 360, "height": 700})
    page.get_by_role("button", name="Conversations", exact=True).click()
    row(page, "Order 1041", choice)
    expect(page.get_by_role("button", name=asks, exact=True)).to_be_visible()
    expect(page.get_by_role("navigation", name="Conversations")).to_be_visible()


def test_an_answer_goes_on_while_another_conversation_is_open(talk: Talk, page: Page) -> None:
    talk.send("Go on")
    talk.accept()
    talk.tell(text("Half"))
    page.get_by_role("link", name="Return of a lamp").click()
    expect(talk.questions).to_have_text(["About Return of a lamp"])
    expect(page.get_by_role("button", name="Stop")).to_be_hidden()
    talk.tell(text(" and whole."), DONE)
    expect(talk.answers).to_contain_text("Well, Return of a lamp")
    assert "whole" not in talk.answers.inner_text()
    assert talk.asked_for("run.stop") == []


def test_news_do_not_get_in_the_way_of_what_was_clicked(talk: Talk, page: Page) -> None:
    late: list[Route] = []
    page.route(f"**/conversations/{ident(2)}/data/", lambda route: late.append(route))
    page.get_by_role("link", name="Return of a lamp").click()
    talk.wait_for(lambda: late)
    talk.conversations[0].ask("From the phone")
    head = talk.conversations[0].answer(said("To the phone"))
    talk.say(type="conversation", conversation=ident(1), head=head, run=None)
    expect(talk.questions).to_have_text(["About Order 1041", "From the phone"])
    late.pop().fulfill(json=talk.conversations[1].data())
    expect(talk.questions).to_have_text(["About Return of a lamp"])


def test_an_error_of_the_site_is_said(talk: Talk, page: Page) -> None:
    talk.conversations.pop(1)
    page.get_by_role("link", name="Return of a lamp").click()
    expect(page.get_by_role("alert").filter(has_text="There is no such conversation.")).to_be_visible()
    expect(talk.questions).to_have_text(["About Order 1041"])
    talk.expected.append("404")
