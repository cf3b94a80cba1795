"""Tools that act: a run's calls become rows, then handlers run, then their results are stored and said.

A call's row is committed as ``running`` under the run's fence before its handler starts, and the
result of a plain handler in the same transaction as what the handler changed. So a call is done once
or not at all; only what an ``async`` handler did outside is unknown when its process dies half-way.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial
from itertools import count
from typing import Any, NamedTuple, NoReturn
from uuid import UUID

import msgspec
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext as _

from .. import tool_handlers
from ..database import LOST_DATABASE, in_database_thread
from ..engine.errors import InputError, OpenRouterError, ToolError
from ..engine.loops import LoopState, ToolFinished
from ..engine.messages import ToolCall as EngineCall
from ..engine.messages import text_of
from ..engine.signatures import keyword_arguments
from ..engine.threads import run_in_thread
from ..engine.tools import Tool, result_text
from ..engine.tools import ToolSpec as EngineSpec
from ..models import Owner, Run, ToolCall, ToolSpec
from ..models.tool_calls import arguments_hash
from ..models.tools import Approval
from ..tool_handlers import Handler, ToolContext
from .attempts import Attempt, GivenUp
from .events import ToolDecided, ToolResult, ToolRunning
from .live import LiveRun
from .starting import Prepared
from .writer import Writer, patiently

log = logging.getLogger("openrouter_app.tools")

MOST_SHOWN = 20_000
"""Characters of a result that a page is given; the model gets more."""
FAILED = "The tool failed."
_STRICTNESS = (Approval.NONE, Approval.OWNER, Approval.STAFF)


def acts(body: Mapping[str, Any]) -> bool:
    """Whether some of a version's tools have a handler that is to run."""
    return body["parser"] == "text" and any(tool.get("handler") for tool in body["tools"])


def arguments_text(call: EngineCall) -> str:
    """A call's arguments as they are stored, hashed and approved: ASCII, members in their order."""
    return json.dumps(call.arguments, separators=(",", ":"))


class _Result(NamedTuple):
    """What came of a handler: for the page, and for the model."""

    output: Any
    text: str


