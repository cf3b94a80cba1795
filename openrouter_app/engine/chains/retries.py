"""Beginning again: the same step after a pause, or another step in its place.

Both keep streaming. What has been shown cannot be taken back, so a stream that has begun is begun
again only where ``reset`` allows it; then a `Reset` comes first, and whoever shows the stream clears it.
One answer (``invoke``, ``batch``) shows nothing before its end and can always be begun again.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from ..errors import OpenRouterError, UsageError
from ..flows import Flow, Sleep, collected, pump
from ..messages import Reset
from .steps import Call, Step, Upstream, to_step

Out = TypeVar("Out")


def may_help(error: Exception) -> bool:
    """Whether another attempt may end otherwise: not where the request was refused for what it is."""
    return error.retryable if isinstance(error, OpenRouterError) else True


class Retry(Step[Out]):
    """A step, begun again when it fails: at most ``attempts`` times in all.

    Between attempts it waits ``delays[i]`` seconds, or 1, 2, 4, ... (60 at most), with up to 99 ms more
    where ``jitter`` is set; longer where the error names a longer ``retry_after``. ``retry_if(error)``
    says whether another attempt makes sense. The last error is raised as it is.

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

    def flow(self, upstream: Upstream, call: Call) -> Flow:
        value = yield from upstream.value()
        for number in range(1, self.attempts + 1):
            attempt = _Attempt(self.step, value, call)
            try:
                yield from attempt.flow()
                return
            except Exception as error:
                if number == self.attempts or (attempt.shown and not self.reset) or not self.retry_if(error):
                    raise
                pause = self._pause(number, error)
            if attempt.shown:
                yield Reset()
            yield Sleep(pause)

    def _pause(self, number: int, error: Exception) -> float:
        if self.delays:
            pause = self.delays[min(number, len(self.delays)) - 1]
        else:
            pause = min(2.0 ** (number - 1), 60)
        asked = getattr(error, "retry_after", None) or 0.0
        return max(pause, asked) + (random.uniform(0, 0.099) if self.jitter else 0)  # noqa: S311

    def reduce(self, items: Sequence[Any]) -> Any:
        return self.step.reduce(items)

    def __repr__(self) -> str:
        return f"{self.step!r}.with_retry({self.attempts})"


class Fallbacks(Step[Out]):
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

    def flow(self, upstream: Upstream, call: Call) -> Flow:
        value = yield from upstream.value()
        failures: list[Exception] = []
        shown = False
        for step in self.steps:
            if shown:
                yield Reset(getattr(step, "model", ""))
            attempt = _Attempt(step, value, call, is_reduced=True)
            try:
                yield from attempt.flow()
                return
            except Exception as error:
                if (attempt.shown and not self.reset) or (self.fallback_if and not self.fallback_if(error)):
                    raise
                failures.append(error)
                shown = attempt.shown
        raise _all_failed(failures)

    def __repr__(self) -> str:
        return f"{self.steps[0]!r}.with_fallbacks({', '.join(map(repr, self.steps[1:]))})"


class _Attempt:
    """One run of a step. ``shown``: whether items of it have been handed out."""

    def __init__(self, step: Step[Any], value: Any, call: Call, *, is_reduced: bool = False) -> None:
        self._step = step
        self._value = value
        self._call = call
        self._is_reduced = is_reduced
        self.shown = False

    def flow(self) -> Flow:
        flow = self._step.flow(Upstream.of(self._value), self._call)
        if self._call.streaming:
            yield from pump(flow, self._show)
            return
        items = yield from collected(flow)
        if self._is_reduced:  # here, where it is known which step it was
            yield self._step.reduce(items)
        else:
            yield from items

    def _show(self, item: Any) -> tuple[Any, ...]:
        self.shown = True
        return (item,)


def _all_failed(failures: Sequence[Exception]) -> Exception:
    """The first error, its sentence saying that it was the first of several."""
    first = failures[0]
    if len(failures) == 1 or not isinstance(first, OpenRouterError):
        return first
    said = copy.copy(first)
    said.message = f"All {len(failures)} steps failed. First error: {first.message}"
    said.args = (said.message,)
    return said
