"""Markdown text, cut into blocks while it is being written: what is finished can be rendered, once.

::

    splitter = BlockSplitter()
    for delta in answer:
        for block in splitter.feed(delta):   # whole paragraphs, lists, tables, quotes, fenced code
            ...
    splitter.rest                            # the open block so far
    splitter.close()                         # the text has ended: the open block is finished too

The one rule: where a block ends is decided by the text alone, never by how it was cut into deltas.
So the finished blocks of a prefix are a prefix of the whole text's, and a page that has watched an
answer shows the same blocks as one that opens it later. All blocks and the rest, joined, are the text.

It knows no more of Markdown than where a block may end: a blank line ends a paragraph, table or quote;
a list or indented code ends with the line behind the blank lines that does not go on with it; a fence
ends with its closing line, whatever stands inside. HTML is text. A character costs the same however
long its block is already.
"""

from __future__ import annotations

import re
from typing import NamedTuple

LARGEST = 16_000
"""Characters of a block. One that is longer is handed out in pieces, which are shown as they stand."""
MOST = 2_000
"""Blocks of a text; what comes behind them is handed out in such pieces, too."""

_LINES = re.compile(r"[^\n]*\n|[^\n]+")
_HEAD = 12  # never more than LARGEST
"""Characters that tell whether a line goes on with a list: nine digits, a dot, a space, and one."""
_BLANK = re.compile(r"[ \t\r]*\n?\Z")
_FENCE = re.compile(r"(?P<indent> {0,3})(?P<fence>`{3,}(?=[^`]*\Z)|~{3,})")
_HEADING = re.compile(r"(?P<indent> {0,3})#{1,6}(?=[ \t\r\n]|\Z)")
_MARKER = re.compile(r" {0,3}(?:[-+*]|[0-9]{1,9}[.)])(?=[ \t\r\n]|\Z)")
_INTERRUPTING = re.compile(r" {0,3}(?:[-+*]|1[.)])[ \t]+[^ \t\r\n]")
"""A list that may begin under a line of text: ``-`` alone underlines a heading, ``1986.`` ends a sentence."""
_UNDECIDED = re.compile(r"(?:[-+*]|[0-9]{1,9}[.)]?)?\Z")


class Block(NamedTuple):
    """A piece of the text. ``plain``: too large to be rendered, or a piece of what is."""

    text: str
    plain: bool = False


class BlockSplitter:
    """The blocks of a text that comes in pieces."""

    def __init__(self) -> None:
        self._kind = ""
        """Of the open block, "" before its first line: ``text``, ``list``, ``code`` (indented), ``fence``,
        ``endless`` (there are `MOST`)."""
        self._lines: list[str] = []
        """The open block, without the line that is being written."""
        self._line: list[str] = []
        self._size = 0
        """Characters of both."""
        self._fence = ""
        self._is_after_blank = False
        """Whether it depends on the next line's first characters if the list goes on."""
        self._is_plain = False
        """A piece of the open block was handed out already."""
        self._is_inside_line = False
        """That piece ended in the midst of a line, whose end tells nothing."""
        self._count = 0
        self._finished: list[Block] = []

    @property
    def rest(self) -> str:
        """The open block so far; never much longer than `LARGEST`."""
        return "".join(self._lines) + "".join(self._line)

    @property
    def is_waiting(self) -> bool:
        """Whether the next characters may finish a block without a line's end among them."""
        return self._is_after_blank

    def feed(self, text: str) -> list[Block]:
        """More text; answers the blocks that are finished now. Costs O(text)."""
        for piece in _LINES.findall(text):
            self._add(piece)
        finished, self._finished = self._finished, []
        return finished

    def close(self) -> list[Block]:
        """The text has ended; answers what is left of it."""
        if self._line:
            self._end_line()
        if self._lines:
            self._finish()
        finished, self._finished = self._finished, []
        return finished

    def _add(self, piece: str) -> None:
        """More of the line that is being written, perhaps its end."""
        if self._is_after_blank and not self._decide(piece):
            return
        while self._size + len(piece) > LARGEST:
            piece = self._cut(piece)
        self._line.append(piece)
        self._size += len(piece)
        if piece.endswith("\n"):
            self._end_line()

    def _decide(self, piece: str) -> bool:
        """Whether the line's first characters tell if it goes on with the list; otherwise they are kept."""
        head = "".join(known[:_HEAD] for known in (*self._line[:_HEAD], piece))[:_HEAD]
        if head[0] in " \t\r\n":
            return True  # it does, or it is one more blank line
        if _UNDECIDED.match(head):
            self._line.append(piece)
            self._size += len(piece)
            return False
        self._is_after_blank = False
        if self._kind != "list" or not _MARKER.match(head):
            self._finish(sum(map(len, self._line)))
        return True

    def _cut(self, piece: str) -> str:
        """Hand out a piece of a block that is too large; answers what is left of the line's new piece."""
        if self._lines:
            self._hand_out(self._lines, plain=True)
            self._lines = []
            self._size = sum(map(len, self._line))
        else:
            room = LARGEST - self._size
            self._hand_out([*self._line, piece[:room]], plain=True)
            self._line, self._size, piece = [], 0, piece[room:]
            self._is_inside_line, self._is_after_blank = True, False
        self._is_plain = True
        self._kind = self._kind or "text"
        return piece

    def _end_line(self) -> None:
        line = "".join(self._line)
        self._line = []
        if self._is_inside_line:
            self._is_inside_line = False
            self._lines.append(line)
        elif self._kind in ("fence", "endless"):
            self._lines.append(line)
            if self._kind == "fence" and self._closes(line):
                self._finish()
        elif _BLANK.match(line):
            self._lines.append(line)
            if self._kind == "text":
                self._finish()
            else:
                self._is_after_blank = self._kind != ""
        else:
            self._take(line)

    def _take(self, line: str) -> None:
        """A line that is not blank, outside a fence."""
        self._is_after_blank = False
        # Inside a list a line belongs to an item where it is indented enough; two spaces may be.
        indent = 1 if self._kind in ("list", "code") else 3
        if (fence := _FENCE.match(line)) and len(fence["indent"]) <= indent:
            self._begin("fence", line)
            self._fence = fence["fence"]
        elif (heading := _HEADING.match(line)) and len(heading["indent"]) <= indent:
            self._begin("text", line)
            if self._kind == "text":
                self._finish()
        elif self._kind == "text" and _INTERRUPTING.match(line):
            self._begin("list", line)
        else:
            if not self._kind:
                is_code = line.startswith(("    ", "\t"))
                self._kind = "list" if _MARKER.match(line) else "code" if is_code else "text"
            self._lines.append(line)

    def _begin(self, kind: str, line: str) -> None:
        """A line that begins a block, whatever stands before it."""
        if self._kind:
            self._finish(len(line))
        self._kind = self._kind or kind  # `endless` stays
        self._lines.append(line)

    def _finish(self, left: int = 0) -> None:
        """The open block ends here; of what was counted as its characters, so many are the next one's."""
        self._hand_out(self._lines, plain=self._is_plain)
        self._lines, self._size = [], left
        self._is_plain = self._count >= MOST
        self._kind = "endless" if self._is_plain else ""

    def _hand_out(self, pieces: list[str], *, plain: bool) -> None:
        if text := "".join(pieces):
            self._finished.append(Block(text, plain))
            self._count += 1

    def _closes(self, line: str) -> bool:
        mark = line.strip(" \t\r\n")
        is_long_enough = mark.startswith(self._fence) and not mark.strip(self._fence[0])
        return is_long_enough and not line.startswith(("    ", "\t"))
