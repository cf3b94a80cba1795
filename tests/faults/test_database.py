"""Databases that are away or locked while runs are written: F15, F16."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing

from openrouter_app.testing import Gate
from tests.faults.bed import Bed
from tests.faults.databases import SqliteFile
from tests.faults.pages import FINAL
from tests.followers import until

WORDS = [f"word{number} " for number in range(60)]
WHOLE = "".join(WORDS)
PATIENT = {"DATABASE_PATIENCE": 10.0, "LEASE": 10.0}


async def test_f15_connections_cut_in_mid_run_lose_nothing(cluster_bed: Bed):
    cluster_bed.provider.reply(*WORDS, delay=0.01)
    proxy = await cluster_bed.proxy(cluster_bed.database.server.port)
    page = await cluster_bed.page(await cluster_bed.site(database_port=proxy.port))
    run = await page.start()
    for word in ("word5 ", "word20 ", "word40 "):
        await page.says(run, word)
        proxy.cut()
    assert (await page.ended(run))["output"] == WHOLE
    await cluster_bed.check()


async def test_f15_database_that_is_away_for_a_while_loses_nothing(cluster_bed: Bed):
    cluster_bed.provider.reply(*WORDS, delay=0.01)
    proxy = await cluster_bed.proxy(cluster_bed.database.server.port)
    page = await cluster_bed.page(await cluster_bed.site(database_port=proxy.port, **PATIENT))
    run = await page.start()
    await page.says(run, "word5 ")
    proxy.refuse()
    await page.says(run, "word59 ")
    await asyncio.sleep(0.5)
    proxy.heal()
    assert (await page.ended(run))["output"] == WHOLE
    await cluster_bed.check()


async def test_f15_database_server_that_is_restarted_loses_nothing(cluster_bed: Bed):
    gate = Gate()
    cluster_bed.provider.reply(*WORDS[:20], gate, *WORDS[20:], delay=0.01)
    page = await cluster_bed.page(await cluster_bed.site(**PATIENT))
    run = await page.start()
    await page.says(run, "word19 ")
    await asyncio.to_thread(cluster_bed.database.server.end)
    gate.open()
    await asyncio.sleep(0.2)
    await asyncio.to_thread(cluster_bed.database.server.start)
    assert (await page.ended(run))["output"] == WHOLE
    await cluster_bed.check()


async def test_f15_database_that_is_away_too_long_ends_the_run_and_not_the_process(cluster_bed: Bed):
    cluster_bed.provider.reply("one ", Gate(), "never")
    proxy = await cluster_bed.proxy(cluster_bed.database.server.port)
    page = await cluster_bed.page(await cluster_bed.site(database_port=proxy.port))
    run = await page.start()
    await page.says(run, "one")
    proxy.refuse()
    await asyncio.sleep(1.5)
    proxy.heal()
    assert (await page.ended(run))["status"] in FINAL - {"done"}
    cluster_bed.provider.reply("two")
    again = await page.start()
    assert (await page.ended(again))["output"] == "two"
    await cluster_bed.check()


async def test_f15_database_that_does_not_answer_holds_no_tokens_up(cluster_bed: Bed):
    cluster_bed.provider.reply(*WORDS, delay=0.01)
    proxy = await cluster_bed.proxy(cluster_bed.database.server.port)
    page = await cluster_bed.page(await cluster_bed.site(database_port=proxy.port, **PATIENT))
    run = await page.start()
    await page.says(run, "word5 ")
    proxy.hold()
    await page.says(run, "word59 ", 2)
    proxy.heal()
    assert (await page.ended(run))["output"] == WHOLE
    await cluster_bed.check()


async def test_f16_another_writers_lock_is_waited_for(bed: Bed):
    assert isinstance(bed.database, SqliteFile)
    bed.provider.reply(*WORDS, delay=0.005)
    page = await bed.page(await bed.site(**PATIENT))
    run = await page.start()
    await page.says(run, "word5 ")
    with closing(sqlite3.connect(bed.database.path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        await page.says(run, "word59 ")
        await asyncio.sleep(1)
        writer.execute("COMMIT")
    assert (await page.ended(run))["output"] == WHOLE
    await bed.check()


async def test_f16_lock_that_outlasts_all_patience_ends_the_run_with_an_error(bed: Bed):
    assert isinstance(bed.database, SqliteFile)
    bed.provider.reply("one ", Gate(), "never")
    page = await bed.page(await bed.site())
    run = await page.start()
    await page.says(run, "one")
    with closing(sqlite3.connect(bed.database.path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        await asyncio.sleep(2.5)
        writer.execute("COMMIT")
    assert (await page.ended(run))["status"] in FINAL - {"done"}
    await until(lambda: bed.provider.asked[0].left_at)
    await bed.check()
