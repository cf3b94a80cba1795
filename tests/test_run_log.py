"""The log's text: however it is cut, merged and stored, every reader makes the same state of it."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openrouter_app.runs.events import Finished, Reasoning, Text, ToolArguments, ToolReady
from openrouter_app.runs.log import decode, encode, merged
from tests.run_logs import any_logs, folded


def cut(draw: Any, events: list[Any]) -> list[list[Any]]:
    """The same events in pieces, as flushes cut them."""
    cuts = sorted(draw(st.lists(st.integers(0, len(events)), max_size=6)))
    return [events[a:b] for a, b in zip([0, *cuts], [*cuts, len(events)], strict=True) if a < b]


def written(value: Any) -> str:
    """As JSON text: the halves of a surrogate pair are the same as their character there."""
    return json.dumps(value)


@given(any_logs(), st.data())
def test_any_cut_and_merge_folds_to_the_same_state(events, data):
    rows = [encode(merged(piece)) for piece in cut(data.draw, events)]
    read = [event for row in rows for event in decode(row)]
    regrouped = [event for piece in cut(data.draw, read) for event in merged(piece)]
    assert written(folded(read)) == written(folded(regrouped)) == written(folded(events))


@given(any_logs())
def test_decoded_events_are_those_that_were_encoded_types_and_all(events):
    read = decode(encode(events))
    assert [type(event) for event in read] == [type(event) for event in events]
    assert written(msgspec.to_builtins(read)) == written(msgspec.to_builtins(events))


@given(any_logs())
def test_encoded_text_can_stand_in_any_text_column(events):
    text = encode(events)
    assert "\x00" not in text
    assert text.encode("utf-8").decode("utf-8") == text


@given(any_logs(), st.data())
def test_merging_again_what_was_merged_in_pieces_is_merging_once(events, data):
    pieces = [merged(piece) for piece in cut(data.draw, events)]
    assert merged(event for piece in pieces for event in piece) == merged(events)


@given(any_logs())
def test_merged_leaves_no_neighbours_that_could_be_one(events):
    result = merged(events)
    for before, after in pairwise(result):
        match before, after:
            case (Text(one), Text(other)) | (Reasoning(one), Reasoning(other)):
                assert one != other
            case (ToolArguments(one), ToolArguments(other)):
                assert one != other


@given(any_logs())
def test_merging_changes_no_event_that_others_hold(events):
    before = msgspec.to_builtins(events)
    merged(events)
    assert msgspec.to_builtins(events) == before


@pytest.mark.parametrize("text", ["a\x00b", "\ud83d", "x\udfff\ud800y", "\ud800\U0001f600", "\u2028\ufeff"])
def test_odd_text_comes_back_as_it_was(text):
    assert decode(encode([Text(0, text), Finished("stop", {text: [text]})])) == [
        Text(0, text),
        Finished("stop", {text: [text]}),
    ]


@pytest.mark.parametrize("number", [2**63, 2**64 + 1, -(2**64) - 1, 10**30 + 7, 10**4299 + 1])
def test_whole_numbers_of_any_size_stay_whole(number):
    (event,) = decode(encode([ToolReady("c", {"n": number})]))
    assert type(event.arguments["n"]) is int
    assert event.arguments["n"] == number


def test_pieces_of_two_calls_do_not_mix():
    events = [ToolArguments(call, text) for call, text in ("a1", "a2", "b3", "a4", "b5", "b6")]
    assert merged(events) == [
        ToolArguments("a", "12"),
        ToolArguments("b", "3"),
        ToolArguments("a", "4"),
        ToolArguments("b", "56"),
    ]


def test_merged_reasoning_has_the_time_of_its_last_piece():
    assert merged([Reasoning(1, "a", 5), Reasoning(1, "b", 9)]) == [Reasoning(1, "ab", 9)]


@pytest.mark.parametrize(
    "text", ["", "{}", "[1]", '[{"type": "nothing"}]', '[{"type": "text", "part": "0"}]']
)
def test_text_that_is_no_log_is_refused(text):
    with pytest.raises((msgspec.MsgspecError, ValueError)):
        decode(text)
