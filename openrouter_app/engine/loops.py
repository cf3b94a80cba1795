"""Where a tool loop stands: a value that can be stored, decided on by a person, and gone on from; the
events that lead from one such value to the next; and the limits at which it stops.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Literal

import msgspec

from .errors import InputError, UsageError
from .messages import AIMessage, Content, Message, ToolCall, ToolMessage, Usage, text_of

Reason = Literal["finished", "approval", "steps", "calls", "cost", "deadline", "error", "running"]

NOT_RUN = "This call was not run."
"""What a model is told of a call that was left behind."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Where a loop stops: model calls, tool calls, US dollars, seconds since it was begun or gone on with."""

    steps: int = 10
    calls: int = 50
    cost: Decimal | None = None
    deadline: float | None = None

    @classmethod
    def of(cls, *, max_steps: Any, max_calls: Any, max_cost: Any, deadline: Any) -> Limits:
        """From a loop's arguments. Raises `UsageError` for what is no limit."""
        for name, value in (("max_steps", max_steps), ("max_calls", max_calls)):
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise UsageError(f"{name} is a whole number, 0 or more, not {value!r}.")
        if deadline is not None and not (isinstance(deadline, (int, float)) and deadline >= 0):
            raise UsageError(f"deadline is a number of seconds, 0 or more, or None, not {deadline!r}.")
        return cls(steps=max_steps, calls=max_calls, cost=_dollars(max_cost), deadline=deadline)

    def are_spent(self, usage: Usage) -> bool:
        """Whether the money is. With a key of their own a user pays OpenRouter and the provider."""
        if self.cost is None:
            return False
        spent = usage.cost or Decimal()
        if usage.is_byok and usage.upstream_cost is not None:
            spent += usage.upstream_cost
        return spent >= self.cost


def _dollars(value: Any) -> Decimal | None:
    if value is None:
        return None
    try:
        cost = Decimal(str(value))  # of a float what it is written as, not what it is
    except ArithmeticError:
        cost = Decimal("NaN")
    if not cost.is_finite() or cost < 0:
        raise UsageError(f"max_cost is a number of US dollars, 0 or more, or None, not {value!r}.")
    return cost


class ToolRunning(msgspec.Struct, frozen=True):
    """Event: a call's arguments are right, and its tool runs now."""

    id: str
    name: str


class ToolFinished(msgspec.Struct, frozen=True):
    """Event: a call has its result, which goes to the model. ``is_error`` where the tool failed, where
    nobody may call it like this, or where a person refused.
    """

    id: str
    name: str
    content: Content
    is_error: bool = False


class StepFinished(msgspec.Struct, frozen=True):
    """Event: the model has answered. The message goes into the history; ``usage`` is of this answer alone.

    ``refused`` are the results of calls that must never run, since their arguments are no JSON. They come
    as events of their own, too, but stand here so that no stored state is without them.
    """

    message: AIMessage
    usage: Usage | None = None
    refused: tuple[ToolFinished, ...] = ()


class Decision(msgspec.Struct, frozen=True):
    """What a person says to a call that waits: whether it may run, and why not."""

    approved: bool
    reason: str = ""


