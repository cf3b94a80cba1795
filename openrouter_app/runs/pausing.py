"""Runs that wait for a person: how they are put down, decided on, and taken up again.

A run that waits is a row and its log: no process has it, and it holds no lease, no place and no
deadline. A decision makes it ``queued`` under a new fence; whoever claims it then goes on from the
stored state of its loop. Synchronous, each in one short transaction.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext as _

from ..conf import get_settings
from ..engine.loops import LoopState
from ..engine.messages import ToolCall as EngineCall
from ..models import Owner, Run, RunEvent, ToolCall
from ..models.fields import storable
from ..models.tool_calls import arguments_hash
from ..models.tools import Approval
from ..refusals import Refused, gone
from . import leases
from .acting import approval_now, arguments_text, stricter
from .costs import Called
from .endings import Outcome, fields_of_usage
from .events import Event, ToolApproval, Waiting
from .leases import database_time
from .live import Batch, LiveRun
from .log import encode
from .reaping import unlocked

MAX_REASON = 1_000
"""Characters of a reason that are kept."""


class Pause(msgspec.Struct, frozen=True):
    """What is stored of a run that waits."""

    pk: int
    fence: int
    after: int
    unlogged: list[Event]
    news: list[Event]
    calls: list[tuple[EngineCall, str]]
    expires: Any
    fields: dict[str, Any]
    private: dict[str, Any]
    called: list[Called] = []
    """Its model calls."""

    @property
    def seq(self) -> int:
        """The last event's."""
        return self.fields["last_seq"]  # type: ignore[no-any-return]


def pause_of(
    live: LiveRun,
    batch: Batch | None,
    outcome: Outcome,
    state: LoopState,
    calls: list[tuple[EngineCall, str]],
) -> Pause:
    """What has to be written so that the run can wait."""
    expires = timezone.now() + timedelta(seconds=get_settings().APPROVAL_TIMEOUT)
    news: list[Event] = [
        ToolApproval(call.id, expires.isoformat(timespec="seconds"), approval)
        for call, approval in calls
        if not live.state.is_waiting_for(call.id)
    ]
    news.append(Waiting())
    assert live.fence is not None  # noqa: S101 - what speaks was claimed
    return Pause(
        pk=live.pk,
        fence=live.fence,
        after=batch.after if batch is not None else live.seq,
        unlogged=batch.events if batch is not None else [],
        news=news,
        calls=calls,
        expires=expires,
        fields={**fields_of_usage(live.state, outcome), "last_seq": live.seq + len(news)},
        private={"loop": state.dump(), "ms": live.state.usage["ms"] if live.state.usage else 0},
        called=list(outcome.calls),
    )


def pause(plan: Pause) -> str:
    """Put the run down. Answers its status now: ``waiting``; ``queued`` where somebody decided meanwhile;
    ``running`` where it is to be stopped instead; "" where it is somebody else's.
    """
    with transaction.atomic():
        mine = Run.objects.filter(pk=plan.pk, fence=plan.fence, status=Run.Status.RUNNING)
        row = mine.select_for_update().only("stop_requested_at").first()
        if row is None:
            return ""
        if row.stop_requested_at is not None:
            return Run.Status.RUNNING
        known = dict(ToolCall.objects.filter(run_id=plan.pk).values_list("call", "status"))
        ToolCall.objects.bulk_create(
            ToolCall(
                run_id=plan.pk,
                call=call.id,
                name=call.name,
                arguments=arguments_text(call),
                hash=arguments_hash(call.name, arguments_text(call)),
                status=ToolCall.Status.WAITING,
                approval=approval,
                approval_expires=plan.expires,
            )
            for call, approval in plan.calls
            if call.id not in known
        )
        # A flush whose answer was lost may have written some of it.
        RunEvent.objects.filter(run_id=plan.pk, after__gte=plan.after).delete()
        RunEvent.objects.create(
            run_id=plan.pk, after=plan.after, seq=plan.seq, events=encode([*plan.unlogged, *plan.news])
        )
        mine.update(
            status=Run.Status.WAITING,
            lease_until=None,
            deadline=None,
            owner_process="",
            private=plan.private,
            **plan.fields,
        )
        leases.settle(plan.pk, plan.called, final=False)
        if any(
            known.get(call.id) in (ToolCall.Status.APPROVED, ToolCall.Status.DENIED)
            for call, _by in plan.calls
        ):
            _wake(plan.pk)
            return Run.Status.QUEUED
        return Run.Status.WAITING


