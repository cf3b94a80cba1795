"""Arguments against schemas: what the model is told, what is refused, and that everything ends."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import time

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openrouter_app.engine.errors import OutputError, ToolSpecError
from openrouter_app.engine.patterns import MAX_PATTERN
from openrouter_app.engine.validation import MAX_ERRORS, check_usable, validate_arguments


def root(**properties):
    return {"type": "object", "properties": properties}


def told(schema, arguments):
    """What the model is told of arguments that do not fit."""
    with pytest.raises(OutputError) as raised:
        validate_arguments(schema, arguments)
    return str(raised.value)


def refused(schema, arguments=None):
    """What the author of a schema is told."""
    with pytest.raises(ToolSpecError) as raised:
        validate_arguments(schema, arguments or {})
    return str(raised.value)


# What the model is told


def test_arguments_that_fit_pass():
    schema = {
        **root(location={"type": "string"}, days={"type": "integer", "minimum": 1}),
        "required": ["location"],
    }
    validate_arguments(schema, {"location": "Boston"})
    validate_arguments(schema, {"location": "Boston", "days": 3, "more": None})


@pytest.mark.parametrize(
    ("schema", "arguments", "said"),
    [
        (
            root(location={"type": "string"}),
            {"location": 5},
            "arguments.location: 5 is not of type 'string'.",
        ),
        ({**root(), "required": ["a"]}, {}, "arguments: 'a' is a required property."),
        (root(), [1], "arguments: [1] is not of type 'object'."),
        (
            {**root(a={}), "additionalProperties": False},
            {"a": 1, "__proto__": 2},
            "arguments: '__proto__' is unexpected: additional properties are not allowed.",
        ),
        (
            {**root(), "additionalProperties": {"type": "integer"}},
            {"a": 1, "b": "x"},
            "arguments.b: 'x' is not of type 'integer'.",
        ),
        (
            root(rows={"items": root(unit={"enum": ["c", "f"]})}),
            {"rows": [{}, {"unit": "k"}]},
            "arguments.rows[1].unit: 'k' is not one of ['c', 'f'].",
        ),
        (
            root(a={"uniqueItems": True}),
            {"a": [{"b": 1}, 2, {"b": 1.0}]},
            "arguments.a: items 0 and 2 are the same.",
        ),
        (root(a={"pattern": "^[a-z]+$"}), {"a": "b\n"}, "arguments.a: 'b\\n' does not match '^[a-z]+$'."),
        (
            {**root(), "patternProperties": {"^n": {"type": "integer"}}, "additionalProperties": False},
            {"n1": "x", "n2": 2, "m": 1},
            "arguments.n1: 'x' is not of type 'integer'; "
            "arguments: 'm' is unexpected: additional properties are not allowed.",
        ),
        (root(a=False), {"a": "x"}, "arguments: 'x' is not allowed."),
    ],
)
def test_the_place_and_the_reason_are_named(schema, arguments, said):
    assert told(schema, arguments) == said


def test_of_alternatives_it_is_told_what_each_misses():
    schema = root(a={"anyOf": [{"type": "integer"}, {"type": "null"}, root(b={"type": "integer"})]})
    assert told(schema, {"a": {"b": "x"}}) == (
        "arguments.a: {'b': 'x'} is not valid under any of the given schemas: "
        "{'b': 'x'} is not of type 'integer', or {'b': 'x'} is not of type 'null', "
        "or b: 'x' is not of type 'integer'."
    )


def test_only_the_first_mistakes_are_told():
    schema = {**root(), "additionalProperties": {"type": "integer"}}
    said = told(schema, {f"a{number}": "x" for number in range(50)})
    assert said.count("is not of type") == MAX_ERRORS
    assert "a0" in said


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "integer"},
        {"enum": ["y" * 1_000]},
        {"anyOf": [{"type": "integer"}] * 3},
        {"minLength": 10**7},
        {"not": {}},
        False,
    ],
)
def test_long_values_are_not_echoed(schema):
    said = told(root(a=schema), {"a": "x" * 500_000})
    assert said.count("x") < 310
    assert len(said) < 450


def test_long_names_and_items_are_cut():
    assert len(told({**root(), "additionalProperties": False}, {"n" * 10_000: 1})) < 200
    assert len(told({**root(), "unevaluatedProperties": False}, {f"n{at}": 1 for at in range(400)})) < 200
    assert len(told(root(a={"prefixItems": [{}], "items": False}), {"a": [1] * 5_000})) < 200
    assert len(told(root(**{"n" * 5_000: {"type": "integer"}}), {"n" * 5_000: "x"})) < 200


# The schema


def test_schema_of_an_older_draft_is_read_as_such():
    beside_a_reference = root(a={"$ref": "#/definitions/any", "type": "string"})
    beside_a_reference["definitions"] = {"any": {}}
    assert told(beside_a_reference, {"a": 1})
    validate_arguments({"$schema": "http://json-schema.org/draft-07/schema#", **beside_a_reference}, {"a": 1})
    assert told({"$schema": "http://nobody.example/schema", **beside_a_reference}, {"a": 1})


@pytest.mark.parametrize(
    ("draft", "inner", "unfit", "said"),
    [
        ("draft-04", {"minimum": 1, "exclusiveMinimum": True}, 1, "arguments.a: 1 is less than or equal to"),
        ("draft-07", {"items": [{"type": "string"}]}, ["x", 1], None),
        ("draft-07", {"items": [{"type": "string"}]}, [1], "arguments.a[0]: 1 is not of type 'string'."),
        (
            "draft-07",
            {"items": [{}], "additionalItems": False},
            [1, 2],
            "arguments.a: Additional items are not",
        ),
        (
            "draft-07",
            {"items": [{}], "additionalItems": {"pattern": "^a$"}},
            [1, "b"],
            "arguments.a[1]: 'b' does",
        ),
    ],
)
def test_what_an_older_draft_writes_in_its_own_way_is_told_with_its_place(draft, inner, unfit, said):
    schema = {"$schema": f"http://json-schema.org/{draft}/schema#", **root(a=inner)}
    if said is None:
        validate_arguments(schema, {"a": unfit})
    else:
        assert said in told(schema, {"a": unfit})


@pytest.mark.parametrize(
    ("target", "elsewhere"),
    [
        ("#/x-foo", {"x-foo": {"pattern": r"(a)\1"}}),
        ("#/default/a", {"default": {"a": {"items": {"patternProperties": {"(": {}}}}}}),
    ],
)
def test_what_a_reference_leads_to_is_read_when_the_tool_is_defined(target, elsewhere):
    with pytest.raises(ToolSpecError, match="the pattern") as raised:
        check_usable({**root(a={"$ref": target}), **elsewhere})
    assert raised.value.path[-1] in ("pattern", "patternProperties")


def test_reference_that_leads_nowhere_is_refused_when_the_tool_is_defined():
    with pytest.raises(ToolSpecError, match="leads nowhere") as raised:
        check_usable(root(a={"$ref": "#/$defs/missing"}))
    assert raised.value.path == ("properties", "a", "$ref")


def test_changed_schema_is_read_anew():
    schema = root(a={"type": "string"})
    validate_arguments(schema, {"a": "x"})
    schema["properties"]["a"]["type"] = "integer"
    assert told(schema, {"a": "x"})


def test_format_is_not_looked_at():
    validate_arguments(root(a={"format": "date"}), {"a": "yesterday"})


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        (root(a={"type": "text"}), "$.properties.a.type: must be one of array"),
        (
            root(a={"$ref": "#/$defs/gone"}),
            "$.properties.a.$ref: the reference to '#/$defs/gone' leads nowhere.",
        ),
        ({"type": "object", "default": {1, 2}}, "The schema is no JSON: "),
        ({"type": "object", "maximum": float("nan")}, "The schema is no JSON: "),
        ([1], "The schema is no JSON: "),
        ({"type": "object", "$ref": "#"}, "$: here the schema refers to itself without an end."),
        ({"type": "object", "anyOf": [{"minProperties": 1}, {"$ref": "#"}]}, "to itself without an end"),
        (
            {
                **root(),
                "unevaluatedProperties": False,
                "$ref": "#/$defs/a",
                "$defs": {"a": {"$ref": "#/$defs/a"}},
            },
            "refers to itself without an end",
        ),
        (
            {**root(), "patternProperties": {"a": {}}, "unevaluatedProperties": False},
            '"patternProperties" need "additionalProperties"',
        ),
    ],
)
def test_schema_that_cannot_be_used_is_its_authors_to_correct(schema, said):
    assert said in refused(schema, {"a": 1})


def test_required_name_without_a_property_is_no_reason_to_refuse():
    check_usable({"type": "object", "required": ["a"], "properties": {}})


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("(?i)a", "has flags, a back reference, a look behind or an atomic group: "),
        ("(?i:a)", "has flags, a back reference, a look behind or an atomic group: "),
        (r"(a)\1", "has flags, a back reference, a look behind or an atomic group: "),
        (r"(x)?(?(1)a|b)", "has flags, a back reference, a look behind or an atomic group: "),
        ("(?<=a)b", "has flags, a back reference, a look behind or an atomic group: "),
        ("b(?<!a)", "has flags, a back reference, a look behind or an atomic group: "),
        ("((?>a))|b", "has flags, a back reference, a look behind or an atomic group: "),
        ("(a*+)?", "has flags, a back reference, a look behind or an atomic group: "),
        (r"\p{L}", "cannot be read: bad escape"),
        ("(", "cannot be read"),
        ("(" * 1_500 + ")" * 1_500, "cannot be read"),
        ("a{99999999999999999999}", "cannot be read"),
        ("a" * (MAX_PATTERN + 1), "is longer than"),
    ],
)
def test_pattern_that_cannot_be_followed_is_refused_with_its_path(pattern, said):
    with pytest.raises(ToolSpecError, match=re.escape(said)) as raised:
        check_usable(root(a={"items": {"pattern": pattern}}))
    assert raised.value.path == ("properties", "a", "items", "pattern")
    assert str(raised.value).startswith("$.properties.a.items.pattern: the pattern ")
    assert said in refused({**root(), "patternProperties": {pattern: {}}})


# Attacks: in CPU time, of three tries the first in time. The bounds are ten times what it takes, as the
# machine may be busy; without the limits each takes minutes, or does not end.


def ends_within(seconds, schema, arguments):
    def took():
        start = time.thread_time()
        with contextlib.suppress(OutputError, ToolSpecError):
            validate_arguments(schema, arguments)
        return time.thread_time() - start

    return any(took() < seconds for _ in range(3))


def nested(depth, value=0):
    for _ in range(depth):
        value = [value]
    return value


FANS_OUT = {
    **root(a={"$ref": "#/$defs/d0"}),
    "$defs": {
        **{f"d{number}": {"allOf": [{"$ref": f"#/$defs/d{number + 1}"}] * 50} for number in range(20)},
        "d20": {"type": "object"},
    },
}
HOSTILE = {
    "nested repetition": (root(a={"pattern": "(a+)+$"}), {"a": "a" * 40 + "!"}),
    "alternatives that overlap": (root(a={"pattern": "^(a|a)*$"}), {"a": "a" * 200 + "!"}),
    "many repetitions": (root(a={"pattern": "^.*.*.*.*.*x$"}), {"a": "a" * 5_000}),
    "looking ahead everywhere": (root(a={"pattern": "(?=.*(?=.*x)y)z"}), {"a": "a" * 5_000}),
    "long text": (root(a={"pattern": "^[a-z ]+$"}), {"a": "a" * 1_000_000}),
    "counted repetition": (root(a={"pattern": "(a{2,4000000}){2,4000000}b"}), {"a": "a" * 10_000}),
    "large class": (
        root(a={"pattern": f"^([{''.join(chr(0x100 + 2 * at) for at in range(3_900))}]|a)+$"}),
        {"a": "a" * 200_000},
    ),
    "many classes": (root(a={"pattern": "[^b][^c]" * 490 + "$"}), {"a": "a" * 10_000}),
    "groups in groups": (root(a={"pattern": "(" * 90 + "a|b" + ")+" * 90 + "$"}), {"a": "a" * 3_000 + "c"}),
    "counts in counts": (
        root(a={"pattern": "(" * 60 + "a|b" + "){0,9}" * 60 + "$"}),
        {"a": "a" * 3_000 + "c"},
    ),
    "repeated nothing": (root(a={"pattern": "(){4000000}b"}), {"a": "b"}),
    "pattern of names": ({**root(), "patternProperties": {"(a+)+$": {}}}, {"a" * 40 + "!": 1}),
    "pattern against further names": (
        {**root(), "patternProperties": {"(a+)+$": {}}, "additionalProperties": False},
        {"a" * 40 + "!": 1},
    ),
    "pattern of property names": ({**root(), "propertyNames": {"pattern": "(a+)+$"}}, {"a" * 40 + "!": 1}),
    "pattern below another draft": (
        root(a={"$schema": "http://json-schema.org/draft-07/schema#", "items": {"pattern": "(a+)+$"}}),
        {"a": ["a" * 40 + "!"]},
    ),
    "unique objects": (root(a={"uniqueItems": True}), {"a": [{"n": number} for number in range(50_000)]}),
    "unevaluated names": (
        {**root(), "unevaluatedProperties": False, "anyOf": [{}]},
        {f"n{number}": 1 for number in range(50_000)},
    ),
    "long value against many schemas": (
        root(a={"anyOf": [{"type": "integer"}] * 9_000}),
        {"a": "x" * 1_000_000},
    ),
    "many values against many schemas": (
        root(a={"items": {"anyOf": [{"type": "integer"}] * 9_000}}),
        {"a": ["x"] * 9_000},
    ),
    "many values and names": (
        root(a={"items": {"type": "object", "required": [f"{number}" for number in range(9_000)]}}),
        {"a": [{}] * 9_000},
    ),
    "circle": ({"type": "object", "allOf": [{"$ref": "#"}] * 1_000}, {}),
    "circle below": (root(a={"$dynamicRef": "#/properties/a"}), {"a": 1}),
    "what is evaluated, through references that fan out": (
        root(a={"unevaluatedProperties": False, "$ref": "#/$defs/d0"})
        | {
            "$defs": {
                f"d{at}": {"dependentSchemas": {name: {"$ref": f"#/$defs/d{at + 1}"} for name in "abcdefgh"}}
                for at in range(20)
            }
            | {"d20": {}}
        },
        {"a": dict.fromkeys("abcdefghi", 1)},
    ),
    "many mistakes in alternatives": (
        root(a={"anyOf": [{"$ref": "#/$defs/a"}] * 1_000})
        | {"$defs": {"a": {"dependentRequired": {"a": [f"{at}" for at in range(9_000)]}}}},
        {"a": {"a": 1}},
    ),
    "one large value in many places": (
        root(a={"allOf": [{"$ref": "#/$defs/a"}] * 1_000}) | {"$defs": {"a": {"enum": [[[0] * 40_000]]}}},
        {"a": [[0] * 40_000]},
    ),
    "name of a place in a large schema": (
        root(a={"items": {"$ref": "#a"}})
        | {"$defs": {**{f"{at}": {} for at in range(9_000)}, "a": {"$anchor": "a"}}},
        {"a": [1] * 5_000},
    ),
    "references that fan out": (FANS_OUT, {"a": {}}),
    "deep value": (
        root(a={"$ref": "#/$defs/a"}) | {"$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}},
        {"a": nested(9_000)},
    ),
    "deep unique items": (root(a={"uniqueItems": True}), {"a": nested(9_000)}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_A20_A24_hostile_arguments_end_soon(name):
    assert ends_within(4, *HOSTILE[name])


@pytest.mark.parametrize("name", ["nested repetition", "alternatives that overlap", "circle", "circle below"])
def test_A20_what_the_schema_makes_dear_ends_at_once(name):
    assert ends_within(0.5, *HOSTILE[name])


@pytest.mark.parametrize(
    "name",
    [
        "long text",
        "unique objects",
        "one large value in many places",
        "many mistakes in alternatives",
        "many values against many schemas",
        "references that fan out",
    ],
)
def test_what_takes_too_long_is_an_error_for_the_model(name):
    assert told(*HOSTILE[name]) == "The arguments are too long, or have too many parts, to be checked."


def test_schema_that_is_too_much_work_for_anything_is_its_authors_to_correct():
    schema = {**FANS_OUT, "$ref": "#/$defs/d0"}
    assert "without an end" in refused(schema)


@pytest.mark.parametrize("name", ["circle below", "deep value"])
def test_depth_without_an_end_is_a_typed_error(name):
    assert told(*HOSTILE[name]) == "The arguments are nested too deeply to be checked."


def below(frames, function):
    """Call this with so many calls below it."""
    return below(frames - 1, function) if frames else function()


@pytest.mark.parametrize("name", ["circle below", "deep value"])
@pytest.mark.parametrize("frames", range(0, 700, 13))
def test_depth_without_an_end_is_a_typed_error_from_wherever_it_is_asked(name, frames):
    # Where the stack ends inside of rpds, that panics: it is no Exception.
    told(*HOSTILE[name])  # reads the schema, which is done once
    said = below(frames, lambda: told(*HOSTILE[name]))
    assert said == "The arguments are nested too deeply to be checked."


@pytest.mark.parametrize(
    ("schema", "number"),
    [
        ({"multipleOf": 0.1}, 10**400),
        ({"multipleOf": 0.1}, float("inf")),
        ({"type": "string"}, 10**5_000),
        ({"uniqueItems": True}, [10**5_000]),
    ],
    ids=["multiple", "infinite", "echoed", "unique"],
)
def test_A24_number_without_measure_is_a_typed_error(schema, number):
    assert (
        told(root(a=schema), {"a": number}) == "The arguments have a number that is too large to be checked."
    )


def test_ordinary_arguments_of_some_size_are_checked():
    row = {**root(x={"type": "integer", "minimum": 0}, y={"pattern": "^[a-z]+$"}), "required": ["x"]}
    validate_arguments(root(rows={"items": row}), {"rows": [{"x": at, "y": "abc"} for at in range(1_000)]})
    validate_arguments(root(slug={"pattern": "^[a-z0-9]+(?:-[a-z0-9]+)*$"}), {"slug": "a-b" * 3_000})
    tree = {**root(a={"$ref": "#/$defs/a"}), "$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}}
    validate_arguments(tree, {"a": nested(60)})


@pytest.mark.parametrize("target", ["http://evil.example/a.json", "file:///etc/passwd", "other.json"])
def test_A20_nothing_is_fetched(target, monkeypatch):
    def fetched(*args, **kwargs):
        raise AssertionError("fetched")

    monkeypatch.setattr("urllib.request.urlopen", fetched)
    monkeypatch.setattr("socket.socket.connect", fetched)
    assert "leaves the schema" in refused(root(a={"$ref": target}), {"a": 1})
    inside = {**root(a={"$id": "http://evil.example/", "$ref": "#/nowhere"}), "$id": target}
    assert "leads nowhere" in refused(inside, {"a": 1})


def test_jsonschema_is_imported_only_when_arguments_are_checked():
    code = (
        "import sys\n"
        "from openrouter_app.engine import tools, validation\n"
        "tools.tool(name='a')(lambda: None)\n"
        "before = 'jsonschema' in sys.modules\n"
        "validation.validate_arguments({'type': 'object'}, {})\n"
        "print(before, 'jsonschema' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == ["False", "True"]


# Patterns


def test_what_is_no_text_has_no_pattern_to_fit():
    for value in ["2024-01", 2024, None]:
        validate_arguments(root(a={"pattern": r"^\d{4}-\d{2}$"}), {"a": value})
    assert "does not match" in told(root(a={"pattern": r"^\d{4}-\d{2}$"}), {"a": "2024-1"})


def test_patterns_of_names_are_for_objects():
    validate_arguments(
        root(a={"patternProperties": {"": False}, "additionalProperties": False}), {"a": ["x"]}
    )


# The whole, against the library as oracle

names = st.sampled_from(["a", "b", "c"])
instances = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-2, 3),
        st.sampled_from([0.5, 1.0, 1e300]),
        st.text("ab", max_size=3),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(names, inner, max_size=3)),
    max_leaves=6,
)


def keywords(inner):
    return st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(
                ["array", "boolean", "integer", "null", "number", "object", "string", ["string", "null"]]
            ),
            "enum": st.lists(instances, max_size=3),
            "const": instances,
            "minimum": st.integers(-1, 2),
            "multipleOf": st.sampled_from([1, 2, 0.5]),
            "minLength": st.integers(0, 2),
            "pattern": st.sampled_from(["^a", "b$", "a+b"]),
            "uniqueItems": st.booleans(),
            "minItems": st.integers(0, 2),
            "items": inner,
            "prefixItems": st.lists(inner, min_size=1, max_size=2),
            "contains": inner,
            "properties": st.dictionaries(names, inner, max_size=2),
            "patternProperties": st.dictionaries(st.sampled_from(["a", "^[bc]$"]), inner, max_size=2),
            "additionalProperties": inner,
            "propertyNames": inner,
            "required": st.lists(names, max_size=2, unique=True),
            "dependentSchemas": st.dictionaries(names, inner, max_size=1),
            "anyOf": st.lists(inner, min_size=1, max_size=2),
            "oneOf": st.lists(inner, min_size=1, max_size=2),
            "allOf": st.lists(inner, min_size=1, max_size=2),
            "not": inner,
            "if": inner,
            "then": inner,
            "else": inner,
        },
    )


schemas = st.recursive(st.booleans(), lambda inner: st.one_of(st.booleans(), keywords(inner)), max_leaves=5)


OF_A_DRAFT = {
    "http://json-schema.org/draft-04/schema#": (
        jsonschema.Draft4Validator,
        {
            "items": [{"type": "string"}, {"enum": [1]}],
            "additionalItems": False,
            "minimum": 1,
            "exclusiveMinimum": True,
            "dependencies": {"a": ["b"], "b": {"minProperties": 3}},
        },
    ),
    "http://json-schema.org/draft-06/schema#": (
        jsonschema.Draft6Validator,
        {"items": [True, False], "exclusiveMinimum": 1, "contains": {"type": "string"}, "const": [1]},
    ),
    "http://json-schema.org/draft-07/schema#": (
        jsonschema.Draft7Validator,
        {
            "items": [{"type": "string"}],
            "additionalItems": {"pattern": "^a"},
            "dependencies": {"a": ["b"], "b": {"minProperties": 3}},
            "if": {"type": "object"},
            "then": {"required": ["a"]},
            "prefixItems": [False],
        },
    ),
    "https://json-schema.org/draft/2019-09/schema": (
        jsonschema.Draft201909Validator,
        {
            "items": [{"type": "string"}],
            "unevaluatedItems": {"type": "integer"},
            "contains": {"type": "string"},
            "maxContains": 1,
            "$ref": "#/$defs/any",
            "minimum": 1,
            "prefixItems": [False],
        },
    ),
}


@given(st.sampled_from(list(OF_A_DRAFT)), st.data())
def test_agrees_with_the_library_on_older_drafts(address, data):
    draft, members = OF_A_DRAFT[address]
    chosen = {name: members[name] for name in members if data.draw(st.booleans())}
    if "exclusiveMinimum" in chosen and "04" in address:
        chosen["minimum"] = 1
    schema = {**root(a=chosen), "$schema": address, "definitions": {"any": {}}, "$defs": {"any": {}}}
    arguments = {"a": data.draw(instances)}
    expected = draft(schema).is_valid(arguments)
    try:
        validate_arguments(schema, arguments)
    except OutputError as error:
        assert not expected, error
    else:
        assert expected


@given(keywords(schemas), st.dictionaries(names, instances, max_size=3))
def test_agrees_with_the_library(schema, arguments):
    schema = {**schema, "type": "object"}
    expected = jsonschema.Draft202012Validator(schema).is_valid(arguments)
    try:
        validate_arguments(json.loads(json.dumps(schema)), arguments)
    except OutputError as error:
        assert not expected, error
    else:
        assert expected
