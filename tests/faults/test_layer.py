"""Two processes, and what goes wrong with the channel layer between them: F6, F7, F8."""

from __future__ import annotations

import asyncio
import time

from openrouter_app.testing import Gate
from tests.faults.bed import Bed
from tests.faults.pages import Page
from tests.followers import until

WORDS = [f"word{number} " for number in range(60)]
WHOLE = "".join(WORDS)
PATIENT = {"FIRST_CONTENT_TIMEOUT": 60.0, "IDLE_TIMEOUT": 60.0}
NEVER = {"FOLLOW_POLL": 30.0, "PRESENCE_TIMEOUT": 60.0}
"""What is seen before a poll came over the layer."""
REREAD = {"fresh_snapshots": True}
"""Who missed what the layer lost is given the whole again, from the log."""


async def tabs(bed: Bed, **settings: float) -> tuple[Page, Page]:
    """Two tabs of one visitor, each at a process of its own."""
    one, other = await asyncio.gather(bed.site(**settings), bed.site(**settings))
    page = await bed.page(one)
    return page, await bed.page(other, visitor=page.visitor)


async def test_run_of_one_process_is_watched_at_another(cluster_bed: Bed):
    cluster_bed.provider.reply(*WORDS, delay=0.01)
    page, other = await tabs(cluster_bed, **NEVER)
    run = await page.start()
    await other.follow(run)
    await other.says(run, "word5 ")
    assert (await other.ended(run))["output"] == (await page.ended(run))["output"] == WHOLE
    await cluster_bed.check()
    assert len(other.got("run.events")) > 5


async def test_run_of_one_process_is_stopped_at_another(cluster_bed: Bed):
    cluster_bed.provider.reply(*WORDS, Gate(), "never", delay=0.01)
    page, other = await tabs(cluster_bed, **NEVER)
    run = await page.start()
    await page.says(run, "word3 ")
    await other.stop(run)
    assert (await page.ended(run))["status"] == (await other.ended(run))["status"] == "stopped"
    await cluster_bed.check()
    await until(lambda: cluster_bed.provider.asked[0].left_at)


async def test_f32_start_said_at_two_processes_at_once_is_one_run(cluster_bed: Bed):
    cluster_bed.provider.reply(*WORDS, delay=0.01)
    page, other = await tabs(cluster_bed)
    runs = await asyncio.gather(*(tab.start("said-at-two-processes") for tab in (page, other, page, other)))
    assert len(set(runs)) == 1
    await asyncio.gather(page.ended(runs[0]), other.ended(runs[0]))
    history = await cluster_bed.check()
    assert len(history.rows) == len(history.asked) == 1


async def test_f06_layer_that_is_killed_and_restarted_delays_nobody_much(cluster_bed: Bed):
    gate = Gate()
    cluster_bed.provider.reply(*WORDS[:10], gate, *WORDS[10:], delay=0.02)
    page, other = await tabs(cluster_bed)
    run = await page.start()
    await other.follow(run)
    await other.says(run, "word5 ")
    cluster_bed.valkey.kill()
    gate.open()
    await other.says(run, "word20 ")
    cluster_bed.valkey.start()
    assert (await other.ended(run))["output"] == (await page.ended(run))["output"] == WHOLE
    assert page.connections == other.connections == 1
    await cluster_bed.check(**REREAD)


async def test_f06_layer_that_came_back_carries_again(cluster_bed: Bed):
    page, other = await tabs(cluster_bed)
    cluster_bed.valkey.kill()
    run = await page.start()
    await other.follow(run)
    await other.ended(run)
    cluster_bed.valkey.start()
    cluster_bed.provider.reply("one", Gate(), "never")
    run = await page.start()
    await other.follow(run)
    await other.says(run, "one")
    await other.stop(run)
    assert (await page.ended(run))["status"] == "stopped"
    await cluster_bed.check()


async def test_f07_silent_layer_is_still_there_after_redis_pys_five_seconds(cluster_bed: Bed):
    gate = Gate()
    cluster_bed.provider.reply("one ", gate, "two")
    page, other = await tabs(cluster_bed, **PATIENT, **NEVER)
    run = await page.start()
    await other.follow(run)
    await other.says(run, "one")
    await asyncio.sleep(6)
    gate.open()
    before = time.monotonic()
    await other.ended(run)
    assert time.monotonic() - before < 1
    assert page.connections == other.connections == 1
    assert not [site.said() for site in cluster_bed.sites if "Timeout" in site.said()]
    await cluster_bed.check()


async def test_f08_layer_that_stands_still_holds_nobody_up(cluster_bed: Bed):
    gate = Gate()
    cluster_bed.provider.reply(*WORDS[:10], gate, *WORDS[10:], delay=0.01)
    page, other = await tabs(cluster_bed)
    run = await page.start()
    await other.follow(run)
    await other.says(run, "word5 ")
    cluster_bed.valkey.freeze()
    gate.open()
    assert (await page.ended(run))["output"] == WHOLE
    assert (await other.ended(run))["output"] == WHOLE
    cluster_bed.valkey.thaw()
    assert page.connections == other.connections == 1
    await cluster_bed.check(**REREAD)


async def test_f08_layer_that_is_slow_loses_nothing(cluster_bed: Bed):
    cluster_bed.provider.reply(*WORDS, delay=0.01)
    proxy = await cluster_bed.proxy(cluster_bed.valkey.port)
    proxy.delay = 0.1
    one, two = await asyncio.gather(
        cluster_bed.site(layer_port=proxy.port), cluster_bed.site(layer_port=proxy.port)
    )
    page = await cluster_bed.page(one)
    other = await cluster_bed.page(two, visitor=page.visitor)
    run = await page.start()
    await other.follow(run)
    await other.says(run, "word20 ")
    proxy.cut()
    assert (await other.ended(run))["output"] == WHOLE
    assert page.connections == other.connections == 1
    await cluster_bed.check(**REREAD)
