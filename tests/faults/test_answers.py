"""Answers that are odd, hasty or long, and runs that wait for their turn: F24, F26 to F28, F31."""

from __future__ import annotations

import asyncio
import time

import pytest

from openrouter_app.testing import Gate
from tests.faults.bed import Bed
from tests.faults.pages import Page, Refused
from tests.followers import until


async def one_run(bed: Bed, seconds: float = 10):
    """A run to its end: what the page shows."""
    page = await bed.page(await bed.site())
    run = await page.start()
    return await page.ended(run, seconds)


def delays(bed: Bed, page: Page, run: str) -> list[float]:
    """For each frame with text, how long after the provider had said the last of it the page got it."""
    start = next(start for start, became in page.runs.items() if became == run)
    (asked,) = [asked for asked in bed.provider.asked if asked.is_about(start)]
    said = iter(asked.said)
    found, length, sent, at = [], 0, 0, 0.0
    for entry in page.history:
        if entry.what == "got" and entry.frame.get("run") == run and entry.frame["type"] == "run.events":
            length += sum(len(event.get("delta", "")) for event in entry.frame["events"])
            while sent < length:
                at, text = next(said)
                sent += len(text)
            if at:
                found.append(entry.at - at)
    return found


@pytest.mark.parametrize(
    ("status", "code", "asked"), [(401, "key_rejected", 1), (402, "credit", 1), (503, "provider", 3)]
)
async def test_f24_refusal_is_a_sentence(bed: Bed, status, code, asked):
    for _ in range(3):
        bed.provider.error(status)
    state = await one_run(bed)
    assert (state["status"], state["error"]["code"]) == ("failed", code)
    assert state["error"]["message"].endswith(".")
    await bed.check()
    assert len(bed.provider.asked) == asked


@pytest.mark.parametrize("usage", ["same_finish", "no_finish", "no_choices", "none"])
async def test_f26_usage_is_stored_once_however_it_comes(bed: Bed, usage):
    bed.provider.reply("Hello", usage_event=usage)
    state = await one_run(bed)
    assert state["output"] == "Hello"
    (row,) = (await bed.check()).rows
    assert (row.cost is None) == (usage == "none")


async def test_f27_ten_thousand_chunks_at_once_are_few_frames(bed: Bed):
    bed.provider.reply(*(["abcd"] * 10_000), delay=0, comments=False)
    page = await bed.page(await bed.site())
    begun = time.monotonic()
    run = await page.start()
    state = await page.ended(run, 20)
    seconds = time.monotonic() - begun
    assert state["output"] == "abcd" * 10_000
    assert len(page.got("run.events")) <= seconds / 0.016 + 5
    await bed.check()


async def test_f28_a_megabyte_of_arguments_is_whole_and_blocks_nobody(bed: Bed):
    text = "wordword " * 100_000
    arguments = '{"setup": "' + text + '", "punchline": "x"}'
    bed.provider.call("joke", [arguments[at : at + 40] for at in range(0, len(arguments), 40)], delay=0)
    bed.provider.reply(*(["abcd "] * 200), delay=0.01)
    site = await bed.site()
    page, other = await bed.page(site), await bed.page(site)
    run = await page.start(chain="joke")
    page.stall()
    beside = await other.start()
    await other.ended(beside)
    page.read_on()
    assert max(delays(bed, other, beside)) < 0.5
    state = await page.ended(run, 30)
    assert state["status"] == "done", state.get("error")
    assert state["output"] == [{"name": "joke", "arguments": {"setup": text, "punchline": "x"}}]
    await bed.check(fresh_snapshots=True)


async def test_f31_runs_wait_their_turn_and_the_queue_has_an_end(bed: Bed):
    gate = Gate()
    for _ in range(6):
        bed.provider.reply("Hel", gate, "lo")
    site = await bed.site(MAX_RUNS=2, MAX_QUEUED_RUNS=4)
    page = await bed.page(site)
    runs = [await page.start() for _ in range(6)]
    with pytest.raises(Refused, match="busy"):
        await page.start()
    await until(lambda: len(bed.provider.asked) == 2)
    await asyncio.sleep(0.2)
    assert len(bed.provider.asked) == 2
    assert [page.status(run) for run in runs[2:]] == ["queued"] * 4
    gate.open()
    for run in runs:
        assert (await page.ended(run))["output"] == "Hello"
    assert len((await bed.check()).rows) == 6
    assert (await page.ended(await page.start()))["status"] == "done"


async def test_f31_run_that_waited_too_long_says_so(bed: Bed):
    bed.provider.reply(Gate())
    page = await bed.page(await bed.site(MAX_RUNS=1, QUEUE_TIMEOUT=0.3))
    first, second = await page.start(), await page.start()
    state = await page.ended(second)
    assert (state["status"], state["error"]["code"]) == ("failed", "busy")
    await page.stop(first)
    await page.ended(first)
    await bed.check()
