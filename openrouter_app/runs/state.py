"""The fold of a run's log: what a page shows, at any moment.

``apply(event)`` takes the state on and answers the event as pages get it (tool arguments as
operations instead of text). It costs O(event), never O(answer so far): text is kept in pieces and
joined when a snapshot is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ..engine.arguments import ProgressiveArguments
from ..engine.operations import merge
from .events import (
    Event,
    Failed,
    Finished,
    Interrupted,
    Reasoning,
    Reset,
    Started,
    StepStarted,
    Stopped,
    Text,
    ToolApproval,
    ToolArguments,
    ToolDecided,
    ToolInvalid,
    ToolReady,
    ToolResult,
    ToolRunning,
    ToolStarted,
    UsageTotals,
    Waiting,
)

FINAL = frozenset({"done", "stopped", "failed", "interrupted"})
_UNFINISHED_CALLS = frozenset({"writing", "waiting", "approved", "running"})

_NOTHING: Mapping[str, str] = {}


def about(
    conversation: Any = None, message: Any = None, parent: Any = None, left_out: int = 0, payer: str = ""
) -> dict[str, Any]:
    """A run's place in a conversation, as its state has it: ids, how many earlier messages the model was
    not given, and who pays, where that is worth a word.
    """
    place: dict[str, Any] = {
        name: None if id is None else str(id)
        for name, id in (("conversation", conversation), ("message", message), ("parent", parent))
    }
    further = {"left_out": left_out, "payer": payer}
    return {**place, **{name: value for name, value in further.items() if value}}


_NO_CONVERSATION = about()

PageEvent = dict[str, Any]
"""An event as it stands in a ``run.events`` frame: its ``type`` first."""


class _Growing:
    """A text or reasoning part."""

    __slots__ = ("fields", "pieces")

    def __init__(self, kind: str) -> None:
        self.fields: dict[str, Any] = {"type": kind, "text": ""}
        self.pieces: list[str] = []

    def shown(self) -> dict[str, Any]:
        if len(self.pieces) > 1:
            self.pieces[:] = ["".join(self.pieces)]
        self.fields["text"] = self.pieces[0] if self.pieces else ""
        return dict(self.fields)


class _Call:
    """A call part. While it is written, its arguments are those of the text so far."""

    __slots__ = ("fields", "progress")

    def __init__(self, call: str, name: str) -> None:
        self.fields: dict[str, Any] = {
            "type": "call",
            "call": call,
            "name": name,
            "arguments": {},
            "status": "writing",
        }
        self.progress: ProgressiveArguments | None = ProgressiveArguments()

    def settle(self, **fields: Any) -> None:
        """The arguments do not grow any more: they are those given, or as far as they came."""
        if self.progress is not None and "arguments" not in fields:
            self.fields["arguments"] = self.progress.snapshot()
        self.progress = None
        self.fields.update(fields)

    def shown(self) -> dict[str, Any]:
        fields = dict(self.fields)
        if self.progress is not None:
            fields["arguments"] = self.progress.snapshot()
            if self.progress.open is not None:
                fields["open"] = self.progress.open
        return fields


class _Fixed:
    """A part that does not grow."""

    __slots__ = ("fields",)

    def __init__(self, **fields: Any) -> None:
        self.fields = fields

    def shown(self) -> dict[str, Any]:
        return dict(self.fields)


class RunState:
    """A run as a page sees it: ``status``, ``parts`` and the rest of the protocol's ``state``."""

    def __init__(
        self,
        *,
        chain: str = "",
        version: int | None = None,
        input: Mapping[str, str] = _NOTHING,
        about: Mapping[str, Any] = _NO_CONVERSATION,
    ) -> None:
        self.status = "queued"
        self.chain = chain
        self.version = version
        self.input = dict(input)
        self.about = about
        """Its place in a conversation: `about`."""
        self.usage: PageEvent | None = None
        self.reason: str | None = None
        self.error: dict[str, Any] | None = None
        self.output: Any = None
        self._parts: list[_Growing | _Call | _Fixed] = []
        self._calls: dict[str, _Call] = {}

    @property
    def is_final(self) -> bool:
        """Whether the last event has come."""
        return self.status in FINAL

    @property
    def next_part(self) -> int:
        """The index a new part gets."""
        return len(self._parts)

    def apply(self, event: Event) -> PageEvent:
        """Take the state past this event; answers it as pages get it."""
        if self.status == "waiting":
            self.status = "running"  # until the next event, whatever that is
        match event:
            case Text(part, delta):
                self._grow(part, "text", delta)
                return {"type": "text", "part": part, "delta": delta}
            case ToolArguments(call, text):
                return {"type": "tool.arguments", "call": call, "ops": self._argue(call, text)}
            case Reasoning(part, delta, ms):
                self._grow(part, "reasoning", delta).fields["ms"] = ms
            case Started():
                self.status = "running"
            case StepStarted():
                self._parts.append(_Fixed(**_fields(event, leave_out=("part",))))
            case ToolStarted(_, call, name):
                self._calls[call] = opened = _Call(call, name)
                self._parts.append(opened)
            case ToolReady(call, arguments):
                self._calls[call].settle(status="ready", arguments=arguments)
            case ToolInvalid(call, raw, message):
                self._calls[call].settle(status="invalid", raw=raw, message=message)
            case ToolApproval(call, expires, approval):
                self._calls[call].settle(status="waiting", expires=expires, approval=approval)
            case ToolDecided(call, approve, reason):
                settled = {"status": "approved" if approve else "denied"}
                self._calls[call].settle(**settled, **({"reason": reason} if reason is not None else {}))
            case ToolRunning(call):
                self._calls[call].settle(status="running")
            case ToolResult(call, output, error):
                came = {"output": output} if output is not None else {}
                failed = {"error": error} if error is not None else {}
                self._calls[call].settle(status="failed" if failed else "done", **came, **failed)
            case Reset(model):
                self._reset(model)
            case Waiting():
                self.status = "waiting"
            case UsageTotals():
                self.usage = _fields(event, leave_out=("type",))
            case Finished(reason, output):
                self.reason, self.output = reason, output
                self._end("done")
            case Stopped():
                self._end("stopped")
            case Failed() | Interrupted():
                self.error = _fields(event, leave_out=("type",))
                self._end("failed" if isinstance(event, Failed) else "interrupted")
        return _fields(event)

    def parts(self) -> list[dict[str, Any]]:
        """Every part as it is now, independent of what comes. Costs O(answer)."""
        return [part.shown() for part in self._parts]

    def parts_at_end(self) -> list[dict[str, Any]]:
        """`parts`, as the last event will leave them: no call stays unfinished."""
        parts = self.parts()
        for part in parts:
            if part["type"] == "call" and part["status"] in _UNFINISHED_CALLS:
                part["status"] = "cancelled"
                part.pop("open", None)
        return parts

    def text(self) -> str:
        """The text parts of the last step joined: the answer without its tools and its reasoning."""
        texts: list[str] = []
        for part in reversed(self._parts):
            if isinstance(part, _Growing) and part.fields["type"] == "text":
                texts.append(part.shown()["text"])
            elif isinstance(part, _Fixed) and part.fields.get("type") == "step":
                break
        return "".join(reversed(texts))

    def is_waiting_for(self, call: str) -> bool:
        """Whether a page was told that a person is to decide about this call."""
        return call in self._calls and self._calls[call].fields["status"] == "waiting"

    def calls(self) -> list[dict[str, Any]]:
        """The calls that are written and valid, as ``{name, arguments}``: a tools chain's output."""
        return [
            {"name": call.fields["name"], "arguments": call.fields["arguments"]}
            for call in self._calls.values()
            if call.fields["status"] == "ready"
        ]

    def snapshot(self) -> dict[str, Any]:
        """The protocol's ``state``. Costs O(answer)."""
        state: dict[str, Any] = {
            "status": self.status,
            "chain": self.chain,
            "version": self.version,
            **self.about,
            "input": self.input,
            "parts": self.parts(),
        }
        for name in ("usage", "reason", "error", "output"):
            if (value := getattr(self, name)) is not None:
                state[name] = value
        return state

    def _grow(self, index: int, kind: str, delta: str) -> _Growing:
        if index == len(self._parts):
            self._parts.append(_Growing(kind))
        part = self._parts[index]
        assert isinstance(part, _Growing)  # noqa: S101 - the owner opens each part once, with one kind
        part.pieces.append(delta)
        return part

    def _argue(self, call: str, text: str) -> list[Any]:
        progress = self._calls[call].progress
        return [] if progress is None else list(progress.feed(text))

    def _reset(self, model: str | None) -> None:
        """Drop what stands after the newest step. A dropped call's id is never given again."""
        at = max((at for at, part in enumerate(self._parts) if part.shown()["type"] == "step"), default=-1)
        for part in self._parts[at + 1 :]:
            if isinstance(part, _Call):
                del self._calls[part.fields["call"]]
        del self._parts[at + 1 :]
        if at >= 0 and model is not None:
            self._parts[at].fields["model"] = model

    def _end(self, status: str) -> None:
        self.status = status
        for call in self._calls.values():
            if call.fields["status"] in _UNFINISHED_CALLS:
                call.settle(status="cancelled")


