"""Tools that act, runs that wait for a person, and conversations, while processes die, freeze and compete.

A handler's effect and its result are there both or neither, and once; a decision is used once, whoever takes
it; no message of a conversation is lost or out of order.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg
import pytest

from openrouter_app.testing import Gate, Reply
from project.children import ROOT
from tests.faults.bed import Bed
from tests.faults.pages import Page, Refused
from tests.faults.sites import Site
from tests.followers import until

ALLOWED = "write_row_if_allowed"
LEASE = 3.0
UNHURRIED = {
    "LEASE": LEASE,
    "DATABASE_PATIENCE": 2.5,
    "CONNECT_TIMEOUT": 20.0,
    "FIRST_CONTENT_TIMEOUT": 20.0,
    "IDLE_TIMEOUT": 20.0,
    "QUEUE_TIMEOUT": 20.0,
    "HEARTBEAT": 5.0,
}
"""Clocks that nothing here waits for, but for the lease: a busy machine alone must not run past them."""


class Ledger:
    """A bed whose sites have the tools of `tests.faults.ledger`, and what those wrote."""

    def __init__(self, bed: Bed) -> None:
        self.bed = bed
        self.folder: Path = bed.folder
        bed.clocks.update(UNHURRIED)

    async def prepare(self) -> None:
        self.bed.environment.update(
            DJANGO_SETTINGS_MODULE="tests.faults.ledger.settings", LEDGER=str(self.folder)
        )
        environment = {**self.bed.environment, "DATABASE_URL": self.bed.database.url}
        seeding = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.faults.ledger.seeding", cwd=ROOT, env=environment
        )
        assert await seeding.wait() == 0

    def calls(self, name: str, id: str = "c1", answer: str = "Noted.", **arguments: Any) -> None:
        """The model calls a tool, and says something once it has the result."""
        self.bed.provider.call(name, {"note": "a", **arguments}, id=id)
        if answer:
            self.bed.provider.reply(answer)

    async def rows(self) -> int:
        """The notes that were written as rows."""
        return (await self.query("SELECT count(*) FROM auth_group"))[0][0]

    @property
    def lines(self) -> list[str]:
        """The notes that were written as lines."""
        file = self.folder / "lines"
        return file.read_text().splitlines() if file.exists() else []

    async def status(self) -> list[str]:
        """Of every call there is."""
        return [row[0] for row in await self.query("SELECT status FROM openrouter_app_toolcall ORDER BY id")]

    async def query(self, sql: str) -> list[tuple[Any, ...]]:
        return await asyncio.to_thread(self.bed.database.query, sql)

    async def entered(self, note: str = "a") -> None:
        """Until a handler has written this note and stands still."""
        await until((self.folder / f"entered {note}").exists)

    def let_go(self, note: str = "a") -> None:
        (self.folder / f"go {note}").touch()


@pytest.fixture
async def ledger(bed: Bed) -> Ledger:
    """One process's."""
    made = Ledger(bed)
    await made.prepare()
    return made


@pytest.fixture
async def cluster_ledger(cluster_bed: Bed) -> Ledger:
    """Several processes'."""
    made = Ledger(cluster_bed)
    await made.prepare()
    return made


async def two_tabs(bed: Bed) -> tuple[Site, Site, Page, Page]:
    """Two processes, and two tabs of one visitor, one at each."""
    one, other = await asyncio.gather(bed.site(), bed.site())
    page = await bed.page(one)
    return one, other, page, await bed.page(other, visitor=page.visitor)


# ---- a run that waits ----


async def test_decision_after_the_whole_site_was_killed_and_started_again(ledger: Ledger):
    bed = ledger.bed
    ledger.calls(ALLOWED)
    site = await bed.site()
    page = await bed.page(site)
    other = await bed.page(site, visitor=page.visitor)
    run = await page.start(chain="ledger")
    await other.follow(run)
    await page.waits(run)
    await other.waits(run)
    site.kill()
    await asyncio.sleep(LEASE + 0.5)  # longer than any
    await site.serves()
    await page.waits(run)
    assert await ledger.rows() == 0
    await page.decide(run, "c1")
    for one in (page, other):
        assert (await one.ended(run))["output"] == "Noted."
        assert one.call(run, "c1")["output"] == {"written": "a"}
    assert (await ledger.rows(), await ledger.status()) == (1, ["done"])
    await bed.check(fresh_snapshots=True)


