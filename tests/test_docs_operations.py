"""docs/operations.md is true: its tables, and its blocks, which run as they stand."""

from __future__ import annotations

import importlib
import json
import re
import uuid
from pathlib import Path

import pytest
from django.core.cache import cache
from django.core.management.base import BaseCommand
from django.dispatch import Signal
from django.test import Client
from django.urls import reverse

from openrouter_app import health, runs, signals
from openrouter_app.database import in_database_thread
from openrouter_app.management import commands
from openrouter_app.runs import notices
from tests.factories import make_user

TEXT = (Path(__file__).parents[1] / "docs" / "operations.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def block(language: str, word: str) -> str:
    [found] = [text for name, text in BLOCKS if name == language and word in text]
    return found


def cells(heading: str) -> set[str]:
    """The names in the first column of the table with this head."""
    rows = TEXT.split(f"\n| {heading} |", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    return {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}


def test_every_signal_is_listed():
    assert cells("signal") == {name for name, value in vars(signals).items() if isinstance(value, Signal)}


def test_facts_are_those_of_the_modules_docstring():
    assert cells("fact") == set(re.findall(r"^``(\w+)``  ", signals.__doc__, re.MULTILINE))


def test_numbers_are_those_of_the_code():
    assert f"{notices.LONGEST_QUEUE:,} may wait" in TEXT
    assert notices.AT_EXIT == 2
    assert "leaves its\nreceivers two seconds" in TEXT
    assert health.ASK_AGAIN_AFTER == 1


def test_every_command_is_listed_with_what_it_takes():
    folder = Path(commands.__file__).parent
    listed = dict(re.findall(r"^\| `(openrouter_\w+)` \| (.*) \|$", TEXT, re.MULTILINE))
    assert set(listed) == {path.stem for path in folder.glob("openrouter_*.py")}
    usual = {action.dest for action in BaseCommand().create_parser("manage.py", "x")._actions}
    for name, line in listed.items():
        command = importlib.import_module(f"{commands.__name__}.{name}").Command()
        parser = command.create_parser("manage.py", name)
        own = [action.option_strings for action in parser._actions if action.dest not in usual]
        taken = {option for options in own for option in options}
        assert set(re.findall(r"`(--[\w-]+)`", line)) == taken, name


def test_failures_are_counted():
    names = {}
    exec(block("python", "cache.incr"), names)
    cache.clear()
    try:
        for code in ("rate_limited", "rate_limited", "credits"):
            facts = {"run": uuid.uuid4(), "chain": "joke", "status": "failed", "error_code": code}
            notices.notify(signals.run_failed, **facts)
        assert notices.settled(20)
        counted = {"credits": 0, "rate_limited": 0}
        for key in cache._cache:
            counted[key.rsplit(":", 1)[1]] += cache.get(key.split(":", 2)[2])
        assert counted == {"credits": 1, "rate_limited": 2}
    finally:
        for signal in (signals.run_finished, signals.run_failed):
            signal.disconnect(names["count"])
        cache.clear()


@pytest.mark.django_db
def test_health_answers_what_stands_there(monkeypatch):
    for name, answer in {"executing_count": 12, "is_draining": False, "log_is_failing": False}.items():
        monkeypatch.setattr(runs, name, lambda answer=answer: answer, raising=False)
    response = Client().get(reverse("openrouter_app:health"))
    assert response.json() == json.loads(block("json", "status"))


def test_settings_name_a_backend_that_is_there():
    pytest.importorskip("django_tasks_db")
    names = {"INSTALLED_APPS": []}
    exec(block("python", "TASKS ="), names)
    module, name = names["TASKS"]["default"]["BACKEND"].rsplit(".", 1)
    assert hasattr(importlib.import_module(module), name)
    assert names["INSTALLED_APPS"] == [module]


@pytest.mark.django_db(transaction=True)
async def test_report_is_started(settings, monkeypatch):
    try:
        package = importlib.import_module("django.tasks")
    except ImportError:
        package = pytest.importorskip("django_tasks")
    settings.TASKS = {"default": {"BACKEND": f"{package.__name__}.backends.dummy.DummyBackend"}}
    started = []

    async def queue(start):
        started.append(start)
        return uuid.UUID(int=7), True

    monkeypatch.setattr(runs, "queue", queue, raising=False)
    names = {}
    exec(block("python", "start_in_background"), names)
    user = await in_database_thread(make_user)()
    assert await names["report"](user) == uuid.UUID(int=7)
    assert (started[0].owner.user_id, started[0].client_id) == (user.pk, "report-2026")
