"""Tools and whether one must be called, as they go out; tools with their functions, as they run."""

from __future__ import annotations

import asyncio
import functools
import json
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from openrouter_app.engine.errors import OutputError, ToolSpecError
from openrouter_app.engine.messages import ImagePart, TextPart
from openrouter_app.engine.tools import (
    MAX_RESULT,
    Tool,
    ToolChoice,
    ToolSpec,
    result_content,
    result_text,
    tool,
    tool_spec_of,
)

JOKE = {"type": "object", "properties": {"setup": {"type": "string"}}, "required": ["setup"]}


@tool
def refund(order: int, amount: Decimal, on: date | None = None) -> str:
    """Pay money back.

    Args:
        order: The order's number.
    """
    return f"{amount} for {order}"


# Specs


def test_tool_goes_out_as_it_is():
    tool = ToolSpec("joke", "A joke", JOKE)
    assert tool.wire() == {
        "type": "function",
        "function": {"name": "joke", "description": "A joke", "parameters": JOKE},
    }
    assert ToolSpec("joke", strict=True).wire()["function"]["strict"] is True


@pytest.mark.parametrize("name", ["", "a b", "a" * 65, "naïve", "a\n", "a.b"])
def test_tool_name_is_what_providers_take(name):
    with pytest.raises(ToolSpecError, match="no tool name"):
        ToolSpec(name)


@pytest.mark.parametrize("schema", [{}, {"type": "string"}, {"type": ["object"]}, [], None])
def test_tool_schema_has_an_object_at_its_root(schema):
    with pytest.raises(ToolSpecError, match="root"):
        ToolSpec("a", input_json_schema=schema)


def test_spec_is_kept_by_its_fields_names():
    spec = ToolSpec("joke", "A joke", JOKE, strict=True)
    kept = spec.to_dict()
    assert kept == {"name": "joke", "description": "A joke", "input_json_schema": JOKE, "strict": True}
    assert ToolSpec.from_dict(json.loads(json.dumps(kept))) == spec
    assert ToolSpec.from_dict({"name": "joke"}) == ToolSpec("joke")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "This is no ToolSpec: "),
        ({"name": 5}, "This is no ToolSpec: "),
        ("joke", "This is no ToolSpec: "),
        ({"name": "a b"}, "'a b' is no tool name"),
        ({"name": "a", "input_json_schema": {"type": "array"}}, "at its root"),
    ],
)
def test_what_is_no_spec_is_refused(values, said):
    with pytest.raises(ToolSpecError, match=said):
        ToolSpec.from_dict(values)


# Choices

CHOICES = [
    (ToolChoice.none(), {"type": "none"}),
    (ToolChoice.auto(), {"type": "auto"}),
    (ToolChoice.required(), {"type": "required"}),
    (ToolChoice.forced("joke"), {"type": "forced", "name": "joke"}),
]


def test_choices_on_the_wire():
    assert [ToolChoice.none().wire(), ToolChoice.auto().wire(), ToolChoice.required().wire()] == [
        "none",
        "auto",
        "required",
    ]
    assert ToolChoice.forced("joke").wire() == {"type": "function", "function": {"name": "joke"}}


@pytest.mark.parametrize(("choice", "kept"), CHOICES)
def test_choice_is_kept_as_a_dict(choice, kept):
    assert choice.to_dict() == kept
    assert ToolChoice.from_dict(kept) == choice


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"type": "any"},
        {"type": "forced"},
        {"type": "forced", "name": ""},
        {"type": "auto", "name": "joke"},
        "auto",
    ],
)
def test_what_is_no_choice_is_refused(values):
    with pytest.raises(ToolSpecError):
        ToolChoice.from_dict(values)


# Functions


def test_function_becomes_a_spec():
    def search(query: str, limit: int = 5):
        """Find things."""

    spec = tool_spec_of(search)
    assert (spec.name, spec.description, spec.strict) == ("search", "Find things.", False)
    assert spec.input_json_schema == {
        "type": "object",
        "properties": {"query": {"type": "string"}, "limit": {"type": "integer", "default": 5}},
        "required": ["query"],
    }
    renamed = tool_spec_of(search, name="find", description="", strict=True)
    assert (renamed.name, renamed.description, renamed.strict) == ("find", "", True)
    assert renamed.input_json_schema["required"] == ["query", "limit"]


def test_function_whose_name_is_no_tool_name_needs_one():
    with pytest.raises(ToolSpecError, match="'<lambda>' is no tool name: pass name="):
        tool_spec_of(lambda: None)
    with pytest.raises(ToolSpecError, match="'naïve' is no tool name: use"):
        tool_spec_of(lambda: None, name="naïve")
    assert tool_spec_of(lambda: None, name="nothing").name == "nothing"


def test_decorated_function_stays_a_function():
    assert refund(1, Decimal(2)) == "2 for 1"
    assert refund.__wrapped__(1, amount=Decimal(2)) == "2 for 1"
    assert (refund.__name__, refund.__module__) == ("refund", __name__)
    assert refund.__doc__.startswith("Pay money back.")


