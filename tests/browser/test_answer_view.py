"""An answer on the page, in a browser and without a server: text stays text, nothing is made twice.

Numbers of invariants are those of ``docs/protocol.md``, numbers with an A those of the attacks.
"""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from playwright.sync_api import Page

from .modules import run_js

pytestmark = pytest.mark.browser

VIEW = """
const client = connect("/ws/openrouter/");
const run = client.start("joke", {});
last().hello(); last().say(accepted(last()), snapshot({ status: "running", version: 3 }));
const view = new AnswerView(run, {}, new Strings(null, "en"), () => { window.retried = true; });
document.body.replaceChildren(view.element);
view.connect();
const tell = async (...events) => { last().say(step(run.fold.seq, events)); await frames(); };
"""


def test_text_enters_the_page_as_text(static_page: Page) -> None:
    """A21: markup in an answer, split anywhere, is text and nothing else."""
    hostile = "<img src=x onerror='window.ran = 1'><script>window.ran = 1</script></textarea>&lt;"
    result = run_js(
        static_page,
        VIEW
        + """let part = 0;
        for (const size of [1, 3, given.length]) {
          for (let at = 0; at < given.length; at += size) {
            last().say(step(run.fold.seq, [{ type: "text", part, delta: given.slice(at, at + size) }]));
          }
          part += 1;
        }
        await tell(
          { type: "tool.started", part, call: "a", name: given },
          { type: "tool.ready", call: "a", arguments: { [given]: given, list: [given] } },
          { type: "tool.started", part: part + 1, call: "b", name: "b" },
          { type: "tool.invalid", call: "b", raw: given, message: given },
          { type: "source", part: part + 2, url: "javascript:window.ran=1", title: given },
          { type: "file", part: part + 3, url: "https://elsewhere.example/x", name: given },
          { type: "usage", model: given, provider: given, cost: given },
          { type: "failed", code: given, message: given, retryable: false },
        );
        return {
          texts: [...view.parts.querySelectorAll(".openrouter-text")].map((node) => node.textContent),
          body: document.body.textContent.split(given).length - 1,
          foreign: document.body.querySelectorAll("img, script, a, textarea").length,
          ran: window.ran ?? null,
        };
        """,
        hostile,
    )
    assert result["texts"] == [hostile] * 3
    assert result["body"] == 3 + 4 + 2 + 1 + 1 + 2 + 1
    assert result["foreign"] == 0
    assert result["ran"] is None


def test_a_card_fills_in_without_being_made_again(static_page: Page) -> None:
    result = run_js(
        static_page,
        VIEW
        + """
        const seen = [];
        const look = () => {
          const fields = [...view.element.querySelectorAll(".openrouter-member")];
          seen.push(fields.map((field) => field.textContent).join("|"));
          return fields;
        };
        const add = (path, value) => ({ op: "add", path, value });
        const append = (path, value) => ({ op: "append", path, value });
        const ops = (...ops) => ({ type: "tool.arguments", call: "a", ops });
        await tell({ type: "tool.started", part: 0, call: "a", name: "joke" });
        const card = view.element.querySelector(".openrouter-card"); look();
        await tell(ops(add("/setup", ""), append("/setup", "Why")));
        const [setup] = look();
        const text = setup.querySelector("dd div").firstChild;
        await tell(ops(append("/setup", " not"), append("/setup", "?"))); look();
        const growing = view.element.querySelectorAll(".is-growing").length;
        await tell(ops(add("/punchline", "So"), add("/list", []), add("/list/0", "x")));
        await tell(ops(add("/list/1", { a: null })));
        look();
        const whole = { setup: "Why not?", punchline: "So.", list: ["x", { a: null }] };
        await tell({ type: "tool.ready", call: "a", arguments: whole });
        const after = look();
        return {
          seen, growing,
          same: card === view.element.querySelector(".openrouter-card") && setup === after[0]
            && text === after[0].querySelector("dd div").firstChild,
          growingAfter: view.element.querySelectorAll(".is-growing").length,
        };
        """,
    )
    assert result["seen"] == [
        "",
        "setupWhy",
        "setupWhy not?",
        "setupWhy not?|punchlineSo|listxanull|x|anull|anull",
        "setupWhy not?|punchlineSo.|listxanull|x|anull|anull",
    ]
    assert result["same"]
    assert (result["growing"], result["growingAfter"]) == (1, 0)


def test_a_thousand_deltas_are_painted_once_a_frame(static_page: Page) -> None:
    mutations, text = run_js(
        static_page,
        VIEW
        + """await tell({ type: "text", part: 0, delta: "0" });
        let count = 0;
        const watch = new MutationObserver((records) => {
          count += records.filter((record) => record.type === "characterData").length;
        });
        const part = view.element.querySelector(".openrouter-text");
        watch.observe(part, { subtree: true, characterData: true, childList: true });
        const delta = { type: "text", part: 0, delta: "x" };
        for (let n = 0; n < 1000; n += 1) last().say(step(run.fold.seq, [delta]));
        await frames();
        return [count, part.textContent.length];
        """,
    )
    assert (mutations, text) == (1, 1001)


