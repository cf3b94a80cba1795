"""The app's strings, and their translations: ``python -m tests.messages`` brings the catalogues up to date.

No gettext tools are needed: what is marked in the code is found by its syntax tree, what is marked in
templates by Django's own lexer. New strings come in untranslated, and a test says so.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings
from django.template.base import Lexer, TokenType

from hatch_build import entries, quoted

ROOT = Path(__file__).parents[1]
APP = ROOT / "openrouter_app"
MARKS = {"_", "gettext", "gettext_lazy", "gettext_noop"}
PLURAL_MARKS = {"ngettext", "ngettext_lazy"}
UNSUPPORTED = {"pgettext", "pgettext_lazy", "npgettext", "npgettext_lazy"}
_STRING = r"""("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
_TRANSLATE = re.compile(rf"(?:translate|trans)\s+{_STRING}")
_CALL = re.compile(rf"\b_\({_STRING}\)")

HEADER = """# {language} translation of django-openrouter-chains.
msgid ""
msgstr ""
"Language: {code}\\n"
"MIME-Version: 1.0\\n"
"Content-Type: text/plain; charset=UTF-8\\n"
"Content-Transfer-Encoding: 8bit\\n"
"Plural-Forms: nplurals=2; plural=(n != 1);\\n"
"""


def marked() -> dict[str, list[str]]:
    """Every string of the app that is marked, with the files that have it."""
    found: dict[str, list[str]] = {}
    for path in [*sorted(APP.rglob("*.py")), *sorted(APP.rglob("*.html"))]:
        name = path.relative_to(ROOT).as_posix()
        for text in in_python(path) if path.suffix == ".py" else in_template(path):
            places = found.setdefault(text, [])
            if name not in places:
                places.append(name)
    return found


def in_python(path: Path) -> Iterator[str]:
    """The strings a module marks. Raises ValueError for what the catalogues cannot hold."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
            continue
        if node.func.id in UNSUPPORTED:
            raise ValueError(f"{path}: teach tests/messages.py what {node.func.id} is")
        count = 1 if node.func.id in MARKS else 2 if node.func.id in PLURAL_MARKS else 0
        texts = [text.value for text in node.args[:count] if isinstance(text, ast.Constant)]
        if len(texts) < count:
            raise ValueError(f"{path}, line {node.lineno}: only a literal can be found here")
        if count:
            yield "\0".join(texts)


def in_template(path: Path) -> Iterator[str]:
    """The strings a template marks."""
    for token in Lexer(path.read_text()).tokenize():
        if token.token_type is TokenType.BLOCK:
            if token.contents.split()[:1] in (["blocktranslate"], ["blocktrans"]):
                raise ValueError(f"{path}: teach tests/messages.py what blocktranslate is")
            if found := _TRANSLATE.match(token.contents):
                yield ast.literal_eval(found[1])
                continue
        if token.token_type in (TokenType.BLOCK, TokenType.VAR):
            for call in _CALL.findall(token.contents):
                yield ast.literal_eval(call)


def catalogue(code: str) -> Path:
    """The file with a language's translations."""
    return APP / "locale" / code / "LC_MESSAGES" / "django.po"


def update(code: str, language: str) -> int:
    """Bring a catalogue up to date; answers how many strings wait for a translation."""
    path = catalogue(code)
    known = entries(path.read_text()) if path.exists() else {}
    text = HEADER.format(code=code, language=language)
    waiting = 0
    for message, places in sorted(marked().items(), key=lambda item: (item[1][0], item[0])):
        translation = known.get(message, "")
        waiting += not translation
        is_format = bool(re.search(r"%(\(\w+\))?[sd]", message))
        text += "\n" + "".join(f"#: {place}\n" for place in places)
        text += "#, python-format\n" if is_format else ""
        text += entry(message, translation)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return waiting


def entry(message: str, translation: str) -> str:
    """An entry of a catalogue."""
    if "\0" not in message:
        return f"msgid {quoted(message)}\nmsgstr {quoted(translation)}\n"
    one, many = message.split("\0")
    forms = translation.split("\0") if translation else ["", ""]
    said = "".join(f"msgstr[{number}] {quoted(form)}\n" for number, form in enumerate(forms))
    return f"msgid {quoted(one)}\nmsgid_plural {quoted(many)}\n{said}"


if __name__ == "__main__":
    if not settings.configured:
        settings.configure()
    left = update("de", "German")
    print(f"{left} strings wait for a translation.")
    sys.exit(bool(left))
