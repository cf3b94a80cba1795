"""docs/testing.md is true: its blocks run as they stand, and its simulation answers as it says."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

from openrouter_app import ChatOpenRouter, StringOutputParser, ToolLoop, tool
from openrouter_app.testing import DEFAULT_MODELS, FakeOpenRouter, Reply, serve

TEXT = (Path(__file__).parents[1] / "docs" / "testing.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def defined(name: str, **names: object) -> dict[str, object]:
    """What the block that defines this function defines."""
    [block] = [text for text in BLOCKS if f"def {name}(" in text]
    exec(block, names)
    return names


def test_every_kind_of_answer_can_be_scripted(openrouter):
    defined("test_everything")["test_everything"](openrouter)


def test_round_of_tools_takes_three_lines(openrouter, monkeypatch):
    @tool
    def weather(city: str) -> str:
        """The weather of a city."""
        return {"Rome": "22 C", "Oslo": "4 C"}[city]

    model = ChatOpenRouter(model="a/b", api_key="test", base_url=openrouter.base_url)
    names = {"run_your_chain": lambda: ToolLoop(model, [weather]).invoke("Where is it warmer?")}
    [block] = [text for text in BLOCKS if "def test_weather(" in text]
    assert block.count("    ...   ") == 1
    exec(block.replace("    ...   ", "    run_your_chain()   "), names)
    names["test_weather"](openrouter)


def test_answer_may_depend_on_the_request(openrouter):
    [code] = re.findall(r"`(openrouter\.queue\(.*?\)\)\))`", TEXT)
    exec(code, {"openrouter": openrouter, "Reply": Reply})
    model = ChatOpenRouter(model="a/b", api_key="test", base_url=openrouter.base_url)
    assert (model | StringOutputParser()).invoke("Who is there?") == "a/b"


def test_app_is_pointed_at_it(openrouter, settings):
    names = defined("provider", pytest=SimpleNamespace(fixture=lambda function: function))
    assert names["provider"](openrouter, settings) is openrouter
    openrouter.reply("Here.")
    assert (ChatOpenRouter(model="a/b") | StringOutputParser()).invoke("Where?") == "Here."


def test_keys_are_revoked_and_time_goes_by(openrouter):
    defined("test_revoked", timedelta=timedelta)["test_revoked"](openrouter)


def test_it_is_served_without_pytest():
    with serve(FakeOpenRouter()) as base_url:
        assert base_url.startswith("http://127.0.0.1:")


def test_its_members_are_those_of_the_page(openrouter):
    for name in re.findall(r"`openrouter\.(\w+)", TEXT):
        assert hasattr(openrouter, name), name
    assert list(openrouter.models) == list(DEFAULT_MODELS)
    for name, value in re.findall(r"`openrouter\.(\w+)` \((\d)\)", TEXT):
        assert getattr(openrouter, name) == int(value)
    assert openrouter.unlisted_seconds == 0
