"""Structured output: what a model is asked, and what becomes of its answer."""

from __future__ import annotations

import copy
import json
from collections import OrderedDict
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypedDict

import msgspec
import pytest

from openrouter_app.engine.chains.model import ChatOpenRouter
from openrouter_app.engine.chains.steps import Call, Chain
from openrouter_app.engine.chains.structured import strict_schema, structured
from openrouter_app.engine.errors import OutputError, ToolSpecError, UsageError
from openrouter_app.engine.messages import (
    AIMessage,
    HumanMessage,
    ReasoningDelta,
    RefusalDelta,
    Reply,
    ReplyFinished,
    Reset,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolCallInvalid,
    ToolCallReady,
    ToolCallStarted,
)
from openrouter_app.engine.tools import ToolChoice, ToolSpec

from .scripted import FINISHED, Says, faces

CUT = ReplyFinished("length", "", None, "gen-1", "a/b", "P")


@dataclass
class Point:
    """A place."""

    x: int
    y: int | None = None


class Joke(msgspec.Struct):
    setup: str
    punchline: str = ""


class Tree(msgspec.Struct):
    name: str
    below: list[Tree] = []


class Named(TypedDict, total=False):
    name: str
    at: Point


JOKE = {
    "title": "A joke!",
    "description": "One joke",
    "type": "object",
    "properties": {"setup": {"type": "string"}, "punchline": {"type": "string", "default": None}},
    "required": ["setup"],
}


def text(*parts: str) -> list[Any]:
    return [ReasoningDelta("hm"), *map(TextDelta, parts), FINISHED]


def called(*parts: str, id: str = "c", name: str = "Joke") -> list[Any]:
    whole = json.loads("".join(parts))
    deltas = [ToolCallDelta(id, part) for part in parts]
    return [ToolCallStarted(id, name), *deltas, ToolCallReady(id, name, whole), FINISHED]


EVENTS = {"response_format": text, "tool": called}
both = pytest.mark.parametrize("method", ["response_format", "tool"])


def asked(schema: Any, **how: Any) -> dict[str, Any]:
    """The options with which the model is called."""
    model = Says(*text("no JSON"))
    chain = structured(model, schema, **how)
    with pytest.raises(OutputError):
        chain.invoke("x")
    return model.calls[0].options


# --- What the model is asked ----------------------------------------------------------------------


def test_response_format_carries_name_strictness_and_schema():
    options = asked(JOKE)
    closed = {"additionalProperties": False, "required": ["setup", "punchline"]}
    assert options == {
        "response_format": {
            "type": "json_schema",
            "json_schema": {
                "name": "A_joke",
                "strict": True,
                "schema": {
                    **JOKE,
                    **closed,
                    "properties": {"setup": {"type": "string"}, "punchline": {"type": "string"}},
                },
            },
        }
    }
    sent = asked(JOKE, strict=False, name="joke")["response_format"]["json_schema"]
    assert sent == {"name": "joke", "strict": False, "schema": JOKE}


def test_tool_carries_the_same_and_must_be_called():
    options = asked(JOKE, method="tool", strict=False)
    assert options == {
        "tools": [ToolSpec("A_joke", "One joke", JOKE, False)],
        "tool_choice": ToolChoice.forced("A_joke"),
    }
    (tool,) = asked(Point, method="tool")["tools"]
    assert (tool.name, tool.description, tool.strict) == ("Point", "A place.", True)
    assert tool.input_json_schema["required"] == ["x", "y"]


def test_model_sends_what_is_bound():
    model = ChatOpenRouter(model="a/b", api_key="k")
    for method, members in (("response_format", {"response_format"}), ("tool", {"tools", "tool_choice"})):
        bound = structured(model, Point, method=method).steps[0]
        body = json.loads(model.request([HumanMessage("x")], Call(True, bound.options)).body)
        assert members <= body.keys()
    assert body["tool_choice"] == {"type": "function", "function": {"name": "Point"}}
    assert body["tools"][0]["function"]["strict"] is True
    assert isinstance(model.with_structured_output(Point), Chain)


