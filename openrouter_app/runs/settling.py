"""What OpenRouter says afterwards: the exact cost of model calls that were stopped or broke off.

It knows a call only some time after its end, so it is asked again and again, with longer and longer pauses,
until ``SETTLE_TIMEOUT``; then the estimate stands. Of several processes one asks: whoever notes the attempt.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from .. import keys
from ..conf import get_settings
from ..database import LOST_DATABASE, in_database_thread
from ..engine.accounts import get_generation
from ..engine.chunks import MAX_COST
from ..engine.errors import KeyRejectedError, OpenRouterError
from ..engine.secret import Secret
from ..models import ModelCall, Run, UserKey
from ..models.model_calls import UNSETTLED
from . import leases
from .costs import FIRST_ASK, Totals, close_open, money

log = logging.getLogger("openrouter_app.runs")

AT_ONCE = 5
"""Questions under way at a time."""
MOST = 100
"""Calls looked at in one go."""
LONGEST_PAUSE = 3_600.0
"""Seconds between two questions about one call; the first pauses are `FIRST_ASK` and twice as long each."""


class Open(msgspec.Struct, frozen=True):
    """A call whose cost is not known for certain."""

    pk: int
    generation_id: str
    key_hash: str
    attempts: int
    ended: datetime | None


async def settle() -> int:
    """Ask about all calls that are due, once each; answers of how many the cost is known now."""
    places = asyncio.Semaphore(AT_ONCE)

    async def ask(call: Open) -> bool:
        async with places:
            return await _ask(call)

    await in_database_thread(clear_up)()
    return sum(await asyncio.gather(*map(ask, await in_database_thread(due)())))


def clear_up() -> None:
    """Of runs that are gone: end calls whose process went without a word, forget those that nobody is asked
    about any more.
    """
    left = ModelCall.objects.filter(run=None).order_by()
    for run in left.filter(ended=None).values_list("run_uuid", flat=True).distinct()[:MOST]:
        try:
            with transaction.atomic():
                list(left.filter(run_uuid=run).select_for_update())
                leases.charge_gone(run, close_open(run, said=0))
        except LOST_DATABASE:
            raise
        except Exception:  # whatever is odd about it, no other waits for it
            log.exception("the calls of run %s, which is gone, could not be ended", run)
    asked = left.filter(UNSETTLED).values("run_uuid")
    left.exclude(run_uuid__in=asked).delete()


def due() -> list[Open]:
    """The calls to ask about now, those that wait longest first: of runs that have ended, or are gone."""
    is_over = Q(run=None) | Q(run__status__in=Run.FINAL)
    found = ModelCall.objects.filter(is_over, settled_at=None, ask_after__lte=timezone.now())
    names = ("pk", "generation_id", "key_hash", "attempts", "ended")
    return [Open(*values) for values in found.order_by("ask_after").values_list(*names)[:MOST]]


async def _ask(call: Open) -> bool:
    try:
        key = await in_database_thread(_claimed)(call)
        if key is None:
            return False
        said = await get_generation(call.generation_id, key)
        return await in_database_thread(note)(call.pk, said)
    except OpenRouterError as error:
        log.debug("the cost of %s is not known yet: %s", call.generation_id, error.detail or error.message)
        if isinstance(error, KeyRejectedError) and call.key_hash:
            await in_database_thread(_drop)(call.key_hash)
    except Exception:
        log.exception("the cost of %s could not be asked for", call.generation_id)
    return False


def _claimed(call: Open) -> Secret | None:
    """The key to ask with, once it is noted that this process asks; None where another one does, or where
    the key is gone.
    """
    now = timezone.now()
    following: datetime | None = now + timedelta(seconds=_pause(call.attempts))
    too_late = (call.ended or now) + timedelta(seconds=get_settings().SETTLE_TIMEOUT)
    if following is not None and following > too_late:
        following = None  # this was the last time
    mine = ModelCall.objects.filter(pk=call.pk, settled_at=None, attempts=call.attempts)
    if not mine.update(attempts=call.attempts + 1, ask_after=following):
        return None
    if not call.key_hash:
        return Secret(get_settings().API_KEY)
    row = UserKey.objects.filter(key_hash=call.key_hash).first()
    return None if row is None else keys.secret_of(row)


def _drop(key_hash: str) -> None:
    """A key that OpenRouter refuses is nobody's any more."""
    for user in list(UserKey.objects.filter(key_hash=key_hash).values_list("user", flat=True)):
        keys.drop_rejected(user, key_hash)


def _pause(attempts: int) -> float:
    return min(FIRST_ASK * 2.0 ** min(attempts + 1, 20), LONGEST_PAUSE)


def note(pk: int, said: Mapping[str, Any]) -> bool:
    """Write what OpenRouter says of a call into its row, its run's and the ledger, in one transaction. False
    where that is no cost, or was known.
    """
    cost = _dollars(said.get("total_cost"))
    if cost is None:
        return False
    with transaction.atomic():
        uuid = ModelCall.objects.filter(pk=pk).values_list("run_uuid", flat=True).first()
        if uuid is None:
            return False
        # the run's row first, as whoever ends it does; its calls may outlive it
        run = Run.objects.select_for_update(of=("self",)).filter(uuid=uuid).first()
        calls = list(ModelCall.objects.select_for_update().filter(run_uuid=uuid).order_by("number"))
        call = next((call for call in calls if call.pk == pk and call.settled_at is None), None)
        if call is None:
            return False
        call.cost, call.settled_at, call.ask_after = cost, timezone.now(), None
        call.prompt_tokens = _count(said, "native_tokens_prompt", "tokens_prompt", call.prompt_tokens)
        call.completion_tokens = _count(
            said, "native_tokens_completion", "tokens_completion", call.completion_tokens
        )
        call.model = call.model or _word(said.get("model"))
        call.provider = call.provider or _word(said.get("provider_name"))
        call.finish = call.finish or _word(said.get("finish_reason"))
        call.native_finish = call.native_finish or _word(said.get("native_finish_reason"))
        call.save()
        totals = Totals.of(calls)
        if run is None:
            leases.charge_gone(call.run_uuid, totals)
            return True
        run.cost, run.cost_estimated = totals.cost, totals.is_estimated
        run.prompt_tokens, run.completion_tokens = totals.prompt_tokens, totals.completion_tokens
        run.model, run.provider = run.model or call.model, run.provider or call.provider
        run.save(
            update_fields=[
                *("cost", "cost_estimated", "prompt_tokens", "completion_tokens", "model", "provider")
            ]
        )
        leases.settle(run.pk, final=True)
    return True


def _dollars(value: Any) -> Decimal | None:
    """A cost as JSON has it; None for what is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str, Decimal)):
        return None
    try:
        cost = Decimal(str(value))
    except InvalidOperation:
        return None
    return money(cost) if cost.is_finite() and 0 <= cost < MAX_COST else None


def _count(said: Mapping[str, Any], name: str, other: str, otherwise: int | None) -> int | None:
    for value in (said.get(name), said.get(other)):
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53:
            return value
    return otherwise


def _word(value: Any) -> str:
    return value[:100] if isinstance(value, str) else ""
