"""Functions as models see them: schemas, descriptions, what is refused, and the way back."""

from __future__ import annotations

import datetime
import enum
import functools
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, make_dataclass
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, NamedTuple, NotRequired, Optional, TypedDict, TypeVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from openrouter_app.engine.docstrings import parse_docstring
from openrouter_app.engine.errors import OutputError, ToolError, ToolSpecError
from openrouter_app.engine.schemas import check_schema
from openrouter_app.engine.signatures import Signature, keyword_arguments
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


Held = TypeVar("Held")


class Boxed(msgspec.Struct, Generic[Held]):
    held: Held


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
        (Optional[int], {"anyOf": [{"type": "integer"}, {"type": "null"}]}),  # noqa: UP045
        (Literal["a", "b"], {"enum": ["a", "b"], "type": "string"}),
        (Literal["a", 1, None], {"enum": [None, 1, "a"], "type": ["integer", "null", "string"]}),
        (datetime.date, {"type": "string", "format": "date"}),
        (datetime.datetime, {"type": "string", "format": "date-time"}),
        (datetime.time, {"type": "string", "format": "time"}),
        (Annotated[datetime.time, msgspec.Meta(tz=True)], {"type": "string", "format": "time"}),
        (Annotated[datetime.datetime, msgspec.Meta(tz=False)], {"type": "string"}),
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


class Alarm(msgspec.Struct, tag="alarm", rename="camel"):
    rings_at: datetime.datetime
    again: list[Alarm] = []


class Row(msgspec.Struct, tag="row", array_like=True):
    number: int
    at: datetime.time


@dataclass
class Visit:
    at: dict[str, datetime.datetime]
    since: datetime.datetime = datetime.datetime(2024, 1, 2)
    until: datetime.datetime | None = None


class Hours(NamedTuple):
    first: datetime.time
    last: datetime.time = datetime.time(3, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("kind", "count"),
    [
        (list[datetime.datetime], 1),
        (tuple[int, datetime.datetime, datetime.time], 2),
        (tuple[()], 0),
        (list, 0),
        (Annotated[list, msgspec.Meta(extra_json_schema={"items": True})], 0),
        (Annotated[datetime.time, msgspec.Meta(extra_json_schema={"format": "time"})], 1),
        (None | datetime.time | int, 1),
        (Annotated[frozenset[datetime.datetime] | None, "When."], 1),
        (Alarm, 1),
        (None | Alarm | Cat | int | list[datetime.time], 2),
        (Dog | Alarm, 1),
        (Alarm | None, 1),
        (dict[str, Row], 1),
        (Visit, 2),  # but for what begins without a timezone
        (Hours, 2),
    ],
)
def test_dates_and_times_say_their_format_wherever_they_stand(kind, count):
    said = str(schema_of_type(kind))
    assert said.count("'format': 'date-time'") + said.count("'format': 'time'") == count


def test_default_without_a_timezone_is_not_said_to_have_one():
    def f(
        a: datetime.time = datetime.time(3),
        b: datetime.datetime = datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC),
        c: int | datetime.time | None = datetime.time(3),
        d: datetime.datetime | list[int] = (),
    ): ...

    properties = schema_of(f)["properties"]
    assert properties["a"] == {"type": "string", "default": "03:00:00"}
    assert properties["b"] == {"type": "string", "format": "date-time", "default": "2024-01-02T00:00:00Z"}
    assert "format" not in str(properties["c"])
    assert "'format': 'date-time'" in str(properties["d"])
    strict = schema_of(f, strict=True)["properties"]
    assert "format" not in str([strict["a"], strict["c"]])
    assert "default'" not in str(strict)


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
    assert (signature.name, signature.description) == ("", "An index.")


def test_object_is_described_by_what_a_call_does():
    class Search:
        """An index.

        Args:
            path: Where it is.
        """

        def __init__(self, path: str): ...

        def __call__(self, query: str):
            """Find pages.

            Args:
                query: Words.
            """

    signature = Signature.of(Search("here"))
    assert signature.description == "Find pages."
    assert signature.schema["properties"] == {"query": {"type": "string", "description": "Words."}}


