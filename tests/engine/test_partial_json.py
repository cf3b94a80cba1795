"""The parser of JSON that is still being written, against `json.loads` and `partial_json_parser`."""

from __future__ import annotations

import copy
import json
import math
import pickle
import re
import subprocess
import sys
from itertools import pairwise

import partial_json_parser
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from openrouter_app.engine import partial_json
from openrouter_app.engine.errors import OutputError, PartialJSONError
from openrouter_app.engine.operations import MISSING, apply, merge
from openrouter_app.engine.partial_json import PartialJSON, complete

from .properties import short, some_ends

# --- What is generated ---------------------------------------------------------------------------
# Texts are written directly, not rendered from values: so they have duplicate keys, every way to
# write an escape, white space everywhere, and halves of surrogate pairs.

MARK = "\ue000"  # never generated: the tests use it to mark places

blanks = st.sampled_from(["", "", "", " ", "\n  ", "\t", "\r\n"])
characters = st.one_of(
    st.sampled_from('ab/~ {}[]:,"\\\t\n\x00\x1f\x7f\xa0é日😀\u2028\ud800\udfff'),
    st.characters(exclude_categories=(), exclude_characters=MARK),
)
codes = st.one_of(
    st.sampled_from(["0000", "0022", "005c", "d83d", "DBFF", "d800", "de00", "dFfF", "ffff", "fffd"]),
    st.integers(0, 0xFFFF).filter(lambda code: code != ord(MARK)).map("{:04x}".format),
)
string_pieces = st.one_of(
    characters.map(lambda char: json.dumps(char)[1:-1] if char in '"\\' else char),
    codes.map(r"\u{}".format),
    st.sampled_from(
        [r"\"", r"\\", r"\/", r"\b", r"\f", r"\n", r"\r", r"\t", r"\ud83d\ude00", r"\\u00e9", "word "]
    ),
)
strings = st.lists(string_pieces, max_size=8).map(lambda pieces: '"' + "".join(pieces) + '"')
keys = st.one_of(st.sampled_from(['"a"', '"b"', '"__proto__"', '""', '"a/b~c"', '"0"', r'"\u0061"']), strings)
numbers = st.one_of(
    st.sampled_from(["0", "-0", "-0.0", "1E+2", "1e-400", "-12.50e3", "9007199254740993", "0.1e1"]),
    st.from_regex(r"-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,5})?([eE][-+]?[0-9]{1,2})?", fullmatch=True),
)
words = st.sampled_from(["true", "false", "null"])


