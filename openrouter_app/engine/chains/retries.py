"""Beginning again: the same step after a pause, or another step in its place.

Both keep streaming. What has been shown cannot be taken back, so a stream that has begun is begun
again only where ``reset`` allows it; then a `Reset` comes first, and whoever shows the stream clears it.
One answer (``invoke``, ``batch``) shows nothing before its end and can always be begun again.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from ..errors import OpenRouterError, UsageError
from ..flows import CloseSince, Flow, Opened, Sleep, collected, pump
from ..messages import Reset
from .steps import Bound, Call, Chain, Delegate, Step, to_step
from .tool_loop import ToolLoop
from .upstream import Chosen, Upstream

MAX_PAUSE = 60
"""Seconds between two attempts at most."""

Out = TypeVar("Out")


def may_help(error: Exception) -> bool:
    """Whether another attempt may end otherwise: not where the request was refused for what it is."""
    return error.retryable if isinstance(error, OpenRouterError) else True


class Retry(Delegate[Out]):
    """A step, begun again when it fails: at most ``attempts`` times in all.

    Between attempts it waits ``delays[i]`` seconds, or 1, 2, 4, ... (60 at most), with up to 99 ms more
    where ``jitter`` is set; longer where the error names a longer ``retry_after``, which is raised at once
    where it is over a minute. ``retry_if(error)`` says whether another attempt makes sense; by default it
    does not for what was refused for what it is. The last error is raised as it is. What an attempt that
    failed left open is closed. A `ToolLoop` goes on from the state that its error carries.

    A model retries by itself before its first content; this is for the chain around it, too.
    """

    def __init__(
        self,
        step: Step[Out],
        attempts: int = 3,
        *,
        retry_if: Callable[[Exception], bool] | None = None,
        delays: Sequence[float] = (),
        jitter: bool = True,
        reset: bool = False,
    ) -> None:
        if attempts < 1:
            raise UsageError("A step needs at least one attempt.")
        self.step = step
        self.attempts = attempts
        self.retry_if = retry_if or may_help
        self.delays = tuple(delays)
        self.jitter = jitter
        self.reset = reset

    def delegate(self, run: Chosen, upstream: Upstream, call: Call) -> Flow:
        value = yield from upstream.value()
        for number in range(1, self.attempts + 1):
            attempt = _Attempt(self.step.run(Upstream.of(value), call), call)
            try:
                yield from attempt.flow(run)
                return
            except Exception as error:
                asked = float(getattr(error, "retry_after", None) or 0)
                if (
                    number == self.attempts
                    or asked > MAX_PAUSE
                    or (attempt.shown and not self.reset)
                    or not self.retry_if(error)
                ):
                    raise
                if isinstance(self.step, ToolLoop) and isinstance(error, OpenRouterError) and error.state:
                    value = error.state  # what has run is not run again
            if attempt.shown:
                yield Reset()
            yield Sleep(max(self._pause(number), asked))

    def _pause(self, number: int) -> float:
        if self.delays:
            pause = self.delays[min(number, len(self.delays)) - 1]
        else:
            pause = min(2.0 ** (number - 1), MAX_PAUSE)
        return pause + (random.uniform(0, 0.099) if self.jitter else 0)  # noqa: S311

    def reduce(self, items: Sequence[Any]) -> Any:
        return self.step.reduce(items)

    def __repr__(self) -> str:
        return f"{self.step!r}.with_retry({self.attempts})"


class Fallbacks(Delegate[Out]):
    """The first of several steps that works, all on the same input.

    ``fallback_if(error)`` says whether the next one is asked; by default always. When all have failed
    the first error is raised, its sentence saying so.
    """

    def __init__(
        self,
        steps: Iterable[Any],
        *,
        fallback_if: Callable[[Exception], bool] | None = None,
        reset: bool = False,
    ) -> None:
        self.steps: tuple[Step[Any], ...] = tuple(map(to_step, steps))
        if not self.steps:
            raise UsageError("Fallbacks need at least one step.")
        self.fallback_if = fallback_if
        self.reset = reset

    def delegate(self, run: Chosen, upstream: Upstream, call: Call) -> Flow:
        value = yield from upstream.value()
        failures: list[Exception] = []
        shown = False
        for step in self.steps:
            if shown:
                yield Reset(_model_of(step))
            attempt = _Attempt(step.run(Upstream.of(value), call), call)
            try:
                yield from attempt.flow(run)
                return
            except Exception as error:
                if (attempt.shown and not self.reset) or (self.fallback_if and not self.fallback_if(error)):
                    raise
                failures.append(error)
                shown = attempt.shown
        raise _all_failed(failures) from (failures[0] if len(failures) > 1 else None)

    def __repr__(self) -> str:
        return f"{self.steps[0]!r}.with_fallbacks({', '.join(map(repr, self.steps[1:]))})"


class _Attempt:
    """One run of a step. ``shown``: whether items of it have been handed out."""

    def __init__(self, run: Upstream, call: Call) -> None:
        self._run = run
        self._call = call
        self.shown = False

    def flow(self, outer: Chosen) -> Flow:
        """Its items, as those of ``outer``. What it has opened when it fails is closed."""
        mark = yield Opened()
        flow = outer.follow(self._run)
        try:
            if self._call.streaming:
                yield from pump(flow, self._show)
            else:
                yield from (yield from collected(flow))
        except Exception:
            yield CloseSince(mark)
            raise

    def _show(self, item: Any) -> tuple[Any, ...]:
        self.shown = True
        return (item,)


def _model_of(step: Step[Any]) -> str:
    """The model a step asks, as far as can be told."""
    match step:
        case Bound():
            return str(step.options.get("model") or _model_of(step.step))
        case Chain():
            return next(filter(None, map(_model_of, step.steps)), "")
    return getattr(step, "model", "") if isinstance(getattr(step, "model", ""), str) else ""


def _all_failed(failures: Sequence[Exception]) -> Exception:
    """The first error, its sentence saying that it was the first of several; the others as its notes."""
    first = failures[0]
    if len(failures) == 1:
        return first
    said = first
    if isinstance(first, OpenRouterError):
        said = type(first).__new__(type(first))  # whatever its constructor takes
        vars(said).update(vars(first))
        said.message = f"All {len(failures)} steps failed. First error: {first.message}"
        said.args = (said.message,)
    for number, failure in enumerate(failures[1:], start=2):
        said.add_note(f"Step {number} failed, too: {failure!r}")
    return said
