"""Many inputs through one step, some at a time, the results in the inputs' order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..errors import UsageError
from ..flows import Flow, Fork, Next
from .steps import Call, Step, Upstream


def batch_flow(
    step: Step[Any],
    inputs: Iterable[Any],
    options: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    max_concurrency: int,
    return_errors: bool,
) -> Flow:
    """The flow whose one item is the list of results. A new input starts whenever one has ended.

    Raises `UsageError` where the options are neither one mapping nor one for each input.
    """
    if not isinstance(max_concurrency, int) or max_concurrency < 1:
        raise UsageError("max_concurrency must be a number from 1 on.")
    inputs = list(inputs)
    every = [options] * len(inputs) if isinstance(options, Mapping) else list(options or ())
    if len(every) < 2:
        every = (every or [{}]) * len(inputs)
    if len(every) != len(inputs):
        raise UsageError(
            f"There are {len(inputs)} inputs and {len(every)} options: give none, one, or as many."
        )
    return _batch(step, inputs, every, max_concurrency, return_errors)


def _batch(
    step: Step[Any],
    inputs: Sequence[Any],
    options: Sequence[Mapping[str, Any]],
    max_concurrency: int,
    return_errors: bool,
) -> Flow:
    def flows() -> Iterator[tuple[int, Flow]]:
        for index, (input, chosen) in enumerate(zip(inputs, options, strict=True)):
            yield index, _one(step, input, chosen, return_errors)

    results: list[Any] = [None] * len(inputs)
    branches = yield Fork(flows(), limit=max_concurrency)
    while (found := (yield Next(branches))) is not None:
        results[found[0]] = found[1]
    yield results


def _one(step: Step[Any], input: Any, options: Mapping[str, Any], return_errors: bool) -> Flow:
    try:
        result = yield from step.run(Upstream.of(input), Call(False, dict(options))).value()
    except Exception as error:
        if not return_errors:
            raise
        result = error
    yield result
