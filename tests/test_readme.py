"""The README is true: its Python runs, its commands exist, what it links to is there."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re

import pytest
from asgiref.sync import sync_to_async
from django.core.management import call_command

from openrouter_app.engine import client
from openrouter_app.testing import simulated_reply
from tests import readme

pytestmark = pytest.mark.django_db(transaction=True)


async def test_examples_run_as_they_stand(openrouter, settings, capsys):
    settings.OPENROUTER = {"API_KEY": "test", "BASE_URL": openrouter.base_url}
    openrouter.default = simulated_reply
    await sync_to_async(call_command)("seed_demo", verbosity=0)
    names: dict[str, object] = {}
    for source in readme.examples():
        code = compile(source, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        if code.co_flags & inspect.CO_COROUTINE:
            await eval(code, names)
        else:
            await asyncio.to_thread(exec, code, names)
    await client.aclose()
    client.close()
    said = capsys.readouterr().out
    assert "la programmation" in said
    assert re.search(r"^\d+\n\d+\n", said, re.MULTILINE)
    jokes = [line for line in said.splitlines() if line.startswith("{") and "status" not in line]
    assert jokes[0] == "{}"
    assert sum("setup" in joke and "punchline" not in joke for joke in jokes) > 3
    assert "'punchline': '" in jokes[-1]

    test_of_the_readme = names["test_joke"]
    openrouter.default = None
    await asyncio.to_thread(test_of_the_readme, openrouter)
    client.close()


def test_ten_lines_add_the_app():
    lines = [
        line
        for block in readme.host_blocks().values()
        for line in block.splitlines()
        if line.strip() and not line.startswith("#")
    ]
    assert set(readme.host_blocks()) == {"mysite/settings.py", "mysite/urls.py", "mysite/asgi.py"}
    assert len(lines) <= 10


def test_links_and_make_targets_are_there():
    text = readme.README.read_text()
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
        assert (readme.README.parent / target).exists(), target
    targets = set(re.findall(r"^([\w-]+):", (readme.README.parent / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z-]+)", text)) <= targets