class Acting:
    """The tools of one run, as the engine's loop calls them."""

    def __init__(self, live: LiveRun, prepared: Prepared, owner: Writer) -> None:
        self._live = live
        self._prepared = prepared
        self._owner = owner
        self._approvals = {
            tool["name"]: stricter(tool.get("approval"), prepared.approvals.get(tool["name"]))
            for tool in prepared.body["tools"]
        }
        self._with_handler = {tool["name"] for tool in prepared.body["tools"] if tool.get("handler")}
        self._public = {tool["name"] for tool in prepared.body["tools"] if tool.get("result_public", True)}
        self._rows: dict[str, UUID] = {}
        self._said: set[str] = set()
        self.tools = [self._tool(tool) for tool in prepared.body["tools"]]

    def begin(self) -> LoopState:
        """Where the loop begins, or goes on from: what people decided is said first."""
        if not self._prepared.loop:
            return LoopState(messages=self._prepared.messages)
        try:
            state = LoopState.load(self._prepared.loop)
            decided = {
                call.id: self._prepared.decisions[call.id]
                for call in state.pending
                if call.id in self._prepared.decisions
            }
            for id, (approved, reason) in decided.items():
                state = state.approve(id) if approved else state.deny(id, reason=reason)
        except InputError as error:  # what another version of this app has stored, perhaps
            sentence = _("This answer cannot be gone on with. Ask for a new one.")
            raise OpenRouterError(sentence, retryable=True, detail=error.message) from error
        for id, (approved, reason) in decided.items():
            self._live.emit(ToolDecided(id, approved, reason or None))
            if not approved:
                self._said.add(id)  # ``denied`` says it all
        return state

    def decidable(self, pending: tuple[EngineCall, ...]) -> list[tuple[EngineCall, str]]:
        """Of the calls that the loop could not run, those that a person decides on, and who."""
        return [
            (call, self._approvals.get(call.name, Approval.OWNER))
            for call in pending
            if call.name in self._with_handler
        ]

    def refused(self, results: tuple[ToolFinished, ...]) -> None:
        """These calls are no JSON: the page knows."""
        self._said.update(result.id for result in results)

    async def finished(self, item: ToolFinished) -> None:
        """The loop has a result for a call: where its handler did not say so itself, it went wrong."""
        if item.id in self._said:
            return
        self._said.add(item.id)
        error, late = text_of(item.content)[:MOST_SHOWN], None
        if (key := self._rows.get(item.id)) is not None:
            try:
                late = await self._settled(key, error)
            except LOST_DATABASE:
                log.exception("that call %s failed could not be written", key)
        if late is None:
            self._live.emit(ToolResult(item.id, error=error))
        else:  # it was done in the moment in which it was cut short
            self._tell(item.id, item.name, late)

    def _tool(self, tool: Mapping[str, Any]) -> Tool[..., Any]:
        spec = EngineSpec(tool["name"], tool["description"], tool["schema"], tool["strict"])
        if not tool.get("handler"):
            # The loop ends where such a call is pending: the call itself is the answer.
            return Tool(spec, _not_run, needs_approval=True, timeout=None)
        return Tool(
            spec,
            partial(self._act, tool),
            needs_approval=self._approvals[tool["name"]] != Approval.NONE,
            timeout=None,  # kept here, where it is known whether the handler made it after all
            parallel=bool(tool.get("parallel")),
            takes_call=True,
        )

    async def _act(self, tool: Mapping[str, Any], call: EngineCall, /, **arguments: Any) -> str:
        """One call: its row, its handler, its result. What the model is told."""
        handler = tool_handlers.find(tool["handler"])
        if handler is None:
            log.error("the tool %s has no handler %r any more", call.name, tool["handler"])
            raise ToolError("This tool is out of order.")
        key = await self._begun(call)
        if key is None:
            await self._lose()
        self._rows[call.id] = key
        self._live.emit(ToolRunning(call.id))
        await self._owner.flush()  # the log says so before anything happens; what it does may keep others out
        result = await self._result(tool, handler, key, arguments)
        self._said.add(call.id)
        self._tell(call.id, call.name, result)
        return result.text

    def _tell(self, call: str, name: str, result: _Result) -> None:
        self._live.emit(ToolResult(call, output=result.output if name in self._public else None))

    async def _begun(self, call: EngineCall) -> UUID | None:
        needs = self._approvals[call.name] != Approval.NONE
        begin = partial(begin_call, self._live.pk, self._fence, call, needs_approval=needs)
        attempts = count()
        return await patiently(self._live, lambda: self._owner.call(partial(begin, again=next(attempts) > 0)))

    async def _settled(self, key: UUID, error: str) -> _Result | None:
        return await patiently(self._live, partial(self._owner.call, fail, key, error))

    async def _result(
        self, tool: Mapping[str, Any], handler: Handler, key: UUID, arguments: dict[str, Any]
    ) -> _Result:
        attempt = Attempt()
        limit = asyncio.timeout(tool["timeout"])
        try:
            async with limit:
                if handler.is_async:
                    return await self._awaited(handler, key, arguments)
                made: _Result = await run_in_thread(self._called, handler, key, arguments, attempt)
                return made
        except TimeoutError:
            attempt.give_up()
            if not limit.expired():
                raise  # the handler's own
            error = f"The tool took longer than {tool['timeout']:g} seconds."
            if (late := await self._settled(key, error)) is not None:
                return late  # it made it in that very moment
            raise ToolError(error) from None
        except LOST_DATABASE:
            # Perhaps in the commit, and whether that came through only the row knows.
            if (late := await self._settled(key, FAILED)) is not None:
                return late
            raise
        except GivenUp:
            await self._lose()
        except asyncio.CancelledError:
            attempt.give_up()
            raise

    @property
    def _fence(self) -> int:
        assert self._live.fence is not None  # noqa: S101 - what acts was claimed
        return self._live.fence

    async def _lose(self) -> NoReturn:
        """The run is somebody else's: nothing more may happen here. The loop is cancelled at once."""
        self._live.lose()
        await asyncio.Event().wait()
        raise AssertionError

    def _called(self, handler: Handler, key: UUID, arguments: dict[str, Any], attempt: Attempt) -> _Result:
        """A plain handler, in its transaction, and its result in the same one."""
        with attempt.transaction() if handler.atomic else nullcontext():
            context = self._context(handler, key)
            value = handler.function(context, **_named(handler, context, arguments))
            result = result_of(value)
            attempt.check()
            if not store(self._live.pk, self._fence, key, result):
                raise GivenUp
        return result

    async def _awaited(self, handler: Handler, key: UUID, arguments: dict[str, Any]) -> _Result:
        context = await in_database_thread(self._context)(handler, key)
        value = await handler.function(context, **_named(handler, context, arguments))
        result = await in_database_thread(result_of)(value)
        done = partial(self._owner.call, store, self._live.pk, self._fence, key, result)
        if not await patiently(self._live, done):
            raise GivenUp
        return result

    def _context(self, handler: Handler, key: UUID) -> ToolContext:
        """On whose behalf: read now, so that whoever lost a permission meanwhile has lost it."""
        owner: Owner = self._prepared.owner
        user: Any = AnonymousUser()
        if owner.user_id is not None:
            user = get_user_model()._default_manager.filter(pk=owner.user_id).first()
            if user is None or not user.is_active:
                raise ToolError("The account this was asked for is switched off.")
        if handler.permission is not None and not owner.is_system and not user.has_perm(handler.permission):
            raise ToolError("The person who asked is not allowed to do this.")
        conversation = self._prepared.about["conversation"]
        return ToolContext(
            user=user,
            key=key,
            run=self._live.run,
            visitor=owner.visitor,
            conversation=UUID(conversation) if conversation else None,
        )