def spaced(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(blanks, parts, blanks).map("".join)


def containers(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    items = st.lists(spaced(values), max_size=4).map(",".join)
    members = st.lists(st.builds("{}:{}".format, spaced(keys), spaced(values)), max_size=4).map(",".join)
    return st.one_of(st.builds("[{}{}]".format, blanks, items), st.builds("{{{}{}}}".format, blanks, members))


values = st.recursive(strings | numbers | words, containers, max_leaves=12)
documents = short(spaced(values))
rooted = short(spaced(containers(values)))  # the root is an object or array

vandals = st.sampled_from(
    [
        *'"\\{}[]:,-+.eE01tfn x',
        "NaN",
        "-Infinity",
        "1e400",
        "-1e400",
        "\x00",
        "\x0c",
        "\xa0",
        "\ufeff",
        "\uff11",
        "\\u12",
        "\\x",
    ]
)
mutated = st.builds(
    lambda text, at, gone, new: text[: at % (len(text) + 1)] + new + text[at % (len(text) + 1) + gone :],
    documents,
    st.integers(0, 10_000),
    st.integers(0, 3),
    st.just("") | vandals,
)
cuts = st.lists(st.integers(1, 12), min_size=1, max_size=30)


# --- What it is held against ---------------------------------------------------------------------


def pieces(text: str, sizes: list[int]) -> list[str]:
    """The text in pieces of these sizes, taken over and over."""
    found, at, turn = [], 0, 0
    while at < len(text):
        size = sizes[turn % len(sizes)]
        found.append(text[at : at + size])
        at, turn = at + size, turn + 1
    return found


def clean(value, unfit=re.compile("[\x00\ud800-\udfff]")):
    """The value with U+FFFD for what is fit for no browser or database."""
    if isinstance(value, dict):
        return {unfit.sub("\ufffd", key): clean(member) for key, member in value.items()}
    if isinstance(value, list):
        return [clean(item) for item in value]
    return unfit.sub("\ufffd", value) if isinstance(value, str) else value


def finite(text: str) -> float:
    if not math.isfinite(float(text)):
        raise ValueError(text)
    return float(text)


def oracle(text: str):
    """What `json.loads` says, cleaned; ValueError where it refuses or gives NaN or Infinity."""
    return clean(json.loads(text, strict=False, parse_float=finite, parse_constant=finite))


def same(one, other) -> bool:
    """Equal in types and in the order of keys too (1 is not 1.0, nor True)."""
    return repr(one) == repr(other)


def read(text: str, sizes: list[int] = [1_000_000]):  # noqa: B006
    """The value of a whole text fed in pieces."""
    parser = PartialJSON()
    for piece in pieces(text, sizes):
        parser.feed(piece)
    return parser.close()


def refusal(text: str, sizes: list[int] = [1_000_000]) -> PartialJSONError | None:  # noqa: B006
    try:
        read(text, sizes)
    except PartialJSONError as error:
        return error
    return None


HELD = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}(\\(u([dD]([c-fC-F][0-9a-fA-F]?)?)?)?)?\Z")
OUTSIDE = re.compile(r'(?:[^"]|"(?:[^"\\]|\\.)*")*', re.DOTALL)


def library(prefix: str):
    """What `partial_json_parser` says of a prefix, with the three exceptions of the design.

    Each is made by asking it another question, so that nothing is compared loosely.
    """
    outside = OUTSIDE.fullmatch(prefix)
    if not outside:
        opening = OUTSIDE.match(prefix).end()
        held = next((m for m in HELD.finditer(prefix, opening) if escapes(prefix, opening, m.start())), None)
        if held:  # half of a surrogate pair is held back
            prefix = prefix[: held.start()]
        if prefix[-1].isspace():  # white space at the end of an open string is kept
            prefix += MARK
    elif prefix[-1] in " \t\r\n" and prefix.rstrip()[-1].isdigit():  # a number before white space is shown
        prefix = prefix.rstrip() + ","
    kinds = partial_json_parser.STR | partial_json_parser.ARR | partial_json_parser.OBJ
    found = partial_json_parser.loads(prefix, kinds, parser=lambda text: json.loads(text, strict=False))
    return unmark(clean(found))


def escapes(text: str, opening: int, at: int) -> bool:
    """Whether the backslash at ``at`` begins an escape, in the string that opens before it."""
    before = text[opening:at]
    return (len(before) - len(before.rstrip("\\"))) % 2 == 0


def unmark(value):
    if isinstance(value, dict):
        return {key: unmark(member) for key, member in value.items()}
    if isinstance(value, list):
        return [unmark(item) for item in value]
    return value.replace(MARK, "") if isinstance(value, str) else value


def leaves(value, path: str = "") -> dict[str, object]:
    """Every path in a value with what stands there; of a container only its kind."""
    found: dict[str, object] = {path: type(value) if isinstance(value, (dict, list)) else value}
    if isinstance(value, (dict, list)):
        for key, member in value.items() if isinstance(value, dict) else enumerate(value):
            found |= leaves(member, path + "/" + str(key).replace("~", "~0").replace("/", "~1"))
    return found


def around(path: str, place: str) -> bool:
    """Whether ``path`` is ``place`` or an ancestor of it."""
    return place == path or place.startswith(path + "/")


# --- Any cut, any prefix, any mistake -------------------------------------------------------------


@given(documents, cuts)
def test_any_cut_gives_the_value_of_json_loads(text, sizes):
    parser, shown = PartialJSON(), MISSING
    for piece in pieces(text, sizes):
        shown = apply(shown, parser.feed(piece))
        assert same(shown, parser.value)
    if shown is MISSING:  # a bare number that ends with the text
        shown = apply(shown, parser.feed("\n"))
    assert same(parser.close(), oracle(text))
    assert same(shown, oracle(text))
    assert parser.open is None


@given(documents, cuts, cuts)
def test_what_is_shown_depends_on_the_text_and_not_on_its_cut(text, sizes, others):
    def seen(sizes):
        parser, length, shown = PartialJSON(), 0, {}
        for piece in pieces(text, sizes):
            parser.feed(piece)
            length += len(piece)
            shown[length] = (repr(parser.value), parser.open)
        return shown

    one, other = seen(sizes), seen(others)
    assert all(one[length] == other[length] for length in one.keys() & other.keys())


@given(rooted, st.lists(st.integers(0, 200), min_size=5, max_size=5))
def test_any_prefix_is_shown_as_partial_json_parser_shows_it(text, at):
    parser, text = PartialJSON(), text.lstrip()
    ends = some_ends(text, at)
    for end in range(1, len(text) + 1):
        parser.feed(text[end - 1])
        if end in ends:
            assert same(parser.value, library(text[:end])), text[:end]


@given(mutated, cuts)
@example("1e400", [1])
@example("[-1e400]", [2])
@example('{"a":1,}', [1])
def test_what_json_loads_refuses_is_refused_and_nothing_else(text, sizes):
    try:
        wanted = oracle(text)
    except ValueError:
        assert refusal(text, sizes) is not None
    else:
        assert same(read(text, sizes), wanted)


@given(mutated, cuts)
@example('["\\ud83d\\uZ', [1])
@example("[truth]", [1])
def test_an_error_stands_at_the_first_character_that_no_json_can_have_there(text, sizes):
    error = refusal(text)
    if error is None:
        return
    again = refusal(text, sizes)
    assert (again.message, again.position) == (error.message, error.position)
    if "too large" in error.message:
        return  # known only at its end, told at its beginning
    parser = PartialJSON()
    parser.feed(text[: error.position])
    if error.position < len(text):
        with pytest.raises(PartialJSONError):
            parser.feed(text[error.position])


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ('{"a" 1}', 5),
        ('{"a":1,}', 7),
        ("{'a':1}", 1),
        ("{,}", 1),
        ("[1,]", 3),
        ("[1 2]", 3),
        ("[01]", 2),
        ("[1.]", 3),
        ("[-]", 2),
        ("[+1]", 1),
        ("[1e+]", 4),
        ("[.5]", 1),
        ("[tru]", 4),
        ("[True]", 1),
        ("[NaN]", 1),
        ("[-Infinity]", 2),
        ("[1, 1e400]", 4),
        (r'["a\x"]', 4),
        (r'["\u12g4"]', 6),
        ('{"a":1}}', 7),
        ("[1}", 2),
        ("```json", 0),
        ("\ufeff{}", 0),
        ("\xa0{}", 0),
        ("[\x00]", 1),
        ('["a', 3),
        ('{"a":', 5),
        ("[1e", 3),
        ("-", 1),
        ("1.5e", 4),
        ("", 0),
        (" \n", 2),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 100])
