"""A call's argument text: its progress, and its verdict."""

from __future__ import annotations

import pytest

from openrouter_app.engine.arguments import MAX_PATH, ProgressiveArguments, parse_arguments
from openrouter_app.engine.errors import OutputError
from openrouter_app.engine.partial_json import apply


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
