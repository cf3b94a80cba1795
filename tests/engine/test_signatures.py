"""Functions as models see them: schemas, descriptions, what is refused, and typed arguments on the way back."""

from __future__ import annotations

import datetime
import enum
import functools
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, Optional, TypedDict

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from openrouter_app.engine.errors import OutputError, ToolSpecError
from openrouter_app.engine.schemas import check_schema
from openrouter_app.engine.signatures import Signature, keyword_arguments, parse_docstring
from openrouter_app.engine.validation import validate_arguments


class Unit(enum.Enum):
    CELSIUS = "c"
    FAHRENHEIT = "f"


class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 2


@dataclass
class Place:
    """Somewhere.

    Not everywhere.
    """

    city: str
    country: str = "US"
    tags: list[str] = field(default_factory=list)


@dataclass
class Point:
    x: int
    y: float | None = None

    def __post_init__(self):
        if self.x < 0:
            raise ValueError("x is below 0")


class Options(TypedDict):
    limit: int
    offset: NotRequired[int]


class Span(NamedTuple):
    start: int
    end: int = 0


class Cat(msgspec.Struct, tag="cat"):
    lives: int


class Dog(msgspec.Struct, tag="dog"):
    name: str


class Branch(msgspec.Struct):
    branches: list[Branch] = []


class Custom:
    pass


def schema_of(function, **options):
    schema = Signature.of(function, **options).schema
    check_schema(schema)
    Draft202012Validator.check_schema(schema)
    return schema


def schema_of_type(kind, **options):
    """The schema of a parameter of this type, and the definitions beside it."""

    def f(a): ...

    f.__annotations__ = {"a": kind}
    schema = schema_of(f, **options)
    return schema["properties"]["a"], schema.get("$defs", {})


def refused(function, **options):
    with pytest.raises(ToolSpecError) as raised:
        Signature.of(function, **options)
    return str(raised.value)


# The schema


def test_signature_and_docstring_become_a_schema():
    def weather(location: str, unit: Unit = Unit.CELSIUS, *, days: int = 1) -> str:
        """The weather
        at a place.

        It may rain.

        Args:
            location: The city,
                and the state.
            unit (Unit): Of the temperature.
            days (int, optional): How many.

        Returns:
            str: Words.
        """

    signature = Signature.of(weather)
    assert (signature.name, signature.description) == ("weather", "The weather at a place.")
    assert schema_of(weather) == {
        "type": "object",
        "properties": {
            "location": {"type": "string", "description": "The city, and the state."},
            "unit": {"$ref": "#/$defs/Unit", "default": "c", "description": "Of the temperature."},
            "days": {"type": "integer", "default": 1, "description": "How many."},
        },
        "required": ["location"],
        "$defs": {"Unit": {"title": "Unit", "enum": ["c", "f"], "type": "string"}},
    }