# What is refused


def unannotated(a): ...


def of_a_custom_type(a: Custom): ...


def of_a_custom_type_inside(a: dict[str, list[Custom]]): ...


def of_callable(a: Callable[[int], int]): ...


def of_an_impossible_union(a: Place | Point): ...


def of_nowhere(a: Nowhere): ...  # noqa: F821


def of_no_expression(a): ...


of_no_expression.__annotations__ = {"a": "1 +"}


@dataclass
class Unresolved:
    inner: Nowhere  # noqa: F821


def of_an_unresolved_field(a: Unresolved): ...


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (unannotated, "the parameter 'a' has no annotation. Annotate it"),
        (of_a_custom_type, "has a type without a JSON Schema (type <class"),
        (of_a_custom_type_inside, "has a type without a JSON Schema (type <class"),
        (of_callable, "has a type without a JSON Schema"),
        (of_an_impossible_union, "has a type without a JSON Schema (Type unions may not contain more"),
        (of_an_unresolved_field, "has a type without a JSON Schema (name 'Nowhere' is not defined)"),
        (of_nowhere, "has an annotation that cannot be resolved (name 'Nowhere' is not defined)"),
        (of_no_expression, "has an annotation that cannot be resolved"),
    ],
)
def test_parameter_that_cannot_be_told_is_refused_with_its_name_and_the_way_out(function, said):
    with pytest.raises(ToolSpecError) as raised:
        Signature.of(function)
    assert str(raised.value).startswith(f"{function.__name__}: the parameter 'a' ")
    assert said in str(raised.value)
    assert raised.value.path == ("properties", "a")


def test_parameter_that_has_no_name_for_a_model_is_refused():
    def positional(a: int, /): ...
    def many(*a: int): ...
    def any_name(**a: int): ...

    assert "the parameter 'a: 'int'' cannot be filled in by name: remove the '/'" in refused(positional)
    assert "the parameter '*a: 'int'' cannot be filled in by name: take a list" in refused(many)
    assert "the parameter '**a: 'int'' cannot be filled in by name: write its names out" in refused(any_name)


def made_by_a_factory(kind):
    return make_dataclass("Made", [("a", kind)])


def test_classes_of_one_name_are_refused_with_the_parameters_and_the_way_out():
    def f(n: int, a, b): ...

    one, other = made_by_a_factory(int), made_by_a_factory(str)
    f.__annotations__ |= {"a": one, "b": list[other]}
    said = refused(f)
    assert "f: the parameters 'a' and 'b' have two classes of the same name in their types. " in said
    f.__annotations__["b"] = dict[str, one | list[other]]
    assert "the parameter 'b' has two classes of the same name in its type. Give each a name" in refused(f)
    other.__name__ = other.__qualname__ = "Other"
    assert len(schema_of(f)["$defs"]) == 2


def recursive_one(kind):
    class Node(msgspec.Struct):
        value: kind
        below: list[Node]

    Node.__annotations__ = {"value": kind, "below": list[Node]}
    return Node


@pytest.mark.parametrize("make", [recursive_one, lambda kind: Boxed[made_by_a_factory(kind)]])
def test_classes_of_one_name_are_refused_where_they_hold_themselves_or_others(make):
    def f(a, b): ...

    f.__annotations__ = {"a": make(int), "b": make(str)}
    assert "the parameters 'a' and 'b' have two classes of the same name" in refused(f)


def test_method_of_a_class_is_refused_for_its_self():
    class Shop:
        def search(self, query: str): ...

    assert "'self' has no annotation. Make the tool of the bound method." in refused(Shop.search)


@pytest.mark.parametrize("function", [5, min])
def test_what_has_no_signature_is_refused(function):
    assert "has no signature to read" in refused(function)


