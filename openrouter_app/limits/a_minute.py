"""How many runs an owner may start a minute, and how many of one chain may be started."""

from __future__ import annotations

import math
from datetime import timedelta

from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from ..conf import get_settings
from ..models import Chain, Owner, Run
from ..refusals import Refused

WINDOW = timedelta(minutes=1)


def check_starts(owner: Owner, chain: Chain) -> None:
    """Raise `Refused` (``limit``, with the seconds until there is room) where too many were started.

    In the transaction that makes the run, after `at_once.check_limits`: its locks hold off who counts the
    same. What is refused does not count.
    """
    settings = get_settings()
    if owner.is_system:
        return
    if wait := _wait(Run.objects.for_owner(owner), settings.MAX_STARTS_PER_USER):
        raise _refused(_("You ask too often. Try again in %(seconds)d s."), wait)
    if wait := _wait(chain.runs.all(), settings.MAX_STARTS_PER_CHAIN):
        raise _refused(_("This chain is asked too often. Try again in %(seconds)d s."), wait)


def _wait(runs: QuerySet[Run], most: int) -> int:
    """Seconds until one more may be started; 0 is now."""
    if not most:
        return 0
    now = timezone.now()
    recent = runs.filter(created__gt=now - WINDOW).order_by("-created").values_list("created", flat=True)
    # The one that has to be older than a minute: with it, as many as there may be came after that.
    created = recent[most - 1 : most].first()
    return 0 if created is None else max(1, math.ceil((created + WINDOW - now).total_seconds()))


def _refused(sentence: str, wait: int) -> Refused:
    return Refused("limit", sentence % {"seconds": wait}, {"retry_after": wait})
