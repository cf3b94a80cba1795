"""Who may execute a run, in the database's own time; and what becomes of those nobody executes."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import IntegrityError, connections
from django.utils import timezone

from openrouter_app import runs
from openrouter_app.models import Run, RunEvent
from openrouter_app.runs import leases, reaping
from openrouter_app.runs.events import Started, StepStarted, Text, ToolArguments, ToolStarted
from openrouter_app.runs.leases import Standing, claim, database_time, end, write
from openrouter_app.runs.live import Batch
from openrouter_app.runs.rows import read
from tests.factories import make_log, make_run

pytestmark = pytest.mark.django_db

BEGINNING = [Started("elsewhere", 1), StepStarted(0), Text(1, "Hel")]
ENDED = {"status": "done", "ended": timezone.now(), "parts": [], "last_seq": 4}


def batch(after: int, text: str) -> Batch:
    return Batch(after, after + len(text), [Text(0, text)])


@pytest.fixture(params=[5, -5], ids=["ahead", "behind"])
def skewed(request, monkeypatch):
    """This machine's clock is five minutes off."""
    now = timezone.now
    monkeypatch.setattr("django.utils.timezone.now", lambda: now() + timedelta(minutes=request.param))


# ---- claim ----


def test_claim_gives_a_queued_run_a_newer_fence_an_owner_and_a_lease():
    run = make_run()
    assert claim(run.uuid, "me", fence=run.fence, lease=30, total=600) == run.fence + 1
    row = Run.objects.get()
    assert (row.status, row.owner_process, row.fence) == ("running", "me", run.fence + 1)
    assert row.started is not None
    assert Run.objects.filter(lease_until__gt=database_time(25), lease_until__lt=database_time(31)).exists()
    assert Run.objects.filter(deadline__gt=database_time(590), deadline__lt=database_time(601)).exists()


@pytest.mark.parametrize("status", [status for status in Run.Status.values if status != "queued"])
def test_only_queued_runs_are_claimed(status):
    ended = {"ended": timezone.now()} if status in Run.FINAL else {}
    run = make_run(status, **ended)
    before = Run.objects.values().get()
    assert claim(run.uuid, "me", fence=run.fence, lease=30, total=600) is None
    assert Run.objects.values().get() == before


def test_run_that_was_elsewhere_since_it_was_looked_at_is_not_claimed():
    run = make_run(fence=2)
    assert claim(run.uuid, "me", fence=0, lease=30, total=600) is None
    assert claim(run.uuid, "me", fence=2, lease=30, total=600) == 3


def test_claim_whose_answer_was_lost_is_found_when_it_is_asked_for_again():
    run = make_run()
    assert [claim(run.uuid, "me", fence=0, lease=30, total=600) for _ in range(2)] == [1, 1]
    assert claim(run.uuid, "somebody else", fence=0, lease=30, total=600) is None
    assert claim(run.uuid, "me", fence=1, lease=30, total=600) is None