@pytest.mark.parametrize(
    ("kind", "schema"),
    [
        (str, {"type": "string"}),
        (int, {"type": "integer"}),
        (float, {"type": "number"}),
        (bool, {"type": "boolean"}),
        (None, {"type": "null"}),
        (Any, {}),
        (list, {"type": "array"}),
        (list[int], {"type": "array", "items": {"type": "integer"}}),
        (Sequence[int], {"type": "array", "items": {"type": "integer"}}),
        (tuple[int, ...], {"type": "array", "items": {"type": "integer"}}),
        (set[str], {"type": "array", "items": {"type": "string"}, "uniqueItems": True}),
        (frozenset[str], {"type": "array", "items": {"type": "string"}, "uniqueItems": True}),
        (dict[str, int], {"type": "object", "additionalProperties": {"type": "integer"}}),
        (Mapping[str, Any], {"type": "object"}),
        (int | None, {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
        (Optional[int], {"anyOf": [{"type": "integer"}, {"type": "null"}]}),  # noqa: UP045: both are written
        (Literal["a", "b"], {"enum": ["a", "b"], "type": "string"}),
        (Literal["a", 1, None], {"enum": [None, 1, "a"], "type": ["integer", "null", "string"]}),
        (datetime.date, {"type": "string", "format": "date"}),
        (datetime.timedelta, {"type": "string", "format": "duration"}),
        (uuid.UUID, {"type": "string", "format": "uuid"}),
        (Decimal, {"type": "string", "format": "decimal"}),
        (bytes, {"type": "string", "contentEncoding": "base64"}),
        (Annotated[int, msgspec.Meta(ge=1)], {"type": "integer", "minimum": 1}),
        ("list[int]", {"type": "array", "items": {"type": "integer"}}),
    ],
)
def test_types_have_their_json_form(kind, schema):
    assert schema_of_type(kind) == (schema, {})


@pytest.mark.parametrize("kind", [Unit, Size, Place, Options, Span, Branch, "Optional[Place]", list["Place"]])
def test_named_types_stand_below_the_root(kind):
    schema, definitions = schema_of_type(kind)
    assert "#/$defs/" in str(schema)
    assert len(definitions) == 1


def test_description_of_a_named_type_is_its_first_paragraph():
    assert schema_of_type(Place)[1]["Place"]["description"] == "Somewhere."


def test_union_of_structs_is_told_apart_by_its_tag():
    schema, definitions = schema_of_type(Cat | Dog)
    assert schema["anyOf"] == [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}]
    assert definitions["Cat"]["properties"]["type"] == {"enum": ["cat"], "type": "string"}


def test_annotation_describes_before_the_docstring_does():
    def f(
        a: Annotated[int, msgspec.Meta(description="In Meta."), "A string."],
        b: Annotated[int, msgspec.Meta(ge=0), "A string."],
        c: Annotated[int, msgspec.Meta(ge=0)],
        d: int,
    ):
        """
        :param a: In the docstring.
        :param b: In the docstring.
        :param c: In the docstring.
        :param e: Nobody's.
        """

    described = {name: schema.get("description") for name, schema in schema_of(f)["properties"].items()}
    assert described == {"a": "In Meta.", "b": "A string.", "c": "In the docstring.", "d": None}


def circle():
    items: list[Any] = []
    items.append(items)
    return items


@pytest.mark.parametrize(
    ("default", "shown"),
    [
        ("x", {"default": "x"}),
        ([Unit.CELSIUS], {"default": ["c"]}),
        (Place("Rome"), {"default": {"city": "Rome", "country": "US", "tags": []}}),
        (datetime.date(2024, 1, 2), {"default": "2024-01-02"}),
        (None, {"default": None}),
        (float("nan"), {}),
        (Custom(), {}),
        (circle(), {}),
    ],
)
def test_default_is_shown_where_json_has_a_word_for_it(default, shown):
    def f(a: Any = default): ...

    assert schema_of(f) == {"type": "object", "properties": {"a": shown}}


def test_default_that_the_type_does_not_allow_is_not_shown():
    def f(a: int = None, b: Unit = None, c: Literal["x", None] = None): ...  # noqa: RUF013

    properties = schema_of(f)["properties"]
    assert [name for name in properties if "default" in properties[name]] == ["c"]


def test_shown_default_is_a_copy():
    default = {"a": [1]}

    def f(a: dict[str, Any] = default): ...

    shown = schema_of(f)["properties"]["a"]["default"]
    shown["a"].append(2)
    assert default == {"a": [1]}


def test_function_without_parameters_has_an_empty_object():
    def f(): ...

    assert schema_of(f) == {"type": "object", "properties": {}}
    assert Signature.of(f).description == ""


# What is read


def test_annotations_of_the_result_need_not_resolve():
    def f(a: int) -> Nowhere: ...  # noqa: F821

    assert schema_of(f)["required"] == ["a"]


def test_method_without_its_self():
    class Shop:
        def search(self, query: str):
            """Find."""

        @classmethod
        def all(cls, limit: int): ...

        @staticmethod
        def one(number: int): ...

    assert list(Signature.of(Shop().search).schema["properties"]) == ["query"]
    assert Signature.of(Shop().search).description == "Find."
    assert list(Signature.of(Shop.all).schema["properties"]) == ["limit"]
    assert list(Signature.of(Shop.one).schema["properties"]) == ["number"]


def test_what_a_partial_has_bound_is_not_shown_and_needs_no_type():
    def search(user: Custom, query: str, limit: int = 5, *, site=None):
        """Find."""

    signature = Signature.of(functools.partial(functools.partial(search, site=1), "me", limit=3))
    assert (signature.name, signature.description) == ("search", "Find.")
    assert list(signature.schema["properties"]) == ["query"]


def test_what_a_partial_below_a_decorator_has_bound_is_not_shown():
    def search(user: Custom, query: str): ...

    @functools.wraps(bound := functools.partial(search, user="me"))
    def logged(*args: Any, **kwargs: Any):
        return bound(*args, **kwargs)

    assert list(Signature.of(logged).schema["properties"]) == ["query"]


def test_async_functions_and_objects_that_can_be_called():
    async def wait(seconds: float):
        """Wait."""

    class Search:
        """An index."""

        def __call__(self, query: str, unit: Unit): ...

    assert Signature.of(wait).description == "Wait."
    signature = Signature.of(Search())
    assert list(signature.schema["properties"]) == ["query", "unit"]
    assert signature.name == ""


# What is refused


def unannotated(a): ...
def of_custom_type(a: Custom): ...
def of_custom_type_inside(a: dict[str, list[Custom]]): ...
def of_callable(a: Callable[[int], int]): ...
def of_nowhere(a: Nowhere): ...  # noqa: F821
def of_no_expression(a: 1 +): ...  # type: ignore  # noqa