def test_the_callers_schema_is_neither_changed_nor_followed():
    schema = copy.deepcopy(JOKE)
    model = Says(*text('{"setup": "s"}'))
    chain = structured(model, schema, strict=False)
    assert schema == JOKE
    schema["properties"]["setup"]["type"] = "integer"
    assert chain.invoke("x") == {"setup": "s"}
    sent = model.calls[0].options["response_format"]["json_schema"]["schema"]
    assert sent["properties"]["setup"] == {"type": "string"}


def schema_of(kind: Any, strict: bool = True) -> dict[str, Any]:
    return asked(kind, strict=strict)["response_format"]["json_schema"]["schema"]


def test_a_type_stands_at_the_root_with_what_it_refers_to():
    place = {
        "title": "Point",
        "description": "A place.",
        "type": "object",
        "properties": {"x": {"type": "integer"}, "y": {"anyOf": [{"type": "integer"}, {"type": "null"}]}},
        "required": ["x", "y"],
        "additionalProperties": False,
    }
    assert schema_of(Point) == place
    named = schema_of(Named)
    assert sorted(named.pop("required")) == ["at", "name"]
    assert named == {
        "title": "Named",
        "type": "object",
        "properties": {"name": {"type": "string"}, "at": {"$ref": "#/$defs/Point"}},
        "additionalProperties": False,
        "$defs": {"Point": place},
    }
    tree = schema_of(Tree)
    assert tree["properties"]["below"]["items"] == {"$ref": "#/$defs/Tree"}
    assert tree["$defs"]["Tree"]["additionalProperties"] is False


@pytest.mark.parametrize(
    "kind",
    [list[Point], int, Point | None, Literal["a", "b"], {"type": "array"}, {"anyOf": [JOKE, JOKE]}, {}],
)
def test_what_is_no_object_is_wrapped_in_one(kind):
    schema = schema_of(kind)
    assert schema["type"] == "object"
    assert schema["required"] == ["value"] == list(schema["properties"])
    assert schema["additionalProperties"] is False
    if kind == list[Point]:
        assert schema["properties"]["value"] == {"type": "array", "items": {"$ref": "#/$defs/Point"}}
        assert schema["$defs"]["Point"]["additionalProperties"] is False
        assert asked(kind)["response_format"]["json_schema"]["name"] == "answer"


def test_a_schema_without_a_type_that_has_properties_is_an_objects():
    assert schema_of({"properties": {"a": True}}, strict=False) == {
        "type": "object",
        "properties": {"a": True},
    }


def test_a_root_that_refers_is_put_in_place():
    definitions = {"J": JOKE, "Other": {"type": "string"}}
    found = schema_of({"$ref": "#/$defs/J", "title": "Mine", "$defs": definitions}, strict=False)
    assert found == {**JOKE, "title": "Mine", "$defs": {"Other": {"type": "string"}}}


@pytest.mark.parametrize(
    ("schema", "strict"),
    [
        (True, True),
        ({"type": "string", "default": None}, {"type": "string"}),
        ({"type": "string", "default": "x"}, {"type": "string", "default": "x"}),
        (
            {"type": "array", "items": {"properties": {}}},
            {"type": "array", "items": {"properties": {}, "additionalProperties": False, "required": []}},
        ),
        # what stands for data stays
        (
            {"const": {"properties": {"default": None}}, "enum": [{"properties": {}}]},
            {"const": {"properties": {"default": None}}, "enum": [{"properties": {}}]},
        ),
        # a property may have any name
        (
            {"properties": {"properties": {"type": "string"}, "default": {}}},
            {
                "properties": {"properties": {"type": "string"}, "default": {}},
                "additionalProperties": False,
                "required": ["properties", "default"],
            },
        ),
        # what says more of the same value is not closed
        ({"allOf": [{"properties": {"a": {}}}]}, {"allOf": [{"properties": {"a": {}}}]}),
        # keys of free choice stay free
        ({"type": "object"}, {"type": "object"}),
        (
            {"type": "object", "additionalProperties": {"properties": {"a": {}}}},
            {
                "type": "object",
                "additionalProperties": {
                    "properties": {"a": {}},
                    "additionalProperties": False,
                    "required": ["a"],
                },
            },
        ),
        (
            {"properties": {"a": {}}, "additionalProperties": True},
            {"properties": {"a": {}}, "additionalProperties": True},
        ),
    ],
)
def test_strict_closes_objects_and_requires_all(schema, strict):
    before = copy.deepcopy(schema)
    assert strict_schema(schema) == strict
    assert schema == before


