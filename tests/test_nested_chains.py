"""What chains in chains open, on real connections: closed as soon as nobody wants it any more."""

from __future__ import annotations

import asyncio
import threading

import pytest

from openrouter_app import ChatOpenRouter, FunctionStep, ParallelMap, Passthrough, Router, Step, Timeouts
from openrouter_app.engine.errors import ReadTimeoutError
from openrouter_app.engine.flows import Sleep
from openrouter_app.engine.messages import TextDelta


@pytest.fixture
def model(openrouter):
    return ChatOpenRouter(model="a/b", api_key="test", base_url=openrouter.base_url, retries=0)


def words(items):
    for item in items:
        if isinstance(item, TextDelta):
            yield item.text


async def awords(items):
    async for item in items:
        if isinstance(item, TextDelta):
            yield item.text


def branches():
    return [thread for thread in threading.enumerate() if thread.name.startswith("openrouter branch")]


NESTED = {
    "a map": lambda model: ParallelMap({"a": model, "b": model}),
    "a generator function": lambda model: ParallelMap({"a": model | FunctionStep(stream=words)}),
    "an async generator function": lambda model: ParallelMap({"a": model | FunctionStep(stream=awords)}),
    "a router": lambda model: Router(lambda _: model),
}


@pytest.mark.parametrize("how", NESTED)
async def test_leaving_a_map_closes_what_is_open_however_deep(openrouter, model, how):
    chain = ParallelMap({"n": NESTED[how](model), "c": Passthrough()})

    def leave():
        stream = chain.stream("x")
        next(stream)
        openrouter.wait_until(lambda: openrouter.active and not openrouter.unused)
        stream.close()

    def stall():
        for _ in range(2 if how == "a map" else 1):
            openrouter.stall("One")

    stall()
    await asyncio.to_thread(leave)
    await openrouter.await_until(lambda: not openrouter.active and not branches(), timeout=20)
    stall()
    stream = chain.astream("x")
    await anext(stream)
    await openrouter.await_until(lambda: openrouter.active and not openrouter.unused)
    await stream.aclose()
    await openrouter.await_until(lambda: not openrouter.active, timeout=20)


def test_first_error_of_a_batch_ends_the_maps_of_the_others(openrouter, model):
    openrouter.stall("One")
    openrouter.stall("Two")

    def pick(input):
        if input == "bad":
            openrouter.wait_until(lambda: len(openrouter.active) == 2)
            raise ValueError("bad")
        return ParallelMap({"a": model, "b": model})

    with pytest.raises(ValueError, match="bad"):
        Router(pick).batch(["bad", "good"])
    openrouter.wait_until(lambda: not openrouter.active and not branches(), timeout=20)


class Looks(Step):
    """Says what is open while it runs."""

    def __init__(self, openrouter):
        self.openrouter = openrouter

    def flow(self, upstream, call):
        yield from upstream.flow
        for _ in range(2000):
            if not self.openrouter.active:
                yield "closed"
                return
            yield Sleep(0.01)
        yield "open"


def fails(event):
    if isinstance(event, TextDelta):
        raise ValueError("mine")
    return event


class Fails(Step):
    """After its neighbour has begun."""

    def __init__(self, openrouter):
        self.openrouter = openrouter

    def flow(self, upstream, call):
        while not self.openrouter.active:
            yield Sleep(0.01)
        raise OSError("down")


FAILING = {
    "a map of which one step fails": lambda model, fails: ParallelMap({"a": model, "b": fails}),
    "a function behind the model": lambda model, _: model | fails,
    "silence": lambda model, _: model.bind(timeouts=Timeouts(idle=0.2)),
}


@pytest.mark.parametrize("how", FAILING)
@pytest.mark.parametrize("verb", ["stream", "astream"])
async def test_what_a_failed_attempt_left_open_is_closed_before_the_next(openrouter, model, how, verb):
    def make():
        openrouter.stall("One")
        return FAILING[how](model, Fails(openrouter)).with_fallbacks(Looks(openrouter), reset=True)

    if verb == "stream":
        items = await asyncio.to_thread(lambda: list(make().stream("x")))
    else:
        items = [item async for item in make().astream("x")]
    assert items[-1] == "closed"


async def test_generator_function_that_wants_no_more_ends_the_answer(openrouter, model):
    def first(items):
        yield next(items)

    async def afirst(items):
        async for item in items:
            yield item
            break

    for function in (first, afirst):
        chain = model | FunctionStep(stream=function) | Looks(openrouter)
        openrouter.stall("One")
        assert (await asyncio.to_thread(lambda chain=chain: list(chain.stream("x"))))[-1] == "closed"
        openrouter.stall("One")
        assert [item async for item in chain.astream("x")][-1] == "closed"


async def test_model_closes_its_connection_before_it_raises(openrouter, model):
    openrouter.stall("One")
    with pytest.raises(ReadTimeoutError):
        await asyncio.to_thread(lambda: list(model.stream("x", timeouts=Timeouts(idle=0.2))))
    await openrouter.await_until(lambda: not openrouter.active, timeout=20)
