"""Where things stand in a JSON text: found for every value of every text, and fast in hostile ones."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from openrouter_app.engine.places import (
    MAX_NAME_SHOWN,
    line_and_column,
    path_text,
    place,
    position_of,
    positions_of_scalar,
    repeated_names,
)

TEXT = '{\n  "type": "object",\n  "properties": {\r\n    "a": {"enum": [1, "}", [3]]}\n  }\n}'


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ((), "Line 1, column 1 ($)"),
        (("type",), "Line 2, column 11 ($.type)"),
        (("properties", "a", "enum", 2, 0), "Line 4, column 29 ($.properties.a.enum[2][0])"),
        (("properties", "b"), "$.properties.b"),
        (("properties", 0), "$.properties[0]"),
        (("properties", "a", "enum", 3), "$.properties.a.enum[3]"),
        (("type", "a"), "$.type.a"),
    ],
)
def test_a_place_for_people(path, said):
    assert place(path, TEXT) == said


def test_without_a_text_the_place_is_the_path():
    assert place(("anyOf", 1, "minimum")) == "$.anyOf[1].minimum"


def test_a_long_name_is_cut():
    assert path_text(("a" * 1000,)) == "$." + "a" * MAX_NAME_SHOWN + "…"


def test_lines_and_columns_count_from_one():
    assert [line_and_column("a\r\nbc", position) for position in (0, 3, 4)] == [(1, 1), (2, 1), (2, 2)]


@pytest.mark.parametrize(
    ("text", "path", "position"),
    [
        ('{"a": 1, "a": 2}', ("a",), 14),
        ('{"a": {"b": 1}, "a": {"b": 2}}', ("a", "b"), 27),
        ('{"a": {"b": 1}, "a": 2}', ("a", "b"), None),
        ('{"a": [1, 2, 3], "a": [1, 2]}', ("a", 2), None),
        ('{"a": [1], "a": [1, 2]}', ("a", 1), 20),
        ('{"a": 1, "\\u0061": 2}', ("a",), 19),
        ('{"a\\"b": 1}', ('a"b',), 9),
    ],
)
def test_the_last_of_members_with_one_name_counts(text, path, position):
    assert position_of(text, path) == position


NAMES = st.sampled_from(["a", "b", "", "{", '"', "\\", ",", "\ud800", "ü"])
SPACES = st.sampled_from(["", "", " ", "\n", "\r\n\t"])
SCALARS = st.sampled_from(["1", "-1.5e3", "true", "null", '"]"', '"\\""', '"a"', "[]", "{ }"])


@st.composite
def texts(draw, depth=3):
    """A JSON text as nobody would format it: names twice, escapes where none are needed, odd spaces."""

    def spaced(text):
        return draw(SPACES) + text + draw(SPACES)

    def written(name):
        text = json.dumps(name, ensure_ascii=draw(st.booleans()))
        return text.replace("a", "\\u0061") if draw(st.booleans()) else text

    kind = draw(st.sampled_from(["scalar", "list", "object"] if depth else ["scalar"]))
    if kind == "scalar":
        return spaced(draw(SCALARS))
    items = draw(st.lists(texts(depth=depth - 1), max_size=4))
    if kind == "list":
        return spaced("[" + ",".join(items) + spaced("]"))
    members = [spaced(written(draw(NAMES))) + ":" + item for item in items]
    return spaced("{" + ",".join(members) + spaced("}"))


def values_below(value, path=()):
    yield path, value
    if not isinstance(value, (dict, list)):
        return
    for step, member in value.items() if isinstance(value, dict) else enumerate(value):
        yield from values_below(member, (*path, step))


@given(texts())
@example('[[["]"]],1]')
@example('{"a":[["]"]],"a":1}')
def test_every_value_of_every_text_is_found(text):
    for path, value in values_below(json.loads(text)):
        position = position_of(text, path)
        assert json.JSONDecoder().raw_decode(text, position)[0] == value
        assert position_of(text, (*path, "no")) is position_of(text, (*path, 9)) is None


@given(texts())
def test_every_repeated_name_is_found(text):
    found = []

    def hook(pairs):
        names = [name for name, _value in pairs]
        found.extend(name for index, name in enumerate(names) if name in names[:index])
        return dict(pairs)

    json.loads(text, object_pairs_hook=hook)
    repeated = list(repeated_names(text))
    assert sorted(name for name, _position in repeated) == sorted(found)
    for name, position in repeated:
        assert json.JSONDecoder().raw_decode(text, position)[0] == name


def test_a_scalar_is_found_where_it_is_a_value_of_its_own():
    assert list(positions_of_scalar('{"NaN": "NaN \\" NaN", "a": [1NaN, NaN]}', "NaN")) == [34]


SIZE = 262_144
HOSTILE = {
    "numbers": ("[" + "1," * (SIZE // 2) + "[2]]", (SIZE // 2, 0)),
    "lists": ("[" + "[]," * (SIZE // 3) + "[2]]", (SIZE // 3, 0)),
    "lists of lists": ("[" + "[[]]," * (SIZE // 5) + "[2]]", (SIZE // 5, 0)),
    "texts": ("[" + '"",' * (SIZE // 3) + "[2]]", (SIZE // 3, 0)),
    "escapes": ('["' + "\\n" * (SIZE // 2) + '",2]', (1,)),
    "one name often": ("{" + '"a":{"b":2},' * (SIZE // 12) + '"a":{"b":2}}', ("a", "b")),
    "escaped names": (
        "{" + "".join(f'"\\u0061{n:x}":[],' for n in range(SIZE // 16)) + '"a":{"b":2}}',
        ("a", "b"),
    ),
    "all below the path": (
        '{"a":' * 60 + "[" + "[[],0]," * (SIZE // 7) + "2]" + "}" * 60,
        ("a",) * 60 + (SIZE // 7,),
    ),
    "a deep path": ("[" * 30_000 + "2" + "]" * 30_000, (0,) * 30_000),
    "a deep value beside it": ("[" + "[" * 100_000 + "]" * 100_000 + ",2]", (1,)),
    "objects in objects": ('[{"a":' * 30_000 + "0" + "}]" * 30_000, ("a",)),
    "what never ends": ('{"b":' + "[{" * 100_000, ("a",)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_A20_a_place_in_a_hostile_text_is_found_soon(name):
    text, path = HOSTILE[name]

    def took():
        start = time.thread_time()
        position = position_of(text, path)
        assert position is None or text.startswith("2", position)
        return time.thread_time() - start

    # CPU time, on a machine that may be busy: a twentieth of it will do, and what looks at each of so
    # many parts for each of them takes minutes.
    assert any(took() < 1 for _ in range(3))
