"""What models say, in the log's words: one call of a model, or a loop of them with tools that act."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _

from ..conf import get_settings
from ..engine import messages as engine
from ..engine.chains import ChatOpenRouter
from ..engine.chains.tool_loop import ToolLoop
from ..engine.loops import LoopState, StepFinished, ToolFinished
from ..engine.tools import ToolChoice, ToolSpec
from ..sentences import spoken
from .acting import Acting
from .endings import Outcome, money
from .events import (
    Failed,
    Finished,
    LastEvent,
    Reasoning,
    StepStarted,
    Text,
    ToolArguments,
    ToolInvalid,
    ToolReady,
    ToolStarted,
    UsageTotals,
)
from .live import LiveRun
from .starting import Prepared


class Paused(Exception):
    """The run waits for a person: nothing more is said here.

    ``state`` is what it goes on from, ``calls`` are those to decide on, and who has to.
    """

    def __init__(self, state: LoopState, calls: list[tuple[engine.ToolCall, str]]) -> None:
        super().__init__("waits for a decision")
        self.state = state
        self.calls = calls


def model_of(body: dict[str, Any], choice: ToolChoice | None = None) -> ChatOpenRouter:
    """The model step that a version's body describes; ``choice`` instead of the body's."""
    tools = [
        ToolSpec(tool["name"], tool["description"], tool["schema"], tool["strict"]) for tool in body["tools"]
    ]
    return ChatOpenRouter(
        model=body["model"], tools=tools, tool_choice=choice or choice_of(body), **body["options"]
    )


def choice_of(body: dict[str, Any]) -> ToolChoice | None:
    """Whether the version's model calls a tool."""
    choice: Any = body["tool_choice"]
    if isinstance(choice, dict):
        return ToolChoice.forced(choice["forced"])
    return None if choice is None else ToolChoice(choice)


