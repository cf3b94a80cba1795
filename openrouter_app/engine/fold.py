"""How OpenRouter's chunks add up to events: the one place that knows. No I/O."""

from __future__ import annotations

from math import inf
from typing import Any

from .arguments import MAX_WORK, PendingCall, PendingCalls, parse_arguments, work_of
from .chunks import CallDelta, Chunk, Delta, added_usage, image_url, is_annotation
from .errors import OpenRouterError, OutputError, UpstreamError
from .failures import MAX_WORD, failure_of, redact
from .json_size import size_of
from .messages import (
    AnnotationReady,
    Event,
    ImageReady,
    ReasoningDelta,
    RefusalDelta,
    ReplyFinished,
    ReplyStarted,
    TextDelta,
    ToolCallDelta,
    ToolCallInvalid,
    ToolCallReady,
    ToolCallStarted,
    Usage,
)
from .reasoning import ReasoningBlocks, reasoning_text

MAX_CREATED = 100_000_000_000
MAX_ARGUMENTS, MAX_REASONING, MAX_SOURCES, MAX_PICTURES = 4_000_000, 4_000_000, 2_000_000, 10_000_000
"""Characters of one answer that somebody must keep; text is handed out and forgotten."""
_CUT = frozenset({"length", "max_tokens", "max_output_tokens"})
_CUT_OFF = "The tool's arguments were cut off at the length limit."


