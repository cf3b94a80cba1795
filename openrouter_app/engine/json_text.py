"""JSON in a model's answer: found in the text around it and parsed while it comes.

::

    found = JSONText()
    found.feed('Here:\\n```json\\n{"setup": "Wh')  # adds {} at "", the root, and "Wh" at "/setup"
    found.feed('y?"}\\n```\\nMore?')                # [{"op": "append", "path": "/setup", "value": "y?"}]
    found.close()                                 # {"setup": "Why?"}

Which JSON is the answer, the best first:

1. The first object or array that opens a Markdown fence (````` ``` ````` or ``~~~``, bare or called
   json), or stands anywhere in one called json. Once it is whole the search is over.
2. The first one in the text. One behind prose that is empty or holds a few integers only, as ``[1]``
   does, may be a footnote and counts where there is nothing better.
3. A string, number, true, false or null: only where it is the whole text or the whole fence.

What breaks is dropped at the character that breaks it, and the search goes on behind. It goes on behind
the closing bracket where something was in it: a piece of a broken answer is no answer.

The one rule is `PartialJSON`'s: a feed costs what it brings. So candidates are fed in small portions
first, none is read again but for what a fence in it may hide, and what waits for its other half is short.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, cast

from .errors import OutputError, PartialJSONError
from .operations import MAX_PATH, MISSING, Operation, merge
from .partial_json import END, KEY, MAX_LENGTH, SCALAR, STRING, VALUE, PartialJSON

PORTION = 64
"""Characters of a candidate's first portion; each later one is as long as all before."""

# What is read now.
CONTENT, PROSE, INFO, LINE = "content", "prose", "info", "line"
CANDIDATE, REST, DONE = "candidate", "rest", "done"

_CONTENT = re.compile(r"[^ \t\r\n\ufeff]")
_SCALARS = '"-0123456789tfn'
_MOST_MARKS = 12
_FENCES = re.compile(rf"`{{3,{_MOST_MARKS}}} | ~{{3,{_MOST_MARKS}}} | [`~]{{1,2}}\Z", re.VERBOSE)
# A bracket opens a candidate only where the next character could follow in JSON.
_SIGNS = re.compile(
    _FENCES.pattern
    + r"""| \{ (?= [ \t\r\n]* (?: ["}] | \Z ) )
          | \[ (?= [ \t\r\n]* (?: []"{[0-9tfn-] | \Z ) )""",
    re.VERBOSE,
)
_INFO = re.compile(r"[ \t]{0,16}([\w+.#-]{0,24})[ \t]{0,16}")
_LINE_END = re.compile(r"[\n`]")
_FENCE_LINE = re.compile(r"\n[ \t]*(?=`{3}|~{3})")
_OUTSIDE = re.compile(r'["{}\[\]] | `{3} | ~{3} | [`~]{1,2}\Z', re.VERBOSE)
_INSIDE = re.compile(r'" | \\. | \\\Z | `{3} | ~{3} | [`~]{1,2}\Z', re.VERBOSE | re.DOTALL)


