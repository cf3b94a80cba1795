"""Whether a JSON Schema can be a tool's: the meta-schema as a table, and a short walker.

No ``$ref`` is ever fetched and no ``pattern`` is ever compiled here: both come from people and
models we do not know. The time is proportional to the size.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from .errors import ToolSpecError
from .places import Path, place

MAX_SCHEMA_DEPTH = 64
MAX_SCHEMA_SIZE = 262_144
"""Characters of a schema as JSON."""
MAX_SUBSCHEMAS = 10_000
"""Schemas in a schema, and objects of any kind, itself included."""


def check_schema(schema: Any, text: str = "") -> None:
    """Raise `ToolSpecError`, with the path and the reason, unless this can be a tool's schema.

    It must be JSON Schema (draft 2020-12) with ``"type": "object"`` at its root, at most
    `MAX_SCHEMA_SIZE` characters, `MAX_SUBSCHEMAS` schemas and `MAX_SCHEMA_DEPTH` deep, without a
    ``$ref`` that leaves it. ``text`` is the JSON it was read from: the sentence then names the
    line and the column too.
    """
    for path, reason in _mistakes(schema):
        raise ToolSpecError(f"{place(path, text)}: {reason}", path=path)


def schema_warnings(schema: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """``(path, reason)`` of what is allowed but surely not meant: for the admin, not for the model.

    A ``required`` name without a property; a ``pattern``, which is never evaluated here. Expects a
    schema that `check_schema` accepts.
    """
    for path, node in _subschemas(schema):
        if not isinstance(node, dict):
            continue
        properties = node.get("properties")
        required = node.get("required")
        if isinstance(properties, dict) and isinstance(required, list):
            for index, name in enumerate(required):
                if name not in properties:
                    yield (*path, "required", index), f"'{name[:80]}' is required but is no property."
        for keyword in ("pattern", "patternProperties"):
            if keyword in node:
                yield (*path, keyword), "a pattern is sent to the model but is never evaluated by this site."


def remote_references(schema: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """``(path, target)`` of each reference that leaves the document: such a schema is refused."""
    for path, node in _subschemas(schema):
        if isinstance(node, dict):
            for keyword in ("$ref", "$dynamicRef", "$recursiveRef"):
                target = node.get(keyword)
                if isinstance(target, str) and not target.startswith("#"):
                    yield (*path, keyword), target


def _mistakes(schema: Any) -> Iterator[tuple[Path, str]]:
    """What is wrong, the first first. Each rule may rely on those before it, so only the first counts."""
    if not isinstance(schema, dict):
        yield (), f"a schema is a JSON object, not {_json_type(schema)}."
    yield from _mistakes_of_extent(schema)
    if schema.get("type") != "object":
        path: Path = ("type",) if "type" in schema else ()
        yield path, 'a tool\'s schema must have "type": "object" at its root.'
    for count, (path, node) in enumerate(_subschemas(schema), start=1):
        if count > MAX_SUBSCHEMAS:
            yield path, f"the schema is made of more than {MAX_SUBSCHEMAS:,} schemas."
        if isinstance(node, bool):
            continue
        if not isinstance(node, dict):
            yield path, f"a schema is an object, true or false, not {_json_type(node)}."
        for keyword, value in node.items():
            if (shape := _SHAPES.get(keyword)) and not shape.fits(value):
                yield (*path, keyword), f"must be {shape.words}, not {_shown(value)}."
    for path, target in remote_references(schema):
        yield (
            path,
            f"the reference to '{target[:200]}' leaves the schema, and nothing is fetched. "
            "Copy what it points to into \"$defs\" and refer to it with '#/$defs/...'.",
        )


def _mistakes_of_extent(schema: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """Depth first (the encoder recurses), then size."""
    objects = 1
    path: list[str | int] = []
    open_containers = [_members(schema)]
    while open_containers:
        for step, value in open_containers[-1]:
            if isinstance(value, (dict, list)):
                path.append(step)
                open_containers.append(_members(value))
                objects += isinstance(value, dict)
                break
        else:
            open_containers.pop()
            del path[-1:]
            continue
        if objects > MAX_SUBSCHEMAS:
            yield tuple(path), f"the schema is made of more than {MAX_SUBSCHEMAS:,} objects."
        if len(open_containers) > MAX_SCHEMA_DEPTH:
            yield tuple(path), f"the schema is nested more than {MAX_SCHEMA_DEPTH} deep."
    try:
        size = len(json.dumps(schema, allow_nan=False))
    except (TypeError, ValueError) as error:
        yield (), f"the schema is no JSON: {error}."
    else:
        if size > MAX_SCHEMA_SIZE:
            yield (), f"the schema has {size:,} characters; {MAX_SCHEMA_SIZE:,} are allowed."


def _members(container: Any) -> Iterator[tuple[str | int, Any]]:
    return iter(container.items()) if isinstance(container, dict) else enumerate(container)


def _subschemas(root: Mapping[str, Any]) -> Iterator[tuple[Path, Any]]:
    """What stands where a schema may stand, with its path, in document order.

    Names of properties and plain data (``enum``, ``default``, ``examples``) are not looked into.
    What stands there need not be a schema: the caller checks, and only objects are entered.
    """
    yield (), root
    open_schemas: list[tuple[Path, Iterator[tuple[Path, Any]]]] = [((), _below(root))]
    while open_schemas:
        path, below = open_schemas[-1]
        for steps, node in below:
            here = path + steps
            yield here, node
            if isinstance(node, dict):
                open_schemas.append((here, _below(node)))
                break
        else:
            open_schemas.pop()


def _below(schema: Mapping[str, Any]) -> Iterator[tuple[Path, Any]]:
    """The schemas in a schema's own keywords, with the steps that lead to each."""
    for keyword, value in schema.items():
        match _HOLDS.get(keyword):
            case "schema":
                yield (keyword,), value
            case "list" if isinstance(value, list):
                for index, item in enumerate(value):
                    yield (keyword, index), item
            case "map" if isinstance(value, dict):
                for name, item in value.items():
                    yield (keyword, name), item
            case "dependencies" if isinstance(value, dict):
                for name, item in value.items():
                    if not isinstance(item, list):
                        yield (keyword, name), item


