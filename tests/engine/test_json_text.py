"""JSON found in a model's text, against every cut of it."""

from __future__ import annotations

import json
import time
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from openrouter_app.engine.errors import OutputError, PartialJSONError
from openrouter_app.engine.json_text import MAX_PATH, JSONText
from openrouter_app.engine.operations import MISSING, apply
from openrouter_app.engine.partial_json import PartialJSON

from .properties import short

# --- What is generated ---------------------------------------------------------------------------

values = short(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, min_size=1, max_size=4)
        ),
        max_leaves=8,
    ),
    json.dumps,
)
roots = st.dictionaries(st.text(max_size=5), values, min_size=1, max_size=4) | st.lists(
    values, min_size=1, max_size=4
).filter(lambda items: any(type(item) is not int for item in items))
roots = short(roots, json.dumps)
prose = st.text("abc .,:;!?()<>\n*-_#'", max_size=30)
fences = st.sampled_from(
    [("```", "```"), ("```json", "```"), ("~~~ JSON", "~~~~"), ("````json5 x=1", "````")]
)
# Text that is like JSON in Markdown at every turn, and mostly is not.
SCRAPS = [
    *'{}[]",:\\ \na1-t',
    "``",
    "`",
    "~~~",
    "```",
    "json",
    "\n```json\n",
    "\n```\n",
    "```python\n",
    '{"a":',
]
SCRAPS += ['"x"', "[1]", '{"a": 1}', '["x"]', "true", "1e999", "\ufeff", '"\\u12', "[[[["]
scraps = short(st.lists(st.sampled_from(SCRAPS), max_size=25).map("".join))
cuts = st.lists(st.integers(1, 12), min_size=1, max_size=30)


def pieces(text: str, sizes: list[int]) -> list[str]:
    """The text in pieces of these sizes, taken over and over."""
    found, at, turn = [], 0, 0
    while at < len(text):
        size = sizes[turn % len(sizes)]
        found.append(text[at : at + size])
        at, turn = at + size, turn + 1
    return found


def read(text: str, sizes: list[int] | None = None):
    found = JSONText()
    for piece in pieces(text, sizes or [1_000_000]):
        found.feed(piece)
    return found.close()


def watched(text: str, sizes: list[int]):
    """What is to be seen after each piece, by its length; and its value or error in the end."""
    found, length, shown, seen = JSONText(), 0, MISSING, {}
    for piece in pieces(text, sizes):
        operations = found.feed(piece)
        shown = apply(shown, operations)
        if found.value is MISSING:
            assert not operations
        else:
            assert repr(shown) == repr(found.value)
        length += len(piece)
        seen[length] = (repr(found.value), found.open)
    try:
        shown = apply(shown, found.finish())
    except OutputError as error:
        assert error.raw == text
        return seen, error.message
    assert repr(shown) == repr(found.value)
    return seen, repr(shown)


# --- Any text, any cut ---------------------------------------------------------------------------


@given(scraps, cuts)
@example('```\n-:\n"x"\n```\n{"a": 1}\n```json\n"\n```json\n1', [1])  # a scalar found only at the end
@example('["\n```json\n["x"]\n```', [3])
@example('{"a":"\n```\n"x"\n```', [1])
@example('```json\n{"a":1\n```\n```json\n[2, "x"]', [2])
def test_what_is_seen_and_found_depends_on_the_text_and_not_on_its_cut(text, sizes):
    one, end = watched(text, [1])
    other, other_end = watched(text, sizes)
    assert end == other_end
    assert all(one[length] == other[length] for length in other)


@given(roots, prose, prose, cuts)
def test_json_between_prose_is_found(root, before, behind, sizes):
    assert read(f"{before} {json.dumps(root)} {behind}", sizes) == clean(root)


@given(roots, roots, prose, fences, cuts)
def test_fenced_json_wins_over_what_came_before(root, other, text, marks, sizes):
    opening, closing = marks
    answer = f"{text} {json.dumps(other)} {text}\n{opening}\n{json.dumps(root)}\n{closing}\n{text}"
    assert read(answer, sizes) == clean(root)
    assert read(answer + json.dumps(other) + f"\n{opening}\n[]\n{closing}", sizes) == clean(root)


