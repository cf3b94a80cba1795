"""Which pots a run is paid from, and the day and month they are in."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, time, timedelta
from typing import Any

from django.db import connections, router
from django.db.models import Q, QuerySet
from django.utils import timezone

from ..models import Budget, BudgetPeriod, Chain, Run

Scope, Length = Budget.Scope, Budget.Period
LEDGER = {Run.Payer.SITE: Scope.SITE, Run.Payer.USER: Scope.OWN}
"""Whose daily pot is there in any case: it holds the charges of all runs that this payer paid."""


def budgets_for(payer: str, chain: Chain, user: Any) -> list[Budget]:
    """The pots of a run, by primary key. The one of the ledger is made where it is not there yet.

    A user who has a pot of his own for a day or a month is not in that for each user of the same length.
    """
    ledger = LEDGER[Run.Payer(payer)]
    wanted = Q(scope=ledger)
    if payer == Run.Payer.SITE:
        wanted |= Q(scope=Scope.CHAIN, chain=chain)
        if user is not None:
            wanted |= Q(scope=Scope.USER, user=user) | Q(scope=Scope.EACH_USER)
            if (groups := getattr(user, "groups", None)) is not None:
                wanted |= Q(scope=Scope.GROUP, group__in=groups.values("pk"))
    found = list(Budget.objects.filter(wanted).order_by("pk"))
    own = {budget.period for budget in found if budget.scope == Scope.USER}
    found = [budget for budget in found if budget.scope != Scope.EACH_USER or budget.period not in own]
    if not any(is_ledger(budget) for budget in found):
        made, _new = Budget.objects.get_or_create(scope=ledger, period=Length.DAY)
        found = sorted([*found, made], key=lambda budget: budget.pk)
    return found


def is_ledger(budget: Budget) -> bool:
    """Whether it holds a charge of every run of its payer."""
    return budget.scope in LEDGER.values() and budget.period == Length.DAY


def periods_now(budgets: Iterable[Budget], user: Any) -> list[int]:
    """The primary keys of the periods that the pots are in; they are made where they are new.

    In the order of the pots: whoever makes some waits for whoever makes the same, and never the other way
    round as well.
    """
    day = today()
    wanted = [
        BudgetPeriod(
            budget=budget,
            starts=starts_of(budget.period, day),
            holder=str(user.pk) if budget.scope == Scope.EACH_USER else "",
        )
        for budget in sorted(budgets, key=lambda budget: budget.pk)
    ]
    found = _found(wanted)
    if missing := [period for period in wanted if _key(period) not in found]:
        BudgetPeriod.objects.bulk_create(missing, ignore_conflicts=True)
        found = _found(wanted)
    return [found[_key(period)] for period in wanted]


def locked(periods: Q) -> list[BudgetPeriod]:
    """These periods with their pots, nobody else's until the transaction ends; always in the same order.

    The one lock of the ledger: whoever changes a charge or a sum holds it. Behind it numbers are read and
    written as they are, which no arithmetic in SQL is: SQLite keeps them as floats.
    """
    features = connections[router.db_for_write(BudgetPeriod)].features
    rows: QuerySet[BudgetPeriod] = BudgetPeriod.objects.select_related("budget").order_by("pk")
    # Not the stronger lock: a charge that is inserted refers to a period, and must not wait for it.
    rows = rows.select_for_update(of=("self",), no_key=features.has_select_for_no_key_update)
    return list(rows.filter(periods))


def today() -> date:
    """The day it is in the site's time zone, whatever that of the reader is."""
    return timezone.localtime(timezone.now(), timezone.get_default_timezone()).date()


def starts_of(length: str, day: date) -> date:
    """The first day of the period that a day is in."""
    return day.replace(day=1) if length == Length.MONTH else day


def resets_at(period: BudgetPeriod) -> datetime:
    """When the pot starts anew, in the site's time zone."""
    following = period.starts + timedelta(days=1)
    if period.budget.period == Length.MONTH:
        following = (period.starts.replace(day=1) + timedelta(days=32)).replace(day=1)
    return datetime.combine(following, time.min, timezone.get_default_timezone())


def _key(period: BudgetPeriod) -> tuple[int, date, str]:
    return period.budget_id, period.starts, period.holder


def _found(wanted: list[BudgetPeriod]) -> dict[tuple[int, date, str], int]:
    rows = BudgetPeriod.objects.filter(
        budget__in={period.budget_id for period in wanted},
        starts__in={period.starts for period in wanted},
        holder__in={period.holder for period in wanted},
    )
    return {
        (budget, starts, holder): pk
        for pk, budget, starts, holder in rows.values_list("pk", "budget", "starts", "holder")
    }
