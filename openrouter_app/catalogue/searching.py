"""Finding a model by what somebody types: words of its slug or its name, in any order."""

from __future__ import annotations

from functools import reduce
from operator import and_

from django.db.models import Q, QuerySet

from ..models import CatalogueModel

MAX_TEXT = 200
MAX_LOOKED_AT = 1_000
"""Rows that are ranked; OpenRouter lists some 400."""
ANSWERS = frozenset({"text", "image", "audio"})
"""What a chat may be answered with; what answers with none of them is no chat model."""


def search(text: str = "", limit: int = 50) -> list[CatalogueModel]:
    """The listed models that hold every word of ``text``, the nearest first; without a word the newest."""
    words = text[:MAX_TEXT].lower().split()
    found = with_words(CatalogueModel.objects.filter(missing_since=None).defer("description"), words)
    rows = [
        row
        for row in found.order_by("-created", "slug")[:MAX_LOOKED_AT]
        if not row.output_modalities or not ANSWERS.isdisjoint(row.output_modalities)
    ]
    if words:
        rows.sort(key=lambda row: _distance(row, words))  # stable: the newest first in each
    return rows[:limit]


def with_words(rows: QuerySet[CatalogueModel], words: list[str]) -> QuerySet[CatalogueModel]:
    """Those whose slug or name holds every word."""
    conditions = (Q(slug__icontains=word) | Q(name__icontains=word) for word in words)
    return rows.filter(reduce(and_, conditions, Q()))


def _distance(row: CatalogueModel, words: list[str]) -> int:
    """0 for the slug itself; then slugs that begin so, those whose author or model does, all others."""
    slug, typed = row.slug.lower(), " ".join(words)
    if slug == typed:
        return 0
    if slug.startswith(typed):
        return 1
    return 2 if any(part.startswith(word) for part in slug.split("/") for word in words) else 3
