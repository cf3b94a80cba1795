"""The ledger: what runs may cost is reserved, what they have cost is settled.

A run has a charge in every pot it is paid from, for a day's or month's period each. In the pot of the
ledger (the site's of a day, or that of what users pay themselves) its charges add up to what it has cost;
what a period has spent and reserved is the sum of its charges. Whatever changes any of that does so in one
transaction, behind the locks of `pots.locked`.

What was reserved is given back when a run ends; but while OpenRouter is asked what a stopped answer has cost,
what it was not charged stays reserved: else a limit could be passed by stopping answers.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable
from decimal import ROUND_HALF_EVEN, Decimal
from functools import partial
from typing import Any
from uuid import UUID

import msgspec
from django.db import transaction
from django.db.models import Exists, OuterRef, Q

from ..database import LOST_DATABASE
from ..models import Budget, BudgetPeriod, Chain, Charge, ModelCall, Run
from ..models.model_calls import UNSETTLED
from .pots import budgets_for, is_ledger, locked, periods_now
from .worst_case import SMALLEST, Ask, worst_case

log = logging.getLogger("openrouter_app.limits")

NOTHING = Decimal(0)
WRITTEN = ("reserved", "settled", "estimated", "model")
MOST_ORPHANS = 100
"""Runs that one look answers."""
PATIENT_QUESTIONS = 8
"""Questions about a call's cost, a quarter of an hour's, for which its reservation is kept. OpenRouter knows
nearly every call after seconds; what it does not know then, as what was stopped before it began, it hardly
ever charges, and a limit must not be blocked for a day by that.
"""


class Short(msgspec.Struct, frozen=True):
    """There is not enough left in ``period``; ``worst`` is what it would have taken, None: nobody knows."""

    period: BudgetPeriod
    worst: Decimal | None


def left_in(period: BudgetPeriod) -> Decimal | None:
    """What nobody has spent or reserved, in US dollars; None: there is no limit."""
    limit = limit_of(period.budget)
    return None if limit is None else max(limit - period.spent - period.reserved, NOTHING)


def limit_of(budget: Budget) -> Decimal | None:
    """What may be spent in a period; None: it only counts, as what users pay themselves always does."""
    return None if budget.scope == Budget.Scope.OWN else budget.limit


def reserve(ask: Ask, payer: str) -> Short | None:
    """Reserve the worst case in all pots of a new run, or in none: then answers where it is short. In the
    caller's transaction.

    Where no pot has a limit nothing is reserved. Where one has, but nobody knows what the answer may cost,
    it is all that is left there: one such run at a time. What costs nothing always fits.
    """
    budgets = budgets_for(payer, ask.chain, ask.user)
    return _reserve(ask, budgets, periods_now(budgets, ask.user))


def _reserve(ask: Ask, budgets: Iterable[Budget], pks: list[int], *, is_new: bool = True) -> Short | None:
    """In these periods of these pots; where the run is not new, it may be in some of them already."""
    limited = any(limit_of(budget) is not None for budget in budgets)
    worst = worst_case(ask) if limited else NOTHING
    amount = NOTHING
    if limited:
        periods = locked(Q(pk__in=pks))
        rooms = {period.pk: room for period in periods if (room := left_in(period)) is not None}
        amount = min(rooms.values(), default=NOTHING) if worst is None else worst
        for period in periods:
            room = rooms.get(period.pk)
            if room is not None and (room < amount or (worst is None and not room)):
                return Short(period, worst)
        if amount:
            for period in periods:
                period.reserved += amount
            _save(periods)
    if not is_new:
        known = Charge.objects.filter(run_uuid=ask.run, period__in=pks)
        there = set(known.values_list("period", flat=True))
        known.update(model=ask.model, reserved=amount)
        pks = [pk for pk in pks if pk not in there]
    _open(ask.run, pks, ask.chain, ask.user, model=ask.model, reserved=amount)
    return None


def _open(run: UUID, periods: list[int], chain: Chain, user: Any, **fields: Any) -> None:
    """Charges of a run, in periods where it has none."""
    Charge.objects.bulk_create(
        Charge(period_id=pk, run_uuid=run, user=user, chain_slug=chain.slug, **fields) for pk in periods
    )


def _save(periods: list[BudgetPeriod]) -> None:
    """Write their sums; the common case of one pot without what several cost."""
    if len(periods) == 1:
        periods[0].save(update_fields=["spent", "reserved"])
    else:
        BudgetPeriod.objects.bulk_update(periods, ["spent", "reserved"])


def reserve_anew(ask: Ask, payer: str, cost: Decimal | None) -> Short | None:
    """For a further call of a model: settle ``cost``, what the run has cost so far (None: as it is known),
    give back what it had reserved, and reserve in the periods of now. In the caller's transaction.
    """
    charged = Charge.objects.filter(run_uuid=ask.run)
    earlier = Budget.objects.filter(pk__in=charged.values("period__budget"))  # the run stays in them
    budgets = {budget.pk: budget for budget in (*earlier, *budgets_for(payer, ask.chain, ask.user))}
    now = periods_now(budgets.values(), ask.user)
    locked(Q(pk__in=now) | Q(pk__in=charged.values("period")))  # all at once, in their order
    _settle(ask.run, cost)
    return _reserve(ask, budgets.values(), now, is_new=False)


def settle(
    run: UUID,
    cost: Decimal,
    *,
    model: str = "",
    estimated: bool = False,
    final: bool = True,
    hold: bool = False,
) -> None:
    """Note what a run has cost so far, in US dollars and in all, and give back what it had reserved. With
    ``hold`` only what is charged now: the rest stays reserved until this is called without.

    May be called in a transaction, and again: the same changes nothing. A run without charges, as one that
    was made before there was a ledger, gets them here if it cost something. Not ``final``: it waits, and
    `reserve_more` is called before it goes on.
    """
    with transaction.atomic():
        note = partial(_settle, run, cost, model=model, estimated=estimated, hold=hold, link=final)
        if not note() and cost and _open_late(run):
            note()


def is_unsettled(run: UUID) -> bool:
    """Whether OpenRouter is still asked about a call of a run, and may soon say what it has cost."""
    return ModelCall.objects.filter(_ASKED_ABOUT, run_uuid=run).exists()


_ASKED_ABOUT = UNSETTLED & Q(attempts__lt=PATIENT_QUESTIONS)


def _settle(
    run: UUID,
    cost: Decimal | None,
    *,
    model: str = "",
    estimated: bool = False,
    hold: bool = False,
    link: bool = False,
) -> bool:
    """Bring the charges of a run to ``cost``: what is new is charged to the newest of each pot, what was too
    much is taken from the newest first. ``link`` names the run's row in them. False: there are none.
    """
    of_run = Charge.objects.filter(run_uuid=run)
    periods = {period.pk: period for period in locked(Q(pk__in=of_run.values("period")))}
    charges = list(of_run.filter(period__in=periods).order_by("-period__starts", "-pk"))
    if not charges:
        return False
    difference = NOTHING
    if cost is not None:
        counted = [charge for charge in charges if is_ledger(periods[charge.period_id].budget)]
        known = sum((charge.settled or NOTHING for charge in counted), NOTHING)
        difference = cost.quantize(SMALLEST, ROUND_HALF_EVEN) - known
    pots: dict[int, list[Charge]] = defaultdict(list)
    for charge in charges:
        pots[periods[charge.period_id].budget_id].append(charge)
    for several in pots.values():
        rest = difference
        for charge in several:
            period = periods[charge.period_id]
            before = charge.settled or NOTHING
            change = max(rest, -before)
            rest -= change
            if cost is not None:
                charge.settled = before + change
                charge.estimated = estimated
            charge.model = model or charge.model
            period.spent += change
            kept = max(charge.reserved - max(change, NOTHING), NOTHING) if hold else NOTHING
            # SQLite keeps fifteen digits: of more than 100,000 dollars the last places are not exact.
            period.reserved = max(period.reserved - (charge.reserved - kept), NOTHING)
            charge.reserved = kept
    alike: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for charge in charges:
        alike[charge.reserved, charge.settled, charge.estimated, charge.model].append(charge.pk)
    row = {"run": Run.objects.filter(uuid=run).values("pk")} if link else {}
    for values, pks in alike.items():
        of_run.filter(pk__in=pks).update(**dict(zip(WRITTEN, values, strict=True)), **row)
    _save(list(periods.values()))
    return True


def _open_late(run: UUID) -> bool:
    row = Run.objects.select_related("chain", "user").filter(uuid=run).first()
    if row is None:
        return False
    pks = periods_now(budgets_for(row.payer, row.chain, row.user), row.user)
    _open(run, pks, row.chain, row.user)
    return True


def orphans() -> list[UUID]:
    """Runs that have ended, or are gone, with a charge that nobody settles."""
    going = Run.objects.filter(uuid=OuterRef("run_uuid"), status__in=Run.UNFINISHED)
    asked = ModelCall.objects.filter(_ASKED_ABOUT, run_uuid=OuterRef("run_uuid"))
    left = Charge.objects.filter(Q(reserved__gt=0) | Q(settled=None), ~Exists(going), ~Exists(asked))
    left = left.order_by()
    return list(left.values_list("run_uuid", flat=True).distinct()[:MOST_ORPHANS])


def release_orphans() -> int:
    """Settle these with what their row says, or with what is known where that is gone; answers how many. One
    that cannot be, whatever is odd about it, keeps no other waiting.
    """
    return sum(map(_released, orphans()))


def _released(run: UUID) -> bool:
    try:
        with transaction.atomic():
            # behind its lock, as whoever notes an exact cost is
            row = Run.objects.select_for_update().filter(uuid=run)
            cost, estimated = row.values_list("cost", "cost_estimated").first() or (None, False)
            _settle(run, cost, estimated=estimated, hold=is_unsettled(run))
            Charge.objects.filter(run_uuid=run, settled=None).update(settled=NOTHING)
    except LOST_DATABASE:
        raise
    except Exception:
        log.exception("what run %s had reserved could not be given back", run)
        return False
    return True
