"""JSON in a text column, as it is stored and as people type it; and text that came from outside."""

from __future__ import annotations

import json
import time

import pytest
from django.core import serializers
from django.core.exceptions import ValidationError
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st

from openrouter_app.models import PromptTemplate, Run, ToolSpec
from openrouter_app.models.fields import JSONTextField, parse_json, pretty_json
from tests.factories import make_chain

ODD = {"z": 1, "a": "\x00 \ud800 ü \U0001f43b", "m": [True, None, 1.5, 10**30], "": {}}

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=[])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=[])), inner),
    max_leaves=10,
)


@pytest.mark.django_db
def test_value_comes_back_with_its_order_and_its_odd_characters():
    PromptTemplate.objects.create(slug="a", example_input=ODD)
    loaded = PromptTemplate.objects.get().example_input
    assert loaded == ODD
    assert list(loaded) == ["z", "a", "m", ""]


@pytest.mark.django_db
def test_column_is_ascii_text():
    PromptTemplate.objects.create(slug="a", example_input=ODD)
    with connection.cursor() as cursor:
        cursor.execute("SELECT example_input FROM openrouter_app_prompttemplate")
        (stored,) = cursor.fetchone()
    assert stored.isascii()
    assert stored.isprintable()
    assert PromptTemplate._meta.get_field("example_input").get_internal_type() == "TextField"


@given(json_values)
def test_every_json_value_survives_the_column(value):
    field = JSONTextField()
    assert field.from_db_value(field.get_prep_value(value), None, None) == value


def test_nan_is_no_value():
    with pytest.raises(ValueError, match="Out of range"):
        JSONTextField().get_prep_value({"a": float("nan")})


@pytest.mark.django_db
def test_null_and_json_null():
    run = make_run()
    assert Run.objects.get().output is None
    Run.objects.update(output="text")
    run.refresh_from_db()
    assert run.output == "text"
    assert Run.objects.filter(output__isnull=True).count() == 0


@pytest.mark.django_db
def test_fixture_gives_the_same_value_back():
    ToolSpec.objects.create(name="a", schema={"type": "object", "properties": {"b": True, "a": {}}})
    text = serializers.serialize("json", ToolSpec.objects.all())
    (again,) = serializers.deserialize("json", text)
    assert json.dumps(again.object.schema) == json.dumps(ToolSpec.objects.get().schema)


# Typed by people


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": 1,\n "b" 2}', "Expecting ':' delimiter at line 2, column 6."),
        ('{"a": 1,}', "at line 1, column "),
        ("", "at line 1, column 1."),
        ("{'a': 1}", "at line 1, column 2."),
        ("[1] 2", "Extra data at line 1, column 5."),
        ('"a\nb"', "Invalid control character at at line 1, column 3."),
        ("NaN", "NaN at line 1, column 1 is no JSON number."),
        ('{"NaN": "NaN",\n "a": [-Infinity]}', "-Infinity at line 2, column 8 is no JSON number."),
        ('{"a": 1, "a": 2}', "“a” at line 1, column 10 stands in its object already"),
        ('{"a": {\n"b": "\\"", "\\u0062": 1}, "a": 2}', "“b” at line 2, column 12 stands in its object"),
        ("[1,\n1e999]", "The number at line 2, column 1 is too large."),
        ("\n " + "9" * 5000, "The number at line 2, column 2 has too many digits."),
        ("[" * 100_000, "This JSON is nested too deeply."),
    ],
)
def test_wrong_json_is_refused_with_its_place_or_its_reason(text, said):
    with pytest.raises(ValidationError) as raised:
        parse_json(text)
    assert said in raised.value.messages[0]


def test_the_mistake_in_a_large_text_is_found_in_no_time():
    for mistake in ["NaN", '{"a": 1, "a": 2}', "1e999"]:
        text = "[" + "[{}, 1]," * 32_000 + mistake + "]"
        start = time.thread_time()
        with pytest.raises(ValidationError, match="line 1, column 2560"):
            parse_json(text)
        assert time.thread_time() - start < 1


@given(json_values)
def test_what_is_shown_can_be_typed_back(value):
    shown = pretty_json(value)
    shown.encode()
    assert parse_json(shown) == value


def form_field(**kwargs):
    return JSONTextField(default=dict, **kwargs).formfield()


def test_form_shows_indented_json_in_its_order():
    assert form_field().prepare_value({"b": 1, "a": ["ü"]}) == '{\n  "b": 1,\n  "a": [\n    "ü"\n  ]\n}'


def test_form_shows_again_what_was_typed_wrong():
    assert form_field().prepare_value('{"a": ') == '{"a": '


def test_lines_are_counted_as_they_were_typed():
    with pytest.raises(ValidationError, match="at line 3, column 2"):
        form_field().clean("\r\n \r\n x \r\n")


def test_empty_text_is_the_default_where_it_may_be_empty():
    assert form_field(blank=True).clean("  ") == {}
    with pytest.raises(ValidationError, match="required"):
        form_field().clean("")


def test_change_is_a_change_of_value_or_of_order():
    field = form_field(blank=True)
    assert not field.has_changed({"a": 1, "b": 2}, '{"a":1,\n"b":2}')
    assert field.has_changed({"a": 1, "b": 2}, '{"b":2,"a":1}')
    assert field.has_changed({"a": 1}, '{"a":')
    assert not field.has_changed(dict, "")
    assert not field.has_changed({}, "")


# From outside


def make_run(**fields):
    chain = make_chain()
    return Run.objects.create(chain=chain, version=chain.published, **fields)


@pytest.mark.django_db
def test_text_from_outside_is_made_storable_and_cut():
    make_run(error_detail="a\x00b\ud800c", model="m" * 1000)
    run = Run.objects.get()
    assert run.error_detail == "a\ufffdb\ufffdc"
    assert run.model == "m" * 200
