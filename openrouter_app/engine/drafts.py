"""The drafts of JSON Schema as tables: what each keyword's value must be, and where schemas stand.

Each draft is what the one before it was, and what it changed. `engine.schemas` walks by these tables.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple


class Shape(NamedTuple):
    """What a keyword's own value must be; schemas inside it are visited by themselves."""

    words: str
    fits: Callable[[Any], bool]


class Draft(NamedTuple):
    """A draft's tables.

    ``shapes`` is its meta-schema, as far as a keyword's own value goes, and ``holds`` where schemas
    stand inside a schema: in the keyword itself, in its ``list``, its ``map``, or how else it says.
    ``needs`` are keywords that mean nothing without another one.
    """

    name: str
    validator: str
    shapes: Mapping[str, Shape]
    holds: Mapping[str, str]
    needs: Mapping[str, str]
    id_keyword: str
    anchors: tuple[str, ...]
    """The keywords that name a place; without them an id does that begins with "#"."""
    references: tuple[str, ...]
    """The keywords that lead to a place."""
    has_booleans: bool = True

    def inside(self, schema: Mapping[str, Any]) -> Iterator[tuple[tuple[str | int, ...], Any]]:
        """The schemas in a schema's own keywords, with the steps that lead to each."""
        for keyword, value in schema.items():
            match self.holds.get(keyword):
                case "schema":
                    yield (keyword,), value
                case "schema or switch" if not isinstance(value, bool):
                    yield (keyword,), value
                case "schema or list" if not isinstance(value, list):
                    yield (keyword,), value
                case "list" | "schema or list" if isinstance(value, list):
                    for index, item in enumerate(value):
                        yield (keyword, index), item
                case "map" if isinstance(value, dict):
                    for name, item in value.items():
                        yield (keyword, name), item
                case "dependencies" if isinstance(value, dict):
                    for name, item in value.items():
                        if not isinstance(item, list):
                            yield (keyword, name), item

    def names_resource(self, schema: Mapping[str, Any]) -> bool:
        """Whether references from here on are read from this schema, and not from one around it."""
        name = schema.get(self.id_keyword)
        if not isinstance(name, str) or not name.rstrip("#"):
            return False
        return bool(self.anchors) or not (name.startswith("#") or self.reads_only_reference(schema))

    def reads_only_reference(self, schema: Mapping[str, Any]) -> bool:
        """Whether a reference is all that counts of this schema."""
        return not self.anchors and "$ref" in schema

    def anchors_of(self, schema: Mapping[str, Any]) -> Iterator[str]:
        """The names of this place."""
        for keyword in self.anchors or (self.id_keyword,):
            name = schema.get(keyword)
            if isinstance(name, str) and (self.anchors or name.startswith("#")):
                yield name.removeprefix("#")


def draft_of(schema: Mapping[str, Any]) -> Draft | None:
    """The draft that ``$schema`` names, the newest for other words; None for one that is not read."""
    named = schema.get("$schema")
    address = _ADDRESS.fullmatch(named) if isinstance(named, str) else None
    return _DRAFTS.get(address[1] or address[2]) if address else NEWEST


_ADDRESS = re.compile(r"https?://json-schema\.org/(?:draft-0([0-9])|draft/(2019-09|2020-12))/schema#?")


def json_type(value: Any) -> str:
    """What a value is in JSON, in words."""
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list() | tuple():
            return "a list"
        case dict():
            return "an object"
        case _:
            return type(value).__name__


def shown(value: Any) -> str:
    """The value where it is short, else its type."""
    if isinstance(value, (str, int, float, bool)) and len(text := json.dumps(value)) <= 40:
        return text
    return json_type(value)


_TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return _is_number(value) and value >= 0 and value == int(value)


def _are_names(value: Any) -> bool:
    return (
        isinstance(value, list)
        and all(isinstance(item, str) for item in value)
        and len(set(value)) == len(value)
    )


def _are_types(value: Any) -> bool:
    if isinstance(value, str):
        return value in _TYPES
    return _are_names(value) and len(value) > 0 and all(item in _TYPES for item in value)


def _each(value: Any, fits: Callable[[Any], bool]) -> bool:
    return isinstance(value, dict) and all(map(fits, value.values()))


def _named(pattern: str) -> Callable[[Any], bool]:
    compiled = re.compile(pattern)
    return lambda value: isinstance(value, str) and compiled.fullmatch(value) is not None


