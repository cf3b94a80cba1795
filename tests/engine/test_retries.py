"""Beginning again, on both faces: conformance R13 to R16, and what a stream has shown already."""

from __future__ import annotations

import time

import pytest

from openrouter_app.engine.chains import (
    ChatOpenRouter,
    ChatPromptTemplate,
    FunctionStep,
    StringOutputParser,
)
from openrouter_app.engine.chains.retries import Fallbacks, Retry
from openrouter_app.engine.chains.steps import Call, Upstream
from openrouter_app.engine.errors import CreditError, InputError, RateLimitError, UpstreamError, UsageError
from openrouter_app.engine.flows import Sleep
from openrouter_app.engine.messages import Reset, TextDelta

from .scripted import FINISHED, InTurn, Says, faces

DOWN = UpstreamError("down")
AGAIN = {"delays": [0.01], "jitter": False}


def pauses(step, streaming=True):
    """The pauses a retry asks its driver for, and the error it ends in."""
    flow = step.flow(Upstream.of("x"), Call(streaming, {}))
    asked = []
    try:
        while True:
            if isinstance(out := flow.send(None), Sleep):
                asked.append(out.seconds)
    except StopIteration:
        return asked, None
    except Exception as error:
        return asked, error


@pytest.mark.parametrize("verb", ["invoke", "stream"])
async def test_r13_step_that_fails_is_begun_again(verb):
    answer = await faces(lambda: InTurn([DOWN], [DOWN], ["ok"]).with_retry(**AGAIN), "x", verb)
    assert answer == ("ok" if verb == "invoke" else ["ok"])


async def test_r13_last_error_is_raised_as_it_is():
    last = UpstreamError("last")
    assert pauses(InTurn([DOWN], [DOWN], [last]).with_retry(**AGAIN))[1] is last


async def test_r13_pauses_double_and_may_be_given():
    assert pauses(Says(DOWN).with_retry(4, jitter=False))[0] == [1, 2, 4]
    assert pauses(Says(DOWN).with_retry(4, delays=[5, 6], jitter=False))[0] == [5, 6, 6]
    long = pauses(Says(DOWN).with_retry(9, jitter=False))[0]
    assert long[-1] == 60
    for _ in range(20):
        (first, second), _ = pauses(Says(DOWN).with_retry(3))
        assert 1 <= first < 1.1
        assert 2 <= second < 2.1


def test_pause_is_as_long_as_the_provider_asks_for():
    error = RateLimitError("slow down", retry_after=9)
    assert pauses(Says(error).with_retry(2, jitter=False))[0] == [9]


async def test_r13_what_no_attempt_can_help_is_raised_at_once():
    for error in (CreditError("no credit"), InputError("missing"), UsageError("wrong")):
        step = Says(error)
        assert pauses(step.with_retry(**AGAIN)) == ([], error)
        assert len(step.inputs) == 1
    step = Says(ValueError("any other may pass"))
    assert len(pauses(step.with_retry(**AGAIN))[0]) == 2
    step = Says(DOWN)
    assert pauses(step.with_retry(retry_if=lambda error: error is not DOWN, **AGAIN)) == ([], DOWN)


async def test_r14_retry_keeps_streaming():
    begun = []

    async def slow(items):
        for text in ("a", "b", "c"):
            begun.append(text)
            yield text

    stream = FunctionStep(stream=slow).with_retry().astream("x")
    assert await anext(stream) == "a"
    assert begun == ["a"]
    await stream.aclose()


async def test_stream_that_has_begun_is_not_begun_again():
    def make():
        return InTurn(["Ber", DOWN], ["Paris"])

    def items(step):
        seen = []
        try:
            for item in step.stream("x"):
                seen.append(item)
        except UpstreamError:
            seen.append("error")
        return seen

    assert items(make().with_retry(**AGAIN)) == ["Ber", "error"]
    assert items(make().with_fallbacks(Says("Rome"))) == ["Ber", "error"]


async def test_stream_that_has_begun_is_begun_again_after_a_reset_where_that_is_allowed():
    again = await faces(
        lambda: InTurn(["Ber", DOWN], ["Paris"]).with_retry(reset=True, **AGAIN), "x", "stream"
    )
    assert again == ["Ber", Reset(), "Paris"]
    other = Says("Paris")
    other.model = "b"
    assert await faces(lambda: Says("Ber", DOWN).with_fallbacks(other, reset=True), "x", "stream") == [
        "Ber",
        Reset("b"),
        "Paris",
    ]


