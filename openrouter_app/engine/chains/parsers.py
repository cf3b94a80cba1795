"""Parsers: the last step, from a model's events to what the caller wanted.

Each keeps the state of a run in that run's flow, so that one parser serves many at once. A `Reset`
(the answer starts again) clears that state and is passed on, so that whoever shows the stream can clear
it, too; what came before it does not count in the result.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, get_args

import msgspec

from ..arguments import ProgressiveArguments
from ..chat_prompts import PromptValue
from ..errors import InputError, OutputError
from ..flows import Flow, pump
from ..json_text import JSONText
from ..loops import LoopState, StepFinished, ToolFinished, ToolRunning
from ..messages import (
    AIMessage,
    Event,
    Message,
    RefusalDelta,
    Reply,
    ReplyFinished,
    ReplyStarted,
    Reset,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolCallInvalid,
    ToolCallReady,
    ToolCallStarted,
    text_of,
)
from ..operations import MISSING, Operation, apply, copied
from ..replies import since_reset
from .steps import Call, Step, Upstream

EVENTS = (*get_args(Event), ToolRunning, ToolFinished, StepFinished, LoopState)
"""What a model, or a tool loop, says beside what a parser looks for."""


def _no_answer(parser: str, item: Any, more: str = "") -> InputError:
    return InputError(f"{parser} reads a model's answer{more}; it got {type(item).__name__}.")


class StringOutputParser(Step[str]):
    """The answer's text: non-empty pieces as they come, or the whole string, ``""`` where there is none.

    A refusal is text, too. Of messages it takes the text, of anything that is no answer ``str(item)``.
    """

    def flow(self, upstream: Upstream, call: Call) -> Flow:
        return pump(upstream.flow, _text)

    def reduce(self, items: Sequence[Any]) -> str:
        return "".join(since_reset(items))

    def __repr__(self) -> str:
        return "StringOutputParser()"


def _text(item: Any) -> Iterable[Any]:
    if type(item) is TextDelta:  # nearly all of them
        return (item.text,)
    match item:
        case TextDelta(text) | RefusalDelta(text):
            return (text,)
        case Reset():
            return (item,)
        case Reply(message):
            text = text_of(message.content) + message.refusal
        case AIMessage():
            text = text_of(item.content) + item.refusal
        case _ if isinstance(item, Message):
            text = text_of(item.content)
        case PromptValue():
            text = str(item)
        case None:
            return ()
        case _ if isinstance(item, EVENTS):  # the other events
            return ()
        case _:
            text = str(item)
    return (text,) if text else ()


class ToolsOutputParser(Step[list[ToolCall]]):
    """The tools a model calls, while it writes their arguments.

    Each item is the list of all calls so far, an independent snapshot, and comes only when
    something visible changed; the first has ``{}`` as arguments. A stream without a call gives one
    ``[]``. Arguments that end as no JSON object raise `OutputError`, with ``raw``, after the last
    good snapshot; what is no answer raises `InputError`. A snapshot costs as much as its value: for
    large arguments read the model's events and `ProgressiveArguments` instead.
    """

    is_cumulative = True

    def flow(self, upstream: Upstream, call: Call) -> Flow:
        calls = _Calls()
        yield from pump(upstream.flow, calls.take)
        if not calls.shown:
            yield []

    def reduce(self, items: Sequence[Any]) -> list[ToolCall]:
        items = since_reset(items)
        return items[-1] if items else []

    def __repr__(self) -> str:
        return "ToolsOutputParser()"


class _Calls:
    """The calls of one run, in order of first appearance."""

    def __init__(self) -> None:
        self.shown: dict[str, ToolCall] = {}
        self._arguments: dict[str, ProgressiveArguments] = {}

    def take(self, item: Any) -> Iterable[Any]:
        match item:
            case ToolCallStarted(id, name):
                self._arguments[id] = ProgressiveArguments()
                return self._show(ToolCall(id, name, {}))
            case ToolCallDelta(id, text):
                progress = self._arguments[id]
                if progress.feed(text):
                    return self._show(ToolCall(id, self.shown[id].name, progress.snapshot()))
            case ToolCallReady(id, name, arguments):
                return self._show(ToolCall(id, name, arguments))
            case ToolCallInvalid(raw=raw, message=message):
                raise OutputError(message, raw=raw)
            case Reply(message, invalid_tool_calls=invalid):
                if invalid:
                    raise OutputError(invalid[0].message, raw=invalid[0].raw)
                return self._show(*message.tool_calls)
            case AIMessage(tool_calls=calls):
                return self._show(*calls)
            case Reset():
                self.shown, self._arguments = {}, {}
                return (item,)
            case _ if not isinstance(item, EVENTS):
                raise _no_answer("ToolsOutputParser", item)
        return ()

    def _show(self, *calls: ToolCall) -> Iterable[list[ToolCall]]:
        if all(self.shown.get(call.id) == call for call in calls):
            return ()
        self.shown.update((call.id, call) for call in calls)
        return ([ToolCall(c.id, c.name, copied(c.arguments)) for c in self.shown.values()],)


class JsonOutputParser(Step[Any]):
    """The JSON in an answer, while it is written: see `engine.json_text` for how it is found.

    Each item is an independent snapshot of the value so far, and comes only when something visible
    changed; ``invoke`` gives the last. With ``operations`` items are lists of the operations that make
    the value (`engine.partial_json`), which cost what changed and not what there is.

    ``type`` is a dataclass, a TypedDict, a `msgspec.Struct`, ``list[...]`` or whatever else msgspec can
    convert to: snapshots stay plain, the last item and what ``invoke`` gives are of that type. With
    ``operations`` only ``invoke`` gives it.

    `OutputError`, with ``raw``, is raised after the last good snapshot where there is no JSON, where it
    is cut off or does not fit the type, and where the model refuses.
    """

    def __init__(self, *, operations: bool = False, type: Any = None) -> None:
        self.operations = operations
        self.is_cumulative = not operations
        self.type = type

    def flow(self, upstream: Upstream, call: Call) -> Flow:
        run = self._run(call)
        yield from pump(upstream.flow, run.take)
        yield from run.end()

    def reduce(self, items: Sequence[Any]) -> Any:
        items = since_reset(items)
        if not items:
            raise OutputError("The answer holds no JSON.")
        if not self.operations:
            return items[-1]
        value: Any = MISSING
        for operations in items:
            value = apply(value, operations)
        return self.result(value, "")

    def _run(self, call: Call) -> JsonRun:
        return JsonRun(self, call)

    def shown(self, value: Any) -> Any:
        """What a snapshot shows of a value that may still grow; `MISSING` where that is nothing yet."""
        return value

    def result(self, value: Any, raw: str) -> Any:
        """What the whole value is to the caller. Raises `OutputError` where it does not fit."""
        return value if self.type is None else convert(value, self.type, raw)

    def __repr__(self) -> str:
        return "JsonOutputParser()"


def convert(value: Any, type: Any, raw: str) -> Any:
    """The value as that type. Raises `OutputError`, with ``raw``, where it does not fit."""
    try:
        return msgspec.convert(value, type)
    except msgspec.ValidationError as error:
        raise OutputError(f"The answer's JSON is not what was asked for: {error}.", raw=raw) from error


class JsonRun:
    """One run of a `JsonOutputParser`. Of several answers, as a tool loop gives them, the last counts."""

    def __init__(self, parser: JsonOutputParser, call: Call) -> None:
        self._parser = parser
        self._is_streaming = call.streaming
        self._last = b""  # the last snapshot
        self.clear()

    def clear(self) -> None:
        """Another answer begins."""
        self._text = JSONText()
        self._refusal: list[str] = []
        self._reason = ""

    def take(self, item: Any) -> Iterable[Any]:
        """An item of the step before: the items it makes."""
        match item:
            case TextDelta(text) | str(text):
                return self.feed(text)
            case RefusalDelta(text):
                self._refusal.append(text)
            case ReplyStarted():
                self.clear()
            case ReplyFinished(reason):
                self._reason = reason
            case Reset():
                self.clear()
                self._last = b""
                return (item,)
            case Reply(message, reason):
                self.clear()
                self._reason = reason
                return self.take(message)
            case AIMessage(content, refusal=refusal):
                self._refusal.append(refusal)
                return self.feed(text_of(content))
            case _ if not isinstance(item, EVENTS):
                raise _no_answer("JsonOutputParser", item, " or a text")
        return ()

    def feed(self, text: str) -> Iterable[Any]:
        """More of the answer's text."""
        return self._show(self._text.feed(text))

    def end(self) -> Iterator[Any]:
        """The items at the end of the flow."""
        if refusal := "".join(self._refusal):
            raise OutputError(refusal, raw=refusal)
        try:
            operations, value, raw = self._whole()
        except OutputError as error:
            if self._reason != "length":
                raise
            message = "The answer was cut off at the length limit before its JSON was whole."
            raise OutputError(message, raw=error.raw) from error
        result = self._parser.result(value, raw)
        if self._parser.operations:
            if not self._is_streaming:
                operations = [{"op": "add", "path": "", "value": value}]
            if operations:
                yield operations
        elif self._parser.type is not None or self._differs(result):
            yield result

    def _whole(self) -> tuple[list[Operation], Any, str]:
        """The operations that are still missing, the value, and the text it came from."""
        operations = self._text.finish()
        return operations, self._text.value, self._text.raw

    def _show(self, operations: list[Operation]) -> Iterable[Any]:
        if not operations or not self._is_streaming:
            return ()
        if self._parser.operations:
            return (operations,)
        value = self._parser.shown(self._snapshot())
        return (value,) if value is not MISSING and self._differs(value) else ()

    def _snapshot(self) -> Any:
        return self._text.snapshot()

    def _differs(self, value: Any) -> bool:
        """Whether it looks otherwise than the last one; if so, it is now the last."""
        before, self._last = self._last, msgspec.json.encode(value)
        return self._last != before
