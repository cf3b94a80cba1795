"""The simulation in a chat with the demo's tools: whom it calls, and what it makes of the answers."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openrouter_app.testing import Reasoning, ToolCallScript, simulated_reply

TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}
    for name in ("find_orders", "change_delivery_date")
]
ORDER = {
    "number": 1003,
    "customer": "Ada",
    "item": "A | B",
    "status": "packed",
    "delivery_date": "2026-11-29",
}


def answer(human, *rounds, earlier=(), tools=TOOLS, **more):
    """The reply to a conversation; each round is a list of (name, arguments, the tool's answer)."""
    messages = [{"role": "system", "content": "Be brief."}]
    for said, answered in earlier:
        messages += [{"role": "user", "content": said}, {"role": "assistant", "content": answered}]
    messages.append({"role": "user", "content": human})
    for number, calls in enumerate(rounds):
        ids = [f"c{number}{at}" for at in range(len(calls))]
        messages.append(
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": id, "type": "function", "function": {"name": name, "arguments": json.dumps(given)}}
                    for id, (name, given, _) in zip(ids, calls, strict=True)
                ],
            }
        )
        for id, (_, _, said) in zip(ids, calls, strict=True):
            text = said if isinstance(said, str) else json.dumps(said)
            messages.append({"role": "tool", "tool_call_id": id, "content": text})
    return simulated_reply({"model": "a/b", "messages": messages, "tools": tools, **more})


def text(reply):
    return "".join(piece for piece in reply.pieces if isinstance(piece, str))


def calls(reply):
    return [(p.name, p.arguments) for p in reply.pieces if isinstance(p, ToolCallScript)]


def found(*orders):
    return {"today": "2026-11-25", "orders": list(orders), "more": False}


@pytest.mark.parametrize(
    ("human", "given"),
    [
        ("Show me the orders of Ada", [{"customer": "Ada"}]),
        ("orders of Ada and Grace", [{"customer": "Ada"}, {"customer": "Grace"}]),
        (
            "Orders for Ada Lovelace, Grace Hopper",
            [{"customer": "Ada Lovelace"}, {"customer": "Grace Hopper"}],
        ),
        ("Where are Ada's parcels?", [{"customer": "Ada"}]),
        ("Where is order 1002?", [{"number": 1002}]),
        ("Compare orders 1002 and 1003", [{"number": 1002}, {"number": 1003}]),
        ("Which orders of Ada are on their way?", [{"customer": "Ada", "status": "sent"}]),
        ("List all orders", [{}]),
    ],
)
def test_orders_that_are_asked_about_are_looked_up(human, given):
    reply = answer(human)
    assert calls(reply) == [("find_orders", arguments) for arguments in given]
    assert text(reply)


def test_arguments_come_in_several_fragments():
    (call,) = [p for p in answer("Orders of Ada on their way").pieces if isinstance(p, ToolCallScript)]
    assert len(call.fragments) > 2
    assert json.loads("".join(call.fragments)) == {"customer": "Ada", "status": "sent"}


def test_what_was_found_stands_in_a_table():
    reply = answer("Orders of Ada", [("find_orders", {"customer": "Ada"}, found(ORDER))])
    assert calls(reply) == []
    assert "**1 order**" in text(reply)
    assert "| 1003 | Ada | A \\| B | packed | 2026-11-29 |" in text(reply)
    assert "move 1003" in text(reply)


def test_each_of_two_calls_counts_and_an_order_stands_there_once():
    reply = answer(
        "Orders of Ada and Bob",
        [
            ("find_orders", {"customer": "Ada"}, found(ORDER)),
            ("find_orders", {"customer": "Bob"}, found()),
            ("find_orders", {"number": 1003}, found(ORDER)),
            ("find_orders", {"customer": "Eve"}, "The tool failed."),
        ],
    )
    assert text(reply).count("| 1003 |") == 1
    assert "nothing for *Bob*" in text(reply)
    assert "The tool failed." in text(reply)


def test_move_to_a_day_is_called_at_once():
    assert calls(answer("Move order 1003 to 2026-12-24, please")) == [
        ("change_delivery_date", {"number": 1003, "new_date": "2026-12-24"})
    ]


