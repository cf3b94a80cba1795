"""Runs in conversations: the tree of messages, its history, one answer at a time, and who watches."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async

from openrouter_app import runs
from openrouter_app.conversations.history import estimated_tokens, history_before, messages_of_parts, path_to
from openrouter_app.engine.messages import AIMessage, HumanMessage, ToolCall, ToolMessage
from openrouter_app.models import Conversation, Message, Owner, Run
from openrouter_app.models import ToolCall as ToolCallRow
from openrouter_app.runs import Refused, Start, watching
from openrouter_app.testing import Gate
from tests.factories import make_chain, make_user
from tests.followers import follow_to_end, until
from tests.talking import make_conversation, visitor

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("provider")]

make = sync_to_async


@pytest.fixture
def owner():
    return Owner.of_visitor(uuid4())


def make_chat(slug="chat", **fields):
    """A chain that takes the history."""
    rows = (("system", "Be short."), ("messages_placeholder", "history"), ("human", "{message}"))
    return make_chain(slug, *rows, **fields)


async def say(owner, text, conversation="new", chain="chat", **fields):
    """Say it, wait for the answer; its run's row."""
    run = await runs.start(
        Start(owner, chain, {"message": text} if text else {}, conversation=conversation, **fields)
    )
    await follow_to_end(owner, run)
    return await row_of(run)


async def row_of(run):
    return await Run.objects.select_related("conversation__head", "message__parent").aget(uuid=run)


def asked(provider):
    """The messages of the newest request, as (role, content)."""
    return [(message["role"], message["content"]) for message in provider.requests[-1].json["messages"]]


async def test_new_conversation_is_made_with_its_first_message(provider, owner):
    await make(make_chat)()
    provider.reply("Hi.")
    run = await say(owner, "Hello there")
    conversation = run.conversation
    assert conversation.owner == owner
    assert conversation.title == "Hello there"
    assert conversation.head == run.message
    assert (run.message.role, run.message.input) == ("assistant", None)
    question = run.message.parent
    assert (question.role, question.input, question.parent_id) == ("user", {"message": "Hello there"}, None)
    assert asked(provider) == [("system", "Be short."), ("user", "Hello there")]


async def test_state_says_where_the_answer_stands(provider, owner):
    await make(make_chat)()
    provider.reply("Hi.")
    run = await say(owner, "Hello")
    view = await follow_to_end(owner, run.uuid)
    place = {name: view.state[name] for name in ("conversation", "message", "parent")}
    assert place == {
        "conversation": str(run.conversation.uuid),
        "message": str(run.message.uuid),
        "parent": str(run.message.parent.uuid),
    }


async def test_next_message_stands_at_the_head_and_the_model_gets_the_history(provider, owner):
    await make(make_chat)()
    provider.reply("One.")
    first = await say(owner, "First")
    provider.reply("Two.")
    second = await say(owner, "Second", first.conversation.uuid)
    assert second.message.parent.parent_id == first.message_id
    assert asked(provider) == [
        ("system", "Be short."),
        ("user", "First"),
        ("assistant", "One."),
        ("user", "Second"),
    ]
    assert second.conversation.head == second.message
    assert await Conversation.objects.acount() == 1


async def test_edit_and_retry_make_siblings_and_overwrite_nothing(provider, owner):
    await make(make_chat)()
    provider.reply("One.")
    first = await say(owner, "First")
    conversation = first.conversation.uuid
    provider.reply("Again.")
    again = await say(owner, "", conversation, parent=first.message.parent.uuid)
    assert again.message.parent_id == first.message.parent_id
    assert again.input == {"message": "First"}
    assert asked(provider) == [("system", "Be short."), ("user", "First")]
    provider.reply("Two.")
    edited = await say(owner, "First, edited", conversation, parent=None)
    assert edited.message.parent.parent_id is None
    provider.reply("Three.")
    later = await say(owner, "Later", conversation, parent=first.message.uuid)
    assert asked(provider)[1:] == [("user", "First"), ("assistant", "One."), ("user", "Later")]
    assert later.conversation.head == later.message
    assert await Message.objects.acount() == 2 + 1 + 2 + 2
    assert [row.output async for row in Run.objects.order_by("pk")] == ["One.", "Again.", "Two.", "Three."]