@given(values, cuts)
def test_a_whole_text_or_fence_may_be_any_value(value, sizes):
    text = json.dumps(value)
    assert read(text, sizes) == clean(value)
    assert read(f" \n{text}\n", sizes) == clean(value)
    assert read(f"So:\n```json\n{text}\n```\nThat is it.", sizes) == clean(value)
    assert read(f"So:\n```\n{text}", sizes) == clean(value)


def clean(value):
    return json.loads(json.dumps(value).replace("\\u0000", "\\ufffd"))


@given(roots, cuts)
def test_of_bare_json_the_operations_are_those_of_its_parser(root, sizes):
    text = json.dumps(root)
    found, parser = JSONText(), PartialJSON()
    for piece in pieces(text, sizes):
        assert found.feed(piece) == parser.feed(piece)
        assert found.open == parser.open
    assert found.finish() == []


# --- One rule after the other ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 1}', {"a": 1}),
        ('\ufeff\n {"a": 1} \n', {"a": 1}),
        ("[1, 2]", [1, 2]),
        ("[]", []),
        (' "a [1] b" ', "a [1] b"),
        ("-1.5", -1.5),
        ("null", None),
        ('Sure! {"a": [1]} Anything else? {"b": 2}', {"a": [1]}),
        ('`{"a": 1}`', {"a": 1}),
        # what breaks is dropped, and the search goes on behind
        ('see [1] and {x}: {"a": 1}', {"a": 1}),
        ('see [^2], [this](url) or [ ]: {"a": 1}', {"a": 1}),
        ('{{"a": 1}}', {"a": 1}),
        ('{"a" {"b": 1}', {"b": 1}),
        ('{x} {"a": 1}', {"a": 1}),
        ('{"a": 1, ...} and then {"a": 1, "b": "}"}', {"a": 1, "b": "}"}),
        ('{"a": {"b": "}\\"", oops "}"}, "c": [0]} {"d": 1}', {"d": 1}),
        ('{"path": "C:\\dir"} or {"path": "C:/dir"}', {"path": "C:/dir"}),
        ('"Hello," {"a": 1}', {"a": 1}),
        ('true or not: ["x"]', ["x"]),
        ('"a lone quote: ["x", 1]', ["x", 1]),
        ("12 of {[1, 2.5]}", [1, 2.5]),
        # footnotes count where there is nothing better
        ("The list is [3, 4], as in [1].", [3, 4]),
        ("I found none: []", []),
        ('[1] says ["x"]', [1]),
        ('As [1] says: ["x"]', ["x"]),
        ("As [1] says: [1, 2, 3, 4, 5, 6, 7, 8, 9]", [1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ('See [1]: {"a": 1} or [2]', {"a": 1}),
        ("So [1] it is [", [1]),
        # fences
        ('```json\n{"a": 1}\n```', {"a": 1}),
        ('```\n{"a": 1}\n```', {"a": 1}),
        ('~~~JSON\n{"a": 1}\n~~~', {"a": 1}),
        ('Here: ```json {"a": 1}``` and more', {"a": 1}),
        ('```{"a": 1}```', {"a": 1}),
        ('- item\n   ```json title="x"\n   {"a": 1}\n   ```', {"a": 1}),
        ('{"a": 1} or better\n```\n{"a": 2}\n```', {"a": 2}),
        ('For {"a": 1}:\n```\n["x"]\n```\n```\n["y"]\n```', ["x"]),
        ('```json\n// see [1]\n{"a": 1}\n```', {"a": 1}),
        ("```json\n// see [1]\n```", [1]),
        ('```json\n{"a": oops}\n```\n```json\n{"a": 1}\n```', {"a": 1}),
        ('```json\n{"a": "x\n```\n\nAgain, "quoted":\n```json\n{"a": 1}\n```', {"a": 1}),
        ('```json\n{"a": 1,\n```\nAgain:\n```json\n{"a": 2}\n```', {"a": 2}),
        ("```json\n42\n```", 42),
        ('```\n"x"\n```', "x"),
        ('```\n"x" = 1\n```\n["y"]', ["y"]),
        ('```json\n```\n{"a": 1}', {"a": 1}),
        # a fence of another language is prose; its end opens nothing
        ('```python\nx = {1: 2}\n```\n{"a": 1}', {"a": 1}),
        ('```python\nx = 1\n```\n42\n```json\n{"a": 1}\n```', {"a": 1}),
        ('```python\nx = ["y"]\n```\nThat was it.', ["y"]),
        ('````md\n```json\n{"a": 1}\n```\n````', {"a": 1}),
        ('```md\n~~~\n```\n{"a": 1}', {"a": 1}),
        ("```this is code``` and ``this``, too: [true]", [True]),
        ("````````````````\n[true]\n", [True]),
        # a fence that hides in what began as a string
        ('He said ["oops and then:\n```json\n{"a": 1}\n```', {"a": 1}),
        ('{"text": "\n```json\n[1]\n```\n"}', {"text": "\n```json\n[1]\n```\n"}),
        ('{"a": 1, "b": x "```" }\n```json\n{"c": 1}\n```', {"c": 1}),
    ],
)
def test_json_is_found(text, value):
    for sizes in ([len(text)], [1], [3], [7]):
        found = read(text, sizes)
        assert found == value
        assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "The answer holds no JSON."),
        ("I cannot do that.", "The answer holds no JSON."),
        ("42 apples", "The answer holds no JSON."),
        ("The answer is 42.", "The answer holds no JSON."),
        ("truth", "The answer holds no JSON."),
        ('"a lone quote', "The answer holds no JSON."),
        ("an open [ bracket", "The answer holds no JSON."),
        ("It is {", "The answer holds no JSON."),
        ("```json\n```", "The answer holds no JSON."),
        ("```json", "The answer holds no JSON."),
        ("{", "The answer ends before its JSON does."),
        ("[1, 2", "The answer ends before its JSON does."),
        ('{"a": 1', "The answer ends before its JSON does."),
        ('Well: ["x"', "The answer ends before its JSON does."),
        ('See [1]: {"a":', "The answer ends before its JSON does."),
        ('See [1]: {"a": 1', "The answer ends before its JSON does."),
        ('For {"a": 1}:\n```json\n{"b": 2', "The answer ends before its JSON does."),
        # a piece of a broken answer is no answer
        ('{"items": [{"n": 1} {"n": 2}, {"n": 3}]}', "The answer's JSON is broken."),
        ('{"text": "he said "hi"", "list": ["x"]}', "The answer's JSON is broken."),
        ('See [1]: {"a": 1 "b": 2}', "The answer's JSON is broken."),
        ('{"a": 1 "b": 2}, says [1]', "The answer's JSON is broken."),
        ('For {"a": 1}:\n```json\n{"b": 2 oops}\n```', "The answer's JSON is broken."),
        ('{"a": "\\x", "b": ["', "The answer's JSON is broken."),
        ("[" * 200 + "]" * 200, "The answer's JSON is broken."),
    ],
)
def test_text_without_whole_json_is_an_error_with_the_text(text, message):
    for sizes in ([max(len(text), 1)], [1], [3]):
        with pytest.raises(OutputError, match=message) as caught:
            read(text, sizes)
        assert caught.value.raw == text
        assert isinstance(caught.value.__cause__, PartialJSONError) == ("broken" in message)


