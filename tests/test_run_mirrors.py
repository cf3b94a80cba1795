"""Following a run that another process executes: its log, its frames, and what happens when either fails."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from channels.layers import InMemoryChannelLayer
from django.utils import timezone

from openrouter_app import runs
from openrouter_app.models import Owner, Run, RunEvent
from openrouter_app.runs import Refused, Snapshot, Start, leases, mirrors, rows
from openrouter_app.runs.events import Started, StepStarted, Text
from openrouter_app.runs.leases import database_time
from openrouter_app.runs.log import encode
from openrouter_app.runs.mirrors import updates_elsewhere
from openrouter_app.testing.scripts import Gate
from tests.factories import make_chain, make_log, make_run
from tests.followers import View, follow_to_end, until
from tests.owning import row_of, says

pytestmark = pytest.mark.django_db(transaction=True)
VISITOR = Owner.of_visitor(uuid4())
BEGINNING = [Started("elsewhere", 1), StepStarted(0), Text(1, "Hel")]
make = sync_to_async


class SilentLayer(InMemoryChannelLayer):
    """Takes every message and loses it."""

    async def send(self, channel, message):
        pass

    async def group_send(self, group, message):
        pass


class BrokenLayer(InMemoryChannelLayer):
    """Raises whatever it is asked."""

    async def new_channel(self, prefix="specific."):
        raise ConnectionError("no layer")

    send = group_send = group_add = group_discard = receive = new_channel


class HangingLayer(InMemoryChannelLayer):
    """Never answers."""

    async def new_channel(self, *args):
        await asyncio.Event().wait()

    send = group_send = group_add = group_discard = receive = new_channel


def layers(backend):
    return {"default": {"BACKEND": f"tests.test_run_mirrors.{backend}"}} if backend else {}


@pytest.fixture(autouse=True)
def quick(settings):
    settings.OPENROUTER = {"FOLLOW_POLL": 0.1, "FLUSH_INTERVAL": 0.03, "LAYER_TIMEOUT": 0.05}


async def row(status="running", *events, **fields):
    """A run of some other process, with the rows of its log."""
    run = await make(make_run)(status, visitor=VISITOR.visitor, **fields)
    await make(make_log)(run, *events)
    return run


async def log(run, after, text):
    events = encode([Text(1, text)])
    await RunEvent.objects.acreate(run=run, after=after, seq=after + len(text), events=events)


async def end(run, text, seq=9):
    parts = [{"type": "step"}, {"type": "text", "text": text}]
    fields = {"status": "done", "ended": timezone.now(), "parts": parts, "output": text, "last_seq": seq}
    assert await make(leases.end)(run.pk, run.fence, "running", fields)


class Watching:
    """A follower whose view can be looked at while he follows."""

    def __init__(self, updates):
        self.view = View()
        self.texts = []
        self.kinds = []
        self.task = asyncio.create_task(self._watch(updates))

    async def _watch(self, updates):
        async with aclosing(updates) as changes:
            async for update in changes:
                self.kinds.append(type(update))
                if isinstance(update, Snapshot):
                    self.view.snapshot(update.seq, update.state)
                else:
                    self.view.range(update.after, update.seq, update.events)
                assert not self.view.gap
                self.texts.append(self.text)

    @property
    def text(self):
        return "".join(part.get("text", "") for part in self.view.state.get("parts", []))

    async def until(self, text, seconds=5):
        await until(lambda: self.text == text or self.task.done(), seconds)
        assert self.text == text

    async def to_its_end(self):
        await asyncio.wait_for(self.task, 5)
        return self.view.state


# ---- the log ----


async def test_log_is_followed_as_it_grows_to_the_row_at_the_end():
    run = await row("running", BEGINNING)
    page = Watching(runs.follow(VISITOR, run.uuid))
    await page.until("Hel")
    assert page.kinds == [Snapshot]
    await log(run, 3, "lo")
    await page.until("Hello")
    await end(run, "Hello, you")
    state = await page.to_its_end()
    assert (state["status"], state["output"], page.view.seq) == ("done", "Hello, you", 9)
    assert page.kinds == [Snapshot, runs.Range, Snapshot]


async def test_follow_begins_with_one_snapshot_of_all_that_is_logged():
    run = await row("running", BEGINNING, [Text(1, "lo")])
    for _ in range(2):
        page = Watching(runs.follow(VISITOR, run.uuid))
        await until(lambda page=page: page.kinds)
        assert (page.kinds, page.text, page.view.seq) == ([Snapshot], "Hello", 4)
        page.task.cancel()


async def test_two_followers_share_one_mirror_that_ends_with_the_last_of_them():
    run = await row("running", BEGINNING)
    pages = [Watching(runs.follow(VISITOR, run.uuid)) for _ in range(2)]
    for page in pages:
        await page.until("Hel")
    (mirror,) = mirrors._mirrors[asyncio.get_running_loop()].values()
    assert mirror.watchers == 2
    for page in pages:
        assert not mirror._task.done()
        page.task.cancel()
        await asyncio.wait([page.task])
    await until(mirror._task.done)
    assert not mirrors._mirrors[asyncio.get_running_loop()]


@pytest.mark.parametrize("is_taken_over", [False, True])
async def test_page_is_never_empty_or_shorter_while_the_run_ends(monkeypatch, is_taken_over):
    run = await row("running", BEGINNING)
    page = Watching(runs.follow(VISITOR, run.uuid))
    await page.until("Hel")
    events_of, ending = rows.events_of, []

    def slow(uuid, after=0):
        found = list(events_of(uuid, after))
        if not ending:  # between the log's reading and the row's
            ending.append(uuid)
            if is_taken_over:
                Run.objects.filter(pk=run.pk).update(fence=7, owner_process="process.other")
        elif len(ending) == 1:
            ending.append(uuid)
            parts = [{"type": "text", "text": "Hello"}]
            fields = {"status": "done", "ended": timezone.now(), "parts": parts, "last_seq": 9}
            assert leases.end(run.pk, 7 if is_taken_over else 1, "running", fields)
        return iter(found)

    monkeypatch.setattr(rows, "events_of", slow)
    state = await page.to_its_end()
    assert (state["status"], page.text) == ("done", "Hello")
    lengths = [len(text) for text in page.texts]
    assert lengths == sorted(lengths)
    assert lengths[0] == 3


async def test_many_readers_of_a_run_that_ends_see_it_whole_or_not_yet():
    run = await row("running", BEGINNING)

    async def read_often():
        texts = []
        while not texts or texts[-1] != "Hello":
            found = await make(rows.read)(run.uuid)
            if found.whole is not None:
                texts.append(found.whole.state["parts"][-1]["text"])
            else:
                texts.append("".join(e.delta for _, _, es in found.rows for e in es if isinstance(e, Text)))
        return set(texts)

    reading = [asyncio.create_task(read_often()) for _ in range(3)]
    await asyncio.sleep(0.05)
    await end(run, "Hello")
    assert [await asyncio.wait_for(one, 5) for one in reading] == [{"Hel", "Hello"}] * 3


async def test_log_that_cannot_be_read_for_a_moment_is_read_again(monkeypatch, caplog):
    run = await row("running", BEGINNING)
    read, failures = rows.read, []

    def failing(*args):
        if len(failures) < 3:
            failures.append(args)
            raise OSError("away")
        return read(*args)

    monkeypatch.setattr(mirrors, "read", failing)
    page = Watching(runs.follow(VISITOR, run.uuid))
    await page.until("Hel")
    assert len(failures) == 3
    page.task.cancel()


# ---- owners that are lost ----


async def test_run_whose_lease_runs_out_while_it_is_followed_is_reaped():
    run = await row("running", BEGINNING, lease_until=database_time(0.3))
    page = Watching(runs.follow(VISITOR, run.uuid))
    await page.until("Hel")
    state = await page.to_its_end()
    assert (state["status"], page.text) == ("interrupted", "Hel")
    assert state["error"]["message"].endswith(".")
    assert (await row_of(run.uuid)).parts == state["parts"]


async def test_queued_run_that_nobody_takes_up_while_it_is_followed_is_given_up():
    run = await row("queued", deadline=database_time(0.2))
    state = (await asyncio.wait_for(follow_to_end(VISITOR, run.uuid), 5)).state
    assert (state["status"], state["error"]["code"]) == ("failed", "busy")


async def test_run_that_is_deleted_while_it_is_followed_is_not_found():
    run = await row("running", BEGINNING)
    page = Watching(runs.follow(VISITOR, run.uuid))
    await page.until("Hel")
    await Run.objects.all().adelete()
    with pytest.raises(Refused) as caught:
        await asyncio.wait_for(page.task, 5)
    assert caught.value.code == "not_found"


async def test_another_owner_means_a_snapshot_of_what_his_log_has():
    run = await row("running", BEGINNING)
    page = Watching(runs.follow(VISITOR, run.uuid))
    await page.until("Hel")
    await Run.objects.filter(pk=run.pk).aupdate(fence=2, owner_process="process.other")
    await log(run, 3, "p")
    await page.until("Help")
    assert page.kinds == [Snapshot, Snapshot]
    page.task.cancel()


# ---- the layer ----


@pytest.mark.parametrize("backend", ["SilentLayer", "BrokenLayer", "HangingLayer", None])
async def test_page_of_another_loop_sees_the_run_whatever_the_layer_does(provider, settings, backend):
    settings.CHANNEL_LAYERS = layers(backend)
    await make(make_chain)()
    gate = Gate()
    provider.reply("Hel", "lo", gate, "!", delay=0.05)
    run = await runs.start(Start(VISITOR, chain="echo", input={"text": "hi"}))
    elsewhere = asyncio.create_task(asyncio.to_thread(asyncio.run, follow_to_end(VISITOR, run)))
    await says(run, "Hello")
    gate.open()
    view = await asyncio.wait_for(elsewhere, 10)
    row = await row_of(run)
    assert (view.state["status"], view.state["output"], view.seq) == ("done", "Hello!", row.last_seq)
    assert view.state["parts"] == row.parts


@pytest.mark.parametrize("backend", ["SilentLayer", None])
async def test_without_a_message_of_the_layer_a_page_is_a_poll_behind(provider, settings, backend):
    settings.CHANNEL_LAYERS = layers(backend)
    settings.OPENROUTER = {**settings.OPENROUTER, "FOLLOW_POLL": 0.3}
    await make(make_chain)()
    first, second = Gate(), Gate()
    provider.reply("Hel", first, "lo", second)
    run = await runs.start(Start(VISITOR, chain="echo", input={"text": "hi"}))
    await says(run, "Hel")
    page = Watching(updates_elsewhere(run))
    await page.until("Hel")
    begun = time.monotonic()
    first.open()
    await page.until("Hello")
    assert time.monotonic() - begun < 1.5
    second.open()
    assert (await page.to_its_end())["output"] == "Hello"


async def test_frames_of_the_layer_come_before_the_log_has_it(provider, settings):
    settings.OPENROUTER = {
        **settings.OPENROUTER,
        "FOLLOW_POLL": 60,
        "FLUSH_INTERVAL": 0.25,
        "LAYER_TIMEOUT": 1,
    }
    await make(make_chain)()
    first, second = Gate(), Gate()
    provider.reply("Hel", first, "lo", second, "!")
    run = await runs.start(Start(VISITOR, chain="echo", input={"text": "hi"}))
    await says(run, "Hel")
    live = runs.registry.find(run)
    await until(lambda: not live._unlogged)
    page = Watching(updates_elsewhere(run))
    await page.until("Hel")
    await until(lambda: live.on_event is not None)  # the owner knows of the page
    settings.OPENROUTER = {**settings.OPENROUTER, "FLUSH_INTERVAL": 60}
    await asyncio.sleep(0.3)  # the last flush before that
    first.open()
    await page.until("Hello", 2)
    assert live._unlogged
    second.open()
    assert (await page.to_its_end())["output"] == "Hello!"
    assert page.view.state["parts"] == (await row_of(run)).parts


async def test_owner_stops_sending_when_nobody_has_said_for_long_that_he_follows(provider, settings):
    settings.OPENROUTER = {**settings.OPENROUTER, "PRESENCE_TIMEOUT": 0.1, "PRESENCE_INTERVAL": 60}
    await make(make_chain)()
    gate = Gate()
    provider.reply("Hel", gate, "lo")
    run = await runs.start(Start(VISITOR, chain="echo", input={"text": "hi"}))
    await says(run, "Hel")
    live = runs.registry.find(run)
    page = Watching(updates_elsewhere(run))
    await page.until("Hel")
    await until(lambda: live.on_event is not None)
    await until(lambda: live.on_event is None)
    gate.open()
    assert (await page.to_its_end())["output"] == "Hello"
