"""Execute a run: drive its chain and say what happens, in the log's words.

One task owns a run from ``queued`` to its last event. Every change of state is committed before
it is shown; between them no database connection is held.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine
from contextlib import aclosing, suppress
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _

from ..conf import get_settings
from ..database import LOST_DATABASE, again_in_database_thread
from ..engine import messages as engine
from ..engine.chains import ChatOpenRouter
from ..engine.errors import BrokenStreamError, ConfigurationError, MissingKeyError, OpenRouterError
from ..engine.tools import ToolChoice, ToolSpec
from . import leases, relay, reports
from . import live as registry
from .endings import Outcome, fields_at_end, money
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
from .rows import snapshot_of_row
from .slots import NoPlace, slots
from .starting import Prepared
from .state import RunState
from .writer import Writer, not_stored, writer

log = logging.getLogger("openrouter_app.runs")

PAUSES = (0.1, 0.5, 1.0, 2.0)
"""Seconds between attempts to reach the database; the last one again and again."""


class Lost(Exception):
    """The run is not this process's: another one claimed it, or its row says that it has ended."""


def launch(prepared: Prepared) -> LiveRun:
    """Start executing in a task of the running loop; answers the run to follow."""
    state = RunState(chain=prepared.chain, version=prepared.version, input=prepared.input)
    live = LiveRun(prepared.run, prepared.pk, state, prepared.origin)
    registry.register(live)
    live.queued_fence = prepared.fence
    writer().watch(live)
    live.task = asyncio.create_task(_own(live, prepared), name=f"openrouter run {prepared.run}")
    return live


async def _own(live: LiveRun, prepared: Prepared) -> None:
    """The run's whole life, so that every way out of it ends in one last event, or in another's hands."""
    owner, outcome = writer(), Outcome(begun=timezone.now())
    begun = time.monotonic()
    try:
        try:
            last = await _in_turn(live, prepared, outcome, owner)
        except asyncio.CancelledError:
            last = Interrupted("provider", _("The server was restarted in mid-answer. Try again."), True)
        except (Lost, *LOST_DATABASE):
            raise
        except Exception:
            log.exception("run %s failed on this side", live.run)
            last = Failed("provider", _("Something went wrong on this site. Try again later."), True)
        last = await _to_its_end(_commit_end(live, outcome, last, owner))
        live.confirm(float("inf"))
        if outcome.is_lost:
            await _show_row(live)  # which has less than was shown
        if not live.is_final:
            live.emit(last)
        reports.ended(live, outcome, last, time.monotonic() - begun)
    except (Lost, *LOST_DATABASE) as error:
        if not isinstance(error, Lost):
            log.exception("run %s was left: the database is away", live.run)
    finally:
        registry.unregister(live)
        owner.forget(live)
        if not live.is_final:
            live.move()


async def _in_turn(live: LiveRun, prepared: Prepared, outcome: Outcome, owner: Writer) -> LastEvent:
    """Wait for a place, claim the run, execute it."""
    waiting = asyncio.ensure_future(_claimed_in_turn(live, prepared, outcome, owner))
    live.on_stop(waiting.cancel)
    try:
        return await waiting
    except asyncio.CancelledError:
        if not waiting.cancelled():
            waiting.cancel()  # this task itself was cancelled: the server goes down
            await asyncio.wait([waiting])
            raise
        if live.has_moved:
            raise Lost from None
        if live.failure is not None:
            return Failed("provider", live.failure, True)
        if live.stopped_by is not None:
            return Stopped(live.stopped_by)
        raise


async def _claimed_in_turn(live: LiveRun, prepared: Prepared, outcome: Outcome, owner: Writer) -> LastEvent:
    try:
        async with slots().place():
            await relay.join()
            if not await _claim(live, owner):
                raise Lost
            live.emit(Started(prepared.chain, prepared.version))
            reports.started(live)
            return await _generate(live, prepared, outcome, owner)
    except NoPlace:
        return Failed("busy", _("Too many answers are being written at the moment. Try again later."), True)
    except OpenRouterError as error:
        outcome.detail = error.detail or error.message
        log.info("run %s: %s: %s", live.run, type(error).__name__, outcome.detail)
        return _verdict(error, has_content=outcome.first_token is not None)


