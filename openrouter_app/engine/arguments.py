"""A tool call's argument text: while it comes, and when it is whole.

The text is a model's: it may be cut anywhere, be no JSON, or be JSON but no object.
"""

from __future__ import annotations

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
