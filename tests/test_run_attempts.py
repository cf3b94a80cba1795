"""Attempts at handlers that are given up at any moment: the process lives, and nothing is left half done."""

from __future__ import annotations

import random
import threading
import time

import pytest
from django.contrib.auth.models import Group
from django.db import DatabaseError, connection, connections

from openrouter_app.runs.attempts import Attempt, GivenUp

pytestmark = pytest.mark.django_db(transaction=True)


def attempted(attempt: Attempt, name: str, ended: list[str]) -> None:
    """Two changes in one transaction, and a look at many rows between them."""
    try:
        with attempt.transaction():
            Group.objects.create(name=f"{name} one")
            list(Group.objects.all().iterator(chunk_size=2))
            Group.objects.create(name=f"{name} two")
        ended.append("done")
    except (GivenUp, DatabaseError):
        ended.append("given up")
    finally:
        connections.close_all()


def test_given_up_in_any_moment_it_is_done_whole_or_not_at_all():
    chance = random.Random(7)
    ended: list[str] = []
    for number in range(150):
        attempt = Attempt()
        thread = threading.Thread(target=attempted, args=(attempt, f"{number}", ended))
        thread.start()
        time.sleep(chance.uniform(0, 0.012))
        attempt.give_up()
        attempt.give_up()
        thread.join(20)
        assert not thread.is_alive()
        assert Group.objects.filter(name__startswith=f"{number} ").count() == (
            2 if ended[-1] == "done" else 0
        )
        Group.objects.all().delete()
    assert set(ended) == {"done", "given up"}


@pytest.mark.skipif(connection.vendor != "sqlite", reason="only SQLite has one writer")
def test_who_is_given_up_lets_others_write_at_once_and_changes_nothing_afterwards():
    attempt, begun, released, raised = Attempt(), threading.Event(), threading.Event(), []

    def hangs():
        try:
            with attempt.transaction():
                Group.objects.create(name="before")
                begun.set()
                released.wait(20)
                Group.objects.create(name="after")
        except Exception as error:
            raised.append(error)
        finally:
            connections.close_all()

    thread = threading.Thread(target=hangs)
    thread.start()
    assert begun.wait(10)
    attempt.give_up()
    since = time.monotonic()
    Group.objects.create(name="others")
    assert time.monotonic() - since < 10  # the database's own patience is 20 s
    released.set()
    thread.join(10)
    assert len(raised) == 1
    assert [group.name for group in Group.objects.all()] == ["others"]
