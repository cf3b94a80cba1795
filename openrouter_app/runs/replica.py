"""What this process knows of a run that another one executes: a pure fold of its log and its frames.

`docs/protocol.md`, rule 4: frames that came first are kept while the log is read; frames up to the
logged seq are dropped, those that fit are applied, and at a hole the log is read again with nothing
thrown away. A row of the log spans many frames: where one of those was lost, so that the state stands
in the midst of a row, it is made anew from the log's beginning. Frames carry the fence of who sent
them: an older one is nobody's word any more, a newer one means that the log has to be read from its
beginning, because what the owner before it said may never have been logged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import UUID

import msgspec

from .events import Event
from .live import Followed
from .state import RunState

MOST_PENDING = 256
"""Frames kept for a hole; the log has what is dropped beyond them."""


class Frame(msgspec.Struct, frozen=True):
    """Events of a run from ``after`` to ``seq``, said by the owner who has this fence."""

    fence: int
    after: int
    seq: int
    events: list[Event]


class Replica(Followed):
    """A run elsewhere, as far as its log and its frames tell. ``new_state`` makes a state at seq 0."""

    def __init__(self, run: UUID, new_state: Callable[[], RunState]) -> None:
        super().__init__(run, new_state())
        self.fence = 0
        self.needs_reading = True
        """Whether there is something that only the log can tell."""
        self._new_state = new_state
        self._pending: list[Frame] = []
        self._is_inside_row = False

    @property
    def read_from(self) -> int:
        """The seq behind which the log is to be read."""
        return 0 if self._is_inside_row else self.seq

    def receive(self, frame: Frame) -> None:
        """A frame of the layer: applied, kept or dropped."""
        if frame.fence < self.fence or self.is_final:
            return
        self._pending.append(frame)
        self._pending.sort(key=lambda one: (one.fence, one.after))
        del self._pending[MOST_PENDING:]
        self._catch_up()

    def read(self, fence: int, after: int, rows: Sequence[tuple[int, int, list[Event]]]) -> None:
        """The log's rows behind ``after`` (`read_from`, or 0), and the fence its run had *after* that.

        Where the fence is another than before, only a reading from 0 counts.
        """
        if fence < self.fence:
            return
        if fence != self.fence:
            if after != 0:
                self.needs_reading = True
                return
            self._begin_anew(fence)
        elif self._is_inside_row and after == 0 and rows and rows[-1][1] > self.seq:
            self._begin_anew(fence)
        for first, seq, events in rows:
            if first == self.seq:
                self._apply(seq, events)
        self._is_inside_row = any(first < self.seq < seq for first, seq, _ in rows)
        self.needs_reading = self._is_inside_row
        self._catch_up()

    def _begin_anew(self, fence: int) -> None:
        self.fence, self.state, self.seq = fence, self._new_state(), 0
        self._pending = [frame for frame in self._pending if frame.fence >= fence]
        for inbox in self._inboxes:
            inbox.overflow()

    def _catch_up(self) -> None:
        """Apply what fits of the pending frames, drop what is known, and note a hole."""
        kept: list[Frame] = []
        for frame in self._pending:
            if frame.fence > self.fence:
                self.needs_reading = True
                kept.append(frame)
            elif frame.after == self.seq:
                self._apply(frame.seq, frame.events)
            elif frame.seq > self.seq:
                self.needs_reading = True
                kept.append(frame)
        self._pending = kept

    def _apply(self, seq: int, events: list[Event]) -> None:
        self.seq = seq
        for event in events:
            self.show(event)
