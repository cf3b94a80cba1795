"""The database in functions of chains that run in threads: each thread's connection is closed at its end."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper

from openrouter_app import FunctionStep, ParallelMap


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("face", ["on a loop", "in threads"])
def test_connection_of_a_thread_is_closed_at_its_end(face, monkeypatch):
    opened, closed = set(), set()
    close = BaseDatabaseWrapper.close

    def closing(wrapper):
        close(wrapper)
        closed.add(threading.current_thread())

    def count(_):
        users = get_user_model().objects.count()
        assert connection.connection is not None
        opened.add(threading.current_thread())
        return users

    monkeypatch.setattr(BaseDatabaseWrapper, "close", closing)
    chain = ParallelMap({"a": count, "b": FunctionStep(count)})
    found = asyncio.run(chain.ainvoke("x")) if face == "on a loop" else chain.invoke("x")
    assert found == {"a": 0, "b": 0}
    assert len(opened) == 2
    assert threading.current_thread() not in opened
    end = time.monotonic() + 20
    while not opened <= closed:
        assert time.monotonic() < end
        time.sleep(0.01)
