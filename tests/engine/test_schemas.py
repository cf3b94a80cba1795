"""Schemas: what is refused with which path and place, what is only warned of, and how fast."""

from __future__ import annotations

import json
import time

import pytest
from jsonschema import Draft202012Validator

from openrouter_app.engine.errors import ToolSpecError
from openrouter_app.engine.places import place
from openrouter_app.engine.schemas import (
    MAX_SCHEMA_DEPTH,
    MAX_SCHEMA_SIZE,
    MAX_SUBSCHEMAS,
    check_schema,
    remote_references,
    schema_warnings,
)

JOKE = {
    "type": "object",
    "properties": {
        "setup": {"type": "string", "description": "The setup for the joke"},
        "punchline": {"type": "string", "description": "The punchline to the joke"},
    },
    "required": ["setup", "punchline"],
}


def refused(schema):
    with pytest.raises(ToolSpecError) as raised:
        check_schema(schema)
    return str(raised.value)


# The check


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        JOKE,
        {"type": "object", "properties": {"a": True, "b": {"type": ["string", "null"], "enum": [1, "a"]}}},
        {"type": "object", "$defs": {"a": {"type": "integer"}}, "properties": {"a": {"$ref": "#/$defs/a"}}},
        {"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#"}}}},
        {"type": "object", "x-order": 3, "unknown": {"type": "no type"}},
        {"type": "object", "$schema": "https://json-schema.org/draft/2020-12/schema", "minProperties": 1.0},
    ],
)
def test_schema_is_accepted(schema):
    check_schema(schema)
    Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"properties": {"a": {"type": "text"}}}, "$.properties.a.type: must be one of array, boolean"),
        ({"properties": {"a": {"type": "text"}}}, 'not "text".'),
        ({"properties": []}, "$.properties: must be an object, not a list."),
        (
            {"properties": {"a": "string"}},
            "$.properties.a: a schema is an object, true or false, not a string.",
        ),
        ({"required": "a"}, '$.required: must be a list of different names, not "a".'),
        ({"required": ["a", "a"]}, "$.required: must be a list of different names"),
        ({"required": [1]}, "$.required: must be a list of different names"),
        ({"anyOf": []}, "$.anyOf: must be a list of schemas, not empty"),
        ({"anyOf": [{}, {"minimum": "1"}]}, '$.anyOf[1].minimum: must be a number, not "1".'),
        ({"items": {"maxLength": -1}}, "$.items.maxLength: must be a whole number from 0, not -1."),
        ({"items": {"maxLength": True}}, "$.items.maxLength: must be a whole number from 0, not true."),
        ({"not": 3}, "$.not: a schema is an object, true or false, not a number."),
        ({"items": [{}]}, "$.items: a schema is an object, true or false, not a list."),
        ({"multipleOf": 0}, "$.multipleOf: must be a number over 0, not 0."),
        ({"pattern": 1}, "$.pattern: must be a string, not 1."),
        ({"enum": "a"}, '$.enum: must be a list, not "a".'),
        ({"dependentRequired": {"a": "b"}}, "$.dependentRequired: must be an object of lists of names"),
        ({"dependencies": {"a": [None]}}, "$.dependencies: must be an object of schemas and lists of names"),
        ({"$anchor": "1"}, "$.$anchor: must be a name"),
        ({"$id": "a#b"}, "$.$id: must be an address without a fragment"),
    ],
)
def test_what_is_no_schema_is_refused_with_its_path_and_the_reason(members, said):
    assert said in refused({"type": "object", **members})


@pytest.mark.parametrize(
    "schema", [[], "object", None, True, {"type": "array"}, {"type": ["object", "null"]}, {}]
)
def test_root_must_be_an_object_schema(schema):
    assert refused(schema)


