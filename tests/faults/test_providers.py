"""Faults of the provider, seen from a page: F19 to F24, F26 to F28, F31. The rest has the engine."""

from __future__ import annotations

import asyncio
import time

import pytest

from openrouter_app.testing import Cut, End, Gate, Stall, StreamError
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


async def test_f19_reset_before_the_headers_is_tried_again_twice_and_then_said(bed: Bed):
    for _ in range(3):
        bed.provider.raw(Cut(), status=None)
    state = await one_run(bed)
    assert (state["status"], state["error"]["retryable"]) == ("failed", True)
    assert len(bed.provider.asked) == 3
    assert len((await bed.check()).rows) == 1


async def test_f20_silence_before_the_first_content_ends_at_its_deadline(bed: Bed):
    bed.provider.reply(Stall(60))
    begun = time.monotonic()
    state = await one_run(bed)
    assert (state["status"], state["error"]["code"]) == ("failed", "timeout")
    assert 2.9 < time.monotonic() - begun < 9
    await bed.check()


async def test_f21_comments_for_ever_do_not_hold_off_the_deadlines(bed: Bed):
    bed.provider.reply("Hel", Stall(60, comment_every=0.05))
    state = await one_run(bed)
    assert (state["status"], state["error"]["code"]) == ("failed", "timeout")
    assert state["parts"][-1]["text"] == "Hel"
    await bed.check()
    await until(lambda: bed.provider.asked[0].left_at)


@pytest.mark.parametrize("end", [Cut(), End()])
async def test_f22_answer_that_breaks_off_is_kept_and_not_asked_for_again(bed: Bed, end):
    bed.provider.reply("x" * 500, end)
    state = await one_run(bed)
    assert (state["status"], state["error"]["retryable"]) == ("interrupted", True)
    assert state["parts"][-1]["text"] == "x" * 500
    await bed.check()
    assert len(bed.provider.asked) == 1


async def test_f23_error_in_the_stream_is_told_and_the_text_kept(bed: Bed):
    bed.provider.reply("Hel", "lo", StreamError(502, "Provider disconnected"))
    state = await one_run(bed)
    assert state["status"] == "failed"
    assert state["error"]["message"]
    assert state["parts"][-1]["text"] == "Hello"
    await bed.check()
    assert len(bed.provider.asked) == 1


async def test_f24_rate_limit_is_waited_for(bed: Bed):
    bed.provider.error(429, headers={"Retry-After": "1"})
    bed.provider.reply("Hello")
    begun = time.monotonic()
    state = await one_run(bed)
    assert state["output"] == "Hello"
    assert time.monotonic() - begun > 0.95
    await bed.check()


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
