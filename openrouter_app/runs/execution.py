"""Execute a run: claim it, let its chain say what it says, and commit how it ends.

One task owns a run from ``queued`` to its last event. Every change of state is committed before
it is shown; between them no database connection is held.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine
from contextlib import suppress
from contextvars import Context
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from django.utils import timezone
from django.utils.translation import activate, get_language
from django.utils.translation import gettext as _

from ..conf import get_settings
from ..database import LOST_DATABASE, again_in_database_thread
from ..engine.errors import BrokenStreamError, ConfigurationError, MissingKeyError, OpenRouterError
from ..models import Run
from ..sentences import spoken
from . import leases, mirrors, pausing, paying, relay, reports, watching
from . import live as registry
from .acting import Acting, acts
from .draining import is_draining
from .endings import Outcome, fields_at_end
from .events import Failed, Interrupted, LastEvent, Started, Stopped
from .generating import Generation, Paused
from .live import LiveRun
from .rows import snapshot_of_row
from .slots import NoPlace, slots
from .starting import Prepared, prepare_stored
from .state import RunState
from .writer import PAUSES, Writer, not_stored, patiently, writer

log = logging.getLogger("openrouter_app.runs")

Result = TypeVar("Result")


class Lost(Exception):
    """The run is not this process's: another one claimed it, or its row says that it has ended."""


class _Waits(Exception):
    """It waits for a person now."""


def launch(prepared: Prepared) -> LiveRun:
    """Start executing in a task of the running loop; answers the run to follow."""
    state = RunState(
        chain=prepared.chain, version=prepared.version, input=prepared.input, about=prepared.about
    )
    for event in prepared.said:
        state.apply(event)
    live = LiveRun(prepared.run, prepared.pk, state, prepared.origin, prepared.seq)
    registry.register(live)
    mirrors.hand_over(live.run)
    live.queued_fence = prepared.fence
    writer().watch(live)
    # In a context of its own: that of a request may hold a thread that has ended when the run still goes on.
    own = _own(live, prepared, get_language())
    live.task = asyncio.get_running_loop().create_task(
        own, name=f"openrouter run {prepared.run}", context=Context()
    )
    return live


async def _own(live: LiveRun, prepared: Prepared, language: str | None) -> None:
    """The run's whole life, so that every way out of it ends in one last event, or in another's hands."""
    if language is not None:
        activate(language)
    owner, outcome = writer(), Outcome(begun=timezone.now(), earlier=prepared.spent)
    live.calls = outcome.calls
    begun, may_wait = time.monotonic(), False
    try:
        try:
            last = await _in_turn(live, prepared, outcome, owner)
        except asyncio.CancelledError:
            last = Interrupted("provider", _("The server was restarted in mid-answer. Try again."), True)
        except Paused as paused:
            may_wait = True
            await _to_its_end(_reckon(live, outcome, prepared))
            last = await _to_its_end(_pause(live, outcome, owner, paused))
        except (Lost, *LOST_DATABASE):
            raise
        except Exception:
            log.exception("run %s failed on this side", live.run)
            last = Failed("provider", _("Something went wrong on this site. Try again later."), True)
        await _to_its_end(_reckon(live, outcome, prepared))
        last = await _to_its_end(_commit_end(live, outcome, last, owner))
        live.confirm(float("inf"))
        if outcome.is_lost:
            await _show_row(live)  # which has less than was shown
        if not live.is_final:
            live.emit(last)
        reports.ended(live, outcome, last, time.monotonic() - begun)
    except _Waits:
        pass
    except Lost:
        await _to_its_end(paying.settle_gone(live, outcome))
    except LOST_DATABASE:
        log.exception("run %s was left: the database is away", live.run)
    finally:
        registry.unregister(live)
        owner.forget(live)
        if not live.is_final:
            live.move()
        watching.changed(prepared.about["conversation"])
    if may_wait:
        await take_up(live.run)  # somebody may have decided while it still seemed to be executed here


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
    key = paying.Key()
    try:
        async with slots().place():
            await relay.join()
            if not await _claim(live, owner):
                raise Lost
            if not prepared.loop:
                live.emit(Started(prepared.chain, prepared.version))
            reports.started(live)
            acting = Acting(live, prepared, owner) if acts(prepared.body) else None
            said = partial(_until_all_is_said, live, owner)
            key = await paying.key_for(prepared, live)
            return await Generation(live, prepared, outcome, acting, said, key).run()
    except NoPlace:
        return Failed("busy", _("Too many answers are being written at the moment. Try again later."), True)
    except OpenRouterError as error:
        outcome.detail = error.detail or error.message
        log.info("run %s: %s: %s", live.run, type(error).__name__, outcome.detail)
        if outcome.calls:
            outcome.calls[-1].end(error.message)
        if (last := _verdict(error, has_content=outcome.first_token is not None)) is None:
            last = await paying.failed(error, prepared, key)
        return last


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


