"""The html face: blocks that come while they are finished, and are those of the stored page."""

from __future__ import annotations

import asyncio
import random
from contextlib import aclosing
from uuid import UUID, uuid4

import pytest
from asgiref.sync import sync_to_async
from hypothesis import given, settings
from hypothesis import strategies as st

from openrouter_app import runs
from openrouter_app.markdown import render_parts, render_text
from openrouter_app.models import Run
from openrouter_app.runs import live, rendered
from openrouter_app.runs.events import (
    Finished,
    Reasoning,
    Reset,
    Started,
    StepStarted,
    Stopped,
    Text,
    ToolStarted,
    Waiting,
)
from openrouter_app.runs.live import Followed, Snapshot
from openrouter_app.runs.mirrors import updates_elsewhere
from openrouter_app.runs.replica import Frame, Replica
from tests import test_run_mirrors as elsewhere
from tests.factories import make_chain
from tests.followers import View, until
from tests.run_logs import logs, new_state
from tests.sockets import connected
from tests.test_blocks import texts

make = sync_to_async
MARKDOWN = "# T\n\nHi **you**\n\n```py\nx = 1\n\ny = 2\n```\n- a\n\n- b\n\nend"


class Reader:
    """Somebody who follows, and what he sees."""

    def __init__(self, followed: Followed, *, html: bool = True) -> None:
        self.view = View()
        self.frames: list[live.Update] = []
        self.task = asyncio.create_task(self._read(rendered.updates_of(followed, None, html=html)))

    async def _read(self, updates) -> None:
        async with aclosing(updates):
            async for update in updates:
                self.frames.append(update)
                if isinstance(update, Snapshot):
                    self.view.snapshot(update.seq, update.state)
                else:
                    self.view.range(update.after, update.seq, update.events)
                assert not self.view.gap
                for part in self.view.state["parts"]:
                    if blocks := part.get("blocks"):
                        assert blocks == render_text(part["text"])[0][: len(blocks)]
                        assert part["text"].endswith(part["rest"])

    @property
    def parts(self):
        return self.view.state["parts"]

    @property
    def html(self):
        return [part.get("blocks") for part in self.parts if part["type"] == "text"]


def shown(parts):
    """The parts as they look: an empty text has no blocks whether or not anybody said so."""
    nothing = {"blocks": [], "rest": ""}
    return [{**nothing, **part} if part["type"] == "text" else part for part in parts]


def say(followed: Followed, event) -> None:
    followed.seq += 1
    followed.show(event)


@pytest.fixture
def hurried(monkeypatch):
    monkeypatch.setattr(live, "WINDOW", 0.0)
    monkeypatch.setattr(live, "WIDE_WINDOW", 0.0)


async def told(followed: Followed, events, *readers: Reader, pause: float = 0.003) -> None:
    for event in events:
        say(followed, event)
        await asyncio.sleep(pause)
    await asyncio.wait_for(asyncio.gather(*(reader.task for reader in readers)), 10)


@st.composite
def rendered_logs(draw):
    """Texts that are Markdown, taken back and begun again, with other parts between them."""
    events, part = [Started("c", 1), StepStarted(0)], 1
    for kind in draw(st.lists(st.sampled_from(["text", "text", "reasoning", "call", "reset"]), max_size=5)):
        match kind:
            case "reset":
                events.append(Reset("b/c"))
                part = 1
                continue
            case "call":
                events.append(ToolStarted(part, f"c{len(events)}", "joke"))
            case "reasoning":
                events.append(Reasoning(part, "Hm", 1))
            case _:
                text = draw(texts | st.just(MARKDOWN))
                cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=8)))
                pieces = zip([0, *cuts], [*cuts, len(text)], strict=True)
                events += [Text(part, text[a:b]) for a, b in pieces]
        part += 1
    return [*events, draw(st.sampled_from([Finished("stop", "x"), Stopped("user")]))]


@pytest.mark.usefixtures("hurried")
@settings(max_examples=60)
@given(rendered_logs(), st.randoms(use_true_random=False))
def test_invariant_17_live_html_is_that_of_the_stored_page(log, dice: random.Random):
    async def follow() -> None:
        followed = Followed(uuid4(), new_state())
        readers = [Reader(followed)]
        for event in log:
            if dice.random() < 0.2:
                readers.append(Reader(followed))
            say(followed, event)
            if dice.random() < 0.6:
                await asyncio.sleep(dice.choice([0, 0, 0.002]))
        readers.append(Reader(followed))
        await asyncio.gather(*(reader.task for reader in readers))
        stored = render_parts(followed.state.parts())
        for reader in readers:
            assert shown(reader.parts) == shown(stored)
        assert rendered._renderings == {}
        assert not followed.has_followers

    asyncio.run(follow())