class _Shape(NamedTuple):
    """What a keyword's own value must be; schemas inside it are visited by themselves."""

    words: str
    fits: Callable[[Any], bool]


_TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")
_ANCHOR = re.compile(r"[A-Za-z_][-A-Za-z0-9._]*")


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


def _is_address(value: Any) -> bool:
    return isinstance(value, str) and "#" not in value[:-1]


_STRING = _Shape("a string", lambda value: isinstance(value, str))
_BOOLEAN = _Shape("true or false", lambda value: isinstance(value, bool))
_NUMBER = _Shape("a number", _is_number)
_COUNT = _Shape("a whole number from 0", _is_count)
_ARRAY = _Shape("a list", lambda value: isinstance(value, list))
_OBJECT = _Shape("an object", lambda value: isinstance(value, dict))
_SCHEMAS = _Shape("a list of schemas, not empty", lambda value: isinstance(value, list) and len(value) > 0)
_NAMES = _Shape("a list of different names", _are_names)
_NAME_LISTS = _Shape(
    "an object of lists of names",
    lambda value: isinstance(value, dict) and all(map(_are_names, value.values())),
)
_DEPENDENCIES = _Shape(
    "an object of schemas and lists of names",
    lambda value: (
        isinstance(value, dict) and all(_are_names(item) for item in value.values() if isinstance(item, list))
    ),
)
_SWITCHES = _Shape(
    "an object of true and false",
    lambda value: isinstance(value, dict) and all(isinstance(item, bool) for item in value.values()),
)
_ANCHOR_NAME = _Shape(
    "a name of letters, digits, '-', '.' and '_'",
    lambda value: isinstance(value, str) and _ANCHOR.fullmatch(value) is not None,
)

_SHAPES = {
    keyword: shape
    for keywords, shape in (
        ("type", _Shape(f"one of {', '.join(_TYPES)}, or a list of them", _are_types)),
        ("required", _NAMES),
        ("dependentRequired", _NAME_LISTS),
        ("properties patternProperties dependentSchemas $defs definitions", _OBJECT),
        ("dependencies", _DEPENDENCIES),
        ("allOf anyOf oneOf prefixItems", _SCHEMAS),
        ("enum examples", _ARRAY),
        ("title description format pattern contentMediaType contentEncoding", _STRING),
        ("$comment $schema $ref $dynamicRef $recursiveRef", _STRING),
        ("$id", _Shape("an address without a fragment", _is_address)),
        ("$anchor $dynamicAnchor $recursiveAnchor", _ANCHOR_NAME),
        ("$vocabulary", _SWITCHES),
        ("maximum minimum exclusiveMaximum exclusiveMinimum", _NUMBER),
        ("multipleOf", _Shape("a number over 0", lambda value: _is_number(value) and value > 0)),
        ("maxLength minLength maxItems minItems maxContains minContains", _COUNT),
        ("maxProperties minProperties", _COUNT),
        ("uniqueItems deprecated readOnly writeOnly", _BOOLEAN),
    )
    for keyword in keywords.split()
}
"""The meta-schema of draft 2020-12, as far as a keyword's own value goes."""

_HOLDS = {
    keyword: how
    for keywords, how in (
        ("items contains additionalProperties propertyNames if then else not", "schema"),
        ("unevaluatedItems unevaluatedProperties contentSchema", "schema"),
        ("allOf anyOf oneOf prefixItems", "list"),
        ("properties patternProperties dependentSchemas $defs definitions", "map"),
        ("dependencies", "dependencies"),
    )
    for keyword in keywords.split()
}
"""Where schemas stand inside a schema."""


def _json_type(value: Any) -> str:
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


def _shown(value: Any) -> str:
    """The value where it is short, else its type."""
    if isinstance(value, (str, int, float, bool)) and len(text := json.dumps(value)) <= 40:
        return text
    return _json_type(value)
