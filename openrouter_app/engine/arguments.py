"""A tool call's argument text: put together, while it comes, and when it is whole.

The text is a model's: it may be cut anywhere, be no JSON, or be JSON but no object.
"""

from __future__ import annotations

from io import StringIO
from typing import Any

from .errors import OutputError, PartialJSONError
from .partial_json import MISSING, Operation, PartialJSON


def parse_arguments(text: str) -> dict[str, Any]:
    """The arguments a whole text says: its object; ``{}`` for text of nothing but white space.

    Raises `OutputError`, with ``raw``, where the text is no JSON object.
    """
    if not text.strip():
        return {}
    parser = PartialJSON()
    try:
        parser.feed(text)
        value = parser.close()
    except PartialJSONError as error:
        raise OutputError(f"The tool's arguments are no JSON: {error.message}", raw=text) from error
    if not isinstance(value, dict):
        raise OutputError("The tool's arguments are JSON but no object.", raw=text)
    return value


class ArgumentText:
    """The text of one call: ``add(delta)`` answers what is new in it, ``close()`` what was held back.

    Some hosts send all the text again with each delta. That is believed only of a delta that begins
    with an object's whole text so far, has more, and could not follow that text in any JSON; where
    it could, it is held back until the next delta tells. Text that merely looks repeated is text.
    The cost is proportional to what is fed: a delta longer than all before it is rare.
    """

    __slots__ = ("_buffer", "_held", "_is_cumulative", "size")

    def __init__(self) -> None:
        self._buffer = StringIO()
        self._held = ""
        self._is_cumulative = False
        self.size = 0

    def add(self, delta: str) -> str:
        """One more delta."""
        if self._held or self._is_cumulative or 0 < self.size < len(delta):
            delta = self._news(delta)
        self._buffer.write(delta)
        self.size += len(delta)
        return delta

    def close(self) -> str:
        """The end of the deltas."""
        held, self._held = self._held, ""
        if held and _is_object(held) and not _is_object(self.text + held):
            held = held[self.size :]
        self._buffer.write(held)
        self.size += len(held)
        return held

    @property
    def text(self) -> str:
        """All of it so far. Costs O(text)."""
        return self._buffer.getvalue()

    def _news(self, delta: str) -> str:
        if self._held:
            held, self._held = self._held, ""
            if not delta.startswith(held):
                return held + delta
            self._is_cumulative = True
            return delta[self.size :]
        if len(delta) < self.size or not delta.startswith(so_far := self.text):
            return delta
        if not self._is_cumulative:
            if not so_far.lstrip().startswith("{"):
                return delta
            if _may_become_json(so_far + delta):
                self._held = delta
                return ""
            self._is_cumulative = True
        return delta[self.size :]


def _may_become_json(text: str) -> bool:
    try:
        PartialJSON().feed(text)
    except PartialJSONError:
        return False
    return True


def _is_object(text: str) -> bool:
    try:
        parse_arguments(text)
    except OutputError:
        return False
    return True


MAX_PATH = 1_000
"""Characters of the open value's path; every operation below it repeats them."""


class ProgressiveArguments:
    """The arguments as far as they have come: ``feed(text)`` answers what changed.

    Text that turns out to be no JSON object, or whose keys are absurdly long, stops the progress and
    keeps the last good value; the verdict belongs to the end of the stream (`parse_arguments`), so
    nothing is raised here.
    """

    __slots__ = ("_parser", "broken")

    def __init__(self) -> None:
        self._parser = PartialJSON()
        self.broken = False

    def feed(self, text: str) -> list[Operation]:
        """The operations on the value so far; none once the text is broken."""
        if self.broken:
            return []
        try:
            operations = self._parser.feed(text)
        except PartialJSONError:
            self.broken = True
            return []
        if operations and not isinstance(self._parser.value, dict):
            self.broken = True
            return []
        self.broken = len(self._parser.open or "") > MAX_PATH
        return operations

    @property
    def open(self) -> str | None:
        """The path that can still grow (RFC 6901), None when nothing can."""
        return None if self.broken else self._parser.open

    def snapshot(self) -> dict[str, Any]:
        """An independent copy of the value so far, ``{}`` before anything came. Costs O(value)."""
        value = self._parser.snapshot()
        return {} if value is MISSING or not isinstance(value, dict) else value