def _fields(event: msgspec.Struct, leave_out: tuple[str, ...] = ()) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(event)
    for name in leave_out:
        del fields[name]
    return fields


def merged(events: list[PageEvent]) -> list[PageEvent]:
    """The same events with neighbouring appends to one part or call made one. Costs O(events)."""
    if len(events) == 1 and events[0]["type"] == "text":
        return events
    result: list[PageEvent] = []
    grown: list[Any] = []  # of the last event: its texts, or its operations
    for event in events:
        last = result[-1] if result else None
        kind = event["type"]
        if kind in ("text", "reasoning"):
            if last is not None and last["type"] == kind and last["part"] == event["part"]:
                last.update(event)
            else:
                _settle(result, grown)
                result.append(dict(event))
            grown.append(event["delta"])
        elif kind == "tool.arguments":
            if last is None or last["type"] != kind or last["call"] != event["call"]:
                _settle(result, grown)
                result.append(dict(event))
            grown += event["ops"]
        else:
            _settle(result, grown)
            result.append(dict(event))
    _settle(result, grown)
    return result


def _settle(result: list[PageEvent], grown: list[Any]) -> None:
    """Give the last event all that it has grown by; other followers hold the events it came from."""
    if result and result[-1]["type"] == "tool.arguments":
        result[-1]["ops"] = merge([], grown)
    elif grown:
        result[-1]["delta"] = "".join(grown)
    grown.clear()
