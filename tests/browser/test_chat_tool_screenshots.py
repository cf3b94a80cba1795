"""Pictures of tools in a conversation: what waits for whom, and how it ended."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, expect

from .chatting import DONE, USAGE, Talk, talking, text
from .pictured import ask, begun, change, short, waiting, with_list
from .visitors import shoot

pytestmark = pytest.mark.browser

ASKED = "Send the shade to Lindenweg 4 in Marburg, please."


@pytest.fixture
def talk(browser: Browser, static_server: str) -> Iterator[Talk]:
    with talking(browser, static_server) as talk:
        yield with_list(talk)


def card(talk: Talk) -> Locator:
    return talk.page.get_by_role("group", name="Tool call: change_address")


def test_screenshots_of_a_tool_whose_arguments_are_written(talk: Talk) -> None:
    talk.open(short())
    page = ask(talk, ASKED)
    operations = [
        {"op": "add", "path": f"/{name}", "value": value}
        for name, value in [("order", 1041), ("street", "Lin")]
    ]
    talk.tell(
        {"type": "tool.started", "part": 1, "call": "c", "name": "change_address"},
        {"type": "tool.arguments", "call": "c", "ops": operations},
    )
    expect(card(talk)).to_contain_text("Writing")
    expect(card(talk).locator(".is-growing")).to_have_text("Lin")
    shoot(page, "chat-tool-writing")


def test_screenshots_of_a_tool_that_runs(talk: Talk) -> None:
    talk.open(short())
    page = ask(talk, ASKED, change("running"))
    expect(card(talk)).to_contain_text("Running")
    shoot(page, "chat-tool-running")


def test_screenshots_of_a_tool_that_waits_for_approval(talk: Talk) -> None:
    talk.open(begun())
    page = ask(talk, ASKED, waiting(), status="waiting")
    expect(page.get_by_role("button", name="Approve")).to_be_visible()
    expect(page.get_by_text("Without a decision it is denied: Jan 5, 2027")).to_be_visible()
    shoot(page, "chat-approval")


def test_screenshots_of_a_decision_that_came_too_late(talk: Talk) -> None:
    talk.open(short())
    page = ask(talk, ASKED, {**waiting(), "expires": "2026-01-05T18:30:00+00:00"}, status="waiting")
    page.get_by_label("Reason").fill("Not before Christmas")
    page.get_by_role("button", name="Deny").click()
    talk.wait_for(lambda: talk.asked_for("tool.decide"))
    late = "The time to decide about this call is over."
    talk.say(type="error", code="expired", run="R", call="c", message=late)
    expect(card(talk).get_by_role("alert")).to_have_text(late)
    shoot(page, "chat-approval-late")


def test_screenshots_of_a_tool_that_waits_for_staff(talk: Talk) -> None:
    talk.open(short())
    page = ask(talk, ASKED, waiting("staff"), status="waiting")
    expect(page.get_by_text("Staff of this site has to allow this call.")).to_be_visible()
    expect(page.get_by_role("button", name="Approve")).to_be_hidden()
    shoot(page, "chat-approval-staff")


DENIED = {"type": "tool.decided", "call": "c", "approve": False}
ENDS: list[Any] = [
    pytest.param(
        "denied", "Denied", "Not before Christmas", DENIED | {"reason": "Not before Christmas"}, id="denied"
    ),
    pytest.param(
        "expired",
        "Denied",
        "Nobody decided in time.",
        DENIED | {"reason": "Nobody decided in time."},
        id="expired",
    ),
    pytest.param(
        "failed",
        "Failed",
        "It has been sent already.",
        {"type": "tool.result", "call": "c", "error": "It has been sent already."},
        id="failed",
    ),
    pytest.param(
        "invalid",
        "Not usable",
        "“order” has to be a number.",
        {
            "type": "tool.invalid",
            "call": "c",
            "raw": '{"order": "the newest", "street": "Lindenweg 4"}',
            "message": "“order” has to be a number.",
        },
        id="invalid",
    ),
    pytest.param(
        "done",
        "Done",
        "Lindenweg 4, 35037 Marburg",
        {
            "type": "tool.result",
            "call": "c",
            "output": {"order": 1041, "sent_to": "Lindenweg 4, 35037 Marburg"},
        },
        id="done",
    ),
]


@pytest.mark.parametrize(("name", "word", "why", "event"), ENDS)
def test_screenshots_of_how_a_tool_ended(
    talk: Talk, name: str, word: str, why: str, event: dict[str, Any]
) -> None:
    talk.open(short())
    page = ask(talk, ASKED, change("running"))
    talk.tell(
        event, text("It goes to you as before." if name != "done" else "It goes to Marburg.", 2), USAGE, DONE
    )
    expect(card(talk)).to_contain_text(word)
    expect(card(talk)).to_contain_text(why)
    expect(talk.status).to_have_text("Answer complete.")
    shoot(page, f"chat-tool-{name}")


def test_screenshots_of_a_tool_that_was_stopped(talk: Talk) -> None:
    talk.open(short())
    page = ask(talk, ASKED, waiting(), status="waiting")
    talk.tell({"type": "stopped", "by": "user"})
    expect(card(talk)).to_contain_text("Cancelled")
    expect(page.get_by_role("button", name="Approve")).to_be_hidden()
    shoot(page, "chat-tool-cancelled")