def stricter(one: str | None, other: str | None) -> str:
    """Of who has to allow a call as it was published and as it is set now, the stricter."""
    ranks = [_STRICTNESS.index(Approval(value)) for value in (one, other) if value]
    return _STRICTNESS[max(ranks, default=0)]


def approval_now(name: str) -> str:
    """Who has to allow calls of this tool as it is set at this moment."""
    found = ToolSpec.objects.filter(name=name).values_list("approval", flat=True).first()
    return found or Approval.NONE


def _not_run() -> NoReturn:
    raise ToolError("This tool is not run.")


def _named(handler: Handler, context: ToolContext, arguments: dict[str, Any]) -> dict[str, Any]:
    return keyword_arguments(partial(handler.function, context), arguments)


def result_of(value: Any) -> _Result:
    """A handler's result as JSON for the page, and as text for the model. Raises TypeError for neither."""
    if isinstance(value, QuerySet):
        value = list(value)
    text = result_text(value)
    if value is None or len(text) > MOST_SHOWN:
        return _Result(text[:MOST_SHOWN] or None, text)
    if isinstance(value, str):
        return _Result(text, text)
    try:
        return _Result(msgspec.json.decode(text), text)
    except msgspec.DecodeError:  # what has no JSON is told as its `str`
        return _Result(text, text)


# What the rows say, each in one short transaction.


def begin_call(
    pk: int, fence: int, call: EngineCall, *, needs_approval: bool, again: bool = False
) -> UUID | None:
    """Make or take the call's row: from now on it runs. None where the run is somebody else's.

    ``again``: nobody knows what became of the last attempt under this fence, so the call may have begun.
    Raises `ToolError` where nobody has allowed exactly this call, or it ran before.
    """
    arguments = arguments_text(call)
    digest = arguments_hash(call.name, arguments)
    with transaction.atomic():
        if not _is_mine(pk, fence):
            return None
        row = ToolCall.objects.filter(run_id=pk, call=call.id).first()
        if again and row is not None and (row.status, row.hash) == (ToolCall.Status.RUNNING, digest):
            return row.uuid
        if row is None and not needs_approval and approval_now(call.name) == Approval.NONE:
            row = ToolCall.objects.create(
                run_id=pk,
                call=call.id,
                name=call.name,
                arguments=arguments,
                hash=digest,
                status=ToolCall.Status.RUNNING,
                started=timezone.now(),
            )
            return row.uuid
        approved = ToolCall.objects.filter(
            run_id=pk, call=call.id, status=ToolCall.Status.APPROVED, name=call.name, hash=digest
        )
        if row is None or not approved.update(status=ToolCall.Status.RUNNING, started=Now()):
            raise ToolError("Nobody has allowed this call.")
        return row.uuid


def store(pk: int, fence: int, key: UUID, result: _Result) -> bool:
    """Store a result. False where the run is somebody else's, or the call was given up."""
    with transaction.atomic():
        if not _is_mine(pk, fence):
            return False
        mine = ToolCall.objects.filter(uuid=key)
        running = mine.filter(status=ToolCall.Status.RUNNING)
        stored = running.update(status=ToolCall.Status.DONE, output=result.output, ended=Now())
        # Done already: nobody else can have stored it, so an earlier attempt came through.
        return bool(stored) or mine.filter(status=ToolCall.Status.DONE).exists()


def fail(key: UUID, error: str) -> _Result | None:
    """Note that a call went wrong; where it has its result all the same, that."""
    running = ToolCall.objects.filter(uuid=key, status=ToolCall.Status.RUNNING)
    if running.update(status=ToolCall.Status.FAILED, error=error, ended=Now()):
        return None
    row = ToolCall.objects.filter(uuid=key, status=ToolCall.Status.DONE).first()
    return None if row is None else _Result(row.output, result_text(row.output))


def _is_mine(pk: int, fence: int) -> bool:
    mine = Run.objects.select_for_update().filter(pk=pk, fence=fence, status=Run.Status.RUNNING)
    return mine.values_list("pk", flat=True).first() is not None
