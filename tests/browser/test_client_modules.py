"""The modules below the page, in a browser and without a server: the fold, the operations, the socket.

Numbers of invariants are those of ``docs/protocol.md``.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from openrouter_app.engine.errors import OpenRouterError
from openrouter_app.runs import events
from openrouter_app.runs.state import RunState, merged

from .conftest import blank_page
from .modules import START, run_js

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def lasting_page(browser: Browser, static_server: str) -> Iterator[Page]:
    """One blank page for all tests that only compute something in it."""
    with blank_page(browser, static_server) as page:
        yield page


FOLD = """
const run = new RunState();
run.replace({ seq: 0, state: { status: "queued", parts: [], ...given.state } });
const changes = run.advance({ after: 0, seq: 1, events: given.events });
return { state: run.state, changes: [...changes], final: run.final };
"""


def fold(page: Page, *happened: dict[str, Any], **state: Any) -> dict[str, Any]:
    result: dict[str, Any] = run_js(page, FOLD, {"events": list(happened), "state": state})
    return result


CALL = {"type": "call", "call": "a", "name": "joke", "arguments": {}, "status": "writing"}
STARTED = {"type": "tool.started", "part": 0, "call": "a", "name": "joke"}


@pytest.mark.parametrize(
    ("event", "part"),
    [
        pytest.param({"type": "step", "part": 0, "model": "m"}, {"type": "step", "model": "m"}, id="step"),
        pytest.param({"type": "text", "part": 0, "delta": "Hi"}, {"type": "text", "text": "Hi"}, id="text"),
        pytest.param(
            {"type": "reasoning", "part": 0, "delta": "Hm", "ms": 7},
            {"type": "reasoning", "text": "Hm", "ms": 7},
            id="reasoning",
        ),
        pytest.param(
            {"type": "json", "part": 0, "ops": [{"op": "add", "path": "", "value": [1]}]},
            {"type": "json", "value": [1], "open": ""},
            id="json",
        ),
        pytest.param(
            {"type": "file", "part": 0, "media_type": "image/png", "url": "/f/1", "later": 1},
            {"type": "file", "media_type": "image/png", "url": "/f/1"},
            id="file",
        ),
        pytest.param(
            {"type": "source", "part": 0, "url": "https://example.org/", "title": "T"},
            {"type": "source", "url": "https://example.org/", "title": "T"},
            id="source",
        ),
        pytest.param(STARTED, CALL, id="tool.started"),
        pytest.param({"type": "hologram", "part": 0, "depth": 3}, {"type": "unknown"}, id="unknown"),
    ],
)
def test_an_event_opens_its_part(lasting_page: Page, event: dict[str, Any], part: dict[str, Any]) -> None:
    result = fold(lasting_page, event)
    assert result["state"]["parts"] == [part]
    assert "/parts/0" in result["changes"]


@pytest.mark.parametrize(
    ("event", "fields"),
    [
        pytest.param(
            {"type": "tool.arguments", "call": "a", "ops": [{"op": "add", "path": "/s", "value": "x"}]},
            {"arguments": {"s": "x"}, "open": "/s"},
            id="arguments",
        ),
        pytest.param(
            {"type": "tool.ready", "call": "a", "arguments": {"s": "y"}},
            {"status": "ready", "arguments": {"s": "y"}},
            id="ready",
        ),
        pytest.param(
            {"type": "tool.invalid", "call": "a", "raw": "{", "message": "cut"},
            {"status": "invalid", "raw": "{", "message": "cut"},
            id="invalid",
        ),
        pytest.param(
            {"type": "tool.approval", "call": "a", "expires": "2030"},
            {"status": "waiting", "expires": "2030"},
            id="approval",
        ),
        pytest.param(
            {"type": "tool.decided", "call": "a", "approve": True}, {"status": "approved"}, id="approved"
        ),
        pytest.param(
            {"type": "tool.decided", "call": "a", "approve": False, "reason": "no"},
            {"status": "denied", "reason": "no"},
            id="denied",
        ),
        pytest.param({"type": "tool.running", "call": "a"}, {"status": "running"}, id="running"),
        pytest.param(
            {"type": "tool.result", "call": "a", "output": 3}, {"status": "done", "output": 3}, id="result"
        ),
        pytest.param(
            {"type": "tool.result", "call": "a", "error": "E"}, {"status": "failed", "error": "E"}, id="error"
        ),
        pytest.param({"type": "tool.running", "call": "somebody else's"}, {}, id="another call"),
    ],
)
def test_an_event_moves_its_call(lasting_page: Page, event: dict[str, Any], fields: dict[str, Any]) -> None:
    assert fold(lasting_page, STARTED, event)["state"]["parts"] == [{**CALL, **fields}]


@pytest.mark.parametrize(
    ("event", "state"),
    [
        pytest.param(
            {"type": "started", "chain": "joke", "version": 3},
            {"status": "running", "chain": "joke", "version": 3},
            id="started",
        ),
        pytest.param({"type": "waiting"}, {"status": "waiting"}, id="waiting"),
        pytest.param(
            {"type": "finished", "reason": "stop", "output": "Hi"},
            {"status": "done", "reason": "stop", "output": "Hi"},
            id="finished",
        ),
        pytest.param({"type": "stopped", "by": "user"}, {"status": "stopped"}, id="stopped"),
        pytest.param(
            {"type": "failed", "code": "credit", "message": "M", "retryable": False, "details": {"x": 1}},
            {
                "status": "failed",
                "error": {"code": "credit", "message": "M", "retryable": False, "details": {"x": 1}},
            },
            id="failed",
        ),
        pytest.param(
            {"type": "interrupted", "code": "provider", "message": "M", "retryable": True},
            {"status": "interrupted", "error": {"code": "provider", "message": "M", "retryable": True}},
            id="interrupted",
        ),
        pytest.param(
            {"type": "usage", "cost": "0.1", "ms": 3}, {"usage": {"cost": "0.1", "ms": 3}}, id="usage"
        ),
        pytest.param(
            {"type": "html", "part": 0, "html": ["<b>"], "rest": ""},
            {},
            id="html of a part that is not there",
        ),
    ],
)
def test_an_event_changes_the_run(lasting_page: Page, event: dict[str, Any], state: dict[str, Any]) -> None:
    assert fold(lasting_page, event)["state"] == {"status": "queued", "parts": [], **state}


def test_the_end_cancels_what_was_under_way(lasting_page: Page) -> None:
    done = {**STARTED, "part": 1, "call": "b"}
    ready = {"type": "tool.ready", "call": "b", "arguments": {}}
    result = fold(lasting_page, STARTED, done, ready, {"type": "stopped", "by": "user"})
    assert [part["status"] for part in result["state"]["parts"]] == ["cancelled", "ready"]
    assert result["final"]


def test_waiting_lasts_until_the_next_event(lasting_page: Page) -> None:
    decided = {"type": "tool.decided", "call": "a", "approve": True}
    assert fold(lasting_page, STARTED, {"type": "waiting"}, decided)["state"]["status"] == "running"


def test_reset_keeps_other_steps(lasting_page: Page) -> None:
    result = fold(
        lasting_page,
        {"type": "step", "part": 0, "model": "a"},
        {"type": "text", "part": 1, "delta": "kept"},
        {"type": "step", "part": 2, "model": "a"},
        {"type": "text", "part": 3, "delta": "Ber"},
        {"type": "reset", "model": "b"},
        {"type": "text", "part": 3, "delta": "Paris"},
    )
    assert result["state"]["parts"] == [
        {"type": "step", "model": "a"},
        {"type": "text", "text": "kept"},
        {"type": "step", "model": "b"},
        {"type": "text", "text": "Paris"},
    ]


def test_an_unknown_event_leaves_a_known_part_alone(lasting_page: Page) -> None:
    text = {"type": "text", "part": 0, "delta": "Hi"}
    assert fold(lasting_page, text, {"type": "glow", "part": 0})["state"]["parts"] == [
        {"type": "text", "text": "Hi"}
    ]


def test_only_the_places_that_changed_are_told(lasting_page: Page) -> None:
    part = {"type": "call", "call": "a", "name": "n", "arguments": {"s": ""}, "status": "writing"}
    grow = {"type": "tool.arguments", "call": "a", "ops": [{"op": "append", "path": "/s", "value": "x"}]}
    assert fold(lasting_page, grow, parts=[part])["changes"] == ["/parts/0/arguments/s", "/parts/0/open"]


def test_the_fold_is_the_servers(lasting_page: Page) -> None:
    """Invariants 1 and 3: random logs, cut and merged anywhere, folded here and there."""
    dice = random.Random(20)
    logs = [_random_log(dice) for _ in range(150)]
    folded = run_js(
        lasting_page,
        """
        return given.map(({ first, frames }) => {
          const run = new RunState();
          run.replace(first);
          for (const frame of frames) if (!run.advance(frame)) throw new Error("a gap");
          return run.state;
        });
        """,
        [log for log, _ in logs],
    )
    for state, (_, expected) in zip(folded, logs, strict=True):
        # `open` only marks where a value may grow; the server forgets it as soon as the value is closed.
        for part in [*state["parts"], *expected["parts"]]:
            part.pop("open", None)
        assert state == expected


def _random_log(dice: random.Random) -> tuple[dict[str, Any], dict[str, Any]]:
    """The frames of a run as a page gets them, and the state the server has in the end."""
    server = RunState(chain="c", version=2, input={"x": "1"})
    first = {"seq": 0, "state": server.snapshot()}
    happened: list[Any] = [events.Started("c", 2), events.StepStarted(0, model="m")]
    for part in range(1, dice.randint(2, 5)):
        match dice.choice(["text", "reasoning", "call"]):
            case "text":
                happened += [events.Text(part, piece) for piece in _cuts("Grüße,\n\n😀 <b>", dice)]
            case "reasoning":
                happened += [events.Reasoning(part, piece, 5) for piece in _cuts("Let me see", dice)]
            case _:
                call = f"call-{part}"
                value = _random_object(dice)
                happened.append(events.ToolStarted(part, call, "tool"))
                pieces = _cuts(json.dumps(value, ensure_ascii=dice.random() < 0.5), dice)
                stop = dice.randint(0, len(pieces)) if dice.random() < 0.3 else len(pieces)
                happened += [events.ToolArguments(call, piece) for piece in pieces[:stop]]
                if stop == len(pieces):
                    happened.append(events.ToolReady(call, value))
    happened.append(events.UsageTotals(1, 2, "0.001", False, "m", "p", 12))
    happened.append(
        dice.choice(
            [
                events.Finished("stop", "x"),
                events.Stopped("user"),
                events.Failed("provider", "no", True, {"a": 1}),
                events.Interrupted("provider", "cut", True),
            ]
        )
    )
    told: list[dict[str, Any]] = []
    for event in happened:
        try:
            told.append(server.apply(event))
        except OpenRouterError:  # pragma: no cover - the texts are JSON
            raise AssertionError(event) from None
    frames, at = [], 0
    while at < len(told):
        upto = dice.randint(at + 1, len(told))
        frames.append({"after": at, "seq": upto, "events": merged(told[at:upto])})
        at = upto
    return {"first": first, "frames": frames}, server.snapshot()


def _cuts(text: str, dice: random.Random) -> list[str]:
    places = sorted({0, len(text), *(dice.randint(0, len(text)) for _ in range(dice.randint(0, 8)))})
    return [text[a:b] for a, b in pairwise(places)]


def _random_object(dice: random.Random, depth: int = 3) -> dict[str, Any]:
    names = ["setup", "a/b", "~", "", "__proto__", "constructor", "toString", "é"]
    chosen = dice.sample(names, dice.randint(0, 4))
    return {name: _random_value(dice, depth - 1) for name in chosen}


def _random_value(dice: random.Random, depth: int) -> Any:
    kinds: list[Any] = [
        lambda: dice.choice(["", "text", 'q"\\', "😀\n"]),
        lambda: dice.choice([0, -1.5, 1e9]),
    ]
    kinds.append(lambda: dice.choice([True, False, None]))
    if depth:
        kinds.append(lambda: _random_object(dice, depth))
        kinds.append(lambda: [_random_value(dice, depth - 1) for _ in range(dice.randint(0, 3))])
    return dice.choice(kinds)()


OPERATE = """
const holder = { value: given.value };
const fitted = given.ops.map((op) => applyOperation(holder, "value", op));
return { text: JSON.stringify(holder.value), fitted };
"""


@pytest.mark.parametrize(
    ("before", "ops", "after"),
    [
        pytest.param(None, [("add", "", {})], {}, id="add sets the root"),
        pytest.param({"a": 1}, [("add", "", [])], [], id="the root is replaced"),
        pytest.param("ab", [("append", "", "c")], "abc", id="a root string grows"),
        pytest.param({}, [("add", "/a", "x"), ("append", "/a", "yz")], {"a": "xyz"}, id="a string grows"),
        pytest.param({"a": 1, "b": 2}, [("add", "/a", 3)], {"a": 3, "b": 2}, id="last wins, first place"),
        pytest.param([1], [("add", "/1", 2)], [1, 2], id="an item at the end"),
        pytest.param({}, [("add", "/a~1b", 1), ("add", "/m~0n", 2)], {"a/b": 1, "m~n": 2}, id="escapes"),
        pytest.param({}, [("add", "/~01", 1)], {"~1": 1}, id="each escape is read once"),
        pytest.param({}, [("add", "/", 1)], {"": 1}, id="an empty key"),
        pytest.param({}, [("add", "/a", []), ("add", "/a/0", {}), ("add", "/a/0/b", 1)], {"a": [{"b": 1}]}),
        pytest.param({}, [("add", "/01", 1)], {"01": 1}, id="a number is a key of an object"),
    ],
)
def test_operations(lasting_page: Page, before: Any, ops: list[tuple[str, str, Any]], after: Any) -> None:
    given = {"value": before, "ops": [{"op": op, "path": path, "value": value} for op, path, value in ops]}
    result = run_js(lasting_page, OPERATE, given)
    assert result["text"] == json.dumps(after, separators=(",", ":"))
    assert all(result["fitted"])


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "add", "path": "/list/2", "value": 1},
        {"op": "add", "path": "/list/0", "value": 1},
        {"op": "add", "path": "/list/-", "value": 1},
        {"op": "add", "path": "/list/length", "value": 0},
        {"op": "add", "path": "/no/where", "value": 1},
        {"op": "add", "path": "/text/0", "value": 1},
        {"op": "add", "path": "/constructor/prototype/x", "value": 1},
        {"op": "add", "path": "/__proto__/x", "value": 1},
        {"op": "add", "path": "text", "value": 1},
        {"op": "add", "path": 5, "value": 1},
        {"op": "add", "path": "/text"},
        {"op": "append", "path": "/number", "value": "1"},
        {"op": "append", "path": "/text", "value": 1},
        {"op": "append", "path": "/toString", "value": "1"},
        {"op": "remove", "path": "/text"},
        {"op": "constructor", "path": "/text", "value": 1},
        {},
        None,
        7,
    ],
)
def test_an_operation_that_does_not_fit_changes_nothing(lasting_page: Page, operation: Any) -> None:
    value = {"list": [0], "text": "t", "number": 1}
    result = run_js(lasting_page, OPERATE, {"value": value, "ops": [operation]})
    assert json.loads(result["text"]) == value
    assert result["fitted"] == [False]


def test_keys_are_own_properties(lasting_page: Page) -> None:
    """Invariant 16, A24: what a model writes never reaches a prototype."""
    result = run_js(
        lasting_page,
        """
        const holder = { value: {} };
        const op = (op, path, value) => applyOperation(holder, "value", { op, path, value });
        op("add", "/__proto__", {});
        op("add", "/__proto__/polluted", "yes");
        op("add", "/constructor", { prototype: { polluted: "yes" } });
        op("add", "/s", ""), op("add", "/__proto__/t", ""), op("append", "/__proto__/t", "grown");
        return {
          text: JSON.stringify(holder.value),
          polluted: String({}.polluted),
          plain: Object.getPrototypeOf(holder.value) === Object.prototype,
        };
        """,
    )
    assert json.loads(result["text"]) == {
        "__proto__": {"polluted": "yes", "t": "grown"},
        "constructor": {"prototype": {"polluted": "yes"}},
        "s": "",
    }
    assert result["polluted"] == "undefined"
    assert result["plain"]


def test_a_start_waits_for_the_greeting(static_page: Page) -> None:
    before, after, url = run_js(
        static_page,
        START
        + "const before = last().sent.length; last().hello(); return [before, last().sent, last().url];",
    )
    assert before == 0
    assert [{**frame, "id": len(frame["id"])} for frame in after] == [
        {"type": "run.start", "id": 32, "chain": "joke", "input": {"foo": "bears"}}
    ]
    assert url.startswith("ws://127.0.0.1:")


def test_f37_an_unknown_protocol_is_told_nothing(static_page: Page) -> None:
    result = run_js(
        static_page,
        START
        + """last().hello({ protocol: 2 });
        const { sent, open } = last();
        return { sent, open, status: client.connection.status, sockets: sockets.length };
        """,
    )
    assert result == {"sent": [], "open": False, "status": "outdated", "sockets": 1}


def test_a_snapshot_replaces_the_state_even_with_a_lower_seq(static_page: Page) -> None:
    result = run_js(
        static_page,
        START
        + """last().hello(); last().say(accepted(last()), snapshot({ status: "running" }, 9));
        last().say(step(9, [{ type: "text", part: 0, delta: "gone" }]));
        last().say(snapshot({ status: "running", parts: [{ type: "text", text: "kept" }] }, 4));
        last().say(step(4, [{ type: "text", part: 0, delta: "!" }]));
        return { parts: run.state.parts, seq: run.fold.seq };
        """,
    )
    assert result == {"parts": [{"type": "text", "text": "kept!"}], "seq": 5}


def test_a_gap_asks_for_a_snapshot_once(static_page: Page) -> None:
    result = run_js(
        static_page,
        START
        + """last().hello(); last().say(accepted(last()), snapshot());
        last().say(step(3, [{ type: "text", part: 0, delta: "lost" }]), step(4, [{ type: "waiting" }]));
        const asked = last().sent.slice(1);
        last().say(snapshot({ status: "running" }, 5), step(5, [{ type: "text", part: 0, delta: "on" }]));
        return { asked, parts: run.state.parts, sent: last().sent.length };
        """,
    )
    assert result["asked"] == [{"type": "run.follow", "run": "R"}]
    assert result["parts"] == [{"type": "text", "text": "on"}]
    assert result["sent"] == 2


def test_html_only_frames_are_no_gap(static_page: Page) -> None:
    sent = run_js(
        static_page,
        START
        + """last().hello(); last().say(accepted(last()), snapshot());
        last().say({ ...step(0, []), seq: 0, events: [{ type: "html", part: 0, html: ["<p>"], rest: "" }] });
        last().say(step(0, [{ type: "text", part: 0, delta: "on" }]));
        return last().sent.length;
        """,
    )
    assert sent == 1


HI = {"type": "text", "part": 0, "delta": "Hi\n\nyo"}
HTML = {"type": "html", "part": 0, "html": ["<p>Hi</p>"], "rest": "yo"}


def test_html_adds_blocks_and_replaces_the_rest(lasting_page: Page) -> None:
    more = {"type": "text", "part": 0, "delta": "u"}
    end = {"type": "html", "part": 0, "html": ["<p>you</p>"], "rest": ""}
    part = {"type": "text", "text": "Hi\n\nyo", "blocks": ["<p>Hi</p>"], "rest": "yo"}
    result = fold(lasting_page, HI, HTML)
    assert result["state"]["parts"] == [part]
    assert "/parts/0/blocks" in result["changes"]
    part |= {"text": "Hi\n\nyou", "rest": "you"}
    assert fold(lasting_page, HI, HTML, more)["state"]["parts"] == [part]
    part |= {"blocks": ["<p>Hi</p>", "<p>you</p>"], "rest": ""}
    assert fold(lasting_page, HI, HTML, more, end)["state"]["parts"] == [part]


def test_a_snapshots_blocks_are_added_to(lasting_page: Page) -> None:
    part = {"type": "text", "text": "Hi\n\nyo", "blocks": ["<p>Hi</p>"], "rest": "yo"}
    result = fold(lasting_page, {"type": "text", "part": 0, "delta": "u"}, parts=[part])
    assert result["state"]["parts"] == [{**part, "text": "Hi\n\nyou", "rest": "you"}]


@pytest.mark.parametrize(
    "html",
    [
        {"html": "<p>", "rest": ""},
        {"html": [7], "rest": ""},
        {"html": ["<p>"]},
        {"html": ["<p>"], "rest": 7},
        {"rest": "x"},
        {"html": ["<p>"], "rest": "", "part": 1},
        {"html": ["<p>"], "rest": "", "part": "0"},
    ],
)
def test_html_that_does_not_fit_changes_nothing(lasting_page: Page, html: dict[str, Any]) -> None:
    result = fold(lasting_page, HI, {"type": "html", "part": 0, **html})
    assert result["state"]["parts"] == [{"type": "text", "text": "Hi\n\nyo"}]


@pytest.mark.parametrize(
    "fields", [{"blocks": "<p>", "rest": ""}, {"blocks": [{}], "rest": ""}, {"blocks": []}]
)
def test_a_snapshots_blocks_that_do_not_fit_are_left_out(lasting_page: Page, fields: dict[str, Any]) -> None:
    (part,) = fold(lasting_page, parts=[{"type": "text", "text": "Hi", **fields}])["state"]["parts"]
    assert "blocks" not in part


def test_html_does_not_end_waiting(lasting_page: Page) -> None:
    assert fold(lasting_page, HI, {"type": "waiting"}, HTML)["state"]["status"] == "waiting"


VIEW = """
const view = partView("text", new Strings(null, "en"));
document.body.append(view.element);
const shown = () => [...view.element.children].map((child) => child.hidden ? null : child.innerHTML);
"""


def test_blocks_are_put_on_the_page_once_and_the_rest_is_text(static_page: Page) -> None:
    result = run_js(
        static_page,
        VIEW
        + """const part = { type: "text", text: "Hi\\n\\n<b>", blocks: ["<p>Hi</p>"], rest: "\\n\\n<b>" };
        view.update(part, []);
        const before = shown(), first = view.element.firstChild;
        first.firstChild.remove();
        part.blocks.push("<p>&lt;b&gt;</p>"), part.rest = "";
        view.update(part, ["blocks"]);
        return { before, after: shown(), kept: first === view.element.firstChild };
        """,
    )
    assert result == {
        "before": ["<p>Hi</p>", '<div dir="auto">&lt;b&gt;</div>'],
        "after": ["", "<p>&lt;b&gt;</p>", None],
        "kept": True,
    }


def test_a_snapshot_keeps_the_blocks_that_are_the_same(static_page: Page) -> None:
    result = run_js(
        static_page,
        VIEW
        + """view.update({ blocks: ["a", "b", "c"], rest: "r" }, []);
        const first = view.element.firstChild;
        view.update({ blocks: ["a", "x"], rest: "s" }, []);
        return { after: shown(), kept: first === view.element.firstChild };
        """,
    )
    assert result == {"after": ["a", "x", '<div dir="auto">s</div>'], "kept": True}


def test_text_without_blocks_stays_text_until_they_come(static_page: Page) -> None:
    result = run_js(
        static_page,
        VIEW
        + """view.update({ text: "Hi" }, []);
        const before = shown();
        view.update({ text: "Hi", blocks: ["<p>Hi</p>"], rest: "" }, ["blocks"]);
        const after = shown();
        view.update({ text: "Ho" }, []);
        return { before, after, again: shown() };
        """,
    )
    assert result == {
        "before": ["Hi"],
        "after": ["<p>Hi</p>", None],
        "again": ["Ho"],
    }


def test_a_page_that_wants_html_says_so_in_the_address(static_page: Page) -> None:
    urls = run_js(
        static_page,
        """connect("/ws/openrouter/"); connect("/ws/openrouter/", { html: true });
        return sockets.map(({ url }) => new URL(url)).map(({ pathname, search }) => pathname + search);
        """,
    )
    assert urls == ["/ws/openrouter/", "/ws/openrouter/?html=1"]


def test_a_start_is_said_again_until_it_is_accepted(static_page: Page) -> None:
    static_page.clock.install()
    result = run_js(
        static_page, START + "last().hello(); last().die(); window.run = run; return sockets.length;"
    )
    assert result == 1
    static_page.clock.run_for(16_000)
    static_page.evaluate("last().hello(); last().die(1012)")
    static_page.clock.run_for(16_000)
    static_page.evaluate("last().hello(); last().say(accepted(last()), snapshot()); last().die()")
    static_page.clock.run_for(16_000)
    static_page.evaluate("last().hello()")
    said = static_page.evaluate("sockets.map((socket) => socket.sent)")
    starts = [frames[0]["id"] for frames in said[:3]]
    assert len(said) == 4
    assert len(set(starts)) == 1
    assert said[3] == [{"type": "run.follow", "run": "R"}]


def test_delays_grow_to_a_limit_and_differ(static_page: Page) -> None:
    static_page.clock.install()
    run_js(static_page, START + "last().hello();")
    waited = []
    for _ in range(9):
        static_page.evaluate("last().die()")
        before, step = static_page.evaluate("sockets.length"), 250
        delay = 0
        while static_page.evaluate("sockets.length") == before:
            static_page.clock.run_for(step)
            delay += step
            assert delay <= 15_000 + step
        waited.append(delay)
    assert min(waited) >= 250
    assert waited[0] <= 1_000
    assert max(waited[4:]) > 2_000


def test_a_silent_server_is_asked_and_then_left(static_page: Page) -> None:
    static_page.clock.install()
    run_js(static_page, "const client = connect('/ws/openrouter/'); last().hello({ heartbeat: 5 });")
    static_page.clock.run_for(4_900)
    assert static_page.evaluate("last().sent") == []
    static_page.clock.run_for(200)
    assert static_page.evaluate("last().sent") == [{"type": "ping"}]
    static_page.evaluate("last().say({ type: 'pong' })")
    static_page.clock.run_for(5_100)
    assert static_page.evaluate("[last().sent.length, sockets.length]") == [2, 1]
    static_page.clock.run_for(6_000)
    assert static_page.evaluate("[sockets.length, sockets[0].open]") == [2, False]


@pytest.mark.parametrize("event", ["online", "visibilitychange"])
def test_who_comes_back_does_not_wait_for_the_heartbeat(static_page: Page, event: str) -> None:
    """A machine that slept still has its socket, and nobody may be at the other end of it any more."""
    static_page.clock.install()
    run_js(static_page, "const client = connect('/ws/openrouter/'); last().hello({ heartbeat: 20 });")
    target = "window" if event == "online" else "document"
    come_back = f"{target}.dispatchEvent(new Event('{event}'))"
    static_page.clock.run_for(1_000)
    static_page.evaluate(come_back)
    assert static_page.evaluate("last().sent") == [{"type": "ping"}]
    static_page.evaluate("last().say({ type: 'pong' })")
    static_page.clock.run_for(10_000)
    assert static_page.evaluate("[last().sent.length, sockets.length]") == [1, 1]
    static_page.evaluate(come_back)
    static_page.clock.run_for(5_500)
    assert static_page.evaluate("[sockets.length, sockets[0].open]") == [2, False]
    static_page.evaluate(come_back)  # the new socket is a moment old: it gets its time
    assert static_page.evaluate("sockets.length") == 2
    static_page.clock.run_for(5_000)
    static_page.evaluate(come_back)
    assert static_page.evaluate("[sockets.length, sockets[1].open]") == [3, False]


def test_a_signed_out_page_does_not_try_again(static_page: Page) -> None:
    static_page.clock.install()
    run_js(static_page, START + "last().hello().die(4401); window.client = client;")
    static_page.clock.run_for(60_000)
    assert static_page.evaluate("[sockets.length, client.connection.status]") == [1, "signed-out"]


def test_a_stop_is_said_again_until_the_run_has_ended(static_page: Page) -> None:
    static_page.clock.install()
    run_js(static_page, START + "run.stop(); window.run = run;")
    assert static_page.evaluate("[run.state.status, last().sent.length]") == ["stopped", 0]
    run_js(
        static_page,
        START + "last().hello(); run.stop(); last().say(accepted(last()), snapshot()); window.run = run;",
    )
    assert static_page.evaluate("last().sent.map((frame) => frame.type)") == ["run.start", "run.stop"]
    static_page.evaluate("last().die()")
    static_page.clock.run_for(16_000)
    static_page.evaluate("last().hello()")
    assert static_page.evaluate("last().sent.map((frame) => frame.type)") == ["run.follow", "run.stop"]
    static_page.evaluate("last().say(snapshot({ status: 'stopped' }, 3)); last().die()")
    static_page.clock.run_for(16_000)
    static_page.evaluate("last().hello()")
    assert static_page.evaluate("[last().sent, run.state.status]") == [[], "stopped"]


@pytest.mark.parametrize(
    "refusal",
    [
        {
            "type": "error",
            "id": "MINE",
            "code": "invalid_input",
            "message": "No.",
            "details": {"variables": ["foo"]},
        },
        {"type": "error", "code": "bad_frame", "message": "No."},
    ],
)
def test_a_refused_start_is_over(static_page: Page, refusal: dict[str, Any]) -> None:
    static_page.clock.install()
    refused = run_js(
        static_page,
        START
        + """last().hello();
        const refused = new Promise((done) => run.addEventListener("refused", (event) => done(event.detail)));
        if (given.id) given.id = last().sent[0].id;
        last().say(given).die();
        return refused;
        """,
        refusal,
    )
    assert refused["message"] == "No."
    static_page.clock.run_for(16_000)
    static_page.evaluate("last().hello()")
    assert static_page.evaluate("[sockets.length, last().sent.length]") == [2, 0]


def test_a_start_that_is_too_large_is_never_sent(static_page: Page) -> None:
    result = run_js(
        static_page,
        """const client = connect("/ws/openrouter/");
        last().hello({ max_frame: 1000 });
        const run = client.start("joke", { foo: "😀".repeat(300) });
        const { code } = await new Promise((done) =>
          run.addEventListener("refused", (event) => done(event.detail)));
        return { code, sent: last().sent };
        """,
    )
    assert result == {"code": "too_large", "sent": []}


def test_a_run_that_is_gone_keeps_what_came(static_page: Page) -> None:
    state = run_js(
        static_page,
        START
        + """last().hello(); last().say(accepted(last()), snapshot({ status: "running" }));
        last().say(step(0, [{ type: "text", part: 0, delta: "half" }]));
        last().say({ type: "error", run: "R", code: "not_found", message: "There is no such run." });
        return run.state;
        """,
    )
    assert state["status"] == "interrupted"
    assert state["parts"] == [{"type": "text", "text": "half"}]
    assert state["error"]["message"] == "There is no such run."