def test_exception_without_words_is_named():
    class Rude(type):
        def __or__(cls, other):
            raise NotImplementedError

    class Kind(metaclass=Rude): ...

    def f(a): ...

    f.__annotations__ = {"a": "Kind | None"}
    f.__globals__["Kind"] = Kind
    assert "cannot be resolved (NotImplementedError)" in refused(f)


# Strict


def test_strict_schema_is_closed_and_asks_for_everything():
    def f(point: Point, limit: int | None, kinds: list[Unit]):
        """Do.

        Args:
            point: Where.
        """

    schema = schema_of(f, strict=True)
    assert schema["required"] == ["point", "limit", "kinds"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["point"] == {"description": "Where.", "anyOf": [{"$ref": "#/$defs/Point"}]}
    assert schema["properties"]["kinds"] == {"type": "array", "items": {"$ref": "#/$defs/Unit"}}
    point = schema["$defs"]["Point"]
    assert (point["required"], point["additionalProperties"]) == (["x", "y"], False)
    assert "default" not in str(schema)


def test_strict_parameter_with_a_default_takes_null_for_it():
    def f(days: int = 3, unit: Unit = Unit.CELSIUS, limit: int | None = 5, other: int = None): ...  # noqa: RUF013

    signature = Signature.of(f, strict=True)
    assert signature.schema["required"] == ["days", "unit", "limit", "other"]
    properties = signature.schema["properties"]
    assert properties["days"] == {
        "anyOf": [{"type": "integer"}, {"type": "null"}],
        "description": "Null means the default, 3.",
    }
    assert properties["unit"]["description"] == 'Null means the default, "c".'
    assert properties["limit"] == {"anyOf": [{"type": "integer"}, {"type": "null"}]}
    assert properties["other"]["description"] == "Null means the default."
    nothing = dict.fromkeys(signature.schema["properties"])
    validate_arguments(signature.schema, nothing)
    assert signature.arguments(nothing) == {"limit": None}  # its own null: the model said it
    assert signature.arguments({**nothing, "days": 4}) == {"limit": None, "days": 4}


def test_strict_adds_the_default_to_a_description():
    def f(days: Annotated[int, "How many."] = 3): ...

    assert (
        schema_of(f, strict=True)["properties"]["days"]["description"]
        == "How many. Null means the default, 3."
    )


def test_strict_function_without_parameters():
    def f(): ...

    assert schema_of(f, strict=True) == {
        "type": "object",
        "properties": {},
        "required": [],
        "additionalProperties": False,
    }


@pytest.mark.parametrize(("kind", "named"), [(Place, "'Place.country'"), (Options, "'Options.offset'")])
def test_strict_field_that_need_not_be_given_is_refused(kind, named):
    def f(a): ...

    f.__annotations__ = {"a": list[kind]}
    assert named in refused(f, strict=True)


class Tags(msgspec.Struct):
    words: dict[str, str]


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (
            dict,
            "the parameter 'a' has a type that a strict schema cannot spell out. Take a dataclass, or a list",
        ),
        (dict[str, int], "'a' has a type"),
        (dict[str, int] | None, "'a' has a type"),
        (list[dict], "'a' has a type"),
        (Any, "the parameter 'a' has a type that a strict schema cannot spell out. Say its type, or"),
        (list, "Say the type of its items, or do without strict."),
        (list[Any], "Say the type of its items"),
        (tuple[int, str], "'a' has a type"),
        (Span, "'Span' has a type"),
        (Tags, "'Tags.words' has a type"),
        (Annotated[Any, "It."], "'a' has a type"),
    ],
)
@pytest.mark.parametrize("default", [(), (None,)])
def test_strict_refuses_what_cannot_be_closed_with_its_name(kind, said, default):
    def f(a): ...

    f.__annotations__, f.__defaults__ = {"a": kind}, default
    refusal = refused(f, strict=True)
    assert refusal.startswith(f"{f.__qualname__}: ")
    assert said in refusal


@pytest.mark.parametrize("kind", [list[int], set[str], tuple[int, ...], Point, Unit, Cat | Dog, int | None])
def test_strict_takes_what_is_closed(kind):
    schema_of_type(kind, strict=True)


