"""Values that fit a JSON Schema, for tools nobody wrote an answer for.

Not a generator of all that a schema allows: one plain value, as small as can be, whatever the schema.
The one rule: a schema comes from outside, so nothing in it may raise, loop or blow up; what is not
understood (``$ref`` included) becomes a string.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

_DEPTH = 6
_VALUES = 60
_ITEMS = 3
_LENGTH = 200

_FORMATS = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "time": "12:00:00",
    "email": "simulated@example.com",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "ipv4": "192.0.2.1",
}


def invented(schema: object, name: str = "value") -> Any:
    """One value for ``schema``; ``name`` is what it is for, and shows in invented strings."""
    return _Inventor().value(schema, name, 0)


def invented_arguments(schema: object) -> dict[str, Any]:
    """Arguments for a tool with this ``parameters`` schema; ``{}`` where it describes no object."""
    value = invented(schema, "arguments")
    return value if isinstance(value, dict) else {}


@dataclass(slots=True)
class _Inventor:
    left: int = _VALUES

    def value(self, schema: object, name: str, depth: int) -> Any:
        self.left -= 1
        if not isinstance(schema, Mapping):
            return f"simulated {name}"[:_LENGTH]
        if "const" in schema:
            return schema["const"]
        for given in ("enum", "examples"):
            if isinstance(schema.get(given), list) and schema[given]:
                return schema[given][0]
        if "default" in schema:
            return schema["default"]
        for choice in ("anyOf", "oneOf", "allOf"):
            options = schema.get(choice)
            if isinstance(options, list) and depth < _DEPTH:
                rest = {key: value for key, value in schema.items() if key != choice}
                return self.value({**rest, **_first_usable(options)}, name, depth + 1)
        match _type(schema):
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, name, depth)
            case "integer":
                return int(_number(schema))
            case "number":
                return _number(schema)
            case "boolean":
                return True
            case "null":
                return None
            case _:
                return _string(schema, name)

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        properties = schema.get("properties")
        filled: dict[str, Any] = {}
        if isinstance(properties, Mapping) and depth < _DEPTH:
            for name, inner in properties.items():
                if self.left <= 0:
                    break
                filled[name] = self.value(inner, name, depth + 1)
        return filled

    def _array(self, schema: Mapping[str, Any], name: str, depth: int) -> list[Any]:
        wanted = min(max(1, int(_bound(schema, "minItems", 1))), _ITEMS)
        enough = depth >= _DEPTH or self.left <= 0
        return [] if enough else [self.value(schema.get("items"), name, depth + 1) for _ in range(wanted)]


def _first_usable(options: list[Any]) -> dict[str, Any]:
    usable = (option for option in options if isinstance(option, Mapping) and option.get("type") != "null")
    return dict(next(usable, {}))


def _type(schema: Mapping[str, Any]) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((entry for entry in kind if entry != "null"), "null")
    if kind is None:
        kind = "object" if "properties" in schema else "array" if "items" in schema else "string"
    return str(kind)


def _bound(schema: Mapping[str, Any], name: str, otherwise: float) -> float:
    value = schema.get(name)
    return float(value) if isinstance(value, int | float) and abs(value) < 1e15 else otherwise


def _number(schema: Mapping[str, Any]) -> float:
    """A number strictly between the bounds, so that it does not matter which are exclusive."""
    low = max(_bound(schema, "minimum", -inf), _bound(schema, "exclusiveMinimum", -inf))
    high = min(_bound(schema, "maximum", inf), _bound(schema, "exclusiveMaximum", inf))
    if low < 1 < high or (low == -inf and high == inf):
        return 1
    if low > -inf and high < inf:
        return (low + high) / 2
    return low + 1 if low > -inf else high - 1


def _string(schema: Mapping[str, Any], name: str) -> str:
    text = _FORMATS.get(str(schema.get("format")), f"simulated {name}")
    shortest = min(int(_bound(schema, "minLength", 0)), _LENGTH)
    longest = min(max(int(_bound(schema, "maxLength", _LENGTH)), 0), _LENGTH)
    return text.ljust(shortest, ".")[:longest]
