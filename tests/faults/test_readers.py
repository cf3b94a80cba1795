"""Readers that are slow, and bursts: F3, F4, F27's like between processes."""

from __future__ import annotations

import asyncio

import psutil

from openrouter_app.testing import Gate
from tests.faults.bed import Bed
from tests.followers import until

MEGABYTE = 1_000_000


async def test_f03_pages_that_stop_reading_cost_little_and_harm_nobody(bed: Bed):
    """Twenty pages that follow ten runs each stall while these come; then they read on, and get snapshots."""
    gate = Gate()
    bed.provider.reply("Hel", gate, *(["x" * 1_000] * 200), "lo", delay=0)
    for _ in range(9):
        bed.provider.reply(gate, *(["y" * 1_000] * 200), delay=0)
    site = await bed.site(MAX_RUNS_PER_USER=100, IDLE_TIMEOUT=60, FIRST_CONTENT_TIMEOUT=60)
    first = await bed.page(site)
    run = await first.start()
    others = [await first.start() for _ in range(9)]
    stalled = [await bed.page(site, visitor=first.visitor) for _ in range(20)]
    for page in stalled:
        for one in (run, *others):
            await page.follow(one)
    await until(lambda: all(len(page.views) == 10 for page in stalled))
    beside = await bed.page(site)
    for page in stalled:
        page.stall()
    process = psutil.Process(site.pid)
    before = process.memory_info().rss
    gate.open()
    bed.provider.reply(*(["word "] * 50), delay=0.01)
    other = await beside.start()
    await beside.ended(other, 20)
    for one in (run, *others):
        await first.ended(one, 30)
    assert process.memory_info().rss - before < 40 * MEGABYTE
    for page in stalled:
        page.read_on()
    for page in stalled:
        assert (await page.ended(run, 20))["output"].endswith("lo")
    await bed.check(within=10, fresh_snapshots=True)


async def test_f04_burst_loses_nothing_at_another_process(cluster_bed: Bed):
    bed = cluster_bed
    gate = Gate()
    bed.provider.reply("begin ", gate, *[f"{number} " for number in range(500)], delay=0)
    site, other = await bed.site(), await bed.site()
    page = await bed.page(site)
    tabs = [await bed.page(other, visitor=page.visitor) for _ in range(3)]
    run = await page.start()
    for tab in tabs:
        await tab.follow(run)
        await tab.says(run, "begin")
    gate.open()
    whole = "begin " + "".join(f"{number} " for number in range(500))
    for tab in (page, *tabs):
        assert (await tab.ended(run))["output"] == whole
    await bed.check(fresh_snapshots=True)


async def test_many_runs_are_watched_at_another_process_at_once(cluster_bed: Bed):
    """More frames at a time than a channel holds: what it drops is read in the log."""
    bed = cluster_bed
    for number in range(15):
        bed.provider.reply(*[f"{number}:{word} " for word in range(60)], delay=0.01)
    site, other = await bed.site(), await bed.site()
    page = await bed.page(site)
    tab = await bed.page(other, visitor=page.visitor)
    runs = [await page.start() for _ in range(15)]
    for run in runs:
        await tab.follow(run)
    await asyncio.gather(*(tab.ended(run, 15) for run in runs), *(page.ended(run, 15) for run in runs))
    await bed.check(fresh_snapshots=True)
