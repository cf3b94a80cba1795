"""``openrouter_stop``, ``openrouter_reap`` and ``openrouter_prune``: what they do, and what they refuse."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO
from types import SimpleNamespace
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from openrouter_app.management.commands import openrouter_prune
from openrouter_app.models import Conversation, Message, Run, RunEvent, ToolCall
from openrouter_app.runs import reaping
from openrouter_app.runs.events import Started, StepStarted, Text
from openrouter_app.runs.leases import database_time
from tests.factories import make_chain, make_log, make_run

pytestmark = pytest.mark.django_db(transaction=True)
TEXTS = {"parts": [{"type": "text", "text": "Hello"}], "output": "Hello", "private": {"ms": 5}}


def command(name, *arguments):
    """What the command prints."""
    out = StringIO()
    call_command(f"openrouter_{name}", *map(str, arguments), stdout=out)
    return out.getvalue()


def ended(days, **fields):
    """A run that ended so many days ago."""
    return make_run("done", **{"ended": timezone.now() - timedelta(days=days), **TEXTS, **fields})


def statuses():
    return {str(run.uuid): run.status for run in Run.objects.all()}


# ---- stop ----


def test_stop_asks_a_run_of_another_process_to_stop_and_ends_a_queued_one():
    running, queued, other = make_run("running"), make_run("queued"), make_run("running")
    assert command("stop", running.uuid, queued.uuid) == "2 runs asked to stop.\n"
    rows = {row.pk: row for row in Run.objects.all()}
    assert (rows[running.pk].status, rows[running.pk].stop_requested_at is None) == ("running", False)
    assert rows[queued.pk].status == "stopped"
    assert rows[other.pk].stop_requested_at is None


def test_stop_of_an_ended_run_changes_nothing():
    run = ended(1)
    before = Run.objects.values().get()
    assert command("stop", run.uuid) == "0 runs asked to stop.\n"
    assert Run.objects.values().get() == before


def test_stop_of_a_chain_stops_its_runs_alone_and_those_that_are_named():
    mine = make_run("queued", chain=make_chain("mine"))
    other, named = make_run("queued"), make_run("queued")
    assert command("stop", "--chain", "mine") == "1 run asked to stop.\n"
    assert statuses()[str(mine.uuid)] == "stopped"
    second = make_run("queued", chain=mine.chain)
    assert command("stop", named.uuid, "--chain", "mine") == "2 runs asked to stop.\n"
    assert {statuses()[str(run.uuid)] for run in (second, named)} == {"stopped"}
    assert statuses()[str(other.uuid)] == "queued"


def test_stop_of_all_stops_every_unfinished_run():
    for status in ("queued", "waiting", "queued"):
        make_run(status)
    ended(1)
    assert command("stop", "--all") == "3 runs asked to stop.\n"
    assert sorted(statuses().values()) == ["done", "stopped", "stopped", "stopped"]


def test_stop_of_a_run_that_is_not_there_stops_none_of_the_others():
    run, missing = make_run("queued"), uuid4()
    with pytest.raises(CommandError, match=str(missing)):
        command("stop", run.uuid, missing)
    assert statuses()[str(run.uuid)] == "queued"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Say which"),
        (["5"], "'5' is no run's id"),
        (["--chain", "nothing"], "There is no chain nothing."),
        (["--chain", ""], "Say which"),
    ],
)
def test_stop_refuses(arguments, said):
    make_run("queued")
    with pytest.raises(CommandError, match=said):
        command("stop", *arguments)
    assert list(statuses().values()) == ["queued"]


# ---- reap ----


def test_reap_ends_what_was_given_up_and_keeps_what_it_said():
    lost = make_run("running", lease_until=database_time(-1))
    make_log(lost, [Started("elsewhere", 1), StepStarted(0), Text(1, "Hel")])
    running = make_run("running")
    assert command("reap") == "1 run ended.\n"
    assert statuses() == {str(lost.uuid): "interrupted", str(running.uuid): "running"}
    assert Run.objects.get(pk=lost.pk).parts[-1]["text"] == "Hel"


def test_reap_ends_all_however_many_there_are(monkeypatch):
    monkeypatch.setattr(reaping, "MOST", 2)
    for _ in range(5):
        make_run("queued", deadline=database_time(-1))
    assert command("reap") == "5 runs ended.\n"
    assert command("reap") == "0 runs ended.\n"


# ---- prune ----


def test_prune_deletes_what_ended_so_long_ago_and_nothing_else():
    old, new = ended(91), ended(89)
    running = make_run("running", created=timezone.now() - timedelta(days=400))
    make_log(running, [Text(0, "x")])
    assert command("prune", "--days", 90) == "1 run was deleted.\n"
    assert set(statuses()) == {str(new.uuid), str(running.uuid)}
    assert RunEvent.objects.count() == 1
    assert not Run.objects.filter(pk=old.pk).exists()


@pytest.mark.parametrize("days", ["0", "0.5"])
def test_prune_takes_fractions_of_a_day_and_none(days):
    ended(0.75)
    assert command("prune", "--days", days) == "1 run was deleted.\n"


def test_prune_works_in_batches(monkeypatch):
    monkeypatch.setattr(openrouter_prune, "BATCH", 2)
    for _ in range(5):
        ended(100)
    assert command("prune", "--days", 90) == "5 runs were deleted.\n"
    assert not Run.objects.exists()


def test_prune_that_keeps_rows_empties_their_texts_once(monkeypatch):
    monkeypatch.setattr(openrouter_prune, "BATCH", 2)
    for _ in range(3):
        ended(100, prompt_tokens=7, cost="0.5", error_detail="x")
    assert command("prune", "--days", 90, "--keep-rows") == "3 runs were emptied.\n"
    for row in Run.objects.all():
        assert (row.input, row.parts, row.private, row.output, row.error_detail) == ({}, [], {}, None, "")
        assert (row.status, row.prompt_tokens, float(row.cost)) == ("done", 7, 0.5)
    assert command("prune", "--days", 90, "--keep-rows") == "0 runs were emptied.\n"


@pytest.mark.parametrize(("keep", "said"), [([], "deleted"), (["--keep-rows"], "emptied")])
def test_prune_on_trial_only_counts(keep, said):
    ended(100), ended(100)
    before = list(Run.objects.values())
    assert command("prune", "--days", 90, "--dry-run", *keep) == f"2 runs would be {said}.\n"
    assert list(Run.objects.values()) == before


def test_prune_of_a_chain_leaves_the_others():
    ended(100, chain=make_chain("mine"))
    other = ended(100)
    assert command("prune", "--days", 90, "--chain", "mine") == "1 run was deleted.\n"
    assert set(statuses()) == {str(other.uuid)}


def make_old_conversation(**fields):
    """A conversation of 100 days ago with one answer, and that answer's run."""
    long_ago = timezone.now() - timedelta(days=100)
    run = make_run("done", ended=long_ago, output="Old.", cost="0.5", visitor=uuid4(), **fields)
    conversation = Conversation.objects.create(
        chain=run.chain, visitor=run.visitor, title="Old", updated=long_ago
    )
    question = Message.objects.create(conversation=conversation, role="user", input={"text": "x"})
    answer = Message.objects.create(conversation=conversation, role="assistant", parent=question)
    Run.objects.filter(pk=run.pk).update(conversation=conversation, message=answer)
    ToolCall.objects.create(run=run, call="c", name="t", arguments="{}", status="done", output="secret")
    return conversation, run