def test_the_error_carries_its_path():
    with pytest.raises(ToolSpecError) as raised:
        check_schema({"type": "object", "anyOf": [{}, {"properties": {"a.b": {"type": "text"}}}]})
    assert raised.value.path == ("anyOf", 1, "properties", "a.b", "type")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '{\n  "type": "object",\n  "properties": {\n    "a": {"type": "objct"}\n  }\n}',
            "Line 4, column 19 ($.properties.a.type): must be one of",
        ),
        ('{"type": "object",\r\n "required": "a"}', "Line 2, column 14 ($.required): must be a list"),
        ('{"type": "object",\n "$ref": "a.json"}', "Line 2, column 10 ($.$ref): the reference to 'a.json'"),
        ('{\n  "type": "array"}', "Line 2, column 11 ($.type): a tool's schema must have"),
        ("\n\n {}", "Line 3, column 2 ($): a tool's schema must have"),
        ("\n[]", "Line 2, column 1 ($): a schema is a JSON object, not a list."),
        (
            '{"type": "object", "default":\n' + "[" * MAX_SCHEMA_DEPTH + "]" * MAX_SCHEMA_DEPTH + "}",
            f"Line 2, column {MAX_SCHEMA_DEPTH} ($.default{'[0]' * (MAX_SCHEMA_DEPTH - 1)}): the schema "
            f"is nested more than {MAX_SCHEMA_DEPTH} deep.",
        ),
        (
            '{"type": "object", "anyOf": [' + "true,\n" * MAX_SUBSCHEMAS + "true]}",
            f"Line {MAX_SUBSCHEMAS}, column 1 ($.anyOf[{MAX_SUBSCHEMAS - 1}]): the schema is made of more",
        ),
    ],
)
def test_with_the_text_the_line_and_the_column_are_named(text, said):
    with pytest.raises(ToolSpecError) as raised:
        check_schema(json.loads(text), text)
    assert str(raised.value).startswith(said)


def test_a_number_beyond_floats_is_no_json():
    assert "no JSON" in refused({"type": "object", "maxLength": float("inf")})


def test_names_of_properties_are_not_keywords():
    names = ["pattern", "$ref", "required", "type", "items", "properties", "enum"]
    schema = {"type": "object", "properties": {name: {"type": "string"} for name in names}}
    check_schema(schema)
    assert list(schema_warnings(schema)) == []
    assert list(remote_references(schema)) == []


def test_data_is_not_read_as_schema():
    data = {"type": "no type", "$ref": "http://evil.example/", "pattern": "(a+)+$", "required": ["x"]}
    schema = {"type": "object", "default": data, "enum": [data], "const": data, "examples": [data]}
    check_schema(schema)
    assert list(schema_warnings(schema)) == []
    assert list(remote_references(schema)) == []


# Older drafts

DRAFT_4 = {"$schema": "http://json-schema.org/draft-04/schema#", "type": "object"}
DRAFT_7 = {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"}
DRAFT_2019 = {"$schema": "https://json-schema.org/draft/2019-09/schema", "type": "object"}


@pytest.mark.parametrize(
    "schema",
    [
        {**DRAFT_4, "properties": {"a": {"minimum": 0, "exclusiveMinimum": True}}},
        {**DRAFT_4, "id": "http://a.example/", "additionalProperties": False},
        {**DRAFT_4, "properties": {"a": {"items": [{}], "additionalItems": False}}, "const": {"type": 1}},
        {**DRAFT_7, "properties": {"a": {"items": [{"type": "string"}, True], "additionalItems": {}}}},
        {**DRAFT_7, "$id": "#root", "properties": {"a": {"exclusiveMinimum": 1, "readOnly": True}}},
        {**DRAFT_7, "prefixItems": "no keyword of this draft"},
        {**DRAFT_2019, "$recursiveAnchor": True, "properties": {"a": {"$recursiveRef": "#"}}},
        {**DRAFT_2019, "properties": {"a": {"items": [{}], "unevaluatedItems": False}}},
    ],
)
def test_schema_of_an_older_draft_is_accepted(schema):
    check_schema(schema)


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({**DRAFT_7, "items": [{}, {"type": "text"}]}, "$.items[1].type: must be one of"),
        ({**DRAFT_7, "items": []}, "$.items: must be a schema, or a list of schemas, not empty, not a list."),
        ({**DRAFT_7, "items": "a"}, "$.items: a schema is an object, true or false, not a string."),
        ({**DRAFT_7, "additionalItems": {"minLength": -1}}, "$.additionalItems.minLength: must be a whole"),
        ({**DRAFT_7, "exclusiveMinimum": True}, "$.exclusiveMinimum: must be a number, not true."),
        ({**DRAFT_4, "exclusiveMinimum": 1}, "$.exclusiveMinimum: must be true or false, not 1."),
        ({**DRAFT_4, "exclusiveMinimum": True}, '$.exclusiveMinimum: needs "minimum" beside it in draft-04.'),
        ({**DRAFT_4, "required": []}, "$.required: must be a list of different names, not empty"),
        (
            {**DRAFT_4, "properties": {"a": True}},
            "$.properties.a: a schema is an object in draft-04, not true or false.",
        ),
        ({**DRAFT_2019, "$anchor": "_a"}, "$.$anchor: must be a name"),
        ({**DRAFT_2019, "items": [{"type": "text"}]}, "$.items[0].type: must be one of"),
        (
            {**DRAFT_4, "$schema": "http://json-schema.org/draft-03/schema#"},
            "$.$schema: this draft is not read: write the schema in 04, 06, 07, 2019-09 or 2020-12.",
        ),
    ],
)
def test_mistakes_in_an_older_draft_have_their_place(schema, said):
    assert said in refused(schema)


