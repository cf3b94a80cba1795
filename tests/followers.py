"""A client of the protocol in Python: folds what a follower gets into what a page would show."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from contextlib import aclosing
from typing import Any
from uuid import UUID

from openrouter_app import runs
from openrouter_app.engine.operations import apply
from openrouter_app.models import Owner

_UNFINISHED = {"writing", "waiting", "approved", "running"}


class View:
    """What a page knows of a run; ``gap`` is set when a range did not fit."""

    def __init__(self) -> None:
        self.seq = -1
        self.state: dict[str, Any] = {}
        self.frames = 0
        self.gap = False

    def snapshot(self, seq: int, state: dict[str, Any]) -> None:
        self.seq, self.state = seq, copy.deepcopy(state)
        self.frames += 1

    def range(self, after: int, seq: int, events: list[dict[str, Any]]) -> None:
        self.frames += 1
        if after != self.seq:
            self.gap = True
            return
        for event in events:
            self.apply(copy.deepcopy(event))
        self.seq = seq

    def apply(self, event: dict[str, Any]) -> None:
        parts = self.state["parts"]
        if self.state["status"] == "waiting" and event["type"] != "html":
            self.state["status"] = "running"
        kind = event.pop("type")
        match kind:
            case "started":
                self.state["status"] = "running"
            case "step":
                event.pop("part")
                parts.append({"type": "step", **event})
            case "text" | "reasoning":
                index = event["part"]
                if index == len(parts):
                    parts.append({"type": kind, "text": ""})
                parts[index]["text"] += event["delta"]
                if "blocks" in parts[index]:
                    parts[index]["rest"] += event["delta"]
                if kind == "reasoning":
                    parts[index]["ms"] = event["ms"]
            case "html":
                part = parts[event["part"]]
                assert part["type"] == "text"
                part["blocks"] = part.get("blocks", []) + event["html"]
                part["rest"] = event["rest"]
            case "tool.started":
                parts.append(
                    {
                        "type": "call",
                        "call": event["call"],
                        "name": event["name"],
                        "arguments": {},
                        "status": "writing",
                    }
                )
            case "tool.arguments":
                part = self.call(event["call"])
                part["arguments"] = apply(part["arguments"], event["ops"])
            case "tool.ready":
                self.call(event["call"]).update(arguments=event["arguments"], status="ready")
            case "tool.invalid":
                self.call(event["call"]).update(raw=event["raw"], message=event["message"], status="invalid")
            case "tool.approval":
                self.call(event["call"]).update(
                    status="waiting", expires=event["expires"], approval=event["approval"]
                )
            case "tool.decided":
                reason = {"reason": event["reason"]} if "reason" in event else {}
                self.call(event["call"]).update(status="approved" if event["approve"] else "denied", **reason)
            case "tool.running":
                self.call(event["call"]).update(status="running")
            case "tool.result":
                came = {name: event[name] for name in ("output", "error") if name in event}
                self.call(event["call"]).update(status="failed" if "error" in came else "done", **came)
            case "reset":
                step = max(at for at, part in enumerate(parts) if part["type"] == "step")
                del parts[step + 1 :]
                if "model" in event:
                    parts[step]["model"] = event["model"]
            case "waiting":
                self.state["status"] = "waiting"
            case "usage":
                self.state["usage"] = event
            case "finished":
                self.end("done", reason=event["reason"])
                if "output" in event:
                    self.state["output"] = event["output"]
            case "stopped":
                self.end("stopped")
            case "failed" | "interrupted":
                self.end(kind, error=event)
            case _:
                raise AssertionError(f"unknown event {kind}")

    def call(self, call: str) -> dict[str, Any]:
        return next(part for part in self.state["parts"] if part.get("call") == call)

    def end(self, status: str, **fields: Any) -> None:
        self.state.update(status=status, **fields)
        for part in self.state["parts"]:
            part.pop("open", None)
            if part.get("status") in _UNFINISHED:
                part["status"] = "cancelled"


async def follow_to_end(owner: Owner, run: UUID) -> View:
    """Follow until the run has ended; answers what a page shows then."""
    view = View()
    async with aclosing(runs.follow(owner, run)) as updates:
        async for update in updates:
            if isinstance(update, runs.Snapshot):
                view.snapshot(update.seq, update.state)
            else:
                view.range(update.after, update.seq, update.events)
    assert not view.gap
    return view


async def until(condition: Callable[[], Any], seconds: float = 30) -> None:
    """Wait for something another task or thread will do; fails the test where it does not."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - it may change in another thread
            await asyncio.sleep(0.01)


def parts_of(run: UUID | str) -> list[dict[str, Any]]:
    """What a run that is executed here has said so far."""
    live = runs.registry.find(UUID(str(run)))
    return live.state.parts() if live else []