async def test_new_answer_takes_no_other_input(provider, owner):
    await make(make_chat)()
    provider.reply("One.")
    first = await say(owner, "First")
    with pytest.raises(Refused) as refused:
        await say(owner, "Other", first.conversation.uuid, parent=first.message.parent.uuid)
    assert refused.value.code == "invalid_input"
    assert await Message.objects.acount() == 2


async def test_history_leaves_out_the_oldest_first_and_says_how_many(provider, owner):
    await make(make_chat)(history_messages=2)
    provider.reply("One.")
    conversation = (await say(owner, "First")).conversation.uuid
    provider.reply("Two.")
    second = await say(owner, "Second", conversation)
    assert second.left_out == 0
    provider.reply("Three.")
    third = await say(owner, "Third", conversation)
    assert asked(provider)[1:] == [("user", "Second"), ("assistant", "Two."), ("user", "Third")]
    assert third.left_out == 2
    assert (await follow_to_end(owner, third.uuid)).state["left_out"] == 2


async def test_history_is_limited_in_tokens_too(provider, owner):
    await make(make_chat)(history_tokens=60)
    provider.reply("x" * 400)
    conversation = (await say(owner, "First")).conversation.uuid
    provider.reply("Two.")
    second = await say(owner, "Second", conversation)
    assert asked(provider)[1:] == [("user", "Second")]
    assert second.left_out == 2
    provider.reply("Three.")
    await say(owner, "Third", conversation)
    assert asked(provider)[1:] == [("user", "Second"), ("assistant", "Two."), ("user", "Third")]


async def test_chain_without_a_placeholder_keeps_a_conversation_but_tells_no_history(provider, owner):
    await make(make_chain)("echo")
    provider.reply("One.")
    first = await runs.start(Start(owner, "echo", {"text": "First"}, conversation="new"))
    await follow_to_end(owner, first)
    row = await row_of(first)
    provider.reply("Two.")
    second = await runs.start(Start(owner, "echo", {"text": "Second"}, conversation=row.conversation.uuid))
    await follow_to_end(owner, second)
    assert asked(provider) == [("user", "Second")]


async def test_a17_what_a_user_says_is_never_a_template(provider, owner):
    await make(make_chat)()
    provider.reply("{message} {{x}}")
    conversation = (await say(owner, "{history} {message} {{")).conversation.uuid
    provider.reply("ok")
    await say(owner, "{0} {x}", conversation)
    assert asked(provider)[1:] == [
        ("user", "{history} {message} {{"),
        ("assistant", "{message} {{x}}"),
        ("user", "{0} {x}"),
    ]


async def test_invariant_11_of_two_sends_at_once_one_is_accepted_and_one_busy(provider, owner):
    await make(make_chat)()
    provider.reply("One.")
    conversation = (await say(owner, "First")).conversation.uuid
    gate = Gate()
    provider.reply("Two.", gate)
    starts = [
        runs.start(Start(owner, "chat", {"message": text}, conversation=conversation)) for text in "abcd"
    ]
    results = await asyncio.gather(*starts, return_exceptions=True)
    accepted = [result for result in results if not isinstance(result, Exception)]
    refused = [result for result in results if isinstance(result, Exception)]
    assert len(accepted) == 1
    assert [(error.code, error.run) for error in refused] == [("busy", accepted[0])] * 3
    assert await Message.objects.acount() == 4
    gate.open()
    await follow_to_end(owner, accepted[0])