def test_a_snapshot_continues_the_text_on_the_page(static_page: Page) -> None:
    same, texts = run_js(
        static_page,
        VIEW
        + """const text = () => view.element.querySelector(".openrouter-text > div");
        await tell({ type: "text", part: 0, delta: "One" });
        const node = text().firstChild;
        last().say(snapshot({ status: "running", parts: [{ type: "text", text: "One two" }] }, 40));
        await frames();
        const same = node === text().firstChild && node.data === "One two";
        last().say(snapshot({ status: "running", parts: [{ type: "text", text: "Other" }] }, 41));
        await frames();
        return [same, text().textContent];
        """,
    )
    assert same
    assert texts == "Other"


@pytest.mark.parametrize("cut", [1, 2, 7, 5_000])
def test_blocks_of_text_join_to_the_text(static_page: Page, cut: int) -> None:
    text = "one\ntwo\n\nthree\n\n\n  four\n" + "long line\n" * 900 + "\n\nend\n"
    joined, blocks = run_js(
        static_page,
        """const host = document.createElement("div");
        const streamed = new StreamedText(host);
        for (let at = given.cut; at < given.text.length + given.cut; at += given.cut) {
          streamed.show(given.text.slice(0, at));
        }
        return [host.textContent, [...host.children].map((block) => block.textContent)];
        """,
        {"text": text, "cut": cut},
    )
    assert joined == text
    assert blocks[:2] == ["one\ntwo\n\n", "three\n\n\n"]
    assert max(map(len, blocks)) < 4_100


def test_the_client_survives_what_it_does_not_know(static_page: Page) -> None:
    """Invariant 23: random frames, events, parts and fields, and then a run that is shown all the same."""
    dice = random.Random(23)
    junk = [json.dumps(_junk_frame(dice)) for _ in range(1_500)]
    junk += ["", "{", "null", "[]", "5", '"text"', '{"type": 5}', '{"type": "run.events"}', "[" * 5_000]
    dice.shuffle(junk)
    result = run_js(
        static_page,
        VIEW
        + """for (const [at, frame] of given.entries()) {
          last().say(frame);
          if (at % 20 === 0) await frames();
          if (run.final) break;
        }
        await frames();
        const other = client.start("joke", {});
        const { id } = last().sent.findLast((frame) => frame.type === "run.start");
        last().say({ type: "run.accepted", id, run: "S" }, snapshot({ status: "running" }, 0, "S"));
        last().say(step(0, [{ type: "text", part: 0, delta: "still here" }], "S"));
        return { status: client.connection.status, parts: other.state.parts, polluted: String({}.polluted) };
        """,
        junk,
    )
    assert result == {
        "status": "ready",
        "parts": [{"type": "text", "text": "still here"}],
        "polluted": "undefined",
    }


TYPES = """
    started step text reasoning json file source tool.started tool.arguments tool.ready tool.invalid
    tool.approval tool.decided tool.running tool.result usage reset waiting html glow constructor __proto__
"""
FIELDS = """
    part delta ms ops call name arguments raw message expires approve reason output error model media_type
    url title status text value open parts __proto__ toString code retryable version
"""


def _junk_frame(dice: random.Random) -> Any:
    match dice.randrange(6):
        case 0:
            return _junk(dice)
        case 1:
            state = {"status": dice.choice(["running", _junk(dice)]), "parts": _junk_parts(dice)}
            seq = dice.choice([0, 1, _junk(dice)])
            return {"type": "run.snapshot", "run": "R", "seq": seq, "state": state}
        case 2:
            kind = dice.choice(["run.accepted", "error", "pong", "conversation", "news"])
            return {"type": kind, **_junk_fields(dice)}
        case _:
            happened = [_junk_event(dice) for _ in range(dice.randrange(4))]
            return {"type": "run.events", "run": "R", "after": 0, "seq": 0, "events": happened}


def _junk_event(dice: random.Random) -> Any:
    if dice.random() < 0.1:
        return _junk(dice)
    event = {**_junk_fields(dice), "type": dice.choice(TYPES.split())}
    if dice.random() < 0.7:
        event["part"] = dice.randrange(6)
        event["call"] = dice.choice(["a", "b", _junk(dice)])
        event["delta"] = dice.choice(["x", "\n\n", _junk(dice)])
        path = dice.choice(["", "/a", "/a/0", "/__proto__/polluted", "/constructor/prototype", _junk(dice)])
        event["ops"] = [{"op": dice.choice(["add", "append", "x"]), "path": path, "value": _junk(dice)}]
    return event


def _junk_parts(dice: random.Random) -> Any:
    kinds = ["text", "call", "json", "reasoning", "step", "file", "source", "hologram"]
    parts = [{**_junk_fields(dice), "type": dice.choice(kinds)} for _ in range(dice.randrange(5))]
    return dice.choice([parts, parts, [*parts, _junk(dice)], _junk(dice)])


def _junk_fields(dice: random.Random) -> dict[str, Any]:
    return {dice.choice(FIELDS.split()): _junk(dice) for _ in range(dice.randrange(6))}


def _junk(dice: random.Random, depth: int = 3) -> Any:
    plain = [None, True, 0, -1, 2**53, 1e308, "", "text", "/a", "<b>", "__proto__", "constructor", "a"]
    if depth and dice.random() < 0.4:
        if dice.random() < 0.5:
            return [_junk(dice, depth - 1) for _ in range(dice.randrange(4))]
        names = [*FIELDS.split(), "toString", "valueOf", "then", "length", "polluted"]
        return {dice.choice(names): _junk(dice, depth - 1) for _ in range(dice.randrange(4))}
    return dice.choice(plain)
