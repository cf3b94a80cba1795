"""The element in a page that is not ours: fetched or written, alone or with others, out and in again."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from project.csp import POLICY

from .accessible import problems
from .chatting import DONE, HEADERS, Conversation, Talk, ident, said, text

pytestmark = pytest.mark.browser

SCRIPT = '<script type="module" src="/static/openrouter_app/js/openrouter-chat.js"></script>'


def host(talk: Talk, body: str, style: str = "") -> Page:
    """A page of another project's, under our policy, which has this body."""
    page = talk.page
    sheet = '<link rel="stylesheet" href="/host.css">'
    html = f"<!doctype html><html lang=en><head><title>Host</title>{sheet}{SCRIPT}</head><body><main>{body}"

    def css(route: Route) -> None:
        route.fulfill(body=style, headers={"Content-Type": "text/css", "Content-Security-Policy": POLICY})

    page.route("**/host.css", css)
    page.route("**/host/", lambda route: route.fulfill(body=html, headers=HEADERS))
    page.goto(f"{talk.address}/host/")
    return page


def test_the_element_alone_fetches_all_it_needs(talk: Talk) -> None:
    page = host(talk, '<h1>Help</h1><openrouter-chat chain="talk"></openrouter-chat>')
    talk.connected()
    talk.send("Hi")
    talk.accept()
    talk.tell(text("Ho"), DONE)
    expect(talk.answers).to_contain_text("Ho")
    expect(page).to_have_url(f"{talk.address}/host/")
    expect(page).to_have_title("Host")
    box = page.locator("openrouter-chat").bounding_box()
    assert box is not None
    assert 300 < box["height"] < 720
    assert problems(page) == []


@pytest.mark.parametrize("status", [404, 0])
def test_an_element_that_cannot_be_loaded_says_so_and_tries_again(talk: Talk, status: int) -> None:
    talk.expected.append("Failed to load resource")

    asked: list[Route] = []

    def refuse(route: Route) -> None:
        asked.append(route)
        if status:
            route.fulfill(status=status, body="<h1>Not found</h1>", headers=HEADERS)
        else:
            route.abort()

    talk.page.route("**/chains/talk/chat/**", refuse)
    page = host(talk, '<h1>Help</h1><openrouter-chat chain="talk" retry="Once more"></openrouter-chat>')
    problem = page.get_by_role("alert")
    expect(problem).to_contain_text("The chat cannot be loaded.")
    assert problems(page) == []
    page.get_by_role("button", name="Once more").click()
    talk.wait_for(lambda: len(asked) == 2)
    expect(page.get_by_role("button", name="Once more")).to_be_focused()
    expect(problem).to_contain_text("The chat cannot be loaded.")
    page.unroute("**/chains/talk/chat/**", refuse)
    page.get_by_role("button", name="Once more").click()
    talk.connected()
    expect(problem.filter(has_text="cannot be loaded")).to_have_count(0)


def test_the_newest_conversation_of_a_tab_is_found_again(talk: Talk) -> None:
    page = host(talk, '<openrouter-chat chain="talk" no-list></openrouter-chat>')
    talk.connected()
    talk.send("Hi")
    talk.accept()
    talk.tell(text("Ho"), DONE)
    expect(talk.status).to_have_text("Answer complete.")
    expect(page.get_by_role("navigation", name="Conversations")).to_have_count(0)
    expect(page.get_by_role("button", name="Conversations")).to_have_count(0)
    conversation = Conversation(77)
    conversation.id = ident(77)
    conversation.ask("Hi")
    conversation.answer(said("Ho again"))
    talk.conversations.append(conversation)
    page.reload()
    expect(talk.answers).to_contain_text("Ho again")


def test_an_attribute_names_the_conversation(talk: Talk) -> None:
    conversation = Conversation()
    conversation.ask("Hello")
    conversation.answer(said("Hi"))
    talk.conversations.append(conversation)
    host(talk, f'<openrouter-chat chain="talk" conversation="{conversation.id}"></openrouter-chat>')
    expect(talk.answers).to_contain_text("Hi")


def test_several_chats_stand_on_a_page(talk: Talk) -> None:
    chat = '<openrouter-chat chain="talk"></openrouter-chat>'
    page = host(talk, f'<div id="one">{chat}</div><div id="two">{chat}</div>')
    talk.wait_for(lambda: len(talk.sockets) == 2)
    expect(page.locator("[data-target=connection][data-status=ready]")).to_have_count(2)
    field = page.locator("#two").get_by_role("textbox", name="Message")
    field.fill("To the second")
    field.press("Enter")
    talk.wait_for(lambda: talk.asked_for("run.start"))
    expect(page.locator("#one .openrouter-question")).to_have_count(0)
    expect(page.locator("#two .openrouter-question")).to_contain_text("To the second")
    page.locator("#one").get_by_role("textbox", name="Message").focus()
    page.keyboard.press("Escape")
    expect(page.locator("#two [data-target=status]")).to_have_text("Sending…")
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((node) => node.id)")
    assert len(ids) == len(set(ids))


