"""Whether a call's arguments fit the tool's JSON Schema, told so that the model can correct them.

jsonschema does the work; this module bounds it, because a model chooses the arguments, and may do so
at somebody else's bidding. Nothing is fetched. Every keyword pays before it looks (`MAX_WORK`), so
lists against lists end as a typed error, and a ``pattern`` is followed as `engine.patterns` does.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from contextvars import ContextVar
from functools import cache, lru_cache
from itertools import islice
from typing import Any

from .drafts import NEWEST, draft_of
from .errors import OpenRouterError, OutputError, ToolSpecError
from .patterns import compiled, matches
from .places import path_text
from .schemas import check_schema, schema_warnings

MAX_ERRORS = 5
"""Mistakes told at once."""
MAX_VALUE_SHOWN = 100
MAX_REASON = 300
"""Characters of one mistake's reason."""
MAX_WORK = 200_000
"""Steps of a pattern, or a fifth as many keywords looked at: about a fifth of a second."""
MAX_NESTING = 150
"""Keywords inside keywords; each takes up to four of the thousand calls that Python allows."""

_TOO_DEEP = "The arguments are nested too deeply to be checked."
_KEYWORD = 5  # what looking at a keyword costs, in steps of a pattern
_SCHEMA = 3  # and going into a schema
_SCHEMA_UNEVALUATED = 20  # and doing so to see what it looks at, by way of references
_work: ContextVar[_Work] = ContextVar("work")


def validate_arguments(schema: Mapping[str, Any], arguments: Any) -> None:
    """Raise `OutputError` unless the arguments fit, with a sentence for the model.

    It names at most `MAX_ERRORS` places, each with its reason: ``arguments.location: 5 is not of
    type 'string'``. Arguments that would take too long are refused alike. The schema is read in the
    draft that its root's ``$schema`` names (04, 06, 07, 2019-09), else in 2020-12; ``format`` is not
    looked at. A schema that cannot be used raises `ToolSpecError`.
    """
    text = _text(schema)
    try:
        mistakes = _first_mistakes(_validator(text), arguments)
    except OpenRouterError:
        raise
    except (ArithmeticError, ValueError) as error:
        raise OutputError("The arguments have a number that is too large to be checked.") from error
    except Exception as error:  # jsonschema's, of a reference that leads nowhere
        raise ToolSpecError(f"The tool's schema cannot be used: {_cut(str(error), MAX_REASON)}.") from error
    if mistakes:
        raise OutputError("; ".join(mistakes) + ".")


def check_usable(schema: Mapping[str, Any]) -> None:
    """Raise `ToolSpecError`, with the path, for a schema that arguments cannot be checked against.

    Beyond `check_schema`, which follows every reference, these are patterns that cannot be followed.
    jsonschema is not imported for it.
    """
    _usable(_text(schema))