@pytest.mark.usefixtures("hurried")
@settings(max_examples=20)
@given(logs())
def test_html_changes_nothing_else(log):
    async def follow() -> None:
        followed = Followed(uuid4(), new_state())
        plain, html = Reader(followed, html=False), Reader(followed)
        await told(followed, log, plain, html, pause=0)
        assert render_parts(plain.parts) == shown(html.parts)
        assert not any("blocks" in part for part in plain.parts)
        html.view.state.pop("parts"), plain.view.state.pop("parts")
        assert html.view.state == plain.view.state

    asyncio.run(follow())


@pytest.mark.usefixtures("hurried")
async def test_finished_blocks_come_while_the_answer_is_written():
    followed = Followed(uuid4(), new_state())
    reader = Reader(followed)
    await told(followed, [Started("c", 1), StepStarted(0), Text(1, "Hi **you"), Text(1, "**\n\nHow")])
    await until(lambda: reader.html not in ([], [None]))
    assert reader.parts[1]["blocks"] == ['<p dir="auto">Hi <strong>you</strong></p>']
    assert reader.parts[1]["rest"] == "How"
    await told(followed, [Text(1, " are")])
    await until(lambda: reader.parts[1]["rest"] == "How are")
    await told(followed, [Reasoning(2, "Hm", 1)])
    await until(lambda: reader.parts[1]["rest"] == "")
    assert reader.parts[1]["blocks"][1:] == ['<p dir="auto">How are</p>']
    await told(followed, [Text(3, "So"), Finished("stop", "x")], reader)
    assert reader.html[1] == ['<p dir="auto">So</p>']


@pytest.mark.usefixtures("hurried")
async def test_a_list_is_rendered_with_the_first_letter_behind_it():
    followed = Followed(uuid4(), new_state())
    reader = Reader(followed)
    await told(followed, [StepStarted(0), Text(1, "- a\n\n")])
    await until(lambda: reader.html == [None])
    await told(followed, [Text(1, "T")])
    await until(lambda: reader.html != [None])
    assert len(reader.html[0]) == 1
    assert reader.parts[1]["rest"] == "T"
    reader.task.cancel()


@pytest.mark.usefixtures("hurried")
async def test_html_rides_in_the_frames_of_its_seq():
    followed = Followed(uuid4(), new_state())
    reader, plain = Reader(followed), Reader(followed, html=False)
    pieces = [Text(1, MARKDOWN[at : at + 3]) for at in range(0, len(MARKDOWN), 3)]
    await told(followed, [StepStarted(0), *pieces, Finished("stop", "x")], reader, plain)
    assert reader.view.seq == plain.view.seq == followed.seq
    events = [event for frame in reader.frames[1:] for event in frame.events]
    html = [event for event in events if event["type"] == "html"]
    assert all(list(event) == ["type", "part", "html", "rest"] for event in html)
    assert [block for event in html for block in event["html"]] == render_text(MARKDOWN)[0]
    assert len(html) > 4
    assert "html" not in {event["type"] for frame in plain.frames[1:] for event in frame.events}


@pytest.mark.usefixtures("hurried")
async def test_each_block_is_rendered_once_for_all_who_follow(monkeypatch):
    made = []

    def counting(block):
        made.append(block)
        return "<p>"

    monkeypatch.setattr(rendered, "render", counting)
    monkeypatch.setattr(rendered, "render_parts", list)
    followed = Followed(uuid4(), new_state())
    tasks = [asyncio.create_task(_drain(rendered.updates_of(followed, None, html=True))) for _ in range(5)]
    for number in range(20):
        say(followed, Text(0, f"block {number}\n\n"))
        await asyncio.sleep(0.002)
        if number == 10:
            tasks.append(asyncio.create_task(_drain(rendered.updates_of(followed, None, html=True))))
    say(followed, Finished("stop", "x"))
    await asyncio.gather(*tasks)
    assert len(made) == 20


async def _drain(updates) -> None:
    async with aclosing(updates):
        async for _ in updates:
            pass


@pytest.mark.usefixtures("hurried")
async def test_who_leaves_while_something_is_rendered_takes_nothing_away(monkeypatch):
    def slow(block, render=rendered.render):
        asyncio.run(asyncio.sleep(0.03))
        return render(block)

    monkeypatch.setattr(rendered, "render", slow)
    followed = Followed(uuid4(), new_state())
    leaving, staying = Reader(followed), Reader(followed)
    say(followed, StepStarted(0))
    await asyncio.sleep(0.01)
    for number in range(6):
        say(followed, Text(1, f"block {number}\n\n"))
        await asyncio.sleep(0.01)
        if number == 2:
            leaving.task.cancel()
    say(followed, Finished("stop", "x"))
    await staying.task
    assert staying.parts == render_parts(followed.state.parts())