async def test_denial_after_a_restart_reaches_the_model(ledger: Ledger):
    bed = ledger.bed
    ledger.calls(ALLOWED, answer="Then not.")
    site = await bed.site()
    page = await bed.page(site)
    run = await page.start(chain="ledger")
    await page.waits(run)
    assert await site.terminate() == 0
    await site.serves()
    await page.decide(run, "c1", approve=False)
    assert (await page.ended(run))["output"] == "Then not."
    assert (await ledger.rows(), await ledger.status()) == (0, ["denied"])
    assert "refused this call" in bed.provider.asked[-1].messages[-1]["content"]
    await bed.check(fresh_snapshots=True)


async def test_stop_of_a_run_that_waits_in_no_process(ledger: Ledger):
    bed = ledger.bed
    ledger.calls(ALLOWED, answer="")
    site = await bed.site()
    page = await bed.page(site)
    run = await page.start(chain="ledger")
    await page.waits(run)
    site.kill()
    await site.serves()
    await page.waits(run)
    await page.stop(run)
    assert (await page.ended(run))["status"] == "stopped"
    await page.decide(run, "c1", wait=False)
    await until(lambda: any(frame["code"] == "decided" for frame in page.got("error")))
    assert (await ledger.rows(), await ledger.status()) == (0, ["cancelled"])
    await bed.check(fresh_snapshots=True)


async def test_decision_at_another_process_is_followed_where_the_run_began(cluster_ledger: Ledger):
    bed = cluster_ledger.bed
    cluster_ledger.calls(ALLOWED)
    _one, _other, page, elsewhere = await two_tabs(bed)
    run = await page.start(chain="ledger")
    await elsewhere.follow(run)
    await elsewhere.waits(run)
    await elsewhere.decide(run, "c1")
    for tab in (page, elsewhere):
        assert (await tab.ended(run))["output"] == "Noted."
    assert (await cluster_ledger.rows(), await cluster_ledger.status()) == (1, ["done"])
    await bed.check(fresh_snapshots=True)


async def test_decisions_at_two_processes_at_once_have_one_effect(cluster_ledger: Ledger):
    bed = cluster_ledger.bed
    _one, _other, page, elsewhere = await two_tabs(bed)
    for number in range(4):
        cluster_ledger.calls(ALLOWED)
        run = await page.start(chain="ledger")
        await elsewhere.follow(run)
        await asyncio.gather(page.waits(run), elsewhere.waits(run))
        await asyncio.gather(*(tab.decide(run, "c1") for tab in (page, elsewhere, page, elsewhere)))
        for tab in (page, elsewhere):
            assert (await tab.ended(run))["output"] == "Noted."
        assert await cluster_ledger.rows() == number + 1
    assert not page.got("error") + elsewhere.got("error")
    await bed.check(fresh_snapshots=True)


async def test_contrary_decisions_at_two_processes_at_once_are_one(cluster_ledger: Ledger):
    bed = cluster_ledger.bed
    _one, _other, page, elsewhere = await two_tabs(bed)
    for _ in range(5):
        cluster_ledger.calls(ALLOWED)
        run = await page.start(chain="ledger")
        await elsewhere.follow(run)
        await asyncio.gather(page.waits(run), elsewhere.waits(run))
        await asyncio.gather(
            page.decide(run, "c1", approve=True, wait=False),
            elsewhere.decide(run, "c1", approve=False, wait=False),
        )
        for tab in (page, elsewhere):
            assert (await tab.ended(run))["output"] == "Noted."
    status = await cluster_ledger.status()
    assert set(status) <= {"done", "denied"}
    assert await cluster_ledger.rows() == status.count("done")
    await until(lambda: len(page.got("error") + elsewhere.got("error")) == 5)
    await bed.check(fresh_snapshots=True)


async def test_decision_whose_process_is_killed_at_once_is_taken_up_by_another(cluster_ledger: Ledger):
    """The one that took it had no place free for it yet."""
    bed, gate = cluster_ledger.bed, Gate()
    cluster_ledger.calls(ALLOWED, answer="")
    one = await bed.site(MAX_RUNS=1, QUEUE_TIMEOUT=30)
    page = await bed.page(one)
    run = await page.start(chain="ledger")
    await page.waits(run)
    bed.provider.reply("busy", gate)
    occupies = await page.start()
    await page.says(occupies, "busy")
    await page.decide(run, "c1", wait=False)
    await until_query(cluster_ledger, "SELECT status FROM openrouter_app_toolcall", "approved")
    assert (await row_status(cluster_ledger, run)) == "queued"
    one.kill()
    bed.provider.reply("Noted.")
    other = await bed.site()
    elsewhere = await bed.page(other, visitor=page.visitor)
    await elsewhere.follow(run)
    assert (await elsewhere.ended(run))["output"] == "Noted."
    assert (await cluster_ledger.rows(), await cluster_ledger.status()) == (1, ["done"])
    gate.open()
    await one.serves()
    await page.ended(run)
    await page.ended(occupies)
    await bed.check(fresh_snapshots=True)


