"""Providers that break: F19 to F24, and what the network does between the site and them."""

from __future__ import annotations

import asyncio

import pytest

from openrouter_app.testing import Gate, Reply, Stall
from tests.faults.bed import Bed
from tests.faults.pages import Page
from tests.followers import until

WORDS = [f"word{number} " for number in range(40)]
WHOLE = "".join(WORDS)
HASTY = {"FIRST_CONTENT_TIMEOUT": 1.0, "IDLE_TIMEOUT": 0.5}


async def outcome(bed: Bed, page: Page) -> tuple[str, str]:
    """How a run ends, and its text."""
    run = await page.start()
    state = await page.ended(run)
    return state["status"], page.text(run)


async def test_f19_connection_that_broke_before_the_answer_is_made_again(bed: Bed):
    bed.provider.cut(headers=False)
    bed.provider.reply(*WORDS)
    page = await bed.page(await bed.site())
    assert await outcome(bed, page) == ("done", WHOLE)
    assert len((await bed.check()).asked) == 2


async def test_f19_provider_that_never_answers_is_a_failure(bed: Bed):
    bed.provider.cut(headers=False)
    page = await bed.page(await bed.site())
    status, text = await outcome(bed, page)
    assert (status, text) == ("failed", "")
    assert 1 < len((await bed.check()).asked) <= 4


async def test_f20_silence_before_the_first_content_ends_the_run(bed: Bed):
    bed.provider.queue(*[Reply((Stall(60.0),), comments=False)] * 5)
    page = await bed.page(await bed.site(**HASTY))
    status, text = await outcome(bed, page)
    assert (status, text) == ("failed", "")
    await bed.check()
    await until(lambda: all(asked.left_at for asked in bed.provider.asked))


async def test_f21_comments_are_no_content(bed: Bed):
    bed.provider.stall("one ", seconds=60, comment_every=0.05)
    page = await bed.page(await bed.site(**HASTY))
    assert await outcome(bed, page) == ("failed", "one ")
    await bed.check()
    await until(lambda: bed.provider.asked[0].left_at)


async def test_f22_answer_that_broke_off_is_kept_and_not_asked_for_again(bed: Bed):
    bed.provider.cut(*WORDS[:10])
    page = await bed.page(await bed.site())
    assert await outcome(bed, page) == ("interrupted", "".join(WORDS[:10]))
    assert len((await bed.check()).asked) == 1


async def test_f22_answer_that_ends_without_an_end_is_no_answer(bed: Bed):
    bed.provider.truncate(*WORDS[:10])
    page = await bed.page(await bed.site())
    assert await outcome(bed, page) == ("interrupted", "".join(WORDS[:10]))
    await bed.check()


async def test_f23_error_in_mid_answer_keeps_the_text(bed: Bed):
    bed.provider.fail(*WORDS[:10])
    page = await bed.page(await bed.site())
    status, text = await outcome(bed, page)
    assert status in ("interrupted", "failed")
    assert text == "".join(WORDS[:10])
    assert len((await bed.check()).asked) == 1


@pytest.mark.parametrize(
    ("error", "retried"), [(401, False), (402, False), (429, True), (502, True), (503, True)]
)
async def test_f24_refusals_are_tried_again_where_that_helps(bed: Bed, error: int, retried: bool):
    bed.provider.error(error, headers={"Retry-After": "0.1"} if error == 429 else None)
    if retried:
        bed.provider.reply(*WORDS)
    page = await bed.page(await bed.site())
    status, text = await outcome(bed, page)
    assert (status, text) == (("done", WHOLE) if retried else ("failed", ""))
    assert len((await bed.check()).asked) == (2 if retried else 1)


async def test_network_to_the_provider_that_is_cut_keeps_what_came(bed: Bed):
    bed.provider.reply(*WORDS, Gate(), "never", delay=0.005)
    proxy = await bed.proxy(bed.provider_port)
    page = await bed.page(await bed.site(provider_port=proxy.port))
    run = await page.start()
    await page.says(run, "word39 ")
    proxy.cut()
    assert (await page.ended(run))["status"] == "interrupted"
    assert page.text(run) == WHOLE
    assert len((await bed.check()).asked) == 1


async def test_network_to_the_provider_that_falls_silent_is_given_up(bed: Bed):
    bed.provider.reply(*WORDS, delay=0.01)
    proxy = await bed.proxy(bed.provider_port)
    page = await bed.page(await bed.site(provider_port=proxy.port, **HASTY))
    run = await page.start()
    await page.says(run, "word3 ")
    proxy.half_open()
    state = await page.ended(run)
    assert (state["status"], state["error"]["code"]) == ("failed", "timeout")
    assert WHOLE.startswith(page.text(run))
    await bed.check()


async def test_network_to_the_provider_that_is_slow_loses_nothing(bed: Bed):
    bed.provider.reply(*WORDS)
    proxy = await bed.proxy(bed.provider_port)
    proxy.delay, proxy.rate = 0.05, 30_000
    page = await bed.page(await bed.site(provider_port=proxy.port))
    assert await outcome(bed, page) == ("done", WHOLE)
    await bed.check()


async def test_f31_runs_in_the_queue_have_their_turn(bed: Bed):
    gate = Gate()
    for _ in range(6):
        bed.provider.reply(gate, *WORDS)
    page = await bed.page(await bed.site(MAX_RUNS=2, QUEUE_TIMEOUT=30, FIRST_CONTENT_TIMEOUT=30))
    runs = [await page.start() for _ in range(6)]
    await until(lambda: len(bed.provider.asked) == 2)
    await asyncio.sleep(0.2)
    assert len(bed.provider.asked) == 2
    gate.open()
    for run in runs:
        assert (await page.ended(run))["output"] == WHOLE
    await bed.check()