def _text(schema: Mapping[str, Any]) -> str:
    """The schema as JSON: what is kept by it does not change when somebody changes the schema."""
    try:
        return json.dumps(dict(schema), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ToolSpecError(f"The schema is no JSON: {_cut(str(error), MAX_REASON)}.") from error


def _usable(text: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(text)
    check_schema(schema)
    for path, _reason in schema_warnings(schema):
        value: Any = schema
        for step in path:
            value = value[step]
        # The third kind of warning is a required name without a property.
        patterns = {"pattern": [value], "patternProperties": value}.get(str(path[-1]), ())
        try:
            for pattern in patterns:
                compiled(pattern)
        except ToolSpecError as error:
            raise ToolSpecError(f"{path_text(path)}: {error.message}", path=path) from error
    if '"unevaluatedProperties":' in text and '"patternProperties":' in text:
        # jsonschema would give these patterns to `re`.
        raise ToolSpecError('"patternProperties" need "additionalProperties", not "unevaluatedProperties".')
    return schema


@lru_cache(maxsize=128)
def _validator(text: str) -> Any:
    """The schema's validator, tried on nothing once: a schema that turns in a circle shows right away."""
    schema = _usable(text)
    from jsonschema import validators  # at first use: it is dearer to import than all of the engine
    from referencing import Registry, jsonschema

    draft = getattr(validators, (draft_of(schema) or NEWEST).validator)
    root = jsonschema.specification_with(draft.ID_OF(draft.META_SCHEMA)).create_resource(schema)
    uri = root.id() or ""
    # No reference leaves a registry with nothing else in it; jsonschema's own opens addresses.
    registry: Any = Registry().with_resource(uri, root)
    with suppress(Exception):  # raised again by a reference that needs it
        crawled = registry.crawl()  # else each reference to a name or an "$id" would do so
        if crawled.contents(uri) is schema:  # nothing in it has taken its address
            registry = crawled
    validator = _bounded(draft)(schema, registry=registry, _resolver=registry.resolver(uri))
    try:
        _first_mistakes(validator, {})
    except OutputError as error:
        raise ToolSpecError("The tool's schema refers to itself without an end.") from error
    return validator


class _Work:
    """What one check has left to spend, and how many keywords it is in."""

    left = MAX_WORK
    nesting = 0
    schema = _SCHEMA


def _first_mistakes(validator: Any, arguments: Any) -> list[str]:
    work = _work.set(_Work())
    try:
        return [_told(error) for error in islice(validator.iter_errors(arguments), MAX_ERRORS)]
    except BaseException as error:
        # rpds, which is below jsonschema, panics where Python's stack ends in it: that is no Exception.
        if isinstance(error, RecursionError) or type(error).__name__ == "PanicException":
            raise OutputError(_TOO_DEEP) from error
        raise
    finally:
        _work.reset(work)


@cache
def _bounded(draft: Any) -> Any:
    """A draft's class with every keyword paid for, and in place of some of them our own."""
    from jsonschema import validators

    keywords = {name: _paid(name, _OUR_OWN.get(name, keyword)) for name, keyword in draft.VALIDATORS.items()}
    bounded = validators.extend(draft, keywords)

    def evolve(self: Any, **changes: Any) -> Any:
        # jsonschema's own turns to an unbounded class where a schema inside names a "$schema".
        _pay(_work.get().schema)
        schema = changes.get("schema", self.schema)
        return bounded(schema, registry=self._registry, _resolver=changes.get("_resolver", self._resolver))

    bounded.evolve = evolve
    return bounded


_Keyword = Callable[[Any, Any, Any, Any], Iterable[Any] | None]


def _paid(name: str, keyword: _Keyword) -> _Keyword:
    """The keyword, paying before it looks; its errors do not echo what is long."""

    def look(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
        work = _work.get()
        work.nesting += 1
        price = work.schema
        try:
            if work.nesting > MAX_NESTING:
                raise OutputError(_TOO_DEEP)
            parts = _parts(instance)
            if name.startswith("unevaluated"):
                parts *= 1 + parts // 20  # each is looked up in a list of all of them
                work.schema = _SCHEMA_UNEVALUATED
            _pay(_KEYWORD + _parts(value) + parts)
            if name in ("const", "enum") and parts:
                _pay(_compared([value] if name == "const" else value, instance))
            for error in keyword(validator, value, instance, schema) or ():
                _pay(1 if isinstance(error.validator, str) else _KEYWORD)
                if error.validator is None:
                    error.message = f"{_cut(repr(error.instance), MAX_VALUE_SHOWN)} is not allowed"
                elif not isinstance(error.validator, str) and len(error.message) > MAX_VALUE_SHOWN:
                    # Fresh from its keyword; what comes from below has been through here.
                    _pay(len(error.message) // 10)
                    error.message = _short(error.message, repr(instance))
                yield error
        finally:
            work.nesting -= 1
            work.schema = price

    return look


def _pay(price: int) -> None:
    work = _work.get()
    work.left -= price
    if work.left < 0:
        raise OutputError("The arguments are too long, or have too many parts, to be checked.")


def _parts(value: Any) -> int:
    return len(value) if isinstance(value, (dict, list)) else 0


def _compared(values: list[Any], instance: Any) -> int:
    """What it costs to compare, where lists and objects are gone through, with each of these values."""
    containers = sum(isinstance(value, (dict, list)) for value in values)
    inside = [instance] if containers else []
    for value in inside:  # grows meanwhile
        if isinstance(value, (dict, list)):
            inside += value.values() if isinstance(value, dict) else value
    return containers * len(inside)


def _told(error: Any) -> str:
    """Where and why; of alternatives, what the first ones miss."""
    branches = dict.fromkeys(
        f"{path_text(tuple(branch.relative_path))[2:]}: {branch.message}".removeprefix(": ")
        for branch in error.context[:MAX_ERRORS]
    )
    reason = _cut(": ".join(filter(None, (error.message, ", or ".join(branches)))), MAX_REASON)
    return f"arguments{path_text(tuple(error.absolute_path))[1:]}: {reason}"


def _short(message: str, value: str) -> str:
    if message.startswith(value):
        return _cut(value, MAX_VALUE_SHOWN) + _cut(message[len(value) :], MAX_REASON)
    return _cut(message, MAX_VALUE_SHOWN + 40)  # names or items, behind some words of jsonschema's


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _pattern(_validator: Any, pattern: str, instance: Any, _schema: Any) -> Iterator[Any]:
    if isinstance(instance, str) and not matches(pattern, instance, _pay):
        yield _mistake(f"{instance!r} does not match {pattern!r}")


def _pattern_properties(validator: Any, patterns: Any, instance: Any, _schema: Any) -> Iterator[Any]:
    if isinstance(instance, dict):
        for pattern, inner in patterns.items():
            for name, value in instance.items():
                if matches(pattern, name, _pay):
                    yield from validator.descend(value, inner, path=name, schema_path=pattern)


def _additional_properties(validator: Any, allowed: Any, instance: Any, schema: Any) -> Iterator[Any]:
    if not isinstance(instance, dict):
        return
    properties, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    for name in instance:
        if name not in properties and not any(matches(pattern, name, _pay) for pattern in patterns):
            if allowed is False:
                yield _mistake(f"{name!r} is unexpected: additional properties are not allowed")
            else:
                yield from validator.descend(instance[name], allowed, path=name)


def _unique_items(_validator: Any, wanted: bool, instance: Any, _schema: Any) -> Iterator[Any]:
    """By their text, in which 1.0 is 1; jsonschema compares each object with each."""
    if not wanted or not isinstance(instance, list):
        return
    seen: dict[str, int] = {}
    for index, item in enumerate(instance):
        text = json.dumps(item)
        _pay(len(text))
        text = json.dumps(json.loads(text, parse_float=_number), sort_keys=True)
        if (first := seen.setdefault(text, index)) != index:
            yield _mistake(f"items {first} and {index} are the same")
            return


def _number(text: str) -> float:
    number = float(text)
    return int(number) if number.is_integer() else number


def _mistake(message: str) -> Any:
    from jsonschema import ValidationError

    return ValidationError(message)


_OUR_OWN: dict[str, _Keyword] = {
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
    "uniqueItems": _unique_items,
}