def test_decorated_function_is_a_tool():
    assert isinstance(refund, Tool)
    assert (refund.name, refund.spec.description) == ("refund", "Pay money back.")
    assert (refund.timeout, refund.needs_approval, refund.parallel) == (60.0, False, True)
    assert refund.spec.wire()["function"]["parameters"]["required"] == ["order", "amount"]


def test_options_of_the_decorator():
    @tool(
        name="pay",
        description="Pay.",
        strict=True,
        timeout=None,
        needs_approval=True,
        parallel=False,
        max_result=9,
    )
    def f(a: int = 1): ...

    assert f.spec == tool_spec_of(f, name="pay", description="Pay.", strict=True)
    assert (f.timeout, f.needs_approval, f.parallel, f.max_result) == (None, True, False, 9)


def test_arguments_are_checked_then_typed():
    assert refund.prepare({"order": 5.0, "amount": "1.50", "on": "2024-01-02", "other": 1}) == {
        "order": 5,
        "amount": Decimal("1.50"),
        "on": date(2024, 1, 2),
    }
    assert refund(**refund.prepare({"order": 1, "amount": "2"})) == "2 for 1"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"order": "x", "amount": "1"}, "arguments.order: 'x' is not of type 'integer'."),
        ({"order": 1}, "arguments: 'amount' is a required property."),
        ({"order": 1, "amount": "much"}, "arguments.amount: Invalid decimal string."),
    ],
)
def test_arguments_that_do_not_fit_never_reach_the_function(arguments, said):
    with pytest.raises(OutputError) as raised:
        refund.prepare(arguments)
    assert str(raised.value) == said


def test_spec_of_ones_own_with_a_function():
    taken = []

    def handle(setup, punchline="?"):
        taken.append((setup, punchline))

    joke = Tool(ToolSpec("joke", "A joke", JOKE), handle)
    joke(**joke.prepare({"setup": "Why?", "mood": "good"}))
    assert taken == [("Why?", "?")]
    with pytest.raises(OutputError, match=r"arguments\.setup: 5 is not of type 'string'"):
        joke.prepare({"setup": 5})


def test_prepared_arguments_are_the_functions_own_to_change():
    def sort(options: Any, items: list[Any], names: dict[str, Any]):
        """Sort."""

    arguments = {"options": {"a": {"b": 1}}, "items": [{"x": 1}], "names": {"n": [1]}}
    before = json.dumps(arguments)
    for made in (tool(sort), Tool(ToolSpec("sort"), sort)):
        prepared = made.prepare(arguments)
        prepared["options"]["a"].clear()
        prepared["items"][0].clear()
        prepared["names"]["n"].append(2)
        assert json.dumps(arguments) == before


def test_model_cannot_set_what_was_bound():
    def search(user: Any, query: str):
        return f"{query} for {user}"

    bound = functools.partial(search, user="me")
    hostile = {"query": "x", "user": "somebody else"}
    described = tool(bound, name="find")
    assert described.prepare(hostile) == {"query": "x"}
    assert described(**described.prepare(hostile)) == "x for me"
    own = Tool(ToolSpec("find"), bound)
    assert own.prepare(hostile) == {"query": "x"}


def test_partial_has_the_name_and_the_words_of_its_function():
    bound = tool(functools.partial(refund, order=7))
    assert (bound.name, bound.spec.description) == ("refund", "Pay money back.")
    assert bound(amount=Decimal(2)) == "2 for 7"


def test_whether_the_function_is_to_be_awaited():
    async def wait(): ...

    class Waits:
        async def __call__(self): ...

    class DoesNot:
        def __call__(self): ...

    assert asyncio.iscoroutinefunction(wait)
    waits = tool(wait)
    assert waits.is_async
    assert tool(functools.partial(wait)).is_async
    assert tool(functools.partial(waits)).is_async
    assert tool(Waits(), name="a").is_async
    assert not tool(DoesNot(), name="a").is_async
    assert not refund.is_async


async def test_async_tool_is_awaited_like_its_function():
    @tool
    async def double(number: int) -> int:
        return 2 * number

    assert await double(**double.prepare({"number": 4})) == 8


def test_approval_is_asked_for_all_for_none_or_for_each():
    def pay(amount: Decimal): ...

    assert tool(pay).asks_approval({"amount": Decimal(1)}) is False
    assert tool(pay, needs_approval=True).asks_approval({"amount": Decimal(1)}) is True
    careful = tool(pay, needs_approval=lambda arguments: arguments["amount"] > 100)
    assert careful.asks_approval(careful.prepare({"amount": "101"})) is True
    assert careful.asks_approval(careful.prepare({"amount": "99"})) is False


def test_whoever_judges_a_call_does_not_change_it():
    def pay(sums: list[int]): ...

    careful = tool(pay, needs_approval=lambda arguments: arguments["sums"].clear() or True)
    prepared = careful.prepare({"sums": [1]})
    assert careful.asks_approval(prepared) is True
    assert prepared == {"sums": [1]}


