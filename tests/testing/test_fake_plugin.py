"""The fixture, as a project meets it: in a pytest run of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PRELUDE = """
from openrouter_app.engine.client import httpx
import pytest
from openrouter_app.testing import simulated_reply

def ask(openrouter):
    return httpx.post(
        openrouter.base_url + "/chat/completions", json={"model": "m", "messages": []},
        headers={"Authorization": "Bearer x"}, trust_env=False, verify=False,
    ).json()
"""


@pytest.fixture
def run(tmp_path: Path):
    def run(source: str) -> str:
        (tmp_path / "test_project.py").write_text(PRELUDE + source)
        without = ("django", "randomly", "asyncio", "hypothesispytest", "cacheprovider")
        command = [sys.executable, "-W", "error", "-m", "pytest", "-q", "-rA", "-W", "error"]
        command += [part for name in without for part in ("-p", f"no:{name}")]
        result = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        return result.stdout + result.stderr

    return run


def test_the_fixture_serves_fails_on_leftovers_and_refuses_what_was_not_scripted(run):
    output = run("""
def test_scripted(openrouter):
    openrouter.reply("Why did the bear", " cross?")
    assert ask(openrouter)["choices"][0]["message"]["content"] == "Why did the bear cross?"

def test_every_test_has_a_fresh_one(openrouter):
    assert openrouter.requests == ()

def test_unscripted(openrouter):
    assert "openrouter.reply" in ask(openrouter)["error"]["message"]

def test_simulation_on_request(openrouter):
    openrouter.default = simulated_reply
    assert ask(openrouter)["provider"] == "Simulation"

def test_cleared(openrouter):
    openrouter.reply("not needed")
    openrouter.clear()

def test_stalled(openrouter):
    openrouter.stall(seconds=60)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(openrouter.base_url + "/chat/completions", json={"messages": []}, timeout=0.1,
                   headers={"Authorization": "Bearer x"}, trust_env=False, verify=False)

def test_left_over(openrouter):
    openrouter.reply("one")
    openrouter.reply("two")
    ask(openrouter)

def test_failed_and_left_over(openrouter):
    openrouter.reply("one")
    assert False
""")
    assert "7 passed" in output, output
    assert "1 failed" in output, output
    assert "1 error" in output, output
    assert "ERROR test_project.py::test_left_over" in output
    assert "1 scripted answer(s) were never asked for: the code under test made only 1 request(s)" in output
    assert "'two'" in output
    assert "openrouter.clear()" in output
    assert "warning" not in output.lower()


def test_the_plugin_imports_next_to_nothing_and_the_fake_needs_no_django():
    code = """
import sys
sys.modules["django"] = None
import openrouter_app.testing.plugin
mine = {name for name in sys.modules if name.startswith("openrouter_app.testing.")}
assert mine == {"openrouter_app.testing.plugin"}, mine
assert "uvicorn" not in sys.modules
from openrouter_app.testing import FakeOpenRouter, serve
with serve(FakeOpenRouter()):
    pass
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=30)


def test_the_door_shows_what_it_promises():
    import openrouter_app.testing as testing

    assert sorted(testing.__all__) == sorted(set(testing.__all__))
    for name in testing.__all__:
        value = getattr(testing, name)
        assert value.__doc__ or name.isupper(), name
    with pytest.raises(AttributeError, match="nothing_of_that_name"):
        _ = testing.nothing_of_that_name


def test_every_verb_in_the_tour_exists():
    import re

    import openrouter_app.testing as testing

    named = set(re.findall(r"`(\w+)`", testing.__doc__ or ""))
    named -= {*testing.__all__, "testing"}
    assert named <= set(dir(testing.FakeOpenRouter()))
    assert {"reply", "call", "error", "fail", "cut", "truncate", "stall", "raw", "events"} <= named
