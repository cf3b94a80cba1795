"""What flows down a chain in one run: items, and how they add up.

How they add up is a matter of the run: a router's items are those of the step it has chosen, and what
passes through is what came in.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

from ..errors import UsageError
from ..flows import Flow, collected
from ..replies import added_up, since_reset


class Upstream:
    """One run of a step, as the step behind it is fed by it.

    ``flow`` gives its items, ``reduce(items)`` their one value. ``is_cumulative``: each item stands for
    all before it, as snapshots do.
    """

    def __init__(
        self, flow: Flow, reduce: Callable[[Sequence[Any]], Any], *, is_cumulative: bool = False
    ) -> None:
        self.flow = flow
        self._reduce = reduce
        self._is_cumulative = is_cumulative

    @classmethod
    def of(cls, value: Any) -> Upstream:
        """An upstream of one value: a chain's input."""

        def flow() -> Flow:
            yield value

        return cls(flow(), last)

    @property
    def is_cumulative(self) -> bool:
        return self._is_cumulative

    def reduce(self, items: Sequence[Any]) -> Any:
        """What items of this run add up to."""
        return self._reduce(items)

    def below(self, key: Any) -> Upstream | None:
        """Where the items are mappings: the run whose items stand under this key, if it is known."""
        return None

    def value(self) -> Generator[Any, Any, Any]:
        """Everything of this run, added up: ``value = yield from upstream.value()``."""
        items = yield from collected(self.flow)
        return self.reduce(items)


class Chosen(Upstream):
    """A run that hands on the items of another, ``chosen`` while it runs: they add up as that one says."""

    def __init__(self) -> None:
        self.chosen = Upstream.of(None)

    @property
    def is_cumulative(self) -> bool:
        return self.chosen.is_cumulative

    def reduce(self, items: Sequence[Any]) -> Any:
        return self.chosen.reduce(items)

    def below(self, key: Any) -> Upstream | None:
        return self.chosen.below(key)

    def follow(self, chosen: Upstream) -> Flow:
        """The flow of the one that is chosen now."""
        self.chosen = chosen
        return chosen.flow


class Made(Upstream):
    """A run whose items are made of those of another, each of one, by who knows what: snapshots of
    snapshots, pieces of pieces.
    """

    def __init__(self, flow: Flow, of: Upstream) -> None:
        self.flow = flow
        self._of = of

    @property
    def is_cumulative(self) -> bool:
        return self._of.is_cumulative

    def reduce(self, items: Sequence[Any]) -> Any:
        return last(items) if self.is_cumulative else added_up(items)


class Members(Upstream):
    """A run whose items are mappings, with a run of its own below each key."""

    def __init__(self, members: Mapping[Any, Upstream]) -> None:
        self.members = members

    @property
    def is_cumulative(self) -> bool:
        return False

    def reduce(self, items: Sequence[Any]) -> Any:
        return added_up_members({key: run.reduce for key, run in self.members.items()}, items)

    def below(self, key: Any) -> Upstream | None:
        return self.members.get(key)


class Member(Upstream):
    """A run whose items are what stands under one key of the items of another."""

    def __init__(self, flow: Flow, of: Upstream, key: Any) -> None:
        self.flow = flow
        self._of = of
        self._key = key

    @property
    def is_cumulative(self) -> bool:
        return (self._of.below(self._key) or self._of).is_cumulative

    def reduce(self, items: Sequence[Any]) -> Any:
        below = self._of.below(self._key)
        if below is not None:
            return below.reduce(items)
        return self._of.reduce([{self._key: item} for item in since_reset(items)])[self._key]


def added_up_members(
    reduce: Mapping[Any, Callable[[Sequence[Any]], Any]], items: Sequence[Any]
) -> dict[Any, Any]:
    """The mapping that mappings of some of its keys add up to, each value as ``reduce`` of its key says."""
    found: dict[Any, list[Any]] = {key: [] for key in reduce}
    for item in since_reset(items):
        for key, value in item.items():
            found[key].append(value)
    return {key: add_up(found[key]) for key, add_up in reduce.items()}


def last(items: Sequence[Any]) -> Any:
    """The last item. Raises `UsageError` where there is none."""
    if items := since_reset(items):
        return items[-1]
    raise UsageError("The step gave no output.")