async def test_approval_can_be_judged_by_an_async_function():
    def pay(amount: int): ...

    async def over_100(arguments):
        await asyncio.sleep(0)
        return arguments["amount"] > 100

    careful = tool(pay, needs_approval=over_100)
    assert [await careful.asks_approval({"amount": amount}) for amount in (99, 101)] == [False, True]


def test_approval_that_cannot_be_judged_is_not_given():
    def pay(amount: Decimal): ...

    with pytest.raises(KeyError):
        tool(pay, needs_approval=lambda arguments: arguments["sum"] > 100).asks_approval({})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"function": "print"}, "its function can be called"),
        ({"timeout": 0}, "its timeout is over 0 seconds, or None"),
        ({"timeout": float("nan")}, "its timeout"),
        ({"needs_approval": "staff"}, "its needs_approval is True, False or"),
        ({"max_result": 0}, "its max_result is over 0"),
        (
            {
                "spec": ToolSpec(
                    "a", input_json_schema={"type": "object", "properties": {"b": {"type": "text"}}}
                )
            },
            "The schema of 'a': $.properties.b.type: must be one of",
        ),
        (
            {
                "spec": ToolSpec(
                    "a", input_json_schema={"type": "object", "properties": {"b": {"pattern": "("}}}
                )
            },
            "The schema of 'a': $.properties.b.pattern: the pattern '(' cannot be read",
        ),
    ],
)
def test_tool_that_cannot_work_is_refused_when_it_is_made(options, said):
    with pytest.raises(ToolSpecError) as raised:
        Tool(**{"spec": ToolSpec("a"), "function": print, **options})
    assert said in str(raised.value)


def test_generator_functions_are_no_tools():
    def numbers():
        yield 1

    async def later():
        yield 1

    class Counts:
        def __call__(self):
            yield 1

    for function in (numbers, later, functools.partial(numbers), Counts()):
        with pytest.raises(ToolSpecError, match="its function returns its result, such as a list"):
            Tool(ToolSpec("numbers"), function)
    with pytest.raises(TypeError, match="return what it yields, as a list"):
        result_text(number for number in (1, 2))


def test_function_without_a_signature_takes_all():
    assert Tool(ToolSpec("least"), min).prepare({"a": 1}) == {"a": 1}


def test_tool_is_one_value_for_all_runs():
    with pytest.raises(AttributeError):
        refund.timeout = 5
    assert len({refund, refund, tool(refund.function)}) == 2
    assert "refund" in repr(refund)


# Results


@dataclass
class Weather:
    temperature: int
    on: date


class Strange:
    def __str__(self):
        return "strange"


def circle():
    items: list[Any] = [1]
    items.append(items)
    return items


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("It rains.", "It rains."),
        ("", ""),
        (None, ""),
        (True, "true"),
        (22, "22"),
        ({"temperature": "22"}, '{"temperature":"22"}'),
        (["é", None], '["é",null]'),
        (Weather(22, date(2024, 1, 2)), '{"temperature":22,"on":"2024-01-02"}'),
        ({"a": Strange()}, '{"a":"strange"}'),
        ({(1, 2): 3}, '{"(1, 2)":3}'),
        (10**30, str(10**30)),
        (circle(), "[1, [...]]"),
        ("a\ud800b", "a?b"),
        (["\ud800"], "['\\ud800']"),
    ],
)
def test_result_as_the_model_is_told_it(value, text):
    assert result_text(value) == text
    assert refund.result(value) == text


def test_long_result_is_cut_and_the_model_told_so():
    assert result_text("x" * MAX_RESULT) == "x" * MAX_RESULT
    assert result_text("x" * (MAX_RESULT + 1)).endswith(
        "[Cut: these are the first 200,000 of 200,001 characters.]"
    )
    assert tool(lambda: None, name="a", max_result=3).result([1, 2]) == (
        "[1,\n[Cut: these are the first 3 of 5 characters.]"
    )


def test_content_parts_stay_parts_and_their_texts_are_cut_together():
    picture = ImagePart("https://example.com/a.png")
    assert refund.result((TextPart("Look:"), picture)) == (TextPart("Look:"), picture)
    assert refund.result([picture]) == refund.result(picture) == (picture,)
    assert result_content((TextPart("abcd"), picture, TextPart("efg"), TextPart("h")), 6) == (
        TextPart("abcd"),
        picture,
        TextPart("ef\n[Cut: these are the first 2 of 3 characters.]"),
        TextPart("\n[Cut: these are the first 0 of 1 characters.]"),
    )
    assert result_content((TextPart("a\ud800b"),)) == (TextPart("a?b"),)
    # beside anything else they are values like others
    assert result_content([TextPart("a"), 1]) == '[{"type":"text","text":"a"},1]'
    assert result_content(()) == "[]"
