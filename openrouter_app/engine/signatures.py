"""A Python function as a model sees it: a JSON Schema of its parameters, and the way back.

The way out: annotations become a schema, the docstring becomes the descriptions. The way back: a
call's JSON arguments become what the function's annotations promise (dates, enums, dataclasses).
What a type means in JSON is msgspec's to say, in both directions. A function that cannot be told to
a model is refused when the tool is defined, not when a model first calls it.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import json
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from .docstrings import parse_docstring
from .errors import OutputError, ToolError, ToolSpecError
from .type_schemas import REFERENCE, make_strict, nodes, state_formats, state_type, takes_null

MAX_REASON = 300
"""Characters of one reason: values that a model chose may stand in it."""
_EXACT = 2**53
"""Whole floats up to here are surely the whole number that was written."""


@dataclass(frozen=True, slots=True)
class Signature:
    """What a function takes from a model.

    ``schema`` has ``"type": "object"`` at its root and types with a name of their own below
    ``$defs``; ``types`` are the parameters' resolved annotations.
    """

    name: str
    description: str
    schema: dict[str, Any]
    types: Mapping[str, Any] = field(repr=False)
    null_means_default: frozenset[str] = frozenset()

    @classmethod
    def of(cls, function: Callable[..., Any], *, strict: bool = False) -> Signature:
        """Read a function's signature and docstring.

        A parameter's description is `msgspec.Meta`'s, else a bare string's in ``Annotated``, else
        the docstring's (Google, NumPy or reST style); the tool's is the docstring's first
        paragraph. An object that can be called is described by its ``__call__``, else by its class.
        What `functools.partial` has bound is not the model's to choose and does not appear.

        ``strict`` is for providers that enforce a schema, and those want every property required and no
        other: dicts, tuples and what may be anything are refused. A parameter with a default then
        takes null, which stands for the default unless the type has a null of its own. Fields with
        defaults inside dataclasses and the like must allow null themselves: there, null would reach
        their own code.

        Raises `ToolSpecError`, with the function, the parameter and the ways out.
        """
        inner, bound = _unwrapped(function)
        called = getattr(inner, "__qualname__", None) or type(inner).__qualname__
        parameters = list(_parameters(function, called, bound))
        hints = {parameter.name: _type_of(parameter, inner, called) for parameter in parameters}
        summary, described = parse_docstring(_docstring(inner))
        schemas, definitions = _components(hints, called)
        for node in definitions.values():
            if "description" in node:  # a class's whole docstring, indented as it stands in the code
                node["description"] = parse_docstring(node["description"])[0]
        nulls = set()
        properties: dict[str, Any] = {}
        required = []
        for parameter, own in zip(parameters, schemas, strict=True):
            name = parameter.name
            optional = parameter.default is not parameter.empty
            description = own.pop("description", None) or _bare_string(hints[name]) or described.get(name, "")
            shown = _shown_default(parameter.default, own, definitions) if optional else {}
            own |= shown
            state_formats(hints[name], own, definitions)
            if strict and optional and not takes_null(own, definitions):
                nulls.add(name)
                own = {"anyOf": [own, {"type": "null"}]}
                values = "".join(f", {json.dumps(value)}" for value in shown.values())
                description = f"{description} Null means the default{values}.".lstrip()
            properties[name] = own | ({"description": description} if description else {})
            if strict or not optional:
                required.append(name)
        schema: dict[str, Any] = {"type": "object", "properties": properties}
        if required or strict:
            schema["required"] = required
        if definitions:
            schema["$defs"] = definitions
        for _path, node in nodes(schema):
            state_type(node)
        if strict:
            make_strict(schema, called)
        return cls(getattr(inner, "__name__", ""), summary, schema, hints, frozenset(nulls))

    def arguments(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The function's keyword arguments, from JSON arguments that fit the schema.

        Names the function does not have are left out, and so are those for which it has its own
        default. Raises `OutputError` for what a schema cannot say or `validate_arguments` does not
        check: a date that is none, a ``__post_init__`` that refuses. Of what is neither msgspec's own nor
        meant for it, a KeyError say, the model is told the name alone, as of a function that fails.
        """
        typed: dict[str, Any] = {}
        wrong = []
        cause: Exception | None = None
        for name, kind in self.types.items():
            if name not in values or (values[name] is None and name in self.null_means_default):
                continue
            try:
                typed[name] = _converted(values[name], kind)
            except msgspec.ValidationError as error:
                wrong.append(_mistake(name, str(error)))
            except RecursionError as error:
                raise OutputError(f"arguments.{name}: nested too deeply.") from error
            except (TypeError, ToolError) as error:  # msgspec's, of a set of lists; and for the model anyway
                wrong.append(_mistake(name, str(error)))
            except Exception as error:  # a __post_init__ is anybody's code
                wrong.append(f"arguments.{name}: this value is not accepted ({type(error).__name__})")
                cause = error
        if wrong:
            raise OutputError("; ".join(wrong[:5]) + ".") from cause
        return typed


