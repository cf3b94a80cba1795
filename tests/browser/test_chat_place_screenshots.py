"""Pictures of the chat where it is not at home: other languages, a browser without scripts, a host's page."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from django.template.loader import render_to_string
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect

from openrouter_app.pages.fields import Field
from project.csp import POLICY

from .chatting import DONE, HEADERS, MESSAGE, USAGE, Conversation, Talk, ident, said, talking, text
from .pictured import ADDRESS, ask, begun, change, rendered, short, waiting, with_list
from .visitors import shoot

pytestmark = pytest.mark.browser


@pytest.fixture
def talk(browser: Browser, static_server: str) -> Iterator[Talk]:
    with talking(browser, static_server) as talk:
        yield with_list(talk)


# Languages


def test_screenshots_of_an_approval_in_german(talk: Talk) -> None:
    talk.language = "de"
    talk.conversations = [Conversation(40, "Rückgabe einer Lampe"), Conversation(41, "Birnen für E14")]
    conversation = Conversation(title="Bestellung 1041")
    conversation.ask("Wo ist meine Bestellung 1041?", siblings=2)
    conversation.answer(
        {"type": "reasoning", "text": "Die Nummer ist genannt.", "ms": 3200},
        rendered("Sie hat unser Haus am Montag verlassen."),
        left_out=12,
    )
    page = talk.open(conversation)
    talk.page.get_by_role("textbox", name="Nachricht", exact=True).fill("Bitte an den Lindenweg 4 senden.")
    page.keyboard.press("Enter")
    talk.wait_for(lambda: talk.asked_for("run.start"))
    arguments = {**ADDRESS, "note": "Bitte zweimal klingeln"}
    talk.accept(status="waiting", parts=[{**waiting(), "arguments": arguments}])
    expect(page.get_by_role("button", name="Genehmigen")).to_be_visible()
    expect(page.get_by_text("05.01.2027")).to_be_visible()
    assert page.evaluate("document.documentElement.lang") == "de"
    shoot(page, "chat-german")


def test_screenshots_of_an_error_in_german(talk: Talk) -> None:
    talk.language = "de"
    talk.conversations = [Conversation(40, "Rückgabe einer Lampe")]
    conversation = Conversation(title="Bestellung 1041")
    failed = {"code": "provider", "message": "Der Anbieter ist nicht erreichbar.", "retryable": True}
    conversation.ask("Und die Rechnung?")
    conversation.answer(status="failed", error=failed, usage=None)
    page = talk.open(conversation)
    expect(page.get_by_role("button", name="Noch einmal versuchen")).to_be_visible()
    shoot(page, "chat-german-error")


def test_screenshots_of_a_page_from_right_to_left(talk: Talk) -> None:
    talk.language = "ar"
    conversation = Conversation(title="الطلب 1041")
    conversation.ask("أين طلبي رقم 1041، وماذا يحتوي؟", siblings=3)
    words = (
        "غادر طلبك **1041** يوم الاثنين.\n\n| الصنف | العدد |\n|---|---|\n| مصباح نحاسي | 1 |\n\n* مصباح\n"
    )
    code = "\n```python\norder = Order.objects.get(number=1041)\n```\n"
    arguments = {**ADDRESS, "street": "شارع الزيتون 4"}
    conversation.answer(
        {"type": "reasoning", "text": "הבקשה ברורה", "ms": 3200},
        change("denied", arguments=arguments, reason="ليس قبل العيد"),
        rendered(words + code),
        left_out=12,
    )
    page = talk.open(conversation)
    assert page.evaluate("document.documentElement.dir") == "rtl"
    bubble = page.locator(".openrouter-question__bubble").bounding_box()
    thread = page.locator(".openrouter-thread").first.bounding_box()
    assert bubble is not None
    assert thread is not None
    assert bubble["x"] == pytest.approx(thread["x"], abs=1)  # where it would end from left to right
    shoot(page, "chat-rtl")


def test_screenshots_of_hebrew_in_an_english_page(talk: Talk) -> None:
    conversation = Conversation(title="הזמנה 1041")
    conversation.ask("איפה ההזמנה שלי 1041?")
    conversation.answer(rendered("ההזמנה **1041** יצאה ביום שני.\n\n* מנורה\n* ארבע נורות\n"))
    talk.open(conversation)
    page = ask(talk, "מתי היא מגיעה?")
    talk.tell(text("מחר בבוקר, עם ", 1))
    expect(talk.answers.last).to_contain_text("מחר")
    shoot(page, "chat-hebrew")


# Without a script


@pytest.fixture
def quiet(talk: Talk) -> Iterator[Callable[[str], Page]]:
    """Opens a page of the same site in a browser without scripts."""
    browser = talk.page.context.browser
    assert browser is not None
    context: BrowserContext = browser.new_context(
        java_script_enabled=False, viewport={"width": 1280, "height": 800}
    )

    def opened(path: str) -> Page:
        page = context.new_page()
        site = Talk(page, talk.address, [])
        site.conversations, site.fields, site.models = talk.conversations, talk.fields, talk.models
        page.goto(talk.address + path)
        return page

    yield opened
    context.close()


def test_screenshots_of_a_new_chat_without_a_script(talk: Talk, quiet: Callable[[str], Page]) -> None:
    talk.fields = [Field("language", "English", True), Field("order_number", "", False), MESSAGE]
    talk.models = ["openai/gpt-4o-mini", "mistralai/mistral-small"]
    page = quiet("/chains/talk/")
    expect(page.get_by_label("Order number")).to_be_visible()
    expect(page.get_by_role("link", name="All conversations")).to_be_visible()
    shoot(page, "chat-plain-empty", full_page=True)


def test_screenshots_of_a_history_without_a_script(talk: Talk, quiet: Callable[[str], Page]) -> None:
    conversation = begun()
    conversation.ask("Can you send it to my sister?", siblings=2)
    conversation.messages[-1]["input"] |= {"language": "English", "order_number": "1041"}
    answer = rendered("Of course: to which address?")
    conversation.answer(change("denied", reason="Not before Christmas"), answer, siblings=3, left_out=12)
    talk.conversations.append(conversation)
    page = quiet(f"/conversations/{conversation.id}/#message-{conversation.head}")
    expect(page.get_by_text("12 earlier messages were not given to the model.")).to_have_count(1)
    expect(page.get_by_text("Reason: Not before Christmas")).to_have_count(1)
    expect(page.get_by_role("definition").filter(has_text="English")).to_have_count(1)
    shoot(page, "chat-plain-history", full_page=True)


def test_screenshots_of_an_approval_without_a_script(talk: Talk, quiet: Callable[[str], Page]) -> None:
    conversation = short()
    conversation.ask("Send the shade to Lindenweg 4 in Marburg, please.")
    conversation.answer(waiting(), status="waiting", usage=None, run=ident(6))
    talk.conversations.append(conversation)
    page = quiet(f"/conversations/{conversation.id}/")
    expect(page.get_by_role("button", name="Deny")).to_be_visible()
    expect(page.get_by_text("Without a decision it is denied: Jan. 5, 2027")).to_be_visible()
    shoot(page, "chat-plain-approval", full_page=True)


def test_screenshots_of_a_failed_answer_without_a_script(talk: Talk, quiet: Callable[[str], Page]) -> None:
    conversation = short()
    conversation.ask("And the bill?")
    failed = {"code": "provider", "message": "The model's provider is not available.", "retryable": True}
    conversation.answer(said("It is"), status="failed", error=failed, usage=None)
    talk.conversations.append(conversation)
    page = quiet(f"/conversations/{conversation.id}/")
    expect(page.get_by_text("Trying again may help.")).to_be_visible()
    shoot(page, "chat-plain-failed", full_page=True)


# In a page of another project's

HOST = """
:root { color-scheme: light dark; }
body { margin: 0; font-family: Georgia, serif; }
body { background: light-dark(#fffdf5, #1a1420); color: light-dark(#222, #eee); }
header { padding: 1rem 2rem; background: light-dark(#4b1d58, #2b1033); color: #fff; }
.columns { display: grid; gap: 1.5rem; max-width: 70rem; margin: auto; padding: 1rem; }
@media (min-width: 60rem) { .columns { grid-template-columns: 1fr 26rem; } }
openrouter-chat {
  --openrouter-accent: light-dark(#7a2e8e, #d7a2e6);
  --openrouter-accent-strong: light-dark(#5c1f6c, #e6c4f0);
  --openrouter-accent-soft: light-dark(#f3e6f7, #3a2142);
  --openrouter-on-accent: light-dark(#fff, #2b1033);
  --openrouter-sans: Georgia, serif;
  --openrouter-chat-height: 32rem;
}
"""


def hosted(talk: Talk, chat: str) -> Page:
    """A help page of a bookshop's, with its own colours and type, and this in a column of it."""
    page = talk.page
    script = '<script type="module" src="/static/openrouter_app/js/openrouter-chat.js"></script>'
    html = (
        "<!doctype html><html lang=en><head><meta charset=utf-8><title>Help</title>"
        '<meta name="viewport" content="width=device-width"><link rel="stylesheet" href="/host.css">'
        f"{script}</head><body><header><b>Bookshop</b></header><main class=columns>"
        "<div><h1>How can we help?</h1><p>Most answers are here. For the others, ask.</p></div>"
        f"<div>{chat}</div></main>"
    )

    def style(route: Route) -> None:
        route.fulfill(body=HOST, headers={"Content-Type": "text/css", "Content-Security-Policy": POLICY})

    page.route("**/host.css", style)
    page.route("**/host/", lambda route: route.fulfill(body=html, headers=HEADERS))
    page.goto(f"{talk.address}/host/")
    return page


def test_screenshots_of_the_tag_in_a_page_of_another_project(talk: Talk) -> None:
    """What `{% openrouter_chat "talk" %}` renders, in a column, in the host's colours."""
    chat = render_to_string("openrouter_app/_chat_element.html", {**talk.context(None), "first": True})
    page = hosted(talk, chat)
    talk.connected()
    button = page.get_by_role("button", name="Send")
    assert button.evaluate("(it) => getComputedStyle(it).backgroundColor") == "rgb(122, 46, 142)"
    bar = page.locator(".openrouter-chat__bar")
    assert (
        bar.evaluate("(it) => getComputedStyle(it).backgroundColor") == "rgba(0, 0, 0, 0)"
    )  # not the header's
    shoot(page, "chat-embedded-empty")
    ask(talk, "Where is my order 1041?")
    talk.tell(text("It has left our house on Monday, and is at your door tomorrow.", 1), USAGE, DONE)
    expect(talk.status).to_have_text("Answer complete.")
    shoot(page, "chat-embedded-answer")
    talk.send("Send the shade to Lindenweg 4 in Marburg, please.")
    talk.accept("S", message=9004, parent=9003, status="waiting", parts=[waiting()])
    expect(page.get_by_role("button", name="Approve")).to_be_visible()
    shoot(page, "chat-embedded-approval")


def test_screenshots_of_an_element_that_cannot_be_loaded(talk: Talk) -> None:
    talk.expected.append("Failed to load resource")
    talk.page.route(
        "**/chains/talk/chat/**", lambda route: route.fulfill(status=404, body="", headers=HEADERS)
    )
    page = hosted(talk, '<openrouter-chat chain="talk"></openrouter-chat>')
    expect(page.get_by_role("alert")).to_contain_text("The chat cannot be loaded.")
    shoot(page, "chat-embedded-unloaded")
