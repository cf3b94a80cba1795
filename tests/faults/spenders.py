"""A process full of threads that spend: ``python -m tests.faults.spenders '{"do": "churn", ...}'``.

It works on the database of its environment, below the faces, as fast as it can; what it says is one line of
JSON. ``seed`` makes the pots, ``race`` lets as many runs in at once as there are threads, ``hurry`` does so
for one user, ``delete`` has a run settled in the moment in which it is deleted, ``churn`` lets runs in,
goes on with them and ends them in random order, leaving some as a process leaves them that was killed;
``reap`` ends those, half of them without settling; ``state`` says what the ledger has.
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from io import StringIO
from typing import Any
from uuid import uuid4

import django

if __name__ == "__main__":
    django.setup()

from django.conf import settings
from django.contrib.admin import site
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.core.management import call_command
from django.db import connections, transaction
from django.test import override_settings
from django.utils import timezone

from openrouter_app import limits
from openrouter_app.engine.secret import Secret
from openrouter_app.limits import a_minute, ledger
from openrouter_app.limits.pots import periods_now
from openrouter_app.models import Budget, BudgetPeriod, Chain, Charge, Conversation, Owner, Run, UserKey
from openrouter_app.refusals import Refused
from openrouter_app.runs.conversing import NEW
from openrouter_app.runs.leases import claim, end
from openrouter_app.runs.starting import Prepared, Start, prepare
from tests.factories import make_chain, make_user
from tests.pots import USD, WORST, ask_of, let_in, make_pot, make_prices

MODEL = "spend/model"
CHAINS, USERS = 3, 6
SHARE = Decimal("0.7")
"""Of its worst case, what an answer costs at most."""


def seed(pots: dict[str, str | None], payer: str = "site") -> None:
    """Chains and users, and pots with these limits, by scope and period: ``"user month"``."""
    make_prices(MODEL)
    group = Group.objects.create(name="spenders")
    chains = [make_chain(f"spend-{number}", model=MODEL, payer=payer) for number in range(CHAINS)]
    users = [make_user(f"spender-{number}") for number in range(USERS)]
    for user in users[: USERS // 2]:
        UserKey.objects.create(user=user, ciphertext=Secret("sk-or-v1-spender"), key_hash="0" * 64)
    users[0].groups.add(group)
    users[1].groups.add(group)
    targets: dict[str, list[dict[str, Any]]] = {
        "chain": [{"chain": chain} for chain in chains],
        "user": [{"user": users[0]}],
        "group": [{"group": group}],
    }
    for name, limit in pots.items():
        scope, period = name.split()
        for target in targets.get(scope, [{}]):
            make_pot(scope, limit, period, **target)


def race(threads: int, model: str = MODEL) -> dict[str, int]:
    """So many at once; what each was told. Each takes its time between reading what is left and taking it:
    threads of one process would hardly meet there by themselves.
    """
    left_in = ledger.left_in

    def dawdling(period: BudgetPeriod) -> Decimal | None:
        time.sleep(0.02)
        return left_in(period)

    ledger.left_in = dawdling
    # Whoever makes the periods of a day holds the others off: here they are there, as they mostly are.
    periods_now(Budget.objects.filter(scope="site"), None)
    chains, users = _chains(), _users()
    asked = [(chains[number % CHAINS], [None, *users][number % (USERS + 1)]) for number in range(threads)]
    asks = [ask_of(chain, user, model=model) for chain, user in asked]
    return _at_once([lambda ask=ask: let_in(ask) for ask in asks])


def hurry(threads: int, **counted: int) -> dict[str, int]:
    """So many starts of one user at once, where nothing but these settings holds them up."""
    wait, chain, user = a_minute._wait, _chains()[0], _users()[0]

    def dawdling(hits: Any, most: int) -> int:
        seconds = wait(hits, most)
        time.sleep(0.1)
        return seconds

    a_minute._wait = dawdling
    none = dict.fromkeys(("MAX_RUNS_PER_USER", "MAX_RUNS_PER_CHAIN", "MAX_STARTS_PER_USER"), 0)
    with override_settings(OPENROUTER={**settings.OPENROUTER, **none, **counted}):
        return _at_once([lambda: let_in(ask_of(chain, user)) for _ in range(threads)])


def churn(threads: int, rounds: int, seed: int) -> dict[str, int]:
    """So many threads, each with one run after another."""
    chains, users = _chains(), _users()

    def spend(number: int) -> str:
        draw = random.Random(f"{seed} {number}")
        told: Counter[str] = Counter()
        for _ in range(rounds):
            told[_one(draw.choice(chains), draw.choice(users), draw)] += 1
        return json.dumps(told)

    said = _at_once([lambda number=number: spend(number) for number in range(threads)])
    told: Counter[str] = Counter()
    for text, times in said.items():
        for word, count in (json.loads(text) if text.startswith("{") else {text: 1}).items():
            told[word] += count * times
    return dict(told)


def _one(chain: Chain, user: Any, draw: random.Random) -> str:
    """One run as the app makes it, from its start to its end or its death; in a word."""
    owner = Owner.of_user(user)
    mine = list(Conversation.objects.for_owner(owner).filter(chain=chain).values_list("uuid", flat=True)[:3])
    place = draw.choice([None, NEW, *mine])
    start = Start(owner, chain=chain.slug, input={"text": "x" * 1_900}, conversation=place)
    try:
        made = prepare(start, uuid4(), "spender")
        assert isinstance(made, Prepared)
        fence = claim(made.run, "spender", fence=made.fence, lease=600, total=600)
    except Refused as refused:
        return refused.code
    assert fence is not None
    cost = Decimal(0)
    for _ in range(draw.randrange(3)):
        cost += _cost(draw)
        ask = ask_of(chain, user, run=made.run, model=MODEL)
        try:
            limits.reserve_more(ask, made.payer, cost=cost)
        except Refused:
            _end(made, fence, cost, "failed", draw)
            return "failed"
    if draw.random() < 0.2:
        return "died"
    cost += _cost(draw)
    _end(made, fence, cost, "done", draw)
    if draw.random() < 0.3:  # what it has cost exactly comes later, and is less
        exact = cost * USD("0.5")
        with transaction.atomic():
            Run.objects.filter(uuid=made.run).update(cost=exact)
            limits.settle(made.run, exact)
    return made.payer


def delete(what: str) -> dict[str, int]:
    """A run goes with its user or its conversation, is pruned, or is deleted in the admin, while somebody
    settles it who has its row already.
    """
    user, chain = _users()[0], _chains()[0]
    made = prepare(Start(Owner.of_user(user), chain=chain.slug, input={"text": "x"}), uuid4(), "spender")
    assert isinstance(made, Prepared)
    conversation = Conversation.objects.create(user=user, chain=chain)
    if what == "conversation":
        Run.objects.update(conversation=conversation)
    elif what == "old run":
        Run.objects.update(status="done", ended=timezone.now(), lease_until=None)
    has_row = threading.Event()

    def settle_slowly() -> str:
        with transaction.atomic():
            list(Run.objects.select_for_update().filter(pk=made.pk))
            has_row.set()
            time.sleep(1)  # meanwhile the other one takes all that it can
            limits.settle(made.run, WORST)
        return "settled"

    def go() -> str:
        assert has_row.wait(10)
        if what == "old run":
            call_command("openrouter_prune", days=0, stdout=StringIO())
        elif what == "run":
            site.get_model_admin(Run).delete_model(None, Run.objects.get(pk=made.pk))
        else:
            (user if what == "user" else conversation).delete()
        return "deleted"

    return _at_once([settle_slowly, go])


def _cost(draw: random.Random) -> Decimal:
    return (WORST * SHARE * draw.randrange(1, 100) / 100).quantize(USD("1e-10"))


def _end(made: Prepared, fence: int, cost: Decimal, status: str, draw: random.Random) -> None:
    fields = {"status": status, "ended": timezone.now(), "cost": cost, "model": MODEL, "parts": []}
    end(made.pk, fence, "running", {**fields, "cost_estimated": draw.random() < 0.5})


def reap() -> int:
    """End what was left running: half by the rules, half as if nobody had settled it."""
    left = list(Run.objects.filter(status__in=Run.UNFINISHED).values_list("uuid", flat=True))
    for number, uuid in enumerate(left):
        cost = sum(
            charge.settled or 0
            for charge in Charge.objects.filter(
                run_uuid=uuid, period__budget__scope__in=["site", "own"], period__budget__period="day"
            )
        )
        with transaction.atomic():
            Run.objects.filter(uuid=uuid).update(
                status="interrupted", ended=timezone.now(), lease_until=None, cost=cost
            )
            if number % 2:
                limits.settle(uuid, Decimal(cost))
    while limits.release_orphans():
        pass
    return len(left)


def state() -> dict[str, Any]:
    """What each period has, what its charges add up to, and what the runs have cost."""
    periods = []
    for period in BudgetPeriod.objects.select_related("budget"):
        charges = list(period.charges.all())
        periods.append(
            {
                "pot": str(period.budget),
                "limit": None if period.budget.limit is None else str(period.budget.limit),
                "spent": str(period.spent),
                "reserved": str(period.reserved),
                "settled": str(sum((charge.settled or Decimal(0) for charge in charges), Decimal(0))),
                "set_aside": str(sum((charge.reserved for charge in charges), Decimal(0))),
                "is_ledger": period.budget.scope in ("site", "own") and period.budget.period == "day",
            }
        )
    costs = [cost or Decimal(0) for cost in Run.objects.values_list("cost", flat=True)]
    return {"periods": periods, "cost": str(sum(costs, Decimal(0))), "pots": Budget.objects.count()}


def _chains() -> list[Chain]:
    return list(Chain.objects.filter(slug__startswith="spend-").order_by("slug"))


def _users() -> list[Any]:
    return list(get_user_model().objects.filter(username__startswith="spender-").order_by("username"))


def _at_once(calls: list[Callable[[], str]]) -> dict[str, int]:
    """What each answers or is refused with, or the error that it dies of, and how often."""
    told: Counter[str] = Counter()
    ready = threading.Barrier(len(calls))

    def work(call: Callable[[], str]) -> None:
        try:
            ready.wait()
            told[call()] += 1
        except Refused as refused:
            told[refused.code] += 1
        except Exception as error:
            told[f"{type(error).__name__}: {error}"] += 1
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return dict(told)


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    actions: dict[str, Callable[..., Any]] = {
        "seed": seed,
        "race": race,
        "hurry": hurry,
        "churn": churn,
        "delete": delete,
        "reap": reap,
        "state": state,
    }
    print(json.dumps(actions[given.pop("do")](**given)))