async def until_query(ledger: Ledger, sql: str, value: Any) -> None:
    for _ in range(1_500):
        if [row[0] for row in await ledger.query(sql)] == [value]:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(await ledger.query(sql))


async def row_status(ledger: Ledger, run: str) -> str:
    (row,) = [row for row in await asyncio.to_thread(ledger.bed.database.runs) if row.uuid == run]
    return row.status


async def test_f14_process_that_is_frozen_with_a_runs_lock_in_its_hand_holds_up_no_other_run(
    cluster_ledger: Ledger,
):
    """Neither the reaper nor an expiry waits for the lock, and so nobody waits for them."""
    bed = cluster_ledger.bed
    cluster_ledger.calls(ALLOWED, answer="")
    one, _other, page, elsewhere = await two_tabs(bed)
    waiting = await page.start(chain="ledger")
    await page.waits(waiting)
    bed.provider.reply("Hel", Gate())
    run = await page.start()
    await page.says(run, "Hel")
    one.kill()
    with psycopg.connect(bed.database.url.replace("postgres://", "postgresql://")) as frozen:
        frozen.execute("SELECT 1 FROM openrouter_app_run FOR UPDATE")
        await cluster_ledger.query(
            "UPDATE openrouter_app_toolcall SET approval_expires = now() - interval '1 hour'"
        )
        await asyncio.sleep(LEASE + 1)  # it has run out
        bed.provider.reply("Lo")
        another = await elsewhere.start()
        assert (await elsewhere.ended(another))["output"] == "Lo"
        bed.provider.reply("Too late.")  # what was overdue is taken up the moment the lock is gone
        frozen.rollback()
    await elsewhere.follow(run)
    await elsewhere.follow(waiting)
    assert (await elsewhere.ended(run))["status"] == "interrupted"
    assert (await elsewhere.ended(waiting))["output"] == "Too late."
    await one.serves()
    await page.ended(run)
    await page.ended(waiting)
    await bed.check(fresh_snapshots=True)


# ---- a handler half-way ----


async def test_killed_in_a_handler_it_changed_nothing_and_is_never_called_again(ledger: Ledger):
    bed = ledger.bed
    ledger.calls("write_row", wait=True, answer="")
    site = await bed.site()
    page = await bed.page(site)
    run = await page.start(chain="ledger")
    await ledger.entered()
    site.kill()
    ledger.let_go()
    await site.serves()
    assert (await page.ended(run))["status"] == "interrupted"
    assert page.call(run, "c1")["status"] == "cancelled"
    await asyncio.sleep(1)  # two looks of the reaper
    assert (await ledger.rows(), await ledger.status()) == (0, ["interrupted"])
    history = await bed.check(fresh_snapshots=True)
    assert len(history.asked) == 1


async def test_killed_in_an_async_handler_its_outcome_is_unknown_and_it_is_not_repeated(ledger: Ledger):
    bed = ledger.bed
    ledger.calls("write_line", wait=True, answer="")
    site = await bed.site()
    page = await bed.page(site)
    run = await page.start(chain="ledger")
    await ledger.entered()
    site.kill()
    ledger.let_go()
    await site.serves()
    assert (await page.ended(run))["status"] == "interrupted"
    await asyncio.sleep(1)
    assert (len(ledger.lines), await ledger.status()) == (1, ["interrupted"])
    await bed.check(fresh_snapshots=True)


