"""The checker finds what is wrong: a sound history, and the same one doctored, a fault at a time."""

from __future__ import annotations

import copy
from dataclasses import replace
from decimal import Decimal

import pytest

from tests.faults.databases import Row
from tests.faults.histories import History, Told, problems
from tests.faults.pages import FINAL, Entry
from tests.faults.provider import Asked
from tests.followers import View

START, RUN = "the-start", "5f0c0a52-0000-4000-8000-000000000001"
PARTS = [{"type": "step", "model": "a/b"}, {"type": "text", "text": "Hello"}]
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "cost": "0.0000125"}
ROW = Row(RUN, START, "done", 6, PARTS, "Hello", 3, 2, Decimal("0.0000125000"), "")

HELLO = ("got", {"type": "hello"})
SENT = ("sent", {"type": "run.start", "id": START})
ACCEPTED = ("got", {"type": "run.accepted", "id": START, "run": RUN})
FOLLOW = ("sent", {"type": "run.follow", "run": RUN})
STOP = ("sent", {"type": "run.stop", "run": RUN})
STOPPED = {"type": "stopped", "by": "page"}
FINISHED = {"type": "finished", "reason": "stop", "output": "Hello"}


def snapshot(seq=0, **state):
    state = {"status": "queued", "parts": [], **state}
    return "got", {"type": "run.snapshot", "run": RUN, "seq": seq, "state": state}


def events(after, *events):
    return "got", {
        "type": "run.events",
        "run": RUN,
        "after": after,
        "seq": after + len(events),
        "events": list(events),
    }


BEGUN = events(0, {"type": "started"}, {"type": "step", "part": 0, "model": "a/b"})
TEXT = events(2, {"type": "text", "part": 1, "delta": "Hel"}, {"type": "text", "part": 1, "delta": "lo"})
END = events(4, {"type": "usage", **USAGE}, FINISHED)
FRAMES = [HELLO, SENT, ACCEPTED, snapshot(), BEGUN, TEXT, END]


def page(*frames, connected=True):
    """A page that connected once, its frames a tenth of a second apart, folded as a page does."""
    entries = [Entry(0.0, "opened", {})]
    entries += [Entry(number / 10, what, frame) for number, (what, frame) in enumerate(frames, 1)]
    view = View()
    for what, frame in frames:
        if what == "got" and frame["type"] == "run.snapshot":
            view.snapshot(frame["seq"], frame["state"])
        elif what == "got" and frame["type"] == "run.events" and view.state:
            view.range(frame["after"], frame["seq"], copy.deepcopy(frame["events"]))
    return Told("page", entries, {RUN: view} if view.state else {}, connected)


def asked(at=0.3, said=("Hel", "lo"), pause=0.1):
    pieces = [(at + pause * number, text) for number, text in enumerate(said, 1)]
    return Asked(at, f'{{"messages": [{{"content": "{START}"}}]}}', 200, pieces, ended=True)


def history(*, requests=None, rows=(ROW,), logged=(), pages=None, **more):
    requests = [asked()] if requests is None else requests
    return History(requests, rows, logged, [page(*FRAMES)] if pages is None else pages, **more)


def the_problem(history):
    (problem,) = problems(history)
    return problem


def test_sound_history_has_no_problem():
    assert problems(history()) == []


def test_page_that_followed_again_after_a_break_is_sound():
    told = page(*FRAMES[:5])
    again = page(HELLO, FOLLOW, snapshot(4, status="running", parts=PARTS), END)
    both = Told("page", [*told.history, Entry(0.5, "lost", {}), *again.history], again.views)
    assert problems(history(pages=[both])) == []


def test_page_that_is_away_may_be_behind():
    assert problems(history(pages=[page(*FRAMES[:5], connected=False)])) == []
    assert "shows status" in problems(history(pages=[page(*FRAMES[:5])]))[0]


# Rows


def test_start_that_became_two_runs():
    second = replace(ROW, uuid=RUN.replace("1", "2"))
    assert any("became 2 runs" in problem for problem in problems(history(rows=[ROW, second])))


def test_accepted_start_without_a_row():
    found = problems(history(rows=[]))
    assert any("the rows say None" in problem for problem in found)


@pytest.mark.parametrize("status", ["queued", "running", "waiting"])
def test_run_that_never_ended(status):
    row = replace(ROW, status=status)
    told = [page(*FRAMES[:3], connected=False)]
    assert the_problem(history(rows=[row], pages=told)) == f"run {RUN} is left {status}"


def test_log_that_was_left():
    assert "left 2 rows in the log" in the_problem(history(logged=[(RUN, 3), (RUN, 6)]))
    assert problems(history(logged=[])) == []


# Pages


