"""``manage.py openrouter_run``: a chain on the command line."""

from __future__ import annotations

import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from openrouter_app.models import Run
from tests.factories import make_chain, make_joke_chain

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def provider(openrouter, settings):
    settings.OPENROUTER = {"API_KEY": "test", "BASE_URL": openrouter.base_url}
    return openrouter


def run(*args: str) -> str:
    out = StringIO()
    call_command("openrouter_run", *args, stdout=out)
    return out.getvalue()


def test_text_is_printed_as_it_is(provider):
    make_chain()
    provider.reply("Hel", "lo", delay=0.03)
    assert run("echo", "--input", "text=hi=there") == "Hello\n"
    assert provider.requests[0].json["messages"][0]["content"] == "hi=there"
    row = Run.objects.get()
    assert (row.origin, row.status, row.user, row.visitor) == ("command", "done", None, None)


def test_tool_call_is_printed_field_by_field(provider):
    make_joke_chain()
    provider.call("joke_tool", ['{"setup": "Why', '?", "punch', 'line": "So', '."}'], delay=0.03)
    assert run("joke", "--input", "foo=bears") == "joke_tool\n  setup: Why?\n  punchline: So.\n"


def test_json_prints_one_event_a_line(provider):
    make_chain()
    provider.reply("Hel", "lo", delay=0.03)
    lines = [json.loads(line) for line in run("echo", "--input", "text=hi", "--json").splitlines()]
    assert lines[0]["type"] == "snapshot"
    assert lines[-1] == {"type": "finished", "reason": "stop", "output": "Hello"}
    begun = "".join(part.get("text", "") for part in lines[0]["state"]["parts"])
    assert begun + "".join(line["delta"] for line in lines if line["type"] == "text") == "Hello"


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (("nothing",), "There is no chain"),
        (("echo",), "A value is missing for: text."),
        (("echo", "--input", "text"), "NAME=VALUE"),
        (("echo", "--input", "text=a", "--input", "more=b"), "no variable"),
    ],
)
def test_wrong_call_says_what_to_do(args, sentence):
    make_chain()
    with pytest.raises(CommandError, match=sentence):
        run(*args)


def test_failed_run_is_a_failed_command_and_keeps_what_came(provider):
    make_chain()
    provider.cut("Hel", "lo")
    with pytest.raises(CommandError, match="broke in mid-answer"):
        run("echo", "--input", "text=hi")
    assert Run.objects.get().parts[-1]["text"] == "Hello"


def test_control_characters_of_a_model_do_not_reach_the_terminal(provider):
    make_chain()
    provider.reply("a\x1b[31mb\r\x07c")
    assert run("echo", "--input", "text=hi") == "a\ufffd[31mb\ufffd\ufffdc\n"