@pytest.mark.parametrize("held", ["anyOf", "oneOf", "prefixItems", "$defs", "definitions", "properties"])
def test_strict_looks_into_what_holds_schemas(held):
    inner = {"properties": {"a": {}}}
    closed = {**inner, "additionalProperties": False, "required": ["a"]}
    many = held in ("anyOf", "oneOf", "prefixItems")
    found = strict_schema({held: [inner] if many else {"x": inner}})
    assert found[held] == ([closed] if many else {"x": closed})


def test_any_mapping_is_a_schema():
    assert schema_of(OrderedDict(type="object", properties=OrderedDict(), required=())) == {
        "type": "object",
        "properties": {},
        "required": [],
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    ("schema", "how", "error"),
    [
        (object(), {}, UsageError),
        (lambda: 1, {}, UsageError),
        ({"type": "objekt"}, {}, ToolSpecError),
        ({"type": "object", "$defs": 3}, {}, ToolSpecError),
        ({"type": "object", "properties": {"a": {"$ref": "https://example.com"}}}, {}, ToolSpecError),
        ({"type": "object", "title": 3}, {}, ToolSpecError),
        (JOKE, {"name": "a joke"}, ToolSpecError),
        (JOKE, {"method": "prose"}, UsageError),
    ],
)
def test_what_cannot_be_asked_is_refused_before_anything_is_sent(schema, how, error):
    with pytest.raises(error):
        structured(Says(), schema, **how)


# --- What becomes of the answer -------------------------------------------------------------------


@both
async def test_a_schemas_answer_is_a_dict_that_grows(method):
    def make():
        return structured(
            Says(*EVENTS[method]('{"setup": "Wh', 'y?"', ', "punchline": "B."}')), JOKE, method=method
        )

    whole = {"setup": "Why?", "punchline": "B."}
    assert await faces(make, "x", "stream") == [{"setup": "Wh"}, {"setup": "Why?"}, whole]
    assert await faces(make, "x", "invoke") == whole


@both
def test_a_types_answer_is_of_the_type_and_comes_last(method):
    model = Says(*EVENTS[method]('{"setup": "Wh', 'y?", "punchline": "B."}'))
    chain = structured(model, Joke, method=method)
    whole = {"setup": "Why?", "punchline": "B."}
    assert list(chain.stream("x")) == [{"setup": "Wh"}, whole, Joke("Why?", "B.")]
    assert chain.invoke("x") == Joke("Why?", "B.")


@both
def test_what_was_wrapped_is_unwrapped(method):
    events = EVENTS[method]('{"value": ', "[{", '"x": 1, "y": null}', "]}")
    chain = structured(Says(*events), list[Point], method=method)
    assert list(chain.stream("x")) == [[{}], [{"x": 1, "y": None}], [Point(1)]]
    assert chain.invoke("x") == [Point(1)]
    schema = {"type": "array", "items": JOKE}
    chain = structured(Says(*EVENTS[method]('{"value": [{"setup": "s"}]}')), schema, method=method)
    assert chain.invoke("x") == [{"setup": "s"}]


def test_a_model_may_leave_the_wrapper_out():
    assert structured(Says(*text('[{"x": 1}]')), list[Point]).invoke("x") == [Point(1)]
    assert structured(Says(*text('{"x": 1}')), Point | None).invoke("x") == Point(1)
    chain = structured(Says(*text("[1, 2", ', "x"]')), {"type": "array"})
    assert list(chain.stream("x")) == [[1], [1, 2, "x"]]


@both
def test_an_answer_that_does_not_fit_is_an_error_behind_the_last_snapshot(method):
    for schema, place in ((JOKE, "setup"), (Joke, r"\$\.setup")):
        seen = []
        chain = structured(Says(*EVENTS[method]('{"setup": 1}')), schema, method=method)
        with pytest.raises(OutputError, match=place) as caught:
            seen.extend(chain.stream("x"))
        assert seen == [{"setup": 1}]
        assert json.loads(caught.value.raw) == {"setup": 1}
    with pytest.raises(OutputError):
        structured(Says(*text("[1]")), JOKE).invoke("x")


