"""Processes of one machine that leave, die and compete: F10 to F13, and a layer that carries nothing."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time

import pytest

from openrouter_app.testing import Gate
from project.children import ROOT
from tests.faults.bed import Bed
from tests.faults.pages import FINAL
from tests.followers import until

WORDS = [f"word{number} " for number in range(60)]
WHOLE = "".join(WORDS)


async def test_f10_asked_to_leave_it_tells_its_pages_and_lets_twenty_runs_end(bed: Bed):
    gate = Gate()
    for _ in range(20):
        bed.provider.reply(*WORDS[:3], gate, "end", delay=0.01)
    site = await bed.site(DRAIN_TIMEOUT=10, IDLE_TIMEOUT=30)
    pages = [await bed.page(site) for _ in range(2)]
    runs = [await page.start() for page in pages for _ in range(10)]
    await until(lambda: [len(asked.said) for asked in bed.provider.asked] == [3] * 20)
    begun = time.monotonic()
    leaving = asyncio.create_task(site.terminate())
    await until(lambda: not any(page.is_connected for page in pages))
    assert time.monotonic() - begun < 1
    assert {page.history[-1].frame.get("code") for page in pages} <= {1012, None}
    await asyncio.sleep(0.2)
    gate.open()
    assert await leaving == 0
    assert {row.status for row in bed.database.runs()} == {"done"}
    await site.serves()
    for page, run in zip([pages[0]] * 10 + [pages[1]] * 10, runs, strict=True):
        assert (await page.ended(run))["output"].endswith("end")
    await bed.check()


async def test_f11_stop_that_was_asked_for_is_what_a_killed_run_ends_as(bed: Bed):
    bed.provider.reply("Hel", Gate())
    first, second = await bed.site(), await bed.site()
    page = await bed.page(first)
    other = await bed.page(second, visitor=page.visitor)
    run = await page.start()
    await page.says(run, "Hel")
    first.kill()
    await other.stop(run)
    assert (await other.ended(run))["status"] == "stopped"
    await first.serves()
    await page.ended(run)
    await bed.check(fresh_snapshots=True)


async def test_f12_killed_between_the_last_byte_and_the_commit_it_is_honest(bed: Bed):
    gate = Gate()
    bed.provider.reply(*WORDS[:10], gate, "end", delay=0.01)
    site = await bed.site()
    page = await bed.page(site)
    run = await page.start()
    await page.says(run, "word9 ")
    await asyncio.sleep(0.3)
    with bed.database.locked():
        gate.open()
        await until(lambda: bed.provider.asked[0].ended)
        await asyncio.sleep(0.1)
        site.kill()
    await site.serves()
    assert (await page.ended(run))["status"] == "interrupted"
    history = await bed.check(fresh_snapshots=True)
    assert len(history.rows) == len(history.asked) == 1


RACE = """
import asyncio, sys
from uuid import UUID
import django
django.setup()
from openrouter_app import runs
from openrouter_app.engine import client

async def main():
    print("ready", flush=True)
    sys.stdin.readline()
    await asyncio.gather(*(runs.execute(UUID(run)) for run in sys.argv[1:]))
    await client.aclose()

asyncio.run(main())
"""


async def test_f13_two_workers_take_the_same_runs_and_each_is_executed_once(bed: Bed):
    number = int(os.environ.get("FAULTS_TRIALS", "20"))
    for _ in range(number):
        bed.provider.reply("Hel", "lo", delay=0.01)
    environment = {
        **bed.environment,
        "DATABASE_URL": bed.database.url,
        "OPENROUTER_BASE_URL": bed.provider.base_url,
    }
    queue = (
        "import asyncio, django; django.setup()\n"
        "from openrouter_app import runs\nfrom openrouter_app.models import Owner\n"
        "from uuid import uuid4\n"
        "async def main():\n"
        f"    for n in range({number}):\n"
        "        start = runs.Start(Owner.of_visitor(uuid4()), chain='count', input={'max_num': f'run{n}'},"
        " client_id=f'run{n}.', may_wait=60)\n"
        "        print((await runs.queue(start))[0])\n"
        "asyncio.run(main())"
    )
    made = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", queue],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stderr
    runs = made.stdout.split()
    assert len(runs) == number
    workers = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            RACE,
            *runs,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for _ in range(2)
    ]
    for worker in workers:
        await worker.stdout.readline()
    for worker in workers:
        worker.stdin.write(b"go\n")
    assert [await worker.wait() for worker in workers] == [0, 0]
    assert {row.status for row in bed.database.runs()} == {"done"}
    assert len(bed.provider.asked) == number


async def test_run_of_another_process_is_followed_and_stopped_while_the_layer_carries_nothing(bed: Bed):
    """Two processes on one database, each with a layer of its own: every message is lost."""
    bed.provider.reply(*WORDS, Gate(), delay=0.01)
    first, second = await bed.site(), await bed.site()
    page = await bed.page(first)
    other = await bed.page(second, visitor=page.visitor)
    run = await page.start()
    await other.follow(run)
    await other.says(run, "word59 ")
    stopped = time.monotonic()
    await other.stop(run)
    await until(lambda: bed.provider.asked[0].left_at)
    assert bed.provider.asked[0].left_at - stopped < 0.5
    assert [(await one.ended(run))["status"] for one in (page, other)] == ["stopped", "stopped"]
    await bed.check(fresh_snapshots=True)


async def test_page_that_follows_in_another_process_sees_the_end_of_a_run(bed: Bed):
    bed.provider.reply(*WORDS, delay=0.02)
    first, second = await bed.site(), await bed.site()
    page = await bed.page(first)
    other = await bed.page(second, visitor=page.visitor)
    run = await page.start()
    await other.follow(run)
    assert (await other.ended(run))["output"] == WHOLE
    await page.ended(run)
    await bed.check(fresh_snapshots=True)


@pytest.mark.parametrize("trial", range(int(os.environ.get("FAULTS_TRIALS", "20")) // 5))
async def test_killed_at_any_moment_it_leaves_one_honest_run_for_each_start(bed: Bed, trial):
    """Five moments each: runs that began one after another."""
    for _ in range(5):
        bed.provider.reply(*WORDS[:20], delay=0.01)
    site = await bed.site()
    page = await bed.page(site)
    starts = []
    for _ in range(5):
        starts.append(await page.start(wait=False))
        await asyncio.sleep(0.06 + trial % 4 * 0.013)
    site.kill()
    await site.serves()
    runs = [await page.accepted(start) for start in starts]
    assert {(await page.ended(run, 8))["status"] for run in runs} <= FINAL
    assert len((await bed.check(fresh_snapshots=True)).rows) == 5
