"""The tree of a conversation, and the path through it that a page shows.

One query reads how the messages hang together, without what they say; only those on the path are read
whole. A message is newer than its parent, so the order of the rows is an order of the tree.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from ..models import ChainVersion, Conversation, Message, Run
from ..models.prompts import message_variable

AT_ONCE = 500
"""Rows that are named in one query: databases limit the parameters of a statement."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a message stands in the tree."""

    pk: int
    uuid: UUID
    parent: int | None
    role: str
    created: datetime


@dataclass(frozen=True, slots=True)
class Entry:
    """A message of the path with what it says: a user's ``input``, or the ``run`` that writes an answer.

    ``siblings`` are the versions of it, in the order in which they were made, itself among them.
    """

    place: Place
    parent: UUID | None
    siblings: tuple[UUID, ...]
    input: dict[str, str] | None
    run: Run | None
    text: str
    """What a user said: the value of the variable that is the message."""


class Tree:
    """How the messages of one conversation hang together."""

    def __init__(self, places: Iterable[Place]) -> None:
        self._places = {place.pk: place for place in sorted(places, key=lambda place: place.pk)}
        self._by_uuid = {place.uuid: place for place in self._places.values()}
        self._children: dict[int | None, list[Place]] = {}
        for place in self._places.values():
            self._children.setdefault(place.parent, []).append(place)

    def __iter__(self) -> Iterator[Place]:
        """Every message, parents before children."""
        return iter(self._places.values())

    def find(self, message: UUID | int | None) -> Place | None:
        """The message with this id, or with this primary key."""
        if isinstance(message, UUID):
            return self._by_uuid.get(message)
        return None if message is None else self._places.get(message)

    def place(self, pk: int) -> Place:
        """The message with this primary key, which is one of the tree's."""
        return self._places[pk]

    def path_to(self, place: Place) -> list[Place]:
        """From the first message to this one."""
        path = [place]
        while (parent := path[-1].parent) is not None:
            path.append(self._places[parent])
        path.reverse()
        return path

    def siblings(self, place: Place) -> list[Place]:
        """The versions of a message, itself among them, oldest first."""
        return self._children[place.parent]

    def newest_leaf(self, place: Place) -> Place:
        """The message below this one that was made last; itself where nothing answers to it."""
        newest, waiting = place, [place]
        while waiting:
            for child in self._children.get(waiting.pop().pk, ()):
                if child.pk > newest.pk:
                    newest = child
                waiting.append(child)
        return newest

    def shown(self, head: int | None, message: UUID | None = None) -> list[Place] | None:
        """The path to the head, or the one through ``message`` to its newest leaf; None: no such message.

        Where no head is set, the newest message takes its place.
        """
        if message is not None:
            found = self.find(message)
            return None if found is None else self.path_to(self.newest_leaf(found))
        end = self.find(head) or next(reversed(self._places.values()), None)
        return [] if end is None else self.path_to(end)


def tree_of(conversation: Conversation) -> Tree:
    """The tree, by one query."""
    rows = Message.objects.filter(conversation=conversation).order_by("pk")
    return Tree(
        Place(*row) for row in rows.values_list("pk", "uuid", "parent_id", "role", "created").iterator(2_000)
    )


def entries(conversation: Conversation, tree: Tree, places: Iterable[Place]) -> list[Entry]:
    """These messages with what they say: a query for each `AT_ONCE` of them, and one for the versions."""
    places = list(places)
    rows: dict[int, Message] = {}
    for start in range(0, len(places), AT_ONCE):
        named = [place.pk for place in places[start : start + AT_ONCE]]
        rows.update((row.pk, row) for row in Message.objects.filter(pk__in=named).select_related("run"))
    runs = {pk: run for pk, row in rows.items() if (run := getattr(row, "run", None)) is not None}
    _know_relations(conversation, tree, rows, runs)
    # by the version that answers it is known which of a message's values is the message
    variables = {tree.place(pk).parent: message_variable(run.version.body) for pk, run in runs.items()}
    found = []
    for place in places:
        if (row := rows.get(place.pk)) is None:
            continue  # deleted in between
        above = tree.find(place.parent)
        found.append(
            Entry(
                place,
                None if above is None else above.uuid,
                tuple(sibling.uuid for sibling in tree.siblings(place)),
                row.input,
                runs.get(place.pk),
                "" if row.input is None else said(row.input, variables.get(place.pk, "")),
            )
        )
    return found


def _know_relations(
    conversation: Conversation, tree: Tree, rows: dict[int, Message], runs: dict[int, Run]
) -> None:
    """What is read of these rows later is read here, at once: a version has a whole prompt in it."""
    versions = ChainVersion.objects.in_bulk({run.version_id for run in runs.values()})
    for row in rows.values():
        if row.parent_id is not None and (parent := tree.find(row.parent_id)) is not None:
            row.parent = rows.get(row.parent_id) or Message(pk=parent.pk, uuid=parent.uuid, role=parent.role)
        row.conversation = conversation
    for pk, run in runs.items():
        run.version = versions[run.version_id]
        if run.chain_id == conversation.chain_id:
            run.chain = conversation.chain
        run.conversation = conversation
        run.message = rows[pk]


def said(given: Any, variable: str) -> str:
    """What a message says: the value of the variable, the only value, or all of them a line each."""
    if not isinstance(given, dict):
        return ""
    if variable in given:
        return str(given[variable])
    return "\n\n".join(str(value) for value in given.values())
