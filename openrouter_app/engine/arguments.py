"""Tool calls while they are written: which call a delta belongs to, and its argument text.

The text is a model's: it may be cut anywhere, be no JSON, or be JSON but no object. What stands
around it is a host's, and as unsure.
"""

from __future__ import annotations

from typing import Any

from .errors import OutputError, PartialJSONError, UpstreamError
from .json_size import members_of
from .operations import MAX_PATH, MISSING, Operation
from .partial_json import PartialJSON

MAX_TOOL_CALLS = 128
MAX_ID = 128
MAX_WORK = 40_000
"""What reading the arguments of one answer may cost, in values: a tenth of a second, or two."""


def work_of(text: str) -> int:
    """About what it costs to read these arguments, told at a small part of that: their values, and what
    else costs more than it says, escapes by number, U+0000 and white space.
    """
    blanks = text.count(" ") + text.count("\n") + text.count("\t") + text.count("\r")
    return members_of(text, MAX_WORK) + text.count("\\u") // 2 + text.count("\0") // 10 + blanks // 20


class Budget:
    """The work that is left for the arguments of one answer, whoever reads them and however often."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = MAX_WORK

    def has_for(self, text: str) -> bool:
        """Whether this text may be read; if so, its work is done."""
        work = work_of(text)
        if work > self.left:
            return False
        self.left -= work
        return True


class PendingCalls:
    """The calls of one answer: ``find(index, id, name)`` answers the one a delta belongs to.

    Hosts send ids once or always, doubled or empty, and indexes wrong or not at all: a known id
    decides, then an index, then what came last. A delta of a call with an index or an id costs the
    same however many calls there are. Raises `UpstreamError` for more than `MAX_TOOL_CALLS`.
    """

    def __init__(self) -> None:
        self.all: list[PendingCall] = []
        self._at: dict[int | None, PendingCall] = {}
        self._current: PendingCall | None = None
        self._ids: set[str] = set()
        self.budget = Budget()

    def find(self, index: int | None, id: str, name: str, text: str = "") -> PendingCall:
        """The call that a delta with this name and argument text belongs to; a new one where none fits."""
        if len(id) > MAX_ID:
            id = id[: MAX_ID // 2] + id[-MAX_ID // 2 :]  # it is kept, and goes back
        call = self._at.get(index) if index is not None or id else self._current
        if call is None or (call.provider_id != id if id else name):
            call = self._search(call, index, id, name)
        elif name and call.name and call.is_whole_before(name, text):
            call = self._open(index, id)
        self._current = call
        return call

    def name(self, call: PendingCall, name: str) -> None:
        """The call's name has come, and with it an id of ours: the provider's where it is unique and no
        database or terminal stumbles over it.
        """
        wanted = call.provider_id if call.provider_id.isprintable() else ""
        number = self.all.index(call)
        while not wanted or wanted in self._ids:
            wanted = f"call_{number}"
            number += len(self.all)
        self._ids.add(wanted)
        call.id, call.name = wanted, name

    def _search(self, call: PendingCall | None, index: int | None, id: str, name: str) -> PendingCall:
        if not id:
            if call is None or (call.name if index is None else call.is_done_before(name)):
                return self._open(index, id)
            return call
        same = [call for call in self.all if call.provider_id == id]
        if same and not name:
            return same[-1]
        if call is not None and not call.provider_id and not same and not (name and call.name):
            call.provider_id = id
            return call
        return self._open(index, id)

    def _open(self, index: int | None, id: str) -> PendingCall:
        if len(self.all) >= MAX_TOOL_CALLS:
            raise UpstreamError(f"The model called more than {MAX_TOOL_CALLS} tools in one answer.")
        call = self._at[index] = PendingCall(id, self.budget)
        self.all.append(call)
        return call


MAX_LOOKS = 8
"""How often a call is looked at as a whole while it is written: each costs as much as its text so far."""


class PendingCall:
    """A call while it is being written. It has no ``id`` of ours until it has a name."""

    __slots__ = ("_looks", "arguments", "id", "name", "provider_id")

    def __init__(self, provider_id: str, budget: Budget) -> None:
        self._looks = MAX_LOOKS
        self.provider_id = provider_id
        self.id = ""
        self.name = ""
        self.arguments = ArgumentText(budget)

    def is_done_before(self, name: str) -> bool:
        """Whether this name, at the same index, begins another call: the same one may come again."""
        return bool(self.name and self.name != name and self.arguments.size)

    def is_whole_before(self, name: str, text: str) -> bool:
        """Whether this name and text, sent under the same index and id, begin another call.

        Some hosts number parallel calls alike. They do where this call's object is whole, and the name is
        another one or the text an object that is not the same again.
        """
        written = self.arguments
        if not self._looks or not written.size or not (name != self.name or text.lstrip().startswith("{")):
            return False
        self._looks -= 1
        so_far = written.text
        return not (text and text.startswith(so_far)) and _is_object(so_far, written.budget)


class ArgumentText:
    """The text of one call: ``add(delta)`` answers what is new in it, ``close()`` what was held back.

    Some hosts send all the text again with each delta. That is believed only of a delta that begins
    with an object's whole text so far, has more, and could not follow that text in any JSON; where
    it could, it is held back until the next delta tells. Text that merely looks repeated is text.
    The cost is proportional to what is fed: a delta longer than all before it is rare.
    """

    __slots__ = ("_held", "_is_cumulative", "_is_odd", "_written", "budget", "size")

    def __init__(self, budget: Budget | None = None) -> None:
        self.budget = budget or Budget()
        self._written = bytearray()  # UTF-8: a list of pieces would cost many times what they say
        self._held = ""
        self._is_cumulative = False
        self._is_odd = False
        """Whether a delta as long as all before it has to be looked at, not only a longer one."""
        self.size = 0

    def add(self, delta: str) -> str:
        """One more delta."""
        size = len(delta)
        if size > self.size or self._held or (self._is_odd and size == self.size):
            delta = self._news(delta)
        self._written += delta.encode()
        self.size += len(delta)
        return delta

    def close(self) -> str:
        """The end of the deltas."""
        held, self._held = self._held, ""
        if held and _is_object(held, self.budget) and not _is_object(self.text + held, self.budget):
            held = held[self.size :]
        self._written += held.encode()
        self.size += len(held)
        return held

    @property
    def text(self) -> str:
        """All of it so far. Costs O(text)."""
        return self._written.decode()

    def _news(self, delta: str) -> str:
        if self._held:
            held, self._held = self._held, ""
            self._is_odd = self._is_cumulative = delta.startswith(held)
            return delta[self.size :] if self._is_cumulative else held + delta
        so_far = self.text
        if not so_far.lstrip().startswith("{") or not delta.startswith(so_far):
            return delta
        if not self._is_cumulative:
            self._is_odd = True
            if _may_become_json(so_far + delta, self.budget):
                self._held = delta
                return ""
            self._is_cumulative = True
        return delta[self.size :]


def _may_become_json(text: str, budget: Budget) -> bool:
    if budget.has_for(text):
        try:
            PartialJSON().feed(text)
        except PartialJSONError:
            return False
    return True


def _is_object(text: str, budget: Budget) -> bool:
    if not text.strip() or not budget.has_for(text):
        return False
    try:
        parse_arguments(text)
    except OutputError:
        return False
    return True


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


class ProgressiveArguments:
    """The arguments as far as they have come: ``feed(text)`` answers what changed.

    Text that turns out to be no JSON object, or whose keys are absurdly long, stops the progress and
    keeps the last good value; the verdict belongs to the end of the stream (`parse_arguments`), so
    nothing is raised here.
    """

    __slots__ = ("_has_begun", "_parser", "broken")

    def __init__(self) -> None:
        self._parser = PartialJSON()
        self._has_begun = False
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
        if operations and not self._has_begun:
            # Once: the root stays what it is, and asking for the value costs all of it.
            self._has_begun = True
            if not isinstance(self._parser.value, dict):
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
