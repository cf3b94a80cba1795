"""A loop's state: what decides on it, what leads to the next one, what it is stored as; and limits."""

from __future__ import annotations

from decimal import Decimal

import pytest

from openrouter_app.engine.errors import InputError, UsageError
from openrouter_app.engine.loops import (
    Limits,
    LoopState,
    StepFinished,
    ToolFinished,
    ToolRunning,
    settled,
    unanswered,
)
from openrouter_app.engine.messages import AIMessage, HumanMessage, TextDelta, ToolCall, ToolMessage, Usage

A, B = ToolCall("a", "f", {}), ToolCall("b", "f", {})
ASKED = HumanMessage("x")


def limits(**given):
    return Limits.of(**{"max_steps": 10, "max_calls": 50, "max_cost": None, "deadline": None, **given})


# Decisions


def test_only_calls_that_wait_can_be_decided_on():
    state = LoopState(messages=(ASKED,), reason="approval", pending=(A, B))
    assert set(state.approve().decisions) == {"a", "b"}
    assert state.approve("a").deny("b", reason="no").decisions["b"].reason == "no"
    with pytest.raises(InputError, match="No call 'c' waits"):
        state.approve("c")


@pytest.mark.parametrize("reason", ["finished", "steps", "calls", "cost", "deadline", "error", "running"])
@pytest.mark.parametrize("ids", [(), ("a",)])
def test_calls_nobody_was_asked_about_cannot_be_decided_on(reason, ids):
    state = LoopState(messages=(ASKED,), reason=reason, pending=(A,))
    for decide in (state.approve, state.deny):
        with pytest.raises(InputError, match=f"ended with '{reason}'.* Give it back to the loop"):
            decide(*ids)


# Going on


def test_items_lead_from_one_state_to_the_next():
    state = LoopState(messages=(ASKED,))
    step = StepFinished(AIMessage("", (A, B)), Usage(1, 2, Decimal("0.1")))
    asked = state.after(step)
    assert (asked.messages, asked.reason, asked.steps) == ((ASKED, step.message), "running", 1)
    assert asked.usage == Usage(1, 2, Decimal("0.1"))
    assert unanswered(asked.messages) == (A, B)
    done = asked.after(ToolFinished("b", "f", "no", True))
    assert done.messages[2:] == (ToolMessage("no", "b", True),)
    assert (done.calls, done.errors) == (1, 1)
    last = done.after(ToolFinished("a", "f", "yes")).after(StepFinished(AIMessage("done")))
    assert (last.text, last.steps, last.calls, last.errors, last.usage) == ("done", 2, 2, 1, asked.usage)
    for other in (TextDelta("x"), ToolRunning("a", "f"), None):
        assert asked.after(other) is asked
    assert asked.after(last) is last


def test_result_counts_once():
    asked = LoopState(messages=(ASKED,)).after(StepFinished(AIMessage("", (A,))))
    done = asked.after(ToolFinished("a", "f", "yes"))
    assert done.after(ToolFinished("a", "f", "yes")) is done
    assert asked.after(ToolFinished("z", "f", "yes")) is asked


def test_call_that_must_not_run_is_in_no_state_without_its_result():
    refused = ToolFinished("a", "f", "The arguments were cut off.", True)
    asked = LoopState(messages=(ASKED,)).after(StepFinished(AIMessage("", (A,)), None, (refused,)))
    assert asked.messages[2:] == (ToolMessage("The arguments were cut off.", "a", True),)
    assert (asked.calls, asked.errors) == (1, 1)
    assert asked.after(refused) is asked


def test_decision_goes_with_its_calls_result():
    state = LoopState(messages=(ASKED, AIMessage("", (A, B))), reason="approval", pending=(A, B)).approve()
    assert set(state.after(ToolFinished("a", "f", "yes")).decisions) == {"b"}


def test_calls_that_were_left_behind_get_a_result():
    whole = (ASKED, AIMessage("", (A, B)), ToolMessage("yes", "a"))
    assert settled(whole) == whole
    assert settled(()) == ()
    assert settled([*whole, HumanMessage("never mind"), AIMessage("", (ToolCall("a", "f", {}),))]) == (
        *whole,
        ToolMessage("This call was not run.", "b", True),
        HumanMessage("never mind"),
        AIMessage("", (ToolCall("a", "f", {}),)),
    )


# Stored


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "[]",
        b"\xff",
        '{"messages": [], "reason": "nope"}',
        '{"messages": [], "usage": {"cost": "NaN"}}',
        '{"messages": [], "usage": {"upstream_cost": "Infinity"}}',
    ],
)
def test_what_is_no_state_is_refused(text):
    with pytest.raises(InputError, match="This is no stored tool loop"):
        LoopState.load(text)


def test_stored_state_is_the_same():
    state = LoopState(
        messages=(ASKED, AIMessage("", (A,), reasoning_details=()), ToolMessage("yes", "a")),
        reason="running",
        usage=Usage(1, 2, Decimal("0.10")),
    )
    assert LoopState.load(state.dump()) == state


# Limits


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"max_steps": None}, "max_steps is a whole number, 0 or more, not None."),
        ({"max_steps": "3"}, "max_steps is a whole number, 0 or more, not '3'."),
        ({"max_steps": True}, "max_steps"),
        ({"max_calls": -1}, "max_calls is a whole number, 0 or more, not -1."),
        ({"max_calls": 1.5}, "max_calls"),
        ({"max_cost": "much"}, "max_cost is a number of US dollars, 0 or more, or None, not 'much'."),
        ({"max_cost": float("nan")}, "max_cost"),
        ({"max_cost": Decimal("-1")}, "max_cost"),
        ({"deadline": "60"}, "deadline is a number of seconds, 0 or more, or None, not '60'."),
        ({"deadline": float("nan")}, "deadline"),
        ({"deadline": -1}, "deadline"),
    ],
)
def test_limit_that_is_none_is_refused(given, said):
    with pytest.raises(UsageError) as raised:
        limits(**given)
    assert said in str(raised.value)


@pytest.mark.parametrize("cost", [Decimal("0.2"), 0.2, "0.2"])
def test_cost_is_what_was_written(cost):
    assert limits(max_cost=cost).cost == Decimal("0.2")
    assert limits(max_cost=cost).are_spent(Usage(cost=Decimal("0.1") + Decimal("0.1")))
    assert not limits(max_cost=cost).are_spent(Usage(cost=Decimal("0.19")))


def test_users_own_provider_account_is_money_too():
    spent = Usage(cost=Decimal(0), upstream_cost=Decimal(5), is_byok=True)
    assert limits(max_cost=1).are_spent(spent)
    assert not limits().are_spent(spent)
    # without a key of the user's own it is what OpenRouter paid
    assert not limits(max_cost=1).are_spent(Usage(cost=Decimal("0.5"), upstream_cost=Decimal("0.5")))
    assert not limits(max_cost=1).are_spent(Usage())