class JSONText:
    """Finds the JSON in one text as it comes.

    ``max_length`` counts characters of the text; what comes behind is not read. What is found, and
    `value` after any part of the text, do not depend on how it was cut. `raw` is the text so far.
    """

    def __init__(self, *, max_length: int = MAX_LENGTH) -> None:
        self._max_length = max_length
        self._pieces: list[str] = []
        self._length, self._is_longer = 0, False
        # The text at hand, how far it is read, where it stands in the whole; what waits for its other half.
        self._text, self._at, self._base, self._held = "", 0, 0, ""
        self._state = CONTENT
        # The marks just read; the marks of the fence one is in, whether it is called json and whether
        # what opens it counts.
        self._marks, self._fence, self._is_json, self._counts = "", "", False, False
        # The candidate that is read, where in the text at hand it begins, its text from before that;
        # the best that is whole, and whether only a fence could bring a better one.
        self._candidate: _Candidate | None = None
        self._origin, self._before = 0, list[str]()
        self._best: _Candidate | None = None
        self._is_settled = False
        # What the last operations told of; why something broke; how far that was, if a fence hid in it;
        # the brackets and quotes to close behind it.
        self._shown: _Candidate | None = None
        self._broken: PartialJSONError | None = None
        self._reread, self._depth, self._is_quoted = 0, 0, False

    def feed(self, text: str) -> list[Operation]:
        """Read more text; answer what it changed in `value`, as operations.

        Where something better was found the first one replaces the root. None are answered while there
        is no value, and while the path of what grows is longer than `MAX_PATH`: the whole comes later.
        """
        room = self._max_length - self._length
        if len(text) > room:
            text, self._is_longer = text[:room], True
        self._pieces.append(text)
        self._length += len(text)
        if self._state == DONE:
            return []
        self._text, self._held, self._at = self._held + text, "", 0
        self._read()
        return self._operations()

    def finish(self) -> list[Operation]:
        """Say that this was all; answer the operations that are still missing.

        Raises `OutputError`, with ``raw``, where the text holds no JSON or ends before it does.
        """
        while (candidate := self._candidate) is not None and candidate.is_scalar:
            try:
                candidate.close()
            except PartialJSONError:
                self._text = ""
                self._reread_scalar()
                self._read()
            else:
                self._take(candidate)
        if candidate is not None and candidate is self._source() and not (self._best and self._best.is_first):
            raise self._failure("The answer ends before its JSON does.")
        if self._best is None:
            message = "The answer holds no JSON." if self._broken is None else "The answer's JSON is broken."
            raise self._failure(message) from self._broken
        self._candidate, self._state = None, DONE
        return self._operations()

    def close(self) -> Any:
        """Say that this was all; answer `value`. Raises as `finish` does."""
        self.finish()
        return self.value

    @property
    def value(self) -> Any:
        """The live value so far, or `MISSING`: later feeds change it, you must not."""
        source = self._source()
        return MISSING if source is None else source.value

    def snapshot(self) -> Any:
        """An independent copy of `value`, at the cost of all of it."""
        source = self._source()
        return MISSING if source is None else source.snapshot()

    @property
    def open(self) -> str | None:
        """The path of the deepest value that can still grow; None where `value` is whole."""
        source = self._source()
        return "" if source is None else source.open

    @property
    def raw(self) -> str:
        """The text so far."""
        self._pieces = ["".join(self._pieces)]
        return self._pieces[0]

    def _source(self) -> _Candidate | None:
        """What is shown: the candidate, once it may be more than punctuation, or the best so far."""
        candidate = self._candidate
        if candidate is None or candidate.is_scalar:
            return self._best
        return candidate if candidate.is_solid or (candidate.is_first and not self._best) else self._best

    def _operations(self) -> list[Operation]:
        operations: list[Operation] = []
        if (source := self._source()) is not None:
            if source is not self._shown and not source.is_new:
                operations = [{"op": "add", "path": "", "value": source.snapshot()}]
            elif not source.is_late:
                operations = source.operations
            self._shown = source
        for candidate in (self._candidate, self._best):
            if candidate is not None:
                candidate.operations, candidate.is_new = [], False
        return operations

    def _failure(self, message: str) -> OutputError:
        if self._is_longer:
            message = f"The answer is longer than {self._max_length:,} characters."
        return OutputError(message, raw=self.raw)

    # Readers: each takes the text at hand on from where it is read to.
    def _read(self) -> None:
        while self._at < len(self._text):
            _READERS[self._state](self)
        if self._candidate is not None:
            self._before.append(self._text[max(self._origin, 0) :])
            self._origin -= len(self._text)
        self._base += len(self._text) - len(self._held)

    def _hold(self, at: int) -> None:
        """What stands here is read when it is known what follows."""
        self._held, self._at = self._text[at:], len(self._text)

    def _read_content(self) -> None:
        """The start of the text or of a fence that counts."""
        content = _CONTENT.search(self._text, self._at)
        self._at = len(self._text) if content is None else content.start()
        if content is None:
            return
        if (char := content.group()) in "{[" or char in _SCALARS:
            self._begin(is_first=True, is_fenced=bool(self._fence), is_scalar=char in _SCALARS)
        else:
            self._state = PROSE

    def _read_prose(self) -> None:
        signs = _FENCES if self._is_settled and not self._is_json else _SIGNS
        sign = signs.search(self._text, self._at)
        if sign is None:
            self._at = len(self._text)
        elif (marks := sign.group()) in "{[":
            self._at = sign.start()
            self._begin(is_first=False, is_fenced=self._is_json)
        elif sign.end() == len(self._text) and len(marks) < _MOST_MARKS:
            self._hold(sign.start())
        else:
            self._marks, self._state, self._at = marks, INFO, sign.end()

    def _read_info(self) -> None:
        """Behind the marks: what the fence is called. Marks without a name close an open fence."""
        info = _INFO.match(self._text, self._at)
        if info is None or info.end() == len(self._text):  # it matches nothing, too
            self._hold(self._at)
            return
        self._at, following, name = info.end(), self._text[info.end()], info[1].lower()
        if self._fence and not name:
            if self._marks.startswith(self._fence):
                self._fence, self._is_json = "", False
            self._state = PROSE
            return
        self._fence, self._is_json = self._marks, name.startswith("json")
        self._counts = self._is_json or not name
        self._state = CONTENT if self._counts and following in "{[" else LINE

    def _read_line(self) -> None:
        """The rest of the line that opens a fence. Marks in it make it code in a line."""
        end = _LINE_END.search(self._text, self._at)
        if end is None:
            self._at = len(self._text)
            return
        self._at = end.end()
        if end.group() == "`":
            self._fence, self._is_json, self._counts = "", False, False
        self._state = CONTENT if self._counts else PROSE

    def _begin(self, *, is_first: bool, is_fenced: bool, is_scalar: bool = False) -> None:
        self._candidate = _Candidate(is_first, is_fenced, is_scalar)
        self._origin, self._before, self._state = self._at, [], CANDIDATE

    def _read_value(self) -> None:
        candidate, begin = cast(_Candidate, self._candidate), self._at
        self._at = min(begin + max(PORTION, candidate.length), len(self._text))
        try:
            candidate.feed(self._text[begin : self._at])
        except PartialJSONError as error:
            if candidate.is_scalar:
                self._reread_scalar()
            else:
                self._drop(candidate, error)
            return
        if candidate.end is not None:
            self._at = self._origin + candidate.end
        if not candidate.is_scalar:
            if candidate.open is None:
                self._take(candidate)
        elif candidate.end is not None:
            if self._text[self._at] == self._fence[:1]:
                self._take(candidate)
            else:
                self._reread_scalar()

    def _take(self, whole: _Candidate) -> None:
        self._candidate, self._state = None, PROSE
        counts = whole.is_first or whole.is_solid
        if counts or (self._best is None and self._broken is None):
            self._best, self._is_settled = whole, counts
        if whole.is_late or whole.is_scalar:  # what was not told, or not all of it, is told at once
            self._shown, whole.is_new = None, False
        if counts and (whole.is_fenced or whole.is_scalar):
            self._state, self._at = DONE, len(self._text)

    def _recall(self) -> None:
        """Take the text of the candidate at hand again, and give the candidate up."""
        before = "".join(self._before)
        self._text = before + self._text
        self._origin += len(before)
        self._base -= len(before)
        self._candidate, self._before, self._state = None, [], PROSE

    def _reread_scalar(self) -> None:
        """It was the beginning of prose: read that as such."""
        self._recall()
        self._at = self._origin + 1

    def _drop(self, broken: _Candidate, error: PartialJSONError) -> None:
        """Go on at the character that broke it: behind the rest of it if there was something in it."""
        self._recall()
        self._at = self._origin + error.position
        hidden = _FENCE_LINE.search(self._text, self._origin, self._at)
        if broken.is_solid:
            self._broken = error
            if self._best is not None and not self._best.is_first:
                self._best, self._is_settled = None, False
            self._depth, self._is_quoted = broken.depth, broken.is_quoted
            self._state = REST
        if hidden and self._base + hidden.end() >= self._reread:  # in what it took for a string
            self._reread = self._base + self._at
            self._at, self._state = hidden.end(), PROSE

    def _read_rest(self) -> None:
        """The rest of what broke: up to the bracket that closes it, or to a fence."""
        while mark := (_INSIDE if self._is_quoted else _OUTSIDE).search(self._text, self._at):
            char, is_half = mark.group()[0], mark.group() in ("\\", "`", "~", "``", "~~", "`~", "~`")
            if is_half:
                self._hold(mark.start())
                return
            if char in "`~":
                self._at, self._state = mark.start(), PROSE
                return
            self._at = mark.end()
            if char == '"':
                self._is_quoted = not self._is_quoted
            elif char != "\\":
                self._depth += 1 if char in "{[" else -1
                if not self._depth:
                    self._state = PROSE
                    return
        self._at = len(self._text)


