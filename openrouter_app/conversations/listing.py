"""An owner's conversations, newest first, and those among them in which something was said.

The database finds where a word may stand; whether it was said is then seen in the values themselves. What
is stored is JSON, in which names of fields stand as well, and letters beyond ASCII as escapes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet

from ..models import Conversation, Message, Owner, Run

PAGE = 30
"""Conversations on one page of the list."""
LONGEST_QUERY = 200
MOST_WORDS = 8
AT_ONCE = 60
"""Conversations whose texts are looked at together."""

_UNSEARCHABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]+")


@dataclass(frozen=True, slots=True)
class Listed:
    """A conversation, its chain at hand, and whether an answer is being written in it."""

    conversation: Conversation
    is_running: bool


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the list; ``more`` says whether another one follows."""

    rows: list[Listed]
    more: bool


def page_of(owner: Owner | None, *, query: str = "", chain: str = "", number: int = 1) -> Page:
    """A page of the owner's conversations, from 1; with ``query`` those in which each of its words stands.

    Nobody has none.
    """
    if owner is None:
        return Page([], more=False)
    found = Conversation.objects.for_owner(owner).select_related("chain").order_by("-updated", "-pk")
    unfinished = Run.objects.filter(conversation=OuterRef("pk"), status__in=Run.UNFINISHED)
    found = found.annotate(is_running=Exists(unfinished.order_by()))
    if chain:
        found = found.filter(chain__slug=chain)
    words = words_of(query)
    start = (max(number, 1) - 1) * PAGE
    if words:
        rows = list(islice(_in_which(found, words), start, start + PAGE + 1))
    else:
        rows = list(found[start : start + PAGE + 1])
    return Page([Listed(row, row.is_running) for row in rows[:PAGE]], len(rows) > PAGE)


def words_of(query: str) -> list[str]:
    """What is looked for: each of these words must stand somewhere, in whatever case."""
    words = _UNSEARCHABLE.sub(" ", query[:LONGEST_QUERY]).split()
    return list(dict.fromkeys(words))[:MOST_WORDS]


def _in_which(found: QuerySet[Conversation], words: list[str]) -> Iterator[Any]:
    """The conversations in which every word was said, or stands in the title; lazily."""
    for word in words:
        said = Message.objects.filter(_written("input", word), conversation=OuterRef("pk"))
        answered = Run.objects.filter(_written("parts", word), conversation=OuterRef("pk"))
        found = found.filter(_plain("title", word) | Exists(said.order_by()) | Exists(answered.order_by()))
    start = 0
    while rows := list(found[start : start + AT_ONCE]):
        texts = _texts(rows, words)
        for row in rows:
            missing = [word.casefold() for word in words]
            for text in (row.title, *texts.get(row.pk, ())):
                folded = text.casefold()
                missing = [word for word in missing if word not in folded]
            if not missing:
                yield row
        start += AT_ONCE


def _texts(rows: list[Conversation], words: list[str]) -> Mapping[int, list[str]]:
    """What was said in these conversations, as far as one of the words may stand in it."""
    texts: dict[int, list[str]] = {}
    for model, column, read in ((Message, "input", _values), (Run, "parts", _text_parts)):
        may_stand = Q()
        for word in words:
            may_stand |= _written(column, word)
        stored = model._default_manager.filter(may_stand, conversation__in=rows).order_by()
        for conversation, value in stored.values_list("conversation_id", column):
            texts.setdefault(conversation, []).extend(read(value))
    return texts


def _values(given: Any) -> list[str]:
    return [str(value) for value in given.values()] if isinstance(given, dict) else []


def _text_parts(parts: Any) -> list[str]:
    if not isinstance(parts, list):
        return []
    return [part.get("text", "") for part in parts if isinstance(part, dict) and part.get("type") == "text"]


def _cases(word: str) -> set[str]:
    """SQLite knows upper and lower case of ASCII only, and an escape has none."""
    return {word, word.lower(), word.upper(), word.title(), word.casefold()}


def _plain(column: str, word: str) -> Q:
    """Where the word may stand in a column of text."""
    condition = Q()
    for case in _cases(word):
        condition |= Q(**{f"{column}__icontains": case})
    return condition


def _written(column: str, word: str) -> Q:
    """Where it may stand in a column of JSON."""
    condition = Q()
    for written in {json.dumps(case)[1:-1] for case in _cases(word)}:
        condition |= Q(**{f"{column}__icontains": written})
    return condition
