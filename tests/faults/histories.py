"""The checker: what the provider saw, what the database has and what each page was shown, held together.

Our claim: each accepted start has exactly one run, which ends; what a page shows once it is connected
again is what the row says; nothing is asked twice once content has come; a stop is honoured. `problems`
says in a sentence each where that is not so. It judges what happened and knows no faults.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import pairwise
from typing import Any

from tests.faults.databases import Row
from tests.faults.pages import FINAL, LAST_EVENTS, Entry
from tests.faults.provider import Asked
from tests.followers import View

STOP_WITHIN = 1.0
"""Seconds after a stop was heard in which the last piece of content may still be sent."""
CONTENT = frozenset({"text", "reasoning", "call", "tool.started"})
"""The types of parts and events that hold what a model said."""


@dataclass(frozen=True, slots=True)
class Told:
    """A page at the end: its history, what it shows by run, and whether it is connected."""

    name: str
    history: Sequence[Entry]
    views: dict[str, View]
    connected: bool = True


@dataclass(frozen=True, slots=True)
class History:
    """Everything there is to judge.

    ``fresh_snapshots``: a page may be given the whole again without asking, since it was slow, or since
    what it missed had to be read. ``lossy_provider``: what the provider sent may have been lost on its way.
    """

    asked: Sequence[Asked]
    rows: Sequence[Row]
    logged: Sequence[tuple[str, int]]
    pages: Sequence[Told]
    fresh_snapshots: bool = False
    lossy_provider: bool = False
    by_uuid: dict[str, Row] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_uuid", {row.uuid: row for row in self.rows})


def problems(history: History) -> list[str]:
    """All that is wrong, in the order of `RULES`; empty where the claim holds."""
    return [problem for rule in RULES for problem in rule(history)]


# Rows


def each_accepted_start_is_one_run(history: History) -> Iterator[str]:
    """The row a page was promised is there, and no second one for the same start."""
    by_start = defaultdict(list)
    for row in history.rows:
        by_start[row.client_id].append(row.uuid)
    for start, uuids in by_start.items():
        if start is not None and len(uuids) > 1:
            yield f"start {start} became {len(uuids)} runs"
    for page in history.pages:
        for start, run in _accepted(page):
            if by_start.get(start) != [run]:
                yield f"{page.name}: start {start} was accepted as {run}, the rows say {by_start.get(start)}"


def each_run_ends(history: History) -> Iterator[str]:
    """No row is left queued or running."""
    for row in history.rows:
        if row.status not in FINAL:
            yield f"run {row.uuid} is left {row.status}"


def nothing_is_left_in_the_log(history: History) -> Iterator[str]:
    """A final run's own row says everything."""
    final = {row.uuid for row in history.rows if row.status in FINAL}
    for run, number in Counter(run for run, _ in history.logged if run in final).items():
        yield f"run {run} has ended and left {number} rows in the log"


# Pages


def each_connected_page_shows_the_row(history: History) -> Iterator[str]:
    """Status, parts, output and usage."""
    for page in history.pages:
        for run, view in page.views.items() if page.connected else ():
            row = history.by_uuid.get(run)
            if row is None:
                yield f"{page.name} shows run {run}, which is in no row"
                continue
            for name, shown, kept in _compared(view.state, row):
                if shown != kept:
                    yield f"{page.name} shows {name} {shown!r:.300} of run {run}, the row has {kept!r:.300}"


def no_final_status_changes(history: History) -> Iterator[str]:
    """What any page was told about how a run ended is how it ended."""
    for page in history.pages:
        told = defaultdict(set)
        for _, entry in _heard(page):
            if status := _final_status(entry.frame):
                told[entry.frame["run"]].add(status)
        for run, statuses in told.items():
            row = history.by_uuid.get(run)
            if row is not None and statuses != {row.status}:
                yield f"{page.name} was told that run {run} is {sorted(statuses)}, the row says {row.status}"


def frames_are_in_order(history: History) -> Iterator[str]:
    """Accepted, one snapshot, ranges that tile, one last event, then nothing.

    An end whose events nobody could follow, since their process died, comes as a snapshot.
    """
    for page in history.pages:
        connections = _connections(page)
        for number, connection in enumerate(connections, 1):
            stands = page.connected and number == len(connections)
            for run in {entry.frame["run"] for entry in connection if entry.frame.get("run")}:
                frames = [entry for entry in connection if entry.frame.get("run") == run]
                for problem in _order(frames, stands=stands, fresh_snapshots=history.fresh_snapshots):
                    yield f"{page.name}, connection {number}, run {run}: {problem}"


def _order(frames: Sequence[Entry], *, stands: bool, fresh_snapshots: bool) -> Iterator[str]:
    asked, snapshots, seq, ended = 0, 0, None, False
    for entry in frames:
        frame = entry.frame
        match entry.what, frame["type"]:
            case ("sent", "run.follow" | "run.stop") | ("got", "run.accepted"):
                asked += 1
            case "got", "run.snapshot":
                snapshots += 1
                is_end = frame["state"]["status"] in FINAL
                if snapshots > asked and not fresh_snapshots and (ended or not is_end):
                    yield f"{snapshots} snapshots for {asked} follows"
                if ended and not is_end:
                    yield "a snapshot of a run that had ended says it has not"
                seq, ended = frame["seq"], ended or is_end
            case "got", "run.events":
                if seq is None:
                    yield "events before the snapshot"
                elif frame["after"] != seq:
                    yield f"events from {frame['after']} on, after {seq}"
                if ended:
                    yield "events after the end"
                last = [event["type"] for event in frame["events"] if event["type"] in LAST_EVENTS]
                if len(last) > 1 or (last and frame["events"][-1]["type"] not in LAST_EVENTS):
                    yield f"the last event was not the last: {last}"
                seq, ended = frame["seq"], ended or bool(last)
    if stands and asked and not snapshots:
        yield "no snapshot"


