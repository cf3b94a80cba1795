"""What is to be added to msgspec's schemas of types: for models, and for providers that are strict."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from msgspec import inspect

from .errors import ToolSpecError

Schema = dict[str, Any]

REFERENCE = "#/$defs/"
_HAS_ZONE = re.compile(r"(?:Z|[+-][0-9]{2}:[0-9]{2})$")


def takes_null(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> bool:
    if reference := schema.get("$ref"):
        return takes_null(definitions[reference.removeprefix(REFERENCE)], definitions)
    if "anyOf" in schema:
        return any(takes_null(branch, definitions) for branch in schema["anyOf"])
    if "enum" in schema:
        return None in schema["enum"]
    kind = schema.get("type", "null")
    return "null" in ([kind] if isinstance(kind, str) else kind)


def nodes(schema: Schema, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Schema]]:
    """A schema of msgspec's and every schema in it, with its path."""
    yield path, schema
    for keyword in ("$defs", "properties"):
        for name, node in schema.get(keyword, {}).items():
            yield from nodes(node, (*path, keyword, name))
    for keyword in ("anyOf", "prefixItems"):
        for index, node in enumerate(schema.get(keyword, ())):
            yield from nodes(node, (*path, keyword, index))
    for keyword in ("items", "additionalProperties"):
        if isinstance(node := schema.get(keyword), dict):
            yield from nodes(node, (*path, keyword))


_JSON_TYPES = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}


def state_type(node: Schema) -> None:
    """Enums say their type too: some providers refuse a property without one."""
    if "enum" in node and "type" not in node:
        kinds = sorted({_JSON_TYPES[type(value)] for value in node["enum"]})
        node["type"] = kinds[0] if len(kinds) == 1 else kinds


def state_formats(kind: Any, schema: Schema, definitions: Mapping[str, Schema]) -> None:
    """Dates with a time, and times, say their format, as dates do: it keeps a model from "tomorrow at 3".

    msgspec says it only of those that must have a timezone, which is part of the format. Where one
    may be missing, all that has the format is taken as well. Where none may be there, it is not said;
    nor is it beside a default without one, as the function counts on more of the kind.
    """
    _state_formats(inspect.type_info(kind), schema, definitions, set())


def _state_formats(
    info: inspect.Type,
    node: Schema,
    definitions: Mapping[str, Schema],
    seen: set[str],
    default: Any = None,
) -> None:
    info = _bare(info)
    default = node.get("default", default)
    inside: Iterable[tuple[inspect.Type, Schema]] = ()
    match info:
        case inspect.DateTimeType(tz=None) | inspect.TimeType(tz=None):
            if not isinstance(default, str) or _HAS_ZONE.search(default):
                is_time = isinstance(info, inspect.TimeType)
                node.setdefault("format", "time" if is_time else "date-time")
        case inspect.CollectionType():
            inside = [(info.item_type, node.get("items", {}))]
        case inspect.DictType():
            inside = [(info.value_type, node.get("additionalProperties", {}))]
        case inspect.TupleType():
            inside = zip(info.item_types, node.get("prefixItems", ()), strict=False)
        case inspect.UnionType():
            for inner, below in zip(_in_order(info), _branches(node), strict=False):
                _state_formats(inner, below, definitions, seen, default)
        case (
            inspect.StructType()
            | inspect.DataclassType()
            | inspect.TypedDictType()
            | inspect.NamedTupleType()
        ) if (name := node["$ref"].removeprefix(REFERENCE)) not in seen:
            seen.add(name)
            own = definitions[name]
            if "properties" in own:
                inside = [(field.type, own["properties"][field.encode_name]) for field in info.fields]
            elif fields := info.fields:  # behind a tag, where there is one
                inside = zip(
                    (field.type for field in fields), own["prefixItems"][-len(fields) :], strict=True
                )
    for inner, below in inside:
        if isinstance(below, dict):  # msgspec.Meta may have said true
            _state_formats(inner, below, definitions, seen)


def _bare(info: inspect.Type) -> inspect.Type:
    while isinstance(info, inspect.Metadata):
        info = info.type
    return info


def _in_order(union: inspect.UnionType) -> list[inspect.Type]:
    """As msgspec writes them: structs that are objects behind all others, then null."""

    def place(info: inspect.Type) -> int:
        info = _bare(info)
        if isinstance(info, inspect.NoneType):
            return 2
        return int(isinstance(info, inspect.StructType) and not info.array_like)

    return sorted(union.types, key=place)


def _branches(node: Schema) -> Iterator[Schema]:
    """Of a union; several structs stand in an ``anyOf`` of their own."""
    for branch in node["anyOf"]:
        yield from branch["anyOf"] if "discriminator" in branch else [branch]


def make_strict(schema: Schema, called: str) -> None:
    """The subset that strict providers take: closed objects, all required, nothing beside a ``$ref``."""
    for path, node in nodes(schema):
        node.pop("default", None)
        node.pop("discriminator", None)
        if len(node) > 1 and "$ref" in node:
            node["anyOf"] = [{"$ref": node.pop("$ref")}]
        if way_out := _open(node):
            raise ToolSpecError(
                f"{called}: {_where(path, schema)} has a type that a strict schema cannot spell out. "
                f"{way_out}, or do without strict.",
                path=path,
            )
        if "properties" not in node:
            continue
        for name, property_ in node["properties"].items():
            if name not in node.get("required", ()) and not takes_null(property_, schema.get("$defs", {})):
                raise ToolSpecError(
                    f"{called}: '{node.get('title', path[-1])}.{name}' need not be given, but a strict "
                    "schema asks for all. Take its default away, let it be None, or do without strict.",
                    path=(*path, "properties", name),
                )
        node["required"] = list(node["properties"])
        node["additionalProperties"] = False


def _open(node: Mapping[str, Any]) -> str:
    """The way out of a schema that a strict provider would not enforce; empty where it would."""
    if _SAYS_WHAT.isdisjoint(node):
        return "Say its type"
    if "prefixItems" in node:
        return "Take a dataclass with a field for each"
    if node.get("type") == "array" and "items" not in node:
        return "Say the type of its items"
    if node.get("type") == "object" and "properties" not in node:
        return "Take a dataclass, or a list of pairs of one"
    return ""


_SAYS_WHAT = frozenset(("type", "enum", "const", "anyOf", "oneOf", "$ref"))


def _where(path: tuple[str | int, ...], schema: Mapping[str, Any]) -> str:
    """The parameter, or the class and its field, that a path into a signature's schema leads into."""
    if path[0] == "properties":
        return f"the parameter '{path[1]}'"
    names = [schema["$defs"][path[1]].get("title", path[1]), *path[3:4]]
    return f"'{'.'.join(map(str, names))}'"