def test_strict_field_with_a_default_may_take_null():
    class Kept(msgspec.Struct):
        a: Unit | None = None
        b: Literal["x", None] = None

    assert schema_of_type(Kept, strict=True)[1]["Kept"]["required"] == ["a", "b"]


def test_strict_drops_what_strict_providers_do_not_take():
    assert "discriminator" not in schema_of_type(Cat | Dog, strict=True)[0]
    assert "discriminator" in schema_of_type(Cat | Dog)[0]


# The way back


@pytest.mark.parametrize(
    ("kind", "value", "typed"),
    [
        (Unit, "f", Unit.FAHRENHEIT),
        (Size, 2, Size.LARGE),
        (Place, {"city": "Rome"}, Place("Rome")),
        (list[Point], [{"x": 1}], [Point(1)]),
        (Options, {"limit": 3}, {"limit": 3}),
        (Span, [1, 2], Span(1, 2)),
        (Cat | Dog, {"type": "dog", "name": "Rex"}, Dog("Rex")),
        (datetime.date, "2024-01-02", datetime.date(2024, 1, 2)),
        (datetime.datetime, "2024-01-02T03:04:05", datetime.datetime(2024, 1, 2, 3, 4, 5)),
        (datetime.time, "03:04:05", datetime.time(3, 4, 5)),
        (datetime.timedelta, "P1D", datetime.timedelta(days=1)),
        (uuid.UUID, "12345678-1234-5678-1234-567812345678", uuid.UUID("12345678123456781234567812345678")),
        (Decimal, "1.50", Decimal("1.50")),
        (bytes, "aGk=", b"hi"),
        (set[int], [1, 2], {1, 2}),
        (tuple[int, str], [1, "a"], (1, "a")),
        (dict[int, str], {"1": "a"}, {1: "a"}),
        (float, 1, 1.0),
        (int | None, None, None),
        (Any, {"a": [1.0]}, {"a": [1.0]}),
        (Branch, {"branches": [{}]}, Branch([Branch()])),
    ],
)
def test_arguments_become_what_the_annotations_promise(kind, value, typed):
    def f(a): ...

    f.__annotations__ = {"a": kind}
    signature = Signature.of(f)
    validate_arguments(signature.schema, {"a": value})
    got = signature.arguments({"a": value})
    assert got == {"a": typed}
    assert type(got["a"]) is type(typed)


def test_whole_float_is_an_integer_as_json_schema_has_it():
    def f(a: int, b: list[Size], c: dict[str, Point]): ...

    signature = Signature.of(f)
    values = {"a": 5.0, "b": [2.0], "c": {"p": {"x": 1.0, "y": 0.5}}}
    validate_arguments(signature.schema, values)
    assert signature.arguments(values) == {"a": 5, "b": [Size.LARGE], "c": {"p": Point(1, 0.5)}}
    assert values["a"].is_integer()


def test_absent_and_unknown_names_are_left_out():
    def f(a: int = 1, b: int = 2): ...

    assert Signature.of(f).arguments({"b": 3, "__class__": 4}) == {"b": 3}


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        (datetime.date, "tomorrow", "arguments.a: Invalid RFC3339 encoded date."),
        (list[datetime.date], ["2024-01-02", "x"], "arguments.a[1]: Invalid RFC3339 encoded date."),
        (Point, {"x": -1}, "arguments.a: x is below 0."),
        (list[Point], [{"x": "1"}], "arguments.a[0].x: Expected `int`, got `str`."),
        (dict[int, int], {"x": 1}, "key in arguments.a: Expected `int`, got `str`."),
        (int, 5.5, "arguments.a: Expected `int`, got `float`."),
        (int, 1e300, "arguments.a: Expected `int`, got `float`."),
    ],
)
def test_what_does_not_become_typed_is_told_with_its_place(kind, value, said):
    def f(a): ...

    f.__annotations__ = {"a": kind}
    with pytest.raises(OutputError) as raised:
        Signature.of(f).arguments({"a": value})
    assert str(raised.value) == said


