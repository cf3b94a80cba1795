"""What a model may call: a name, a description and a JSON Schema; and whether it must.

The schema travels to the provider as it is. No ``$ref`` is ever fetched and no ``pattern`` is
ever evaluated here: both come from people and models we do not know.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from .errors import ToolSpecError

TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
MAX_SCHEMA_DEPTH = 64
MAX_SCHEMA_SIZE = 262_144
"""Characters of a schema as JSON."""
MAX_SUBSCHEMAS = 10_000
"""Schemas in a schema, and objects of any kind, itself included."""


class ToolSpec(msgspec.Struct, frozen=True):
    """A tool as the model sees it.

    ``input_json_schema`` is a JSON Schema with ``"type": "object"`` at its root; ``strict`` asks
    the provider to enforce it. Raises `ToolSpecError` where the name or the root is wrong.
    """

    name: str
    description: str = ""
    input_json_schema: Mapping[str, Any] = msgspec.field(
        default_factory=lambda: {"type": "object", "properties": {}}
    )
    strict: bool = False

    def __post_init__(self) -> None:
        if not TOOL_NAME.fullmatch(self.name):
            raise ToolSpecError(
                f"'{self.name[:80]}' is no tool name: use 1 to 64 letters, digits, '_' and '-'."
            )
        if not isinstance(self.input_json_schema, Mapping) or self.input_json_schema.get("type") != "object":
            raise ToolSpecError(f'The schema of \'{self.name}\' must have "type": "object" at its root.')

    def wire(self) -> dict[str, Any]:
        """The tool as a member of the request's ``tools``."""
        function: dict[str, Any] = {
            "name": self.name,
            "description": self.description,
            "parameters": self.input_json_schema,
        }
        if self.strict:
            function["strict"] = True
        return {"type": "function", "function": function}


class ToolChoice(msgspec.Struct, frozen=True):
    """Whether the model calls a tool: ``none``, ``auto``, ``required``, or ``forced`` to one name."""

    type: str
    name: str = ""

    @classmethod
    def none(cls) -> ToolChoice:
        """No tool is called."""
        return cls("none")

    @classmethod
    def auto(cls) -> ToolChoice:
        """The model decides."""
        return cls("auto")

    @classmethod
    def required(cls) -> ToolChoice:
        """At least one tool, the model decides which."""
        return cls("required")

    @classmethod
    def forced(cls, name: str) -> ToolChoice:
        """This tool."""
        return cls("forced", name)

    def wire(self) -> str | dict[str, Any]:
        """The value of the request's ``tool_choice``."""
        if self.type == "forced":
            return {"type": "function", "function": {"name": self.name}}
        return self.type


def check_schema(schema: Any) -> None:
    """Raise `ToolSpecError`, with the path and the reason, unless this can be a tool's schema.

    It must be JSON Schema (draft 2020-12) with ``"type": "object"`` at its root, at most
    `MAX_SCHEMA_SIZE` characters, `MAX_SUBSCHEMAS` schemas and `MAX_SCHEMA_DEPTH` deep, without a
    ``$ref`` that leaves it. The time is proportional to its size: each keyword is looked up in a
    table, and nothing in the schema is fetched, resolved, compiled or matched.
    """
    if not isinstance(schema, dict):
        raise ToolSpecError(f"A schema is a JSON object, not {_json_type(schema)}.")
    _check_extent(schema)
    if schema.get("type") != "object":
        raise ToolSpecError('$.type: a tool\'s schema must have "type": "object" at its root.')
    for count, (path, node) in enumerate(_subschemas(schema), start=1):
        if count > MAX_SUBSCHEMAS:
            raise ToolSpecError(f"The schema is made of more than {MAX_SUBSCHEMAS:,} schemas.")
        if isinstance(node, bool):
            continue
        if not isinstance(node, dict):
            raise ToolSpecError(f"{path}: a schema is an object, true or false, not {_json_type(node)}.")
        for keyword, value in node.items():
            if (shape := _SHAPES.get(keyword)) and not shape.fits(value):
                raise ToolSpecError(f"{path}.{keyword} must be {shape.words}, not {_shown(value)}.")
    for path, target in remote_references(schema):
        raise ToolSpecError(
            f"{path}: the reference to '{target[:200]}' leaves the schema, and nothing is fetched. "
            "Copy what it points to into \"$defs\" and refer to it with '#/$defs/...'."
        )


