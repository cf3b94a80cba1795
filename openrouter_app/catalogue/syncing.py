"""Bringing the catalogue up to date with what OpenRouter lists now."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from asgiref.sync import async_to_sync
from django.db import transaction
from django.utils import timezone

from ..engine import accounts
from ..models import CatalogueModel
from .listing import FIELDS, rows_of

BATCH = 200


class Synced(msgspec.Struct, frozen=True):
    """What a look at OpenRouter's list has changed: how many models.

    ``skipped`` items of the list were no models. ``doubted`` models were not listed, and are not marked as
    missing all the same: most of them at once would have been, which says more of the answer than of them.
    """

    added: int = 0
    changed: int = 0
    missing: int = 0
    back: int = 0
    skipped: int = 0
    doubted: int = 0


def sync(*, force: bool = False) -> Synced:
    """Fetch OpenRouter's list and write what has changed.

    A model that is listed no more is marked as missing, unless less than half of what was there would be
    left; ``force`` marks it in any case. Raises an `OpenRouterError` where the list cannot be had, and has
    changed nothing then. Not for a thread with a running event loop.
    """
    # All of them, not only those that answer with text.
    return store(async_to_sync(accounts.list_models)(output_modalities="all"), force=force)


@transaction.atomic
def store(items: Iterable[object], *, force: bool = False) -> Synced:
    """Write what is listed, in one transaction: new and changed rows in bulk, all others untouched."""
    now = timezone.now()
    listed, skipped = rows_of(items)
    # Locked, and in one order: two that do this at once wait for each other.
    stored = {row.slug: row for row in CatalogueModel.objects.select_for_update().order_by("slug")}
    present = {slug for slug, row in stored.items() if row.missing_since is None}
    added = [row for slug, row in listed.items() if slug not in stored]
    changed = [row for slug, row in listed.items() if slug in stored and _differ(row, stored[slug])]
    for row in (*added, *changed):
        row.seen_at = now
    CatalogueModel.objects.bulk_create(
        sorted((*added, *changed), key=lambda row: row.slug),
        batch_size=BATCH,
        update_conflicts=True,
        unique_fields=["slug"],
        update_fields=[*FIELDS, "seen_at", "missing_since"],
    )
    back = {slug for slug in listed if slug in stored and slug not in present}
    _update(listed.keys() & stored.keys(), seen_at=now, missing_since=None)
    gone = present - listed.keys()
    believed = force or 2 * len(present - gone) >= len(present)
    if believed:
        _update(gone, missing_since=now)
    return Synced(
        added=len(added),
        changed=len(changed),
        missing=len(gone) if believed else 0,
        back=len(back),
        skipped=skipped,
        doubted=0 if believed else len(gone),
    )


def _differ(listed: CatalogueModel, stored: CatalogueModel) -> bool:
    return any(getattr(listed, name) != getattr(stored, name) for name in FIELDS)


def _update(slugs: Iterable[str], **values: object) -> None:
    ordered = sorted(slugs)
    for start in range(0, len(ordered), BATCH):
        CatalogueModel.objects.filter(slug__in=ordered[start : start + BATCH]).update(**values)
