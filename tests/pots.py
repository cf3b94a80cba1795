"""Budgets for tests: a model with round prices, runs that are let in, and what the ledger says of them."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from django.db import transaction
from django.utils import timezone

from openrouter_app import limits
from openrouter_app.limits import Ask
from openrouter_app.models import Budget, BudgetPeriod, CatalogueModel, Chain, Charge, Owner
from openrouter_app.refusals import Refused
from tests.factories import make_run

USD = Decimal
WORST = USD("0.003")
"""What `ask_of` may cost: a thousand tokens of prompt, a thousand of answer."""


def zone_at_noon() -> str:
    """A time zone in which it is between twelve and one."""
    west = timezone.now().hour - 12  # Etc/GMT+1 is an hour behind Greenwich
    return f"Etc/GMT{west:+d}"


def make_prices(slug: str = "a/b", **fields: Any) -> CatalogueModel:
    """A dollar for a million tokens of prompt, two for a million of answer, a thousand of these at most."""
    given = {
        "prompt_price": USD("0.000001"),
        "completion_price": USD("0.000002"),
        "max_completion_tokens": 1_000,
        "context_length": 100_000,
        "seen_at": timezone.now(),
    }
    return CatalogueModel.objects.create(slug=slug, **{**given, **fields})


def make_pot(scope: str = "site", limit: str | None = None, period: str = "day", **fields: Any) -> Budget:
    return Budget.objects.create(
        scope=scope, period=period, limit=None if limit is None else USD(limit), **fields
    )


def ask_of(chain: Chain, user: Any = None, **fields: Any) -> Ask:
    """What a user asks, or a new visitor."""
    owner = Owner.of_user(user) if user is not None else Owner.of_visitor(uuid4())
    asked = {"run": uuid4(), "owner": owner, "user": user, "chain": chain, "model": "a/b"}
    return Ask(**{"prompt_bytes": 1_000, **asked, **fields})


def let_in(ask: Ask, status: str = "running", **fields: Any) -> str:
    """Admit it and make its row, as a start does; answers who pays."""
    with transaction.atomic():
        payer = limits.admit(ask)
        owner = {"user_id": ask.owner.user_id, "visitor": ask.owner.visitor}
        make_run(status, chain=ask.chain, uuid=ask.run, payer=payer, **owner, **fields)
    return payer


def refusal_of(ask: Ask) -> Refused:
    """Why it is not let in; nothing is left behind."""
    before = Charge.objects.count(), list(BudgetPeriod.objects.values_list("spent", "reserved"))
    with pytest.raises(Refused) as caught:
        let_in(ask)
    after = Charge.objects.count(), list(BudgetPeriod.objects.values_list("spent", "reserved"))
    assert after == before
    assert caught.value.message.endswith(".")
    return caught.value


def sums(pot: Budget) -> list[tuple[Decimal, Decimal]]:
    """What the pot's periods have spent and reserved, the newest first."""
    return [(period.spent, period.reserved) for period in pot.periods.order_by("-starts", "holder")]


def settled(run: Any, scopes: Iterable[str] = ("site", "own")) -> Decimal:
    """What the ledger has of a run."""
    charges = Charge.objects.filter(
        run_uuid=run, period__budget__scope__in=scopes, period__budget__period="day"
    )
    return sum((charge.settled or USD(0) for charge in charges), USD(0))


def assert_sums_agree() -> None:
    """What each period has spent and reserved is the sum of its charges."""
    for period in BudgetPeriod.objects.all():
        charges = list(period.charges.all())
        assert period.spent == sum(charge.settled or 0 for charge in charges)
        assert period.reserved == sum(charge.reserved for charge in charges)
        assert period.reserved >= 0
