"""Runs in the background: one row, one task, and a worker that leaves nothing open."""

from __future__ import annotations

import asyncio
import importlib
import subprocess
import sys
import threading
import uuid
from pathlib import Path

import pytest
from asgiref.sync import async_to_sync
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from openrouter_app import runs, tasks
from openrouter_app.engine import client
from openrouter_app.models import Owner

try:
    package = importlib.import_module("django.tasks")
except ImportError:
    package = pytest.importorskip("django_tasks")

RUN = uuid.UUID(int=7)
START = runs.Start(Owner.system(), chain="echo", input={"text": "hi"}, client_id="a")


@pytest.fixture(params=["dummy", "immediate"])
def backend(request, settings):
    """The task backend, and the calls of the package of runs."""
    kind = f"{request.param.title()}Backend"
    path = f"{package.__name__}.backends.{request.param}.{kind}"
    settings.TASKS = {"default": {"BACKEND": path, "QUEUES": []}}
    return request.param


@pytest.fixture
def called(monkeypatch):
    """What was asked of the package of runs; a queued run is new the first time."""
    called = []

    async def queue(start):
        is_new = not any(name == "queue" for name, *_ in called)
        called.append(("queue", start))
        return RUN, is_new

    async def execute(run):
        called.append(("execute", run))

    async def stop(owner, run, **by):
        called.append(("stop", owner, run))

    for function in (queue, execute, stop):
        monkeypatch.setattr(runs, function.__name__, function, raising=False)
    return called


def enqueued():
    return package.default_task_backend.results


@pytest.mark.parametrize("backend", ["dummy"], indirect=True)
async def test_run_is_queued_and_its_task_enqueued(backend, called):
    assert await tasks.start_in_background(START) == RUN
    [(name, start)] = called
    assert (name, start.chain, start.client_id, start.origin) == ("queue", "echo", "a", "task")
    [result] = enqueued()
    assert result.task.module_path == "openrouter_app.tasks.execute_run"
    assert result.args == [str(RUN)]


@pytest.mark.parametrize("backend", ["dummy"], indirect=True)
async def test_same_start_again_is_the_same_run_with_one_task(backend, called):
    assert await tasks.start_in_background(START) == await tasks.start_in_background(START) == RUN
    assert len(enqueued()) == 1


@pytest.mark.parametrize("backend", ["dummy"], indirect=True)
async def test_another_face_remains_the_origin(backend, called):
    await tasks.start_in_background(runs.Start(Owner.system(), "echo", {}, origin="websocket"))
    assert called[0][1].origin == "websocket"


@pytest.mark.parametrize("backend", ["dummy"], indirect=True)
@pytest.mark.parametrize(("said", "seconds"), [({}, tasks.MAY_WAIT), ({"may_wait": 600}, 600)])
async def test_run_waits_longer_for_a_worker_than_for_a_turn(said, seconds, backend, called):
    await tasks.start_in_background(runs.Start(Owner.system(), "echo", {}, **said))
    assert called[0][1].may_wait == seconds


@pytest.mark.parametrize("backend", ["dummy"], indirect=True)
async def test_task_can_go_to_another_queue(backend, called):
    await tasks.start_in_background(START, queue_name="reports")
    assert enqueued()[0].task.queue_name == "reports"


@pytest.mark.parametrize("backend", ["dummy"], indirect=True)
async def test_wrong_queue_makes_no_row(backend, called, settings):
    settings.TASKS = {"default": {**settings.TASKS["default"], "QUEUES": ["default"]}}
    with pytest.raises(Exception, match="Queue 'reports' is not valid"):
        await tasks.start_in_background(START, queue_name="reports")
    assert called == []


@pytest.mark.parametrize("backend", ["dummy"], indirect=True)
@pytest.mark.parametrize("stops", [True, False])
async def test_run_that_cannot_be_enqueued_is_ended(stops, backend, called, monkeypatch, caplog):
    async def refuse(self, *args):
        raise ConnectionError("no broker")

    async def cannot_stop(owner, run):
        raise RuntimeError("no database")

    monkeypatch.setattr(type(package.task_backends["default"]), "aenqueue", refuse)
    if not stops:
        monkeypatch.setattr(runs, "stop", cannot_stop)
    with pytest.raises(ConnectionError, match="no broker"):
        await tasks.start_in_background(START)
    assert called[1:] == ([("stop", START.owner, RUN)] if stops else [])
    assert (f"run {RUN} could not be enqueued" in caplog.text) is not stops