class Generation:
    """The answer of one run, from its model or models to its last event."""

    def __init__(
        self,
        live: LiveRun,
        prepared: Prepared,
        outcome: Outcome,
        acting: Acting | None,
        until_all_is_said: Callable[[], Awaitable[None]],
    ) -> None:
        self._until_all_is_said = until_all_is_said
        self._live = live
        self._prepared = prepared
        self._outcome = outcome
        self._acting = acting
        self._writer = EventWriter(live, outcome)
        self._begun = time.monotonic()

    async def run(self) -> LastEvent:
        """Everything the model says, and the answer that the chain's parser makes of it. Raises `Paused`."""
        if self._acting is not None:
            return await self._act(self._acting)
        stream = model_of(self._prepared.body).astream(self._prepared.messages, **self._prepared.options)
        async with aclosing(stream) as events:
            async for event in events:
                self._writer.write(event)
        await self._until_all_is_said()  # what is held back belongs to the answer
        reply = self._outcome.reply
        assert reply is not None  # noqa: S101 - a stream that ends without it raises
        self._tell_usage(reply.usage or engine.Usage())
        if self._prepared.body["parser"] == "text":
            return Finished(reply.reason, self._live.state.text())
        if self._writer.invalid:
            return Failed("output_invalid", self._writer.invalid, True)
        return Finished(reply.reason, self._live.state.calls())

    async def _act(self, acting: Acting) -> LastEvent:
        """Models and tools in turn, until there is an answer, a limit, or something to decide."""
        settings = get_settings()
        state = acting.begin()
        limits: dict[str, Any] = {"max_calls": settings.MAX_TOOL_CALLS, "deadline": settings.TOTAL_TIMEOUT}
        begun = time.monotonic()
        choice = choice_of(self._prepared.body)
        if choice is not None and choice.type in ("required", "forced") and not state.steps:
            # Told so at every step, a model would call for ever.
            forced = ToolLoop(model_of(self._prepared.body), acting.tools, max_steps=1, **limits)
            state = await self._drive(forced, state, acting)
            if state.reason != "steps":
                return await self._ended(state, acting)
            limits["deadline"] = max(settings.TOTAL_TIMEOUT - (time.monotonic() - begun), 0)
        if choice is not None and choice.type != "none":
            choice = ToolChoice.auto()
        loop = ToolLoop(
            model_of(self._prepared.body, choice), acting.tools, max_steps=settings.MAX_TOOL_STEPS, **limits
        )
        return await self._ended(await self._drive(loop, state, acting), acting)

    async def _drive(self, loop: ToolLoop, state: LoopState, acting: Acting) -> LoopState:
        used = state.usage
        async with aclosing(loop.astream(state, **self._prepared.options)) as items:
            async for item in items:
                match item:
                    case StepFinished(_, usage, refused):
                        used = used if usage is None else used + usage
                        self._tell_usage(used)
                        acting.refused(refused)
                    case ToolFinished():
                        await acting.finished(item)
                    case LoopState():
                        state = item
                    case _:
                        self._writer.write(item)
        return state

    async def _ended(self, state: LoopState, acting: Acting) -> LastEvent:
        await self._until_all_is_said()
        match state.reason:
            case "finished":
                return Finished(self._reason(), self._live.state.text())
            case "approval" if calls := acting.decidable(state.pending):
                raise Paused(state, calls)
            case "approval":  # tools without a handler: the calls are the answer
                return Finished(self._reason(), self._live.state.calls())
            case "deadline":
                return Failed("timeout", _("The answer took too long. Try again, or ask for less."), True)
            case _:
                sentence = _("The model called its tools too often without an answer. Ask for less at once.")
                return Failed("limit", sentence, True)

    def _reason(self) -> str:
        return self._outcome.reply.reason if self._outcome.reply is not None else "stop"

    def _tell_usage(self, usage: engine.Usage) -> None:
        reply = self._outcome.reply
        assert reply is not None  # noqa: S101 - what ends a step comes after its reply
        self._outcome.usage = usage
        self._live.emit(
            UsageTotals(
                prompt_tokens=usage.prompt_tokens,
                completion_tokens=usage.completion_tokens,
                cost=None if usage.cost is None else format(money(usage.cost).normalize(), "f"),
                estimated=False,
                model=reply.model,
                provider=reply.provider,
                ms=self._prepared.spent_ms + round((time.monotonic() - self._begun) * 1000),
            )
        )


class EventWriter:
    """The engine's events, said in the log's words: parts get their index here."""

    def __init__(self, live: LiveRun, outcome: Outcome) -> None:
        self.invalid = ""
        self._live = live
        self._outcome = outcome
        self._open = ""  # the kind of the last part, where it can still grow
        self._part = live.state.next_part - 1  # counted here: the state does not know what is held back
        self._since = 0.0

    def write(self, event: engine.Event) -> None:
        """Say it."""
        emit = self._live.emit
        if self._outcome.first_token is None and not isinstance(event, engine.ReplyStarted):
            self._outcome.first_token = timezone.now()
        match event:
            case engine.TextDelta(text) | engine.RefusalDelta(text):
                emit(Text(self._part if self._open == "text" else self._new("text"), text))
            case engine.ToolCallDelta(id, text):
                emit(ToolArguments(id, text))
            case engine.ReasoningDelta(text):
                part = self._part if self._open == "reasoning" else self._new("reasoning")
                emit(Reasoning(part, text, round((time.monotonic() - self._since) * 1000)))
            case engine.ReplyStarted(id, model):
                self._outcome.generation_id = id
                emit(StepStarted(self._new("step"), model=model or None))
            case engine.ToolCallStarted(id, name):
                emit(ToolStarted(self._new("call"), id, name))
            case engine.ToolCallReady(id, _, arguments):
                emit(ToolReady(id, arguments))
            case engine.ToolCallInvalid(id, _, raw, message):
                self.invalid = message
                emit(ToolInvalid(id, raw, spoken(message)))
            case engine.ReplyFinished():
                self._outcome.reply = event
            case _:
                pass

    def _new(self, kind: str) -> int:
        self._open = kind
        self._part += 1
        self._since = time.monotonic()
        return self._part