class LoopState(msgspec.Struct, frozen=True, kw_only=True):
    """A tool loop's last item: everything so far.

    ``reason`` says why it ended: ``finished`` with an answer, ``approval`` where the ``pending`` calls
    wait for a person, ``error`` on an error's ``state``, else the limit that was reached; ``running``
    where `after` made it. ``messages`` is the whole history, ``usage`` the sum of all steps, ``errors``
    how many calls went wrong. Given back to the loop, decided on or with larger limits, it goes on from
    there; a call that has its result is not run again.

    Keep it where only you can write: whoever writes it approves calls. Go on from each only once: it does
    not know that it was used, and its calls would run again. Mark the stored one as used first, so that
    only one of two who try succeeds.
    """

    messages: tuple[Message, ...]
    reason: Reason = "finished"
    pending: tuple[ToolCall, ...] = ()
    decisions: dict[str, Decision] = {}
    usage: Usage = Usage()
    steps: int = 0
    calls: int = 0
    errors: int = 0

    @property
    def text(self) -> str:
        """The last answer's text."""
        last = next((message for message in reversed(self.messages) if isinstance(message, AIMessage)), None)
        return text_of(last.content) if last else ""

    def approve(self, *ids: str) -> LoopState:
        """This state with pending calls approved; without ids, all of them."""
        return self._decide(ids, Decision(True))

    def deny(self, *ids: str, reason: str = "") -> LoopState:
        """This state with pending calls refused; without ids, all of them. The model hears the reason."""
        return self._decide(ids, Decision(False, reason))

    def _decide(self, ids: Sequence[str], decision: Decision) -> LoopState:
        if self.reason != "approval":  # the pending calls may be ones that nobody has to decide on
            raise InputError(
                f"This loop ended with '{self.reason}', so no call waits for a person. Give it back to the "
                "loop: that ends with 'approval' where somebody has to decide."
            )
        waiting = [call.id for call in self.pending]
        if unknown := [id for id in ids if id not in waiting]:
            raise InputError(f"No call '{unknown[0]}' waits for a decision.")
        decisions = {**self.decisions, **dict.fromkeys(ids or waiting, decision)}
        return msgspec.structs.replace(self, decisions=decisions)

    def after(self, item: Any) -> LoopState:
        """This state with what an item of the loop's stream adds to it, itself where that is nothing.

        Stored as it goes, it is what a process that died had done::

            for item in loop.stream(state):
                state = state.after(item)
        """
        match item:
            case LoopState():
                return item
            case StepFinished(message, usage, refused):
                state = msgspec.structs.replace(
                    self,
                    messages=(*self.messages, message),
                    reason="running",
                    pending=(),
                    usage=self.usage if usage is None else self.usage + usage,
                    steps=self.steps + 1,
                )
                for result in refused:
                    state = state.after(result)
                return state
            case ToolFinished(id, _, content, is_error) if self._lacks(id):
                return msgspec.structs.replace(
                    self,
                    messages=(*self.messages, ToolMessage(content, id, is_error)),
                    reason="running",
                    pending=(),
                    decisions={known: said for known, said in self.decisions.items() if known != id},
                    calls=self.calls + 1,
                    errors=self.errors + is_error,
                )
        return self

    def _lacks(self, id: str) -> bool:
        """Whether the call is there and has no result."""
        return any(call.id == id for call in unanswered(self.messages))

    def dump(self) -> str:
        """As JSON text."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def load(cls, text: str | bytes) -> LoopState:
        """From JSON text. Raises `InputError` where it is no state."""
        try:
            state = msgspec.json.decode(text, type=cls)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise InputError(f"This is no stored tool loop: {error}") from None
        for cost in (state.usage.cost, state.usage.upstream_cost):
            if cost is not None and not cost.is_finite():  # "NaN" is a Decimal, and compares to nothing
                raise InputError(f"This is no stored tool loop: a cost of {cost}")
        return state


def unanswered(messages: Sequence[Message]) -> tuple[ToolCall, ...]:
    """The calls of the last answer that have no result yet; none where the talk went on after it."""
    answered: set[str] = set()
    for message in reversed(messages):
        if isinstance(message, ToolMessage):
            answered.add(message.tool_call_id)
            continue
        calls = message.tool_calls if isinstance(message, AIMessage) else ()
        return tuple(call for call in calls if call.id not in answered)
    return ()


def settled(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The history with a result for each call behind which the talk went on: providers refuse it without.

    Calls at its end stay as they are, since they can still be run.
    """
    whole: list[Message] = []
    left: dict[str, None] = {}  # the last answer's calls without a result
    for message in messages:
        if isinstance(message, ToolMessage):
            left.pop(message.tool_call_id, None)
        else:
            whole += (ToolMessage(NOT_RUN, id, True) for id in left)
            left = {call.id: None for call in message.tool_calls} if isinstance(message, AIMessage) else {}
        whole.append(message)
    return tuple(whole)


def ids_of(messages: Sequence[Message]) -> set[str]:
    """The ids of all calls in a history."""
    return {call.id for message in messages if isinstance(message, AIMessage) for call in message.tool_calls}


def with_unique_id(event: Any, used: set[str], renamed: dict[str, str]) -> Any:
    """The tool event under an id that no call of the history has: providers count anew in each answer."""
    wanted = event.id
    if wanted not in renamed:
        id, number = wanted, 2
        while id in used:
            id = f"{wanted}_{number}"
            number += 1
        used.add(id)
        renamed[wanted] = id
    return event if renamed[wanted] == wanted else msgspec.structs.replace(event, id=renamed[wanted])
