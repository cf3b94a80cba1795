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
from typing import Any

from django.conf import settings
from django.template.base import Lexer, TokenType
from django.utils.translation import trim_whitespace

from hatch_build import entries, quoted

ROOT = Path(__file__).parents[1]
APP = ROOT / "openrouter_app"
MARKS = {"_", "gettext", "gettext_lazy", "gettext_noop"}
PLURAL_MARKS = {"ngettext", "ngettext_lazy"}
UNSUPPORTED = {"pgettext", "pgettext_lazy", "npgettext", "npgettext_lazy"}
HEARD = {
    *("arguments", "connections", "failures", "fold", "inflate"),
    *("lenient", "model", "replies", "sse", "wire"),
}
"""Modules of the engine whose sentences reach pages."""
_SENTENCE = re.compile(r"[A-Z].* .*\.\Z", re.DOTALL)
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
        texts = in_python(path) if path.suffix == ".py" else in_template(path)
        if path.parent == APP / "engine" or path.parent.parent == APP / "engine":
            texts = in_engine(path) if path.stem in HEARD else iter(())
        elif path.stem == "sentences":
            continue
        for text in texts:
            places = found.setdefault(text, [])
            if name not in places:
                places.append(name)
    return found


def in_engine(path: Path) -> Iterator[str]:
    """The whole sentences that a module of the engine says; `openrouter_app.sentences` translates them."""
    tree = ast.parse(path.read_text())
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or id(node) in parts | said:
            continue
        if isinstance(node.value, str) and _SENTENCE.match(node.value):
            yield node.value


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
    tokens = iter(Lexer(path.read_text()).tokenize())
    for token in tokens:
        words = token.contents.split()
        if token.token_type is TokenType.BLOCK and words[:1] in (["blocktranslate"], ["blocktrans"]):
            yield _block(tokens, trimmed="trimmed" in words)
        elif token.token_type is TokenType.BLOCK and (found := _TRANSLATE.match(token.contents)):
            yield ast.literal_eval(found[1])
        elif token.token_type in (TokenType.BLOCK, TokenType.VAR):
            for call in _CALL.findall(token.contents):
                yield ast.literal_eval(call)


def _block(tokens: Iterator[Any], *, trimmed: bool) -> str:
    """The string of a ``blocktranslate``, up to its end: as `BlockTranslateNode` looks it up."""
    forms = [""]
    for token in tokens:
        if token.token_type is TokenType.VAR:
            forms[-1] += f"%({token.contents})s"
        elif token.token_type is TokenType.TEXT:
            forms[-1] += token.contents.replace("%", "%%")
        elif token.contents == "plural":
            forms.append("")
        else:
            break
    return "\0".join(trim_whitespace(form) if trimmed else form for form in forms)


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
