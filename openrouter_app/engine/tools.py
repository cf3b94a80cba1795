"""What a model may call: a name, a description and a JSON Schema; whether it must; and what then runs.

The schema travels to the provider as it is; `engine.schemas` looks into it. A `ToolSpec` is all that
a model needs to call, and all there is to a tool whose calls somebody else answers. A `Tool` is one
with the function that answers: it checks what it is given and keeps nothing of a run, so one serves
all runs at the same time. Who calls it, when, and with how much patience is not decided here.
"""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from functools import WRAPPER_ASSIGNMENTS, partial
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

import msgspec

from .errors import ToolSpecError
from .messages import Content, Part, TextPart
from .operations import copied

if TYPE_CHECKING:
    from .signatures import Signature

# Below, `signatures` and `validation` are imported at first use: they are a fifth of what importing this
# package costs, and who only sends tools needs neither.

TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
MAX_RESULT = 200_000
"""Characters of a result that go back to the model, unless a tool says otherwise."""

P = ParamSpec("P")
R = TypeVar("R")
Approval = bool | Callable[[dict[str, Any]], bool | Awaitable[bool]]


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

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ToolSpec:
        """The tool that `to_dict` wrote down."""
        return _from_dict(values, cls)

    def to_dict(self) -> dict[str, Any]:
        """The tool's fields by their names, to be kept; `wire` is for the provider."""
        return msgspec.structs.asdict(self)

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

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ToolChoice:
        """The choice that `to_dict` wrote down; ``name`` is for ``forced`` alone."""
        choice = _from_dict(values, cls)
        if choice.type not in ("none", "auto", "required", "forced"):
            raise ToolSpecError(
                f"'{choice.type[:80]}' is no choice of tools: use 'none', 'auto', 'required' or 'forced'."
            )
        if (choice.type == "forced") != bool(choice.name):
            raise ToolSpecError("A choice of tools has a name if it is 'forced', and only then.")
        return choice

    def to_dict(self) -> dict[str, Any]:
        """``{"type": "auto"}``, ``{"type": "forced", "name": "joke"}``; to be kept."""
        return {"type": self.type, "name": self.name} if self.name else {"type": self.type}

    def wire(self) -> str | dict[str, Any]:
        """The value of the request's ``tool_choice``."""
        if self.type == "forced":
            return {"type": "function", "function": {"name": self.name}}
        return self.type


Kept = TypeVar("Kept", ToolSpec, ToolChoice)


def _from_dict(values: Mapping[str, Any], kind: type[Kept]) -> Kept:
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        if isinstance(error.__cause__, ToolSpecError):  # raised in __post_init__
            raise error.__cause__ from None
        raise ToolSpecError(f"This is no {kind.__name__}: {error}.") from error


