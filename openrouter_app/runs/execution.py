"""Execute a run: drive its chain and say what happens, in the log's words.

One task owns a run from ``queued`` to its last event. Every change of state is committed before
it is shown; between them no database connection is held.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import aclosing
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.utils import timezone

from ..database import in_database_thread
from ..engine import messages as engine
from ..engine.chains import ChatOpenRouter
from ..engine.errors import BrokenStreamError, ConfigurationError, MissingKeyError, OpenRouterError
from ..engine.tools import ToolChoice, ToolSpec
from ..models import Run
from . import live as registry
from .events import (
    Failed,
    Finished,
    Interrupted,
    LastEvent,
    Reasoning,
    Started,
    StepStarted,
    Stopped,
    Text,
    ToolArguments,
    ToolInvalid,
    ToolReady,
    ToolStarted,
    UsageTotals,
)
from .live import LiveRun
from .starting import Prepared
from .state import RunState

log = logging.getLogger("openrouter_app.runs")

WRITE_AGAIN_AFTER = (0.1, 0.5, 2.0, 0.0)
"""Seconds after each failed attempt to write a run's end."""


def launch(prepared: Prepared) -> LiveRun:
    """Start executing in a task of the running loop; answers the run to follow."""
    state = RunState(chain=prepared.chain, version=prepared.version, input=prepared.input)
    live = LiveRun(prepared.run, state)
    registry.register(live)
    live.task = asyncio.create_task(_own(live, prepared), name=f"openrouter run {prepared.run}")
    return live


class _Result:
    """What the row keeps beside the state."""

    def __init__(self) -> None:
        self.first_token: datetime | None = None
        self.reply: engine.ReplyFinished | None = None
        self.generation_id = ""
        self.detail = ""


async def _own(live: LiveRun, prepared: Prepared) -> None:
    """The run's whole life, so that every way out of it ends in one last event."""
    result = _Result()
    try:
        last = await _execute(live, prepared, result)
    except asyncio.CancelledError:
        last = Interrupted("provider", "The server was restarted in mid-answer. Try again.", True)
    except Exception:
        log.exception("run %s failed on this side", live.run)
        last = Failed("provider", "Something went wrong on this site. Try again later.", True)
    try:
        last = await _commit_end(live, result, last)
    finally:
        live.emit(last)
        registry.unregister(live)


async def _execute(live: LiveRun, prepared: Prepared, result: _Result) -> LastEvent:
    if live.stopped_by is None:
        await _update(prepared.run, status=Run.Status.RUNNING, started=timezone.now())
        live.emit(Started(prepared.chain, prepared.version))
    generation = asyncio.create_task(_generate(live, prepared, result))
    live.on_stop(generation.cancel)
    try:
        return await generation
    except asyncio.CancelledError:
        if live.stopped_by is not None and generation.cancelled():
            return Stopped(live.stopped_by)
        generation.cancel()
        raise
    except OpenRouterError as error:
        result.detail = error.detail or error.message
        log.info("run %s: %s: %s", live.run, type(error).__name__, result.detail)
        return _verdict(error, has_content=result.first_token is not None)


def _verdict(error: OpenRouterError, *, has_content: bool) -> Failed | Interrupted:
    """``interrupted`` when the answer merely broke off, ``failed`` when somebody said no."""
    if isinstance(error, ConfigurationError) and not isinstance(error, MissingKeyError):
        # What is wrong with the settings is for staff, in the log and on the run's admin page.
        return Failed(error.code, "This site is not set up correctly to reach its models.", False)
    if isinstance(error, BrokenStreamError) and has_content:
        return Interrupted(error.code, error.message, error.retryable)
    return Failed(error.code, error.message, error.retryable, _details(error))


def _details(error: OpenRouterError) -> dict[str, Any] | None:
    names = ("retry_after", "affordable_tokens")
    details = {name: value for name in names if (value := getattr(error, name, None)) is not None}
    return details or None


def model_of(body: dict[str, Any]) -> ChatOpenRouter:
    """The model step that a version's body describes."""
    tools = [
        ToolSpec(tool["name"], tool["description"], tool["schema"], tool["strict"]) for tool in body["tools"]
    ]
    choice: Any = body["tool_choice"]
    if isinstance(choice, dict):
        choice = ToolChoice.forced(choice["forced"])
    elif choice is not None:
        choice = ToolChoice(choice)
    return ChatOpenRouter(model=body["model"], tools=tools, tool_choice=choice, **body["options"])


