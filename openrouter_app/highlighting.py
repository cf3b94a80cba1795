"""Code with classes for its colours, by Pygments: languages that people write, in bounded pieces.

Only the languages below are read, each tried against text that is meant to hold a lexer up; what is
too long, has a line that is, or is written in another language stays as it is.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

LARGEST = 8_000
"""Characters that are coloured."""
SLOW = {"java": 4_000}
"""The same for a lexer that looks for the end of a word's line again and again."""
LONGEST_LINE = 500
"""A longer line is no code that anybody reads."""
_GAP = re.compile(r"\s{80}")
"""White space that lexers of the C family look through again and again."""

LEXERS = {
    "bash": "bash sh shell zsh console",
    "c": "c h",
    "cpp": "cpp c++ cc hpp",
    "csharp": "csharp c# cs",
    "css": "css",
    "diff": "diff patch",
    "docker": "dockerfile docker",
    "go": "go golang",
    "html": "html",
    "ini": "ini cfg",
    "java": "java",
    "javascript": "javascript js jsx mjs",
    "json": "json jsonc",
    "kotlin": "kotlin kt",
    "php": "php",
    "python": "python py python3",
    "ruby": "ruby rb",
    "rust": "rust rs",
    "sql": "sql",
    "swift": "swift",
    "toml": "toml",
    "typescript": "typescript ts tsx",
    "xml": "xml svg",
    "yaml": "yaml yml",
}
"""Pygments' name of each language, and the names people give it."""
_NAMES = {name: lexer for lexer, names in LEXERS.items() for name in names.split()}


def highlighted(code: str, language: str) -> str | None:
    """The code as HTML with classes ``hl-*``; None where it is to be shown as it is."""
    name = _NAMES.get(language)
    if name is None or len(code) > SLOW.get(name, LARGEST) or _GAP.search(code):
        return None
    if max(map(len, code.split("\n"))) > LONGEST_LINE:
        return None
    from pygments import highlight

    html = str(highlight(code, _lexer(name), _formatter()))
    return html if code.endswith("\n") else html.removesuffix("\n")


@lru_cache(maxsize=len(LEXERS))
def _lexer(name: str) -> Any:
    from pygments.lexers import get_lexer_by_name

    return get_lexer_by_name(name, stripnl=False, ensurenl=False)


@lru_cache(maxsize=1)
def _formatter() -> Any:
    from pygments.formatters import HtmlFormatter

    return HtmlFormatter(nowrap=True, classprefix="hl-")