@dataclass(frozen=True, eq=False)
class Tool(Generic[P, R]):
    """A tool with the function that answers its calls; called itself, it calls the function.

    Usually made by `tool`. With a ``spec`` of one's own the function takes the validated object's
    members as keyword arguments, as JSON has them; those it has no parameter for are left out.

    ``timeout`` is how many seconds a call may take, None for any. ``needs_approval`` says whether a
    person must allow a call, for all or, as a function of the prepared arguments, sync or async, for each.
    ``parallel`` tools may run beside others of the same answer. Results longer than ``max_result``
    characters are cut. With ``takes_call`` the function's first argument is the `ToolCall` itself.

    Raises `ToolSpecError` for what cannot work, with the reason.
    """

    spec: ToolSpec
    function: Callable[P, R]
    _: KW_ONLY
    timeout: float | None = 60.0
    needs_approval: Approval = False
    parallel: bool = True
    max_result: int = MAX_RESULT
    takes_call: bool = False
    signature: Signature | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for is_wrong, what in (
            (not callable(self.function), "function can be called"),
            (
                _is_a(inspect.isgeneratorfunction, self.function)
                or _is_a(inspect.isasyncgenfunction, self.function),
                "function returns its result, such as a list, and yields nothing",
            ),
            (self.timeout is not None and not self.timeout > 0, "timeout is over 0 seconds, or None"),
            (
                not (isinstance(self.needs_approval, bool) or callable(self.needs_approval)),
                "needs_approval is True, False or a function of the arguments",
            ),
            (self.max_result <= 0, "max_result is over 0"),
        ):
            if is_wrong:
                raise ToolSpecError(f"The tool '{self.name}' needs this: its {what}.")
        from .validation import check_usable

        try:
            check_usable(self.spec.input_json_schema)
        except ToolSpecError as error:
            raise ToolSpecError(f"The schema of '{self.name}': {error.message}", path=error.path) from error
        # As functools.wraps does, which a frozen value does not let: for help() and documentation.
        for name in WRAPPER_ASSIGNMENTS:
            if hasattr(self.function, name):
                vars(self)[name] = getattr(self.function, name)
        vars(self)["__wrapped__"] = self.function

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.function(*args, **kwargs)

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def is_async(self) -> bool:
        """Whether the function is to be awaited."""
        return _is_a(inspect.iscoroutinefunction, self.function)

    def prepare(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """The function's keyword arguments, from a call's parsed ones, and its own to change.

        Raises `OutputError`, with a sentence for the model, where they do not fit.
        """
        from .signatures import keyword_arguments
        from .validation import validate_arguments

        validate_arguments(self.spec.input_json_schema, arguments)
        arguments = copied(arguments)  # the call's stand in the history, which goes to the model again
        if self.signature is not None:
            return self.signature.arguments(arguments)
        return keyword_arguments(self.function, arguments)

    def asks_approval(self, prepared: dict[str, Any]) -> bool | Awaitable[bool]:
        """Whether a person must allow the call with these prepared arguments.

        What the tool's own function for this raises, comes through: a call nobody can judge must not run.
        """
        if isinstance(self.needs_approval, bool):
            return self.needs_approval
        asks = self.needs_approval(copy.deepcopy(prepared))  # whoever judges a call does not change it
        return asks if inspect.isawaitable(asks) else bool(asks)

    def result(self, value: Any) -> Content:
        """What the model is told of the function's result, cut to ``max_result``."""
        return result_content(value, self.max_result)


def _is_a(kind: Callable[[Any], bool], function: Any) -> bool:
    """Whether a function, below partials and tools, or what an object is called by, is of this kind."""
    while isinstance(function, (partial, Tool)):
        function = function.func if isinstance(function, partial) else function.function
    return kind(function) or kind(getattr(function, "__call__", None))  # noqa: B004


def tool_spec_of(
    function: Callable[..., Any],
    *,
    name: str | None = None,
    description: str | None = None,
    strict: bool = False,
) -> ToolSpec:
    """A function as a model sees it: `Signature.of` says what becomes of its parts."""
    return _spec(_signature(function, strict), name, description, strict)


def _signature(function: Callable[..., Any], strict: bool) -> Signature:
    from .signatures import Signature

    return Signature.of(function, strict=strict)


def _spec(signature: Signature, name: str | None, description: str | None, strict: bool) -> ToolSpec:
    if name is None and not TOOL_NAME.fullmatch(signature.name):
        raise ToolSpecError(
            f"'{signature.name[:80]}' is no tool name: pass name=, with 1 to 64 letters, digits, '_' and '-'."
        )
    return ToolSpec(
        signature.name if name is None else name,
        signature.description if description is None else description,
        signature.schema,
        strict,
    )


@overload
def tool(
    function: Callable[P, R],
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    strict: bool = False,
    timeout: float | None = 60.0,
    needs_approval: Approval = False,
    parallel: bool = True,
    max_result: int = MAX_RESULT,
) -> Tool[P, R]: ...


@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    strict: bool = False,
    timeout: float | None = 60.0,
    needs_approval: Approval = False,
    parallel: bool = True,
    max_result: int = MAX_RESULT,
) -> Callable[[Callable[P, R]], Tool[P, R]]: ...


def tool(
    function: Callable[P, R] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    strict: bool = False,
    **options: Any,
) -> Tool[P, R] | Callable[[Callable[P, R]], Tool[P, R]]:
    """Make a `Tool` of a function, from its signature and docstring; with or without options::

        @tool(needs_approval=lambda arguments: arguments["amount"] > 100)
        def refund(order: int, amount: Decimal, reason: str = "") -> str:
            \"\"\"Pay money back.

            Args:
                order: The order's number.
            \"\"\"

    What the model must not choose, such as the user, is bound first: ``tool(partial(search, user=user))``.
    """

    def made(function: Callable[P, R]) -> Tool[P, R]:
        signature = _signature(function, strict)
        return Tool(_spec(signature, name, description, strict), function, signature=signature, **options)

    return made if function is None else made(function)


def result_content(value: Any, limit: int = MAX_RESULT) -> Content:
    """What the model is told of a function's result: content parts as they are, else `result_text`.

    The parts' texts have ``limit`` characters together.
    """
    parts = (value,) if isinstance(value, Part) else value
    if not (isinstance(parts, (tuple, list)) and parts and all(isinstance(part, Part) for part in parts)):
        return result_text(value, limit)
    told: list[Part] = []
    for part in parts:
        if isinstance(part, TextPart):
            told.append(TextPart(_cut(part.text, limit)))
            limit = max(limit - len(part.text), 0)
        else:
            told.append(part)
    return tuple(told)


def result_text(value: Any, limit: int = MAX_RESULT) -> str:
    """What the model is told of a function's result, as text.

    Text as it is, nothing for None, JSON for the rest; what JSON has no word for, as ``str`` has it.
    What is over ``limit`` characters is cut, and the model is told so. Raises `TypeError` for a generator,
    whose ``str`` says nothing.
    """
    if inspect.isgenerator(value) or inspect.isasyncgen(value):
        raise TypeError("A tool returned a generator: return what it yields, as a list.")
    if value is None:
        return ""
    if isinstance(value, str):
        text = str(value)
    else:
        try:
            text = msgspec.json.encode(value, enc_hook=str).decode()
        except (
            TypeError,
            ValueError,
            OverflowError,
            RecursionError,
        ):  # names that are no text, circles, lone surrogates
            text = str(value)
    return _cut(text, limit)


def _cut(text: str, limit: int) -> str:
    if len(text) > limit:
        text = f"{text[:limit]}\n[Cut: these are the first {limit:,} of {len(text):,} characters.]"
    return text.encode("utf-8", "replace").decode()  # lone surrogates could not be sent