@pytest.mark.parametrize("trial", range(int(os.environ.get("FAULTS_TRIALS", "20")) // 4))
async def test_killed_at_any_moment_effect_and_result_are_there_both_or_neither(ledger: Ledger, trial):
    bed = ledger.bed
    site = await bed.site()
    page = await bed.page(site)
    for number in range(4):
        bed.provider.default = lambda request: Reply(("Noted.",))
        bed.provider.call(ALLOWED, {"note": f"{trial} {number}"}, id=f"c{number}")
        run = await page.start(chain="ledger")
        await page.waits(run)
        await page.decide(run, f"c{number}", wait=False)
        await asyncio.sleep(random.uniform(0, 0.04))
        site.kill()
        await site.serves()
        state = await page.ended(run)
        status = (await ledger.status())[-1]
        written = await ledger.query(f"SELECT count(*) FROM auth_group WHERE name LIKE '{trial} {number} %'")
        assert written[0][0] == (status == "done"), status
        assert status in ("done", "interrupted", "cancelled")
        assert (state["status"] == "done") <= (status == "done")
    await bed.check(fresh_snapshots=True)


async def test_frozen_in_a_handler_past_its_lease_it_changes_nothing_when_it_wakes(cluster_ledger: Ledger):
    bed = cluster_ledger.bed
    cluster_ledger.calls("write_row", wait=True, answer="")
    one, _other, page, elsewhere = await two_tabs(bed)
    run = await page.start(chain="ledger")
    await elsewhere.follow(run)
    await cluster_ledger.entered()
    one.freeze()
    assert (await elsewhere.ended(run))["status"] == "interrupted"
    cluster_ledger.let_go()
    one.thaw()
    assert (await page.ended(run))["status"] == "interrupted"
    await asyncio.sleep(0.5)
    assert (await cluster_ledger.rows(), await cluster_ledger.status()) == (0, ["interrupted"])
    history = await bed.check(fresh_snapshots=True)
    assert len(history.asked) == 1


async def test_frozen_in_a_handler_for_less_than_its_lease_it_goes_on(cluster_ledger: Ledger):
    bed = cluster_ledger.bed
    cluster_ledger.calls("write_row", wait=True)
    one, _other = await bed.site(LEASE=10), await bed.site()
    page = await bed.page(one)
    run = await page.start(chain="ledger")
    await cluster_ledger.entered()
    one.freeze()
    await asyncio.sleep(2)  # it has missed a renewal, and the other has looked
    one.thaw()
    cluster_ledger.let_go()
    assert (await page.ended(run))["output"] == "Noted."
    assert (await cluster_ledger.rows(), await cluster_ledger.status()) == (1, ["done"])
    await bed.check(fresh_snapshots=True)


async def test_asked_to_leave_it_lets_a_handler_end(ledger: Ledger):
    bed = ledger.bed
    ledger.calls("write_row", wait=True)
    site = await bed.site(DRAIN_TIMEOUT=10)
    page = await bed.page(site)
    run = await page.start(chain="ledger")
    await ledger.entered()
    leaving = asyncio.create_task(site.terminate())
    await asyncio.sleep(0.3)
    ledger.let_go()
    assert await leaving == 0
    assert (await ledger.rows(), await ledger.status()) == (1, ["done"])
    await site.serves()
    assert (await page.ended(run))["output"] == "Noted."
    await bed.check(fresh_snapshots=True)


async def test_f40_handler_that_outlasts_the_drain_is_taken_back(ledger: Ledger):
    bed = ledger.bed
    ledger.calls("write_row", wait=True, answer="")
    site = await bed.site(DRAIN_TIMEOUT=0.3)
    page = await bed.page(site)
    run = await page.start(chain="ledger")
    await ledger.entered()
    await site.terminate()
    assert (await ledger.rows(), await ledger.status()) == (0, ["interrupted"])
    await site.serves()
    assert (await page.ended(run))["status"] == "interrupted"
    await bed.check(fresh_snapshots=True)


async def test_f15_database_that_is_restarted_in_a_handler(cluster_ledger: Ledger):
    """What it changed is gone with its connection; the answer says so, and goes on."""
    bed = cluster_ledger.bed
    cluster_ledger.calls("write_row", wait=True)
    page = await bed.page(await bed.site())
    run = await page.start(chain="ledger")
    await cluster_ledger.entered()
    await asyncio.to_thread(bed.database.disconnect)
    cluster_ledger.let_go()
    assert (await page.ended(run))["output"] == "Noted."
    assert page.call(run, "c1")["error"] == "The tool failed."
    assert (await cluster_ledger.rows(), await cluster_ledger.status()) == (0, ["failed"])
    await bed.check(fresh_snapshots=True)


HOSTILE = "\x00 \x1b[31mred \u202egnp.exe \ud800 \U0001f43b </script>"


async def test_a37_what_no_terminal_or_database_likes_is_stored_in_postgresql(cluster_ledger: Ledger):
    """In what people say, in arguments, results, errors and reasons, and in a call's id."""
    bed = cluster_ledger.bed
    said = HOSTILE.replace("\ud800", "")  # a page cannot send it
    page = await bed.page(await bed.site())
    cluster_ledger.calls("write_line", id="c\x00\u202e1", note=HOSTILE, answer="")
    bed.provider.call(ALLOWED, {"note": HOSTILE}, id="c2")
    bed.provider.call("no such tool", {"note": HOSTILE}, id="c3")
    bed.provider.reply(HOSTILE)
    run = await page.start(chain="ledger", conversation="new", message=said, id="hostile")
    await page.waits(run)
    reason = {"type": "tool.decide", "run": run, "call": "c2", "approve": False, "reason": said}
    await page._send(reason)
    state = await page.ended(run)
    assert state["status"] == "done"
    parts = [part for part in state["parts"] if part["type"] == "call"]
    assert [part["status"] for part in parts] == ["done", "denied", "failed"]
    assert parts[0]["call"].isprintable()
    ((title,),) = await cluster_ledger.query("SELECT title FROM openrouter_app_conversation")
    assert title.isprintable()
    later = await bed.page(bed.sites[0], visitor=page.visitor)
    await later.follow(run)
    assert (await later.ended(run))["parts"] == state["parts"]


# ---- one answer at a time ----


async def test_f33_messages_of_two_tabs_are_never_lost_or_out_of_order(ledger: Ledger):
    site = await ledger.bed.site()
    page = await ledger.bed.page(site)
    await talk_at_once(ledger.bed, page, await ledger.bed.page(site, visitor=page.visitor))


async def test_f33_messages_of_two_tabs_at_two_processes_are_neither(cluster_ledger: Ledger):
    _one, _other, page, elsewhere = await two_tabs(cluster_ledger.bed)
    await talk_at_once(cluster_ledger.bed, page, elsewhere)


async def talk_at_once(bed: Bed, page: Page, tab: Page) -> None:
    """Eight messages each into one conversation; who is told that it is busy says the same again."""
    bed.provider.default = lambda asked: Reply((f"re {asked['messages'][-1]['content']}",), delay=0.005)
    first = await page.start("first.", chain="ledger", conversation="new")
    await page.ended(first)
    conversation = page.conversations["first."]
    refusals = 0

    async def talk(tab: Page, name: str) -> None:
        nonlocal refusals
        await tab.watch(conversation)
        for number in range(8):
            while True:
                try:
                    run = await tab.start(f"{name}{number}.", chain="ledger", conversation=conversation)
                except Refused as refused:
                    assert refused.args[0]["code"] == "busy"
                    refusals += 1
                    await tab.follow(refused.args[0]["run"])
                    await tab.ended(refused.args[0]["run"])
                else:
                    await tab.ended(run)
                    break

    await asyncio.gather(talk(page, "a"), talk(tab, "b"))
    assert refusals, "they met"
    told = [[message["content"] for message in asked.messages] for asked in bed.provider.asked]
    assert len(told) == 17
    for earlier, later in pairwise(told):
        assert later[:-1] == [*earlier, f"re {earlier[-1]}"], "each follows the one before"
    said = [messages[-1] for messages in told]
    for name in "ab":
        assert [text for text in said if text[0] == name] == [f"{name}{number}." for number in range(8)]

    def last() -> list[tuple[str, str | None]]:
        """Where the conversation stands, as both were told last."""
        frames = [one_of_them.got("conversation")[-1] for one_of_them in (page, tab)]
        assert {frame["conversation"] for frame in frames} == {conversation}
        return [(frame["head"], frame["run"]) for frame in frames]

    await until(lambda: last()[0] == last()[1] and last()[0][1] is None)
    await bed.check(fresh_snapshots=True)


async def test_f33_message_whose_process_is_killed_is_said_again_and_stands_once(ledger: Ledger):
    bed = ledger.bed
    bed.provider.default = lambda asked: Reply(("ok",))
    site = await bed.site()
    page = await bed.page(site)
    await page.ended(await page.start("first.", chain="ledger", conversation="new"))
    conversation = page.conversations["first."]
    for number in range(3):
        start = await page.start(f"m{number}.", chain="ledger", conversation=conversation, wait=False)
        await asyncio.sleep(random.uniform(0, 0.03))
        site.kill()
        await site.serves()
        await page.ended(await page.accepted(start))
    rows = await ledger.query(
        "SELECT input, count(*) FROM openrouter_app_message WHERE role = 'user' GROUP BY input"
    )
    assert sorted(rows) == [(f'{{"message":"{text}."}}', 1) for text in ("first", "m0", "m1", "m2")]
    await bed.check(fresh_snapshots=True)