def test_an_error_says_where(text, position, size):
    error = refusal(text, [size])
    assert error.position == position
    assert str(position) in str(error)


def test_an_error_is_final():
    parser = PartialJSON()
    parser.feed('{"a":"kept"')
    with pytest.raises(PartialJSONError) as first:
        parser.feed("]")
    for more in ("}", "", " "):
        with pytest.raises(OutputError) as later:
            parser.feed(more)
        assert later.value is first.value
    with pytest.raises(PartialJSONError) as last:
        parser.close()
    assert last.value is first.value
    assert parser.value == {"a": "kept"}


# --- What is shown when --------------------------------------------------------------------------


def test_a_joke_is_shown_as_it_is_told():
    parser = PartialJSON()
    told = [
        parser.feed(piece)
        for piece in ["{", '"setup', '":"', "Why", " did", '?","punch', 'line":"To ', 'laugh"', "}"]
    ]
    assert told == [
        [{"op": "add", "path": "", "value": {}}],
        [],
        [{"op": "add", "path": "/setup", "value": ""}],
        [{"op": "append", "path": "/setup", "value": "Why"}],
        [{"op": "append", "path": "/setup", "value": " did"}],
        [{"op": "append", "path": "/setup", "value": "?"}],
        [{"op": "add", "path": "/punchline", "value": "To "}],
        [{"op": "append", "path": "/punchline", "value": "laugh"}],
        [],
    ]
    assert parser.close() == {"setup": "Why did?", "punchline": "To laugh"}


