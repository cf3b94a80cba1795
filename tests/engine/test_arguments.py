"""Calls while they are written, and their argument text: put together, its progress, its verdict."""

from __future__ import annotations

import json
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openrouter_app.engine.arguments import (
    MAX_PATH,
    MAX_TOOL_CALLS,
    ArgumentText,
    PendingCalls,
    ProgressiveArguments,
    parse_arguments,
)
from openrouter_app.engine.errors import OutputError
from openrouter_app.engine.operations import apply


def test_whole_text_is_its_object():
    assert parse_arguments('{"a": [1, {"b": null}]}') == {"a": [1, {"b": None}]}
    assert parse_arguments("") == parse_arguments(" \n") == {}


@pytest.mark.parametrize("text", ["[1]", '"a"', "7", "null", '{"a": ', "{]", '{"a": 1e400}', "{} x"])
def test_text_that_is_no_object_is_refused_and_kept(text):
    with pytest.raises(OutputError) as caught:
        parse_arguments(text)
    assert caught.value.raw == text


def test_progress_is_told_and_shown():
    arguments = ProgressiveArguments()
    assert arguments.snapshot() == {}
    value = {}
    for text in ('{"a"', ': "x', 'y", "b": [', "1, 2", "]}"):
        value = apply(value, arguments.feed(text))
        assert arguments.snapshot() == value
    assert value == {"a": "xy", "b": [1, 2]}
    assert arguments.open is None


@pytest.mark.parametrize("text", ["[", '"a', "7 ", "{]"])
def test_text_that_is_no_object_stops_the_progress_silently(text):
    arguments = ProgressiveArguments()
    assert arguments.feed(text) == []
    assert arguments.broken
    assert arguments.feed('{"a": 1}') == []
    assert arguments.snapshot() == {}


def test_last_good_value_stays_when_the_text_breaks():
    arguments = ProgressiveArguments()
    arguments.feed('{"a": "x"')
    assert arguments.feed("]") == []
    assert arguments.snapshot() == {"a": "x"}


def test_huge_key_cannot_make_every_operation_huge():
    arguments = ProgressiveArguments()
    arguments.feed('{"' + "k" * (MAX_PATH + 1) + '": [')
    assert arguments.feed("1," * 10_000) == []


def put_together(*deltas: str) -> tuple[list[str], str]:
    """What was told of these deltas, and the text they became."""
    text = ArgumentText()
    news = [text.add(delta) for delta in deltas]
    news.append(text.close())
    assert "".join(news) == text.text
    assert text.size == len(text.text)
    return [piece for piece in news if piece], text.text


@pytest.mark.parametrize(
    ("deltas", "news"),
    [
        pytest.param(['{"a"', '{"a":1', '{"a":1}'], ['{"a"', ":1", "}"], id="more each time"),
        pytest.param(
            ["{", '{"a":1}', '{"a":1}', ""], ["{", '"a":1}'], id="more, then the same, then nothing"
        ),
        pytest.param(["", '{"a"', '{"a":1}', " "], ['{"a"', ":1}", " "], id="blanks around it"),
        pytest.param(['{"a":', '{"a":1', '{"a":1}'], ['{"a":', "1}"], id="could be either, then could not"),
        pytest.param(['{"a":', '{"a":1}'], ['{"a":', "1}"], id="could be either until the end"),
        pytest.param(['{"a":', '{"a":1}', "}"], ['{"a":', '{"a":1}}'], id="an object in one of the same key"),
        pytest.param(['{"a":', '{"a":{}}', "x"], ['{"a":', '{"a":{}}x'], id="neither"),
        pytest.param(['{"a":', '{"a":1'], ['{"a":', '{"a":1'], id="cut off, and nobody can tell"),
        pytest.param(["[1", "[1,2"], ["[1", "[1,2"], id="no object"),
        pytest.param(['"a', '"ab'], ['"a', '"ab'], id="a string"),
        pytest.param(
            ['{"a":"', "x", "x", '","cmd":"l', "l -l", '"}'],
            ['{"a":"', "x", "x", '","cmd":"l', "l -l", '"}'],
            id="fragments that look repeated",
        ),
        pytest.param(['{"a"', '{"a":1', "{]"], ['{"a"', ":1", "{]"], id="something else after all"),
        pytest.param(["{}", "{}"], ["{}", "{}"], id="the same, and no more"),
    ],
)
def test_text_sent_whole_each_time_is_told_once_and_nothing_else_is_lost(deltas, news):
    assert put_together(*deltas)[0] == news


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", ""]), inner),
    max_leaves=8,
)
objects = st.dictionaries(st.sampled_from(["a", "b", "c", '"{']), values, min_size=1).map(json.dumps)


def cuts_of(text, data):
    return sorted(data.draw(st.sets(st.integers(1, len(text) - 1), max_size=6)) | {0, len(text)})


@given(objects, st.data())
def test_object_in_pieces_is_put_together_as_it_is(text, data):
    pieces = [text[a:b] for a, b in pairwise(cuts_of(text, data))]
    assert put_together(*pieces)[1] == text


@given(objects, st.data())
def test_object_sent_whole_each_time_is_put_together_once(text, data):
    assert put_together(*[text[:cut] for cut in cuts_of(text, data)])[1] == text


def test_putting_together_costs_as_much_as_what_is_fed():
    def cost(pieces):
        text = ArgumentText()
        start = time.thread_time()
        for piece in pieces:
            text.add(piece)
        return time.thread_time() - start

    assert cost(['{"a": "'] + ["xyzw"] * 250_000) < 1
    doubling = ["{" + "x" * 2**power for power in range(20)]
    assert cost(doubling) < 1


def test_delta_finds_its_call_at_the_same_cost_among_many():
    calls = PendingCalls()
    every = [calls.find(index, f"id{index}", "f") for index in range(MAX_TOOL_CALLS)]
    assert len(set(map(id, every))) == MAX_TOOL_CALLS
    calls._search = None  # what looks through all of them
    for index, call in enumerate(every):
        assert calls.find(index, f"id{index}", "f") is calls.find(index, f"id{index}", "") is call
        assert calls.find(index, "", "") is calls.find(None, "", "") is call


def test_long_arguments_cost_as_much_a_piece_as_short_ones():
    def cost(pieces: int) -> float:
        progress = ProgressiveArguments()
        progress.feed('{"a": "')
        begun = time.process_time()
        for _ in range(pieces):
            progress.feed("x" * 50)
        return time.process_time() - begun

    least = min(cost(2_000) for _ in range(3))
    assert any(cost(40_000) < 60 * least + 0.02 for _ in range(3))
