"""Steps that make chains of chains: conformance C3, on both faces."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from openrouter_app.engine.chains import (
    Branch,
    Chain,
    ChatPromptTemplate,
    FunctionStep,
    ItemFromMap,
    MapFromInput,
    ParallelMap,
    Passthrough,
    Router,
    StringOutputParser,
)
from openrouter_app.engine.errors import InputError, UpstreamError, UsageError
from openrouter_app.engine.messages import AIMessage, Reset, TextDelta

from .scripted import FINISHED, InTurn, Says, faces, outcome

HELLO = ChatPromptTemplate.from_template("Hello {input}!")
BYE = ChatPromptTemplate.from_template("Bye {input}!")


def echo(prompt):
    """Conformance's fake model: says the prompt's last message, a character at a time when streamed."""
    text = prompt.messages[-1].content
    return text


async def characters(items):
    async for item in items:
        for character in echo(item):
            yield character


def make_echo():
    return FunctionStep(echo, stream=characters)


def hello():
    return HELLO | make_echo() | StringOutputParser()


def bye():
    return BYE | make_echo() | StringOutputParser()


@pytest.mark.parametrize("verb", ["invoke", "stream"])
async def test_r2_chain_of_prompt_echo_and_parser(verb):
    answer = await faces(hello, {"input": "world"}, verb)
    assert answer == ("Hello world!" if verb == "invoke" else list("Hello world!"))


def test_r1_lists_of_steps_make_the_same_chain():
    a, b, c = Says("a"), Says("b"), Says("c")
    assert Chain([a, b | c]).steps == (a | b | c).steps == (a, b, c)
    assert repr(Chain([Passthrough(), MapFromInput()])) == "Passthrough() | MapFromInput('input')"
    for wrong in ([], [3]):
        with pytest.raises(UsageError):
            Chain(wrong)
    with pytest.raises(TypeError):
        3 | a


def test_r4_options_reach_the_models_and_nobody_else():
    model = Says("x")
    assert (HELLO | model | StringOutputParser()).invoke({"input": "x"}, temperature=1) == "x"
    assert model.calls[0].options == {"temperature": 1}


async def test_r6_step_that_does_not_stream_gives_one_item():
    assert await faces(lambda: FunctionStep(len), "world", "stream") == [5]


async def test_r7_function_is_given_each_item_of_a_stream():
    assert await faces(lambda: Says(*"world") | len, "x", "stream") == [1, 1, 1, 1, 1]
    assert await faces(lambda: Says(*"world") | len, "x", "invoke") == 5


def counted(items):
    yield sum(1 for _ in items)


async def acounted(items):
    count = 0
    async for _ in items:
        count += 1
    yield count


@pytest.mark.parametrize("function", [counted, acounted])
async def test_r7_generator_function_is_given_the_whole_stream(function):
    def make():
        return Says(*"world") | FunctionStep(stream=function)

    assert await faces(make, "x", "stream") == [5]
    assert await faces(make, "x", "invoke") == 5


@pytest.mark.parametrize("fails_in", ["function", "upstream"])
async def test_error_in_a_generator_function_or_before_it_is_raised(fails_in):
    def broken(items):
        yield from items
        raise ValueError("mine")

    async def abroken(items):
        async for item in items:
            yield item
        raise ValueError("mine")

    source = Says("a", UpstreamError("theirs")) if fails_in == "upstream" else Says("a")
    for function in (broken, abroken):
        answer = await faces(lambda function=function: source | FunctionStep(stream=function), "x", "stream")
        assert answer[1] == ("theirs" if fails_in == "upstream" else "mine")


async def test_leaving_a_stream_early_ends_its_generator_function():
    ended = []

    def words(items):
        try:
            yield from items
        finally:
            ended.append("sync")

    async def awords(items):
        try:
            async for item in items:
                yield item
        finally:
            ended.append("async")

    def leave(function):
        stream = (Says("a", "b") | FunctionStep(stream=function)).stream("x")
        next(stream)
        stream.close()

    await asyncio.to_thread(leave, words)
    await asyncio.to_thread(leave, awords)
    stream = (Says("a", "b") | FunctionStep(stream=awords)).astream("x")
    await anext(stream)
    await stream.aclose()
    assert ended == ["sync", "async", "async"]


async def test_functions_may_be_async():
    async def double(value):
        await asyncio.sleep(0)
        return value * 2

    assert await faces(lambda: FunctionStep(double) | double, 2, "invoke") == 8


async def test_async_function_under_a_running_loop_says_which_verb_to_use():
    async def double(value):
        return value * 2

    async def doubles(items):
        yield 1

    with pytest.raises(UsageError, match="ainvoke"):
        FunctionStep(double).invoke(2)
    with pytest.raises(UsageError, match="astream"):
        list(FunctionStep(stream=doubles).stream(2))


async def test_sync_function_blocks_no_loop():
    names = []

    def slow(value):
        names.append(threading.current_thread().name)
        time.sleep(0.2)
        return value

    ticks = 0

    async def tick():
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    await FunctionStep(slow).ainvoke(1)
    ticking.cancel()
    assert ticks >= 5
    assert names[0] != threading.main_thread().name
    FunctionStep(slow).invoke(1)
    assert names[1] == threading.current_thread().name


def test_function_step_needs_a_function():
    with pytest.raises(UsageError):
        FunctionStep()
    assert repr(FunctionStep(counted)) == "counted"


async def test_r8_map_runs_its_steps_at_the_same_time():
    def make():
        return ParallelMap({"left": slowly(0.3, hello()), "right": slowly(0.2, bye())})

    begun = time.monotonic()
    answer = await make().ainvoke({"input": "world"})
    assert time.monotonic() - begun < 0.45
    assert answer == {"left": "Hello world!", "right": "Bye world!"}
    begun = time.monotonic()
    assert await asyncio.to_thread(make().invoke, {"input": "world"}) == answer
    assert time.monotonic() - begun < 0.45
    assert list(answer) == ["left", "right"]


def slowly(seconds, step):
    def wait(value):
        time.sleep(seconds)
        return value

    return FunctionStep(wait) | step


async def test_r9_map_streams_maps_of_one_key():
    chain = ParallelMap({"left": hello(), "right": bye()})
    items = [item async for item in chain.astream({"input": "world"})]
    assert len(items) == 22
    for key, text in (("left", "Hello world!"), ("right", "Bye world!")):
        assert "".join(item[key] for item in items if key in item) == text
    assert chain.reduce(items) == {"left": "Hello world!", "right": "Bye world!"}
    assert len(await asyncio.to_thread(list, chain.stream({"input": "world"}))) == 22


async def test_error_in_one_step_of_a_map_ends_the_others():
    ended = threading.Event()

    async def waits(items):
        try:
            await asyncio.sleep(20)
            yield 1
        finally:
            ended.set()

    def make():
        return ParallelMap({"a": Says(UpstreamError("no")), "b": FunctionStep(stream=waits)})

    with pytest.raises(UpstreamError):
        await make().ainvoke("x")
    assert ended.is_set()


def test_map_needs_steps():
    with pytest.raises(UsageError):
        ParallelMap({})
    with pytest.raises(UsageError):
        ParallelMap({"a": 3})
    assert repr(ParallelMap({"a": len})) == "ParallelMap(a)"


async def test_r10_passthrough_map_from_input_and_item_from_map():
    def make():
        return {"in": Passthrough(), "out": MapFromInput() | hello()} | Passthrough()

    assert await faces(make, "world", "invoke") == {"in": "world", "out": "Hello world!"}
    assert await faces(lambda: MapFromInput("a") | ItemFromMap("a"), "x", "invoke") == "x"
    assert await faces(lambda: make() | ItemFromMap("out"), "world", "invoke") == "Hello world!"
    streamed = await faces(lambda: Says({"a": "1"}, {"b": "2"}, {"a": "3"}) | ItemFromMap("a"), "x", "stream")
    assert streamed == ["1", "3"]
    for verb in ("invoke", "stream"):
        assert (await faces(lambda: ItemFromMap("a"), {"b": 1}, verb))[0] is InputError
    assert repr(ItemFromMap("a")) == "ItemFromMap('a')"


async def test_p7_prompt_waits_for_a_stream_of_maps_and_adds_them_up():
    spell = ChatPromptTemplate.from_template("Spell the following text {input}")
    items = await faces(lambda: Says(*({"input": c} for c in "Hello World")) | spell, "x", "stream")
    assert [str(item) for item in items] == ["Human: Spell the following text Hello World"]


async def test_r11_router_chooses_a_step():
    def make():
        return Router(
            lambda number: (
                FunctionStep(lambda x: x * 2)
                if 0 < number < 10
                else FunctionStep(lambda x: x * 10)
                if number
                else -1
            )
        )

    assert await faces(make, [1, 10, 0], "batch") == [2, 100, -1]
    assert await faces(make, 1, "invoke") == 2
    assert await faces(
        lambda: Says("a", "b") | Router(lambda text: FunctionStep(str.upper)), "x", "stream"
    ) == ["AB"]
    assert repr(Router(echo)) == "Router(echo)"


async def test_r12_branch_takes_the_first_case_that_holds():
    async def is_question(value):
        return "?" in value

    def make():
        return Branch(
            (is_question, lambda _: "answer"), (str.isupper, Says("l", "oud")), default=Passthrough()
        )

    assert await faces(make, "Why?", "invoke") == "answer"
    assert await faces(make, "WHY", "invoke") == "loud"
    assert await faces(make, "WHY", "stream") == ["l", "oud"]
    assert await faces(make, "well", "invoke") == "well"
    assert repr(make()) == "Branch(is_question, isupper)"


async def test_r5_batch_keeps_the_order_of_its_inputs():
    def make():
        return FunctionStep(lambda seconds: time.sleep(seconds) or seconds)

    inputs = [0.2, 0.0, 0.1, 0.0]
    assert await faces(make, inputs, "batch") == inputs
    assert await faces(make, inputs, "batch", max_concurrency=1) == inputs
    assert await faces(make, [], "batch") == []


async def test_r5_batch_starts_the_next_input_whenever_one_has_ended():
    running = most = 0
    started = []

    async def work(seconds):
        nonlocal running, most
        running += 1
        most = max(most, running)
        started.append(seconds)
        await asyncio.sleep(seconds)
        running -= 1
        return seconds

    begun = time.monotonic()
    await FunctionStep(work).abatch([0.4, 0.1, 0.1, 0.1, 0.1], max_concurrency=2)
    # in chunks of two it would take 0.6
    assert time.monotonic() - begun < 0.55
    assert most == 2


async def test_r5_batch_takes_options_for_all_or_for_each():
    def model():
        return Says("x")

    for options, seen in (
        ((), [{}, {}]),
        ({"a": 1}, [{"a": 1}, {"a": 1}]),
        ([{"a": 1}], [{"a": 1}, {"a": 1}]),
        ([{"a": 1}, {"b": 2}], [{"a": 1}, {"b": 2}]),
    ):
        step = model()
        assert await step.abatch(["p", "q"], options) == ["x", "x"]
        assert [call.options for call in step.calls] == seen
    with pytest.raises(UsageError, match="2 inputs and 3 options"):
        model().batch(["p", "q"], [{}, {}, {}])
    with pytest.raises(UsageError):
        model().batch(["p"], max_concurrency=0)


def picky(value):
    if value < 0:
        raise ValueError(f"{value} is below zero")
    return value


async def test_r5_first_error_of_a_batch_is_raised_or_stands_in_its_place():
    assert await faces(lambda: FunctionStep(picky), [1, -1, 2], "batch") == (ValueError, "-1 is below zero")
    for results in (
        FunctionStep(picky).batch([1, -1, 2], return_errors=True),
        await FunctionStep(picky).abatch([1, -1, 2], return_errors=True),
    ):
        assert (results[0], results[2]) == (1, 2)
        assert isinstance(results[1], ValueError)


async def test_r17_r18_the_value_of_a_call_wins_over_a_bound_one():
    step = Says("x")
    bound = step.bind(model="b", temperature=1).bind(metadata="baz")
    assert await bound.ainvoke("q", temperature=2) == "x"
    assert [item async for item in bound.astream("q", seed=1)] == ["x"]
    assert step.calls[0].options == {"model": "b", "temperature": 2, "metadata": "baz"}
    assert step.calls[1].options == {"model": "b", "temperature": 1, "metadata": "baz", "seed": 1}
    assert repr(Passthrough().bind(a=1)) == "Passthrough().bind(a)"


async def test_r19_items_add_up_by_what_they_are():
    for items, expected in (
        (("a", "b"), "ab"),
        (({"a": "1"}, {"a": "2", "b": "x"}), {"a": "12", "b": "x"}),
        ((["a"], ["b"]), ["ab"]),
        (([], []), []),
        ((1, 2), 2),
        ((None,), None),
    ):
        assert await faces(lambda items=items: Says(*items) | Passthrough(), "x", "invoke") == expected
    reply = await faces(lambda: Says(TextDelta("a"), FINISHED) | Passthrough(), "x", "invoke")
    assert reply.message == AIMessage("a")
    assert (await faces(lambda: Says(), "x", "invoke"))[0] is UsageError


async def test_leaving_a_map_early_ends_its_steps():
    ended = []

    async def endless(items):
        try:
            while True:
                yield 1
                await asyncio.sleep(0)
        finally:
            ended.append(True)

    stream = ParallelMap({"a": FunctionStep(stream=endless), "b": FunctionStep(stream=endless)}).astream("x")
    await anext(stream)
    await stream.aclose()
    assert ended == [True, True]


def test_leaving_a_map_early_in_a_thread_ends_its_threads():
    def endless(items):
        while True:
            yield 1
            time.sleep(0.001)

    stream = ParallelMap({"a": FunctionStep(stream=endless), "b": FunctionStep(stream=endless)}).stream("x")
    next(stream)
    stream.close()
    for _ in range(100):
        if not [t for t in threading.enumerate() if t.name == "openrouter branch"]:
            break
        time.sleep(0.05)
    else:
        raise AssertionError("a thread goes on")


async def test_many_more_items_than_wait_are_all_handed_out():
    def make():
        return ParallelMap({"a": Says(*range(1000)), "b": Says(*range(1000))})

    items = await asyncio.to_thread(list, make().stream("x"))
    assert [item["a"] for item in items if "a" in item] == list(range(1000))
    items = [item async for item in make().astream("x")]
    assert [item["b"] for item in items if "b" in item] == list(range(1000))


async def test_function_that_raises_stop_iteration_does_not_end_the_chain_silently():
    def stops(value):
        raise StopIteration

    assert (await outcome(FunctionStep(stops).ainvoke(1)))[0] is RuntimeError


async def test_one_chain_serves_many_at_once():
    chain = {"a": hello(), "b": InTurn(["x"]) | StringOutputParser()} | Passthrough()
    answers = await asyncio.gather(*(chain.ainvoke({"input": str(n)}) for n in range(20)))
    assert [answer["a"] for answer in answers] == [f"Hello {n}!" for n in range(20)]


async def test_reset_passes_the_steps_that_are_no_parsers():
    broken = Says("lost", Reset("b"), "kept")
    assert await faces(lambda: broken | str.upper, "x", "stream") == ["LOST", Reset("b"), "KEPT"]
    mapped = await faces(lambda: broken | MapFromInput("a") | ItemFromMap("a"), "x", "stream")
    assert mapped == ["lost", Reset("b"), "kept"]
    items = [{"a": "lost"}, Reset(), {"a": "kept"}]
    assert ParallelMap({"a": StringOutputParser()}).reduce(items) == {"a": "kept"}
    assert await faces(lambda: broken | StringOutputParser() | len, "x", "invoke") == 4


@pytest.mark.parametrize("verb", ["invoke", "stream"])
async def test_generator_function_in_a_pipe_is_given_all_items(verb):
    for function in (counted, acounted):
        answer = await faces(lambda function=function: Says(*"world") | function, "x", verb)
        assert answer == (5 if verb == "invoke" else [5])


def test_mistakes_in_a_chain_are_said_where_they_are_made():
    for make, why in (
        (lambda: Says("x") | StringOutputParser, r"write StringOutputParser\(...\)"),
        (lambda: FunctionStep(3), "A function is needed here"),
        (lambda: Router(3), "A function is needed here"),
        (lambda: Branch(len, default=len), "pairs of a condition and a step"),
        (lambda: Says("x").batch(["a"], max_concurrency=None), "a number from 1 on"),
    ):
        with pytest.raises(UsageError, match=why):
            make()


def test_batch_takes_any_iterable_and_no_options():
    assert Says("x").batch((letter for letter in "ab"), None) == ["x", "x"]


def test_map_with_keys_that_are_no_text_says_what_it_is():
    assert repr(ParallelMap({1: len})) == "ParallelMap(1)"
