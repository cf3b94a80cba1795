"""Values that fit a schema, whatever the schema."""

from __future__ import annotations

import json

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openrouter_app.testing.invented import invented, invented_arguments


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string"},
        {"type": "string", "minLength": 30},
        {"type": "string", "maxLength": 3},
        {"type": "integer", "minimum": 5, "maximum": 6},
        {"type": "integer", "maximum": -5},
        {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
        {"type": "boolean"},
        {"type": "null"},
        {"type": ["null", "integer"]},
        {"enum": ["a", "b"]},
        {"const": {"x": 1}},
        {"anyOf": [{"type": "null"}, {"type": "array", "items": {"type": "number"}, "minItems": 2}]},
        {"oneOf": [{"type": "boolean"}]},
        {"allOf": [{"properties": {"a": {"type": "integer"}}, "required": ["a"]}]},
        {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
        {"properties": {"a": {"properties": {"b": {"items": {"type": "integer"}}}}}},
    ],
)
def test_values_are_valid_for_everyday_schemas(schema):
    jsonschema.validate(invented(schema), schema)


def test_strings_say_what_they_are_and_for_what():
    assert invented_arguments({"properties": {"city": {"type": "string"}}}) == {"city": "simulated city"}


@pytest.mark.parametrize("schema", [None, 7, [], "object", {}, {"type": "string"}, {"$ref": "#/nowhere"}])
def test_arguments_are_an_object_whatever_the_schema_says(schema):
    assert invented_arguments(schema) == {}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": {"not": "a type"}},
        {"type": []},
        {"enum": []},
        {"anyOf": []},
        {"anyOf": [7, None]},
        {"type": "integer", "minimum": "five", "maximum": float("nan")},
        {"type": "integer", "minimum": 10**400},
        {"type": "string", "maxLength": -7, "minLength": 10**12},
        {"type": "array", "minItems": 10**12, "items": 3},
        {"type": "object", "properties": []},
    ],
)
def test_schemas_that_make_no_sense_do_no_harm(schema):
    json.dumps(invented(schema))


keywords = [
    "type",
    "properties",
    "items",
    "anyOf",
    "enum",
    "minimum",
    "maximum",
    "minItems",
    "maxLength",
    "format",
]
schemas = st.recursive(
    st.sampled_from(["object", "array", "string", "integer", "null"])
    | st.none()
    | st.integers()
    | st.floats(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(keywords) | st.text(max_size=4), inner, max_size=5)
    ),
    max_leaves=30,
)


@given(schemas)
def test_no_schema_raises(schema):
    json.dumps(invented(schema))