@pytest.mark.django_db(transaction=True)
def test_of_two_claimers_at_once_exactly_one_gets_the_run():
    for _ in range(20):
        run, fences = make_run(), []
        both = threading.Barrier(2)

        def take(name, run=run, fences=fences, both=both):
            try:
                both.wait()
                fences.append(claim(run.uuid, name, fence=run.fence, lease=30, total=600))
            finally:
                connections.close_all()

        threads = [threading.Thread(target=take, args=(name,)) for name in ("one", "other")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(fences, key=str) == [1, None]


# ---- write ----


def test_write_appends_to_the_log_and_says_how_the_rows_stand():
    mine, other = make_run("running"), make_run("running", fence=7, stop_requested_at=timezone.now())
    standing = write({mine.pk: (1, batch(0, "ab"))}, [mine.pk, other.pk])
    assert standing == {mine.pk: Standing(1, "running", False), other.pk: Standing(7, "running", True)}
    assert list(RunEvent.objects.values_list("run", "after", "seq")) == [(mine.pk, 0, 2)]


@pytest.mark.parametrize(("fence", "status"), [(2, "running"), (1, "queued"), (1, "waiting"), (1, "done")])
def test_write_of_who_lost_the_run_writes_nothing(fence, status):
    mine, lost = make_run("running"), make_run(status if status != "done" else "queued", fence=fence)
    if status == "done":
        end(lost.pk, fence, "queued", ENDED)
    batches = {mine.pk: (1, batch(0, "ab")), lost.pk: (1, batch(0, "cd"))}
    standing = write(batches, [mine.pk, lost.pk])
    assert list(RunEvent.objects.values_list("run", flat=True)) == [mine.pk]
    assert standing[lost.pk] == Standing(fence, status, False)


def test_write_for_a_run_that_was_deleted_writes_the_others():
    mine = make_run("running")
    standing = write({mine.pk: (1, batch(0, "ab")), 10**6: (1, batch(0, "cd"))}, [mine.pk, 10**6])
    assert set(standing) == {mine.pk}
    assert RunEvent.objects.count() == 1


def test_write_without_news_takes_no_lock(django_assert_num_queries):
    run = make_run("running")
    with django_assert_num_queries(1) as captured:
        write({}, [run.pk])
    assert captured[0]["sql"].startswith("SELECT")


# ---- renew ----


def test_renewal_moves_the_leases_of_the_runs_that_are_named():
    mine = make_run("running", owner_process="me", lease_until=database_time(1))
    write({}, [mine.pk], ("me", 30))
    assert Run.objects.filter(lease_until__gt=database_time(25)).count() == 1


@pytest.mark.parametrize(
    ("why", "fields"), [("it is another's", {"owner_process": "other"}), ("it is not named", {})]
)
def test_renewal_leaves_a_lease_alone_because(why, fields):
    run = make_run("running", **{"owner_process": "me", **fields}, lease_until=database_time(1))
    write({}, [run.pk] if fields else [], ("me", 30))
    assert Run.objects.filter(lease_until__lt=database_time(2)).exists(), why


def test_renewal_gives_no_lease_to_a_run_that_does_not_run():
    run = make_run("queued", owner_process="me")
    write({}, [run.pk], ("me", 30))
    assert Run.objects.get().lease_until is None


# ---- end ----


def test_end_writes_the_row_and_drops_the_log():
    run = make_run("running")
    make_log(run, BEGINNING)
    assert end(run.pk, 1, "running", ENDED)
    row = Run.objects.get()
    assert (row.status, row.last_seq, row.lease_until) == ("done", 4, None)
    assert not RunEvent.objects.exists()


@pytest.mark.parametrize(("fence", "status"), [(0, "running"), (2, "running"), (1, "queued")])
def test_end_by_who_lost_the_run_changes_nothing(fence, status):
    run = make_run("running")
    make_log(run, BEGINNING)
    before = Run.objects.values().get()
    assert not end(run.pk, fence, status, ENDED)
    assert Run.objects.values().get() == before
    assert RunEvent.objects.count() == 1


def test_a_final_state_never_changes():
    run = make_run("running")
    assert end(run.pk, 1, "running", ENDED)
    assert not end(run.pk, 1, "running", {**ENDED, "status": "failed"})
    assert Run.objects.get().status == "done"


# ---- reap ----


def test_run_whose_lease_ran_out_is_interrupted_and_keeps_what_its_log_has():
    run = make_run("running", lease_until=database_time(-1))
    make_log(run, BEGINNING, [Text(1, "lo"), ToolStarted(2, "c", "tool"), ToolArguments("c", '{"a": "b')])
    assert runs.reap() == [run.uuid]
    row = Run.objects.get()
    assert (row.status, row.error_code, row.retryable, row.last_seq) == ("interrupted", "provider", True, 7)
    assert row.error_message.endswith(".")
    assert row.ended is not None
    assert [part["type"] for part in row.parts] == ["step", "text", "call"]
    assert row.parts[1]["text"] == "Hello"
    assert (row.parts[2]["status"], row.parts[2]["arguments"]) == ("cancelled", {"a": "b"})
    assert not RunEvent.objects.exists()


@pytest.mark.parametrize(
    "fields",
    [
        {"status": "running", "lease_until": database_time(-1)},
        {"status": "queued", "deadline": database_time(-1)},
    ],
)
def test_run_that_was_to_stop_is_stopped_not_interrupted(fields):
    make_run(**fields, stop_requested_at=timezone.now())
    assert len(runs.reap()) == 1
    assert (Run.objects.get().status, Run.objects.get().error_code) == ("stopped", "")


def test_queued_run_past_its_deadline_fails_as_busy():
    make_run("queued", deadline=database_time(-1))
    assert len(runs.reap()) == 1
    row = Run.objects.get()
    assert (row.status, row.error_code, row.retryable) == ("failed", "busy", True)


@pytest.mark.parametrize(
    "fields",
    [
        {"status": "running"},
        {"status": "queued"},
        {"status": "waiting", "deadline": database_time(-100)},
        {"status": "running", "deadline": database_time(-100)},
    ],
)
def test_run_that_is_somebodys_or_waits_for_a_person_is_never_reaped(fields):
    run = make_run(**fields)
    assert runs.reap() == []
    assert Run.objects.get().status == run.status


@pytest.mark.parametrize("seconds", [None, -1, 60])
@pytest.mark.parametrize(("status", "field"), [("running", "lease_until"), ("queued", "deadline")])
def test_whoever_looks_at_a_run_calls_given_up_what_the_reaper_ends(status, field, seconds):
    run = make_run(status, **{field: None if seconds is None else database_time(seconds)})
    found = read(run.uuid)
    assert found.is_given_up is (seconds != 60)
    assert bool(runs.reap()) is found.is_given_up


def test_reaping_one_run_leaves_the_others():
    one, _other = (make_run("running", lease_until=database_time(-1)) for _ in range(2))
    assert runs.reap(one.uuid) == [one.uuid]
    assert Run.objects.filter(status="running").count() == 1


def test_run_that_cannot_be_ended_keeps_no_other_from_being_reaped(monkeypatch, caplog):
    odd, other = (make_run("running", lease_until=database_time(-1)) for _ in range(2))
    close_with = reaping.close_with

    def closing(row, last):
        if row.uuid == odd.uuid:
            raise IntegrityError("CHECK constraint failed")
        return close_with(row, last)

    monkeypatch.setattr(reaping, "close_with", closing)
    assert runs.reap() == [other.uuid]
    assert str(odd.uuid) in caplog.text
    assert Run.objects.get(status="running") == odd
    monkeypatch.undo()
    assert runs.reap() == [odd.uuid]


def test_what_cannot_be_read_of_a_log_keeps_no_run_from_being_reaped():
    for events in ("no JSON", '[{"type": "text", "part": 5, "delta": "x"}]'):
        run = make_run("running", lease_until=database_time(-1))
        make_log(run, BEGINNING)
        RunEvent.objects.create(run=run, after=3, seq=4, events=events)
    whole = make_run("running", lease_until=database_time(-1))
    assert len(runs.reap()) == 3
    assert set(Run.objects.values_list("status", flat=True)) == {"interrupted"}
    for row in Run.objects.exclude(pk=whole.pk):
        assert row.parts[-1] == {"type": "text", "text": "Hel"}
        assert row.last_seq == 4
    assert not RunEvent.objects.exists()


def test_no_more_than_so_many_are_ended_in_one_go(monkeypatch):
    monkeypatch.setattr(reaping, "MOST", 2)
    for _ in range(3):
        make_run("running", lease_until=database_time(-1))
    assert [len(runs.reap()) for _ in range(3)] == [2, 1, 0]


def test_run_that_is_renewed_while_the_reaper_comes_is_left_alone(monkeypatch):
    run = make_run("running", lease_until=database_time(-1))
    look = reaping._reap

    def late(uuid):
        Run.objects.update(lease_until=database_time(30))
        return look(uuid)

    monkeypatch.setattr(reaping, "_reap", late)
    assert runs.reap() == []
    assert Run.objects.get(pk=run.pk).status == "running"


# ---- whose time it is ----


def test_f42_leases_are_in_the_databases_time_whatever_this_machines_clock_says(skewed):
    run = make_run("queued")
    claim(run.uuid, "me", fence=run.fence, lease=30, total=600)
    assert runs.reap() == []
    write({}, [run.pk], ("me", 20))
    assert runs.reap() == []
    Run.objects.update(lease_until=leases.database_time(-1))
    assert runs.reap() == [run.uuid]


def test_a_deadline_in_the_queue_is_in_the_databases_time_too(skewed):
    make_run("queued", deadline=database_time(2))
    assert runs.reap() == []
    Run.objects.update(deadline=database_time(-2))
    assert len(runs.reap()) == 1
