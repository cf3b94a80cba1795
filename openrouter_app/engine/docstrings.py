"""What a docstring says of a function and of its parameters, in Google's, NumPy's or reST's form."""

from __future__ import annotations

import inspect
import re

_SECTION = re.compile(
    r"(?:args|arguments|parameters|params|(?:keyword|other) (?:args|arguments|parameters))\s*:", re.IGNORECASE
)
_OTHER_SECTION = re.compile(
    r"(?:returns?|yields?|raises?|examples?|notes?|attributes|references|see also|todo|warnings?|warns)\s*:",
    re.IGNORECASE,
)
_ENTRY = re.compile(r"\*{0,2}(\w+)\s*(?:\(.*?\)\s*)?:\s*(.*)")
_FIELD = re.compile(r":(?:param|parameter|arg|argument|key|keyword)\s+(?:[^:]*\s)?\*{0,2}(\w+)\s*:\s*(.*)")
_OTHER_FIELD = re.compile(r":\w+(?:\s[^:]*)?:(?:\s|$)")
_NAMES = re.compile(r"(\*{0,2}\w+(?:\s*,\s*\*{0,2}\w+)*)\s*(?::.*)?")
_UNDERLINE = re.compile(r"-{3,}|={3,}")


def parse_docstring(text: str) -> tuple[str, dict[str, str]]:
    """The first paragraph, and what is said of each parameter; any text will do.

    Lines that belong together are joined. What only looks like a parameter is reported too: the
    caller knows the names.
    """
    lines = [line.rstrip() for line in inspect.cleandoc(text).splitlines()]
    summary: list[str] = []
    described: dict[str, list[str]] = {}
    in_summary = True
    style, header, entry = "", 0, -1  # the section's style, its indent, and that of its entries
    current: list[str] | None = None  # where lines that go on belong
    for number, line in enumerate(lines):
        below = lines[number + 1].strip() if number + 1 < len(lines) else ""
        words = line.strip()
        indent = len(line) - len(line.lstrip())
        if not words:
            in_summary = in_summary and not summary
        elif _UNDERLINE.fullmatch(below):
            is_ours = _SECTION.fullmatch(f"{words}:") is not None
            style, header, current, in_summary = "numpy" if is_ours else "", indent, None, False
        elif _UNDERLINE.fullmatch(words):
            in_summary = False
        elif _SECTION.fullmatch(words):
            # Where the text begins with it, cleandoc has taken the indent from what stands below.
            style, header, entry, current, in_summary = "google", indent if number else -1, -1, None, False
        elif said := _FIELD.match(words):
            style, header, current, in_summary = "rest", indent, [said[2]], False
            described.setdefault(said[1], current)
        elif _OTHER_FIELD.match(words) or _OTHER_SECTION.fullmatch(words):
            style, current, in_summary = "", None, False
        elif style == "numpy" and indent <= header:
            current = []
            named = _NAMES.fullmatch(words)
            for name in named[1].split(",") if named else ():
                described.setdefault(name.strip().lstrip("*"), current)
        elif style == "google" and indent > header and (entry < 0 or indent <= entry):
            entry = indent
            if said := _ENTRY.fullmatch(words):
                current = described.setdefault(said[1], [said[2]])
            elif current is not None:
                current.append(words)
        elif style and indent > header:
            if current is not None:
                current.append(words)
        elif in_summary:
            summary.append(words)
        else:
            style, current = "", None
    return " ".join(summary), {name: " ".join(filter(None, said)) for name, said in described.items()}