@pytest.mark.parametrize(
    ("human", "day"),
    [
        ("Move order 1003 one week later", "2026-12-06"),
        ("Can you postpone 1003 by 3 days?", "2026-12-02"),
        ("Deliver order 1003 a day earlier", "2026-11-28"),
    ],
)
def test_move_by_days_looks_first(human, day):
    assert calls(answer(human)) == [("find_orders", {"number": 1003})]
    then = answer(human, [("find_orders", {"number": 1003}, found(ORDER))])
    assert calls(then) == [("change_delivery_date", {"number": 1003, "new_date": day})]


def test_order_that_is_gone_or_was_sent_is_not_moved():
    for orders in ([], [{**ORDER, "status": "sent"}]):
        reply = answer("Move order 1003 one week later", [("find_orders", {"number": 1003}, found(*orders))])
        assert calls(reply) == []
        assert "nothing for" in text(reply) or "has been sent already" in text(reply)


def test_it_is_the_order_last_spoken_of():
    reply = answer(
        "Move it to 2026-12-24", earlier=[("Where is 1002?", "x"), ("And 1003?", "It comes soon.")]
    )
    assert calls(reply) == [("change_delivery_date", {"number": 1003, "new_date": "2026-12-24"})]


def test_what_is_missing_is_asked_for():
    assert "Which order" in text(answer("Postpone my order"))
    assert "which day" in text(answer("Move order 1003"))
    assert "no tool" in text(answer("Cancel order 1003"))
    assert "no tool" in text(answer("Move order 1003", tools=TOOLS[:1]))


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            {"number": 1003, "customer": "Ada", "from": "2026-11-29", "to": "2026-12-24"},
            "now comes on **2026-12-24**",
        ),
        ("A person refused this call: Not before Christmas.", "You said: *Not before Christmas*."),
        ("A person refused this call.", "I leave order **1003** as it is."),
        ("Order 1003 has been sent already.", "did not work: Order 1003 has been sent already."),
    ],
)
def test_what_came_of_the_move_is_told(said, told):
    given = {"number": 1003, "new_date": "2026-12-24"}
    reply = answer("Move order 1003 to 2026-12-24", [("change_delivery_date", given, said)])
    assert told in text(reply)
    assert calls(reply) == []


def test_small_talk_is_markdown_of_every_kind():
    said = text(answer("What can you do with text?"))
    for mark in ("## ", "\n- ", "|---|", "```python\n", "](https://", "\n> "):
        assert mark in said, mark
    assert "No model was asked" in said
    assert "no model is asked" in text(answer("Hello!"))


def test_reasoning_comes_on_request_and_first():
    reply = answer("Think about a puzzle")
    thoughts = [piece for piece in reply.pieces if isinstance(piece, Reasoning)]
    assert len(thoughts) > 100
    assert reply.pieces[: len(thoughts)] == tuple(thoughts)
    assert "Seven crossings" in text(reply)


@pytest.mark.parametrize(("asked", "written"), [(12, 12), (500, 500), (99_999, 20_000)])
def test_long_answer_has_the_words_that_were_asked_for(asked, written):
    assert len(text(answer(f"Write {asked} words")).split()) == written


def test_other_tools_and_forced_or_forbidden_calls_are_not_the_shops():
    assert "simulated reply" in text(answer("Hello!", tools=TOOLS[1:]))
    assert calls(answer("Orders of Ada", tool_choice="none")) == []
    forced = {"type": "function", "function": {"name": "find_orders"}}
    assert [name for name, _ in calls(answer("Hello!", tool_choice=forced))] == ["find_orders"]


SOME = st.recursive(
    st.none() | st.integers() | st.text(max_size=20) | st.sampled_from(["orders", "tool", "find_orders"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["orders", "number", "delivery_date", "status", "role", "content", "tool_calls", "id"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(
    answered=SOME,
    given=SOME,
    human=st.sampled_from(["orders", "Move 1003 by 999 weeks", "Move it a day later"]),
)
def test_nothing_that_a_tool_answers_makes_it_raise(answered, given, human):
    for name in ("find_orders", "change_delivery_date"):
        arguments = given if isinstance(given, dict) else {}
        assert answer(human, [(name, arguments, json.dumps(answered))]).pieces is not None
    messages = [{"role": "user", "content": human}, {"role": "tool", "content": answered}, answered]
    simulated_reply({"messages": messages, "tools": TOOLS})
