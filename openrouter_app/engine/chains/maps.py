"""Several steps on one input, and the small steps that make and take apart mappings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import InputError, UsageError
from ..flows import Flow, Fork, Next, pump
from ..messages import Reset
from ..replies import added_up, since_reset
from .steps import Call, Step, Upstream, to_step


class ParallelMap(Step[dict[str, Any]]):
    """Each step on the same input, at the same time: ``{"joke": chain, "poem": other} | combine``.

    ``invoke`` gives a dict with each step's result; ``stream`` dicts of one key, as the steps' items
    come. The first error ends the others.
    """

    def __init__(self, steps: Mapping[str, Any]) -> None:
        if not steps:
            raise UsageError("A map needs at least one step.")
        self.steps = {key: to_step(step) for key, step in steps.items()}

    def flow(self, upstream: Upstream, call: Call) -> Flow:
        value = yield from upstream.value()
        flows = [(key, step.flow(Upstream.of(value), call)) for key, step in self.steps.items()]
        branches = yield Fork(flows, limit=len(flows))
        while (found := (yield Next(branches))) is not None:
            key, item = found
            yield {key: item}

    def reduce(self, items: Sequence[Any]) -> dict[str, Any]:
        collected: dict[str, list[Any]] = {key: [] for key in self.steps}
        for item in since_reset(items):
            for key, value in item.items():
                collected[key].append(value)
        return {key: step.reduce(collected[key]) for key, step in self.steps.items()}

    def __repr__(self) -> str:
        return f"ParallelMap({', '.join(self.steps)})"


class Passthrough(Step[Any]):
    """What comes in goes out."""

    def flow(self, upstream: Upstream, call: Call) -> Flow:
        return upstream.flow

    def __repr__(self) -> str:
        return "Passthrough()"


class MapFromInput(Step[dict[str, Any]]):
    """The input under a key: ``"hi"`` becomes ``{"input": "hi"}``."""

    def __init__(self, key: str = "input") -> None:
        self.key = key

    def flow(self, upstream: Upstream, call: Call) -> Flow:
        return pump(upstream.flow, lambda item: (item if isinstance(item, Reset) else {self.key: item},))

    def __repr__(self) -> str:
        return f"MapFromInput({self.key!r})"


class ItemFromMap(Step[Any]):
    """One member of the input: ``{"text": "hi", ...}`` becomes ``"hi"``.

    Raises `InputError` where the input has no such key.
    """

    def __init__(self, key: str) -> None:
        self.key = key

    def flow(self, upstream: Upstream, call: Call) -> Flow:
        if call.streaming:
            found = False
            items = upstream.flow

            def take(item: Any) -> tuple[Any, ...]:
                nonlocal found
                if isinstance(item, Reset):
                    return (item,)
                if isinstance(item, Mapping) and self.key in item:
                    found = True
                    return (item[self.key],)
                return ()

            yield from pump(items, take)
            if not found:
                raise self._missing()
            return
        value = yield from upstream.value()
        if not isinstance(value, Mapping) or self.key not in value:
            raise self._missing()
        yield value[self.key]

    def reduce(self, items: Sequence[Any]) -> Any:
        return added_up(items)

    def _missing(self) -> InputError:
        return InputError(f"The input has no '{self.key}'.", variables=(self.key,))

    def __repr__(self) -> str:
        return f"ItemFromMap({self.key!r})"
