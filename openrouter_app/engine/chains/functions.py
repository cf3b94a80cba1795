"""Plain functions as steps, and functions that choose a step."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Generator
from typing import Any

from ..errors import OpenRouterError, UsageError
from ..flows import Close, Flow, Invoke, Next, Transform, pump
from ..messages import Reset
from .steps import Call, Delegate, Step, as_step, to_step
from .upstream import Chosen, Made, Upstream


class FunctionStep(Step[Any]):
    """A function of one argument, sync or async. In a pipe the function itself will do.

    ``invoke`` hands it the whole input, ``stream`` each item. ``stream=`` is a generator function, sync
    or async, for all items of a stream: it takes an iterator and yields. On an event loop a sync
    function runs in a thread, a sync generator function in one for all its items.
    """

    def __init__(
        self, function: Callable[[Any], Any] | None = None, *, stream: Callable[[Any], Any] | None = None
    ) -> None:
        if function is None and stream is None:
            raise UsageError("A function step needs a function.")
        self.function = _callable(function) if function is not None else None
        self.stream_function = _callable(stream) if stream is not None else None

    def run(self, upstream: Upstream, call: Call) -> Upstream:
        return Made(self.flow(upstream, call), upstream)

    def flow(self, upstream: Upstream, call: Call) -> Flow:
        function, whole = self.function, self.stream_function
        if whole is not None and (call.streaming or function is None):
            branches = yield Transform(whole, upstream.flow)
            while (found := (yield Next(branches))) is not None:
                yield found[1]
            yield Close(branches)  # it may not have wanted all items
        elif function is not None:
            yield from _each(function, upstream, call)

    def __repr__(self) -> str:
        return _name(self.function or self.stream_function)


def _each(function: Callable[[Any], Any], upstream: Upstream, call: Call) -> Flow:
    came = False

    def take(item: Any) -> Flow:
        nonlocal came
        came = True
        yield item if isinstance(item, Reset) else (yield Invoke(function, item))

    if not call.streaming:
        yield from take((yield from upstream.value()))
        return
    yield from pump(upstream.flow, take)
    if not came:
        try:
            nothing = upstream.reduce(())
        except OpenRouterError:
            return  # no items add up to nothing here
        yield from take(nothing)


class Choice(Delegate[Any]):
    """A step that chooses another one for its input; what that one's items add up to is its value."""

    @abstractmethod
    def choose(self, value: Any) -> Generator[Any, Any, Any]:
        """A flow whose result is the step; what is no step, dict or function is the value itself."""

    def delegate(self, run: Chosen, upstream: Upstream, call: Call) -> Flow:
        value = yield from upstream.value()
        chosen = yield from self.choose(value)
        step = as_step(chosen)
        fed = Upstream.of(chosen if step is None else value)
        yield from run.follow(fed if step is None else step.run(fed, call))


class Router(Choice):
    """A function of the input that answers the step to run on it: ``Router(lambda x: short if x else long)``.

    Whatever it answers that is no step, dict or function is the result itself.
    """

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = _callable(function)

    def choose(self, value: Any) -> Generator[Any, Any, Any]:
        return (yield Invoke(self.function, value))

    def __repr__(self) -> str:
        return f"Router({_name(self.function)})"


class Branch(Choice):
    """The first step whose condition holds, else the default::

    Branch((lambda x: "?" in x["text"], answer), (is_greeting, greet), default=other)

    Conditions are functions of the input, sync or async.
    """

    def __init__(self, *cases: tuple[Callable[[Any], Any], Any], default: Any) -> None:
        if not all(isinstance(case, tuple) and len(case) == 2 for case in cases):
            raise UsageError("A branch takes pairs of a condition and a step: Branch((is_short, step), ...).")
        self.cases = tuple((_callable(condition), to_step(step)) for condition, step in cases)
        self.default = to_step(default)

    def choose(self, value: Any) -> Generator[Any, Any, Any]:
        for condition, step in self.cases:
            if (yield Invoke(condition, value)):
                return step
        return self.default

    def __repr__(self) -> str:
        return f"Branch({', '.join(_name(condition) for condition, _ in self.cases)})"


def _callable(function: Any) -> Callable[[Any], Any]:
    if not callable(function):
        raise UsageError(f"A function is needed here, not {type(function).__name__}.")
    return function  # type: ignore[no-any-return]


def _name(function: Any) -> str:
    return str(getattr(function, "__name__", type(function).__name__))
