"""Faults between a page and a site of one process: F1, F2, F32, F35, F36 and stops."""

from __future__ import annotations

import asyncio

import pytest

from openrouter_app.testing import Gate
from tests.faults.bed import Bed
from tests.followers import until

WORDS = [f"word{number} " for number in range(60)]
WHOLE = "".join(WORDS)


async def test_f01_reset_in_mid_stream_loses_nothing_and_asks_once(bed: Bed):
    gate = Gate()
    bed.provider.reply(*WORDS[:20], gate, *WORDS[20:], delay=0.01)
    page = await bed.page(await bed.site())
    run = await page.start()
    await page.says(run, "word10 ")
    page.reset()
    gate.open()
    state = await page.ended(run)
    assert page.connections == 2
    assert state["output"] == WHOLE
    await bed.check()
    assert len(bed.provider.asked) == 1


async def test_f01_run_goes_on_while_nobody_looks(bed: Bed):
    bed.provider.reply(*WORDS, delay=0.01)
    site = await bed.site()
    proxy = await bed.proxy(site.port)
    page = await bed.page(site, through=proxy)
    run = await page.start()
    proxy.refuse()
    await until(lambda: any(row.status == "done" for row in bed.database.runs()))
    proxy.heal()
    assert (await page.ended(run))["output"] == WHOLE
    await bed.check()


async def test_f02_twenty_reloads_show_one_run(bed: Bed):
    gate = Gate()
    bed.provider.reply(*WORDS, gate, "end", delay=0.01)
    page = await bed.page(await bed.site())
    run = await page.start()
    for _ in range(20):
        await page.reload()
    gate.open()
    assert (await page.ended(run))["output"] == f"{WHOLE}end"
    assert page.connections == 21
    history = await bed.check()
    assert len(history.asked) == len(history.rows) == 1


async def test_f32_one_start_said_five_times_is_one_run(bed: Bed):
    bed.provider.reply(*WORDS, delay=0.01)
    page = await bed.page(await bed.site())
    runs = {await page.start("said-five-times") for _ in range(5)}
    assert len(runs) == 1
    await page.ended(runs.pop())
    assert len(page.got("run.accepted")) == 5
    history = await bed.check()
    assert len(history.rows) == len(history.asked) == 1


async def test_f32_start_said_at_once_on_five_sockets_is_one_run(bed: Bed):
    bed.provider.reply(*WORDS, delay=0.01)
    site = await bed.site()
    page = await bed.page(site)
    tabs = [page, *[await bed.page(site, visitor=page.visitor) for _ in range(4)]]
    runs = await asyncio.gather(*(tab.start("said-on-five-sockets") for tab in tabs))
    assert len(set(runs)) == 1
    await asyncio.gather(*(tab.ended(runs[0]) for tab in tabs))
    history = await bed.check()
    assert len(history.rows) == len(history.asked) == 1


async def test_f32_start_whose_answer_was_lost_is_said_again_and_is_one_run(bed: Bed):
    bed.provider.reply(*WORDS, delay=0.01)
    site = await bed.site()
    proxy = await bed.proxy(site.port)
    page = await bed.page(site, through=proxy)
    proxy.delay = 0.2
    start = await page.start(wait=False)
    await until(lambda: bed.database.runs())
    proxy.cut()
    proxy.delay = 0
    run = await page.accepted(start)
    await page.ended(run)
    assert len([entry for entry in page.history if entry.frame.get("type") == "run.start"]) == 2
    assert len((await bed.check()).rows) == 1


async def test_f35_half_open_socket_is_given_up_and_the_page_catches_up(bed: Bed):
    bed.provider.reply(*WORDS, delay=0.02)
    site = await bed.site()
    proxy = await bed.proxy(site.port)
    page = await bed.page(site, through=proxy)
    run = await page.start()
    await page.says(run, "word3 ")
    proxy.half_open()
    await until(lambda: not page.is_connected)
    proxy.heal()
    assert (await page.ended(run))["output"] == WHOLE
    await bed.check()


async def test_f35_packets_that_come_late_are_waited_for(bed: Bed):
    bed.provider.reply(*WORDS, delay=0.01)
    site = await bed.site()
    proxy = await bed.proxy(site.port)
    page = await bed.page(site, through=proxy)
    run = await page.start()
    await page.says(run, "word3 ")
    proxy.hold()
    await asyncio.sleep(0.5)
    proxy.heal()
    await page.ended(run)
    assert page.connections == 1
    await bed.check()


async def test_f36_silent_socket_is_kept_open_by_the_pages_questions(bed: Bed):
    page = await bed.page(await bed.site())
    await asyncio.sleep(3 * page.hello["heartbeat"] + 0.2)
    assert page.connections == 1
    assert len(page.got("pong")) == 3


async def test_slow_network_shows_everything(bed: Bed):
    bed.provider.reply(*WORDS, delay=0.005)
    site = await bed.site()
    proxy = await bed.proxy(site.port)
    page = await bed.page(site, through=proxy)
    proxy.delay, proxy.rate = 0.05, 20_000
    run = await page.start()
    assert (await page.ended(run))["output"] == WHOLE
    await bed.check()


@pytest.mark.parametrize("chain", ["translate", "joke"])
async def test_f29_stop_from_another_tab_ends_the_providers_answer(bed: Bed, chain: str):
    gate = Gate()
    if chain == "joke":
        bed.provider.call("joke", ['{"setup": "Why', " did", " the"] + [" long"] * 2_000, delay=0.01)
    else:
        bed.provider.reply(*WORDS, gate, "never", delay=0.005)
    site = await bed.site()
    page = await bed.page(site)
    other = await bed.page(site, visitor=page.visitor)
    run = await page.start(chain=chain)
    await until(lambda: bed.provider.asked and bed.provider.asked[0].said)
    await other.stop(run)
    states = [await page.ended(run), await other.ended(run)]
    assert [state["status"] for state in states] == ["stopped", "stopped"]
    await bed.check()
    await until(lambda: bed.provider.asked[0].left_at)


async def test_f29_stop_before_the_first_byte_and_twice_and_after_the_end(bed: Bed):
    bed.provider.reply(gate := Gate(), "never")
    page = await bed.page(await bed.site())
    run = await page.start()
    await until(lambda: bed.provider.asked)
    await page.stop(run)
    await page.stop(run)
    assert (await page.ended(run))["status"] == "stopped"
    await page.stop(run)
    await bed.check()
    gate.open()
