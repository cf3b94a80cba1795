"""Tools in a loop: the model calls, the tools run, the model goes on, until it answers."""

from __future__ import annotations

import inspect
import logging
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec

from ..errors import OpenRouterError, OutputError, ToolError, UsageError
from ..flows import Flow, Fork, Invoke, Next, NoLoopHere, TimedOut, pump
from ..loops import (
    Limits,
    LoopState,
    Reason,
    StepFinished,
    ToolFinished,
    ToolRunning,
    ids_of,
    settled,
    unanswered,
    with_unique_id,
)
from ..messages import (
    AIMessage,
    Content,
    Reply,
    Reset,
    ToolCall,
    ToolCallDelta,
    ToolCallInvalid,
    ToolCallReady,
    ToolCallStarted,
)
from ..replies import ReplyBuilder
from ..requests import messages_of
from ..tools import Tool, result_text, tool
from .steps import Call, Step, Upstream, to_step

log = logging.getLogger("openrouter_app.tools")

PATIENCE = 10.0
"""Seconds for what comes before a call: checking its arguments, asking whether a person must allow it."""

_CALL_EVENTS = (ToolCallStarted, ToolCallDelta, ToolCallReady, ToolCallInvalid)


class ToolLoop(Step[LoopState]):
    """A model and the tools it may call, run until it answers or a limit is reached::

    loop = ToolLoop(ChatOpenRouter(model="..."), [weather, forecast])
    loop.invoke("Will it rain in Boston?").text

    Plain functions among the tools are made into tools. The input is what a model takes, or a
    `LoopState` to go on from. ``stream`` gives the events of every answer, `StepFinished` behind each,
    `ToolRunning` and `ToolFinished`, and last the `LoopState`; ``invoke`` that alone. After a stored
    history whose last calls lack results, those are run first.

    Wrong arguments, unknown tools and failures go to the model as the call's result; it is told no more
    of an exception than a `ToolError` says. A model's error is raised, as is any other, with the
    `LoopState` so far as its ``state``.
    """

    def __init__(
        self,
        model: Any,
        tools: Sequence[Tool[..., Any] | Callable[..., Any]],
        *,
        max_steps: int = 10,
        max_calls: int = 50,
        max_cost: Decimal | float | str | None = None,
        deadline: float | None = None,
    ) -> None:
        self.model = to_step(model)
        self.tools = {made.name: made for made in map(_tool, tools)}
        if len(self.tools) != len(tools):
            raise UsageError("Two tools have the same name.")
        self.limits = Limits.of(
            max_steps=max_steps, max_calls=max_calls, max_cost=max_cost, deadline=deadline
        )

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
        messages = settled(known.messages)
        open_ids = {call.id for call in unanswered(messages)}
        decisions = {id: decision for id, decision in known.decisions.items() if id in open_ids}
        self._state = msgspec.structs.replace(known, messages=messages, decisions=decisions)
        # Read from the history, not from the reason: somebody may have said something since.
        last = messages[-1] if messages else None
        self._is_answered = known.steps > 0 and isinstance(last, AIMessage) and not last.tool_calls
        self._due = float("inf")
        if loop.limits.deadline is not None:
            self._due = time.monotonic() + loop.limits.deadline

    def flow(self) -> Flow:
        try:
            yield from self._turns()
        except Exception as error:
            if isinstance(error, OpenRouterError) or not hasattr(error, "state"):
                vars(error)["state"] = self._ended("error", unanswered(self._state.messages))
            raise

    def _turns(self) -> Flow:
        while not self._is_answered:
            calls = unanswered(self._state.messages)
            if reason := self._reached(calls):
                yield self._ended(reason, calls)
                return
            if not calls:
                yield from self._ask()
                continue
            waiting = yield from self._answer(calls)
            # Where there is more, that had no time to begin: the deadline is found to be reached.
            if waiting and waiting == unanswered(self._state.messages):
                yield self._ended("approval", waiting)
                return
        yield self._ended("finished")

    def _ended(self, reason: Reason, pending: Sequence[ToolCall] = ()) -> LoopState:
        """Everything so far."""
        return msgspec.structs.replace(self._state, reason=reason, pending=tuple(pending))

    def _add(self, event: Any) -> Any:
        """Put what the event says into the history, and count it."""
        self._state = self._state.after(event)
        return event

    def _reached(self, calls: Sequence[ToolCall]) -> Reason | None:
        """The limit that forbids to run these calls, or without any to ask the model."""
        limits, state = self._limits, self._state
        if time.monotonic() >= self._due:
            return "deadline"
        if limits.are_spent(state.usage):
            return "cost"
        if state.calls + len(calls) > limits.calls:
            return "calls"
        return "steps" if not calls and state.steps >= limits.steps else None

    def _ask(self) -> Flow:
        """One model call: its events out, its answer and its impossible calls into the history."""
        builder, used = ReplyBuilder(), ids_of(self._state.messages)
        renamed: dict[str, str] = {}
        reply = None

        def take(event: Any) -> tuple[Any, ...]:
            nonlocal reply
            if isinstance(event, Reply):  # one answer of a step that adds up by itself
                reply = event = _renamed(event, used, renamed)
                return (event,)
            if isinstance(event, _CALL_EVENTS):
                event = with_unique_id(event, used, renamed)
            elif isinstance(event, Reset):
                renamed.clear()  # a call that was dropped gives its id to no later one
            reply = builder.add(event) or reply
            return (event,)

        options = {**self._call.options, "tools": [tool.spec for tool in self._tools.values()]}
        asked = Call(self._call.streaming, options, min(self._call.due, self._due))
        try:
            yield from pump(self._model.flow(Upstream.of(self._state.messages), asked), take)
        except OpenRouterError:
            if time.monotonic() >= self._due:
                return  # the limit is found to be reached
            raise
        if reply is None:
            raise UsageError("The loop's model step gave no answer: put a model there, without a parser.")
        impossible = reply.invalid_tool_calls
        message = reply.message
        if impossible:
            # Each call needs a place in the history, so that its error can be told.
            empty = tuple(ToolCall(bad.id, bad.name, {}) for bad in impossible)
            message = msgspec.structs.replace(message, tool_calls=(*message.tool_calls, *empty))
        refused = tuple(ToolFinished(bad.id, bad.name, bad.message, True) for bad in impossible)
        yield self._add(StepFinished(message, reply.usage, refused))
        yield from refused
        self._is_answered = not message.tool_calls

    def _answer(self, calls: Sequence[ToolCall]) -> Generator[Any, Any, tuple[ToolCall, ...]]:
        """Run these calls, or refuse them; the result is those that wait for a person."""
        waiting: list[ToolCall] = []
        ready: list[_Ready] = []
        for call in calls:
            tool, decision = self._tools.get(call.name), self._state.decisions.get(call.id)
            if decision is not None and not decision.approved:
                why = f": {decision.reason}" if decision.reason else "."
                yield self._add(ToolFinished(call.id, call.name, f"A person refused this call{why}", True))
                continue
            if tool is None:
                names = ", ".join(self._tools) or "none"
                said = f"There is no tool of this name. There are: {names}."
                yield self._add(ToolFinished(call.id, call.name, said, True))
                continue
            if time.monotonic() >= self._due:
                continue  # whoever goes on from here runs it
            try:
                named = yield _before(self._due, tool.prepare, call.arguments)
                if decision is None and (yield from _asks_approval(tool, named, self._due)):
                    waiting.append(call)
                    continue
            except NoLoopHere:
                raise
            except TimedOut:
                if _was(self._due):
                    continue
                failed = _Said("The arguments are too large.", True)
            except OutputError as error:
                failed = _Said(error.message, True)
            except Exception as error:
                failed = _failure(tool, error)
            else:
                ready.append((call, tool, named))
                continue
            yield self._add(ToolFinished(call.id, call.name, *failed))
        for group in _groups(ready):
            flows = [(call.id, _run(call, tool, named, self._due)) for call, tool, named in group]
            branches = yield Fork(flows, limit=len(flows), here=True)
            while (found := (yield Next(branches))) is not None:
                yield self._add(found[1])
        return tuple(waiting)


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


