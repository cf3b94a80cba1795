"""The fold of a run's log: merging and cutting change nothing, and late comers see the same."""

from __future__ import annotations

import copy

from hypothesis import given
from hypothesis import strategies as st

from openrouter_app.runs.events import (
    Finished,
    Reset,
    Started,
    StepStarted,
    Stopped,
    Text,
    ToolApproval,
    ToolArguments,
    ToolDecided,
    ToolReady,
    ToolResult,
    ToolRunning,
    ToolStarted,
    Waiting,
)
from openrouter_app.runs.state import merged
from tests.followers import View
from tests.run_logs import logs, new_state, without_open


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


def test_reset_takes_back_what_stands_after_the_newest_step():
    state, view = new_state(), View()
    view.snapshot(0, state.snapshot())
    events = [
        Started("joke", 1),
        StepStarted(0, model="a"),
        Text(1, "kept"),
        StepStarted(2, model="b"),
        Text(3, "Ber"),
        ToolStarted(4, "c", "joke"),
        ToolArguments("c", '{"a": 1'),
        Reset("d"),
        Text(3, "Paris"),
    ]
    for seq, event in enumerate(events):
        view.range(seq, seq + 1, [state.apply(event)])
    assert state.parts() == view.state["parts"]
    assert state.parts() == [
        {"type": "step", "model": "a"},
        {"type": "text", "text": "kept"},
        {"type": "step", "model": "d"},
        {"type": "text", "text": "Paris"},
    ]


def test_call_that_waits_for_a_person_is_decided_and_run():
    state, view = new_state(), View()
    view.snapshot(0, state.snapshot())
    said = [
        Started("joke", 1),
        StepStarted(0),
        ToolStarted(1, "a", "wipe"),
        ToolStarted(2, "b", "wipe"),
        ToolReady("a", {"n": 1}),
        ToolReady("b", {"n": 2}),
        ToolApproval("a", "2026-11-26T00:00:00Z"),
        ToolApproval("b", None),
        Waiting(),
    ]
    seq = 0
    for event in said:
        view.range(seq, seq := seq + 1, [state.apply(event)])
    assert state.status == view.state["status"] == "waiting"
    rest = [
        ToolDecided("a", True),
        ToolDecided("b", False, "Not on a Friday."),
        ToolRunning("a"),
        ToolResult("a", output={"wiped": 1}),
        Finished("stop"),
    ]
    for event in rest:
        view.range(seq, seq := seq + 1, [state.apply(event)])
    assert state.parts() == view.state["parts"]
    assert [part.get("status") for part in state.parts()] == [None, "done", "denied"]
    assert state.parts()[2]["reason"] == "Not on a Friday."