def test_an_answer_that_opens_the_text_survives_a_broken_fence():
    assert read('{"a": 1}\n\nas in\n```\n{"a": 1, "b": <more>}\n```') == {"a": 1}
    assert read('{"a": 1}\n\nas in\n```\n{"a": 1, "b": ') == {"a": 1}


# --- While it comes -------------------------------------------------------------------------------


def test_a_better_find_replaces_the_root():
    found = JSONText()
    assert found.feed('{"a": "x"} or') == [{"op": "add", "path": "", "value": {"a": "x"}}]
    assert found.open is None
    assert found.feed("\n```json\n{") == []  # nothing better yet
    assert found.feed('"b": "y') == [{"op": "add", "path": "", "value": {"b": "y"}}]
    assert found.open == "/b"
    assert found.feed('z"') == [{"op": "append", "path": "/b", "value": "z"}]
    assert found.feed("}") == []
    assert found.feed("\n```\n[0]") == []
    assert found.close() == {"b": "yz"}


def test_what_is_replaced_comes_back_when_the_better_one_breaks():
    found = JSONText()
    found.feed('["x"]\n```\n["y')
    assert found.snapshot() == ["y"]
    assert found.feed('", oops]\n```') == [{"op": "add", "path": "", "value": ["x"]}]
    assert found.close() == ["x"]


