"""Of two processes one leaves, dies or stands still: F10, F11, F14. A proxy is the load balancer."""

from __future__ import annotations

import asyncio
import time

from openrouter_app.testing import Gate
from tests.faults.bed import Bed
from tests.faults.pages import Page
from tests.faults.proxy import FaultProxy
from tests.faults.sites import Site
from tests.followers import until

WORDS = [f"word{number} " for number in range(60)]
WHOLE = "".join(WORDS)


async def balanced(bed: Bed) -> tuple[Site, Site, FaultProxy]:
    """Two processes, and the address whose ``target`` is the first of them, until a test says otherwise."""
    one, other = await asyncio.gather(bed.site(), bed.site())
    return one, other, await bed.proxy(one.port)


async def test_f10_process_that_leaves_lets_its_runs_end(cluster_bed: Bed):
    for _ in range(10):
        cluster_bed.provider.reply(*WORDS, delay=0.01)
    one, other, proxy = await balanced(cluster_bed)
    pages = [await cluster_bed.page(one, through=proxy) for _ in range(10)]
    runs = await asyncio.gather(*(page.start() for page in pages))
    proxy.target = other.port
    asked_to_leave = time.monotonic()
    assert await one.terminate() == 0
    for page, run in zip(pages, runs, strict=True):
        assert (await page.ended(run))["output"] == WHOLE
        lost = next(entry for entry in page.history if entry.what == "lost" and entry.at > asked_to_leave)
        assert lost.frame["code"] == 1012
        assert lost.at - asked_to_leave < 1
    history = await cluster_bed.check()
    assert len(history.asked) == 10


async def test_f10_run_that_outlasts_the_drain_is_interrupted_and_keeps_its_text(cluster_bed: Bed):
    cluster_bed.provider.reply("one ", Gate(), "never")
    one, other, proxy = await balanced(cluster_bed)
    page = await cluster_bed.page(one, through=proxy)
    run = await page.start()
    await page.says(run, "one")
    proxy.target = other.port
    await one.terminate()
    assert (await page.ended(run))["status"] == "interrupted"
    assert page.text(run) == "one "
    await cluster_bed.check()


async def test_f10_restarted_process_serves_what_was_there_before(bed: Bed):
    bed.provider.reply(*WORDS, delay=0.01)
    site = await bed.site()
    page = await bed.page(site)
    run = await page.start()
    assert await site.terminate() == 0
    await site.serves()
    assert (await page.ended(run))["output"] == WHOLE
    await bed.check()


async def test_f11_killed_processes_run_is_ended_by_another_and_keeps_its_text(cluster_bed: Bed):
    cluster_bed.provider.reply(*WORDS[:20], Gate(), "never", delay=0.01)
    one, other, proxy = await balanced(cluster_bed)
    page = await cluster_bed.page(one, through=proxy)
    run = await page.start()
    await page.says(run, "word19 ")
    await asyncio.sleep(0.3)  # what is older than a flush may not be lost
    proxy.target = other.port
    one.kill()
    state = await page.ended(run)
    assert state["status"] == "interrupted"
    assert page.text(run) == "".join(WORDS[:20])
    history = await cluster_bed.check()
    assert len(history.asked) == 1


async def test_f11_killed_process_that_is_started_again_ends_its_runs(bed: Bed):
    bed.provider.reply("one ", Gate(), "never")
    site = await bed.site()
    page = await bed.page(site)
    run = await page.start()
    await page.says(run, "one")
    site.kill()
    await site.serves()
    assert (await page.ended(run))["status"] == "interrupted"
    await bed.check()


async def test_f11_process_killed_before_the_first_byte_leaves_no_run_behind(cluster_bed: Bed):
    cluster_bed.provider.reply(Gate(), "never")
    one, other, proxy = await balanced(cluster_bed)
    page = await cluster_bed.page(one, through=proxy)
    run = await page.start()
    await until(lambda: cluster_bed.provider.asked)
    proxy.target = other.port
    one.kill()
    await page.ended(run)
    await cluster_bed.check()


async def test_f14_frozen_processes_late_writes_are_refused(cluster_bed: Bed):
    gate = Gate()
    cluster_bed.provider.reply(*WORDS[:20], gate, *WORDS[20:], delay=0.005)
    one, other, proxy = await balanced(cluster_bed)
    page = await cluster_bed.page(one, through=proxy)
    run = await page.start()
    await page.says(run, "word19 ")
    one.freeze()
    proxy.target = other.port
    gate.open()
    assert (await page.ended(run))["status"] == "interrupted"
    before = cluster_bed.database.runs()
    one.thaw()
    await asyncio.sleep(0.5)
    assert cluster_bed.database.runs() == before
    late = await cluster_bed.page(one, visitor=page.visitor)
    await late.follow(run)
    assert (await late.ended(run))["status"] == "interrupted"
    await cluster_bed.check()


async def test_f14_process_that_stood_still_for_less_than_its_lease_goes_on(cluster_bed: Bed):
    cluster_bed.provider.reply(*WORDS, delay=0.01)
    one, _, proxy = await balanced(cluster_bed)
    page: Page = await cluster_bed.page(one, through=proxy)
    run = await page.start()
    await page.says(run, "word3 ")
    one.freeze()
    await asyncio.sleep(0.4)
    one.thaw()
    assert (await page.ended(run))["output"] == WHOLE
    await cluster_bed.check()
