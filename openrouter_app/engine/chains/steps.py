"""A chain is steps joined by ``|``. A step is a flow; running it is the driver's business.

    chain = prompt | model | parser        or        prompt.pipe(model).pipe(parser)

Every step, and so every chain, has the same verbs: ``invoke``, ``stream`` and ``batch``, and on
asyncio ``ainvoke``, ``astream`` and ``abatch``. ``invoke`` answers what the stream's items add up to.
In a pipe, a dict stands for a `ParallelMap`, a function for a `FunctionStep`.
"""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Mapping, Sequence
from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import msgspec

from ..drivers import drive
from ..errors import UsageError
from ..flows import Flow
from ..replies import added_up
from ..requests import present_names
from .upstream import Chosen
from .upstream import Upstream as Upstream

if TYPE_CHECKING:
    from .retries import Fallbacks, Retry

Out = TypeVar("Out")
Other = TypeVar("Other")


class Call(msgspec.Struct, frozen=True):
    """What one call of a chain asks for: a stream or one answer, options for its models, and the moment
    (`time.monotonic`) by which its models must have answered.
    """

    streaming: bool
    options: dict[str, Any]
    due: float = float("inf")


class Step(Generic[Out]):
    """One step. A subclass says how it turns the items before it into its own (`flow`), and what
    its items add up to (`reduce`; ``is_cumulative`` says that each stands for all before it). Where that
    depends on the run it says `run` instead. Steps hold no state of a run: one step serves many at once.
    """

    is_cumulative = False

    def __init_subclass__(cls) -> None:
        if cls.flow is Step.flow and cls.run is Step.run:
            raise TypeError(f"{cls.__name__} must say how it runs: write its flow(upstream, call).")

    def flow(self, upstream: Upstream, call: Call) -> Flow:
        """The flow of this step's items, fed by ``upstream``."""
        return self.run(upstream, call).flow

    def reduce(self, items: Sequence[Any]) -> Any:
        """The one value that a run's items add up to. (Of a step chosen in the run, as far as can be
        told from the items alone.)
        """
        return added_up(items)

    def run(self, upstream: Upstream, call: Call) -> Upstream:
        """One run of this step, fed by ``upstream``: its flow, and how its items add up."""
        return Upstream(self.flow(upstream, call), self.reduce, is_cumulative=self.is_cumulative)

    def __or__(self, other: Any) -> Chain[Any]:
        following = as_step(other)
        return NotImplemented if following is None else Chain([self, following])

    def __ror__(self, other: Any) -> Chain[Out]:
        preceding = as_step(other)
        return NotImplemented if preceding is None else Chain([preceding, self])

    def pipe(self, other: Any) -> Chain[Any]:
        """``self | other``, spelled as a call."""
        chain: Chain[Any] = self | other
        return chain

    def stream(self, input: Any, /, **options: Any) -> Generator[Out, None, None]:
        """Run on ``input`` and iterate over the output as it comes.

        ``options`` are for the models of the chain and win over their own. Leaving the loop early
        closes the connection. Raises an `OpenRouterError`.
        """
        return drive(self.run(Upstream.of(input), Call(True, options)).flow)

    def astream(self, input: Any, /, **options: Any) -> AsyncGenerator[Out, None]:
        """`stream`, on the running event loop."""
        from ..async_drivers import adrive

        return adrive(self.run(Upstream.of(input), Call(True, options)).flow)

    def invoke(self, input: Any, /, **options: Any) -> Out:
        """Run on ``input`` and answer the whole output at once."""
        run = self.run(Upstream.of(input), Call(False, options))
        with closing(drive(run.flow)) as items:
            return run.reduce(list(items))  # type: ignore[no-any-return]

    async def ainvoke(self, input: Any, /, **options: Any) -> Out:
        """`invoke`, on the running event loop."""
        from ..async_drivers import adrive

        run = self.run(Upstream.of(input), Call(False, options))
        async with aclosing(adrive(run.flow)) as items:
            return run.reduce([item async for item in items])  # type: ignore[no-any-return]

    def batch(
        self,
        inputs: Iterable[Any],
        options: Mapping[str, Any] | Sequence[Mapping[str, Any]] = (),
        *,
        max_concurrency: int = 8,
        return_errors: bool = False,
    ) -> list[Any]:
        """`invoke` on each input, in threads, at most ``max_concurrency`` at once; results in order.

        ``options``: one mapping for all, or one for each input. The first error ends the rest and is
        raised; with ``return_errors`` an error stands in its result's place and the rest go on.
        """
        from .batches import batch_flow

        with closing(drive(batch_flow(self, inputs, options, max_concurrency, return_errors))) as results:
            return next(results)

    async def abatch(
        self,
        inputs: Iterable[Any],
        options: Mapping[str, Any] | Sequence[Mapping[str, Any]] = (),
        *,
        max_concurrency: int = 8,
        return_errors: bool = False,
    ) -> list[Any]:
        """`batch`, on the running event loop, in tasks."""
        from ..async_drivers import adrive
        from .batches import batch_flow

        flow = batch_flow(self, inputs, options, max_concurrency, return_errors)
        async with aclosing(adrive(flow)) as results:
            return await anext(results)

    def bind(self, **options: Any) -> Bound[Out]:
        """This step with options for its models. Where a call gives the same option, the call wins."""
        return Bound(self, options)

    def with_structured_output(
        self,
        schema: Any,
        *,
        method: Literal["response_format", "tool"] = "response_format",
        name: str | None = None,
        strict: bool = True,
    ) -> Step[Any]:
        """A chain that answers values of this schema: see `engine.chains.structured`."""
        from .structured import structured

        return structured(self, schema, method=method, name=name, strict=strict)

    def with_retry(
        self,
        attempts: int = 3,
        *,
        retry_if: Callable[[Exception], bool] | None = None,
        delays: Sequence[float] = (),
        jitter: bool = True,
        reset: bool = False,
    ) -> Retry[Out]:
        """This step, begun again when it fails: see `Retry`."""
        from .retries import Retry

        return Retry(self, attempts, retry_if=retry_if, delays=delays, jitter=jitter, reset=reset)

    def with_fallbacks(
        self,
        *others: Any,
        fallback_if: Callable[[Exception], bool] | None = None,
        reset: bool = False,
    ) -> Fallbacks[Out]:
        """This step, or the first of the others that works: see `Fallbacks`."""
        from .retries import Fallbacks

        return Fallbacks([self, *others], fallback_if=fallback_if, reset=reset)