@pytest.mark.parametrize("backend", ["dummy"], indirect=True)
async def test_who_starts_it_may_leave_at_once(backend, called, monkeypatch):
    assert not enqueued()  # a backend that is made here is the one that task finds
    queue, go_on = runs.queue, asyncio.Event()

    async def slow(start):
        await go_on.wait()
        return await queue(start)

    monkeypatch.setattr(runs, "queue", slow)
    starting = asyncio.create_task(tasks.start_in_background(START))
    await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    go_on.set()
    await asyncio.gather(*tasks._queueings)
    assert len(enqueued()) == 1


@pytest.mark.parametrize("backend", ["immediate"], indirect=True)
async def test_immediate_backend_executes_on_the_callers_loop_and_leaves_its_client(
    backend, called, monkeypatch
):
    closed = []

    async def execute(run):
        called.append(("execute", run, asyncio.get_running_loop()))

    async def aclose():
        closed.append(True)

    monkeypatch.setattr(runs, "execute", execute)
    monkeypatch.setattr(client, "aclose", aclose)
    await tasks.start_in_background(START)
    assert called[1:] == [("execute", RUN, asyncio.get_running_loop())]
    assert not closed


@pytest.mark.parametrize("backend", ["immediate"], indirect=True)
@pytest.mark.parametrize("fails", [False, True])
def test_worker_closes_the_client_whatever_comes_of_the_run(fails, backend, called, monkeypatch):
    seen = []

    async def execute(run):
        seen.append((run, asyncio.get_running_loop(), threading.current_thread()))
        if fails:
            raise ValueError("no such run")

    async def aclose():
        seen.append(asyncio.get_running_loop())

    monkeypatch.setattr(runs, "execute", execute)
    monkeypatch.setattr(client, "aclose", aclose)
    result = tasks.execute_run.enqueue(str(RUN))
    assert result.status == ("FAILED" if fails else "SUCCESSFUL")
    [(run, loop, thread), closing] = seen
    assert (run, thread) == (RUN, threading.main_thread())
    assert closing is loop


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("backend", ["immediate"], indirect=True)
@pytest.mark.parametrize("caller", ["main thread", "main thread under a loop", "loop"])
def test_execution_reaches_the_database_wherever_it_runs(caller, backend, called, monkeypatch):
    async def execute(run):
        await runs.check_owner(Owner.system(), run)

    def refused():
        [result] = results
        assert "There is no such run" in result.errors[0].traceback

    results = []
    monkeypatch.setattr(runs, "execute", execute)
    if caller == "main thread":
        results.append(tasks.execute_run.enqueue(str(RUN)))
    else:

        async def enqueue():
            results.append(await tasks.execute_run.aenqueue(str(RUN)))

        run = (
            async_to_sync(enqueue) if caller == "main thread under a loop" else lambda: asyncio.run(enqueue())
        )
        run()
    refused()


def test_worker_finds_the_task_by_its_path():
    task = import_string("openrouter_app.tasks.execute_run")
    assert import_string(task.module_path) == task
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        tasks.nothing  # noqa: B018


async def test_without_django_tasks_the_error_says_what_to_install(called, monkeypatch):
    monkeypatch.setitem(sys.modules, "django.tasks", None)
    monkeypatch.setitem(sys.modules, "django_tasks", None)
    with pytest.raises(ImproperlyConfigured, match="django-tasks-db"):
        await tasks.start_in_background(START)
    assert called == []


def test_importing_asks_for_neither_package_nor_setting():
    code = (
        "import os, sys; os.environ['DJANGO_SETTINGS_MODULE'] = 'project.settings';"
        "import django; django.setup();"
        "sys.modules['django.tasks'] = sys.modules['django_tasks'] = None;"
        "import openrouter_app.tasks"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])