async def _claim(live: LiveRun, owner: Writer) -> bool:
    """Claim the run, with some patience for the database."""
    until = time.monotonic() + get_settings().DATABASE_PATIENCE
    pauses = iter(PAUSES)
    while True:
        # Not to be cut short: what is claimed must be known to be claimed.
        claiming = asyncio.ensure_future(owner.claim(live))
        try:
            return await asyncio.shield(claiming)
        except asyncio.CancelledError:
            await asyncio.wait([claiming])
            raise
        except LOST_DATABASE:
            if time.monotonic() > until:
                raise
            await asyncio.sleep(next(pauses, PAUSES[-1]))


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


async def _generate(live: LiveRun, prepared: Prepared, outcome: Outcome, owner: Writer) -> LastEvent:
    """One model call: its events into the log's, and the answer that the chain's parser makes."""
    begun = time.monotonic()
    writer = _Writer(live, outcome)
    stream = model_of(prepared.body).astream(prepared.messages, **prepared.options)
    async with aclosing(stream) as events:
        async for event in events:
            if outcome.first_token is None and not isinstance(event, engine.ReplyStarted):
                outcome.first_token = timezone.now()
            writer.write(event)
    await _until_all_is_said(live, owner)  # what is held back belongs to the answer
    reply = outcome.reply
    assert reply is not None  # noqa: S101 - a stream that ends without it raises
    usage = reply.usage or engine.Usage()
    live.emit(
        UsageTotals(
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            cost=None if usage.cost is None else format(money(usage.cost).normalize(), "f"),
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

    def __init__(self, live: LiveRun, outcome: Outcome) -> None:
        self.invalid = ""
        self._live = live
        self._outcome = outcome
        self._open = ""  # the kind of the last part, where it can still grow
        self._part = live.state.next_part - 1  # counted here: the state does not know what is held back
        self._since = 0.0

    def write(self, event: engine.Event) -> None:
        emit = self._live.emit
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
                emit(ToolInvalid(id, raw, message))
            case engine.ReplyFinished():
                self._outcome.reply = event
            case _:
                pass

    def _new(self, kind: str) -> int:
        self._open = kind
        self._part += 1
        self._since = time.monotonic()
        return self._part


async def _to_its_end(commit: Coroutine[Any, Any, LastEvent]) -> LastEvent:
    """Await a commit that no cancelling cuts short: an answer that is whole must not end as a lost one."""
    task = asyncio.ensure_future(commit)
    while not task.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([task])
    return task.result()


async def _until_all_is_said(live: LiveRun, owner: Writer) -> None:
    """Wait while events are held back. Raises `Lost` where the run turns out to be somebody else's."""
    while live.is_in_doubt and not live.has_moved:
        await owner.flush()  # tells whether the lease still stands; what was held back is said then
        if live.is_in_doubt:
            await asyncio.sleep(PAUSES[0])
    if live.has_moved:
        raise Lost


async def _commit_end(live: LiveRun, outcome: Outcome, last: LastEvent, owner: Writer) -> LastEvent:
    """Write the end into the row; answers the event to show, which is what the row says.

    An answer that cannot be written whole (whatever is odd about it) ends as failed, not as done.
    Raises `Lost` where the row is not this process's any more, and what the database raises where it
    stays away until the lease has run out.
    """
    await _until_all_is_said(live, owner)
    live.is_ending = True
    until = time.monotonic() + get_settings().LEASE
    pauses = iter(PAUSES)
    while True:
        try:
            await _write_end(live, outcome, last, owner)
        except LOST_DATABASE:
            log.exception("the end of run %s could not be written", live.run)
            if time.monotonic() > until:
                raise
            await asyncio.sleep(next(pauses, PAUSES[-1]))
        except Lost:
            raise
        except Exception:
            log.exception("the end of run %s could not be written", live.run)
            last = Failed("provider", not_stored(), True)
            await _write_end(live, Outcome(), last, owner, parts=[])
            outcome.is_lost = True
            return last
        else:
            return last


async def _show_row(live: LiveRun) -> None:
    try:
        if (row := await again_in_database_thread(snapshot_of_row)(live.run)) is not None:
            live.end_as(row)
    except Exception:
        log.exception("the row of run %s could not be read", live.run)


async def _write_end(
    live: LiveRun,
    outcome: Outcome,
    last: LastEvent,
    owner: Writer,
    *,
    parts: list[dict[str, Any]] | None = None,
) -> None:
    fields = fields_at_end(live.state, live.seq + 1, last, outcome, parts=parts)
    fence, before = (live.queued_fence, "queued") if live.fence is None else (live.fence, "running")
    if not await owner.call(leases.end, live.pk, fence, before, fields):
        raise Lost
