"""Whether a call's arguments fit the tool's JSON Schema, told so that the model can correct them.

jsonschema does the work; this module bounds it, because a model chooses the arguments and may do
so at somebody else's bidding. Nothing is fetched. Every keyword pays out of one purse before it
looks (`MAX_WORK`), so lists against lists end as a typed error. A ``pattern`` is never given to
`re`, where ``(a+)+$`` takes years for forty characters, but followed state by state, in time
proportional to pattern times text. A pattern for which that cannot be done is refused, not skipped:
somebody may rely on it.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from functools import cache, lru_cache
from typing import Any

from .errors import OpenRouterError, OutputError, ToolSpecError
from .places import path_text
from .schemas import MAX_SCHEMA_SIZE, check_schema, schema_warnings

MAX_ERRORS = 5
"""Mistakes told at once."""
MAX_VALUE_SHOWN = 100
MAX_REASON = 300
"""Characters of one mistake's reason."""
MAX_WORK = 400_000
"""Steps of a pattern, or a thirtieth as many keywords looked at: about a fifth of a second."""
MAX_PATTERN = 4_000
"""Characters of one pattern."""
MAX_PROGRAM = 4_000
"""Steps that a pattern may be made of, its counted repetitions written out."""

_KEYWORD = 30  # what looking at a keyword costs, in steps of a pattern


def validate_arguments(schema: Mapping[str, Any], arguments: Any) -> None:
    """Raise `OutputError` unless the arguments fit, with a sentence for the model.

    It names at most `MAX_ERRORS` places, each with its reason: ``arguments.location: 5 is not of type
    'string'``. Arguments that would take too long are refused alike. The schema is read as the draft that
    its ``$schema`` names, else as draft 2020-12; ``format`` is not looked at. One that cannot be used
    raises `ToolSpecError`.
    """
    validator = _validator(_text(schema))
    purse = _purse.set([MAX_WORK])
    try:
        mistakes = _first_mistakes(validator, arguments)
    except OpenRouterError:
        raise
    except RecursionError as error:
        raise OutputError("The arguments are nested too deeply to be checked.") from error
    except ArithmeticError as error:
        raise OutputError("The arguments have a number that is too large to be checked.") from error
    except Exception as error:  # a reference that leads nowhere, met only now
        raise ToolSpecError(f"The tool's schema cannot be used: {_cut(str(error), MAX_REASON)}.") from error
    finally:
        _purse.reset(purse)
    if mistakes:
        raise OutputError("; ".join(mistakes) + ".")


def check_usable(schema: Mapping[str, Any]) -> None:
    """Raise `ToolSpecError`, with the path, for a schema that arguments cannot be checked against.

    Beyond `check_schema` these are patterns that cannot be followed in bounded time. jsonschema is
    not imported for this, so it costs little when a tool is defined.
    """
    _usable(_text(schema))


def _text(schema: Mapping[str, Any]) -> str:
    """The schema as JSON: what is kept by it does not change when somebody changes the schema."""
    try:
        return json.dumps(schema if isinstance(schema, dict) else dict(schema), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ToolSpecError(f"The schema is no JSON: {_cut(str(error), MAX_REASON)}.") from error


def _usable(text: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(text)
    check_schema(schema)
    for path, _reason in schema_warnings(schema):
        patterns: Iterable[str] = ()
        node: Any = schema
        for step in path:
            node = node[step]
        if path[-1] == "pattern":
            patterns = (node,)
        elif path[-1] == "patternProperties":
            patterns = node
        for pattern in patterns:
            try:
                _program(pattern)
            except ToolSpecError as error:
                raise ToolSpecError(f"{path_text(path)}: {error.message}", path=path) from error
    if '"unevaluatedProperties":' in text and '"patternProperties":' in text:
        raise ToolSpecError(
            "\"unevaluatedProperties\" cannot be checked beside \"patternProperties\": use \"additionalProperties\"."
        )
    return schema


# jsonschema, bounded


@lru_cache(maxsize=128)
def _validator(text: str) -> Any:
    """The schema's validator, tried once on nothing: a schema that turns in a circle shows right away."""
    schema = _usable(text)
    validator = _draft(str(schema.get("$schema", "")).rstrip("#"))(schema, registry=_nothing_to_fetch())
    purse = _purse.set([MAX_WORK])
    try:
        for _error in validator.iter_errors({}):
            pass
    except RecursionError as error:
        raise ToolSpecError("The tool's schema refers to itself without an end.") from error
    finally:
        _purse.reset(purse)
    return validator


@cache
def _nothing_to_fetch() -> Any:
    """A registry for references inside the schema only; jsonschema's own would open addresses."""
    return importlib.import_module("referencing").Registry()


@cache
def _draft(address: str) -> Any:
    """jsonschema's class for a draft, with every keyword bounded."""
    import jsonschema  # at first use: it is dearer to import than all of the engine

    found = next(
        (
            draft
            for draft in (
                jsonschema.Draft4Validator,
                jsonschema.Draft6Validator,
                jsonschema.Draft7Validator,
                jsonschema.Draft201909Validator,
            )
            if draft.ID_OF(draft.META_SCHEMA).rstrip("#") == address
        ),
        jsonschema.Draft202012Validator,
    )
    own = {name: keyword for name, keyword in _OWN_KEYWORDS.items() if name in found.VALIDATORS}
    keywords = {name: _paid(name, keyword) for name, keyword in {**found.VALIDATORS, **own}.items()}
    bounded = jsonschema.validators.create(
        found.META_SCHEMA,
        keywords,
        type_checker=found.TYPE_CHECKER,
        id_of=found.ID_OF,
        applicable_validators=found._APPLICABLE_VALIDATORS,
    )

    def evolve(self: Any, **changes: Any) -> Any:
        # jsonschema's own takes another class where a schema inside names a "$schema": an unbounded one.
        return bounded(
            changes.get("schema", self.schema),
            registry=self._registry,
            _resolver=changes.get("_resolver", self._resolver),
        )

    bounded.evolve = evolve
    return bounded
