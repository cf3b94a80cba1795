"""Tools in a chat: cards that grow, calls that wait for a person, and nothing of it ever becomes markup.

Numbers with an A are those of the attacks in docs/security.md.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from .chatting import DONE, Conversation, Talk, ident, said, text

pytestmark = pytest.mark.browser

STARTED = {"type": "tool.started", "part": 0, "call": "a", "name": "change_address"}
READY = {"type": "tool.ready", "call": "a", "arguments": {"street": "Lindenweg 4"}}
APPROVAL = {"type": "tool.approval", "call": "a", "expires": "2030-01-05T18:30:00+00:00", "approval": "owner"}


def begin(talk: Talk, *events: dict[str, Any]) -> Page:
    page = talk.open()
    talk.send("Send it to Lindenweg 4")
    talk.accept(status="running")
    talk.tell(*events)
    return page


def ops(*made: tuple[str, str, object]) -> dict[str, Any]:
    listed = [{"op": op, "path": path, "value": value} for op, path, value in made]
    return {"type": "tool.arguments", "call": "a", "ops": listed}


def test_a_card_shows_each_state_of_a_call(talk: Talk) -> None:
    page = begin(talk, STARTED, ops(("add", "/street", "Linden")))
    card = page.get_by_role("group", name="Tool call: change_address")
    expect(card).to_contain_text("Writing")
    expect(card).to_contain_text("Linden")
    talk.tell(ops(("append", "/street", "weg 4")))
    expect(card).to_contain_text("Lindenweg 4")
    talk.tell(READY)
    expect(card).to_contain_text("Complete")
    talk.tell({"type": "tool.running", "call": "a"})
    expect(card).to_contain_text("Running")
    talk.tell({"type": "tool.result", "call": "a", "output": {"changed": True}}, text("It is changed.", 1))
    expect(card).to_contain_text("Done")
    expect(card).to_contain_text("changedtrue")
    expect(talk.answers).to_contain_text("It is changed.")


@pytest.mark.parametrize(
    ("event", "word"),
    [
        pytest.param(
            {"type": "tool.result", "call": "a", "error": "No order."},
            "Failed",
            id="error",
        ),
        pytest.param({"type": "stopped", "by": "user"}, "Cancelled", id="cancelled"),
        pytest.param(
            {"type": "tool.invalid", "call": "a", "raw": "{", "message": "No JSON."},
            "Not usable",
            id="invalid",
        ),
    ],
)
def test_a_card_says_how_a_call_ended(talk: Talk, event: dict[str, Any], word: str) -> None:
    page = begin(talk, STARTED, READY, {"type": "tool.running", "call": "a"}, event)
    card = page.get_by_role("group", name="Tool call: change_address")
    expect(card).to_contain_text(word)
    if "error" in event:
        expect(card).to_contain_text(event["error"])


def test_a_call_is_approved_on_the_page(talk: Talk) -> None:
    page = begin(talk, STARTED, READY, APPROVAL, {"type": "waiting"})
    expect(talk.status).to_have_text("Waiting for a decision.")
    expect(page.get_by_text("Without a decision it is denied: Jan 5, 2030")).to_be_visible()
    approve = page.get_by_role("button", name="Approve")
    approve.focus()
    page.keyboard.press("Enter")
    expect(approve).to_have_attribute("aria-disabled", "true")
    talk.wait_for(lambda: talk.asked_for("tool.decide"))
    assert talk.asked_for("tool.decide") == [
        {"type": "tool.decide", "run": "R", "call": "a", "approve": True}
    ]
    talk.tell({"type": "tool.decided", "call": "a", "approve": True}, {"type": "tool.running", "call": "a"})
    expect(approve).to_be_hidden()
    assert page.evaluate("document.activeElement.className") != ""
    expect(page.locator(".openrouter-card")).to_be_focused()


def test_a_denial_says_why(talk: Talk) -> None:
    page = begin(talk, STARTED, READY, APPROVAL, {"type": "waiting"})
    page.get_by_label("Reason").fill("Wrong street")
    talk.snapshot(
        status="waiting", parts=[{**READY, **STARTED, **APPROVAL, "type": "call", "status": "waiting"}]
    )
    expect(page.get_by_label("Reason")).to_have_value("Wrong street")
    page.keyboard.press("Enter")
    assert talk.asked_for("tool.decide") == []
    page.get_by_role("button", name="Deny").click()
    talk.wait_for(lambda: talk.asked_for("tool.decide"))
    decision = talk.asked_for("tool.decide")[0]
    assert (decision["approve"], decision["reason"]) == (False, "Wrong street")
    talk.tell({"type": "tool.decided", "call": "a", "approve": False, "reason": "Wrong street"})
    card = page.get_by_role("group", name="Tool call: change_address")
    expect(card).to_contain_text("Denied")
    expect(card).to_contain_text("Reason: Wrong street")


def test_a_decision_is_said_again_after_a_break(talk: Talk) -> None:
    page = begin(talk, STARTED, READY, APPROVAL, {"type": "waiting"})
    page.get_by_role("button", name="Approve").click()
    talk.wait_for(lambda: talk.asked_for("tool.decide"))
    talk.sockets[-1].close(code=1012)
    talk.wait_for(lambda: len(talk.asked_for("tool.decide")) == 2)
    first, second = talk.asked_for("tool.decide")
    assert first == second


def test_a_refused_decision_says_so_in_its_card(talk: Talk) -> None:
    page = begin(talk, STARTED, READY, APPROVAL, {"type": "waiting"})
    page.get_by_role("button", name="Approve").click()
    talk.wait_for(lambda: talk.asked_for("tool.decide"))
    talk.say(type="error", code="expired", run="R", call="a", message="The time to decide is over.")
    card = page.get_by_role("group", name="Tool call: change_address")
    expect(card.get_by_role("alert")).to_have_text("The time to decide is over.")
    expect(page.get_by_role("button", name="Approve")).to_have_attribute("aria-disabled", "false")


def test_what_staff_decides_has_no_buttons(talk: Talk) -> None:
    page = begin(talk, STARTED, READY, {**APPROVAL, "approval": "staff"}, {"type": "waiting"})
    expect(page.get_by_text("Staff of this site has to allow this call.")).to_be_visible()
    expect(page.get_by_role("button", name="Approve")).to_be_hidden()


HOSTILE = "<img src=x onerror='window.ran=1'><script>ran=1</script></template></textarea><svg onload=ran=1>"


def test_arguments_and_titles_are_text(talk: Talk) -> None:
    """A21, A24: markup in arguments, names, results, reasons, titles and questions stays text."""
    conversation = Conversation(title=HOSTILE)
    conversation.ask(HOSTILE)
    call = {"type": "call", "call": "c", "name": HOSTILE, "status": "done", "arguments": {HOSTILE: [HOSTILE]}}
    conversation.answer(
        {**call, "output": {HOSTILE: HOSTILE}}, said(HOSTILE), {"type": "reasoning", "text": HOSTILE, "ms": 1}
    )
    page = talk.open(conversation)
    expect(page.get_by_role("heading", level=2)).to_have_text(HOSTILE)
    expect(page.get_by_role("link", name=HOSTILE)).to_have_count(1)
    expect(talk.questions).to_have_text([HOSTILE])
    talk.send(HOSTILE)
    failed = {"type": "failed", "code": HOSTILE, "message": HOSTILE, "retryable": True}
    talk.accept(parts=[said(HOSTILE)], left_out=HOSTILE)
    talk.tell(failed)
    expect(page.get_by_role("alert").filter(has_text=HOSTILE)).to_be_visible()
    assert (
        page.locator("openrouter-chat :is(img, script:not([data-config]), [onload], [onerror])").count() == 0
    )
    assert page.evaluate("window.ran ?? null") is None


def test_arguments_reach_no_prototype(talk: Talk) -> None:
    """A24: `__proto__` and `constructor` are names like others, live and stored."""
    begin(talk, STARTED)
    steps = [
        ("add", "/__proto__", {}),
        ("add", "/__proto__/polluted", "yes"),
        ("add", "/constructor", {"prototype": {"polluted": "yes"}}),
        ("add", "/list", []),
        ("add", "/list/__proto__", {"polluted": "yes"}),
        ("add", "/number", 1e308),
    ]
    talk.tell(ops(*steps))
    card = talk.page.get_by_role("group", name="Tool call: change_address")
    expect(card).to_contain_text("__proto__")
    expect(card).to_contain_text("pollutedyes")
    raw = json.loads('{"__proto__": {"polluted": "yes"}, "constructor": {"prototype": {"polluted": "yes"}}}')
    talk.tell({**READY, "arguments": raw}, {"type": "tool.result", "call": "a", "output": raw}, DONE)
    expect(card).to_contain_text("Done")
    polluted = "[({}).polluted, Object.prototype.polluted, [].polluted, (() => {}).polluted]"
    assert talk.page.evaluate(polluted) == [None] * 4


def test_a_decision_of_another_tab_is_seen(talk: Talk) -> None:
    conversation = Conversation()
    conversation.ask("Send it to Lindenweg 4")
    part = {
        "type": "call",
        "call": "a",
        "name": "change_address",
        "status": "waiting",
        "arguments": {"street": "L"},
    }
    conversation.answer({**part, "approval": "owner"}, run=ident(6), status="waiting", usage=None)
    conversation.run = ident(6)
    page = talk.open(conversation)
    expect(page.get_by_role("button", name="Approve")).to_be_visible()
    shown = {"conversation": conversation.id, "status": "waiting", "parts": [part]}
    talk.snapshot(ident(6), **shown)
    talk.tell({"type": "tool.decided", "call": "a", "approve": True}, run=ident(6))
    expect(page.get_by_role("button", name="Approve")).to_be_hidden()
    expect(page.locator(".openrouter-card")).to_contain_text("Approved")
