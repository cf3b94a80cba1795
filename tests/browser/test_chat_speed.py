"""A 20,000-word answer streams without a frame that a reader would feel; the page is touched once a frame."""

from __future__ import annotations

import itertools
import json
import random
from collections import defaultdict
from typing import Any

import pytest
from playwright.sync_api import expect

from openrouter_app.blocks import BlockSplitter
from openrouter_app.markdown import render

from .chatting import DONE, Conversation, Talk, said, text

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

WATCH = """() => {
  window.long = [];
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) window.long.push(Math.round(entry.duration));
  }).observe({ type: "longtask" });
  window.scripts = [];
  new PerformanceObserver((list) => {
    for (const frame of list.getEntries()) {
      const ours = frame.scripts.map((script) => script.duration).reduce((sum, took) => sum + took, 0);
      window.scripts.push(Math.round(ours));
    }
  }).observe({ type: "long-animation-frame" });
}"""
WORDS = 20_000
KINDS = ["FunctionCall", "UpdateLayoutTree", "Layout", "PrePaint", "Paint"]
"""What a frame is made of, as Chromium's trace calls it."""
LITTLE = 40
"""Milliseconds that a task may wait for the processor, so that it is the page's fault if it takes 50."""
TRIES = 2
"""As many are made where the machine is busy."""
A_FRAME = 60
"""Words a frame: six times what the fastest model says in the 16 ms of one."""


def sections() -> Any:
    chosen = random.Random(5)
    words = ["lamp", "bulb", "shade", "order", "carrier", "street", "of", "the", "is", "*soon*", "`code`"]
    for number in itertools.count():
        yield f"## Section {number}\n\n"
        for _ in range(5):
            yield " ".join(chosen.choice(words) for _ in range(90)) + ".\n\n"
        yield "".join(f"- {' '.join(chosen.choices(words, k=8))}\n" for _ in range(5)) + "\n"
        row = "| {} | {} | {} |\n"
        yield row.format("order", "lamp", "when") + row.format("---", "---:", "---")
        yield "".join(row.format(*chosen.choices(words, k=3)) for _ in range(8)) + "\n"
        lines = (f'    order = find("{chosen.choice(words)}", {line})  # {line}\n' for line in range(15))
        yield "```python\ndef orders():\n" + "".join(lines) + "```\n\n"


@pytest.mark.parametrize("html", [True, False], ids=["blocks", "text"])
def test_a_long_answer_streams_without_a_long_task(talk: Talk, html: bool) -> None:
    """The longest script, layout and painting together take no 30 ms; the end costs what the beginning did.

    By the clock of the page's thread, which stands while others have the processor. The page's own observers
    know only the one that goes on: they see no frame with more than 50 ms of script in a try in which the
    thread got what it asked for.
    """
    for _ in range(TRIES):
        page = talk.open()
        work, undisturbed = stream(talk, html)
        assert sum(max(work[kind]) for kind in KINDS) < 30, {kind: max(work[kind]) for kind in KINDS}
        layouts = work["Layout"]
        quarter = len(layouts) // 4
        assert sum(layouts[-quarter:]) < 3 * sum(layouts[quarter : 2 * quarter])
        if undisturbed:
            assert page.evaluate("window.scripts.filter((took) => took > 50)") == []
            break
    page.evaluate(
        "setTimeout(() => { const end = performance.now() + 80; while (performance.now() < end); })"
    )
    talk.wait_for(
        lambda: page.evaluate("window.long.length && window.scripts.at(-1) > 50")
    )  # it would be seen


def prepared(words: list[str]) -> list[tuple[str, dict[str, Any] | None]]:
    """What is said in a frame, and what the server makes of it: made before the clock runs."""
    splitter = BlockSplitter()
    frames: list[tuple[str, dict[str, Any] | None]] = []
    for at in range(0, WORDS, A_FRAME):
        piece = " ".join(words[at : at + A_FRAME]) + " "
        blocks = [render(block) for block in splitter.feed(piece)]
        event = {"type": "html", "part": 0, "html": blocks, "rest": splitter.rest} if blocks else None
        frames.append((piece, event))
    return frames


