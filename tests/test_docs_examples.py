"""The pages about the engine are true: their examples run, in page order, and print what stands there.

An example is a ``pycon`` block. What a model answers in it is scripted by a comment right before it, which
is Python for the fixture ``openrouter``; the names of `openrouter_app.testing` are there, too::

    <!-- openrouter: openrouter.reply("Bonjour") -->
"""

from __future__ import annotations

import asyncio
import doctest
import re
import textwrap
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

import openrouter_app
from openrouter_app import testing
from openrouter_app.engine import client

ROOT = Path(__file__).parents[1]
PAGES = ("chains", "tools", "parsers", "errors", "transport")
LONGEST = 200
_SCRIPT = r"<!-- openrouter:((?:(?!-->).)*)-->\n"
_ERROR_ROW = re.compile(r"^\| `(\w+Error)` \| `(\w+Error)` \|.*\| `(\w+)` \| (yes|no) \|$", re.MULTILINE)
_BLOCK = re.compile(rf"(?:^{_SCRIPT})?^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def text_of(page: str) -> str:
    return (ROOT / "docs" / f"{page}.md").read_text()


@pytest.fixture
def asked(openrouter, settings, monkeypatch):
    """The fake, where every model of an example finds it."""
    settings.OPENROUTER = {"API_KEY": "test", "BASE_URL": openrouter.base_url}
    run = asyncio.run
    monkeypatch.setattr(asyncio, "run", lambda main: run(_closed(main)))
    yield openrouter
    client.set_transport("auto")
    client.close()


async def _closed(main: Coroutine[Any, Any, Any]) -> Any:
    """What docs/transport.md asks of whoever ends a loop."""
    try:
        return await main
    finally:
        await client.aclose()


@pytest.mark.parametrize("page", PAGES)
def test_examples_print_what_stands_there(page, asked):
    text = text_of(page)
    scripting = {name: getattr(testing, name) for name in testing.__all__} | {"openrouter": asked}
    names: dict[str, Any] = {}
    runner = doctest.DocTestRunner(verbose=False)
    examples = 0
    for block in _BLOCK.finditer(text):
        script, language, source = block.groups()
        if language != "pycon":
            continue
        line = text.count("\n", 0, block.start(3))
        example = doctest.DocTestParser().get_doctest(source, names, page, f"docs/{page}.md", line)
        assert example.examples, f"docs/{page}.md, line {line}: no prompt in this block"
        exec(textwrap.dedent(script or "").strip(), dict(scripting))
        said: list[str] = []
        runner.run(example, out=said.append, clear_globs=False)
        assert not said, "".join(said)
        assert not asked.unused, f"docs/{page}.md, line {line}: {asked.unused} was not asked for"
        names = example.globs
        examples += len(example.examples)
    assert examples


@pytest.mark.parametrize("page", PAGES)
def test_pages_are_short_and_hold_no_block_that_does_not_run(page):
    text = text_of(page)
    blocks = list(_BLOCK.finditer(text))
    assert {block[2] for block in blocks} <= {"pycon", "shell", "text"}
    assert len(re.findall(r"^\s*(?:```|~~~)", text, re.MULTILINE)) == 2 * len(blocks)
    scripts = [block for block in blocks if block[1] is not None]
    assert all(block[2] == "pycon" for block in scripts)
    assert text.count("<!--") == len(scripts)
    assert len(text.splitlines()) < LONGEST


def test_errors_page_lists_every_error_with_its_code():
    rows = {name: rest for name, *rest in _ERROR_ROW.findall(text_of("errors"))}
    assert rows == {
        name: [kind.__bases__[0].__name__, kind.code, "yes" if kind.retryable else "no"]
        for name, kind in vars(openrouter_app).items()
        if name.endswith("Error") and name != "OpenRouterError"
    }


@pytest.mark.parametrize("page", PAGES)
def test_pages_are_found_from_the_readme(page):
    assert f"(docs/{page}.md)" in (ROOT / "README.md").read_text()
