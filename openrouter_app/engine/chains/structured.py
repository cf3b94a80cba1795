"""Structured output: a model that answers values of a schema.

::

    class Joke(msgspec.Struct):
        setup: str
        punchline: str

    chain = prompt | model.with_structured_output(Joke)
    chain.invoke({"foo": "bears"})      # Joke(setup=..., punchline=...)
    chain.stream({"foo": "bears"})      # {}, {"setup": "Wh"}, ..., and last the Joke

The schema goes to the provider; what comes back is checked here all the same, because not every
provider keeps to it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, NamedTuple

import msgspec

from ..arguments import ProgressiveArguments
from ..errors import OutputError, ToolSpecError, UsageError
from ..messages import (
    AIMessage,
    Reply,
    ToolCallDelta,
    ToolCallInvalid,
    ToolCallReady,
    ToolCallStarted,
)
from ..operations import MISSING, Operation
from ..tools import TOOL_NAME, ToolChoice, ToolSpec
from ..validation import check_usable, validate_arguments
from .parsers import JsonOutputParser, JsonRun, convert
from .steps import Call, Step

DEFAULT_NAME = "answer"
WRAPPER = "value"
"""The property in which a value that is no object travels: providers take objects only."""

_NO_NAME = re.compile(r"[^A-Za-z0-9_-]+")


def structured(
    model: Step[Any],
    schema: Any,
    *,
    method: Literal["response_format", "tool"] = "response_format",
    name: str | None = None,
    strict: bool = True,
) -> Step[Any]:
    """``model``, asked for values of ``schema``, and a parser of them.

    ``schema`` is a JSON Schema, whose answers are dicts, or a type (a dataclass, a TypedDict, a
    `msgspec.Struct`, ``list[...]``, ...), whose answers are of that type. While it streams, items are
    plain snapshots, each as soon as something visible changed; of a type, the instance comes last.

    ``method`` says how the model is asked: by ``response_format``, or by a ``tool`` that it must call,
    for models that know no other way. ``name`` is what the schema is called there, by default its title.
    With ``strict`` the provider is asked to enforce the schema, which closes its objects and makes all
    their properties required: see `strict_schema`.

    Raises `UsageError` for what is no schema, and from the chain `OutputError`, with ``raw``, for an
    answer that does not fit.
    """
    form = _form(schema, name)
    sent = strict_schema(form.schema) if strict else form.schema
    if method == "response_format":
        wire = {"name": form.name, "strict": strict, "schema": sent}
        return model.bind(response_format={"type": "json_schema", "json_schema": wire}) | _AnswerParser(form)
    if method == "tool":
        tool = ToolSpec(form.name, form.description, sent, strict)
        return model.bind(tools=[tool], tool_choice=ToolChoice.forced(form.name)) | _CallParser(form)
    raise UsageError(f"method is 'response_format' or 'tool', not {method!r}.")


class _Form(NamedTuple):
    """What is asked for. ``schema`` has an object at its root, in which the value stands where it
    ``is_wrapped``; ``type`` is None where a schema was given.
    """

    name: str
    description: str
    schema: dict[str, Any]
    type: Any
    is_wrapped: bool


def _form(schema: Any, name: str | None) -> _Form:
    is_given = isinstance(schema, Mapping)
    try:
        whole = _plain(schema) if is_given else msgspec.json.schema(schema)
    except TypeError as error:
        raise UsageError(
            "Structured output needs a JSON Schema or a type that msgspec can describe, such as a "
            f"dataclass, a TypedDict or a msgspec.Struct: {error}"
        ) from error
    root, is_wrapped = _with_object_at_root(whole)
    if is_given:
        check_usable(root)
    said = root["properties"][WRAPPER] if is_wrapped else root
    if name is None:
        name = _NO_NAME.sub("_", said.get("title", "")).strip("_")[:64] or DEFAULT_NAME
    elif not TOOL_NAME.fullmatch(name):
        raise ToolSpecError(f"'{name[:80]}' is no name: use 1 to 64 letters, digits, '_' and '-'.")
    return _Form(name, said.get("description", ""), root, None if is_given else schema, is_wrapped)


def _with_object_at_root(schema: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """The schema with an object at its root, and whether it had to be wrapped for that."""
    root, definitions = dict(schema), {}
    if isinstance(root.get("$defs"), dict):
        definitions = dict(root.pop("$defs"))
    reference = root.get("$ref")
    if isinstance(reference, str) and reference.removeprefix("#/$defs/") in definitions:
        target = reference.removeprefix("#/$defs/")
        del root["$ref"]
        root = {**definitions[target], **root}
        if not _mentions([root, definitions], reference):
            del definitions[target]
    if "type" not in root and "properties" in root:
        root["type"] = "object"
    is_wrapped = root.get("type") != "object"
    if is_wrapped:
        root = {"type": "object", "properties": {WRAPPER: root}, "required": [WRAPPER]}
    if definitions:
        root["$defs"] = definitions
    return root, is_wrapped


def _mentions(value: Any, reference: str) -> bool:
    if isinstance(value, Mapping):
        return value.get("$ref") == reference or any(_mentions(part, reference) for part in value.values())
    return isinstance(value, list) and any(_mentions(part, reference) for part in value)


# Where a schema holds others that stand for values of their own. Not ``allOf`` and the like, which
# say more of the same value: closing each part would leave nothing that fits all.
_HOLDS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(
        ("properties", "$defs", "definitions"),
        lambda held: {name: strict_schema(schema) for name, schema in held.items()},
    ),
    **dict.fromkeys(
        ("anyOf", "oneOf", "prefixItems"), lambda held: [strict_schema(schema) for schema in held]
    ),
    **dict.fromkeys(("items", "additionalProperties"), lambda held: strict_schema(held)),
}


def strict_schema(schema: Any) -> Any:
    """A copy as OpenAI and others want it where they enforce it: every object has all of its properties
    and no other.

    An object with keys of free choice (no ``properties``, or ``additionalProperties`` that says so)
    stays as it is: closed, nothing would fit it. Some providers then refuse the schema; pass
    ``strict=False`` for those.
    """
    if not isinstance(schema, Mapping):
        return schema
    copy = {keyword: _HOLDS.get(keyword, _plain)(value) for keyword, value in schema.items()}
    if "properties" in copy and copy.setdefault("additionalProperties", False) is False:
        copy["required"] = list(copy["properties"])
    if copy.get("default", MISSING) is None:  # says nothing where all is required, and some refuse it
        del copy["default"]
    return copy


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(member) for key, member in value.items()}
    return [_plain(member) for member in value] if isinstance(value, (list, tuple)) else value


class _AnswerParser(JsonOutputParser):
    """The value in the answer's text."""

    def __init__(self, form: _Form) -> None:
        super().__init__(type=form.type)
        self.form = form

    def shown(self, value: Any) -> Any:
        if self.form.is_wrapped and isinstance(value, dict):
            return value.get(WRAPPER, MISSING)
        return value

    def result(self, value: Any, raw: str) -> Any:
        if self.form.is_wrapped and not (isinstance(value, dict) and WRAPPER in value):
            value = {WRAPPER: value}  # some models leave the wrapper out
        if self.type is None:
            try:
                validate_arguments(self.form.schema, value)
            except OutputError as error:
                told = error.message.replace("arguments", "answer")
                message = f"The answer does not fit its schema: {told}"
                raise OutputError(message, raw=raw) from error
        value = value[WRAPPER] if self.form.is_wrapped else value
        return value if self.type is None else convert(value, self.type, raw)

    def __repr__(self) -> str:
        return f"structured({self.form.name!r})"


