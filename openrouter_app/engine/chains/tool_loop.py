"""Tools in a loop: the model calls, the tools run, the model goes on, until it answers."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from ..errors import OpenRouterError, OutputError, ToolError, UsageError
from ..flows import Flow, Fork, Invoke, Next, pump
from ..loops import LoopState, Reason, ToolFinished, ToolRunning, ids_of, unanswered, with_unique_id
from ..messages import (
    Message,
    Reply,
    Reset,
    ToolCall,
    ToolCallDelta,
    ToolCallInvalid,
    ToolCallReady,
    ToolCallStarted,
    ToolMessage,
)
from ..replies import ReplyBuilder
from ..requests import messages_of
from ..tools import Tool, tool
from .steps import Call, Step, Upstream, to_step

log = logging.getLogger("openrouter_app.tools")

_CALL_EVENTS = (ToolCallStarted, ToolCallDelta, ToolCallReady, ToolCallInvalid)


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Where a loop stops: model calls, tool calls, US dollars, seconds since it was begun or gone on with."""

    steps: int = 10
    calls: int = 50
    cost: Decimal | None = None
    deadline: float | None = None


class ToolLoop(Step[LoopState]):
    """A model and the tools it may call, run until it answers or a limit is reached::

    loop = ToolLoop(ChatOpenRouter(model="..."), [weather, forecast])
    loop.invoke("Will it rain in Boston?").text

    Plain functions among the tools are made into tools. The input is what a model takes, or a
    `LoopState` to go on from. ``stream`` gives the events of every answer, `ToolRunning` and
    `ToolFinished`, and last the `LoopState`; ``invoke`` that alone. After a stored history whose last
    calls lack results, those are run first.

    Wrong arguments, unknown tools and failures go to the model as the call's result; it is told no more
    of an exception than a `ToolError` says. A model's error is raised, with the `LoopState` so far as its
    ``state``.
    """

    def __init__(
        self,
        model: Any,
        tools: Sequence[Tool[..., Any] | Callable[..., Any]],
        *,
        max_steps: int = 10,
        max_calls: int = 50,
        max_cost: Decimal | None = None,
        deadline: float | None = None,
    ) -> None:
        self.model = to_step(model)
        self.tools = {made.name: made for made in map(_tool, tools)}
        if len(self.tools) != len(tools):
            raise UsageError("Two tools have the same name.")
        self.limits = Limits(steps=max_steps, calls=max_calls, cost=max_cost, deadline=deadline)

    def flow(self, upstream: Upstream, call: Call) -> Flow:
        value = yield from upstream.value()
        yield from _Run(self, value, call).flow()

    def reduce(self, items: Sequence[Any]) -> LoopState:
        return items[-1]  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return f"ToolLoop({self.model!r}, [{', '.join(self.tools)}])"


