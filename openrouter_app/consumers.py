"""The websocket's face: frames in, calls to `openrouter_app.runs`, frames out.

Channels awaits one handler at a time, so a handler waits for nothing: a task of the socket's works off
its frames in their order, and each followed run has a task of its own that passes its updates on.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from typing import Any, Literal
from urllib.parse import parse_qs
from uuid import UUID, uuid4

from channels.generic.websocket import AsyncWebsocketConsumer
from django.utils.translation import gettext as _

from . import identity, protocol, runs
from .conf import Settings, get_settings
from .database import LOST_DATABASE
from .engine.errors import OpenRouterError
from .languages import activate_for
from .models import Owner, Run
from .refusals import gone
from .runs import Refused, Snapshot, Start
from .sockets import BURST, Allowance, SocketTurn, crowd

log = logging.getLogger("openrouter_app.websocket")

SESSION_GONE = 4401
TOO_LARGE = 1009
RESTART = 1012
FLOOD = 1008
OVERLOAD = 1013


class RunConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]
    """One page's socket; it may carry many runs. Leaving stops none, but for visitors without a session."""

    channel_layer_alias = ""
    """None: Channels would end a socket whose layer is away for a moment. What comes of a layer comes to
    `openrouter_app.runs.relay`, which outlives that."""

    async def connect(self) -> None:
        activate_for(self.scope)
        self.settings: Settings = get_settings()
        self.followed: dict[UUID, asyncio.Task[None]] = {}
        self.watched: dict[UUID, asyncio.Task[None]] = {}
        self.started: set[UUID] = set()
        self.starting = asyncio.Lock()
        asked = parse_qs(self.scope.get("query_string", b"").decode("latin-1"))
        self.wants_html = asked.get("html") == ["1"]
        try:
            owner = await identity.owner_of(self.scope)
        except LOST_DATABASE as error:
            log.warning("a socket waits for the database: %s", type(error).__name__)
            await self.close()  # the page comes again
            return
        self.owner: Owner = owner or Owner.of_visitor(uuid4(), ephemeral=True)
        await self.accept()
        if runs.is_draining():
            await self.close(RESTART)
            return
        if not crowd.enter(self, self.owner, self.scope, most=self.settings.MAX_SOCKETS_PER_USER):
            await self.close(OVERLOAD)
            return
        await self._send(
            protocol.Hello(protocol.PROTOCOL, self.settings.HEARTBEAT, self.settings.MAX_FRAME, [])
        )
        self.allowance = Allowance()
        self.is_leaving = self.is_handling = False
        self.turn = SocketTurn(self._send)
        self.frames: asyncio.Queue[protocol.ClientFrame] = asyncio.Queue(BURST)
        self.handling = asyncio.create_task(self._handle_frames())
        self.recheck = asyncio.create_task(self._recheck())

    async def disconnect(self, code: int) -> None:
        crowd.leave(self)
        if not hasattr(self, "recheck"):
            return
        for task in (*self.followed.values(), *self.watched.values(), self.recheck):
            task.cancel()
        self.is_leaving = True
        if not self.owner.ephemeral or not self.is_handling:
            self.handling.cancel()
        else:
            await asyncio.wait([self.handling])  # what it is about to start has to be stopped, too
        if self.owner.ephemeral:
            # Nobody else can ever see these runs: an answer without a reader only costs.
            try:
                for run in await runs.unfinished_of(self.owner):
                    await runs.stop(self.owner, run, by="socket")
            except Exception:
                log.exception("runs of a socket that has gone could not be stopped")

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if not self.allowance.take():
            await self.close(FLOOD)
            return
        if len(text_data or bytes_data or "") > 4 * self.settings.MAX_FRAME:
            await self.close(TOO_LARGE)
            return
        try:
            frame = protocol.decode(text_data, max_frame=self.settings.MAX_FRAME)
        except protocol.BadFrame as error:
            await self._send(protocol.Error(error.code, error.message, id=error.id))
            return
        if isinstance(frame, protocol.Ping):
            await self._send(protocol.Pong())
            return
        if isinstance(frame, protocol.RunStop) and (run := protocol.uuid_of(frame.run)) in self.followed:
            # At once, whatever the database is busy with: that it is this owner's was seen when he followed.
            runs.stop_here(run)
        try:
            self.frames.put_nowait(frame)
        except asyncio.QueueFull:  # the database is behind, and this page goes on sending
            await self.close(OVERLOAD)

    async def _handle_frames(self) -> None:
        """One frame after another, beside the socket: what one waits for holds up no ping and no stop."""
        while not self.is_leaving:
            frame = await self.frames.get()
            self.is_handling = True
            await self._handle(frame)
            self.is_handling = False

    async def _handle(self, frame: protocol.ClientFrame) -> None:
        try:
            if not await self._still_welcome():
                return
            await _HANDLERS[type(frame)](self, frame)
        except Refused as error:
            if runs.is_draining():
                await self.close(RESTART)
            else:
                await self._refuse(frame, error.code, error.message, error.details, error.run)
        except OpenRouterError as error:
            await self._refuse(frame, error.code, error.message)
        except Exception:
            log.exception("a %s frame failed", type(frame).__name__)
            await self._refuse(frame, "provider", _("Something went wrong on this site. Try again later."))

    async def _start(self, frame: protocol.RunStart) -> None:
        if runs.is_draining():
            # the page says it again to the server that comes after this one
            await self.close(RESTART)
            return
        conversation = _conversation_of(frame)
        parent = _id_of(frame.parent) if isinstance(frame.parent, str) else frame.parent
        self._check_room()
        start = Start(
            owner=self.owner,
            chain=frame.chain,
            input=frame.input,
            client_id=frame.id,
            version=frame.version,
            options=frame.options,
            origin=Run.Origin.WEBSOCKET,
            conversation=conversation,
            parent=parent,
        )
        async with self.starting:  # what is said of its conversation comes after it was accepted
            run = await runs.start(start)
            self.started.add(run)
            if conversation is not None:
                conversation = await runs.conversation_of(run)
            await self._send(protocol.RunAccepted(frame.id, run, conversation))
            self._follow(run)

    async def _follow_frame(self, frame: protocol.RunFollow) -> None:
        if frame.conversation is not None:
            self._watch(_id_of(frame.conversation))
            return
        run = _run_of(frame)
        if run not in self.followed:
            self._check_room()
        await runs.check_owner(self.owner, run)
        self._follow(run)

    async def _unfollow(self, frame: protocol.RunUnfollow) -> None:
        if frame.conversation is not None:
            if (task := self.watched.pop(_id_of(frame.conversation), None)) is not None:
                task.cancel()
            return
        if (task := self.followed.pop(_run_of(frame), None)) is not None:
            task.cancel()

    async def _stop(self, frame: protocol.RunStop) -> None:
        run = _run_of(frame)
        await runs.stop(self.owner, run)
        if run not in self.followed:
            # Who stops without following is told once how it ended.
            self._follow(run)

    async def _decide(self, frame: protocol.ToolDecide) -> None:
        run = _run_of(frame)
        await runs.decide(self.owner, run, frame.call, approve=frame.approve, reason=frame.reason or "")
        if run not in self.followed:
            self._follow(run)

    def _check_room(self) -> None:
        self.started = {run for run in self.started if runs.is_executing(run)}
        busy = len(self.started.union(self.followed))
        if busy >= self.settings.MAX_RUNS_PER_SOCKET:
            sentence = _("This page already has %d runs. Wait for one to end, or stop one.")
            raise Refused("limit", sentence % busy)

    def _follow(self, run: UUID) -> None:
        """Begin anew with a snapshot; a stream that was there ends first, so nothing comes twice."""
        if (earlier := self.followed.pop(run, None)) is not None:
            earlier.cancel()
        self.followed[run] = asyncio.create_task(self._pass_on(run))

    def _watch(self, conversation: UUID) -> None:
        """The same for a conversation, and the answer that is being written in it."""
        if (earlier := self.watched.pop(conversation, None)) is not None:
            earlier.cancel()
        elif len(self.watched) >= self.settings.MAX_RUNS_PER_SOCKET:
            raise Refused("limit", _("This page follows too many conversations. Close some."))
        self.watched[conversation] = asyncio.create_task(self._pass_on_places(conversation))

    async def _pass_on_places(self, conversation: UUID) -> None:
        """Say where a conversation stands, at each change, and follow its unfinished run."""
        try:
            while True:
                try:
                    await self._send_places(conversation)
                except LOST_DATABASE as error:
                    name = type(error).__name__
                    log.warning("following conversation %s waits for the database: %s", conversation, name)
                    await asyncio.sleep(self.settings.FOLLOW_POLL)
        except Refused as error:
            await self._send(protocol.Error(error.code, error.message, conversation=str(conversation)))
        except Exception:
            log.exception("following conversation %s failed", conversation)
            message = _("The connection to this conversation was lost. Reload the page.")
            await self._send(protocol.Error("provider", message, conversation=str(conversation)))
        finally:
            if self.watched.get(conversation) is asyncio.current_task():
                del self.watched[conversation]

    async def _send_places(self, conversation: UUID) -> None:
        async with aclosing(runs.follow_conversation(self.owner, conversation)) as places:
            async for place in places:
                async with self.starting:
                    await self._send(protocol.Conversation(place.conversation, place.head, place.run))
                    if place.run is not None and place.run not in self.followed:
                        self._check_room()
                        self._follow(place.run)

    async def _pass_on(self, run: UUID) -> None:
        """Send what happens to a run until it has ended, or nobody wants to know."""
        try:
            while True:
                try:
                    await self._send_updates(run)
                except LOST_DATABASE as error:
                    log.warning("following run %s waits for the database: %s", run, type(error).__name__)
                    await asyncio.sleep(self.settings.FOLLOW_POLL)
                else:
                    return
        except Refused as error:
            await self._send(protocol.Error(error.code, error.message, run=str(run)))
        except Exception:
            log.exception("following run %s failed", run)
            message = _("The connection to this run was lost. Reload the page.")
            await self._send(protocol.Error("provider", message, run=str(run)))
        finally:
            if self.followed.get(run) is asyncio.current_task():
                del self.followed[run]

    async def _send_updates(self, run: UUID) -> None:
        async with aclosing(runs.follow(self.owner, run, self.turn, html=self.wants_html)) as updates:
            async for update in updates:
                if isinstance(update, Snapshot):
                    await self._send(protocol.RunSnapshot(update.run, update.seq, update.state))
                else:
                    await self._send(protocol.RunEvents(update.run, update.after, update.seq, update.events))
                del update  # not to be kept while the next one is waited for

    async def _still_welcome(self) -> bool:
        """Whether the session of this socket still stands; otherwise the socket is closed."""
        if self.owner.ephemeral or await identity.owner_of(self.scope, fresh=True) == self.owner:
            return True
        await self.close(SESSION_GONE)
        return False

    async def _recheck(self) -> None:
        while True:
            await asyncio.sleep(self.settings.SESSION_RECHECK)
            try:
                if not await self._still_welcome():
                    return
            except Exception:
                # A database that is away for a moment must not end the checks.
                log.exception("a socket's session could not be checked")

    async def _refuse(
        self,
        frame: Any,
        code: str,
        message: str,
        details: dict[str, Any] | None = None,
        busy_with: UUID | None = None,
    ) -> None:
        run = _cut(getattr(frame, "run", None)) if busy_with is None else str(busy_with)
        await self._send(
            protocol.Error(
                code,
                message,
                id=getattr(frame, "id", None),
                run=run,
                call=_cut(getattr(frame, "call", None)),
                conversation=_cut(getattr(frame, "conversation", None)),
                details=details,
            )
        )

    async def _send(self, frame: protocol.ServerFrame) -> None:
        text = protocol.encode(frame)
        # A page may leave while an answer is on its way: the server says so here first (OSError, or
        # RuntimeError after a close), and the disconnect that ends the tasks comes after it.
        try:  # noqa: SIM105 - every frame goes here
            await self.send(text_data=text)
        except (OSError, RuntimeError):
            pass


def _cut(text: str | None) -> str | None:
    """What a frame named, as it is said again: longer than any id, and no longer than that."""
    return text[:200] if text else None


def _run_of(
    frame: protocol.RunFollow | protocol.RunUnfollow | protocol.RunStop | protocol.ToolDecide,
) -> UUID:
    return _id_of(frame.run)


def _id_of(text: str | None) -> UUID:
    id = protocol.uuid_of(text)
    if id is None:
        # Malformed, foreign and missing ids get the same answer.
        raise gone()
    return id


def _conversation_of(frame: protocol.RunStart) -> UUID | Literal["new"] | None:
    if frame.conversation is None or frame.conversation == runs.NEW:
        return runs.NEW if frame.conversation else None
    return _id_of(frame.conversation)


_HANDLERS: dict[type, Any] = {
    protocol.RunStart: RunConsumer._start,
    protocol.RunFollow: RunConsumer._follow_frame,
    protocol.RunUnfollow: RunConsumer._unfollow,
    protocol.RunStop: RunConsumer._stop,
    protocol.ToolDecide: RunConsumer._decide,
}
