"""What the build makes: catalogues (``.mo``) of translations (``.po``), for wheels and editable installs.

``python hatch_build.py`` does the same by hand. The gettext tools are not needed.
"""

from __future__ import annotations

import ast
import struct
import sys
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # called by hand
    BuildHookInterface = object

ROOT = Path(__file__).parent
MAGIC = 0x950412DE
FIELDS = {"msgid", "msgid_plural", "msgstr", "msgstr[0]", "msgstr[1]"}


class CustomBuildHook(BuildHookInterface):  # type: ignore[misc,valid-type]
    """Compile before the files are gathered."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """The catalogues are no part of the repository, so they are named to the builder."""
        made = compile_all(Path(self.root))
        build_data["artifacts"] += [path.relative_to(self.root).as_posix() for path in made]


def compile_all(root: Path = ROOT) -> list[Path]:
    """Compile every ``.po`` of the app beside itself; answers what was made."""
    made = []
    for source in sorted((root / "openrouter_app" / "locale").glob("*/LC_MESSAGES/*.po")):
        target = source.with_suffix(".mo")
        compiled = catalogue(entries(source.read_text(encoding="utf-8")))
        if not target.exists() or target.read_bytes() != compiled:
            target.write_bytes(compiled)
        made.append(target)
    return made


def entries(text: str) -> dict[str, str]:
    """``{msgid: msgstr}`` of a ``.po``, without what is marked ``fuzzy``; the header's msgid is "".

    Forms for one and for many are joined by NUL, on both sides, as a ``.mo`` has them.
    """
    found: dict[str, str] = {}
    for block in text.split("\n\n"):
        lines = block.splitlines()
        if any(line.startswith("#,") and "fuzzy" in line for line in lines):
            continue
        fields: dict[str, str] = {}
        name = ""
        for line in lines:
            if not line or line.startswith("#"):
                continue
            if not line.startswith('"'):
                name, _, line = line.partition(" ")
                if name not in FIELDS:
                    raise ValueError(f"hatch_build.py does not know {name}")
            fields[name] = fields.get(name, "") + ast.literal_eval(line)
        if "msgid_plural" in fields:
            many = [fields.get(f"msgstr[{number}]", "") for number in range(2)]
            found[f"{fields['msgid']}\0{fields['msgid_plural']}"] = "\0".join(many) if all(many) else ""
        elif "msgid" in fields:
            found[fields["msgid"]] = fields.get("msgstr", "")
    return found


def quoted(text: str) -> str:
    """A string as it stands in a ``.po``."""
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    return '"' + "".join(escapes.get(character, character) for character in text) + '"'


def catalogue(translations: dict[str, str]) -> bytes:
    """The ``.mo`` file: a header, two tables of (length, offset), the originals sorted, the translations."""
    pairs = sorted((key.encode(), value.encode()) for key, value in translations.items() if value)
    offset = 7 * 4 + 2 * 8 * len(pairs)
    tables, texts = [], b""
    for column in (0, 1):
        for pair in pairs:
            tables.append(struct.pack("<2I", len(pair[column]), offset + len(texts)))
            texts += pair[column] + b"\0"
    head = struct.pack("<7I", MAGIC, 0, len(pairs), 28, 28 + 8 * len(pairs), 0, 28 + 16 * len(pairs))
    return head + b"".join(tables) + texts


if __name__ == "__main__":
    sys.stdout.writelines(f"{path}\n" for path in compile_all())
