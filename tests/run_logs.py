"""Logs for property tests: what an owner may say of a run."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import strategies as st

from openrouter_app.runs.events import (
    Event,
    Failed,
    Finished,
    Reasoning,
    Reset,
    Started,
    StepStarted,
    Stopped,
    Text,
    ToolApproval,
    ToolArguments,
    ToolDecided,
    ToolInvalid,
    ToolReady,
    ToolResult,
    ToolRunning,
    ToolStarted,
    UsageTotals,
    Waiting,
)
from openrouter_app.runs.state import RunState

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
ARGUMENTS = st.dictionaries(
    st.sampled_from(["setup", "punchline", "__proto__", "a/b", "~"]), JSON, max_size=4
)
LASTS = (
    Finished("stop", "x"),
    Stopped("user"),
    Failed("provider", "No.", True, {"retry_after": 1}),
)


@st.composite
def logs(draw: Any) -> list[Event]:
    """A run's log as an owner may write it: pieces of two calls interleaved, text and reasoning between."""
    events: list[Event] = [Started("joke", 1), StepStarted(0, model="a/b")]
    part = 1
    for kind in draw(st.lists(st.sampled_from(["text", "reasoning", "calls"]), max_size=4)):
        if kind == "calls":
            values = {f"c{part}": draw(ARGUMENTS), f"c{part + 1}": draw(ARGUMENTS)}
            pieces = []
            for number, (call, value) in enumerate(values.items()):
                events.append(ToolStarted(part + number, call, "joke"))
                text = json.dumps(value)
                cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=5)))
                bounds = zip([0, *cuts], [*cuts, len(text)], strict=True)
                pieces.append([ToolArguments(call, text[a:b]) for a, b in bounds if a < b])
            while any(pieces):
                events.append(draw(st.sampled_from([rest for rest in pieces if rest])).pop(0))
            for call, value in values.items():
                end = draw(st.sampled_from(["ready", "invalid", "open"]))
                if end == "ready":
                    events.append(ToolReady(call, json.loads(json.dumps(value))))
                elif end == "invalid":
                    events.append(ToolInvalid(call, "{", "no JSON"))
            part += 2
        else:
            for delta in draw(st.lists(st.text(min_size=1, max_size=4), min_size=1, max_size=6)):
                events.append(Text(part, delta) if kind == "text" else Reasoning(part, delta, len(events)))
            part += 1
    if draw(st.booleans()):
        events.append(UsageTotals(1, 2, "0.5", False, "a/b", "P", 7))
    events.append(draw(st.sampled_from(LASTS)))
    return events


ANY_TEXT = st.text(st.characters() | st.sampled_from("\x00\ud83d\ude00\ud800\udfff\u2028"), max_size=5)
"""Whatever a Python string may hold: U+0000, and halves of surrogate pairs too."""
ANY_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(2**62, 2**66).flatmap(lambda number: st.sampled_from([number, -number]))
    | st.integers(0, 4_000).map(lambda digits: 10**digits + 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=5,
)
_FATES = ("left", "invalid", "ready", "asked", "approved", "denied", "running", "done", "kept", "failed")


@st.composite
def any_logs(draw: Any) -> list[Event]:
    """Every kind of event there is, in an order that makes sense, with the oddest of texts and values."""
    events: list[Event] = [Started("joke", draw(st.none() | st.integers(1, 9)))]
    part = 0
    for step in range(draw(st.integers(1, 3))):
        events.append(StepStarted(part, draw(st.none() | st.just("s")), draw(st.none() | st.just("a/b"))))
        first = part = part + 1
        for kind in draw(st.lists(st.sampled_from(["text", "reasoning", "call", "reset"]), max_size=4)):
            if kind == "reset":
                events.append(Reset(draw(st.none() | st.just("b/c"))))
                part = first
                continue
            pieces = draw(st.lists(ANY_TEXT, min_size=1, max_size=5))
            match kind:
                case "text":
                    events += [Text(part, piece) for piece in pieces]
                case "reasoning":
                    events += [Reasoning(part, piece, ms) for ms, piece in enumerate(pieces)]
                case "call":
                    call = f"{step}.{len(events)}"
                    events.append(ToolStarted(part, call, draw(ANY_TEXT)))
                    events += [ToolArguments(call, piece) for piece in ('{"a": "', *pieces)]
                    events += _fate(draw, call)
            part += 1
    if draw(st.booleans()):
        events.append(UsageTotals(1, 2, draw(st.none() | st.just("0.5")), False, "a/b", "P", 7))
    return [*events, draw(st.sampled_from([*LASTS, Finished("stop", draw(ANY_JSON))]))]


def _fate(draw: Any, call: str) -> list[Event]:
    """What becomes of a call that the model has begun."""
    fate = draw(st.sampled_from(_FATES))
    if fate == "left":
        return []
    if fate == "invalid":
        return [ToolInvalid(call, draw(ANY_TEXT), "no JSON")]
    events: list[Event] = [ToolReady(call, draw(st.dictionaries(ANY_TEXT, ANY_JSON, max_size=2)))]
    if fate in ("asked", "approved", "denied"):
        events += [ToolApproval(call, draw(st.none() | st.just("2030-01-01T00:00:00Z"))), Waiting()]
    if fate in ("approved", "denied"):
        events.append(ToolDecided(call, fate == "approved", draw(st.none() | ANY_TEXT)))
    if fate in ("running", "done", "kept", "failed"):
        events.append(ToolRunning(call))
    if fate in ("done", "kept"):
        events.append(ToolResult(call, draw(ANY_JSON) if fate == "done" else None))
    if fate == "failed":
        events.append(ToolResult(call, error=draw(ANY_TEXT)))
    return events


def new_state() -> RunState:
    """The state at seq 0 of every run here."""
    return RunState(chain="joke", version=1, input={"foo": "x"})


def folded(events: list[Event]) -> dict[str, Any]:
    """What a page shows after these events."""
    state = new_state()
    for event in events:
        state.apply(event)
    return state.snapshot()


def without_open(state: dict[str, Any]) -> dict[str, Any]:
    """`open` of a page is the last operation's path, which a merge may move to an ancestor's child."""
    state = copy.deepcopy(state)
    for part in state["parts"]:
        part.pop("open", None)
    return state
