"""What a run's log holds: frozen events, public by construction.

An event says what happened, in the words of ``docs/protocol.md``; nothing in it is secret, because
everything here may reach a page. Tool arguments stand as their *text*: neighbouring texts merge
without loss, and whoever needs operations makes them from it (`openrouter_app.runs.state`).
"""

from __future__ import annotations

from typing import Any

import msgspec


class Started(msgspec.Struct, frozen=True, tag_field="type", tag="started"):
    """The run runs: ``version`` is the number of the chain's version."""

    chain: str
    version: int | None


class StepStarted(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="type", tag="step"):
    """A model call begins; ``model`` is the one that serves it."""

    part: int
    name: str | None = None
    model: str | None = None


class Text(msgspec.Struct, frozen=True, tag_field="type", tag="text"):
    """More text; opens the part where it is new."""

    part: int
    delta: str


class Reasoning(msgspec.Struct, frozen=True, tag_field="type", tag="reasoning"):
    """More reasoning; ``ms`` since the part began."""

    part: int
    delta: str
    ms: int


class ToolStarted(msgspec.Struct, frozen=True, tag_field="type", tag="tool.started"):
    """The model begins to write a call."""

    part: int
    call: str
    name: str


class ToolArguments(msgspec.Struct, frozen=True, tag_field="type", tag="tool.arguments"):
    """More argument text of a call, cut anywhere."""

    call: str
    text: str


class ToolReady(msgspec.Struct, frozen=True, tag_field="type", tag="tool.ready"):
    """A call is written; these are its arguments."""

    call: str
    arguments: dict[str, Any]


class ToolInvalid(msgspec.Struct, frozen=True, tag_field="type", tag="tool.invalid"):
    """A call is written, but its arguments are no JSON object."""

    call: str
    raw: str
    message: str


class ToolApproval(msgspec.Struct, frozen=True, tag_field="type", tag="tool.approval"):
    """A person is to decide about a call, until ``expires`` (ISO 8601): the ``owner``, or ``staff``."""

    call: str
    expires: str | None = None
    approval: str = "owner"


class ToolDecided(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="type", tag="tool.decided"):
    """A person has decided."""

    call: str
    approve: bool
    reason: str | None = None


class ToolRunning(msgspec.Struct, frozen=True, tag_field="type", tag="tool.running"):
    """The handler of a call begins."""

    call: str


class ToolResult(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="type", tag="tool.result"):
    """What came of a call: ``output``, absent where the tool keeps it to itself, or ``error``."""

    call: str
    output: Any = None
    error: str | None = None


class Reset(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="type", tag="reset"):
    """Everything after the newest step is taken back; ``model`` serves that step now."""

    model: str | None = None


class Waiting(msgspec.Struct, frozen=True, tag_field="type", tag="waiting"):
    """Nothing happens until a person has decided."""


class UsageTotals(msgspec.Struct, frozen=True, tag_field="type", tag="usage"):
    """The run's totals so far; ``cost`` in US dollars as a decimal string, None where nobody said."""

    prompt_tokens: int
    completion_tokens: int
    cost: str | None
    estimated: bool
    model: str
    provider: str
    ms: int


class Finished(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="type", tag="finished"):
    """The answer is whole; ``output`` is what the chain's parser made of it."""

    reason: str
    output: Any = None


class Stopped(msgspec.Struct, frozen=True, tag_field="type", tag="stopped"):
    """Somebody stopped it: ``by`` is ``user``, or ``socket`` where a visitor without a session left."""

    by: str


class Failed(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="type", tag="failed"):
    """An error was reported, or a limit of ours reached; ``message`` is for people."""

    code: str
    message: str
    retryable: bool
    details: dict[str, Any] | None = None


class Interrupted(msgspec.Struct, frozen=True, tag_field="type", tag="interrupted"):
    """The answer broke off without anyone's verdict; what came is kept."""

    code: str
    message: str
    retryable: bool


LastEvent = Finished | Stopped | Failed | Interrupted
Event = (
    Started
    | StepStarted
    | Text
    | Reasoning
    | ToolStarted
    | ToolArguments
    | ToolReady
    | ToolInvalid
    | ToolApproval
    | ToolDecided
    | ToolRunning
    | ToolResult
    | Reset
    | Waiting
    | UsageTotals
    | LastEvent
)
