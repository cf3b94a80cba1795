"""Plain functions as steps, and functions that choose a step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import UsageError
from ..flows import Flow, Invoke, Next, Transform, collected, pump
from ..messages import Reset
from .steps import Call, Step, Upstream, as_step, to_step


class FunctionStep(Step[Any]):
    """A function of one argument, sync or async. In a pipe the function itself will do.

    ``invoke`` hands it the whole input, ``stream`` each item. ``stream=`` is a generator function, sync
    or async, for all items of a stream: it takes an iterator and yields. On an event loop a sync
    function runs in a thread; a sync generator function sees its items there once all have come, so
    write it async where it should keep up with a model.
    """

    def __init__(
        self, function: Callable[[Any], Any] | None = None, *, stream: Callable[[Any], Any] | None = None
    ) -> None:
        if function is None and stream is None:
            raise UsageError("A function step needs a function.")
        self.function = function
        self.stream_function = stream

    def flow(self, upstream: Upstream, call: Call) -> Flow:
        function, whole = self.function, self.stream_function
        if whole is not None and (call.streaming or function is None):
            branches = yield Transform(whole, upstream.flow)
            while (found := (yield Next(branches))) is not None:
                yield found[1]
        elif function is not None:
            yield from _each(function, upstream, call)

    def __repr__(self) -> str:
        return _name(self.function or self.stream_function)


def _each(function: Callable[[Any], Any], upstream: Upstream, call: Call) -> Flow:
    def take(item: Any) -> Flow:
        yield item if isinstance(item, Reset) else (yield Invoke(function, item))

    if call.streaming:
        yield from pump(upstream.flow, take)
    else:
        yield from take((yield from upstream.value()))


class Router(Step[Any]):
    """A function of the input that answers the step to run on it: ``Router(lambda x: short if x else long)``.

    Whatever it answers that is no step, dict or function is the result itself.
    """

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def flow(self, upstream: Upstream, call: Call) -> Flow:
        value = yield from upstream.value()
        chosen = yield Invoke(self.function, value)
        step = as_step(chosen)
        if step is None:
            yield chosen
        else:
            yield from _run(step, value, call)

    def __repr__(self) -> str:
        return f"Router({_name(self.function)})"


class Branch(Step[Any]):
    """The first step whose condition holds, else the default::

    Branch((lambda x: "?" in x["text"], answer), (is_greeting, greet), default=other)

    Conditions are functions of the input, sync or async.
    """

    def __init__(self, *cases: tuple[Callable[[Any], Any], Any], default: Any) -> None:
        self.cases = tuple((condition, to_step(step)) for condition, step in cases)
        self.default = to_step(default)

    def flow(self, upstream: Upstream, call: Call) -> Flow:
        value = yield from upstream.value()
        for condition, step in self.cases:
            if (yield Invoke(condition, value)):
                yield from _run(step, value, call)
                return
        yield from _run(self.default, value, call)

    def __repr__(self) -> str:
        return f"Branch({', '.join(_name(condition) for condition, _ in self.cases)})"


def _run(step: Step[Any], value: Any, call: Call) -> Flow:
    """The chosen step; for one answer its items are added up here, where the step is known."""
    flow = step.flow(Upstream.of(value), call)
    if call.streaming:
        yield from flow
    else:
        yield step.reduce((yield from collected(flow)))


def _name(function: Any) -> str:
    return str(getattr(function, "__name__", type(function).__name__))