class _Said(NamedTuple):
    """What the model is told of a call."""

    content: Content
    is_error: bool = False


def _before(due: float, function: Callable[..., Any], *arguments: Any) -> Invoke:
    """The effect that calls what comes before a call."""
    return Invoke(_without_exit, function, *arguments, timeout=_left(due, PATIENCE), keep_late=True)


def _without_exit(function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except SystemExit as error:  # a mistake to whoever wrote it, but on a loop the end of everybody's run
        raise RuntimeError("SystemExit") from error


def _left(due: float, most: float | None = None) -> float | None:
    """Seconds until then, at most so many; None for any."""
    left = min(max(due - time.monotonic(), 0.001), float("inf") if most is None else most)
    return None if left == float("inf") else left


def _was(due: float) -> bool:
    """Whether that is what timed out: a loop's clock may be a little ahead."""
    return time.monotonic() >= due - 0.02


def _asks_approval(tool: Tool[..., Any], named: dict[str, Any], due: float) -> Generator[Any, Any, bool]:
    if isinstance(tool.needs_approval, bool):
        return tool.needs_approval
    try:
        return bool((yield _before(due, tool.asks_approval, named)))
    except NoLoopHere:
        raise
    except Exception as error:
        if isinstance(error, TimedOut) and _was(due):
            raise
        log.exception("whether a call of the tool %s needs approval could not be told: it does", tool.name)
        return True


def _run(call: ToolCall, tool: Tool[..., Any], named: dict[str, Any], due: float) -> Flow:
    """One call: `ToolRunning`, then `ToolFinished`; neither where its time is over before it begins."""
    if time.monotonic() >= due:
        return
    yield ToolRunning(call.id, call.name)
    begun = time.monotonic()
    if begun >= due:  # whoever reads took that long
        return
    ends = due if tool.timeout is None else min(due, begun + tool.timeout)
    run = _awaited if tool.is_async else _called
    try:
        first = (call,) if tool.takes_call else ()
        said = yield Invoke(run, tool, first, named, timeout=_left(ends), keep_late=True)
        if not isinstance(said, _Said):
            if said is None or isinstance(said, (str, int, float)):
                said = _told(tool, said)
            else:  # off the loop, where a Django query may be made of it
                said = yield Invoke(_told, tool, said, timeout=_left(ends), keep_late=True)
    except NoLoopHere:
        raise  # nothing is wrong with the tool
    except TimedOut:
        why = (
            "was cut short: the time is over" if ends == due else f"took longer than {tool.timeout:g} seconds"
        )
        said = _Said(f"The tool {why}.", True)
    except Exception as error:
        said = _failure(tool, error)
    yield ToolFinished(call.id, call.name, *said)


# What the function raises becomes a result right where it runs: beyond it nobody could tell that from an
# error of the driver's.


def _called(tool: Tool[..., Any], first: tuple[ToolCall, ...], named: dict[str, Any]) -> Any:
    """The function's result as the model is told it, or what is to be awaited for it."""
    try:
        value = tool.function(*first, **named)
    except (Exception, SystemExit) as error:
        return _failure(tool, error)
    return value if inspect.isawaitable(value) else _told(tool, value)


async def _awaited(tool: Tool[..., Any], first: tuple[ToolCall, ...], named: dict[str, Any]) -> Any:
    """The async function's result."""
    try:
        return await tool.function(*first, **named)
    except (Exception, SystemExit) as error:
        return _failure(tool, error)


def _told(tool: Tool[..., Any], value: Any) -> _Said:
    try:
        return _Said(tool.result(value))
    except (Exception, SystemExit) as error:
        return _failure(tool, error)


def _failure(tool: Tool[..., Any], error: BaseException) -> _Said:
    if isinstance(error, ToolError):
        return _Said(result_text(error.message), True)
    log.error("the tool %s failed", tool.name, exc_info=error)
    return _Said("The tool failed.", True)
