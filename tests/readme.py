"""The README's code blocks, for the tests that run them word for word."""

from __future__ import annotations

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[str]:
    """The blocks in this language, in order."""
    return [text for name, text in _BLOCK.findall(README.read_text()) if name == language]


def host_blocks() -> dict[str, str]:
    """The blocks that belong into a host project's files, by the file named in their first line."""
    found = {}
    for block in blocks("python"):
        if named := re.match(r"# (mysite/\w+\.py), at the end\n", block):
            found[named.group(1)] = block
    return found


def examples() -> list[str]:
    """The other Python blocks: they run as they stand."""
    return [block for block in blocks("python") if not block.startswith("# mysite/")]
