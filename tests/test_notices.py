"""Signals about runs: receivers hear of everything, and harm nothing."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.dispatch import Signal

from openrouter_app import runs, signals
from openrouter_app.models import Owner, Run
from openrouter_app.runs import notices
from tests.factories import make_run

RUN = uuid.UUID(int=7)
PATIENCE = 20


@pytest.fixture
def signal() -> Iterator[Signal]:
    yield Signal()
    assert notices.settled(PATIENCE)


@pytest.fixture
def queue(monkeypatch) -> notices._Queue:
    """A queue of the test's own, whose thread nobody has started."""
    queue = notices._Queue()
    monkeypatch.setattr(notices, "_queue", queue)
    return queue


@pytest.fixture
def hanging(signal) -> Iterator[threading.Event]:
    """A receiver that hangs until the event is set, and has begun to."""
    begun, end = threading.Event(), threading.Event()

    def hang(**facts):
        begun.set()
        assert end.wait(PATIENCE)

    signal.connect(hang)
    notices.notify(signal, run=RUN)
    assert begun.wait(PATIENCE)
    yield end
    end.set()
    assert notices.settled(PATIENCE)


def test_receiver_hears_the_facts_from_the_run_model(signal):
    heard = []

    def receiver(**facts):
        heard.append((facts, threading.current_thread()))

    signal.connect(receiver)
    notices.notify(signal, run=RUN, chain="joke")
    assert notices.settled(PATIENCE)
    [(facts, thread)] = heard
    assert facts == {"signal": signal, "sender": Run, "run": RUN, "chain": "joke"}
    assert thread is not threading.current_thread()
    assert thread.daemon


def test_notices_come_in_order(signal):
    heard = []

    def receiver(run, **facts):
        heard.append(run)

    signal.connect(receiver, sender=Run)
    for number in range(100):
        notices.notify(signal, run=number)
    assert notices.settled(PATIENCE)
    assert heard == list(range(100))


def test_nothing_is_started_where_nobody_listens(signal, queue):
    def receiver(**facts): ...

    signal.connect(receiver, sender=Signal)
    notices.notify(signal, run=RUN)
    assert queue._thread is None
    assert notices.settled(0)


def test_coroutine_functions_are_receivers_too(signal):
    heard = []

    async def receiver(run, **facts):
        await asyncio.sleep(0)
        heard.append(run)

    signal.connect(receiver)
    notices.notify(signal, run=RUN)
    assert notices.settled(PATIENCE)
    assert heard == [RUN]


async def test_notice_from_a_loop_costs_it_no_time(hanging, signal):
    begun = time.monotonic()
    for _ in range(200):
        notices.notify(signal, run=RUN)
    assert time.monotonic() - begun < 1
    assert not notices.settled(0.01)


@pytest.mark.parametrize("raised", [ValueError, SystemExit, asyncio.CancelledError])
@pytest.mark.parametrize("kind", ["function", "coroutine function"])
def test_receiver_that_raises_is_reported_with_the_run_and_ends_nothing(raised, kind, signal, caplog):
    heard = []

    def bad(run, **facts):
        if run == RUN:
            raise raised
        heard.append(run)

    async def bad_coroutine(**facts):
        bad(**facts)

    signal.connect(bad if kind == "function" else bad_coroutine)
    notices.notify(signal, run=RUN)
    notices.notify(signal, run=2)
    assert notices.settled(PATIENCE)
    lines = [record.getMessage() for record in caplog.records if record.name == "openrouter_app.runs"]
    assert all(line.startswith(f"run {RUN}: ") for line in lines)
    # To the task group that Django 6.1 runs coroutines in, one that was cancelled has just ended.
    assert len(lines) == 1 or (kind == "coroutine function" and raised is asyncio.CancelledError)
    assert heard == [2]


def test_other_receivers_of_the_notice_still_hear_it(signal, caplog):
    heard = []

    def bad(**facts):
        raise ValueError("secret")

    def good(run, **facts):
        heard.append(run)

    signal.connect(bad)
    signal.connect(good)
    notices.notify(signal, run=RUN)
    assert notices.settled(PATIENCE)
    assert heard == [RUN]
    [line] = [record.getMessage() for record in caplog.records if record.name == "openrouter_app.runs"]
    assert line.endswith("bad raised ValueError")


def test_what_does_not_fit_is_dropped_and_said_once(hanging, signal, monkeypatch, caplog):
    monkeypatch.setattr(notices, "LONGEST_QUEUE", 3)
    for _ in range(10):
        notices.notify(signal, run=RUN)

    def lines():
        return [record.getMessage() for record in caplog.records if "dropped" in record.getMessage()]

    assert lines() == ["receivers of signals are too slow: 1 notices about runs were dropped"]
    monkeypatch.setattr(notices, "SAY_AGAIN_AFTER", 0)
    notices.notify(signal, run=RUN)
    assert "7 notices" in lines()[1]