def _verdict(error: OpenRouterError, *, has_content: bool) -> Failed | Interrupted | None:
    """``interrupted`` when the answer merely broke off; None where somebody said no."""
    if isinstance(error, ConfigurationError) and not isinstance(error, MissingKeyError):
        # What is wrong with the settings is for staff, in the log and on the run's admin page.
        return Failed(error.code, _("This site is not set up correctly to reach its models."), False)
    if isinstance(error, BrokenStreamError) and has_content:
        return Interrupted(error.code, spoken(error.message), error.retryable)
    return None


async def _reckon(live: LiveRun, outcome: Outcome, prepared: Prepared) -> None:
    """Say what the run has cost where its answers did not: an estimate, as far as prices are known."""
    for each in outcome.calls:
        each.end()
    await paying.estimate(live, outcome)
    totals, call = outcome.totals, outcome.call
    if call is not None and totals.cost is not None and not totals.is_told(live.state.usage):
        assert outcome.begun is not None  # noqa: S101 - set where the run is begun
        ms = prepared.spent_ms + round((timezone.now() - outcome.begun).total_seconds() * 1000)
        live.emit(totals.event(model=call.model or call.requested, provider=call.provider, ms=ms))


async def take_up(run: UUID) -> None:
    """Go on with a run that was decided on, in a task of its own, unless somebody else does.

    A process that leaves does not: whoever looks for such runs next does.
    """
    if is_draining() or registry.executing(run) is not None:
        return
    try:
        prepared = await again_in_database_thread(prepare_stored)(run)
        if prepared is not None and registry.executing(run) is None and not is_draining():
            launch(prepared)
    except Exception:
        log.exception("run %s could not be taken up again", run)  # it is looked for again and again


async def _pause(live: LiveRun, outcome: Outcome, owner: Writer, paused: Paused) -> LastEvent:
    """Put the run down until somebody decides. Raises `_Waits` or `Lost`; answers its end if it has one."""
    try:
        await _put_down(live, outcome, owner, paused)
    except (Lost, _Waits, *LOST_DATABASE):
        raise
    except Exception:
        log.exception("run %s cannot wait: what it goes on from could not be stored", live.run)
        return Failed("provider", not_stored(), True)
    return Stopped(live.stopped_by or "user")


async def _put_down(live: LiveRun, outcome: Outcome, owner: Writer, paused: Paused) -> None:
    """Commit that the run waits. Raises `_Waits` or `Lost`; returns if it is to be stopped."""
    await _until_all_is_said(live, owner)
    if live.stopped_by is not None:
        return
    live.is_ending = True  # the writer leaves its log alone now
    await owner.until_flushed()
    calls = paused.calls
    batch = live.take()
    plan = pausing.pause_of(live, batch, outcome, paused.state, calls)
    status = await patiently(live, partial(owner.call, pausing.pause, plan))
    if not status:
        raise Lost
    if status == Run.Status.RUNNING:
        if batch is not None:
            live.give_back(batch)
        live.is_ending = False
        live.stop("user")
        return
    live.confirm(float("inf"))
    for event in plan.news:
        live.emit(event)
    raise _Waits


async def _to_its_end(commit: Coroutine[Any, Any, Result]) -> Result:
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
    try:
        await patiently(live, partial(_write_end, live, outcome, last, owner))
    except (Lost, *LOST_DATABASE):
        raise
    except Exception:
        log.exception("the end of run %s could not be written", live.run)
        last = Failed("provider", not_stored(), True)
        await _write_end(live, Outcome(), last, owner, parts=[])
        outcome.is_lost = True
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
    if not await owner.call(leases.end, live.pk, fence, before, fields, list(outcome.calls)):
        raise Lost