async def test_busy_start_leaves_nothing_behind_and_may_be_said_again(provider, owner):
    await make(make_chat)()
    gate = Gate()
    provider.reply("One.", gate)
    run = await runs.start(Start(owner, "chat", {"message": "First"}, conversation="new"))
    conversation = (await row_of(run)).conversation.uuid
    with pytest.raises(Refused):
        await runs.start(
            Start(owner, "chat", {"message": "Second"}, conversation=conversation, client_id="k")
        )
    gate.open()
    await follow_to_end(owner, run)
    provider.reply("Two.")
    again = await say(owner, "Second", conversation, client_id="k")
    assert again.output == "Two."


async def test_invariant_10_a_new_conversation_is_made_once_for_one_id(provider, owner):
    await make(make_chat)()
    provider.reply("One.")
    start = Start(owner, "chat", {"message": "First"}, conversation="new", client_id="k1")
    found = await asyncio.gather(*(runs.start(start) for _ in range(4)))
    assert len(set(found)) == 1
    await follow_to_end(owner, found[0])
    assert await Conversation.objects.acount() == 1
    assert await Message.objects.acount() == 2


async def test_a3_foreign_conversations_and_messages_do_not_exist(provider, owner):
    await make(make_chat)()
    provider.reply("One.")
    mine = await say(owner, "First")
    stranger = Owner.of_user(await make(make_user)())
    provider.reply("His.")
    his = await say(stranger, "His")
    sentences = set()
    for conversation, parent in (
        (his.conversation.uuid, None),
        (uuid4(), None),
        (mine.conversation.uuid, his.message.uuid),
        (mine.conversation.uuid, uuid4()),
    ):
        with pytest.raises(Refused) as refused:
            await say(owner, "x", conversation, parent=parent)
        assert refused.value.code == "not_found"
        sentences.add(refused.value.message)
    assert len(sentences) == 1
    with pytest.raises(Refused):
        async with aclosing(runs.follow_conversation(owner, his.conversation.uuid)) as places:
            await anext(places)


async def test_conversation_is_with_one_chain(provider, owner):
    await make(make_chat)()
    await make(make_chat)("other")
    provider.reply("One.")
    mine = await say(owner, "First")
    with pytest.raises(Refused) as refused:
        await say(owner, "x", mine.conversation.uuid, chain="other")
    assert refused.value.code == "invalid_input"


async def test_a27_only_models_that_the_chain_offers_can_be_chosen(provider, owner):
    await make(make_chat)(client_models=["a/c", "a/d"])
    provider.reply("One.")
    run = await say(owner, "First", options={"model": "a/d"})
    assert provider.requests[-1].json["model"] == "a/d"
    provider.reply("Two.")
    await say(owner, "x", run.conversation.uuid, options={"model": "a/b"})
    with pytest.raises(Refused) as refused:
        await say(owner, "x", run.conversation.uuid, options={"model": "a/expensive"})
    assert refused.value.code == "invalid_input"
    with pytest.raises(Refused):
        await say(owner, "x", run.conversation.uuid, options={"model": ["a/b"]})


async def test_who_watches_a_conversation_hears_of_each_change(provider, owner):
    await make(make_chat)()
    provider.reply("One.")
    conversation = (await say(owner, "First")).conversation.uuid
    places = []

    async def watch():
        async with aclosing(runs.follow_conversation(owner, conversation)) as found:
            async for place in found:
                places.append(place)

    watching = asyncio.create_task(watch())
    await until(lambda: len(places) == 1)
    gate = Gate()
    provider.reply("Two.", gate)
    run = await runs.start(Start(owner, "chat", {"message": "Second"}, conversation=conversation))
    await until(lambda: len(places) == 2, 0.9)  # at once, not at the next look
    assert (places[0].run, places[1].run) == (None, run)
    assert places[1].head == (await row_of(run)).message.uuid
    gate.open()
    await until(lambda: places[-1].run is None)
    await Conversation.objects.all().adelete()
    with pytest.raises(Refused):
        await watching


