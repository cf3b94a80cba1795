"""How many unfinished runs an owner and a chain may have at a time, in all processes together."""

from __future__ import annotations

import zlib

from django.db import connections, router
from django.db.models import QuerySet
from django.utils.translation import ngettext

from ..conf import get_settings
from ..models import Chain, Owner, Run
from ..refusals import Refused

RETRY_AFTER = 5
"""Seconds after which another try may find room."""


def check_limits(owner: Owner, chain: Chain) -> None:
    """Raise `Refused` (``limit``) where there is no room for one more. To be called in the transaction
    that makes the run: until its end, nobody else counts the same runs."""
    settings = get_settings()
    if owner.is_system:
        return
    if settings.MAX_RUNS_PER_CHAIN or settings.MAX_STARTS_PER_CHAIN:
        _alone(f"chain {chain.pk}")
    if (most := settings.MAX_RUNS_PER_CHAIN) and _unfinished(chain.runs.all()) >= most:
        sentence = ngettext(
            "This chain is busy: it answers one question at a time. Try again in a moment.",
            "This chain is busy: it answers %(most)d questions at a time. Try again in a moment.",
            most,
        )
        raise _refused(sentence, most)
    if settings.MAX_RUNS_PER_USER or settings.MAX_STARTS_PER_USER:
        hold_off(owner)
    if (most := settings.MAX_RUNS_PER_USER) and _unfinished(Run.objects.for_owner(owner)) >= most:
        sentence = ngettext(
            "You already have a run. Wait for it to end, or stop it.",
            "You already have %(most)d runs. Wait for one to end, or stop one.",
            most,
        )
        raise _refused(sentence, most)


def hold_off(owner: Owner) -> None:
    """Until the end of the transaction nobody else counts what this owner does."""
    _alone(f"owner {owner.user_id} {owner.visitor}")


def _unfinished(runs: QuerySet[Run]) -> int:
    return runs.filter(status__in=Run.UNFINISHED).count()


def _refused(sentence: str, most: int) -> Refused:
    return Refused("limit", sentence % {"most": most}, {"retry_after": RETRY_AFTER})


def _alone(what: str) -> None:
    """Hold everybody else off who counts the same. SQLite has one writer at a time anyway."""
    connection = connections[router.db_for_write(Run)]
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [0x0E0E, zlib.crc32(what.encode()) >> 1])
