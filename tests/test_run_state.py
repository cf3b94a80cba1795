"""The fold of a run's log: merging and cutting change nothing, and late comers see the same."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from openrouter_app.runs.events import (
    Failed,
    Finished,
    Reasoning,
    Started,
    StepStarted,
    Stopped,
    Text,
    ToolArguments,
    ToolInvalid,
    ToolReady,
    ToolStarted,
    UsageTotals,
)
from openrouter_app.runs.state import RunState, merged
from tests.followers import View

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
ARGUMENTS = st.dictionaries(
    st.sampled_from(["setup", "punchline", "__proto__", "a/b", "~"]), JSON, max_size=4
)


@st.composite
def logs(draw: Any) -> list[Any]:
    """A run's log as an owner may write it: pieces of two calls interleaved, text and reasoning between."""
    events: list[Any] = [Started("joke", 1), StepStarted(0, model="a/b")]
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
    last = [Finished("stop", "x"), Stopped("user"), Failed("provider", "No.", True, {"retry_after": 1})]
    events.append(draw(st.sampled_from(last)))
    return events


def new_state() -> RunState:
    return RunState(chain="joke", version=1, input={"foo": "x"})


def without_open(state: dict[str, Any]) -> dict[str, Any]:
    """`open` of a page is the last operation's path, which a merge may move to an ancestor's child."""
    state = copy.deepcopy(state)
    for part in state["parts"]:
        part.pop("open", None)
    return state


@given(logs(), st.data())
def test_any_grouping_of_the_log_folds_to_the_same(events, data):
    state = new_state()
    shown = [state.apply(event) for event in events]
    before = copy.deepcopy(shown)
    view = View()
    view.snapshot(0, new_state().snapshot())
    at = 0
    while at < len(shown):
        size = data.draw(st.integers(1, len(shown)))
        view.range(at, min(at + size, len(shown)), merged(shown[at : at + size]))
        at += size
    assert shown == before, "merging must not change what other followers hold"
    assert without_open(view.state) == without_open(state.snapshot())
    assert view.state["parts"] == state.parts()


@given(logs(), st.data())
def test_who_comes_late_sees_the_same(events, data):
    state = new_state()
    late = data.draw(st.integers(0, len(events)))
    for event in events[:late]:
        state.apply(event)
    view = View()
    view.snapshot(late, state.snapshot())
    rest = [state.apply(event) for event in events[late:]]
    view.range(late, len(events), merged(rest))
    assert without_open(view.state) == without_open(state.snapshot())


@given(logs())
def test_parts_at_the_end_are_known_before_the_last_event_is_shown(events):
    state = new_state()
    for event in events[:-1]:
        state.apply(event)
    foreseen = state.parts_at_end()
    state.apply(events[-1])
    assert foreseen == state.parts()


def test_neighbouring_pieces_are_one_event():
    state = new_state()
    state.apply(Started("joke", 1))
    shown = [state.apply(Text(0, letter)) for letter in "abc"]
    assert merged(shown) == [{"type": "text", "part": 0, "delta": "abc"}]
    state.apply(ToolStarted(1, "c", "joke"))
    shown = [state.apply(ToolArguments("c", text)) for text in ('{"a": "', "x", "y", '"')]
    assert merged(shown) == [
        {
            "type": "tool.arguments",
            "call": "c",
            "ops": [{"op": "add", "path": "", "value": {}}, {"op": "add", "path": "/a", "value": "xy"}],
        }
    ]


def test_snapshot_is_independent_of_what_comes():
    state = new_state()
    state.apply(Started("joke", 1))
    state.apply(ToolStarted(0, "c", "joke"))
    state.apply(ToolArguments("c", '{"list": [1,'))
    snapshot = copy.deepcopy(shown := state.snapshot())
    state.apply(ToolArguments("c", " 2]}"))
    state.apply(Stopped("user"))
    assert shown == snapshot