def stream(talk: Talk, html: bool) -> tuple[dict[str, list[float]], bool]:
    """The whole answer, `A_FRAME` words a frame, watched; the reader is at its end.

    Answers what the page's thread did, by its kind: milliseconds that it had the processor, in their order;
    and whether it got it soon whenever it had something to do.
    """
    page = talk.page
    browser = page.context.browser
    assert browser is not None
    talk.send("Tell me everything")
    talk.accept(status="running")
    words = list(itertools.islice((w for part in sections() for w in part.split(" ")), WORDS))
    frames = prepared(words)
    page.evaluate(WATCH)
    browser.start_tracing(page=page, categories=["toplevel", "devtools.timeline"])
    for piece, rendered in frames:
        talk.tell(text(piece))
        if html and rendered:
            seq = talk.seq["R"]
            talk.say(type="run.events", run="R", after=seq, seq=seq, events=[rendered])
        page.wait_for_timeout(16)
    # Not by the whole text: to read that is more work than all the rest.
    end = "() => document.querySelector('.openrouter-answer .openrouter-text').lastElementChild.textContent"
    talk.wait_for(lambda: str(page.evaluate(end)).strip().endswith(frames[-1][0].strip()[-20:]))
    seen = work_in(browser.stop_tracing())
    talk.tell(DONE)
    expect(talk.status).to_have_text("Answer complete.", timeout=60_000)
    assert len((talk.answers.text_content() or "").split()) > WORDS * 0.8
    if html:
        assert talk.answers.locator("table").count() > 20
        assert talk.answers.locator("pre .hl-k").count() > 20
    at_end = "(box) => box.scrollHeight - box.scrollTop - box.clientHeight < 4"
    assert page.get_by_role("log").evaluate(at_end)
    return seen


def work_in(trace: bytes) -> tuple[dict[str, list[float]], bool]:
    """What stands in Chromium's trace of a page's own thread, see `stream`."""
    events = json.loads(trace)["traceEvents"]
    named = [event for event in events if event["name"] == "thread_name"]
    pages = {(event["pid"], event["tid"]) for event in named if event["args"]["name"] == "CrRendererMain"}
    work: dict[str, list[float]] = defaultdict(list)
    waited = 0.0
    for event in sorted(events, key=lambda event: event.get("ts", 0)):
        if event["ph"] == "X" and "tdur" in event and (event["pid"], event["tid"]) in pages:
            work[event["name"]].append(event["tdur"] / 1_000)
            if event["name"] == "ThreadControllerImpl::RunTask":
                waited = max(waited, (event["dur"] - event["tdur"]) / 1_000)
    return work, waited < LITTLE


def test_a_thousand_deltas_touch_the_page_once_a_frame(talk: Talk) -> None:
    page = talk.open()
    talk.send("Go")
    talk.accept(status="running")
    talk.tell(text("0"))
    expect(talk.answers).to_contain_text("0")
    watch = """() => {
      window.touched = new Map();
      let frame = 0;
      const count = () => { frame += 1; requestAnimationFrame(count); };
      requestAnimationFrame(count);
      new MutationObserver((records) => {
        const texts = records.filter((record) => record.type === "characterData");
        window.touched.set(frame, (window.touched.get(frame) ?? 0) + texts.length);
      }).observe(document.querySelector("[data-target=messages]"), { characterData: true, subtree: true });
    }"""
    page.evaluate(watch)
    for at in range(0, 1000, 50):
        talk.tell(*(text(f" {number}") for number in range(at, at + 50)))
    talk.tell(text(" end"))
    expect(talk.answers).to_contain_text("999 end")
    assert max(page.evaluate("[...window.touched.values()]")) == 1


def test_a_conversation_of_a_thousand_messages_opens_at_its_end(talk: Talk) -> None:
    conversation = Conversation()
    for number in range(500):
        conversation.ask(f"Question {number}")
        conversation.answer(said("x", *[f"<p>{'Because it is so. ' * 20}</p>"] * 5))
    page = talk.open(conversation)
    expect(talk.questions).to_have_count(500)
    assert page.evaluate("performance.now()") < 10_000
    assert page.get_by_role("log").evaluate(
        "(box) => box.scrollHeight - box.scrollTop - box.clientHeight < 4"
    )
    assert talk.questions.last.is_visible()


def test_what_is_not_laid_out_while_an_answer_is_written_stands_where_it_will(talk: Talk) -> None:
    """No block moves away from the others when the answer ends."""
    page = talk.open()
    page.set_viewport_size({"width": 900, "height": 600})
    talk.send("Tell me")
    talk.accept(status="running")
    words = list(itertools.islice((w for part in sections() for w in part.split(" ")), 1_500))
    for piece, rendered in prepared(words)[: len(words) // A_FRAME]:
        talk.tell(text(piece))
        if rendered:
            seq = talk.seq["R"]
            talk.say(type="run.events", run="R", after=seq, seq=seq, events=[rendered])
        page.wait_for_timeout(50)
    expect(talk.answers).to_contain_text(" ".join(words[-3:]).strip())
    tops = """() => [...document.querySelectorAll(".openrouter-markdown")].map((block, _, [first]) =>
      Math.round(block.getBoundingClientRect().top - first.getBoundingClientRect().top))"""
    skipped = """() => [...document.querySelectorAll(".openrouter-markdown")].filter((block) =>
      !block.firstElementChild.checkVisibility({ contentVisibilityAuto: true })).length"""
    talk.wait_for(lambda: page.evaluate(skipped) > 5)
    before = page.evaluate(tops)
    talk.tell(DONE)
    expect(talk.status).to_have_text("Answer complete.")
    talk.wait_for(lambda: page.evaluate(skipped) == 0)
    assert page.evaluate(tops) == before
