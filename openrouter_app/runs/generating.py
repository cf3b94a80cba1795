"""What models say, in the log's words: one call of a model, or a loop of them with tools that act."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _

from ..conf import get_settings
from ..engine import messages as engine
from ..engine.chains import ChatOpenRouter
from ..engine.chains.steps import Call, Step
from ..engine.chains.tool_loop import ToolLoop
from ..engine.chains.upstream import Upstream
from ..engine.flows import Flow, Invoke
from ..engine.loops import LoopState, StepFinished, ToolFinished
from ..engine.tools import ToolChoice, ToolSpec
from ..sentences import spoken
from .acting import Acting
from .costs import Called, size_of, size_of_prompt
from .endings import Outcome
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
)
from .live import LiveRun
from .paying import Key, estimate, reserve_more
from .starting import Prepared


class Paused(Exception):
    """The run waits for a person: nothing more is said here.

    ``state`` is what it goes on from, ``calls`` are those to decide on, and who has to.
    """

    def __init__(self, state: LoopState, calls: list[tuple[engine.ToolCall, str]]) -> None:
        super().__init__("waits for a decision")
        self.state = state
        self.calls = calls


def model_of(body: dict[str, Any], choice: ToolChoice | None = None, **own: Any) -> ChatOpenRouter:
    """The model step that a version's body describes; ``choice`` instead of the body's. ``own``: what
    `ChatOpenRouter` takes beside the request.
    """
    tools = [
        ToolSpec(tool["name"], tool["description"], tool["schema"], tool["strict"]) for tool in body["tools"]
    ]
    return ChatOpenRouter(
        model=body["model"], tools=tools, tool_choice=choice or choice_of(body), **body["options"], **own
    )


def choice_of(body: dict[str, Any]) -> ToolChoice | None:
    """Whether the version's model calls a tool."""
    choice: Any = body["tool_choice"]
    if isinstance(choice, dict):
        return ToolChoice.forced(choice["forced"])
    return None if choice is None else ToolChoice(choice)


class _Paid(Step[Any]):
    """A model that is asked only where that was paid for: ``first`` is awaited with the messages before."""

    def __init__(self, model: ChatOpenRouter, first: Callable[[Sequence[engine.Message]], Any]) -> None:
        self._model = model
        self._first = first

    def flow(self, upstream: Upstream, call: Call) -> Flow:
        messages = yield from upstream.value()
        yield Invoke(self._first, messages)
        yield from self._model.flow(Upstream.of(messages), call)


