"""The ledger's sums, in a number of queries that does not depend on how many charges there are."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import msgspec
from django.contrib.auth import get_user_model
from django.db.models import Count, F, Q, QuerySet, Sum
from django.utils.translation import gettext as _

from ..models import Budget, Charge

PAYERS = {"site": Budget.Scope.SITE, "user": Budget.Scope.OWN}
"""Who paid, as the filter calls it, and the pot that counts it."""
ZERO = Decimal(0)
PLACES = Decimal("1e-10")


class Filters(msgspec.Struct, frozen=True):
    """What is summed up: days ``first`` to ``last``, both included; empty texts and None are no filter."""

    first: date
    last: date
    chain: str = ""
    model: str = ""
    user: str = ""
    """The user's name at sign-in."""
    payer: str = ""
    """``site``, ``user`` or empty."""


class Group(msgspec.Struct, frozen=True):
    """One line: what it is of, how many runs, and US dollars."""

    key: Any
    name: str
    runs: int
    site: Decimal
    own: Decimal
    is_estimated: bool
    """Whether some of it is not known for certain yet."""

    @property
    def total(self) -> Decimal:
        """The site's and the users' together."""
        return self.site + self.own


class Report(msgspec.Struct, frozen=True):
    """The sums. ``days`` are in order of time, the others begin with the dearest."""

    filters: Filters
    total: Group
    reserved: Decimal
    """What answers that are being written may cost at most."""
    days: list[Group]
    chains: list[Group]
    models: list[Group]
    users: list[Group]


def charges(filters: Filters) -> QuerySet[Charge]:
    """The charges that are meant, each run's once a day."""
    scopes = [PAYERS[filters.payer]] if filters.payer in PAYERS else list(PAYERS.values())
    found = Charge.objects.filter(
        period__budget__scope__in=scopes,
        period__budget__period=Budget.Period.DAY,
        period__starts__range=(filters.first, filters.last),
    ).order_by()
    if filters.chain:
        found = found.filter(chain_slug=filters.chain)
    if filters.model:
        found = found.filter(model=filters.model)
    if filters.user:
        found = found.filter(**{f"user__{get_user_model().USERNAME_FIELD}": filters.user})
    return found


def report(filters: Filters) -> Report:
    """Sum up, in five queries."""
    found = charges(filters)
    days = sorted(_groups(found, "period__starts"), key=lambda group: group.key)
    models = _groups(found, "model", unnamed=_("unknown"))
    name = f"user__{get_user_model().USERNAME_FIELD}"
    users = _groups(found, "user_id", name, unnamed=_("visitors, the system, deleted users"))
    reserved = found.aggregate(sum=Sum("reserved"))["sum"]
    return Report(
        filters,
        total=_total(days),
        reserved=_exact(reserved),
        days=days,
        chains=_dearest_first(_groups(found, "chain_slug")),
        models=_dearest_first(models),
        users=_dearest_first(users),
    )


def _groups(found: QuerySet[Charge], field: str, name: str = "", *, unnamed: str = "") -> list[Group]:
    rows = (
        found.values(group=F(field), named=F(name or field))
        .annotate(
            runs=Count("pk"),
            site=Sum("settled", filter=Q(period__budget__scope=Budget.Scope.SITE)),
            own=Sum("settled", filter=Q(period__budget__scope=Budget.Scope.OWN)),
            estimates=Count("pk", filter=Q(estimated=True)),
        )
        .values_list("group", "named", "runs", "site", "own", "estimates")
    )
    return [
        Group(key, str(named or unnamed), runs, _exact(site), _exact(own), bool(estimates))
        for key, named, runs, site, own, estimates in rows
    ]


def _exact(sum: Decimal | None) -> Decimal:
    """SQLite adds up floats; their error is far behind the last of the places that are stored."""
    return ZERO if sum is None else sum.quantize(PLACES)


def _dearest_first(groups: list[Group]) -> list[Group]:
    return sorted(groups, key=lambda group: (-group.total, group.name))


def _total(groups: list[Group]) -> Group:
    return Group(
        None,
        "",
        sum(group.runs for group in groups),
        sum((group.site for group in groups), ZERO),
        sum((group.own for group in groups), ZERO),
        any(group.is_estimated for group in groups),
    )