@pytest.mark.usefixtures("hurried")
async def test_a_slow_reader_gets_a_snapshot_with_blocks(monkeypatch):
    monkeypatch.setattr(live, "BACKLOG", 3)
    followed = Followed(uuid4(), new_state())
    reader = Reader(followed)
    say(followed, StepStarted(0))
    await asyncio.sleep(0.01)
    for _ in range(5):
        say(followed, Text(1, "Hi\n\nyo"))
    await until(lambda: reader.view.seq == 6)
    assert isinstance(reader.frames[-1], Snapshot)
    assert reader.html == [['<p dir="auto">Hi</p>', *['<p dir="auto">yoHi</p>'] * 4]]
    assert reader.parts[1]["rest"] == "yo"
    say(followed, Waiting())
    await until(lambda: reader.view.state["status"] == "waiting")
    reader.task.cancel()


@pytest.mark.usefixtures("hurried")
async def test_a_state_made_anew_is_rendered_anew():
    """A replica that another owner's log sends back to its beginning."""
    replica = Replica(uuid4(), new_state)
    replica.read(1, 0, [(0, 2, [StepStarted(0), Text(1, "Old\n\ntext")])])
    reader = Reader(replica)
    await until(lambda: reader.view.seq == 2)
    replica.receive(Frame(1, 2, 3, [Text(1, "\n\nmore")]))
    await until(lambda: reader.view.seq == 3)
    replica.read(2, 0, [(0, 2, [StepStarted(0), Text(1, "New\n\n")])])
    replica.receive(Frame(2, 2, 3, [Text(1, "line\n\n")]))
    await until(lambda: reader.html == [['<p dir="auto">New</p>', '<p dir="auto">line</p>']])
    replica.receive(Frame(2, 3, 4, [Finished("stop", "x")]))
    await reader.task
    assert shown(reader.parts) == shown(render_parts(replica.state.parts()))


@pytest.mark.usefixtures("hurried")
async def test_without_html_nothing_is_rendered(monkeypatch):
    def refused(*args):
        raise AssertionError("nobody asked for it")

    for name in ("render", "render_parts", "Rendering", "BlockSplitter"):
        monkeypatch.setattr(rendered, name, refused)
    followed = Followed(uuid4(), new_state())
    task = asyncio.create_task(_drain(rendered.updates_of(followed, None, html=False)))
    await told(followed, [StepStarted(0), Text(1, MARKDOWN), Finished("stop", "x")])
    await task


# ---- through the socket ----


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("query", [b"html=1", b"", b"html=0", b"html=1&html=1", b"html=%00", b"\xff=&&html"])
async def test_a_socket_that_asks_for_html_gets_it_live_and_afterwards(provider, query):
    await make(make_chain)()
    provider.reply(*[MARKDOWN[at : at + 5] for at in range(0, len(MARKDOWN), 5)], delay=0.005)
    async with connected(query=query) as sock:
        await sock.send_frame("run.start", id="k1", chain="echo", input={"text": "hi"})
        run = (await sock.until("run.accepted"))["run"]
        view = await sock.watch(run)
        row = await Run.objects.aget(uuid=run)
        expected = render_parts(row.parts) if query == b"html=1" else row.parts
        assert view.state["parts"] == expected
        await runs.wait(UUID(run))
        await sock.send_frame("run.follow", run=run)
        assert (await sock.until("run.snapshot"))["state"]["parts"] == expected
    assert row.parts[1] == {"type": "text", "text": MARKDOWN}


@pytest.mark.django_db(transaction=True)
async def test_a_run_of_another_process_is_rendered_here(settings):
    settings.OPENROUTER = {"FOLLOW_POLL": 0.05, "FLUSH_INTERVAL": 0.02}
    run = await elsewhere.row("running", [Started("c", 1), StepStarted(0), Text(1, "Hi\n\nyo")])
    page = elsewhere.Watching(updates_elsewhere(run.uuid, html=True))
    await until(lambda: page.view.seq == 3)
    part = {"type": "text", "text": "Hi\n\nyo", "blocks": ['<p dir="auto">Hi</p>'], "rest": "yo"}
    assert page.view.state["parts"][1] == part
    await elsewhere.log(run, 3, "u\n\nNow")
    await until(lambda: page.view.seq == 9)
    assert page.view.state["parts"][1]["blocks"][1:] == ['<p dir="auto">you</p>']
    assert page.view.state["parts"][1]["rest"] == "Now"
    await elsewhere.end(run, "Hi\n\nyou\n\nNow then", seq=11)
    await page.task
    assert page.view.state["parts"] == render_parts((await Run.objects.aget(pk=run.pk)).parts)
    assert rendered._renderings == {}
