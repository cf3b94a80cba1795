"""Database code that asyncio calls: once more where a connection was lost, and once where it was not."""

from __future__ import annotations

from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from django.db import IntegrityError, OperationalError

from openrouter_app import runs
from openrouter_app.database import again_in_database_thread
from openrouter_app.engine import client
from openrouter_app.models import Owner, Run
from openrouter_app.runs import Start, starting
from tests.factories import make_chain
from tests.followers import follow_to_end

pytestmark = pytest.mark.django_db(transaction=True)


def failing(*errors):
    """A function that raises these one after another, and then answers how often it was called."""
    left, calls = list(errors), []

    @again_in_database_thread
    def function():
        calls.append(1)
        if left:
            raise left.pop(0)
        return len(calls)

    return function


async def test_what_lost_its_connection_is_done_once_more_and_no_oftener():
    assert await failing(OperationalError("gone"))() == 2
    with pytest.raises(OperationalError):
        await failing(OperationalError("gone"), OperationalError("still gone"))()
    with pytest.raises(IntegrityError):
        await failing(IntegrityError("no"))()


@pytest.mark.parametrize("client_id", ["k1", None])
async def test_start_whose_commit_was_not_heard_of_is_one_run_and_executed(
    openrouter, settings, monkeypatch, client_id
):
    settings.OPENROUTER = {"API_KEY": "k", "BASE_URL": openrouter.base_url}
    await sync_to_async(make_chain)()
    openrouter.reply("Hello")
    lost = iter([True])
    saved = Run.save

    def save(self, *args, **kwargs):
        saved(self, *args, **kwargs)
        if next(lost, False):
            starting.transaction.on_commit(lose)

    def lose():
        raise OperationalError("the server closed the connection")

    monkeypatch.setattr(Run, "save", save)
    owner = Owner.of_visitor(uuid4())
    run = await runs.start(Start(owner, chain="echo", input={"text": "x"}, client_id=client_id))
    assert (await follow_to_end(owner, run)).state["output"] == "Hello"
    assert await Run.objects.acount() == 1
    await client.aclose()
