"""Parsers: the last step, from a model's events to what the caller wanted.

Each keeps the state of a run in that run's flow, so that one parser serves many at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..arguments import ProgressiveArguments
from ..errors import OutputError
from ..flows import Flow, pump
from ..messages import (
    AIMessage,
    RefusalDelta,
    Reply,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolCallInvalid,
    ToolCallReady,
    ToolCallStarted,
)
from ..chat_prompts import PromptValue
from .steps import Call, Step, Upstream


class StringOutputParser(Step[str]):
    """The answer's text: non-empty pieces as they come, or the whole string."""

    def flow(self, upstream: Upstream, call: Call) -> Flow:
        yield from pump(upstream.flow, _text)

    def reduce(self, items: Sequence[str]) -> str:
        return "".join(items)

    def __repr__(self) -> str:
        return "StringOutputParser()"


def _text(item: Any) -> Iterable[str]:
    match item:
        case TextDelta(text) | RefusalDelta(text):
            return (text,)
        case Reply(message):
            text = message.content
        case AIMessage(content):
            text = content
        case str() | PromptValue():
            text = str(item)
        case _:
            return ()
    return (text,) if text else ()


class ToolsOutputParser(Step[list[ToolCall]]):
    """The tools a model calls, while it writes their arguments.

    Each item is the list of all calls so far, an independent snapshot, and comes only when
    something visible changed; the first has ``{}`` as arguments. A stream without a call gives one
    ``[]``. Arguments that end as no JSON object raise `OutputError`, with ``raw``, after the last
    good snapshot. A snapshot costs as much as its value: for large arguments read the model's events
    and `ProgressiveArguments` instead.
    """

    def flow(self, upstream: Upstream, call: Call) -> Flow:
        calls = _Calls()
        yield from pump(upstream.flow, calls.take)
        if not calls.shown:
            yield []

    def __repr__(self) -> str:
        return "ToolsOutputParser()"


class _Calls:
    """The calls of one run, in order of first appearance."""

    def __init__(self) -> None:
        self.shown: dict[str, ToolCall] = {}
        self._arguments: dict[str, ProgressiveArguments] = {}

    def take(self, event: Any) -> Iterable[list[ToolCall]]:
        match event:
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
        return ()

    def _show(self, call: ToolCall) -> Iterable[list[ToolCall]]:
        if self.shown.get(call.id) == call:
            return ()
        self.shown[call.id] = call
        return ([ToolCall(c.id, c.name, _copied(c.arguments)) for c in self.shown.values()],)


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_copied(member) for member in value]
    return value