_READERS: dict[str, Callable[[JSONText], None]] = {
    CONTENT: JSONText._read_content,
    PROSE: JSONText._read_prose,
    INFO: JSONText._read_info,
    LINE: JSONText._read_line,
    CANDIDATE: JSONText._read_value,
    REST: JSONText._read_rest,
}


class _Candidate(PartialJSON):
    """A value that other text may follow.

    ``operations`` are those of the present feed of the text, and ``is_new`` says that these are all.
    ``end`` is where other text follows, counted from the first character. ``is_late``: a path was too
    long to be told, so operations are worth nothing, but the value is right.
    """

    def __init__(self, is_first: bool, is_fenced: bool, is_scalar: bool) -> None:
        super().__init__()
        self.is_first, self.is_fenced, self.is_scalar = is_first, is_fenced, is_scalar
        self.is_solid = False  # more is in it than in a footnote
        self.is_new, self.is_late = True, False
        self.operations: list[Operation] = []
        self.end: int | None = None

    def feed(self, text: str) -> list[Operation]:
        try:
            operations = super().feed(text)
        except PartialJSONError as error:
            if self._state != END:
                self._weigh()
                raise
            self.end = error.position
            operations = self._operations  # nothing is open, so they are complete
        self._weigh()
        merge(self.operations, operations)
        return operations

    def _weigh(self) -> None:
        if not self.is_solid and not self.is_scalar:
            value = self.value
            if isinstance(value, dict):
                self.is_solid = bool(value) or self._state in (VALUE, SCALAR)
            else:
                self.is_solid = len(value) > 8 or any(type(item) is not int for item in value)

    def _next_path(self) -> str:
        path = "" if self.is_late else super()._next_path()
        self.is_late = self.is_late or len(path) > MAX_PATH
        return "" if self.is_late else path

    @property
    def open(self) -> str | None:
        return "" if self.is_late and self._state != END else super().open

    @property
    def length(self) -> int:
        return self._length

    @property
    def depth(self) -> int:
        return len(self._stack) - 1

    @property
    def is_quoted(self) -> bool:
        return self._state in (STRING, KEY)