# References


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": {"a": {}}},
        {"properties": {"a": {"$ref": "#/x-foo/anyOf/1"}}, "x-foo": {"anyOf": [{"type": "a"}, True]}},
        {"properties": {"a": {"$ref": "#/$defs/a~1b~0c%20d"}}, "$defs": {"a/b~c d": {}}},
        {"properties": {"a": {"$ref": "#here"}}, "$defs": {"a": {"items": {"$anchor": "here"}}}},
        {"properties": {"a": {"$dynamicRef": "#here"}}, "$defs": {"a": {"$dynamicAnchor": "here"}}},
        {"properties": {"a": {"$id": "http://a.example/", "$ref": "#/x", "x": {}}}},
        {"properties": {"a": {"items": {"$ref": "#"}, "allOf": [{"properties": {"b": {"$ref": "#"}}}]}}},
        {**DRAFT_7, "properties": {"a": {"$ref": "#here"}}, "definitions": {"a": {"$id": "#here"}}},
        {**DRAFT_4, "properties": {"a": {"$ref": "#here"}}, "definitions": {"a": {"id": "#here"}}},
        {**DRAFT_7, "properties": {"a": {"$ref": "#/definitions/b", "$id": "c"}}, "definitions": {"b": True}},
        # Keywords that the draft does not have lead nowhere.
        {**DRAFT_7, "$dynamicRef": "#/nowhere"},
    ],
)
def test_references_inside_of_the_schema_are_accepted(schema):
    check_schema({"type": "object", **schema})


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        (
            {"properties": {"a": {"items": {"$ref": "#/$defs/gone"}}}},
            "$.properties.a.items.$ref: the reference to '#/$defs/gone' leads nowhere.",
        ),
        ({"$dynamicRef": "#gone"}, "$.$dynamicRef: the reference to '#gone' leads nowhere."),
        ({"allOf": [{"$ref": "#/allOf/1"}]}, "$.allOf[0].$ref: the reference to '#/allOf/1' leads nowhere."),
        ({"allOf": [{}, {"$ref": "#/allOf/00"}]}, "leads nowhere."),
        ({"allOf": [{}, {"$ref": "#/allOf/-1"}]}, "leads nowhere."),
        ({"allOf": [{}, {"$ref": "#/allOf/" + "9" * 1_900}]}, "leads nowhere."),
        ({"$ref": "#/type/0"}, "$.$ref: the reference to '#/type/0' leads nowhere."),
        (
            {"$ref": "#/required", "required": []},
            "the reference to '#/required' leads to a list, not to a schema.",
        ),
        (
            {
                "$ref": "#/$defs/a/$defs/b",
                "$defs": {"a": {"$id": "b", "$defs": {"b": {"$ref": "#/$defs/a"}}}},
            },
            "$.$defs.a.$defs.b.$ref: the reference to '#/$defs/a' leads nowhere.",
        ),
        ({"$ref": "#a", "$defs": {"b": {"$id": "b", "$anchor": "a"}}}, "leads nowhere."),
        (
            {"$ref": "#a", "$defs": {"b": {"$id": "#a"}}, "$schema": DRAFT_2019["$schema"]},
            "$id: must be an addr",
        ),
        (
            {"$ref": "#a", "definitions": {"b": {"$anchor": "a"}}, "$schema": DRAFT_7["$schema"]},
            "leads nowhere.",
        ),
        ({"$ref": "#/x-foo", "x-foo": {"type": "strnig"}}, "$.x-foo.type: must be one of"),
        (
            {"$ref": "#/x-foo", "x-foo": {"items": {"$ref": "#/x-bar"}}, "x-bar": {"not": {"pattern": 1}}},
            "$.x-bar.not.pattern: must be a string",
        ),
        (
            {"$ref": "#/default", "default": {"$ref": "#/gone"}},
            "$.default.$ref: the reference to '#/gone' leads",
        ),
        ({"$ref": "#" + "/a" * 2_000}, "$.$ref: is longer than 2,000 characters."),
        ({"$id": "a" * 2_001}, "$.$id: is longer than 2,000 characters."),
    ],
)
def test_reference_that_leads_to_no_schema_is_refused_with_its_place(schema, said):
    assert said in refused({"type": "object", **schema})