@pytest.mark.parametrize(
    "change",
    [
        {"parts": [PARTS[0], {"type": "text", "text": "Hell"}]},
        {"output": "Hell"},
        {"prompt_tokens": 4},
        {"completion_tokens": None},
        {"cost": Decimal("0.5")},
    ],
)
def test_row_that_says_something_else_than_the_page(change):
    assert f"page shows {next(iter(change))}" in problems(history(rows=[replace(ROW, **change)]))[0]


def test_end_that_became_another():
    found = problems(history(rows=[replace(ROW, status="interrupted")]))
    assert any("was told that run" in problem for problem in found)


def doctored(*frames):
    return history(pages=[page(*frames, connected=False)])


def test_hole_between_ranges():
    assert "events from 4 on, after 2" in problems(doctored(*FRAMES[:5], END))[0]


def test_range_that_came_twice():
    assert "events from 2 on, after 4" in problems(doctored(*FRAMES[:6], TEXT, END))[0]


def test_events_before_the_snapshot():
    assert "events before the snapshot" in problems(doctored(*FRAMES[:3], BEGUN, TEXT))[0]


def test_second_snapshot_that_nobody_asked_for():
    frames = [*FRAMES[:5], snapshot(2, status="running", parts=PARTS[:1]), *FRAMES[5:]]
    assert "2 snapshots for 1 follows" in the_problem(doctored(*frames))
    assert problems(replace(doctored(*frames), fresh_snapshots=True)) == []


def test_end_that_comes_as_a_snapshot_is_sound():
    end = snapshot(6, status="done", parts=PARTS, output="Hello", usage=USAGE)
    assert problems(history(pages=[page(*FRAMES[:5], end)])) == []
    assert "2 snapshots for 1 follows" in problems(doctored(*FRAMES, end))[0]


def test_follow_that_was_never_answered():
    told = page(*FRAMES)
    again = [Entry(2.0, "opened"), Entry(2.1, "sent", FOLLOW[1])]
    unanswered = Told("page", [*told.history, *again], told.views)
    assert "no snapshot" in the_problem(history(pages=[unanswered]))


def test_events_after_the_end():
    late = events(6, {"type": "text", "part": 1, "delta": "!"})
    assert any("events after the end" in problem for problem in problems(doctored(*FRAMES, late)))


def test_two_ends():
    found = problems(doctored(*FRAMES[:6], events(4, STOPPED, FINISHED)))
    assert any("the last event was not the last" in problem for problem in found)


def test_ended_run_that_is_shown_running_again():
    again = snapshot(4, status="running", parts=PARTS)
    found = problems(doctored(*FRAMES, FOLLOW, again))
    assert any("says it has not" in problem for problem in found)


# The provider


def test_request_after_content_had_come():
    twice = [asked(0.3, ["Hel"]), asked(0.9)]
    assert "asked again after content" in the_problem(history(requests=twice))


def test_content_that_was_lost_on_its_way_may_be_asked_for_again():
    early = [asked(0.1, ["Hel"], 0.01), asked(0.15)]
    assert problems(history(requests=early, lossy_provider=True)) == []
    late = [asked(0.1, ["Hel"], 0.01), asked(0.9)]
    assert "asked again after content" in the_problem(history(requests=late, lossy_provider=True))


def test_request_after_a_refusal_is_a_retry():
    assert problems(history(requests=[asked(0.2, []), asked()])) == []


def test_request_for_no_run():
    stray = replace(asked(), body='{"messages": []}')
    assert "asked for no run" in the_problem(history(requests=[asked(), stray]))


def test_text_that_no_provider_sent():
    assert "no provider sent" in the_problem(history(requests=[asked(said=["Good", "bye"])]))


def test_done_run_that_lacks_the_end():
    assert "lacks the end" in the_problem(history(requests=[asked(said=["Hel", "lo", " you"])]))


def stopped(*, heard=True):
    row = replace(ROW, status="stopped", output=None, prompt_tokens=None, completion_tokens=None, cost=None)
    after = [events(4, STOPPED)] if heard else []
    return row, page(*FRAMES[:6], STOP, *after, connected=heard)


def test_stop_that_ended_the_answer_is_sound():
    row, told = stopped()
    assert problems(history(rows=[row], pages=[told])) == []


def test_provider_that_was_heard_long_after_the_stop():
    row, told = stopped()
    slow = [asked(said=["Hel", "lo", "!"], pause=2)]
    assert "heard" in the_problem(history(rows=[row], pages=[told], requests=slow))


def test_provider_that_was_asked_after_the_stop():
    row, told = stopped()
    again = [asked(said=[]), asked(3.0, said=[])]
    found = problems(history(rows=[replace(row, parts=[])], pages=[told], requests=again))
    assert any("was asked after that" in problem for problem in found)


def test_stop_that_nobody_heard_binds_nobody():
    row, told = stopped(heard=False)
    assert problems(history(rows=[row], pages=[told], requests=[asked(pause=3)])) == []


def test_final_is_what_the_protocol_calls_final():
    assert {"done", "stopped", "failed", "interrupted"} == FINAL