def test_punctuation_in_prose_is_not_shown():
    found = JSONText()
    for piece in ("See [", "1", "], use {", "x} or ", "{"):
        found.feed(piece)
        assert found.snapshot() in (MISSING, [1])
    assert found.feed('"a": 1,') == [{"op": "add", "path": "", "value": {"a": 1}}]


def test_what_opens_the_text_or_a_fence_is_shown_at_once():
    assert JSONText().feed(" {") == JSONText().feed("So:\n```json\n{")
    assert JSONText().feed(" {") == [{"op": "add", "path": "", "value": {}}]


def test_a_scalar_is_shown_when_it_is_known_to_be_all():
    found = JSONText()
    assert found.feed('```json\n"x') == []
    assert found.feed('y"\n') == []
    assert found.feed("```") == [{"op": "add", "path": "", "value": "xy"}]
    found = JSONText()
    assert found.feed("42") == []
    assert found.value is MISSING
    assert found.open == ""
    assert found.finish() == [{"op": "add", "path": "", "value": 42}]
    assert found.finish() == []
    assert found.close() == 42


def test_snapshots_share_nothing():
    found = JSONText()
    found.feed('{"list": [1, ')
    before = found.snapshot()
    operations = found.feed("2]}")
    assert before == {"list": [1]}
    found.snapshot()["list"].append("mine")
    operations[0]["value"] = "mine"
    assert found.close() == {"list": [1, 2]}


def test_paths_that_are_too_long_are_not_told_but_read():
    key = "k" * (MAX_PATH + 1)
    found = JSONText()
    assert found.feed('["x", ') != []
    assert found.feed(f'{{"{key}": ["y') == []
    assert found.feed('z", 1') == []
    assert found.open == ""
    assert found.snapshot() == ["x", {key: ["yz"]}]
    assert found.feed("]") == []
    whole = ["x", {key: ["yz", 1]}]
    assert found.feed("}]") == [{"op": "add", "path": "", "value": whole}]
    assert found.close() == whole


def test_text_beyond_the_limit_is_not_read():
    found = JSONText(max_length=10)
    found.feed("[true] and")
    found.feed(" more")
    assert found.raw == "[true] and"
    assert found.close() == [True]
    found = JSONText(max_length=10)
    found.feed('{"a": "more than ten"}')
    with pytest.raises(OutputError, match="longer than 10 characters") as caught:
        found.close()
    assert caught.value.raw == '{"a": "mor'
    found = JSONText(max_length=10)
    found.feed("only prose here")
    with pytest.raises(OutputError, match="longer than 10 characters"):
        found.close()


# --- Cost -----------------------------------------------------------------------------------------


def cost(text: str, size: int) -> float:
    found = JSONText(max_length=10_000_000)
    begun = time.process_time()
    for at in range(0, len(text), size):
        found.feed(text[at : at + size])
    with suppress(OutputError):
        found.close()
    return time.process_time() - begun


HOSTILE = [
    *("[", "{", "`", "~", '"', "\\", "[0", '["', '["x', '{"a":', '{"a":x', "[1] ", "[1,", "[ \n ", "9"),
    *(
        '{"a":1 x',
        '["a" x]',
        '{"abc',
        "```\n",
        "```x",
        "``` ",
        "```json\n[",
        "```\n1 x",
        "```\nx",
        "\n```json ",
    ),
    *('["\n```\n[", ', '["\\"\n```\n["\\"', '{"\n```json\n', '{"a":"\n```\n"x"', '{"a":x"\\', '{"a":1,x"```'),
]


@pytest.mark.parametrize("size", [1, 1_000_000])
@pytest.mark.parametrize("unit", HOSTILE)
def test_ten_times_the_hostile_text_costs_ten_times_as_much(unit, size):
    few = unit * (3_000 // len(unit))
    cost(few, size)
    least = min(cost(few, size) for _ in range(2))
    assert any(cost(few * 10, size) < 30 * least + 0.02 for _ in range(3))


def test_a_long_key_around_many_values_is_not_told_with_each():
    def text(size: int) -> str:
        return '{"' + "k" * size + '": [' + "0," * size

    least = min(cost(text(5_000), 16) for _ in range(3))
    assert cost(text(50_000), 16) < 30 * least + 0.05