def test_reference_that_leads_nowhere_is_refused_with_line_and_column():
    text = '{"type": "object",\n "properties": {"a": {"$ref": "#/$defs/gone"}}}'
    with pytest.raises(ToolSpecError, match=r"Line 2, column 31 \(\$.properties.a.\$ref\): the reference"):
        check_schema(json.loads(text), text)


@pytest.mark.parametrize(
    ("schema", "at"),
    [
        ({"$ref": "#"}, "$"),
        ({"allOf": [{}, {"$ref": "#"}]}, "$.allOf[1]"),
        ({"anyOf": [{"maxProperties": 1}, {"$ref": "#"}]}, "$.anyOf[1]"),
        ({"if": {"maxProperties": 1}, "else": {"$ref": "#"}}, "$.else"),
        ({"dependentSchemas": {"a": {"$ref": "#"}}}, "$.dependentSchemas.a"),
        ({"not": {"if": {"oneOf": [{}, {"anyOf": [{"$ref": "#/not"}]}]}}}, "$.not.if.oneOf[1].anyOf[0]"),
        ({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}, "$.$defs.b"),
    ],
)
def test_circle_that_a_value_would_turn_in_is_refused(schema, at):
    assert refused({"type": "object", **schema}) == f"{at}: here the schema refers to itself without an end."


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": {"$ref": "#"}}},
        {"items": {"allOf": [{"$ref": "#"}]}},
        {"additionalProperties": {"anyOf": [{"type": "null"}, {"$ref": "#"}]}},
        {"allOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}], "$defs": {"a": {"items": {"$ref": "#"}}}},
        {
            **DRAFT_7,
            "properties": {"a": {"$ref": "#/definitions/b", "allOf": [{"$ref": "#/properties/a"}]}},
            "definitions": {"b": True},
        },
    ],
)
def test_schema_may_refer_to_itself_where_the_value_is_another(schema):
    check_schema({"type": "object", **schema})


# Warnings


def test_required_name_without_a_property_is_a_warning_not_an_error():
    schema = {**JOKE, "required": ["location", "punchline"]}
    check_schema(schema)
    assert list(schema_warnings(schema)) == [(("required", 0), "'location' is required but is no property.")]


def test_warnings_are_found_at_every_depth_in_order():
    inner = {"properties": {}, "required": ["x"], "pattern": "a"}
    schema = {"type": "object", "properties": {"a": {"items": {"anyOf": [True, inner]}}}}
    assert [place(path) for path, _reason in schema_warnings(schema)] == [
        "$.properties.a.items.anyOf[1].required[0]",
        "$.properties.a.items.anyOf[1].pattern",
    ]


# Attacks


@pytest.mark.parametrize(
    "target", ["http://evil.example/a.json", "file:///etc/passwd", "other.json", "//evil/x"]
)
@pytest.mark.parametrize("keyword", ["$ref", "$dynamicRef"])
def test_A20_reference_that_leaves_the_document_is_refused_with_its_path(target, keyword):
    schema = {"type": "object", "properties": {"a": {"allOf": [{keyword: target}]}}}
    said = refused(schema)
    assert said.startswith(f"$.properties.a.allOf[0].{keyword}: ")
    assert target in said
    assert "$defs" in said


def test_A20_nothing_is_fetched(monkeypatch):
    def fetched(*args, **kwargs):
        raise AssertionError("fetched")

    monkeypatch.setattr("urllib.request.urlopen", fetched)
    monkeypatch.setattr("socket.socket.connect", fetched)
    check_schema({"type": "object", "$schema": "http://evil.example/", "$id": "http://evil.example/"})
    refused({"type": "object", "$ref": "http://evil.example/"})


