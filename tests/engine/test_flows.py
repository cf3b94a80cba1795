"""Flows: effects pass through, errors go where the effect was asked for, nothing is left open."""

from __future__ import annotations

import pytest

from openrouter_app.engine.async_drivers import adrive
from openrouter_app.engine.drivers import drive
from openrouter_app.engine.flows import Effect, collected, pump


class Ask(Effect):
    """An effect no driver performs: its result is None."""


def test_pump_hands_results_and_errors_to_the_flow_that_asked():
    said = []

    def inner():
        said.append((yield Ask()))
        try:
            yield Ask()
        except ValueError as error:
            said.append(str(error))
        yield 1
        yield 2

    flow = pump(inner(), lambda item: (item, item * 10))
    assert isinstance(next(flow), Ask)
    assert isinstance(flow.send("result"), Ask)
    assert flow.throw(ValueError("broken")) == 1
    assert list(flow) == [10, 2, 20]
    assert said == ["result", "broken"]


def test_collected_passes_effects_and_keeps_items():
    def outer():
        items = yield from collected(iter_of(1, 2))
        yield items

    def iter_of(*items):
        yield Ask()
        yield from items

    assert list(drive(outer())) == [[1, 2]]


@pytest.mark.parametrize("wrap", [drive, adrive])
async def test_leaving_early_closes_the_flow(wrap):
    closed = []

    def flow():
        try:
            yield 1
            yield 2
        finally:
            closed.append(True)

    driven = wrap(pump(flow(), lambda item: (item,)))
    if wrap is drive:
        assert next(driven) == 1
        driven.close()
    else:
        assert await anext(driven) == 1
        await driven.aclose()
    assert closed == [True]


def test_stop_iteration_of_what_takes_the_items_is_no_end_of_the_flow():
    rest = iter("a")

    def flow():
        yield 1
        yield 2

    with pytest.raises(RuntimeError, match="StopIteration"):
        list(pump(flow(), lambda item: (next(rest),)))
