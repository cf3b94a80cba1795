"""Operations on a value that grows: what a feed of `PartialJSON` answers, joined and applied."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from itertools import groupby
from typing import Any, Final, Literal, TypedDict


class Missing(enum.Enum):  # an enum: type checkers narrow it, and a copy is the same object
    MISSING = "MISSING"

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = Missing.MISSING  # the value before there is one


MAX_PATH = 1_000
"""Characters of the path of a value that can grow: every operation below it repeats them."""


class Operation(TypedDict):
    """One change, as on the wire: RFC 6902's ``add``, or ``append``: more text for a string."""

    op: Literal["add", "append"]
    path: str  # RFC 6901
    value: Any


def merge(operations: list[Operation], more: Iterable[Operation]) -> list[Operation]:
    """Put ``more`` at the end of ``operations``, in fewer operations if it can; answer that list.

    An ``append`` joins its neighbour at the same path. No operation is changed, only replaced.
    """
    for (op, path), run in groupby(more, lambda operation: (operation["op"], operation["path"])):
        if op == "add":
            operations.extend(run)
            continue
        texts = [operation["value"] for operation in run]
        if operations and operations[-1]["path"] == path:
            op = operations[-1]["op"]
            texts.insert(0, operations.pop()["value"])
        operations.append({"op": op, "path": path, "value": "".join(texts)})
    return operations


def apply(root: Any, operations: Iterable[Operation]) -> Any:
    """What a client does with operations, from `MISSING` on: a new value that shares what is the same."""
    for operation in operations:
        parent: Any = (holder := {"": root})
        key: Any = ""
        for part in operation["path"].split("/")[1:]:
            parent[key] = parent[key].copy()
            parent = parent[key]
            key = int(part) if isinstance(parent, list) else part.replace("~1", "/").replace("~0", "~")
        if operation["op"] == "append":
            parent[key] += operation["value"]
        elif isinstance(parent, list):
            parent.insert(key, operation["value"])
        else:
            parent[key] = operation["value"]
        root = holder[""]
    return root


def copied(value: Any) -> Any:
    """An independent copy of a JSON value."""
    if isinstance(value, dict):
        return {key: copied(member) for key, member in value.items()}
    return [copied(item) for item in value] if isinstance(value, list) else value