class _CallParser(_AnswerParser):
    """The value in the arguments of the first call."""

    def _run(self, call: Call) -> JsonRun:
        return _CallRun(self, call)


class _CallRun(JsonRun):
    """Reads the first call's arguments in place of the text, which is kept for the error."""

    def clear(self) -> None:
        super().clear()
        self._id: str | None = None
        self._progress = ProgressiveArguments()
        self._arguments: Any = MISSING

    def take(self, item: Any) -> Iterable[Any]:
        match item:
            case ToolCallStarted(id) if self._id is None:
                self._id = id
            case ToolCallDelta(id, text) if id == self._id:
                return self._show(self._progress.feed(text))
            case ToolCallReady(id, arguments=arguments) if id == self._id:
                self._arguments = arguments
            case ToolCallInvalid(id, raw=raw, message=message) if id == self._id:
                raise OutputError(message, raw=raw)
            case Reply(invalid_tool_calls=(invalid, *_)):
                raise OutputError(invalid.message, raw=invalid.raw)
            case AIMessage(tool_calls=(first, *_)):
                self._arguments = first.arguments
            case _:
                return super().take(item)
        return ()

    def feed(self, text: str) -> Iterable[Any]:
        self._text.feed(text)
        return ()

    def _whole(self) -> tuple[list[Operation], Any, str]:
        if self._arguments is MISSING:
            raise OutputError("The model did not call the tool that it had to call.", raw=self._text.raw)
        return [], self._arguments, msgspec.json.encode(self._arguments).decode()

    def _snapshot(self) -> Any:
        return self._progress.snapshot()