def keyword_arguments(function: Callable[..., Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Of these, what the function takes by name; what `functools.partial` has bound, it takes no more."""
    _inner, bound = _unwrapped(function)
    free = {name: value for name, value in values.items() if name not in bound}
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some functions written in C
        return free
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return free
    named = {parameter.name for parameter in parameters if parameter.kind not in _NO_NAME}
    return {name: value for name, value in free.items() if name in named}


def _unwrapped(function: Callable[..., Any]) -> tuple[Any, frozenset[str]]:
    """The function that was written, below methods, decorators and partials, and the names these bound."""
    inner: Any = function
    bound: set[str] = set()
    while True:
        match inner:
            case functools.partial():
                bound.update(inner.keywords)
                inner = inner.func
            case types.MethodType():
                inner = inner.__func__
            case _ if hasattr(inner, "__wrapped__"):
                inner = inner.__wrapped__
            case _:
                return inner, frozenset(bound)


def _docstring(inner: Any) -> str:
    call = type(inner).__call__  # of a function, or a class, it is none that somebody wrote
    is_written = hasattr(call, "__globals__") and not isinstance(inner, type)
    return (inspect.getdoc(call) if is_written else None) or inspect.getdoc(inner) or ""


def _parameters(
    function: Callable[..., Any], called: str, bound: frozenset[str]
) -> Iterator[inspect.Parameter]:
    """The parameters a model fills in; a model knows names, so each must have one."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError) as error:
        raise ToolSpecError(f"{called} has no signature to read: pass a spec with its schema.") from error
    for parameter in parameters:
        way_out = _NO_NAME.get(parameter.kind)
        if way_out:
            raise ToolSpecError(
                f"{called}: the parameter '{parameter}' cannot be filled in by name: {way_out}.",
                path=("properties", parameter.name),
            )
        if parameter.name not in bound:
            yield parameter


_NO_NAME: dict[Any, str] = {
    inspect.Parameter.POSITIONAL_ONLY: "remove the '/' behind it",
    inspect.Parameter.VAR_POSITIONAL: "take a list instead",
    inspect.Parameter.VAR_KEYWORD: "write its names out, or take a dict",
}


def _type_of(parameter: inspect.Parameter, inner: Any, called: str) -> Any:
    """The parameter's annotation as a type that msgspec can describe."""

    def refused(what: str, way_out: str) -> ToolSpecError:
        return ToolSpecError(
            f"{called}: the parameter '{parameter.name}' {what}. {way_out}",
            path=("properties", parameter.name),
        )

    if parameter.annotation is parameter.empty:
        raise refused(
            "has no annotation",
            "Make the tool of the bound method."
            if parameter.name in ("self", "cls")
            else "Annotate it with its type, or with typing.Any.",
        )
    written = inner if hasattr(inner, "__globals__") else type(inner).__call__
    alone = types.SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
    try:
        hint = typing.get_type_hints(alone, getattr(written, "__globals__", {}), include_extras=True)[
            parameter.name
        ]
    except Exception as error:  # an annotation is any expression, so it raises anything
        raise refused(
            f"has an annotation that cannot be resolved ({_reason(error)})",
            "Define what it names at a module's level, and import it outside of 'if TYPE_CHECKING:'.",
        ) from error
    try:
        msgspec.json.schema_components([hint])
    except Exception as error:  # msgspec resolves annotations inside the type, with the same outcome
        if _is_of_one_name(error):
            raise refused("has two classes of the same name in its type", _RENAME) from error
        raise refused(
            f"has a type without a JSON Schema ({_reason(error)})",
            "Use standard types, enums, dataclasses, TypedDicts or msgspec structs, or bind the parameter "
            "with functools.partial: then the model does not see it.",
        ) from error
    return hint


_RENAME = "Give each a name of its own: a factory may set __name__ and __qualname__ of what it makes."


def _is_of_one_name(error: Exception) -> bool:
    """Whether msgspec fails since it cannot tell two classes apart: it knows them by module and name."""
    return isinstance(error, KeyError) and not isinstance(error.args[0], str)


def _components(hints: Mapping[str, Any], called: str) -> tuple[tuple[dict[str, Any], ...], dict[str, Any]]:
    """The parameters' schemas, and the definitions that they share."""
    try:
        return msgspec.json.schema_components(hints.values(), ref_template=f"{REFERENCE}{{name}}")
    except (KeyError, RecursionError):  # the second, where the class is in itself
        for (first, one), (second, other) in itertools.combinations(hints.items(), 2):
            try:
                msgspec.json.schema_components([one, other])
            except (KeyError, RecursionError) as error:
                raise ToolSpecError(
                    f"{called}: the parameters '{first}' and '{second}' have two classes of the same name "
                    f"in their types. {_RENAME}",
                    path=("properties", second),
                ) from error
        raise


def _reason(error: Exception) -> str:
    """msgspec's errors end with the line that names the type."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1][:MAX_REASON]


def _bare_string(hint: Any) -> str:
    return next((item for item in getattr(hint, "__metadata__", ()) if isinstance(item, str)), "")


def _shown_default(default: Any, schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """``{"default": ...}``, or nothing where JSON has no word for it or the type does not allow it."""
    if default is None and not takes_null(schema, definitions):
        return {}
    try:
        value = msgspec.to_builtins(default, str_keys=True)
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return {}
    return {"default": value}


def _converted(value: Any, kind: Any) -> Any:
    value = msgspec.to_builtins(value)  # a copy: what may be anything would be shared with the call
    try:
        return msgspec.convert(value, kind, str_keys=True)
    except msgspec.ValidationError:
        # To JSON Schema 5.0 is an integer, to msgspec it is none; the last word is on the second try.
        return msgspec.convert(_with_whole_numbers(value), kind, str_keys=True)


def _with_whole_numbers(value: Any) -> Any:
    match value:
        case float() if value.is_integer() and abs(value) <= _EXACT:
            return int(value)
        case list():
            return [_with_whole_numbers(item) for item in value]
        case dict():
            return {name: _with_whole_numbers(item) for name, item in value.items()}
        case _:
            return value


def _mistake(name: str, said: str) -> str:
    """``arguments.when[0]: Invalid RFC3339 encoded date``."""
    reason, at, where = said.rpartition(" - at ")
    if not at:
        reason, where = where, "$"
    return f"{where.replace('`', '').replace('$', f'arguments.{name}', 1)}: {reason[:MAX_REASON].rstrip('.')}"
