"""Connections, slow queries, and a database that cannot be written: F17, F18, F39."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.error
import urllib.request
from itertools import pairwise

from openrouter_app.testing import Gate
from tests.faults.bed import Bed
from tests.followers import until

WORDS = [f"word{number} " for number in range(60)]
WHOLE = "".join(WORDS)


def health(site) -> tuple[int, dict]:
    """What a load balancer would see."""
    try:
        with urllib.request.urlopen(f"{site.address}/health/", timeout=5) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


async def test_f17_fifty_pages_with_runs_need_four_connections(cluster_bed: Bed):
    bed = cluster_bed
    gate = Gate()
    for _ in range(50):
        bed.provider.reply("Hel", gate, "lo")
    # Fifty pages that ask a busy machine every second whether it is there, and leave, would be another test.
    site = await bed.site(
        HEARTBEAT=20, FIRST_CONTENT_TIMEOUT=30, IDLE_TIMEOUT=30, LEASE=30, MAX_RUNS_PER_USER=100
    )
    first = await bed.page(site)
    pages = [first, *[await bed.page(site, visitor=first.visitor) for _ in range(49)]]
    runs = [await page.start() for page in pages]
    await until(lambda: len(bed.provider.asked) == 50, 15)
    most = 0
    for _ in range(20):
        most = max(most, await asyncio.to_thread(bed.database.connections))
        await asyncio.sleep(0.02)
    assert 1 <= most <= 4
    gate.open()
    for page, run in zip(pages, runs, strict=True):
        assert (await page.ended(run, 15))["output"] == "Hello"
    await bed.check(within=5)


async def test_f18_slow_query_of_one_page_holds_up_no_other_pages_answer(cluster_bed: Bed):
    bed = cluster_bed
    bed.provider.reply(*WORDS, *WORDS, delay=0.02)
    site = await bed.site(LEASE=10)
    page, other = await bed.page(site), await bed.page(site)
    run = await page.start()
    await page.says(run, "word5 ")
    with bed.database.locked("openrouter_app_chain"):
        waiting = await other.start(wait=False)
        begun = time.monotonic()
        await asyncio.sleep(2)
        assert waiting not in other.runs
        frames = [entry.at for entry in page.history if entry.at > begun and entry.what == "got"]
    gaps = sorted(b - a for a, b in pairwise(frames))
    assert len(gaps) > 50
    assert gaps[int(len(gaps) * 0.99)] < 0.1 + 0.02
    await page.ended(run)
    await other.ended(await other.accepted(waiting))
    await bed.check()


async def test_f39_database_that_cannot_be_written_fails_runs_and_turns_the_health_check_red(
    cluster_bed: Bed,
):
    bed = cluster_bed
    bed.provider.reply(*WORDS[:10], Gate(), delay=0.02)
    site = await bed.site(LEASE=8)
    page = await bed.page(site)
    run = await page.start()
    await page.says(run, "word9 ")
    assert (await asyncio.to_thread(health, site))[0] == 200
    bed.database.make_read_only(True)
    await until(lambda: bed.provider.asked[0].left_at, 10)
    await asyncio.sleep(1.1)  # a verdict is kept for a second
    status, said = await asyncio.to_thread(health, site)
    assert (status, said["status"]) == (503, "failing")
    assert site.is_running
    bed.database.make_read_only(False)
    state = await page.ended(run, 15)
    assert state["status"] in {"failed", "interrupted"}
    await bed.check(within=5, fresh_snapshots=True)


async def test_claim_waits_for_a_locked_database(bed: Bed):
    bed.provider.reply("Hello")
    page = await bed.page(await bed.site())
    with bed.database.locked():
        start = await page.start(wait=False)
        await asyncio.sleep(0.2)
        assert not bed.provider.asked
    assert (await page.ended(await page.accepted(start)))["output"] == "Hello"
    await bed.check()