def decide(
    owner: Owner, run: UUID, call: str, *, approve: bool, reason: str = "", staff: int | None = None
) -> bool:
    """Note a decision; whether the run is to be taken up now. The same again may find that nobody has.

    ``staff`` is the primary key of a member of the staff who decides in the admin. Raises `Refused`:
    ``not_found``, ``decided``, ``expired``, ``forbidden``.
    """
    with transaction.atomic():
        mine = Run.objects.all() if owner.is_system else Run.objects.for_owner(owner)
        row = mine.select_for_update(of=("self",)).select_related("chain", "user").filter(uuid=run).first()
        if row is None:
            raise gone()
        found = ToolCall.objects.select_for_update().filter(run=row, call=call).first()
        if found is None or found.approval == Approval.NONE:
            raise gone_call()
        if found.status != ToolCall.Status.WAITING or row.is_final:
            if found.decided_at is not None and (found.status != ToolCall.Status.DENIED) == approve:
                # Said again, perhaps because whoever took it the first time is gone.
                return row.status == Run.Status.QUEUED
            raise Refused("decided", _("This call has been decided already."))
        if found.approval_expires is not None and found.approval_expires <= timezone.now():
            raise Refused("expired", _("The time to decide about this call is over."))
        needed = stricter(found.approval, approval_now(found.name)) if approve else found.approval
        if staff is None and needed == Approval.STAFF and not owner.is_system:
            raise Refused("forbidden", _("Somebody of the staff has to decide about this call."))
        is_owners = row.user is not None or row.visitor is not None
        if approve and not (row.chain.may_be_run_by(row.user) if is_owners else row.chain.enabled):
            raise Refused("forbidden", _("You may not run this chain any more; the call can only be denied."))
        _settle(found, approve=approve, reason=reason, by=owner.user_id if staff is None else staff)
        return row.status == Run.Status.WAITING and _wake(row.pk)


def decide_as_staff(user: Any, key: UUID, *, approve: bool, reason: str = "") -> UUID | None:
    """Note the decision of a member of the staff; the run, where it is to be taken up now."""
    if not (user.is_active and user.is_staff and user.has_perm("openrouter_app.decide_toolcall")):
        raise Refused("forbidden", _("You may not decide about tool calls."))
    found = ToolCall.objects.filter(uuid=key).values_list("run__uuid", "call").first()
    if found is None:
        raise gone_call()
    run, call = found
    return run if decide(Owner.system(), run, call, approve=approve, reason=reason, staff=user.pk) else None


def gone_call() -> Refused:
    """What is told of a call that is not there, or that nobody has to decide on."""
    return Refused("not_found", _("No tool call of this run waits for a decision."))


def _settle(call: ToolCall, *, approve: bool, reason: str, by: int | None) -> None:
    call.status = ToolCall.Status.APPROVED if approve else ToolCall.Status.DENIED
    call.reason = storable(reason[:MAX_REASON])
    call.decided_by_id = by
    call.decided_at = timezone.now()
    call.save(update_fields=["status", "reason", "decided_by", "decided_at"])


def _wake(pk: int) -> bool:
    settings = get_settings()
    waiting = Run.objects.filter(pk=pk, status=Run.Status.WAITING)
    return bool(
        waiting.update(
            status=Run.Status.QUEUED,
            fence=F("fence") + 1,
            deadline=database_time(settings.QUEUE_TIMEOUT + settings.LEASE),
        )
    )


def expire() -> list[UUID]:
    """Deny what nobody decided on in time; answers the runs that can go on now."""
    late = ToolCall.objects.filter(status=ToolCall.Status.WAITING, approval_expires__lt=Now())
    woken = []
    for pk, run in late.order_by().values_list("run_id", "run__uuid").distinct()[:100]:
        with transaction.atomic():
            row = unlocked().only("status").filter(pk=pk).first()
            if row is None:
                continue
            for call in late.filter(run_id=pk).select_for_update():
                _settle(call, approve=False, reason=_("Nobody decided in time."), by=None)
            if row.status == Run.Status.WAITING and _wake(pk):
                woken.append(run)
    return woken


def woken() -> list[UUID]:
    """Runs that were decided on and that nobody has taken up yet."""
    queued = Run.objects.filter(status=Run.Status.QUEUED, fence__gt=0).order_by("pk")
    return list(queued.values_list("uuid", flat=True)[:100])
