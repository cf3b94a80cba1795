"""Titles by a chain: after the first answer, and never over one that a person gave."""

from __future__ import annotations

import asyncio

import pytest
from django.core.checks import run_checks
from django.utils import translation

from openrouter_app import background, naming, runs
from openrouter_app.checks import check_title_chain
from openrouter_app.database import in_database_thread as make
from openrouter_app.engine import client as engine_client
from openrouter_app.models import Conversation, Run
from openrouter_app.naming import name_conversation
from openrouter_app.runs import Start, notices

from .factories import make_chain
from .talking import make_chat, make_conversation, say, visitor

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def named(provider, settings):
    settings.OPENROUTER = {**settings.OPENROUTER, "TITLE_CHAIN": "title"}
    return provider


def make_title_chain(*rows, **fields):
    return make_chain("title", *(rows or (("human", "A title for: {text}"),)), access="staff", **fields)


async def title_of_the_only_one():
    return (await Conversation.objects.aget()).title


async def test_chain_names_a_conversation(named):
    await make(make_title_chain)()
    made = await make(make_conversation)(visitor(), "why is it blue")
    named.reply('  "The blue\n sky"\u202e ')
    assert await name_conversation(made.uuid) == "The blue sky"
    assert await title_of_the_only_one() == "The blue sky"
    run = await Run.objects.aget(chain__slug="title")
    assert (run.user_id, run.visitor, run.conversation_id, run.input) == (
        None,
        None,
        None,
        {"text": "why is it blue"},
    )


async def test_it_does_so_by_itself_after_the_first_answer_only(named):
    await make(make_chat)()
    await make(make_title_chain)()
    named.reply("because")
    named.reply("A name")
    start = Start(visitor(), chain="chat", input={"message": "why"}, conversation="new")
    run = await runs.start(start)
    await runs.wait(run)
    for _ in range(100):
        if await title_of_the_only_one() == "A name":
            break
        await asyncio.sleep(0.05)
    assert await title_of_the_only_one() == "A name"
    made = await Conversation.objects.aget()
    named.reply("more")
    run = await runs.start(Start(visitor(), chain="chat", input={"message": "on"}, conversation=made.uuid))
    await runs.wait(run)
    await asyncio.to_thread(notices.settled, 5)
    await asyncio.sleep(0.1)
    assert await Run.objects.filter(chain__slug="title").acount() == 1
    await asyncio.wrap_future(background.in_background(engine_client.aclose()))


async def test_title_that_somebody_gave_stays(named):
    await make(make_title_chain)()
    made = await make(make_conversation)(visitor(), "why", title="Mine")
    assert await name_conversation(made.uuid) is None
    assert await Run.objects.filter(chain__slug="title").acount() == 0


async def test_title_given_while_the_chain_runs_stays(named):
    await make(make_title_chain)()
    made = await make(make_conversation)(visitor(), "why")
    named.reply("A ", "name", delay=0.3)
    naming_it = asyncio.create_task(name_conversation(made.uuid))
    await asyncio.sleep(0.2)
    await Conversation.objects.aupdate(title="Mine")
    assert await naming_it is None
    assert await title_of_the_only_one() == "Mine"


async def test_failure_changes_nothing(named):
    await make(make_title_chain)()
    made = await make(make_conversation)(visitor(), "why")
    named.error(402)
    assert await name_conversation(made.uuid) is None
    named.reply(" \u200e ")
    assert await name_conversation(made.uuid) is None
    assert await title_of_the_only_one() == "why"


@pytest.mark.parametrize("rows", [(), (("human", "none"),), (("human", "{a} {b}"),)])
async def test_chain_that_cannot_name_changes_nothing(named, rows):
    if rows:
        await make(make_title_chain)(*rows)
    made = await make(make_conversation)(visitor(), "why")
    assert await name_conversation(made.uuid) is None
    assert await title_of_the_only_one() == "why"


async def test_deleted_conversation_is_not_named(named):
    made = await make(make_conversation)(visitor(), "why")
    await make(made.delete)()
    assert await name_conversation(made.uuid) is None


def test_without_the_setting_nothing_is_asked(django_assert_num_queries):
    made = make_conversation(visitor(), "why")
    run = Run.objects.get(conversation=made)
    with django_assert_num_queries(0):
        naming.name_after_first_answer(Run, run.uuid, "done")


def test_second_answer_is_not_the_first(settings, monkeypatch):
    settings.OPENROUTER = {"TITLE_CHAIN": "title"}
    asked = []
    monkeypatch.setattr(naming, "in_background", lambda coroutine: asked.append(coroutine.close()))
    made = make_conversation(visitor(), "why")
    run = Run.objects.get(conversation=made)
    naming.name_after_first_answer(Run, run.uuid, "done")
    naming.name_after_first_answer(Run, run.uuid, "stopped")
    say(made, "more")
    naming.name_after_first_answer(Run, run.uuid, "done")
    assert len(asked) == 1


def problems():
    found = run_checks(tags=["openrouter"], databases=["default"])
    return [problem for problem in found if problem.id == "openrouter_app.E006"]


def test_check_says_that_a_title_chain_cannot_name(settings):
    settings.OPENROUTER = {"TITLE_CHAIN": "title"}
    assert len(problems()) == 1
    assert list(check_title_chain(databases=None)) == []  # only where the database may be asked
    chain = make_title_chain(("human", "{a} {b}"))
    assert len(problems()) == 1
    chain.prompt.rows.update(text="{a}")
    chain.publish()
    assert problems() == []
    settings.OPENROUTER = {}
    assert problems() == []
    with translation.override("de"):
        assert problems() == []