def test_nothing_is_shown_before_the_first_value():
    parser = PartialJSON()
    assert parser.value is MISSING
    assert parser.snapshot() is MISSING
    assert parser.feed(" \n") == []
    assert parser.value is MISSING
    assert parser.open == ""
    assert repr(MISSING) == "MISSING"
    assert copy.deepcopy(MISSING) is pickle.loads(pickle.dumps(MISSING)) is MISSING


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a', {}),
        ('{"a":', {}),
        ('{"a":12', {}),
        ('{"a":12 ', {"a": 12}),
        ('{"a":12,', {"a": 12}),
        ('{"a":12}', {"a": 12}),
        ('{"a":tru', {}),
        ('{"a":true', {"a": True}),
        ('{"a":"x\\', {"a": "x"}),
        ('{"a":"x\\u00', {"a": "x"}),
        ('{"a":"x\\ud83d', {"a": "x"}),
        ('{"a":"x\\ud83d\\ude0', {"a": "x"}),
        ('{"a":"x\\ud83d\\ude00', {"a": "x😀"}),
        ('{"a":"x\\ud83dy', {"a": "x\ufffdy"}),
        ("[[1,2],[", [[1, 2], []]),
        ('"x', "x"),
        ("12 ", 12),
        ("12", MISSING),
    ],
)
def test_only_what_cannot_change_any_more_is_shown(text, value):
    parser = PartialJSON()
    parser.feed(text)
    assert same(parser.value, value)


def test_a_number_that_is_the_whole_text_appears_at_its_end():
    parser = PartialJSON()
    operations = parser.feed("-1") + parser.feed("2.5")
    last = parser.feed("")
    assert parser.close() == -12.5
    assert parser.close() == -12.5
    assert operations == last == []
    with pytest.raises(PartialJSONError):
        parser.feed("3")


def test_a_number_that_was_cut_off_is_never_shown():
    parser = PartialJSON()
    parser.feed("[1, 2")
    with pytest.raises(PartialJSONError):
        parser.close()
    assert parser.value == [1]


def test_what_opens_and_closes_in_one_feed_is_added_whole():
    parser = PartialJSON()
    assert parser.feed('{"a":[1,{"b":"c"}],"d":{"e":[true],"f":"g') == [
        {"op": "add", "path": "", "value": {"a": [1, {"b": "c"}]}},
        {"op": "add", "path": "/d", "value": {"e": [True]}},
        {"op": "add", "path": "/d/f", "value": "g"},
    ]
    assert parser.feed('h"},"i":[[2]]}') == [
        {"op": "append", "path": "/d/f", "value": "h"},
        {"op": "add", "path": "/i", "value": [[2]]},
    ]


def test_a_long_key_is_not_repeated_for_all_that_comes_with_it():
    parser = PartialJSON()
    operations = parser.feed('{"' + "k" * 100_000 + '":[' + "[],{}," * 50_000 + '"open')
    assert [len(operation["path"]) for operation in operations] == [0, 100_001, 100_008]
    assert apply(MISSING, operations) == parser.value


def test_a_key_that_comes_twice_in_one_feed_keeps_its_first_place():
    operations = PartialJSON().feed('[{"a":1,"b":2,"a":["x')
    assert apply(MISSING, operations) == [{"a": ["x"], "b": 2}]
    assert list(apply(MISSING, operations)[0]) == ["a", "b"]


def test_operations_share_nothing_with_the_value():
    parser = PartialJSON()
    operations = parser.feed('{"a":[{}],"b":[') + parser.feed("[]")
    before = copy.deepcopy(operations)
    snapshot = parser.snapshot()
    parser.value["a"][0]["changed"] = parser.value["b"][0].append(1)
    assert operations == before
    assert snapshot == {"a": [{}], "b": [[]]}
    parser.feed("],")
    assert operations == before


def test_a_key_that_comes_twice_keeps_its_first_place_and_its_last_value():
    parser, shown = PartialJSON(), MISSING
    for piece in pieces('{"a":{"x":1},"b":2,"a":"new","\\u0061":["last', [1]):
        shown = apply(shown, parser.feed(piece))
    assert list(shown.items()) == [("a", ["last"]), ("b", 2)]
    assert same(shown, parser.value)


def test_proto_is_a_key_like_any_other():
    parser = PartialJSON()
    operations = parser.feed('{"__proto__":') + parser.feed("{") + parser.feed('"polluted":true')
    assert operations[1:] == [
        {"op": "add", "path": "/__proto__", "value": {}},
        {"op": "add", "path": "/__proto__/polluted", "value": True},
    ]
    assert apply(MISSING, operations) == {"__proto__": {"polluted": True}}