def test_history_of_an_answer_with_tools_leaves_calls_without_a_result_out():
    parts = [
        {"type": "step", "model": "a/b"},
        {"type": "reasoning", "text": "Hm.", "ms": 1},
        {"type": "text", "text": "Let me see."},
        {
            "type": "call",
            "call": "a",
            "name": "look",
            "arguments": {"x": 1},
            "status": "done",
            "output": {"y": 2},
        },
        {"type": "call", "call": "b", "name": "look", "arguments": {}, "status": "done"},
        {"type": "call", "call": "c", "name": "act", "arguments": {}, "status": "denied", "reason": "no"},
        {"type": "call", "call": "d", "name": "act", "arguments": {}, "status": "cancelled"},
        {"type": "call", "call": "e", "name": "act", "arguments": {}, "status": "failed", "error": "broken"},
        {"type": "step"},
        {"type": "call", "call": "f", "name": "act", "arguments": {}, "status": "ready"},
        {"type": "step"},
        {"type": "text", "text": "Done."},
    ]
    assert messages_of_parts(parts, {"b": "hidden"}) == [
        AIMessage(
            "Let me see.",
            (
                ToolCall("a", "look", {"x": 1}),
                ToolCall("b", "look", {}),
                ToolCall("c", "act", {}),
                ToolCall("e", "act", {}),
            ),
        ),
        ToolMessage('{"y": 2}', "a"),
        ToolMessage("hidden", "b"),
        ToolMessage("A person refused this call: no", "c", True),
        ToolMessage("broken", "e", True),
        AIMessage("Done."),
    ]


def test_history_reads_only_what_it_tells(django_assert_num_queries):
    made = make_conversation(visitor(), *(f"question {number}" for number in range(6)))
    question = Message.objects.create(
        conversation=made, parent=made.head, role="user", input={"message": "now"}
    )
    for run in made.runs.all():
        run.parts.append({"type": "call", "call": "c", "name": "t", "arguments": {}, "status": "done"})
        run.save(update_fields=["parts"])
        ToolCallRow.objects.create(run=run, call="c", name="t", arguments="{}", status="done", output=run.pk)
    shape = path_to(question)
    assert len(shape) == 13
    assert all("input" in row.get_deferred_fields() for row in shape)
    body = {**made.chain.published.body, "history": {"messages": 4}}
    with django_assert_num_queries(4):
        told, left_out = history_before(question, body)
    assert left_out == 8
    assert [message.content for message in told if isinstance(message, HumanMessage)] == [
        "question 4",
        "question 5",
    ]
    newest = made.runs.order_by("pk").values_list("pk", flat=True)[4:]
    assert [message.content for message in told if isinstance(message, ToolMessage)] == [
        str(pk) for pk in newest
    ]


def test_tokens_are_estimated_by_bytes():
    assert estimated_tokens([HumanMessage("x" * 40)]) == 14
    assert estimated_tokens([HumanMessage("語" * 40)]) == 34


async def test_a_change_looks_at_its_own_conversation_alone(provider, owner, monkeypatch, settings):
    settings.OPENROUTER = {**settings.OPENROUTER, "FOLLOW_POLL": 60}
    await make(make_chat)()
    conversations = []
    for text in ("One", "Two", "Three"):
        provider.reply("ok")
        conversations.append((await say(owner, text)).conversation.uuid)
    looks, places_of = [], watching.places_of
    monkeypatch.setattr(watching, "places_of", lambda watched: looks.append(watched) or places_of(watched))
    seen = []

    async def watch(conversation):
        async with aclosing(runs.follow_conversation(owner, conversation)) as places:
            async for place in places:
                seen.append(place.conversation)

    tasks = [asyncio.create_task(watch(conversation)) for conversation in conversations]
    await until(lambda: len(seen) == 3)
    looks.clear()
    provider.reply("ok")
    await say(owner, "Again", conversations[1])
    await until(lambda: len(seen) == 5)
    assert all(watched == [conversations[1]] for watched in looks)
    for task in tasks:
        task.cancel()
