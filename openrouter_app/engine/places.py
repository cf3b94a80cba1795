"""Where something stands in a JSON text: its path, its position, its line and column.

For people: what is wrong was found in the decoded value, and is to be pointed at in what they typed.
The text is one that `json` takes, at least up to what is looked for. Every search goes over it
once, from token to token without recursion: it may be large, deep and hostile.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

Path = tuple[str | int, ...]
"""The names and indices that lead from the root to a value."""

MAX_NAME_SHOWN = 60

_INNER = r'[^"\\]*+(?:\\.[^"\\]*+)*'
_SPACE = re.compile(r"[ \t\n\r]*+")
_NAME = re.compile(rf'[ \t\n\r,]*+"({_INNER})"[ \t\n\r]*+:[ \t\n\r]*+', re.DOTALL)
# A scalar, or the bracket a container begins with, behind what divides it from the one before.
_VALUE = re.compile(rf'[ \t\n\r,]*+("{_INNER}"|[^ \t\n\r,\[\]{{}}"]++|[\[{{])', re.DOTALL)
# Up to the next brackets of one direction, as many as one step may read again; lists of plain
# numbers are stepped over. Only runs of characters are possessive: a possessive group
# loses matches in early releases of Python 3.11 (seen with Debian's 3.11.2).
_BRACKETS = re.compile(
    rf'(?:[^"\[\]{{}}]++|"{_INNER}"|\[[^"\[\]{{}}]*+\])*(?:([\[{{]{{1,64}}+)|([\]}}]{{1,64}}+))', re.DOTALL
)
_NAME_OR_BRACE = re.compile(rf'"({_INNER})"([ \t\n\r]*+:)?|[{{}}]', re.DOTALL)
_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")
_SCALAR = re.compile(rf'"{_INNER}"|[^ \t\n\r,:\[\]{{}}"]++', re.DOTALL)


def place(path: Path, text: str = "") -> str:
    """``Line 4, column 15 ($.properties.a)``; without the text, or where it has no such value, the path."""
    position = position_of(text, path) if text else None
    if position is None:
        return path_text(path)
    line, column = line_and_column(text, position)
    return f"Line {line}, column {column} ({path_text(path)})"


def path_text(path: Path) -> str:
    """``$.anyOf[1].minimum``. Long names are cut: somebody else may have chosen them."""
    steps = (f"[{step}]" if isinstance(step, int) else f".{_cut(step)}" for step in path)
    return "$" + "".join(steps)


def pointed(value: Any, pointer: str) -> tuple[Path, Any] | None:
    """Where a JSON pointer leads from this value, and what is there; None where it leads nowhere.

    As a ``$ref`` has it behind its "#": ``/$defs/a%20name``, ``/a~1b``.
    """
    if "%" in pointer:
        pointer = unquote(pointer)
    path: list[str | int] = []
    for written in pointer.split("/")[1:]:
        step: str | int
        if isinstance(value, list):
            if not _INDEX.fullmatch(written) or (step := int(written)) >= len(value):
                return None
        else:
            step = written.replace("~1", "/").replace("~0", "~") if "~" in written else written
            if not isinstance(value, dict) or step not in value:
                return None
        value = value[step]
        path.append(step)
    return tuple(path), value


def line_and_column(text: str, position: int) -> tuple[int, int]:
    """Both from 1, as editors and `json.JSONDecodeError` count them."""
    return text.count("\n", 0, position) + 1, position - text.rfind("\n", 0, position)


def position_of(text: str, path: Path) -> int | None:
    """Where the value at this path begins, None where there is none.

    Of members with one name the last counts, as it does for `json`.
    """
    found: int | None = None
    # What is still looked for in each open container that the path leads through.
    sought: list[str | int | None] = []
    at = _behind(_SPACE, text, 0)
    while True:
        # At a value that the path leads to or through; it replaces one of the same name before it.
        depth = len(sought)
        found = at if depth == len(path) else None
        if depth < len(path) and text.startswith("{" if isinstance(path[depth], str) else "[", at):
            sought.append(path[depth])
            at += 1
        else:
            at = _behind_value(text, at)
        while True:
            if not sought:
                return found
            is_there, at = _seek(text, at, sought[-1])
            if is_there:
                break
            sought.pop()
        if isinstance(sought[-1], int):
            sought[-1] = None  # an item is there once


def repeated_names(text: str) -> Iterator[tuple[str, int]]:
    """Each name that its object has already, and where it stands again."""
    objects: list[set[str]] = []
    for token in _NAME_OR_BRACE.finditer(text):
        if token[0] == "{":
            objects.append(set())
        elif token[0] == "}":
            objects.pop()
        elif token[2]:
            if (name := _decoded(token[1])) in objects[-1]:
                yield name, token.start()
            objects[-1].add(name)


def positions_of_scalar(text: str, scalar: str) -> Iterator[int]:
    """Where a number or a word, written like this, stands as a value."""
    return (token.start() for token in _SCALAR.finditer(text) if token[0] == scalar)


def _seek(text: str, at: int, step: str | int | None) -> tuple[bool, int]:
    """From behind a bracket or a member: where the value sought begins, or behind the container.

    In a list the index counts from here.
    """
    if isinstance(step, str):
        while name := _NAME.match(text, at):
            if _decoded(name[1]) == step:
                return True, name.end()
            at = _behind_value(text, name.end())
    elif step is not None:
        while value := _VALUE.match(text, at):
            if step == 0:
                return True, value.start(1)
            step -= 1
            at = value.end()
            if text[at - 1] in "[{":
                at = _behind_container(text, at)
    return False, _behind_container(text, at)


def _behind_value(text: str, at: int) -> int:
    end = _behind(_VALUE, text, at)
    return _behind_container(text, end) if text[end - 1 : end] in ("[", "{") else end


def _behind_container(text: str, at: int) -> int:
    """From anywhere between its members."""
    depth = 1
    while brackets := _BRACKETS.match(text, at):
        opened, closed = brackets.span(1), brackets.span(2)
        if closed[0] >= 0 and closed[1] - closed[0] >= depth:
            return closed[0] + depth
        depth += (opened[1] - opened[0]) - (closed[1] - closed[0])
        at = brackets.end()
    return len(text)


def _behind(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    return found.end() if found else len(text)


def _decoded(inner: str) -> str:
    """What stands between a string's quotes, as the text it means."""
    if "\\" not in inner:
        return inner
    decoded: str = json.loads(f'"{inner}"')
    return decoded


def _cut(name: str) -> str:
    return name if len(name) <= MAX_NAME_SHOWN else f"{name[:MAX_NAME_SHOWN]}…"