class ReplyFold:
    """Adds chunks up: ``add(chunk, events)`` appends its events, ``finish(events)`` the last ones.

    They append to a list of the caller's, so that events before an error are not lost with it.
    What it keeps is bounded, whatever the length of the answer.
    """

    def __init__(self) -> None:
        self.id = ""
        self.model = ""
        self.provider = ""
        self.created = 0
        self.reason = ""
        self.native_reason = ""
        self.usage: Usage | None = None
        self.has_content = False
        self._started = False
        self._is_known = False
        self._speaks = False
        self._blocks: ReasoningBlocks | None = None
        self._whole_blocks: tuple[dict[str, Any], ...] | None = None
        self._calls = PendingCalls()
        self._arguments = 0
        self._pictures = 0
        self._sources: float = 0

    def add(self, chunk: Chunk, events: list[Event]) -> None:
        """Append the events of one chunk, then raise the `ProviderError` it may carry."""
        if not self._is_known:
            self._identify(chunk, events)
        choices = chunk.choices
        if choices and chunk.usage is None and chunk.error is None:
            choice = choices[0]
            delta = choice.delta
            if (
                delta is not None
                and delta.tool_calls is None
                and delta.reasoning is None
                and (
                    not (details := delta.reasoning_details) and (details is None or self._blocks is not None)
                )
                and (text := delta.content)
                and choice.finish_reason is None
                and choice.native_finish_reason is None
                and choice.error is None
                and delta.reasoning_content is None
                and delta.refusal is None
                and delta.images is None
                and delta.annotations is None
            ):  # what nearly every chunk is: a piece of text
                self.has_content = True
                events.append(TextDelta(text))
                return
        self._add(chunk, events)

    def finish(self, events: list[Event]) -> None:
        """Append the end of a whole answer: each call's verdict, then `ReplyFinished`.

        Raises `UpstreamError` where nothing was said, not even why.
        """
        if not (
            self.has_content or self.reason or self._whole_blocks or (self._blocks and self._blocks.size)
        ):
            raise UpstreamError("The provider sent an answer without content. Try again.")
        for call in self._calls.all:
            if (held := call.arguments.close()) and call.name:
                events.append(ToolCallDelta(call.id, held))
            events.append(self._verdict(call, events))
        reason = self.reason or ("tool_calls" if self._calls.all else "stop")
        events.append(
            ReplyFinished(
                reason,
                self.native_reason,
                self.usage,
                self.id,
                self.model,
                self.provider,
                self.created,
                self._whole_blocks if self._blocks is None else self._blocks.merged(),
            )
        )

    def sign(self, error: OpenRouterError) -> None:
        """Write into an error whose answer it ended, as far as it does not say so itself."""
        error.provider = error.provider or self.provider or None
        error.generation_id = error.generation_id or self.id or None
        error.detail = redact(error.detail)

    def _identify(self, chunk: Chunk, events: list[Event]) -> None:
        """Who answers: what was said first counts, and some say it late."""
        self.id = self.id or (chunk.id or "")[:MAX_WORD]
        self.model = self.model or (chunk.model or "")[:MAX_WORD]
        self.provider = self.provider or (chunk.provider or "")[:MAX_WORD]
        if not self.created and chunk.created is not None and 0 < chunk.created < MAX_CREATED:
            self.created = int(chunk.created)
        self._is_known = bool(self.id and self.model and self.provider and self.created)
        if not self._started:
            self._started = True
            if not chunk.error:
                events.append(ReplyStarted(self.id, self.model, self.provider))

    def _add(self, chunk: Chunk, events: list[Event]) -> None:
        if chunk.usage is not None:
            self.usage = added_usage(chunk.usage, self.usage)
        error, reason = chunk.error, None
        if chunk.choices:
            choice = chunk.choices[0]
            delta = choice.delta
            if delta is None and not self.has_content:  # after deltas it would be the same answer again
                delta = choice.message
                if delta is not None and delta.reasoning_details is not None:
                    self._keep_whole(delta.reasoning_details)
            if delta is not None:
                self._delta(delta, events)
            if choice.finish_reason:
                reason = choice.finish_reason[:MAX_WORD]
                self.reason = self.reason or reason
            if choice.native_finish_reason:
                self.native_reason = choice.native_finish_reason[:MAX_WORD]
            error = error or choice.error
        if error:
            raise failure_of(error)
        if reason == "error":
            raise UpstreamError(
                "The provider broke the answer off with an error. Try again.", detail=self.native_reason
            )

    def _delta(self, delta: Delta, events: list[Event]) -> None:
        before = len(events)
        details = delta.reasoning_details
        if reasoning := delta.reasoning or delta.reasoning_content:
            self._speaks = True
            events.append(ReasoningDelta(reasoning))
        elif details and not self._speaks and (reasoning := reasoning_text(details)):
            events.append(ReasoningDelta(reasoning))
        if details is not None and self._whole_blocks is None:
            self._block(details)
        if delta.content:
            events.append(TextDelta(delta.content))
        if delta.refusal:
            events.append(RefusalDelta(delta.refusal))
        if delta.images:
            self._images(delta.images, events)
        if delta.annotations:
            self._annotations(delta.annotations, events)
        if delta.tool_calls:
            self.has_content = True
            for call in delta.tool_calls:
                self._call(call, events)
        elif len(events) > before:
            self.has_content = True

    def _block(self, details: list[dict[str, Any]]) -> None:
        blocks = self._blocks
        if blocks is None:
            blocks = self._blocks = ReasoningBlocks()
        for detail in details:
            blocks.add(detail)
        if blocks.size > MAX_REASONING:
            raise _too_large("reasoning", MAX_REASONING)

    def _keep_whole(self, details: list[dict[str, Any]]) -> None:
        """A message's blocks are whole: they go back as they came."""
        kept = tuple(
            detail for detail in details if isinstance(detail.get("type"), str) and size_of(detail) < inf
        )
        if sum(map(size_of, kept)) > MAX_REASONING:
            raise _too_large("reasoning", MAX_REASONING)
        self._whole_blocks = kept

    def _images(self, images: list[dict[str, Any]], events: list[Event]) -> None:
        for image in images:
            if url := image_url(image):
                self._pictures += len(url)
                if self._pictures > MAX_PICTURES:
                    raise _too_large("pictures", MAX_PICTURES)
                events.append(ImageReady(url))

    def _annotations(self, annotations: list[dict[str, Any]], events: list[Event]) -> None:
        for annotation in annotations:
            if is_annotation(annotation) and (size := size_of(annotation)) < inf:
                self._sources += size
                if self._sources > MAX_SOURCES:
                    raise _too_large("sources", MAX_SOURCES)
                events.append(AnnotationReady(annotation))

    def _call(self, delta: CallDelta, events: list[Event]) -> None:
        function = delta.function
        name, text = ("", "") if function is None else (function.name or "", function.arguments or "")
        call = self._calls.find(delta.index, delta.id or "", name, text)
        if text:
            if len(text) > MAX_WORK and work_of(text) > MAX_WORK:  # whoever shows its progress reads it, too
                raise UpstreamError("The provider sent tool arguments with too much in them.")
            text = call.arguments.add(text)
            self._arguments += len(text)
        if call.name:
            if text:
                events.append(ToolCallDelta(call.id, text))
        elif name:
            self._arguments += len(name)
            self._calls.name(call, name)
            events.append(ToolCallStarted(call.id, name))
            if written := call.arguments.text:
                events.append(ToolCallDelta(call.id, written))
        if self._arguments > MAX_ARGUMENTS:
            raise _too_large("tool arguments", MAX_ARGUMENTS)

    def _verdict(self, call: PendingCall, events: list[Event]) -> ToolCallReady | ToolCallInvalid:
        raw = call.arguments.text
        if not call.name:
            self._calls.name(call, "unnamed")
            events.append(ToolCallStarted(call.id, call.name))
            return ToolCallInvalid(call.id, call.name, raw, "The model called a tool without naming it.")
        was_cut = self.reason == "length" or self.native_reason.lower() in _CUT
        if was_cut and not raw.strip() and call is self._calls.all[-1]:  # nothing, or nothing yet?
            return ToolCallInvalid(call.id, call.name, raw, _CUT_OFF)
        if not self._calls.budget.has_for(raw):
            return ToolCallInvalid(call.id, call.name, raw, "The tool's arguments have too many values.")
        try:
            return ToolCallReady(call.id, call.name, parse_arguments(raw))
        except OutputError as error:
            return ToolCallInvalid(call.id, call.name, raw, _CUT_OFF if was_cut else error.message)


def _too_large(what: str, limit: int) -> UpstreamError:
    return UpstreamError(f"The answer is too large: its {what} are more than {limit:,} characters.")