def test_prune_deletes_conversations_that_were_left_with_their_answers():
    make_old_conversation()
    talked_in, answered = make_old_conversation()
    Conversation.objects.filter(pk=talked_in.pk).update(updated=timezone.now())
    assert command("prune", "--days", 90, "--dry-run").splitlines() == [
        "0 runs would be deleted.",
        "1 conversation would be deleted.",
    ]
    assert command("prune", "--days", 90).splitlines() == [
        "0 runs were deleted.",
        "1 conversation was deleted.",
    ]
    assert list(Conversation.objects.all()) == [talked_in]
    assert list(Run.objects.all()) == [answered]
    assert Message.objects.count() == 2


def test_prune_keeps_conversations_in_which_something_is_written():
    _conversation, run = make_old_conversation()
    Run.objects.filter(pk=run.pk).update(status="waiting", ended=None)
    assert "conversation" not in command("prune", "--days", 90)
    assert Conversation.objects.exists()


@pytest.mark.parametrize("keep", [[], ["--keep-rows"]])
def test_prune_keeps_a_conversation_in_which_something_begins_meanwhile(keep, monkeypatch):
    talked_in, _run = make_old_conversation()
    make_old_conversation()

    def begun():
        if not talked_in.runs.filter(status="queued").exists():
            make_run("queued", chain=talked_in.chain, conversation=talked_in, visitor=talked_in.visitor)
        return atomic()

    atomic = openrouter_prune.transaction.atomic
    monkeypatch.setattr(openrouter_prune, "transaction", SimpleNamespace(atomic=begun))
    assert "1 conversation was deleted." in command("prune", "--days", 90, *keep)
    assert list(Conversation.objects.all()) == [talked_in]
    assert sorted(talked_in.runs.values_list("status", "output")) == [("done", "Old."), ("queued", None)]


def test_prune_that_keeps_rows_keeps_what_a_conversation_cost():
    make_old_conversation()
    command("prune", "--days", 90, "--keep-rows")
    run = Run.objects.get()
    assert (run.conversation, run.message, run.output, str(run.cost.normalize())) == (None, None, None, "0.5")
    assert ToolCall.objects.get().output is None
    assert not Conversation.objects.exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--days", "-1"], "from 0 to"),
        (["--days", "nan"], "from 0 to"),
        (["--days", "inf"], "from 0 to"),
        (["--days", "1e9"], "from 0 to"),
        (["--days", "soon"], "invalid float value"),
        ([], "--days"),
        (["--days", "90", "--chain", "nothing"], "There is no chain nothing."),
    ],
)
def test_prune_refuses(arguments, said):
    ended(10**3)
    with pytest.raises(CommandError, match=said):
        command("prune", *arguments)
    assert Run.objects.count() == 1
