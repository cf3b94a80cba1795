"""The client below the pages, with conversations and decisions, on a socket that the test plays."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

from .modules import START, run_js

pytestmark = pytest.mark.browser

CLIENT = 'const client = connect("/ws/openrouter/"); last().hello();'


def test_a_start_says_its_conversation_parent_and_options(static_page: Page) -> None:
    body = """
    const first = { id: "k1", conversation: "new", parent: null, options: { model: "m" } };
    client.start("talk", { message: "Hi" }, first);
    client.start("talk", undefined, { id: "k2", conversation: "C", parent: "M" });
    client.start("joke", { foo: "bears" }, "k3");
    return last().sent;
    """
    start = {"type": "run.start", "chain": "talk"}
    assert run_js(static_page, CLIENT + body) == [
        {
            **start,
            "id": "k1",
            "input": {"message": "Hi"},
            "conversation": "new",
            "parent": None,
            "options": {"model": "m"},
        },
        {**start, "id": "k2", "conversation": "C", "parent": "M"},
        {**start, "id": "k3", "chain": "joke", "input": {"foo": "bears"}},
    ]


def test_a_conversation_is_followed_with_its_run_whoever_started_it(static_page: Page) -> None:
    body = """
    const news = [];
    client.addEventListener("conversation", ({ detail }) => news.push(detail.head));
    client.followConversation("C");
    const place = { type: "conversation", conversation: "C" };
    last().say({ ...place, head: "M", run: "R" }, { ...place, conversation: "D", head: "foreign", run: "X" });
    const run = client.follow("R");
    last().say(snapshot({ status: "running", conversation: "C" }));
    last().say(step(0, [{ type: "text", part: 0, delta: "Hi" }]));
    last().say(snapshot({ status: "running", conversation: "C" }, 0, "S"), snapshot({}, 0, "X"));
    const other = client.follow("S");
    const asked = last().sent.map((frame) => frame.run ?? frame.conversation);
    client.unfollowConversation("C");
    last().say({ ...place, head: "N", run: null });
    last().die();
    await new Promise((done) => setTimeout(done, 900));
    last().hello();
    const again = last().sent.map((frame) => frame.run ?? frame.conversation);
    return { news, asked, again, text: run.state.parts[0].text, other: other.state.status };
    """
    assert run_js(static_page, CLIENT + body) == {
        "news": ["M"],
        "asked": ["C"],
        "again": ["R", "S"],
        "text": "Hi",
        "other": "running",
    }


def test_a_followed_conversation_is_followed_again_after_a_break(static_page: Page) -> None:
    body = """
    client.followConversation("C");
    last().die();
    await new Promise((done) => setTimeout(done, 900));
    last().hello();
    const again = last().sent;
    const errors = [];
    client.addEventListener("error", ({ detail }) => errors.push(detail.conversation));
    last().say({ type: "error", code: "not_found", message: "Gone.", conversation: "C" });
    last().die();
    await new Promise((done) => setTimeout(done, 1600));
    last().hello();
    return { again, errors, after: last().sent };
    """
    follow = {"type": "run.follow", "conversation": "C"}
    assert run_js(static_page, CLIENT + body) == {"again": [follow], "errors": ["C"], "after": []}


def test_a_decision_is_said_until_its_call_waits_no_longer(static_page: Page) -> None:
    body = """
    last().hello(); last().say(accepted(last()), snapshot({ status: "running" }));
    const call = { call: "a", name: "n" };
    last().say(step(0, [
      { type: "tool.started", part: 0, ...call }, { type: "tool.approval", ...call, expires: "2030" },
    ]));
    run.decide("a", false, "No.");
    const first = last().sent.at(-1);
    last().die();
    await new Promise((done) => setTimeout(done, 900));
    last().hello();
    const again = last().sent.filter((frame) => frame.type === "tool.decide");
    const denied = { type: "call", ...call, arguments: {}, status: "denied" };
    last().say(snapshot({ status: "running", parts: [denied] }));
    last().die();
    await new Promise((done) => setTimeout(done, 1600));
    last().hello();
    return { first, again, after: last().sent.filter((frame) => frame.type === "tool.decide") };
    """
    decision = {"type": "tool.decide", "run": "R", "call": "a", "approve": False, "reason": "No."}
    assert run_js(static_page, START + body) == {"first": decision, "again": [decision], "after": []}


def test_the_phase_of_a_run_says_what_is_being_done_about_it(static_page: Page) -> None:
    body = """
    const phases = [run.phase];
    last().hello(); last().say(accepted(last()), snapshot());
    phases.push(run.phase);
    run.stop();
    phases.push(run.phase);
    last().say(step(0, [{ type: "stopped", by: "user" }]));
    return [...phases, run.phase];
    """
    assert run_js(static_page, START + body) == ["sending", "queued", "stopping", "stopped"]
