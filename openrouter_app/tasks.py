"""Runs in worker processes, by Django's tasks: ``django.tasks``, or `django_tasks` before Django 6.

::

    from openrouter_app.tasks import start_in_background

    run = await start_in_background(runs.Start(owner, chain="report", input={"year": "2026"}))

Pages and code follow and stop such a run as any other. ``execute_run`` is the task; it is made when it is
asked for, because Django checks a task against ``TASKS`` as soon as it is made: importing this module asks
for no setting and no package.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from contextvars import Context
from typing import Any
from uuid import UUID

import msgspec
from asgiref.sync import async_to_sync
from django.core.exceptions import ImproperlyConfigured

from . import runs
from .engine import client
from .models import Run
from .runs import notices

log = logging.getLogger("openrouter_app.runs")

MAY_WAIT = 86_400.0
"""Seconds a run waits for a worker where its start does not say: workers may be busy, or away over night."""


async def start_in_background(start: runs.Start, **using: Any) -> UUID:
    """Queue a run for a worker and answer its id at once.

    ``using`` is for the task's ``using()``: ``queue_name``, ``backend``, ``priority``. A ``client_id`` that
    this owner has used answers with the run of then and enqueues nothing. Raises `runs.Refused`, and
    whatever the task backend raises; then the run that was made has been stopped.
    """
    task = _execute_run_task().using(**using)  # a wrong setting is found before there is a row
    queueing = asyncio.create_task(_queue(start, task))
    _queueings.add(queueing)
    queueing.add_done_callback(_queueings.discard)
    # Shielded: who asked may leave, but a row that is made must also get its task.
    return await asyncio.shield(queueing)


_queueings: set[asyncio.Task[UUID]] = set()


async def _queue(start: runs.Start, task: Any) -> UUID:
    origin = Run.Origin.TASK if start.origin == Run.Origin.PYTHON else start.origin
    may_wait = MAY_WAIT if start.may_wait is None else start.may_wait
    run, is_new = await runs.queue(msgspec.structs.replace(start, origin=origin, may_wait=may_wait))
    if is_new:
        try:
            await task.aenqueue(str(run))
        except BaseException:
            await _end(start, run)
            raise
    return run


async def _end(start: runs.Start, run: UUID) -> None:
    """No worker will ever come for this run."""
    try:
        await runs.stop(start.owner, run)
    except Exception:
        log.exception("run %s could not be enqueued, and not be stopped", run)


def _execute(run: str) -> None:
    """The task: execute a queued run until it has ended.

    In a worker's main thread the loop is that thread's, so that a signal that ends the process interrupts the
    run, which keeps what came. The empty context keeps this loop's database calls from being sent to a
    thread that waits for them. Elsewhere asgiref finds the loop to run on.
    """
    if threading.current_thread() is threading.main_thread():
        Context().run(asyncio.run, _execute_and_close(UUID(run)))
        notices.settled(notices.AT_EXIT)  # this may have been the worker's last task
    else:
        async_to_sync(runs.execute)(UUID(run))


async def _execute_and_close(run: UUID) -> None:
    try:
        await runs.execute(run)
    finally:
        await client.aclose()


# A worker imports the task by its function's name.
_execute.__name__ = _execute.__qualname__ = "execute_run"


def _execute_run_task() -> Any:
    try:
        from django.tasks import task  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        try:
            from django_tasks import task  # type: ignore[import-not-found,no-redef,unused-ignore]
        except ImportError:
            raise ImproperlyConfigured(
                "Background runs need Django 6, or the packages django-tasks and django-tasks-db."
            ) from None
    return task(_execute)


def __getattr__(name: str) -> Any:
    if name == "execute_run":
        return _execute_run_task()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