def test_paths_are_escaped():
    parser = PartialJSON()
    operations = [
        operation
        for piece in ('{"a/b":', '{"m~1n":', "[", '"x", {"":', '"y')
        for operation in parser.feed(piece)
    ]
    assert [operation["path"] for operation in operations] == [
        "", "/a~1b", "/a~1b/m~01n", "/a~1b/m~01n/0", "/a~1b/m~01n/1", "/a~1b/m~01n/1/",
    ]  # fmt: skip
    assert parser.open == "/a~1b/m~01n/1/"
    assert apply(MISSING, operations) == {"a/b": {"m~1n": ["x", {"": "y"}]}}


def test_what_no_browser_or_database_takes_is_replaced():
    text = '{"k\x00\\u0000\ud800":"a\x00\\u0000\\udc00\\ud83d\\ud83d\\ude00\udfff\x01"}'
    expected = {"k\ufffd\ufffd\ufffd": "a\ufffd\ufffd\ufffd\ufffd😀\ufffd\x01"}
    for size in (1, 2, 5, 100):
        assert read(text, [size]) == expected


@given(documents, cuts)
def test_only_the_open_value_and_its_ancestors_grow(text, sizes):
    text = json.dumps(oracle(text))  # again, with every key once
    parser = PartialJSON()
    shown, place, last = MISSING, parser.open, ""
    for piece in pieces(text, sizes):
        operations = parser.feed(piece)
        before, after = leaves(shown), leaves(parser.snapshot())
        if shown is not MISSING:
            changed = {path for path in before if before[path] != after[path]}
            assert all(around(path, place) for path in changed)
            grown = {path.rpartition("/")[0] for path in after.keys() - before.keys()}
            assert all(around(path, place) or path not in before for path in grown)
        shown, place = parser.snapshot(), parser.open
        if operations:
            last = operations[-1]["path"]
        assert place is None or around(place, last)  # the last path, which clients go by, says no less


# --- Operations -----------------------------------------------------------------------------------


@given(documents, cuts, cuts)
def test_merged_operations_give_the_same_value(text, sizes, groups):
    parser = PartialJSON()
    batches = [parser.feed(piece) for piece in pieces(text, sizes)]
    untouched = copy.deepcopy(batches)
    merged, shown, at = [], MISSING, 0
    for group in groups * len(batches):
        window = []
        for batch in batches[at : at + group]:
            assert merge(window, batch) is window
        shown, at = apply(shown, window), at + group
        merge(merged, window)
    assert same(shown, parser.value)
    assert same(apply(MISSING, merged), parser.value)
    assert batches == untouched
    assert not any(
        later["op"] == "append" and later["path"] == earlier["path"] for earlier, later in pairwise(merged)
    )


def test_merge_joins_neighbours_at_one_path_only():
    add = {"op": "add", "path": "/a", "value": "x"}
    more = {"op": "append", "path": "/a", "value": "y"}
    other = {"op": "append", "path": "/b", "value": "z"}
    assert merge([], [add, more, more, other, more]) == [
        {"op": "add", "path": "/a", "value": "xyy"},
        other,
        more,
    ]
    assert merge([more], [add]) == [more, add]
    assert add["value"] == "x"


def test_apply_changes_neither_the_value_nor_the_operations():
    old = {"a": ["x"], "b": {"c": 1}}
    operations = [
        {"op": "append", "path": "/a/0", "value": "y"},
        {"op": "add", "path": "/a/1", "value": []},
        {"op": "add", "path": "/a/1/0", "value": None},
    ]
    before = copy.deepcopy((old, operations))
    new = apply(old, operations)
    assert new == {"a": ["xy", [None]], "b": {"c": 1}}
    assert (old, operations) == before
    assert new["b"] is old["b"]


def test_a_growing_string_costs_one_operation_with_the_new_text_a_feed():
    content = "One two\nthree. " * 5_000
    parser = PartialJSON()
    sent = [parser.feed(piece) for piece in pieces(json.dumps({"content": content}), [4])]
    assert max(map(len, sent)) <= 2
    appended = [operation["value"] for batch in sent for operation in batch if operation["op"] == "append"]
    assert max(map(len, appended)) <= 4
    assert sum(map(len, appended)) <= len(content)
    assert parser.value == {"content": content}


def test_many_records_cost_about_their_own_size_in_operations():
    text = json.dumps({"items": [{"id": number, "name": f"name {number}"} for number in range(2_000)]})
    parser = PartialJSON()
    sent = [operation for piece in pieces(text, [4]) for operation in parser.feed(piece)]
    shown = sum(len(operation["value"]) for operation in sent if isinstance(operation["value"], str))
    assert shown == sum(len(f"name {number}") for number in range(2_000))
    assert all(
        operation["value"] in ({}, []) for operation in sent if isinstance(operation["value"], dict | list)
    )


