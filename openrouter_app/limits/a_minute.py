"""How often a minute: runs an owner starts, starts of a chain, and questions about a user's key.

What is counted are `Hit` rows, not what came of it: whoever deletes his conversation may not ask sooner.
"""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

from django.db import connections, router, transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from ..conf import get_settings
from ..models import Chain, Hit, Owner
from ..refusals import Refused
from .at_once import hold_off

WINDOW = timedelta(minutes=1)
MOST_KEY_CHECKS = 5
"""A minute, for one user. Who has mistyped his key tries again; who has found a thousand is not told here
which of them are good."""
IN_PASSING = 100
"""Rows deleted beside one that is made: more than come to one, so that they get fewer."""
AT_A_TIME = 500
"""Rows deleted in one go by who looks after everybody's."""


def count_start(owner: Owner, chain: Chain) -> None:
    """Count one more start. Raise `Refused` (``limit``, with the seconds until there is room) where there
    were too many.

    In the transaction that makes the run, after `at_once.check_limits`: its locks hold off who counts the
    same. What is refused, here or later, takes its row along: it does not count.
    """
    settings = get_settings()
    per_user, per_chain = settings.MAX_STARTS_PER_USER, settings.MAX_STARTS_PER_CHAIN
    if owner.is_system or not (per_user or per_chain):
        return
    by_owner = _by(owner) if per_user else {}
    of_chain = {"chain": chain} if per_chain else {}
    starts = Hit.objects.filter(kind=Hit.Kind.START)
    if per_user and (wait := _wait(starts.filter(**by_owner), per_user)):
        raise _refused(_("You ask too often. Try again in %(seconds)d s."), wait)
    if per_chain and (wait := _wait(starts.filter(**of_chain), per_chain)):
        raise _refused(_("This chain is asked too often. Try again in %(seconds)d s."), wait)
    # Of whom this transaction holds the lock: nobody else deletes the same.
    _count(Hit(kind=Hit.Kind.START, **by_owner, **of_chain), by_owner or of_chain)


def count_key_check(user: Any) -> None:
    """Count that OpenRouter is asked about a key for this user, whatever it says; in a transaction of its
    own, before it is asked. Raise `Refused` (``limit``) where it was asked too often.
    """
    owner = Owner.of_user(user)
    with transaction.atomic(using=router.db_for_write(Hit)):
        hold_off(owner)
        checks = Hit.objects.filter(kind=Hit.Kind.KEY_CHECK, **_by(owner))
        if wait := _wait(checks, MOST_KEY_CHECKS):
            raise _refused(_("You have asked about keys too often. Try again in %(seconds)d s."), wait)
        _count(Hit(kind=Hit.Kind.KEY_CHECK, **_by(owner)), _by(owner))


def forget_hits() -> int:
    """Delete some of what counts no more, of those who never came back; answers how many rows."""
    old = _old(Hit.objects.order_by("pk"))
    if not old.exists():
        return 0  # without a lock
    features = connections[router.db_for_write(Hit)].features
    with transaction.atomic(using=router.db_for_write(Hit)):
        # Not those that a start is deleting: neither of the two waits for the other.
        free = old.select_for_update(skip_locked=features.has_select_for_update_skip_locked)
        some = list(free.values_list("pk", flat=True)[:AT_A_TIME])
        return Hit.objects.filter(pk__in=some).delete()[0]


def _by(owner: Owner) -> dict[str, Any]:
    return {"user_id": owner.user_id, "visitor": owner.visitor}


def _count(hit: Hit, beside: dict[str, Any]) -> None:
    """Make the row, and delete some like it that are old."""
    Hit.objects.filter(pk__in=_old(Hit.objects.filter(**beside)).values("pk")[:IN_PASSING]).delete()
    hit.save(force_insert=True)


def _old(hits: QuerySet[Hit]) -> QuerySet[Hit]:
    return hits.filter(created__lte=timezone.now() - WINDOW)


def _wait(hits: QuerySet[Hit], most: int) -> int:
    """Seconds until there may be one more; 0 is now."""
    now = timezone.now()
    recent = hits.filter(created__gt=now - WINDOW).order_by("-created").values_list("created", flat=True)
    # The one that has to be older than a minute: with it, as many as there may be came after that.
    created = recent[most - 1 : most].first()
    return 0 if created is None else max(1, math.ceil((created + WINDOW - now).total_seconds()))


def _refused(sentence: str, wait: int) -> Refused:
    return Refused("limit", sentence % {"seconds": wait}, {"retry_after": wait})