async def _generate(live: LiveRun, prepared: Prepared, result: _Result) -> LastEvent:
    """One model call: its events into the log's, and the answer that the chain's parser makes."""
    begun = time.monotonic()
    writer = _Writer(live)
    stream = model_of(prepared.body).astream(prepared.messages, **prepared.options)
    async with aclosing(stream) as events:
        async for event in events:
            if result.first_token is None and not isinstance(event, engine.ReplyStarted):
                result.first_token = timezone.now()
            if isinstance(event, engine.ReplyStarted):
                result.generation_id = event.id
            elif isinstance(event, engine.ReplyFinished):
                result.reply = event
            writer.write(event)
    reply = result.reply
    assert reply is not None  # noqa: S101 - a stream that ends without it raises
    usage = reply.usage or engine.Usage()
    live.emit(
        UsageTotals(
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            cost=None if usage.cost is None else format(_money(usage.cost).normalize(), "f"),
            estimated=False,
            model=reply.model,
            provider=reply.provider,
            ms=round((time.monotonic() - begun) * 1000),
        )
    )
    if prepared.body["parser"] == "text":
        return Finished(reply.reason, live.state.text())
    if writer.invalid:
        return Failed("output_invalid", writer.invalid, True)
    return Finished(reply.reason, live.state.calls())


class _Writer:
    """The engine's events, said in the log's words: parts get their index here."""

    def __init__(self, live: LiveRun) -> None:
        self.invalid = ""
        self._live = live
        self._open = ""  # the kind of the last part, where it can still grow
        self._part = -1
        self._since = 0.0

    def write(self, event: engine.Event) -> None:
        emit = self._live.emit
        match event:
            case engine.TextDelta(text) | engine.RefusalDelta(text):
                emit(Text(self._growing("text"), text))
            case engine.ToolCallDelta(id, text):
                emit(ToolArguments(id, text))
            case engine.ReasoningDelta(text):
                part = self._growing("reasoning")
                emit(Reasoning(part, text, round((time.monotonic() - self._since) * 1000)))
            case engine.ReplyStarted(_, model):
                emit(StepStarted(self._new("step"), model=model or None))
            case engine.ToolCallStarted(id, name):
                emit(ToolStarted(self._new("call"), id, name))
            case engine.ToolCallReady(id, _, arguments):
                emit(ToolReady(id, arguments))
            case engine.ToolCallInvalid(id, _, raw, message):
                self.invalid = message
                emit(ToolInvalid(id, raw, message))
            case _:
                pass

    def _growing(self, kind: str) -> int:
        return self._part if self._open == kind else self._new(kind)

    def _new(self, kind: str) -> int:
        self._open = kind
        self._part = self._live.state.next_part
        self._since = time.monotonic()
        return self._part


@in_database_thread
def _update(run: Any, **fields: Any) -> None:
    """Final states never change: a run that has ended elsewhere is left as it is."""
    Run.objects.filter(uuid=run).exclude(status__in=Run.FINAL).update(**fields)


def _money(cost: Decimal) -> Decimal:
    """To the ten places that are stored; a provider's absurd figure is cut to what the column holds."""
    return min(cost, Decimal("99999999")).quantize(Decimal("1e-10"))


_STATUS = {
    Finished: Run.Status.DONE,
    Stopped: Run.Status.STOPPED,
    Failed: Run.Status.FAILED,
    Interrupted: Run.Status.INTERRUPTED,
}


async def _commit_end(live: LiveRun, result: _Result, last: LastEvent) -> LastEvent:
    """Write the end into the row; answers the event to show, which is what the row says.

    An answer that cannot be written whole (whatever is odd about it) ends as failed, not as done.
    """
    for pause in WRITE_AGAIN_AFTER:
        try:
            await _update(live.run, **_row(live, result, last))
        except Exception:
            log.exception("the end of run %s could not be written", live.run)
            await asyncio.sleep(pause)
        else:
            return last
    lost = Failed("provider", "The answer could not be stored on this site. Try again later.", True)
    try:
        await _update(live.run, **_row(live, _Result(), lost, parts=[]))
    except Exception:
        log.exception("run %s could not be ended", live.run)
    return lost


def _row(
    live: LiveRun, result: _Result, last: LastEvent, parts: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    """The fields of the row at the end of a run."""
    private: dict[str, Any] = {}
    fields: dict[str, Any] = {
        "status": _STATUS[type(last)],
        "ended": timezone.now(),
        "first_token": result.first_token,
        "last_seq": live.seq + 1,
        "parts": live.state.parts_at_end() if parts is None else parts,
        "private": private,
        "generation_id": result.generation_id,
        "error_detail": result.detail,
    }
    if live.state.usage is not None and parts is None:
        private["ms"] = live.state.usage["ms"]
    if reply := result.reply:
        fields.update(model=reply.model, provider=reply.provider)
        if usage := reply.usage:
            fields.update(prompt_tokens=usage.prompt_tokens, completion_tokens=usage.completion_tokens)
            fields["cost"] = None if usage.cost is None else _money(usage.cost)
    match last:
        case Finished(reason, output):
            fields.update(reason=reason, output=output)
        case Stopped(by):
            fields.update(reason=by)
        case Failed() | Interrupted():
            fields.update(error_code=last.code, error_message=last.message, retryable=last.retryable)
    if isinstance(last, Failed) and last.details:
        private["details"] = last.details
    return fields