def as_step(value: Any) -> Step[Any] | None:
    """The step that a value stands for in a pipe: a step, a dict of steps, a function; else None.

    A generator function takes all items of a stream. Raises `UsageError` for the class of a step.
    """
    if isinstance(value, Step):
        return value
    if isinstance(value, type) and issubclass(value, Step):
        raise UsageError(f"{value.__name__} is the class of a step: write {value.__name__}(...).")
    if isinstance(value, dict):
        from .maps import ParallelMap

        return ParallelMap(value)
    if callable(value):
        from .functions import FunctionStep

        if inspect.isgeneratorfunction(value) or inspect.isasyncgenfunction(value):
            return FunctionStep(stream=value)
        return FunctionStep(value)
    return None


def to_step(value: Any) -> Step[Any]:
    """`as_step`. Raises `UsageError` for what is none."""
    step = as_step(value)
    if step is None:
        raise UsageError(
            f"A chain is made of steps, dicts of steps and functions, not {type(value).__name__}."
        )
    return step


class Delegate(Step[Out]):
    """A step that hands on the items of others, chosen in the run; they add up as the last of these says."""

    def run(self, upstream: Upstream, call: Call) -> Upstream:
        run = Chosen()
        run.flow = self.delegate(run, upstream, call)
        return run

    @abstractmethod
    def delegate(self, run: Chosen, upstream: Upstream, call: Call) -> Flow:
        """The flow; ``run.follow(other)`` chooses."""


class Chain(Step[Out]):
    """Steps in a row, each fed by the one before. Chains in a chain are flattened."""

    def __init__(self, steps: Sequence[Any]) -> None:
        self.steps: tuple[Step[Any], ...] = tuple(
            flat
            for step in map(to_step, steps)
            for flat in (step.steps if isinstance(step, Chain) else (step,))
        )
        if not self.steps:
            raise UsageError("A chain needs at least one step.")

    def run(self, upstream: Upstream, call: Call) -> Upstream:
        for step in self.steps:
            upstream = step.run(upstream, call)
        return upstream

    def reduce(self, items: Sequence[Any]) -> Any:
        return self.steps[-1].reduce(items)

    def __repr__(self) -> str:
        return " | ".join(map(repr, self.steps))


class Bound(Step[Out]):
    """A step with options for its models; what `Step.bind` makes."""

    def __init__(self, step: Step[Out], options: Mapping[str, Any]) -> None:
        self.step = step
        self.options = present_names(options)

    def run(self, upstream: Upstream, call: Call) -> Upstream:
        options = {**self.options, **present_names(call.options)}
        return self.step.run(upstream, msgspec.structs.replace(call, options=options))

    def reduce(self, items: Sequence[Any]) -> Any:
        return self.step.reduce(items)

    def __repr__(self) -> str:
        return f"{self.step!r}.bind({', '.join(self.options)})"