@both
def test_the_schema_that_was_given_decides_and_not_the_strict_one(method):
    assert structured(Says(*EVENTS[method]('{"setup": "s"}')), JOKE, method=method).invoke("x") == {
        "setup": "s"
    }


@both
def test_refusal_is_an_error(method):
    with pytest.raises(OutputError, match="I will not"):
        structured(Says(RefusalDelta("I will not."), FINISHED), JOKE, method=method).invoke("x")


@both
def test_what_came_before_a_reset_does_not_count(method):
    events = [*EVENTS[method]('{"setup": "old"}')[:-2], Reset(), *EVENTS[method]('{"setup": "new"}')]
    chain = structured(Says(*events), JOKE, method=method)
    assert list(chain.stream("x"))[-2:] == [Reset(), {"setup": "new"}]
    assert chain.invoke("x") == {"setup": "new"}


def test_only_the_first_call_counts():
    first, second = called('{"setup": "1"}', id="1"), called('{"setup": "2"}', id="2")
    invalid = ToolCallInvalid("3", "Joke", "{", "cut")
    chain = structured(Says(*first[:-1], *second[:-1], invalid, FINISHED), JOKE, method="tool")
    assert list(chain.stream("x")) == [{"setup": "1"}]


def test_arguments_that_are_no_object_are_an_error():
    events = [
        ToolCallStarted("c", "J"),
        ToolCallDelta("c", '{"setup": "W'),
        ToolCallInvalid("c", "J", "{", "cut"),
    ]
    seen = []
    with pytest.raises(OutputError, match="cut") as caught:
        seen.extend(structured(Says(*events), JOKE, method="tool").stream("x"))
    assert seen == [{"setup": "W"}]
    assert caught.value.raw == "{"


def test_a_model_that_does_not_call_is_an_error_with_what_it_said():
    for events, message in (
        (text("Sure, ", "why not?"), "did not call"),
        ([*text("Sure, why not?"), CUT], "length"),
    ):
        with pytest.raises(OutputError, match=message) as caught:
            structured(Says(*events), JOKE, method="tool").invoke("x")
        assert caught.value.raw == "Sure, why not?"


def reply(message: AIMessage, **more: Any) -> Reply:
    return Reply(message, "stop", "", None, "gen-1", "a/b", "P", **more)


def test_a_whole_answer_is_read_the_same():
    call = ToolCall("c", "Joke", {"setup": "s"})
    for item in (reply(AIMessage("", (call,))), AIMessage("", (call,))):
        assert structured(Says(item), JOKE, method="tool").invoke("x") == {"setup": "s"}
    assert structured(Says(reply(AIMessage('{"setup": "s"}'))), JOKE).invoke("x") == {"setup": "s"}
    with pytest.raises(OutputError, match="did not call") as caught:
        structured(Says(AIMessage("No.")), JOKE, method="tool").invoke("x")
    assert caught.value.raw == "No."
    with pytest.raises(OutputError, match="Never"):
        structured(Says(AIMessage("", refusal="Never.")), JOKE, method="tool").invoke("x")
    invalid = (ToolCallInvalid("c", "Joke", "[]", "no object"),)
    with pytest.raises(OutputError, match="no object"):
        structured(Says(reply(AIMessage(""), invalid_tool_calls=invalid)), JOKE, method="tool").invoke("x")


def test_constraints_of_a_type_are_kept():
    class Rated(msgspec.Struct):
        stars: Annotated[int, msgspec.Meta(ge=1, le=5)]

    chain = structured(Says(*text('{"stars": 6}')), Rated)
    with pytest.raises(OutputError, match="<= 5"):
        chain.invoke("x")


def test_the_chain_says_what_it_is():
    assert repr(structured(ChatOpenRouter(model="a/b"), JOKE)) == (
        "ChatOpenRouter(model='a/b').bind(response_format) | structured('A_joke')"
    )
