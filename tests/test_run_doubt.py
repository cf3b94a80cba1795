"""A lease in doubt: nothing is said that might be somebody else's to say, and nothing of it is lost."""

from __future__ import annotations

import asyncio
import time
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from django.db.models import F

from openrouter_app import runs
from openrouter_app.models import Owner, Run
from openrouter_app.runs import Start
from openrouter_app.runs.events import Text
from openrouter_app.runs.writer import Writer
from openrouter_app.testing import ToolCallScript
from openrouter_app.testing.scripts import Reasoning
from tests.factories import make_chain, make_joke_chain
from tests.followers import View, follow_to_end, until
from tests.owning import log_of, owned, row_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("provider")]
VISITOR = Owner.of_visitor(uuid4())
make = sync_to_async


@pytest.fixture
async def pair():
    async with owned() as both:
        yield both


async def start(chain="echo", **given):
    return await runs.start(Start(VISITOR, chain=chain, input=given or {"text": "hi"}))


async def test_events_are_held_back_while_the_lease_is_in_doubt_and_said_when_it_stands(pair):
    live, writer = pair
    live.emit(Text(0, "a"))
    live.valid_until = time.monotonic() - 1
    live.emit(Text(0, "b"))
    live.emit(Text(0, "c"))
    assert (live.state.text(), live.seq, live.is_in_doubt) == ("a", 1, True)
    await writer.flush()
    assert (live.state.text(), live.seq, live.is_in_doubt) == ("abc", 3, False)
    assert live.valid_until > time.monotonic() + 20
    await writer.flush()
    assert [row[:2] for row in await log_of(live.run)] == [(0, 1), (1, 3)]


async def test_held_back_events_of_a_lost_run_are_never_said(pair):
    live, writer = pair
    view = View()

    async def follow():
        async for update in live.updates():
            view.snapshot(update.seq, update.state)

    follower = asyncio.create_task(follow())
    await asyncio.sleep(0)
    live.valid_until = time.monotonic() - 1
    live.emit(Text(0, "too late"))
    await Run.objects.aupdate(fence=F("fence") + 1)
    await writer.flush()
    await asyncio.wait_for(follower, 5)
    assert (live.state.text(), live.has_moved, view.state["parts"]) == ("", True, [])
    assert await log_of(live.run) == []


async def test_who_comes_while_the_lease_is_in_doubt_waits_until_it_is_certain(pair):
    live, writer = pair
    live.valid_until = time.monotonic() - 1
    live.emit(Text(0, "a"))
    updates = live.updates()
    first = asyncio.ensure_future(anext(updates))
    await asyncio.sleep(0.05)
    assert not first.done()
    await writer.flush()
    assert (await asyncio.wait_for(first, 5)).state["parts"] == [{"type": "text", "text": "a"}]
    await updates.aclose()


@pytest.fixture
def in_doubt(monkeypatch):
    """Every run is in doubt from its claim to its first flush."""
    claim = Writer.claim

    async def claimed(self, live):
        answer = await claim(self, live)
        live.valid_until = 0
        return answer

    monkeypatch.setattr(Writer, "claim", claimed)


async def test_answer_that_came_whole_while_in_doubt_is_whole(provider, settings, in_doubt):
    settings.OPENROUTER = {**settings.OPENROUTER, "FLUSH_INTERVAL": 60}
    await make(make_chain)()
    provider.reply(Reasoning("Hm."), "Hel", "lo")
    run = await start()
    view = await follow_to_end(VISITOR, run)
    row = await row_of(run)
    assert (row.status, row.output) == ("done", "Hello")
    assert [part["type"] for part in row.parts] == ["step", "reasoning", "text"]
    assert [part.get("text") for part in row.parts] == [None, "Hm.", "Hello"]
    assert view.state["parts"] == row.parts
    assert view.state["output"] == "Hello"


async def test_calls_that_came_while_in_doubt_are_the_output(provider, settings, in_doubt):
    settings.OPENROUTER = {**settings.OPENROUTER, "FLUSH_INTERVAL": 60}
    await make(make_joke_chain)()
    provider.reply("Well:", ToolCallScript("joke_tool", ['{"setup": "a", "punchline": "b"}']))
    run = await start("joke", foo="bears")
    await follow_to_end(VISITOR, run)
    row = await row_of(run)
    assert row.output == [{"name": "joke_tool", "arguments": {"setup": "a", "punchline": "b"}}]
    assert [part["type"] for part in row.parts] == ["step", "text", "call"]
    assert row.parts[1]["text"] == "Well:"


async def test_run_that_fails_while_in_doubt_still_ends(provider, settings, in_doubt):
    settings.OPENROUTER = {**settings.OPENROUTER, "FLUSH_INTERVAL": 60}
    await make(make_chain)()
    provider.stall("Hel", seconds=60)
    run = await start()
    live = runs.registry.find(run)
    await until(lambda: provider.active and live.is_in_doubt)
    live.fail("No more.")
    view = await asyncio.wait_for(follow_to_end(VISITOR, run), 5)
    assert (view.state["status"], view.state["error"]["message"]) == ("failed", "No more.")
