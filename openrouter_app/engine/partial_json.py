"""JSON that is still being written: its text in, in any pieces; operations on its value out.

::

    parser = PartialJSON()
    parser.feed('{"setup": "Wh')   # adds {} at "", the root, and "Wh" at "/setup"
    parser.feed('y?"')             # [{"op": "append", "path": "/setup", "value": "y?"}]
    parser.open                    # "": the string is complete, the object may grow
    parser.feed("}")               # []; and now parser.close() answers {"setup": "Why?"}

It is no repair tool: what is no JSON is an error at once. Nor does it guess: strings grow as they arrive,
keys appear with their value, a number at the character after it, ``true`` and such at the last letter.

The one rule: a feed costs what it brings, whatever came before. So nothing looks back at text already
read, an open string is a list of pieces until it is asked for, and its path is rendered once.

The value is that of ``json.loads(text, strict=False)``, but for what no browser or database takes:
lone surrogates and U+0000 become U+FFFD (in keys too), and NaN, Infinity, numbers that overflow or
have more than 4,300 digits, and texts too deep or too long are errors.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import partial
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Any, NoReturn, TypeAlias

from .errors import PartialJSONError
from .operations import MISSING, Operation, copied

MAX_LENGTH = 1_000_000
MAX_DEPTH = 128
MAX_DIGITS = 4300  # Python's default for reading an int; no setting of the host raises it here


# What must come next, in the words of an error; or which token is open.
VALUE, ITEM, COLON, END = "a value", "a value or ']'", "':'", "nothing more"
FIRST_KEY, NEXT_KEY = "a key in double quotes or '}'", "a key in double quotes"
AFTER_ITEM, AFTER_MEMBER = "',' or ']'", "',' or '}'"
STRING, KEY, SCALAR = _TOKENS = "a string", "a key", "a number, true, false or null"

# What may stand between the quotes of a string or key, in this order, and what it says. What the end
# of a feed cuts, an escape or a surrogate pair, is read with the next feed.
_TEXT = re.compile(
    r"""(?P<simple> (?: [^"\\\x00]+ | \\["\\/bfnrt] ){1,1000} )
      | (?P<quote> " )
      | (?P<pair> \\u[dD][89abAB]XX \\u[dD][c-fC-F]XX )
      | (?P<cut> \\ (?: u (?: X{0,3} | [dD][89abAB]XX (?: \\ (?: u (?: [dD] (?: [c-fC-F]X? )?)?)?)? ))? \Z )
      | (?P<unfit> \x00 | \\u0000 | \\u[dD][89a-fA-F]XX )
      | (?P<code> \\uXXXX )
      | (?P<wrong> \\ (?: uX{0,3} )? )""".replace("X", "[0-9a-fA-F]"),
    re.VERBOSE,
).finditer
# The same where neither quote nor surrogate comes: what nearly every piece of a long string is. The second
# must not be made to match up to an end: it would try every way to divide the text.
_PLAIN = re.compile(r"[^\"\\\x00]+").fullmatch
_SIMPLE = re.compile(r"(?:[^\"\\\x00]+|\\[\"\\/bfnrt]){0,1000}").match
_no_surrogates = partial(re.compile("[\ud800-\udfff]").sub, "\ufffd")  # of halves that are no escapes


def _unescaped(raw: str) -> str:
    """What stands between quotes, without surrogates, says."""
    text: str = scanstring(raw + '"', 0, False)[0]
    return text


_SAYS: dict[str | None, Callable[[str], str]] = {
    "simple": lambda raw: _unescaped(raw) if "\\" in raw else raw,
    "pair": lambda raw: chr(0x10000 + (int(raw[2:6], 16) - 0xD800 << 10) + int(raw[8:], 16) - 0xDC00),
    "unfit": lambda raw: "\ufffd",
    "code": lambda raw: chr(int(raw[2:], 16)),
}

# Numbers and words: {how far one has come: {character: how far it is then}}, and where it may end, with
# who reads it. A number ends at the character after it, a word at its last.
_WORDS = {"true": True, "false": False, "null": None}
_NONZERO, _DIGITS, _E = "123456789", "0123456789", {"e": "e", "E": "e"}
_SCALAR: dict[str, dict[str, str]] = {
    "": {"-": "-", "0": "zero", **dict.fromkeys(_NONZERO, "whole"), "t": "t", "f": "f", "n": "n"},
    "-": {"0": "zero", **dict.fromkeys(_NONZERO, "whole")},
    "zero": {".": ".", **_E},
    "whole": {**dict.fromkeys(_DIGITS, "whole"), ".": ".", **_E},
    ".": dict.fromkeys(_DIGITS, "fraction"),
    "fraction": {**dict.fromkeys(_DIGITS, "fraction"), **_E},
    "e": {**dict.fromkeys(_DIGITS, "exponent"), "+": "sign", "-": "sign"},
    **{step: dict.fromkeys(_DIGITS, "exponent") for step in ("sign", "exponent")},
    **{w[:at]: dict.fromkeys(w[at : at + 1], w[: at + 1]) for w in _WORDS for at in range(1, len(w) + 1)},
}
_NUMBERS: dict[str, type[float]] = {"zero": int, "whole": int, "fraction": float, "exponent": float}


class PartialJSON:
    """Reads one JSON text as it arrives.

    ``max_length`` counts characters, not bytes; ``max_depth`` arrays and objects around one another.
    An error is final: every later `feed` and `close` raises it again. Its ``position``, whatever the
    cut, is the first character with which the text can be no JSON any more (of a number that
    overflows: its first). The operations of the feed that fails are lost.
    """

    def __init__(self, *, max_length: int = MAX_LENGTH, max_depth: int = MAX_DEPTH) -> None:
        self._max_length, self._max_depth = max_length, max_depth
        self._error: PartialJSONError | None = None
        self._state = VALUE
        # The open containers, each with what follows a value in it; the newest key in each; what paths
        # in them begin with, as far as they were added. The first is a holder that has the root as "".
        self._holder: dict[str, Any] = {}
        self._stack: list[tuple[dict[str, Any] | list[Any], str]] = [(self._holder, END)]
        self._keys: list[Any] = [""]
        self._prefixes = [""]
        # The open token. A string: how many pieces operations have told; its path once it was added.
        # A number or word: how far it has come, how many digits, its position.
        self._pieces: list[str] = []
        self._path: str | None = None
        self._growing: str | None = None  # the same, where a feed may go the short way
        self._told, self._step, self._digits, self._start = 0, "", 0, 0
        # The feed: its operations; the position of its text, which begins with what the last feed cut.
        self._operations: list[Operation] = []
        self._base, self._cut, self._length = 0, "", 0

    def feed(self, text: str) -> list[Operation]:
        """Read more text; answer what it changed, as operations that share nothing with `value`.

        What opens is added as far as it comes in this feed, save for an open value in it, which gets an
        operation of its own: so the last path is at or below `open`. Raises `PartialJSONError`.
        """
        if not text.isascii():
            text = _no_surrogates(text)
        if (path := self._growing) is not None and (end := self._length + len(text)) <= self._max_length:
            said = self._cut + text
            if not _PLAIN(said):
                simple = _SIMPLE(said).group()  # type: ignore[union-attr]
                if (cut := said[len(simple) :]) not in ("", "\\"):
                    return self._feed(text)
                self._cut, said = cut, _unescaped(simple)
            self._length = end
            if not said:
                return []
            self._pieces.append(said)
            return [{"op": "append", "path": path, "value": said}]
        return self._feed(text)

    def _feed(self, text: str) -> list[Operation]:
        """`feed`, without the short way for the middle of a long string."""
        if self._error:
            raise self._error.with_traceback(None)
        room = self._max_length - self._length
        text, too_long = text[:room], len(text) > room  # an error before the limit comes first
        self._base = self._length - len(self._cut)
        self._length += len(text)
        text, self._cut = self._cut + text, ""
        self._operations, self._told, self._growing = [], len(self._pieces), None
        position, end = 0, len(text)
        while position < end:
            if self._state in _TOKENS:
                read = self._read_scalar if self._state == SCALAR else self._read_text
                position = read(text, position)
            elif (rule := _RULES[self._state].get(text[position])) is None:
                self._fail(f"{self._state} was expected", self._base + position)
            elif isinstance(rule, str):
                self._state, position = rule, position + 1
            else:
                position = rule(self, text, position)
        if too_long:
            self._fail(f"the text is longer than {self._max_length:,} characters", self._length)
        self._add_containers()
        if self._state == STRING:
            self._tell()
            if self._cut in ("", "\\"):
                self._growing = self._path
        return self._operations

    def close(self) -> Any:
        """Say that this was all; answer `value`. Raises `PartialJSONError` where it is no whole JSON.

        Empty text is none: the caller knows where it stands for ``{}``. A bare number appears only here,
        without an operation; ``feed("\\n")`` before makes one.
        """
        if self._error:
            raise self._error.with_traceback(None)
        self._operations = []  # the last list is the caller's
        if self._state == SCALAR and len(self._stack) == 1:
            self._base = self._length
            self._read_scalar("\n", 0)
        if self._state != END:
            self._fail("the text ends before its value does", self._length)
        return self._holder[""]

    @property
    def value(self) -> Any:
        """The live value so far, or `MISSING`: later feeds change it, you must not. Joins the open string."""
        if self._state == STRING:
            self._pieces = ["".join(self._pieces)]
            self._stack[-1][0][self._keys[-1]] = self._pieces[0]
        return self._holder.get("", MISSING)

    def snapshot(self) -> Any:
        """An independent copy of `value`, at the cost of all of it."""
        return copied(self.value)

    @property
    def open(self) -> str | None:
        """The path of the deepest value that can still grow; None once the text is complete.

        Only it and its ancestors can still change: all else in `value` is complete. (But where a key
        comes twice in one object, its second value replaces the first, in its place.)
        """
        if self._state == END:
            return None
        return self._path if self._state == STRING else self._prefixes[-1][:-1]

    # Readers and rules: from the text and a position in it to the position after what they took.
    def _open_text(self, text: str, position: int) -> int:
        self._state = KEY if self._state in (FIRST_KEY, NEXT_KEY) else STRING
        self._pieces, self._told, self._path = [], 0, None
        if self._state == STRING:
            self._place("")
        return position + 1

    def _read_text(self, text: str, position: int) -> int:
        for token in _TEXT(text, position):
            kind = token.lastgroup
            if kind in _SAYS:
                self._pieces.append(_SAYS[kind](token.group()))
            elif kind == "cut":
                self._cut = token.group()
            elif kind == "wrong":
                self._fail("there is no such escape", self._base + token.end())
            elif self._state == KEY:
                self._keys[-1], self._state = "".join(self._pieces), COLON
                return token.end()
            else:
                self._stack[-1][0][self._keys[-1]] = "".join(self._pieces)
                if len(self._prefixes) == len(self._stack):
                    self._tell()
                self._state = self._stack[-1][1]
                return token.end()
        return len(text)

    def _read_scalar(self, text: str, position: int) -> int:
        if self._state != SCALAR:
            self._state, self._pieces = SCALAR, []
            self._step, self._digits, self._start = "", 0, self._base + position
        begin, end = position, len(text)
        while position < end and (step := _SCALAR[self._step].get(text[position])):
            self._step = step
            self._digits += step in _NUMBERS
            if self._digits > MAX_DIGITS:
                self._fail(f"a number has more than {MAX_DIGITS:,} digits", self._base + position)
            position += 1
        self._pieces.append(text[begin:position])
        if self._step in _WORDS or (position < end and self._step in _NUMBERS):
            raw = "".join(self._pieces)
            try:
                value = _WORDS[raw] if raw in _WORDS else _NUMBERS[self._step](raw)
            except ValueError:  # the host has lowered Python's limit of digits
                value = math.inf
            if value in (math.inf, -math.inf):
                self._fail("a number is too large", self._start)
            self._place(value)
            self._end_value(value)
        elif position < end:
            self._fail("this is no number, true, false or null", self._base + position)
        return position

    def _open_container(self, text: str, position: int) -> int:
        if len(self._stack) > self._max_depth:
            self._fail(f"the value is nested more than {self._max_depth} deep", self._base + position)
        is_object = text[position] == "{"
        container: dict[str, Any] | list[Any] = {} if is_object else []
        self._place(container)
        self._stack.append((container, AFTER_MEMBER if is_object else AFTER_ITEM))
        self._keys.append("")
        self._state = FIRST_KEY if is_object else ITEM
        return position + 1

    def _close_container(self, text: str, position: int) -> int:
        container, _ = self._stack.pop()
        self._keys.pop()
        if len(self._prefixes) > len(self._stack):
            self._prefixes.pop()
            self._state = self._stack[-1][1]
        else:
            self._end_value(container)
        return position + 1

    def _place(self, value: Any) -> None:
        parent = self._stack[-1][0]
        if isinstance(parent, list):
            self._keys[-1] = len(parent)
            parent.append(value)
        else:
            parent[self._keys[-1]] = value

    def _end_value(self, value: Any) -> None:
        if len(self._prefixes) == len(self._stack):  # else it is added with the container it is in
            self._operations.append({"op": "add", "path": self._next_path(), "value": copied(value)})
        self._state = self._stack[-1][1]

    def _add_containers(self) -> None:
        """Add those that opened in this feed and stay open, each without the open value in it."""
        for level in range(len(self._prefixes), len(self._stack)):
            container, key, path = self._stack[level][0], self._keys[level], self._next_path()
            if level + 1 < len(self._stack) or self._state == STRING:
                container = container[:-1] if isinstance(container, list) else {**container, key: None}
                if isinstance(container, dict) and next(reversed(container)) == key:
                    del container[key]  # else it came before, and keeps its place
            self._operations.append({"op": "add", "path": path, "value": copied(container)})
            self._prefixes.append(path + "/")

    def _tell(self) -> None:
        """Make the operation for what this feed brought of the open string."""
        text = "".join(self._pieces[self._told :])
        if self._path is None:
            self._path = self._next_path()
            self._operations.append({"op": "add", "path": self._path, "value": text})
        elif text:
            self._operations.append({"op": "append", "path": self._path, "value": text})

    def _next_path(self) -> str:
        """The path of the newest value in the last container that was added."""
        key = str(self._keys[len(self._prefixes) - 1])
        return self._prefixes[-1] + key.replace("~", "~0").replace("/", "~1")

    def _fail(self, what: str, position: int) -> NoReturn:
        self._growing = None
        self._error = PartialJSONError(f"This is no JSON: {what} at character {position}.", position=position)
        raise self._error


_Rule: TypeAlias = str | Callable[[PartialJSON, str, int], int]

# Between tokens: {what must come next: {character: what comes then, or who reads on}}.
_A_VALUE: dict[str, _Rule] = {
    '"': PartialJSON._open_text,
    **dict.fromkeys("{[", PartialJSON._open_container),
    **dict.fromkeys(_SCALAR[""], PartialJSON._read_scalar),
}
_RULES: dict[str, dict[str, _Rule]] = {
    VALUE: _A_VALUE,
    ITEM: {**_A_VALUE, "]": PartialJSON._close_container},
    FIRST_KEY: {'"': PartialJSON._open_text, "}": PartialJSON._close_container},
    NEXT_KEY: {'"': PartialJSON._open_text},
    COLON: {":": VALUE},
    AFTER_ITEM: {",": VALUE, "]": PartialJSON._close_container},
    AFTER_MEMBER: {",": NEXT_KEY, "}": PartialJSON._close_container},
    END: {},
}
_RULES = {state: {**rules, **dict.fromkeys(" \t\n\r", state)} for state, rules in _RULES.items()}


def complete(text: str, *, max_length: int = MAX_LENGTH) -> Any:
    """Read at once a text that is whole but may be cut off or wrong, such as the arguments of a call.

    None where nothing can be made of it or it is longer than ``max_length`` characters. Not for streams:
    the library it asks reads all of it each time, in time that grows with its square (7 s for 1 MB).
    """
    if len(text) > max_length:
        return None
    try:
        import partial_json_parser as library  # type: ignore[import-untyped,unused-ignore]

        parser = PartialJSON(max_length=max_length + MAX_DEPTH + 1)  # room for the closing marks
        parser.feed(library.ensure_json(text.strip(" \t\n\r"), library.STR | library.ARR | library.OBJ))
        return parser.close()
    except Exception:  # the library raises nearly anything, RecursionError too
        return None