_STRING = Shape("a string", lambda value: isinstance(value, str))
_BOOLEAN = Shape("true or false", lambda value: isinstance(value, bool))
_NUMBER = Shape("a number", _is_number)
_COUNT = Shape("a whole number from 0", _is_count)
_OLD_COUNT = Shape(_COUNT.words, lambda value: isinstance(value, int) and _is_count(value))
_ARRAY = Shape("a list", lambda value: isinstance(value, list))
_FILLED_ARRAY = Shape("a list, not empty", lambda value: isinstance(value, list) and len(value) > 0)
_OBJECT = Shape("an object", lambda value: isinstance(value, dict))
_SCHEMAS = Shape("a list of schemas, not empty", _FILLED_ARRAY.fits)
_ITEMS = Shape(
    "a schema, or a list of schemas, not empty",
    lambda value: not isinstance(value, list) or len(value) > 0,
)
_NAMES = Shape("a list of different names", _are_names)
_SOME_NAMES = Shape(
    "a list of different names, not empty", lambda value: _are_names(value) and len(value) > 0
)
_NAME_LISTS = Shape("an object of lists of names", lambda value: _each(value, _are_names))
_DEPENDENCIES = Shape(
    "an object of schemas and lists of names",
    lambda value: _each(value, lambda item: not isinstance(item, list) or _are_names(item)),
)
_OLD_DEPENDENCIES = Shape(
    "an object of schemas and lists of names, not empty",
    lambda value: _each(value, lambda item: not isinstance(item, list) or _SOME_NAMES.fits(item)),
)
_SWITCHES = Shape("an object of true and false", lambda value: _each(value, _BOOLEAN.fits))
_ADDRESS_ALONE = Shape(
    "an address without a fragment", lambda value: isinstance(value, str) and "#" not in value[:-1]
)
_OLD_ANCHOR = Shape("a name of letters, digits, '-', '.', ':' and '_'", _named(r"[A-Za-z][-A-Za-z0-9.:_]*"))
_ANCHOR = Shape("a name of letters, digits, '-', '.' and '_'", _named(r"[A-Za-z_][-A-Za-z0-9._]*"))

_Changes = tuple[tuple[str, Any], ...]

_SHAPES: dict[str, _Changes] = {
    "4": (
        ("type", Shape(f"one of {', '.join(_TYPES)}, or a list of them", _are_types)),
        ("required", _SOME_NAMES),
        ("properties patternProperties definitions", _OBJECT),
        ("dependencies", _OLD_DEPENDENCIES),
        ("allOf anyOf oneOf", _SCHEMAS),
        ("items", _ITEMS),
        ("enum", _FILLED_ARRAY),
        ("title description format pattern id $schema $ref", _STRING),
        ("maximum minimum", _NUMBER),
        ("exclusiveMaximum exclusiveMinimum uniqueItems", _BOOLEAN),
        ("multipleOf", Shape("a number over 0", lambda value: _is_number(value) and value > 0)),
        ("maxLength minLength maxItems minItems maxProperties minProperties", _OLD_COUNT),
    ),
    "6": (
        ("id", None),
        ("$id", _STRING),
        ("required", _NAMES),
        ("dependencies", _DEPENDENCIES),
        ("enum examples", _ARRAY),
        ("exclusiveMaximum exclusiveMinimum", _NUMBER),
        ("maxLength minLength maxItems minItems maxProperties minProperties", _COUNT),
    ),
    "7": (
        ("$comment contentMediaType contentEncoding", _STRING),
        ("readOnly", _BOOLEAN),
    ),
    "2019-09": (
        ("$id", _ADDRESS_ALONE),
        ("$anchor", _OLD_ANCHOR),
        ("$recursiveRef", _STRING),
        ("$recursiveAnchor deprecated writeOnly", _BOOLEAN),
        ("$vocabulary", _SWITCHES),
        ("$defs dependentSchemas", _OBJECT),
        ("dependentRequired", _NAME_LISTS),
        ("maxContains minContains", _COUNT),
    ),
    "2020-12": (
        ("$anchor $dynamicAnchor $recursiveAnchor", _ANCHOR),
        ("$dynamicRef", _STRING),
        ("prefixItems", _SCHEMAS),
        ("items", None),
    ),
}

_HOLDS: dict[str, _Changes] = {
    "4": (
        ("not", "schema"),
        ("additionalItems additionalProperties", "schema or switch"),
        ("items", "schema or list"),
        ("allOf anyOf oneOf", "list"),
        ("properties patternProperties definitions", "map"),
        ("dependencies", "dependencies"),
    ),
    "6": (("additionalItems additionalProperties contains propertyNames", "schema"),),
    "7": (("if then else", "schema"),),
    "2019-09": (
        ("unevaluatedItems unevaluatedProperties contentSchema", "schema"),
        ("$defs dependentSchemas", "map"),
    ),
    "2020-12": (
        ("items", "schema"),
        ("additionalItems", None),
        ("prefixItems", "list"),
    ),
}


def _drafts() -> Iterator[tuple[str, Draft]]:
    shapes: dict[str, Shape] = {}
    holds: dict[str, str] = {}
    for name, changes in _SHAPES.items():
        shapes, holds = _changed(shapes, changes), _changed(holds, _HOLDS[name])
        yield (
            name,
            Draft(
                name=f"draft {name}" if "-" in name else f"draft-0{name}",
                validator=f"Draft{name.replace('-', '')}Validator",
                shapes=shapes,
                holds=holds,
                needs=_NEEDS.get(name, {}),
                id_keyword="id" if name == "4" else "$id",
                anchors=tuple(keyword for keyword in ("$anchor", "$dynamicAnchor") if keyword in shapes),
                references=tuple(word for word in ("$ref", "$recursiveRef", "$dynamicRef") if word in shapes),
                has_booleans=name != "4",
            ),
        )


def _changed(table: Mapping[str, Any], changes: _Changes) -> dict[str, Any]:
    new = {keyword: value for keywords, value in changes for keyword in keywords.split()}
    return {keyword: value for keyword, value in {**table, **new}.items() if value is not None}


_NEEDS = {"4": {"exclusiveMaximum": "maximum", "exclusiveMinimum": "minimum"}}
_DRAFTS = dict(_drafts())
NEWEST = _DRAFTS["2020-12"]