@dataclass
class Secretive:
    a: int

    def __post_init__(self):
        raise KeyError("a secret")


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        (Secretive, {"a": 1}, "arguments.a: this value is not accepted (KeyError)."),
        (list[Secretive], [{"a": 1.0}], "arguments.a: this value is not accepted (KeyError)."),
        (set[Any], [[1]], "arguments.a: unhashable type: 'list'."),
    ],
)
def test_other_errors_on_the_way_back_are_told_to_the_model(kind, value, said):
    def f(a, b: int): ...

    f.__annotations__["a"] = kind
    with pytest.raises(OutputError) as raised:
        Signature.of(f).arguments({"a": value})
    assert str(raised.value) == said
    with pytest.raises(OutputError, match=r"; arguments\.b: Expected `int`, got `str`\."):
        Signature.of(f).arguments({"a": value, "b": "x"})


def test_what_a_type_says_to_the_model_is_told():
    class Booking(msgspec.Struct):
        seats: int

        def __post_init__(self):
            raise ToolError("There are 3 seats.")

    def f(a): ...

    f.__annotations__ = {"a": Booking}
    with pytest.raises(OutputError) as raised:
        Signature.of(f).arguments({"a": {"seats": 4}})
    assert str(raised.value) == "arguments.a: There are 3 seats."


@pytest.mark.parametrize("kind", [Any, dict, list[Any] | dict[str, Any], dict[str, Any]])
def test_what_a_function_is_given_is_its_own(kind):
    def f(a): ...

    f.__annotations__ = {"a": kind}
    said = {"a": {"b": [{"c": 1}], "d": {}}}
    given = Signature.of(f).arguments(said)
    assert given == said
    given["a"]["b"][0]["c"] = 2
    given["a"]["d"]["e"] = 3
    given["a"]["b"].append(4)
    assert said == {"a": {"b": [{"c": 1}], "d": {}}}


def test_numbers_beyond_machines_are_given_as_they_are():
    def f(a: Any, b: int): ...

    assert Signature.of(f).arguments({"a": [10**400, 1.5], "b": 10**30}) == {"a": [10**400, 1.5], "b": 10**30}


def test_mistakes_are_told_together_up_to_a_number():
    def f(a: int, b: int, c: int, d: int, e: int, g: int): ...

    with pytest.raises(OutputError) as raised:
        Signature.of(f).arguments(dict.fromkeys("abcdeg", "x"))
    assert str(raised.value).count("Expected") == 5
    assert str(raised.value).startswith("arguments.a: Expected `int`, got `str`; arguments.b: ")


def test_long_reason_is_cut():
    class Wordy(msgspec.Struct):
        a: int

        def __post_init__(self):
            raise ValueError("x" * 10_000)

    def f(a): ...

    f.__annotations__ = {"a": Wordy}
    with pytest.raises(OutputError) as raised:
        Signature.of(f).arguments({"a": {"a": 1}})
    assert len(str(raised.value)) < 400


def test_depth_without_an_end_is_a_typed_error():
    def f(a: int): ...

    deep: Any = 0
    for _ in range(50_000):
        deep = [deep]
    with pytest.raises(OutputError, match="nested too deeply"):
        Signature.of(f).arguments({"a": deep})


# What a function takes by name


def test_keyword_arguments_are_those_a_function_has():
    def f(a, /, b, *, c=1): ...
    def any_name(a, **more): ...

    values = {"a": 1, "b": 2, "c": 3, "d": 4}
    assert keyword_arguments(f, values) == {"b": 2, "c": 3}
    assert keyword_arguments(any_name, values) == values
    assert keyword_arguments(min, values) == values


def test_keyword_arguments_never_replace_what_a_partial_has_bound():
    def f(user, query): ...
    def any_name(**more): ...

    values = {"user": "somebody else", "query": "x"}
    assert keyword_arguments(functools.partial(f, user="me"), values) == {"query": "x"}
    assert keyword_arguments(functools.partial(any_name, user="me"), values) == {"query": "x"}