# --- Limits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize("number", ["9" * 4300, "-" + "9" * 4300, "0." + "3" * 4299, "1e" + "0" * 4299])
def test_a_number_has_4300_digits_at_most(number, size):
    assert same(read(number, [size]), oracle(number))
    error = refusal(f"[{number}0]", [size])
    assert "4,300 digits" in error.message
    assert error.position == 1 + len(number)


def test_a_lower_limit_of_the_host_is_an_error_of_ours():
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(640)
    try:
        assert refusal("[" + "1" * 641 + "]").position == 1
    finally:
        sys.set_int_max_str_digits(limit)


def test_values_nest_128_deep_at_most():
    deep = '{"a":[' * 64
    parser = PartialJSON()
    parser.feed(deep)
    assert parser.open == "/a/0" * 63 + "/a"
    for opening in "[{":
        error = refusal(deep + opening)
        assert "128" in error.message
        assert error.position == len(deep)
    assert read("[" * 128 + "]" * 128 + " ") == json.loads("[" * 128 + "]" * 128)
    assert PartialJSON(max_depth=1).feed("[1") == [{"op": "add", "path": "", "value": []}]
    with pytest.raises(PartialJSONError):
        PartialJSON(max_depth=1).feed("[[")


@pytest.mark.parametrize("sizes", [[1], [4], [100]])
def test_a_text_is_as_long_as_the_limit_at_most(sizes):
    for text in ('["日本"]', '["日本"] '):
        parser = PartialJSON(max_length=7)
        position = None
        try:
            for piece in pieces(text, sizes):
                parser.feed(piece)
        except PartialJSONError as error:
            position = error.position
        assert position == (7 if len(text) > 7 else None)  # in characters: in UTF-8 it has 11 bytes


def test_a_mistake_before_the_limit_comes_first():
    with pytest.raises(PartialJSONError) as error:
        PartialJSON(max_length=4).feed("[1 2 3 4]")
    assert error.value.position == 3


def test_a_million_characters_are_read():
    text = json.dumps(["x" * 999_996])
    assert len(text) == 1_000_000
    assert read(text, [100_000]) == json.loads(text)
    assert refusal(text + " ").position == 1_000_000


# --- The one-off reading ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a":[1,{"b":"c', {"a": [1, {"b": "c"}]}),
        ('  {"a":"bc', {"a": "bc"}),
        ('{"a":1,"b":12', {"a": 1}),
        ('{"a":"line\nbreak"}', {"a": "line\nbreak"}),
        ('{"a":"\\u0000\\ud800"}', {"a": "\ufffd\ufffd"}),
        ("12", 12),
        (' "ab', "ab"),
        ("\xa0[1]", None),
        ("", None),
        ("}", None),
        ('{"a" 1', None),
        ("[NaN, 1]", None),
        ("[1e400]", None),
        ("[" + "1" * 5_000 + ",1", None),
        ("[" * 100_000, None),
        ("[1] and so on", None),
    ],
)
def test_complete_makes_of_a_whole_text_what_it_can(text, value):
    assert complete(text) == value


def test_complete_reads_no_more_than_its_limit():
    assert complete('["abc"]', max_length=7) == ["abc"]
    assert complete('["abc', max_length=4) is None
    assert complete("[" * 100, max_length=100) is not None  # the closing marks do not count


@given(mutated)
def test_complete_never_raises_and_reads_what_is_whole(text):
    value = complete(text)
    try:
        wanted = oracle(text)
    except ValueError:
        return
    assert same(value, wanted)


def test_the_library_is_imported_at_first_use():
    program = (
        "import sys; from openrouter_app.engine import partial_json as p;"
        "assert 'partial_json_parser' not in sys.modules; p.PartialJSON().feed('[1');"
        "assert 'partial_json_parser' not in sys.modules; assert p.complete('[1,') == [1]"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    assert partial_json.__doc__


def test_the_example_of_the_module_is_true():
    parser = PartialJSON()
    assert parser.feed('{"setup": "Wh') == [
        {"op": "add", "path": "", "value": {}},
        {"op": "add", "path": "/setup", "value": "Wh"},
    ]
    assert parser.feed('y?"') == [{"op": "append", "path": "/setup", "value": "y?"}]
    assert parser.open == ""
    assert parser.feed("}") == []
    assert parser.close() == {"setup": "Why?"}