# The provider


def nothing_is_asked_twice(history: History) -> Iterator[str]:
    """A request may follow another of the same run only while no content had been sent for that, or with
    results of the tools that were called in it.
    """
    starts = {row.client_id: row.uuid for row in history.rows if row.client_id}
    for asked in history.asked:
        if not any(asked.is_about(start) for start in starts):
            yield f"the provider was asked for no run: {asked.body:.300}"
    for start, run in starts.items():
        requests = [asked for asked in history.asked if asked.is_about(start)]
        for earlier, later in pairwise(requests):
            sent = any(at <= later.at for at, _ in earlier.said) and later.results <= earlier.results
            if sent and (not history.lossy_provider or _was_shown(history, run, later.at)):
                yield f"run {run} was asked again after content had come: {earlier.text!r:.100}"


def nothing_is_made_up(history: History) -> Iterator[str]:
    """What a row says, the provider said; all of it where the run is done."""
    for row in history.rows:
        said = [a.text for a in history.asked if row.client_id and a.is_about(row.client_id)]
        text = "".join(part["text"] for part in row.parts if part["type"] == "text")
        if text and not any(text in answer for answer in said):
            yield f"run {row.uuid} has a text that no provider sent: {text!r:.300}"
        elif text and row.status == "done" and not any(answer.endswith(text) for answer in said):
            yield f"run {row.uuid} is done and lacks the end of what was sent: {text!r:.300}"


def stops_are_honoured(history: History) -> Iterator[str]:
    """A stop that was heard ends a run, and the provider's answer to it."""
    for page in history.pages:
        for run, at in _stops(page):
            row = history.by_uuid.get(run)
            if row is None or row.client_id is None:
                continue
            for asked in history.asked:
                late = asked.last_said - at
                if asked.is_about(row.client_id) and asked.said and late > STOP_WITHIN:
                    yield f"{page.name} stopped run {run}, the provider was heard {late:.1f} s longer"
                if asked.is_about(row.client_id) and asked.at > at + STOP_WITHIN:
                    yield f"{page.name} stopped run {run}, and the provider was asked after that"


RULES: Sequence[Callable[[History], Iterator[str]]] = (
    each_accepted_start_is_one_run,
    each_run_ends,
    nothing_is_left_in_the_log,
    each_connected_page_shows_the_row,
    no_final_status_changes,
    frames_are_in_order,
    nothing_is_asked_twice,
    nothing_is_made_up,
    stops_are_honoured,
)


# What they stand on


def _accepted(page: Told) -> Iterator[tuple[str, str]]:
    for _, entry in _heard(page):
        if entry.frame["type"] == "run.accepted":
            yield entry.frame["id"], entry.frame["run"]


def _heard(page: Told) -> Iterator[tuple[int, Entry]]:
    return ((index, entry) for index, entry in enumerate(page.history) if entry.what == "got")


def _connections(page: Told) -> list[list[Entry]]:
    """A page's history, cut where it connected."""
    connections: list[list[Entry]] = []
    for entry in page.history:
        if entry.what == "opened":
            connections.append([])
        elif connections:
            connections[-1].append(entry)
    return connections


def _was_shown(history: History, run: str, before: float) -> bool:
    """Whether any page had got content of the run by then."""
    return any(
        entry.at <= before and entry.frame.get("run") == run and _has_content(entry.frame)
        for page in history.pages
        for _, entry in _heard(page)
    )


def _has_content(frame: dict[str, Any]) -> bool:
    parts = frame.get("state", {}).get("parts", []) + frame.get("events", [])
    return any(part["type"] in CONTENT for part in parts)


def _stops(page: Told) -> Iterator[tuple[str, float]]:
    """Each run that was stopped, and when: where the same socket said anything of it afterwards."""
    for connection in _connections(page):
        for index, entry in enumerate(connection):
            if entry.what == "sent" and entry.frame["type"] == "run.stop":
                run = entry.frame["run"]
                if any(e.what == "got" and e.frame.get("run") == run for e in connection[index:]):
                    yield run, entry.at


def _final_status(frame: dict[str, Any]) -> str | None:
    """How a run ended, where a frame says so."""
    if frame["type"] == "run.snapshot":
        status = frame["state"]["status"]
        return status if status in FINAL else None
    for event in frame["events"] if frame["type"] == "run.events" else ():
        if event["type"] in LAST_EVENTS:
            return "done" if event["type"] == "finished" else event["type"]
    return None


def _compared(state: dict[str, Any], row: Row) -> Iterator[tuple[str, Any, Any]]:
    yield "status", state.get("status"), row.status
    yield "parts", state.get("parts"), row.parts
    yield "output", state.get("output"), row.output
    usage = state.get("usage") or {}
    if row.status != "done" and (not usage or usage.get("estimated")):
        return  # what it has cost is asked for later: that changes the row only
    # Of what nobody said, a row has nothing, and a page shows none.
    yield "prompt_tokens", usage.get("prompt_tokens") or 0, row.prompt_tokens or 0
    yield "completion_tokens", usage.get("completion_tokens") or 0, row.completion_tokens or 0
    cost = usage.get("cost")
    yield "cost", None if cost is None else round(Decimal(cost), 10), row.cost