def test_broken_machinery_raises_nothing(signal, queue, monkeypatch, caplog):
    def receiver(**facts): ...

    def no_thread(self):
        raise RuntimeError("can't start new thread")

    signal.connect(receiver)
    monkeypatch.setattr(threading.Thread, "start", no_thread)
    notices.notify(signal, run=RUN)
    assert f"run {RUN}: its receivers could not be told" in caplog.text
    assert not notices.settled(PATIENCE)  # at once: there is nothing to wait for
    monkeypatch.undo()


def test_next_notice_starts_the_thread_that_could_not_be_started(signal, queue, monkeypatch):
    heard = []

    def receiver(run, **facts):
        heard.append(run)

    def no_thread(self):
        raise RuntimeError("can't start new thread")

    signal.connect(receiver)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        notices.notify(signal, run=1)
    notices.notify(signal, run=2)
    assert notices.settled(PATIENCE)
    assert heard == [1, 2]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("kept", [0, 600])
@pytest.mark.parametrize("kind", ["function", "coroutine function"])
def test_receivers_may_use_the_database_and_leave_no_connection(kept, kind, signal, monkeypatch):
    closed = set()
    close = BaseDatabaseWrapper.close

    def closing(wrapper):
        if wrapper.connection is not None:
            closed.add(threading.current_thread().name)
        close(wrapper)

    def receiver(**facts):
        get_user_model().objects.create_user("ada")

    async def async_receiver(**facts):
        await get_user_model().objects.acreate(username="ada")

    monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", kept)
    signal.connect(receiver if kind == "function" else async_receiver)
    monkeypatch.setattr(BaseDatabaseWrapper, "close", closing)
    notices.notify(signal, run=RUN)
    assert notices.settled(PATIENCE)
    assert closed == {"openrouter notices"}
    assert get_user_model().objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_database_error_of_one_receiver_is_not_the_next_notices(signal):
    heard = []

    def receiver(run, **facts):
        if run == 1:
            with connection.cursor() as cursor:
                cursor.execute("SELECT nothing")
        heard.append(get_user_model().objects.count())

    signal.connect(receiver)
    notices.notify(signal, run=1)
    notices.notify(signal, run=2)
    assert notices.settled(PATIENCE)
    assert heard == [0]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_forked_process_has_a_thread_of_its_own():
    code = """
import os, sys, threading, warnings
warnings.simplefilter("ignore")
import django; django.setup()
from django.dispatch import Signal
from openrouter_app.runs import notices
from tests.factories import make_run
signal, heard, go_on = Signal(), [], threading.Event()
def receiver(run, **facts):
    go_on.wait(20)
    heard.append((os.getpid(), run))
signal.connect(receiver)
notices.notify(signal, run=1)
notices.notify(signal, run=2)
if (child := os.fork()) == 0:
    go_on.set()
    notices.notify(signal, run=3)
    os._exit(0 if notices.settled(20) and heard == [(os.getpid(), 3)] else 1)
_, status = os.waitpid(child, 0)
go_on.set()
assert notices.settled(20) and heard == [(os.getpid(), 1), (os.getpid(), 2)]
sys.exit(os.waitstatus_to_exitcode(status))
"""
    assert ended(code) == (0, "")


@pytest.mark.parametrize(("hangs", "said"), [(False, "heard\n"), (True, "")])
def test_process_that_ends_waits_for_receivers_but_not_long(hangs, said):
    code = f"""
import time
import django; django.setup()
from django.dispatch import Signal
from openrouter_app.runs import notices
from tests.factories import make_run
signal = Signal()
def receiver(**facts):
    time.sleep(600 if {hangs} else 0.2)
    print("heard", flush=True)
signal.connect(receiver)
notices.notify(signal, run=1)
"""
    begun = time.monotonic()
    assert ended(code) == (0, said)
    assert time.monotonic() - begun < 30


def ended(code: str) -> tuple[int, str]:
    result = subprocess.run(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "project.settings"},
        timeout=60,
    )
    return result.returncode, result.stdout


def test_every_final_state_has_its_signal():
    assert set(notices.BY_STATUS) == Run.FINAL
    assert notices.BY_STATUS["done"] is notices.BY_STATUS["stopped"] is signals.run_finished
    assert notices.BY_STATUS["failed"] is notices.BY_STATUS["interrupted"] is signals.run_failed


@pytest.mark.django_db(transaction=True)
async def test_run_that_nobody_executed_is_told_of_when_it_is_stopped():
    heard = []

    def hear(**facts):
        heard.append(facts)

    signals.run_finished.connect(hear)
    try:
        run = await sync_to_async(make_run)("queued")
        await runs.stop(Owner.system(), run.uuid)
        assert await asyncio.to_thread(notices.settled, 5)
    finally:
        signals.run_finished.disconnect(hear)
    assert [(facts["run"], facts["status"]) for facts in heard] == [(run.uuid, "stopped")]