class Generation:
    """The answer of one run, from its model or models to its last event."""

    def __init__(
        self,
        live: LiveRun,
        prepared: Prepared,
        outcome: Outcome,
        acting: Acting | None,
        until_all_is_said: Callable[[], Awaitable[None]],
        key: Key,
    ) -> None:
        self._key = key
        self._until_all_is_said = until_all_is_said
        self._live = live
        self._prepared = prepared
        self._outcome = outcome
        self._acting = acting
        self._reply: engine.ReplyFinished | None = None
        self._writer = EventWriter(live, outcome)
        self._begun = time.monotonic()
        self._prompt_bytes = 0

    async def run(self) -> LastEvent:
        """Everything the model says, and the answer that the chain's parser makes of it. Raises `Paused`."""
        if self._acting is not None:
            return await self._act(self._acting)
        stream = self._model().astream(self._prepared.messages, **self._prepared.options)
        async with aclosing(stream) as events:
            async for event in events:
                self._hear(event)
        await self._until_all_is_said()  # what is held back belongs to the answer
        reply = self._reply
        assert reply is not None  # noqa: S101 - a stream that ends without it raises
        self._tell_usage()
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
            forced = ToolLoop(self._model(), acting.tools, max_steps=1, **limits)
            state = await self._drive(forced, state, acting)
            if state.reason != "steps":
                return await self._ended(state, acting)
            limits["deadline"] = max(settings.TOTAL_TIMEOUT - (time.monotonic() - begun), 0)
        if choice is not None and choice.type != "none":
            choice = ToolChoice.auto()
        loop = ToolLoop(self._model(choice), acting.tools, max_steps=settings.MAX_TOOL_STEPS, **limits)
        return await self._ended(await self._drive(loop, state, acting), acting)

    async def _drive(self, loop: ToolLoop, state: LoopState, acting: Acting) -> LoopState:
        async with aclosing(loop.astream(state, **self._prepared.options)) as items:
            async for item in items:
                match item:
                    case StepFinished(_, _, refused):
                        self._tell_usage()
                        acting.refused(refused)
                    case ToolFinished():
                        await acting.finished(item)
                    case LoopState():
                        state = item
                    case _:
                        self._hear(item)
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
        return self._reply.reason if self._reply is not None else "stop"

    def _model(self, choice: ToolChoice | None = None) -> Step[Any]:
        """The chain's model, with the key of who pays."""
        own = {"api_key": self._key.secret, "on_answer": self._answer_begins}
        return _Paid(model_of(self._prepared.body, choice, **own), self._pay)

    async def _pay(self, messages: Sequence[engine.Message]) -> None:
        """Before each call of a model. The first one was paid for when the run was let in."""
        self._prompt_bytes = size_of_prompt(messages, self._prepared.body)
        if self._outcome.totals.calls:
            await estimate(self._live, self._outcome)
            cost = self._outcome.totals.cost
            await reserve_more(self._prepared, self._live, self._prompt_bytes, cost)

    def _answer_begins(self, generation: str) -> None:
        """A provider has taken the request, perhaps for the second time."""
        outcome = self._outcome
        if (last := outcome.call) is not None:
            last.end(_("It broke off before it said anything, and was asked for again."))
        outcome.calls.append(
            Called(
                number=outcome.earlier.calls + len(outcome.calls) + 1,
                requested=self._prepared.model,
                key_hash=self._key.hash,
                prompt_bytes=self._prompt_bytes,
                generation_id=generation,
            )
        )

    def _hear(self, event: engine.Event) -> None:
        if isinstance(event, engine.ReplyFinished):
            self._reply = event
        self._writer.write(event)

    def _tell_usage(self) -> None:
        reply = self._reply
        assert reply is not None  # noqa: S101 - what ends a step comes after its reply
        self._live.emit(self._outcome.totals.event(model=reply.model, provider=reply.provider, ms=self._ms()))

    def _ms(self) -> int:
        return self._prepared.spent_ms + round((time.monotonic() - self._begun) * 1000)


class EventWriter:
    """The engine's events, said in the log's words: parts get their index here."""

    def __init__(self, live: LiveRun, outcome: Outcome) -> None:
        self.invalid = ""
        self._live = live
        self._outcome = outcome
        self._open = ""  # the kind of the last part, where it can still grow
        self._part = live.state.next_part - 1  # counted here: the state does not know what is held back
        self._since = 0.0
        self._call = Called(0, "")

    def write(self, event: engine.Event) -> None:
        """Say it."""
        emit, call = self._live.emit, self._call
        if self._outcome.first_token is None and not isinstance(event, engine.ReplyStarted):
            self._outcome.first_token = timezone.now()
        match event:
            case engine.TextDelta(text) | engine.RefusalDelta(text):
                call.said += size_of(text)
                emit(Text(self._part if self._open == "text" else self._new("text"), text))
            case engine.ToolCallDelta(id, text):
                call.said += size_of(text)
                emit(ToolArguments(id, text))
            case engine.ReasoningDelta(text):
                call.said += size_of(text)
                part = self._part if self._open == "reasoning" else self._new("reasoning")
                emit(Reasoning(part, text, round((time.monotonic() - self._since) * 1000)))
            case engine.ReplyStarted(id, model, provider):
                if (begun := self._outcome.call) is not None:
                    self._call = begun
                    begun.begin(id, model, provider)
                emit(StepStarted(self._new("step"), model=model or None))
            case engine.ToolCallStarted(id, name):
                emit(ToolStarted(self._new("call"), id, name))
            case engine.ToolCallReady(id, _, arguments):
                emit(ToolReady(id, arguments))
            case engine.ToolCallInvalid(id, _, raw, message):
                self.invalid = message
                emit(ToolInvalid(id, raw, spoken(message)))
            case engine.ReplyFinished():
                call.finish_with(event)
            case _:
                pass

    def _new(self, kind: str) -> int:
        self._open = kind
        self._part += 1
        self._since = time.monotonic()
        return self._part
