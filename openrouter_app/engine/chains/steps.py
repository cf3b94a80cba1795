"""A chain is steps joined by ``|``. A step is a flow; running it is the driver's business.

    chain = prompt | model | parser        or        prompt.pipe(model).pipe(parser)

Every step, and so every chain, has the same four verbs: ``invoke`` and ``stream``, and on asyncio
``ainvoke`` and ``astream``. ``invoke`` answers what the stream's items add up to.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import aclosing, closing
from typing import Any, Generic, TypeVar

import msgspec

from ..errors import UsageError
from ..flows import Flow, adrive, collected, drive

Out = TypeVar("Out")
Other = TypeVar("Other")


class Call(msgspec.Struct, frozen=True):
    """What one call of a chain asks for: a stream or one answer, and options for its models."""

    streaming: bool
    options: dict[str, Any]


class Step(ABC, Generic[Out]):
    """One step. A subclass says how it turns the items before it into its own (`flow`), and what
    its items add up to (`reduce`). Steps hold no state of a run: one step serves many at once.
    """

    @abstractmethod
    def flow(self, upstream: Upstream, call: Call) -> Flow:
        """The flow of this step's items, fed by ``upstream``."""

    def reduce(self, items: Sequence[Any]) -> Any:
        """The one value that a run's items add up to: here, the last."""
        if not items:
            raise UsageError(f"{type(self).__name__} gave no output.")
        return items[-1]

    def __or__(self, other: Step[Other]) -> Chain[Other]:
        if not isinstance(other, Step):
            return NotImplemented
        return Chain([*_steps(self), *_steps(other)])

    def pipe(self, other: Step[Other]) -> Chain[Other]:
        """``self | other``, spelled as a call."""
        return self | other

    def stream(self, input: Any, /, **options: Any) -> Generator[Out, None, None]:
        """Run on ``input`` and iterate over the output as it comes.

        ``options`` are for the models of the chain and win over their own. Leaving the loop early
        closes the connection. Raises an `OpenRouterError`.
        """
        yield from drive(self.flow(Upstream.of(input), Call(True, options)))

    async def astream(self, input: Any, /, **options: Any) -> AsyncGenerator[Out, None]:
        """`stream`, on the running event loop."""
        async with aclosing(adrive(self.flow(Upstream.of(input), Call(True, options)))) as items:
            async for item in items:
                yield item

    def invoke(self, input: Any, /, **options: Any) -> Out:
        """Run on ``input`` and answer the whole output at once."""
        with closing(drive(self.flow(Upstream.of(input), Call(False, options)))) as items:
            return self.reduce(list(items))  # type: ignore[no-any-return]

    async def ainvoke(self, input: Any, /, **options: Any) -> Out:
        """`invoke`, on the running event loop."""
        async with aclosing(adrive(self.flow(Upstream.of(input), Call(False, options)))) as items:
            return self.reduce([item async for item in items])  # type: ignore[no-any-return]


class Upstream:
    """What a step is fed: the flow before it, and how that flow's items add up."""

    __slots__ = ("flow", "reduce")

    def __init__(self, flow: Flow, reduce: Any) -> None:
        self.flow = flow
        self.reduce = reduce

    @classmethod
    def of(cls, value: Any) -> Upstream:
        """An upstream of one value: a chain's input."""

        def flow() -> Flow:
            yield value

        return cls(flow(), lambda items: items[-1])

    def value(self) -> Generator[Any, Any, Any]:
        """Everything before, added up: ``value = yield from upstream.value()``."""
        items = yield from collected(self.flow)
        return self.reduce(items)


class Chain(Step[Out]):
    """Steps in a row, each fed by the one before. Chains in a chain are flattened."""

    def __init__(self, steps: Sequence[Step[Any]]) -> None:
        self.steps = tuple(flat for step in steps for flat in _steps(step))
        if not self.steps:
            raise UsageError("A chain needs at least one step.")

    def flow(self, upstream: Upstream, call: Call) -> Flow:
        for step in self.steps:
            upstream = Upstream(step.flow(upstream, call), step.reduce)
        return upstream.flow

    def reduce(self, items: Sequence[Any]) -> Any:
        return self.steps[-1].reduce(items)

    def __repr__(self) -> str:
        return " | ".join(map(repr, self.steps))


def _steps(step: Step[Any]) -> tuple[Step[Any], ...]:
    return step.steps if isinstance(step, Chain) else (step,)