def test_a_chat_that_is_taken_out_lets_its_socket_go(talk: Talk) -> None:
    page = host(talk, '<openrouter-chat chain="talk"></openrouter-chat>')
    talk.connected()
    closed: list[Any] = []
    talk.sockets[-1].on_close(lambda code, reason: closed.append(code))
    page.evaluate("window.chat = document.querySelector('openrouter-chat'); chat.remove()")
    talk.wait_for(lambda: closed)
    page.evaluate("document.querySelector('main').append(chat)")
    talk.connected()
    assert len(talk.sockets) == 2
    talk.send("Still here")
    expect(talk.questions).to_have_count(1)


def test_a_chat_that_a_script_makes(talk: Talk) -> None:
    page = host(talk, "")
    page.evaluate("""() => {
        const chat = document.createElement("openrouter-chat");
        chat.setAttribute("chain", "talk");
        document.querySelector("main").append(chat);
    }""")
    talk.connected()
    expect(page.get_by_text("Ask the shop").first).to_be_visible()


def test_custom_properties_give_it_another_look(talk: Talk) -> None:
    style = """
        :root { color-scheme: light; }
        openrouter-chat {
          --openrouter-accent: rgb(120 40 160);
          --openrouter-chat-height: 30rem;
          --openrouter-chat-question: rgb(240 230 250);
        }"""
    talk.page.emulate_media(color_scheme="dark")
    page = host(talk, '<openrouter-chat chain="talk"></openrouter-chat>', style)
    talk.connected()
    talk.send("Hi")
    shown = """(selector) => {
        const looks = getComputedStyle(document.querySelector(selector));
        return [looks.backgroundColor, looks.color];
    }"""
    assert page.evaluate(shown, ".openrouter-question__bubble")[0] == "rgb(240, 230, 250)"
    assert page.evaluate(shown, "[data-target=send]")[0] == "rgb(120, 40, 160)"
    assert page.evaluate(shown, "openrouter-chat") == [
        "rgb(250, 249, 246)",
        "rgb(33, 32, 28)",
    ]  # light, as the host
    box = page.locator("openrouter-chat").bounding_box()
    assert box is not None
    assert box["height"] == 480


def test_a_narrow_column_gets_the_narrow_chat(talk: Talk) -> None:
    talk.page.set_viewport_size({"width": 1280, "height": 800})
    page = host(
        talk,
        '<div class="column"><openrouter-chat chain="talk"></openrouter-chat></div>',
        ".column { width: 22rem }",
    )
    talk.connected()
    expect(page.get_by_role("navigation", name="Conversations")).to_be_hidden()
    expect(page.get_by_role("button", name="Conversations")).to_be_visible()


def test_without_a_script_the_history_is_read_and_the_form_posts(talk: Talk) -> None:
    conversation = Conversation()
    conversation.ask("<b>Hello</b>")
    waiting = {
        "type": "call",
        "call": "c",
        "name": "change",
        "status": "waiting",
        "arguments": {"a": "<i>1</i>"},
    }
    parts = [said("Hi **you**", "<p>Hi <strong>you</strong></p>"), said("plain <u>text</u>"), waiting]
    conversation.answer(*parts, run=ident(6), status="waiting")
    context = talk.page.context.browser.new_context(java_script_enabled=False)  # type: ignore[union-attr]
    try:
        page = context.new_page()
        quiet = Talk(page, talk.address, [])
        quiet.conversations.append(conversation)
        page.goto(f"{talk.address}/conversations/{conversation.id}/")
        expect(page.locator(".openrouter-question__text")).to_have_text("<b>Hello</b>")
        expect(page.locator(".openrouter-answer strong")).to_have_text("you")
        expect(page.locator(".openrouter-answer")).to_contain_text("plain <u>text</u>")
        expect(page.get_by_role("button", name="Approve")).to_be_visible()
        expect(page.get_by_role("button", name="Stop")).to_be_hidden()
        form = page.locator("form[data-target=form]")
        expect(form).to_have_attribute("action", "/chains/talk/send/")
        expect(form.locator("[name=conversation]")).to_have_value(conversation.id)
        expect(form.locator("[name='input.message']")).to_be_editable()
        expect(page.get_by_role("button", name="Send")).to_be_enabled()
        expect(page.get_by_role("link", name="All conversations")).to_be_visible()
    finally:
        context.close()
