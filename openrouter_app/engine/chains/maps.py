"""Several steps on one input, and the small steps that make and take apart mappings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import InputError, UsageError
from ..flows import Close, Flow, Fork, Next, pump
from ..messages import Reset
from .steps import Call, Step, to_step
from .upstream import Member, Members, Upstream, added_up_members


class ParallelMap(Step[dict[str, Any]]):
    """Each step on the same input, at the same time: ``{"text": Passthrough(), "style": guess} | prompt``.

    ``invoke`` gives a dict with each step's result; ``stream`` dicts of one key, as the steps' items
    come. The first error ends the others.
    """

    def __init__(self, steps: Mapping[str, Any]) -> None:
        if not steps:
            raise UsageError("A map needs at least one step.")
        self.steps = {key: to_step(step) for key, step in steps.items()}

    def run(self, upstream: Upstream, call: Call) -> Upstream:
        members: dict[Any, Upstream] = {}
        run = Members(members)
        run.flow = self._flow(members, upstream, call)
        return run

    def _flow(self, members: dict[Any, Upstream], upstream: Upstream, call: Call) -> Flow:
        value = yield from upstream.value()
        members.update({key: step.run(Upstream.of(value), call) for key, step in self.steps.items()})
        flows = [(key, run.flow) for key, run in members.items()]
        branches = yield Fork(flows, limit=len(flows))
        try:
            while (found := (yield Next(branches))) is not None:
                key, item = found
                yield {key: item}
        except Exception:
            yield Close(branches)
            raise

    def reduce(self, items: Sequence[Any]) -> dict[str, Any]:
        return added_up_members({key: step.reduce for key, step in self.steps.items()}, items)

    def __repr__(self) -> str:
        return f"ParallelMap({', '.join(map(str, self.steps))})"


class Passthrough(Step[Any]):
    """What comes in goes out."""

    def run(self, upstream: Upstream, call: Call) -> Upstream:
        return upstream

    def flow(self, upstream: Upstream, call: Call) -> Flow:
        return upstream.flow

    def __repr__(self) -> str:
        return "Passthrough()"


class MapFromInput(Step[dict[str, Any]]):
    """The input under a key: ``"hi"`` becomes ``{"input": "hi"}``."""

    def __init__(self, key: str = "input") -> None:
        self.key = key

    def run(self, upstream: Upstream, call: Call) -> Upstream:
        run = Members({self.key: upstream})
        run.flow = self.flow(upstream, call)
        return run

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

    def run(self, upstream: Upstream, call: Call) -> Upstream:
        return Member(self.flow(upstream, call), upstream, self.key)

    def flow(self, upstream: Upstream, call: Call) -> Flow:
        found = False

        def take(item: Any) -> tuple[Any, ...]:
            nonlocal found
            if isinstance(item, Reset):
                return (item,)
            if isinstance(item, Mapping) and self.key in item:
                found = True
                return (item[self.key],)
            return ()

        yield from pump(upstream.flow, take)
        if not found and upstream.below(self.key) is None:  # of one that is known, nothing came
            raise InputError(f"The input has no '{self.key}'.", variables=(self.key,))

    def __repr__(self) -> str:
        return f"ItemFromMap({self.key!r})"
