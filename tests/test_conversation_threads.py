"""The tree of a conversation: the path that is shown, versions of a message, where a branch ends."""

from __future__ import annotations

import time
from uuid import uuid4

import pytest
from django.utils import timezone

from openrouter_app.conversations.threads import entries, said, tree_of
from openrouter_app.models import Message, Run
from openrouter_app.pages.conversations import conversation_data

from .talking import make_chat, make_conversation, reply, say, visitor

pytestmark = pytest.mark.django_db


def texts(data):
    return [
        message["text"] if message["role"] == "user" else message["state"]["parts"][-1]["text"]
        for message in data["messages"]
    ]


def test_path_goes_from_the_first_message_to_the_head():
    made = make_conversation(visitor(), "one", "two")
    data = conversation_data(made)
    assert texts(data) == ["one", "re: one", "two", "re: two"]
    assert data["head"] == data["messages"][-1]["message"]
    assert [message["parent"] for message in data["messages"]] == [
        None,
        *(message["message"] for message in data["messages"][:-1]),
    ]
    assert [len(message["siblings"]) for message in data["messages"]] == [1, 1, 1, 1]
    assert data["messages"][0]["input"] == {"message": "one"}
    assert data["run"] is None


def test_versions_of_a_message_are_named_oldest_first_and_lead_to_their_newest_ends():
    made = make_conversation(visitor(), "one")
    first = made.head
    second = reply(made, first.parent, "again")
    end_of_second = say(made, "on", parent=second)
    edited = say(made, "uno", parent=None)

    data = conversation_data(made)
    assert texts(data) == ["uno", "re: uno"]
    questions = data["messages"][0]["siblings"]
    assert questions == [str(first.parent.uuid), str(edited.parent.uuid)]

    through_question = conversation_data(made, first.parent.uuid)
    assert texts(through_question) == ["one", "again", "on", "re: on"]
    assert through_question["messages"][1]["siblings"] == [str(first.uuid), str(second.uuid)]
    assert through_question["messages"][-1]["message"] == str(end_of_second.uuid)
    assert through_question["head"] == data["head"]  # looking moves nothing

    assert texts(conversation_data(made, first.uuid)) == ["one", "re: one"]
    assert conversation_data(made, uuid4()) is None


def test_newest_end_is_the_one_made_last_however_deep():
    made = make_conversation(visitor(), "one")
    first = made.head
    deep = say(made, "a", parent=first)
    say(made, "b", parent=first)
    newest = say(made, "a2", parent=deep)
    tree = tree_of(made)
    assert tree.newest_leaf(tree.find(first.uuid)).uuid == newest.uuid


def test_conversation_without_a_head_ends_with_its_newest_message():
    made = make_conversation(visitor(), "one", "two")
    made.head = None
    made.save()
    assert texts(conversation_data(made)) == ["one", "re: one", "two", "re: two"]


def test_empty_conversation_has_no_path():
    data = conversation_data(make_conversation(visitor()))
    assert (data["messages"], data["head"], data["run"]) == ([], None, None)


def test_what_is_said_is_the_variable_of_the_message_or_all_there_is():
    assert said({"style": "terse", "message": "hi"}, "message") == "hi"
    assert said({"text": "hi"}, "message") == "hi"
    assert said({"a": "x", "b": "y"}, "gone") == "x\n\ny"
    assert said(None, "message") == ""


def test_unfinished_answer_is_named_and_shows_what_its_log_has():
    from openrouter_app.runs.events import Started, StepStarted, Text

    from .factories import make_log

    made = make_conversation(visitor(), "one")
    say(made, "two", status="running", lease_until=timezone.now() + timezone.timedelta(seconds=60))
    run = Run.objects.get(conversation=made, status="running")
    make_log(run, [Started("chat", 1), StepStarted(0, None, "a/b"), Text(1, "One.\n\nhalf")])
    data = conversation_data(made)
    assert data["run"] == str(run.uuid)
    state = data["messages"][-1]["state"]
    part = state["parts"][-1]
    assert (state["status"], part["text"], len(part["blocks"]), part["rest"]) == (
        "running",
        "One.\n\nhalf",
        1,
        "half",
    )


@pytest.mark.parametrize("turns", [2, 12])
def test_number_of_queries_is_fixed(django_assert_num_queries, turns):
    made = make_conversation(visitor(), *(f"turn {number}" for number in range(turns)))
    made.refresh_from_db()
    assert made.chain
    with django_assert_num_queries(4):  # the tree, the path with its runs, their versions, what is unfinished
        data = conversation_data(made)
    assert len(data["messages"]) == 2 * turns


def test_two_thousand_messages_are_fast(django_assert_max_num_queries):
    made = make_conversation(visitor(), chain=make_chat())
    version = made.chain.published
    above, count = None, 1_000
    for number in range(count):
        question = Message(
            conversation=made, parent_id=above, role="user", input={"message": f"question {number}"}
        )
        question.save(force_insert=True)
        answer = Message(conversation=made, parent=question, role="assistant")
        answer.save(force_insert=True)
        above = answer.pk
    Run.objects.bulk_create(
        Run(
            visitor=made.visitor,
            chain=made.chain,
            version=version,
            conversation=made,
            message=message,
            status="done",
            ended=timezone.now(),
            parts=[{"type": "step"}, {"type": "text", "text": "a sentence or two " * 20}],
        )
        for message in made.messages.filter(role="assistant")
    )
    begun = time.perf_counter()
    with django_assert_max_num_queries(8):
        data = conversation_data(made)
    assert len(data["messages"]) == 2 * count
    assert time.perf_counter() - begun < 3
    begun = time.perf_counter()
    tree = tree_of(made)
    for place in [*tree][:: count // 10]:
        tree.newest_leaf(place)
    assert time.perf_counter() - begun < 1
    assert [entry.text for entry in entries(made, tree, [*tree][:1])] == ["question 0"]


def test_texts_come_with_the_blocks_that_a_socket_would_send():
    made = make_conversation(visitor())
    say(made, "hi", "A **word**.\n\nAnother.")
    part = conversation_data(made)["messages"][-1]["state"]["parts"][-1]
    assert len(part["blocks"]) == 2
    assert "<strong>word</strong>" in part["blocks"][0]
    assert part["rest"] == ""
    plain = conversation_data(made, html=False)["messages"][-1]["state"]["parts"][-1]
    assert plain == {"type": "text", "text": "A **word**.\n\nAnother."}