# Docstrings

GOOGLE = """Summary line
that goes on.

More words, which are
no part of it.

Args:
    one: First.
    two (int): Second,
        which goes on.

        And on.
    *three (dict(str, int), optional): Third: with a colon.

Returns:
    one: not this.
"""
NUMPY = """
Summary line
that goes on.

Parameters
----------
one : int
    First.
two : {'a', 'b'}, optional
    Second,
    which goes on.

    And on.
three
    Third: with a colon.
four, five : int
    Both.
some words
    not this

Returns
-------
one : int
    Not this.
"""
REST = """Summary line
that goes on.
:param one: First.
:type one: int
:param int two: Second,
    which goes on.

    And on.
:keyword three:
    Third: with a colon.
:returns: one: not this
    :nor this: at all

Words behind it.
"""
COMMON = {"one": "First.", "two": "Second, which goes on. And on.", "three": "Third: with a colon."}


@pytest.mark.parametrize(
    ("text", "more"), [(GOOGLE, {}), (NUMPY, {"four": "Both.", "five": "Both."}), (REST, {})]
)
def test_docstring_styles_say_the_same(text, more):
    summary, described = parse_docstring(text)
    assert summary == "Summary line that goes on."
    assert described == COMMON | more


@pytest.mark.parametrize(
    "heading", ["Args:", "Arguments :", "parameters:", "Keyword Args:", "Other Parameters:"]
)
def test_headings_of_parameters(heading):
    assert parse_docstring(f"Do.\n{heading}\n  a: Of it.") == ("Do.", {"a": "Of it."})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ("", {})),
        ("\n\n  ", ("", {})),
        ("One.", ("One.", {})),
        ("Args:\n    a: Of it.", ("", {"a": "Of it."})),
        (":param a: Of it.", ("", {"a": "Of it."})),
        ("Do.\nReturns:\n    Words.", ("Do.", {})),
        ("Do.\n\nArgs:\n    a: Of it.\nNo more.\n    b: Not this.", ("Do.", {"a": "Of it."})),
        (
            "Do.\n\nParameters\n----------\na : int\n    Of it.\n\nNotes\n-----\nb : int\n    Not.",
            ("Do.", {"a": "Of it."}),
        ),
        ("Do.\n\nArgs:\n    a: First.\n    a: Second.", ("Do.", {"a": "First."})),
        ("Do.\n\n:param a: Of it.\n\nWords.\n    More.", ("Do.", {"a": "Of it."})),
        (":meth:`x` is called.", (":meth:`x` is called.", {})),
        ("Do.\n\nArgs:\n    no entry\n        Deeper.\n    a: Of it.", ("Do.", {"a": "Of it."})),
        ("Do.\n\nArgs:\n    no entry\n    a: Of it.\n    No entry.", ("Do.", {"a": "Of it. No entry."})),
        (
            "Do.\n\nArgs:\n    a: Of it.\n        Deeper.\n      Between.",
            ("Do.", {"a": "Of it. Deeper. Between."}),
        ),
    ],
)
def test_docstrings_of_all_sorts(text, expected):
    assert parse_docstring(text) == expected


lines = st.sampled_from(
    [
        "Args:",
        "Parameters",
        "----------",
        ":param a: b",
        ":type a: b",
        "a: b",
        "a (int): b",
        "a, b : int",
        "Returns:",
        "words",
        "",
        "*",
        ":",
    ]
)
indented = st.tuples(st.sampled_from(["", "  ", "    ", "\t"]), lines).map("".join)


@given(st.one_of(st.text(), st.lists(st.one_of(indented, st.text(max_size=5)), max_size=12).map("\n".join)))
def test_any_text_will_do_for_a_docstring(text):
    summary, described = parse_docstring(text)
    assert "\n" not in summary
    assert all(name and isinstance(said, str) for name, said in described.items())