def test_A20_pattern_is_neither_compiled_nor_matched_and_is_warned_of(monkeypatch):
    def evaluated(*args, **kwargs):
        raise AssertionError("evaluated")

    schema = {
        "type": "object",
        "properties": {
            "a": {"type": "string", "pattern": "(a+)+$", "default": "a" * 40 + "!"},
            "b": {"pattern": "("},
        },
        "patternProperties": {"(x+)+$": {}},
    }
    monkeypatch.setattr("re.compile", evaluated)
    monkeypatch.setattr("re.search", evaluated)
    monkeypatch.setattr("re.match", evaluated)
    check_schema(schema)
    assert len(list(schema_warnings(schema))) == 3


def nested(depth):
    schema = {"type": "object"}
    for _ in range(depth):
        schema = {"type": "object", "not": schema}
    return schema


def test_A20_depth_is_limited():
    check_schema(nested(MAX_SCHEMA_DEPTH - 1))
    assert f"more than {MAX_SCHEMA_DEPTH} deep" in refused(nested(MAX_SCHEMA_DEPTH))
    assert "deep" in refused(nested(50_000))
    deep = []
    for _ in range(50_000):
        deep = [deep]
    assert "deep" in refused({"type": "object", "default": deep})


def test_A20_size_is_limited():
    assert "262,144 are allowed" in refused({"type": "object", "description": "x" * MAX_SCHEMA_SIZE})


HOSTILE = {
    "many properties": {"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(7_000)}},
    "many booleans": {"type": "object", "anyOf": [True] * 40_000},
    "many empty schemas": {"type": "object", "anyOf": [{}] * 60_000},
    "many required names": {
        "type": "object",
        "required": [f"{n:05}" for n in range(29_000)],
        "properties": {},
    },
    "recursive references": {
        "type": "object",
        "$defs": {"a": {"$ref": "#/$defs/a"}},
        "allOf": [{"$ref": "#"}] * 9_000,
    },
    "different references": {
        "type": "object",
        "allOf": [{"$ref": f"#/a/{n}"} for n in range(6_500)],
        "a": {f"{n}": True for n in range(6_500)},
    },
    "chain of references": {
        "type": "object",
        "$defs": {f"{n}": {"$ref": f"#/$defs/{n + 1}"} for n in range(5_000)} | {"5000": True},
    },
    "deep references": {
        "type": "object",
        "a": json.loads('{"a": ' * 60 + "true" + "}" * 60),
        "allOf": [{"$ref": "#" + "/a" * 60}, *({"$ref": "#" + "/a" * 59 + f"/{n}"} for n in range(1_800))],
    },
    "names of places": {
        "type": "object",
        "allOf": [{"$anchor": f"a{n}", "$ref": f"#a{n + 1}"} for n in range(4_500)] + [{"$anchor": "a4500"}],
    },
    "long patterns": {"type": "object", "properties": {"a": {"pattern": "(a+)+" * 50_000}}},
    "long id": {"type": "object", "$id": "#" * 260_000},
    "long anchor": {"type": "object", "$anchor": "a" * 260_000},
    "schemas below a long name": {"type": "object", "properties": {"a" * 150_000: {"anyOf": [True] * 9_000}}},
    "mistake behind many lists": {"type": "object", "enum": [[[]]] * 37_000, "required": "a"},
    "mistake behind many numbers": {"type": "object", "enum": [1] * 87_000, "required": "a"},
    "mistake behind many names": {
        "type": "object",
        "properties": {**{f"{n}": True for n in range(9_900)}, "a": {"type": "text"}},
    },
    "deep list behind many": {
        "type": "object",
        "default": [[1]] * 37_000 + [json.loads("[" * 99 + "]" * 99)],
    },
    "deep mistake": json.loads('{"type": "object", "not": ' * 63 + '{"type": 1}' + "}" * 63),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_A20_hostile_schema_is_checked_soon(name):
    text = json.dumps(HOSTILE[name])

    def check():
        start = time.thread_time()
        try:
            check_schema(HOSTILE[name], text)
            sum(1 for _ in schema_warnings(HOSTILE[name]))
        except ToolSpecError:
            pass
        return time.thread_time() - start

    assert len(text) <= MAX_SCHEMA_SIZE + 100
    # CPU time, on a machine that may be busy: a fifteenth of it will do, and what looks at each part
    # for each of them takes several seconds.
    assert any(check() < 1 for _ in range(3))