async def test_one_answer_can_always_be_begun_again():
    assert await faces(lambda: InTurn(["Ber", DOWN], ["Paris"]).with_retry(**AGAIN), "x", "invoke") == "Paris"
    assert await faces(lambda: Says("Ber", DOWN).with_fallbacks(Says("Paris")), "x", "invoke") == "Paris"


@pytest.mark.parametrize("verb", ["invoke", "stream"])
async def test_r15_first_step_that_works_answers(verb):
    answer = await faces(lambda: Says(DOWN).with_fallbacks(Says(DOWN), Says("ok")), "x", verb)
    assert answer == ("ok" if verb == "invoke" else ["ok"])
    second = Says("second")
    assert await faces(lambda: Says("first").with_fallbacks(second), "x", "invoke") == "first"
    assert second.inputs == []


async def test_r15_all_failed_says_the_first_error():
    assert await faces(lambda: Says(CreditError("No credit.")).with_fallbacks(Says(DOWN)), "x", "invoke") == (
        CreditError,
        "All 2 steps failed. First error: No credit.",
    )
    broken = await faces(lambda: Says(ValueError("no")).with_fallbacks(Says(DOWN)), "x", "invoke")
    assert broken == (ValueError, "no")
    assert (await faces(lambda: Fallbacks([Says(DOWN)]), "x", "invoke"))[1] == "down"


async def test_fallback_only_for_the_errors_it_is_for():
    def make():
        return Says(CreditError("no credit")).with_fallbacks(
            Says("ok"), fallback_if=lambda error: not isinstance(error, CreditError)
        )

    assert (await faces(make, "x", "invoke"))[0] is CreditError


async def test_r16_streamed_fallback_says_nothing_of_the_first():
    def make():
        return (Says(DOWN) | StringOutputParser()).with_fallbacks(
            Says(TextDelta("fall"), TextDelta("back"), FINISHED) | StringOutputParser()
        )

    assert await faces(make, "x", "stream") == ["fall", "back"]
    assert await faces(make, "x", "invoke") == "fallback"


async def test_each_attempt_gets_the_same_input():
    step = InTurn([DOWN], ["ok"])
    begun = time.monotonic()
    assert (Says("a", "b") | step.with_retry(**AGAIN)).invoke("x") == "ok"
    assert time.monotonic() - begun < 1
    assert [turn.inputs for turn in step.turns] == [["ab"], ["ab"]]


def test_steps_say_what_they_are():
    assert repr(FunctionStep(len).with_retry(2)) == "len.with_retry(2)"
    assert repr(FunctionStep(len).with_fallbacks(max)) == "len.with_fallbacks(max)"
    for make in (lambda: Retry(Says(), 0), lambda: Fallbacks([]), lambda: Fallbacks([3])):
        with pytest.raises(UsageError):
            make()


async def test_a_wait_of_more_than_a_minute_is_not_waited_for():
    far = RateLimitError("come back tomorrow", retry_after=3600)
    assert pauses(Says(far).with_retry(3)) == ([], far)
    assert pauses(Says(DOWN).with_retry(2, delays=[90], jitter=False))[0] == [90]  # that was asked for here


class OfMyOwn(UpstreamError):
    def __init__(self, message, *, table):
        super().__init__(message)
        self.table = table


async def test_when_all_fail_the_first_error_keeps_its_kind_and_says_of_the_others():
    first, second = OfMyOwn("down", table=7), ValueError("broken")
    try:
        Says(first).with_fallbacks(Says(second)).invoke("x")
    except OfMyOwn as error:
        assert (str(error), error.table) == ("All 2 steps failed. First error: down", 7)
        assert error.__cause__ is first
        assert error.__notes__ == ["Step 2 failed, too: ValueError('broken')"]
    try:
        Says(second).with_fallbacks(Says(first)).invoke("x")
    except ValueError as error:
        assert error is second
        assert error.__notes__ == ["Step 2 failed, too: OfMyOwn('down')"]


async def test_reset_names_the_model_that_begins_now():
    def asking(model):
        return ChatPromptTemplate.from_template("{x}") | ChatOpenRouter(model=model) | StringOutputParser()

    def resets(second):
        flow = (
            Says("a", DOWN).with_fallbacks(second, reset=True).flow(Upstream.of({"x": "x"}), Call(True, {}))
        )
        return next(item for item in flow if isinstance(item, Reset))

    assert resets(asking("a/b")) == Reset("a/b")
    assert resets(asking("a/b").bind(model="c/d")) == Reset("c/d")
    assert resets(Says("x")) == Reset("")
