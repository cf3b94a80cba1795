"""The three examples of the documentation this API descends from, word for word.

They stand beside the checkout, not in it; without them this test is skipped (the README's own, which
`tests/test_readme.py` runs, differ from them in one corrected word).
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
from pathlib import Path

import pytest

import openrouter_app
from openrouter_app.engine import client
from openrouter_app.testing import simulated_reply

PAGE = Path(__file__).parents[1].parent / "shared" / "conformance.md"


@pytest.mark.skipif(not PAGE.is_file(), reason="the examples are not beside this checkout")
async def test_documented_examples_run_word_for_word(openrouter, settings, capsys):
    settings.OPENROUTER = {"API_KEY": "test", "BASE_URL": openrouter.base_url}
    openrouter.default = simulated_reply
    (block,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    examples = block.split("\n\n")
    assert len(examples) == 3
    names = {name: getattr(openrouter_app, name) for name in openrouter_app.__all__}
    said = []
    for source in examples:
        code = compile(source, PAGE.name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        if code.co_flags & inspect.CO_COROUTINE:
            await eval(code, names)
        else:
            await asyncio.to_thread(exec, code, names)
        said.append(capsys.readouterr().out)
    await client.aclose()
    client.close()
    translated, counted, jokes = (text.splitlines() for text in said if text)
    assert translated == ["J'adore la programmation."]
    assert "".join(counted) == "123456789"
    assert len(counted) > 1
    assert jokes[0] == "{}"
    assert sum("'setup'" in joke and "'punchline'" not in joke for joke in jokes) > 3
    assert "'punchline'" in jokes[-1]