class _Run:
    """One run of a loop."""

    def __init__(self, loop: ToolLoop, value: Any, call: Call) -> None:
        known = value if isinstance(value, LoopState) else LoopState(messages=tuple(messages_of(value)))
        self._model = loop.model
        self._tools = loop.tools
        self._limits = loop.limits
        self._call = call
        self._decisions = dict(known.decisions)
        self._is_answered = isinstance(value, LoopState) and known.reason == "finished" and known.steps > 0
        self._messages: list[Message] = list(known.messages)
        self._usage, self._steps, self._calls, self._errors = (
            known.usage,
            known.steps,
            known.calls,
            known.errors,
        )
        self._due = float("inf")
        if loop.limits.deadline is not None:
            self._due = time.monotonic() + loop.limits.deadline

    def state(self, reason: Reason, pending: Sequence[ToolCall] = ()) -> LoopState:
        """Everything so far."""
        return LoopState(
            messages=tuple(self._messages),
            reason=reason,
            pending=tuple(pending),
            decisions={
                id: decision
                for id, decision in self._decisions.items()
                if id in {call.id for call in unanswered(self._messages)}
            },
            usage=self._usage,
            steps=self._steps,
            calls=self._calls,
            errors=self._errors,
        )

    def flow(self) -> Flow:
        while not self._is_answered:
            if calls := unanswered(self._messages):
                if reason := self._reached(calls):
                    yield self.state(reason, calls)
                    return
                waiting = yield from self._answer(calls)
                if waiting:
                    yield self.state("approval", waiting)
                    return
            elif reason := self._reached():
                yield self.state(reason)
                return
            else:
                yield from self._ask()
        yield self.state("finished")

    def _reached(self, calls: Sequence[ToolCall] = ()) -> Reason | None:
        """The limit that forbids to run these calls, or without any to ask the model."""
        limits = self._limits
        if time.monotonic() >= self._due:
            return "deadline"
        if limits.cost is not None and self._usage.cost is not None and self._usage.cost >= limits.cost:
            return "cost"
        if calls:
            return "calls" if self._calls + len(calls) > limits.calls else None
        return "steps" if self._steps >= limits.steps else None

    def _ask(self) -> Flow:
        """One model call: its events out, its answer and its impossible calls into the history."""
        builder, used = ReplyBuilder(), ids_of(self._messages)
        renamed: dict[str, str] = {}
        reply = None

        def take(event: Any) -> tuple[Any, ...]:
            nonlocal reply
            if isinstance(event, Reply):  # one answer of a step that adds up by itself
                reply = _renamed(event, used, renamed)
                return ()
            if isinstance(event, _CALL_EVENTS):
                event = with_unique_id(event, used, renamed)
            elif isinstance(event, Reset):
                renamed.clear()  # a call that was dropped gives its id to no later one
            reply = builder.add(event) or reply
            return (event,)

        options = {**self._call.options, "tools": [tool.spec for tool in self._tools.values()]}
        asked = Call(self._call.streaming, options, min(self._call.due, self._due))
        try:
            yield from pump(self._model.flow(Upstream.of(tuple(self._messages)), asked), take)
        except OpenRouterError as error:
            if time.monotonic() >= self._due:
                return  # the limit is found to be reached
            error.state = self.state("error")
            raise
        if reply is None:
            raise UsageError("The loop's model step gave no answer: put a model there, without a parser.")
        self._steps += 1
        if reply.usage is not None:
            self._usage = self._usage + reply.usage
        impossible = reply.invalid_tool_calls
        message = reply.message
        if impossible:
            # Each call needs a place in the history, so that its error can be told.
            empty = tuple(ToolCall(bad.id, bad.name, {}) for bad in impossible)
            message = msgspec.structs.replace(message, tool_calls=(*message.tool_calls, *empty))
        self._messages.append(message)
        for bad in impossible:
            yield self._told(ToolFinished(bad.id, bad.name, bad.message, True))
        self._is_answered = not message.tool_calls

    def _told(self, result: ToolFinished) -> ToolFinished:
        """Put a result into the history, and count it."""
        self._calls += 1
        self._errors += result.is_error
        self._messages.append(ToolMessage(result.content, result.id, result.is_error))
        return result

    def _answer(self, calls: Sequence[ToolCall]) -> Generator[Any, Any, list[ToolCall]]:
        """Run these calls, or refuse them; the result is those that wait for a person."""
        waiting: list[ToolCall] = []
        ready: list[_Ready] = []
        for call in calls:
            tool, decision = self._tools.get(call.name), self._decisions.get(call.id)
            if decision is not None and not decision.approved:
                why = f": {decision.reason}" if decision.reason else "."
                yield self._told(ToolFinished(call.id, call.name, f"A person refused this call{why}", True))
                continue
            if tool is None:
                names = ", ".join(self._tools) or "none"
                said = f"There is no tool of this name. There are: {names}."
                yield self._told(ToolFinished(call.id, call.name, said, True))
                continue
            try:
                named = yield Invoke(tool.prepare, call.arguments, timeout=tool.timeout)
                if decision is None and (yield from _asks_approval(tool, named)):
                    waiting.append(call)
                    continue
            except (OutputError, TimeoutError) as error:
                said = error.message if isinstance(error, OutputError) else "The arguments are too large."
                yield self._told(ToolFinished(call.id, call.name, said, True))
                continue
            ready.append((call, tool, named))
        for group in _groups(ready):
            flows = [(call.id, _run(call, tool, named, self._due)) for call, tool, named in group]
            branches = yield Fork(flows, limit=len(flows), here=True)
            while (found := (yield Next(branches))) is not None:
                event = found[1]
                yield self._told(event) if isinstance(event, ToolFinished) else event
        return waiting


_Ready = tuple[ToolCall, Tool[..., Any], dict[str, Any]]
"""A call, its tool, and the keyword arguments for its function."""


def _groups(ready: Sequence[_Ready]) -> Iterator[list[_Ready]]:
    """The calls in order, those together that may run at once."""
    group: list[_Ready] = []
    for item in ready:
        if group and not (item[1].parallel and group[-1][1].parallel):
            yield group
            group = []
        group.append(item)
    if group:
        yield group


def _tool(value: Any) -> Tool[..., Any]:
    if isinstance(value, Tool):
        return value
    if callable(value):
        return tool(value)
    raise UsageError(f"A loop runs tools: functions, or Tool(spec, function); it got {type(value).__name__}.")


def _renamed(reply: Reply, used: set[str], renamed: dict[str, str]) -> Reply:
    """The reply with ids that no call of the history has."""
    calls = tuple(with_unique_id(call, used, renamed) for call in reply.message.tool_calls)
    return msgspec.structs.replace(
        reply,
        message=msgspec.structs.replace(reply.message, tool_calls=calls),
        invalid_tool_calls=tuple(with_unique_id(bad, used, renamed) for bad in reply.invalid_tool_calls),
    )


def _asks_approval(tool: Tool[..., Any], named: dict[str, Any]) -> Generator[Any, Any, bool]:
    if isinstance(tool.needs_approval, bool):
        return tool.needs_approval
    try:
        return bool((yield Invoke(tool.asks_approval, named, timeout=tool.timeout)))
    except Exception:
        log.exception("whether a call of the tool %s needs approval could not be told: it does", tool.name)
        return True


def _run(call: ToolCall, tool: Tool[..., Any], named: dict[str, Any], due: float) -> Flow:
    """One call: `ToolRunning`, then `ToolFinished`."""
    timeout = tool.timeout
    if due < float("inf"):
        left = max(due - time.monotonic(), 0.001)
        timeout = left if timeout is None else min(timeout, left)
    yield ToolRunning(call.id, call.name)
    try:
        value = yield Invoke(tool.function, named=named, timeout=timeout)
        said, is_error = tool.result_text(value), False
    except ToolError as error:
        said, is_error = error.message, True
    except TimeoutError:
        said, is_error = f"The tool took longer than {timeout:g} seconds.", True
    except Exception:
        log.exception("the tool %s failed", call.name)
        said, is_error = "The tool failed.", True
    yield ToolFinished(call.id, call.name, said, is_error)
