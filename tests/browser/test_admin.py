"""The admin in a browser: a prompt and its module, a mistake in a schema with its place, and the inbox."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Browser, Locator, Page, expect

from openrouter_app.models import PromptTemplate, ToolCall, ToolSpec
from openrouter_app.models.tool_calls import arguments_hash

from ..factories import make_chain, make_prompt, make_run, make_user
from .conftest import blank_page

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

ADMIN = "/admin/openrouter_app"
SHOTS = Path(__file__).parents[2] / "screenshots"


@pytest.fixture
def page(browser: Browser, live_server: Any, admin_client: Client) -> Iterator[Page]:
    """A page of somebody who is signed in; a script error or a violation of the policy fails the test."""
    session = admin_client.cookies[settings.SESSION_COOKIE_NAME].value
    with blank_page(browser, f"{live_server}/") as page:
        page.context.add_cookies(
            [{"name": settings.SESSION_COOKIE_NAME, "value": session, "url": str(live_server)}]
        )
        yield page


@pytest.fixture
def site(live_server: Any) -> str:
    return f"{live_server}{ADMIN}"


def texts(page: Page) -> Locator:
    return page.locator(".inline-related:not(.empty-form) textarea[name$='-text']")


def written(page: Page) -> list[str]:
    return [text.input_value() for text in texts(page).all()]


def row(page: Page, index: int) -> Locator:
    return page.locator(".inline-related:not(.empty-form)").nth(index)


def add_row(page: Page) -> None:
    page.get_by_role("button", name="Add another message").click()


def save(page: Page) -> None:
    page.locator("[name=_save]").click()
    expect(page.locator(".messagelist .success")).to_be_visible()


def test_variables_are_listed_while_one_types(page: Page, site: str) -> None:
    page.goto(f"{site}/prompttemplate/add/")
    variables = page.locator(".openrouter-variables li")
    expect(variables).to_have_text(["None yet: write {name} in a message."])
    texts(page).nth(0).press_sequentially("To {language")
    expect(variables).to_have_text(["None yet: write {name} in a message."])
    texts(page).nth(0).press_sequentially("}, not {{this}}.")
    expect(variables).to_have_text(["{language}"])
    texts(page).nth(1).press_sequentially("{text} {language} {<b>}")
    expect(variables).to_have_text(["{language}", "{text}", "{<b>}"])
    row(page, 0).locator("select").select_option("messages_placeholder")
    expect(variables).to_have_text(["{text}", "{language}", "{<b>}"])
    texts(page).nth(1).fill("")
    expect(variables).to_have_text(["None yet: write {name} in a message."])


def test_a_stray_brace_is_pointed_at_while_one_types_where_the_server_would(page: Page, site: str) -> None:
    page.goto(f"{site}/prompttemplate/add/")
    page.locator("[name=slug]").fill("stray")
    hint = row(page, 1).locator(".openrouter-stray")
    text = texts(page).nth(1)
    text.press_sequentially("Hello {name},\n\U0001f43b a }")
    expect(hint).to_have_text("Stray brace at line 2, column 5: write }} for one in the text.")
    text.press_sequentially("}")
    expect(hint).to_have_text("")
    text.press_sequentially(" or {")
    expect(hint).to_have_text("Stray brace at line 2, column 11: write {{ for one in the text.")
    expect(row(page, 0).locator(".openrouter-stray")).to_have_text("")

    page.locator("[name=_save]").click()
    expect(row(page, 1).locator(".errorlist")).to_contain_text(
        "The '{' at line 2, column 11 is never closed."
    )
    expect(hint).to_have_text("")  # it is said already
    text.press("Control+End")
    text.press_sequentially("{ and {")
    expect(hint).to_have_text("Stray brace at line 2, column 18: write {{ for one in the text.")
    text.press_sequentially("other}")
    expect(hint).to_have_text("")
    save(page)
    assert PromptTemplate.objects.get().variables == ("name", "other")


def test_rows_are_added_moved_and_deleted_and_saved_as_they_stand(page: Page, site: str) -> None:
    prompt = make_prompt("greet", ("system", "one"), ("human", "two"), ("ai", "three"))
    page.goto(f"{site}/prompttemplate/{prompt.pk}/change/")
    expect(page.get_by_role("button", name="Move up").first).to_be_disabled()
    expect(page.get_by_role("button", name="Move down").last).to_be_disabled()

    add_row(page)
    texts(page).nth(3).fill("four {new}")
    expect(page.locator(".openrouter-variables li")).to_have_text(["{new}"])
    for index in (3, 2):
        row(page, index).get_by_role("button", name="Move up").click()
    assert written(page) == ["one", "four {new}", "two", "three"]
    row(page, 0).get_by_role("button", name="Move down").click()
    assert written(page) == ["four {new}", "one", "two", "three"]
    row(page, 2).get_by_label("Delete").check()
    row(page, 2).get_by_role("button", name="Move down").click()
    assert written(page) == ["four {new}", "one", "three", "two"]
    expect(row(page, 3).get_by_label("Delete")).to_be_checked()
    add_row(page)
    texts(page).nth(4).fill("five")
    add_row(page)
    row(page, 5).get_by_role("button", name="Remove").click()
    expect(texts(page)).to_have_count(5)

    save(page)
    assert prompt.rows_by_value() == [
        ["human", "four {new}"],
        ["system", "one"],
        ["ai", "three"],
        ["human", "five"],
    ]
    page.goto(f"{site}/prompttemplate/{prompt.pk}/change/")
    assert written(page) == ["four {new}", "one", "three", "five"]


def test_the_mark_for_deletion_moves_with_its_message(page: Page, site: str) -> None:
    prompt = make_prompt("greet", ("system", "one"), ("human", "two"))
    page.goto(f"{site}/prompttemplate/{prompt.pk}/change/")
    row(page, 0).get_by_label("Delete").check()
    for number in (2, 3):
        add_row(page)
        texts(page).nth(number).fill(f"new {number}")
    for index in range(3):
        row(page, index).get_by_role("button", name="Move down").click()
        expect(row(page, index + 1).get_by_label("Delete")).to_be_checked()
    assert written(page) == ["two", "new 2", "new 3", "one"]
    row(page, 3).get_by_role("button", name="Move up").click()
    expect(row(page, 3).get_by_label("Delete")).not_to_be_checked()
    save(page)
    assert prompt.rows_by_value() == [["human", "two"], ["human", "new 2"], ["human", "new 3"]]


def test_a_move_keeps_the_focus_for_the_next(page: Page, site: str) -> None:
    prompt = make_prompt("greet", ("system", "one"), ("human", "two"), ("ai", "three"))
    page.goto(f"{site}/prompttemplate/{prompt.pk}/change/")
    row(page, 2).get_by_role("button", name="Move up").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    assert written(page) == ["three", "one", "two"]
    expect(row(page, 0).get_by_role("button", name="Move down")).to_be_focused()


def test_a_mistake_in_a_schema_is_named_by_the_line_it_was_typed_in(page: Page, site: str) -> None:
    page.goto(f"{site}/toolspec/add/")
    page.locator("[name=name]").fill("joke")
    schema = page.locator("[name=schema]")
    schema.fill('\n{\n  "type": "object",\n  "properties": {\n    "a": {"type": "objct"}\n  }\n}')
    for _ in range(2):  # what was typed stays as it was typed
        page.locator("[name=_save]").click()
        expect(page.locator(".errorlist")).to_contain_text("Line 5, column 19 ($.properties.a.type): must be")
    schema.fill(schema.input_value().replace("objct", "object"))
    save(page)
    assert ToolSpec.objects.get().schema["properties"] == {"a": {"type": "object"}}


ATTACK = "<script>window.ran = 1</script><img src=x onerror='window.ran = 1'>"


def waiting_call() -> ToolCall:
    """A call that waits for staff, of a chain, a tool and arguments that would like to be markup."""
    chain = make_chain("evil", title=f"Evil {ATTACK}", publish=True)
    run = make_run("waiting", chain=chain, user=make_user("<b>eve"), deadline=None, fence=1)
    arguments = json.dumps({"number": 1004, "note": ATTACK})
    return ToolCall.objects.create(
        run=run,
        call="c1",
        name="change_delivery_date",
        arguments=arguments,
        hash=arguments_hash("change_delivery_date", arguments),
        status="waiting",
        approval="staff",
        approval_expires=timezone.now() + timedelta(days=3),
    )


def test_A32_call_is_found_in_the_inbox_read_and_denied_with_a_reason(page: Page, site: str) -> None:
    call = waiting_call()
    page.goto(f"{site}/toolcall/?waiting=me")
    expect(page.locator("#result_list tbody tr")).to_have_count(1)
    page.get_by_role("link", name="change_delivery_date").click()
    expect(page.locator(".openrouter-pre")).to_contain_text(ATTACK)
    reason = page.get_by_label("Reason, which the model is told of a refusal")
    reason.fill("Not before <b>Christmas")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Deny")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".messagelist .success")).to_contain_text("was denied")
    expect(page.locator(".openrouter-decision")).to_have_count(0)
    expect(page.locator(".field-reason .readonly")).to_have_text("Not before <b>Christmas")
    call.refresh_from_db()
    assert (call.status, call.reason) == ("denied", "Not before <b>Christmas")
    page.goto(f"{site}/toolcall/?waiting=me")
    expect(page.locator("#result_list")).to_have_count(0)
    assert page.evaluate("window.ran") is None


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_screenshots_of_tool_calls(page: Page, site: str, scheme: Any, width: int) -> None:
    call = waiting_call()
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=scheme)
    SHOTS.mkdir(exist_ok=True)
    for name, address in [("toolcalls", "toolcall/?waiting=me"), ("toolcall", f"toolcall/{call.pk}/change/")]:
        page.goto(f"{site}/{address}")
        expect(page.get_by_text("Waiting for approval").last).to_be_attached()
        page.screenshot(path=SHOTS / f"admin-{name}-{width}-{scheme}.png", full_page=True)
    expect(page.get_by_role("button", name="Deny")).to_be_visible()
    is_wider = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    assert not page.evaluate(is_wider)