def schema_warnings(schema: Mapping[str, Any]) -> Iterator[str]:
    """What is allowed but surely not meant, one sentence each: for the admin, not for the model.

    A ``required`` name without a property; a ``pattern``, which is never evaluated here. Expects a
    schema that `check_schema` accepts.
    """
    for path, node in _subschemas(schema):
        if not isinstance(node, dict):
            continue
        properties = node.get("properties")
        required = node.get("required")
        if isinstance(properties, dict) and isinstance(required, list):
            for name in required:
                if name not in properties:
                    yield f"{path}: '{name}' is required but is no property."
        for keyword in ("pattern", "patternProperties"):
            if keyword in node:
                yield f"{path}.{keyword}: a pattern is sent to the model but is never evaluated by this site."


def remote_references(schema: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """``(path, target)`` of each reference that leaves the document: such a schema is refused."""
    for path, node in _subschemas(schema):
        if isinstance(node, dict):
            for keyword in ("$ref", "$dynamicRef", "$recursiveRef"):
                target = node.get(keyword)
                if isinstance(target, str) and not target.startswith("#"):
                    yield f"{path}.{keyword}", target


def _check_extent(schema: Mapping[str, Any]) -> None:
    """Depth first (the encoder recurses), then size."""
    stack: list[tuple[Any, int]] = [(schema, 1)]
    objects = 0
    while stack:
        node, depth = stack.pop()
        objects += isinstance(node, dict)
        if objects > MAX_SUBSCHEMAS:
            raise ToolSpecError(f"The schema is made of more than {MAX_SUBSCHEMAS:,} objects.")
        if depth > MAX_SCHEMA_DEPTH:
            raise ToolSpecError(f"The schema is nested more than {MAX_SCHEMA_DEPTH} deep.")
        if isinstance(node, dict):
            stack.extend((value, depth + 1) for value in node.values() if isinstance(value, (dict, list)))
        elif isinstance(node, list):
            stack.extend((value, depth + 1) for value in node if isinstance(value, (dict, list)))
    try:
        size = len(json.dumps(schema))
    except (TypeError, ValueError) as error:
        raise ToolSpecError(f"The schema is no JSON: {error}.") from error
    if size > MAX_SCHEMA_SIZE:
        raise ToolSpecError(f"The schema has {size:,} characters; {MAX_SCHEMA_SIZE:,} are allowed.")


def _subschemas(root: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """What stands where a schema may stand, with its path (``$`` is the root), in document order.

    Names of properties and plain data (``enum``, ``default``, ``examples``) are not looked into.
    What stands there need not be a schema: the caller checks, and only objects are entered.
    """
    stack: list[tuple[str, Any]] = [("$", root)]
    while stack:
        path, node = stack.pop()
        yield path, node
        if isinstance(node, dict):
            below: list[tuple[str, Any]] = []
            for keyword, value in node.items():
                match _HOLDS.get(keyword):
                    case "schema":
                        below.append((f"{path}.{keyword}", value))
                    case "list" if isinstance(value, list):
                        below.extend((f"{path}.{keyword}[{index}]", item) for index, item in enumerate(value))
                    case "map" if isinstance(value, dict):
                        below.extend((f"{path}.{keyword}.{name}", item) for name, item in value.items())
                    case "dependencies" if isinstance(value, dict):
                        below.extend(
                            (f"{path}.{keyword}.{name}", item)
                            for name, item in value.items()
                            if not isinstance(item, list)
                        )
            stack.extend(reversed(below))


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
