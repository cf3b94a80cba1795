"""How often a minute: starts of an owner and of a chain, and questions about a user's key."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from openrouter_app import limits
from openrouter_app.database import in_database_thread
from openrouter_app.identity import SESSION_KEY
from openrouter_app.limits import a_minute
from openrouter_app.models import Conversation, Hit, Owner, Run
from openrouter_app.refusals import Refused
from openrouter_app.runs.starting import Start, prepare
from openrouter_app.runs.tending import reap_for_ever
from tests.factories import make_chain, make_user
from tests.pots import ask_of, let_in, make_pot, make_prices, refusal_of
from tests.talking import make_chat

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("noon")]


@pytest.fixture
def chain():
    return make_chain("echo")


@pytest.fixture
def ada():
    return make_user("ada")


@pytest.fixture(autouse=True)
def prices():
    make_prices()


def started(ask, seconds_ago):
    let_in(ask)
    Hit.objects.filter(pk=Hit.objects.latest("pk").pk).update(created=ago(seconds_ago))


def ago(seconds):
    return timezone.now() - timedelta(seconds=seconds)


# ---- starts ----


def test_who_starts_too_often_is_told_how_long_to_wait(chain, ada, settings):
    settings.OPENROUTER = {"MAX_STARTS_PER_USER": 3}
    for seconds in (70, 50, 20, 1):
        started(ask_of(chain, ada), seconds)
    refused = refusal_of(ask_of(chain, ada))
    assert refused.code == "limit"
    assert 0 < refused.details["retry_after"] <= 10
    assert str(refused.details["retry_after"]) in refused.message
    let_in(ask_of(chain, make_user("bob")))
    let_in(ask_of(chain))
    let_in(ask_of(chain, owner=Owner.system()))


def test_visitor_who_starts_too_often_waits_too(chain, settings):
    settings.OPENROUTER = {"MAX_STARTS_PER_USER": 1}
    owner = ask_of(chain).owner
    started(ask_of(chain, owner=owner), 30)
    assert refusal_of(ask_of(chain, owner=owner)).code == "limit"
    started(ask_of(chain, owner=ask_of(chain).owner), 30)


@pytest.mark.parametrize("per_user", [0, 60])
def test_chain_that_is_asked_too_often_lets_nobody_in(chain, ada, settings, per_user):
    settings.OPENROUTER = {"MAX_STARTS_PER_CHAIN": 2, "MAX_STARTS_PER_USER": per_user}
    for seconds in (40, 20):
        started(ask_of(chain), seconds)
    refused = refusal_of(ask_of(chain, ada))
    assert refused.code == "limit"
    assert 0 < refused.details["retry_after"] <= 20
    let_in(ask_of(make_chain("other"), ada))
    let_in(ask_of(chain, owner=Owner.system()))


def test_without_a_limit_of_starts_there_is_none_and_nothing_is_noted(chain, ada, settings):
    settings.OPENROUTER = {"MAX_STARTS_PER_USER": 0, "MAX_RUNS_PER_USER": 0}
    for _ in range(65):
        let_in(ask_of(chain, ada))
    assert not Hit.objects.exists()


def test_starts_of_the_system_are_not_noted(chain, settings):
    settings.OPENROUTER = {"MAX_STARTS_PER_CHAIN": 1}
    for _ in range(2):
        let_in(ask_of(chain, owner=Owner.system()))
    assert not Hit.objects.exists()


def test_what_is_refused_does_not_count(chain, ada, settings):
    settings.OPENROUTER = {"MAX_STARTS_PER_USER": 2}
    make_pot(limit="0.001")
    for _ in range(3):
        assert refusal_of(ask_of(chain, ada)).code == "budget"
    assert not Hit.objects.exists()


def test_start_that_is_made_again_because_its_answer_was_lost_counts_once(chain, settings):
    settings.OPENROUTER = {"MAX_STARTS_PER_USER": 5}
    start, run = Start(Owner.of_visitor(uuid4()), chain="echo", input={"text": "x"}), uuid4()
    for _ in range(2):
        prepare(start, run)
    assert Hit.objects.count() == 1


# ---- what gives nothing back ----


@pytest.mark.parametrize("is_visitor", [False, True])
@pytest.mark.parametrize("limit", ["MAX_STARTS_PER_USER", "MAX_STARTS_PER_CHAIN"])
def test_deleting_what_was_said_makes_no_room(ada, settings, is_visitor, limit):
    settings.OPENROUTER = {limit: 1}
    make_chat("talk")
    owner = Owner.of_visitor(uuid4()) if is_visitor else Owner.of_user(ada)
    start = Start(owner, chain="talk", input={"message": "x"}, conversation="new")
    prepare(start, uuid4())
    Run.objects.update(status="done", ended=timezone.now())
    Conversation.objects.all().delete()
    assert not Run.objects.exists()
    with pytest.raises(Refused) as caught:
        prepare(start, uuid4())
    assert caught.value.code == "limit"


def test_deleting_who_asked_makes_no_room_at_the_chain(chain, ada, settings):
    settings.OPENROUTER = {"MAX_STARTS_PER_CHAIN": 1}
    let_in(ask_of(chain, ada), "queued")
    ada.delete()
    assert refusal_of(ask_of(chain)).code == "limit"


def test_what_a_visitor_has_asked_counts_on_when_he_has_signed_in(chain, ada, settings):
    settings.OPENROUTER = {"MAX_STARTS_PER_USER": 3}
    visitor = uuid4()
    started(ask_of(chain, owner=Owner.of_visitor(visitor)), 30)
    started(ask_of(chain, owner=Owner.of_visitor(visitor)), 20)
    started(ask_of(chain), 10)  # somebody else
    started(ask_of(chain, ada), 40)
    client = Client()
    session = client.session
    session[SESSION_KEY] = str(visitor)
    session.save()
    client.cookies["openrouter_demo_session"] = session.session_key
    assert client.login(username="ada", password="secret")
    assert 10 < refusal_of(ask_of(chain, ada)).details["retry_after"] <= 20
    assert Hit.objects.filter(visitor=None).count() == 3


# ---- what is over ----


def test_start_deletes_what_is_over_of_its_owner_and_nobody_elses(chain, ada, settings, monkeypatch):
    settings.OPENROUTER = {"MAX_STARTS_PER_USER": 9}
    monkeypatch.setattr(a_minute, "IN_PASSING", 2)
    mine = [Hit.objects.create(kind="start", user=ada, created=ago(61 + n)) for n in range(3)]
    recent = Hit.objects.create(kind="start", user=ada, created=ago(50))
    strange = Hit.objects.create(kind="start", visitor=uuid4(), created=ago(90))
    let_in(ask_of(chain, ada))
    assert Hit.objects.filter(pk__in=[hit.pk for hit in mine]).count() == 1
    let_in(ask_of(chain, ada))
    assert Hit.objects.filter(user=ada).count() == 3
    assert {recent, strange} <= set(Hit.objects.all())


def test_where_only_chains_are_limited_a_start_deletes_what_is_over_of_its_chain(chain, settings):
    settings.OPENROUTER = {"MAX_STARTS_PER_CHAIN": 9, "MAX_STARTS_PER_USER": 0}
    other = Hit.objects.create(kind="start", chain=make_chain("other"), created=ago(90))
    Hit.objects.create(kind="start", chain=chain, created=ago(90))
    let_in(ask_of(chain))
    assert Hit.objects.exclude(pk=other.pk).get().created > ago(30)
    assert Hit.objects.get(chain=chain).visitor is None  # who it was is not asked for


def old_and_new(count=3):
    for _ in range(count):
        Hit.objects.create(kind="start", visitor=uuid4(), created=ago(61))
    return Hit.objects.create(kind="start", visitor=uuid4(), created=ago(50))


def test_what_is_over_of_those_who_never_came_back_is_deleted_some_at_a_time(monkeypatch):
    monkeypatch.setattr(a_minute, "AT_A_TIME", 2)
    recent = old_and_new()
    assert [limits.forget_hits() for _ in range(3)] == [2, 1, 0]
    assert Hit.objects.get() == recent


@pytest.mark.parametrize("options", [{}, {"dry_run": True}])
def test_prune_deletes_all_that_is_over(monkeypatch, options):
    monkeypatch.setattr(a_minute, "AT_A_TIME", 2)
    old_and_new()
    call_command("openrouter_prune", days=90, **options)
    assert Hit.objects.count() == (4 if options else 1)


@pytest.mark.django_db(transaction=True)
async def test_server_deletes_what_is_over(settings):
    settings.OPENROUTER = {"REAP_INTERVAL": 0.05}
    await in_database_thread(old_and_new)()
    tending = asyncio.create_task(reap_for_ever())
    try:
        async with asyncio.timeout(30):
            while await Hit.objects.acount() > 1:  # noqa: ASYNC110 - another thread deletes them
                await asyncio.sleep(0.01)
    finally:
        tending.cancel()
        await asyncio.wait([tending])


@pytest.mark.parametrize(
    ("given", "statements"),
    [
        ({}, ["SELECT", "DELETE", "INSERT"]),
        ({"MAX_STARTS_PER_CHAIN": 9}, ["SELECT", "SELECT", "DELETE", "INSERT"]),
    ],
)
def test_start_costs_one_look_for_each_limit_and_two_statements(chain, ada, settings, given, statements):
    settings.OPENROUTER = given
    let_in(ask_of(chain, ada))
    with CaptureQueriesContext(connection) as queries:
        let_in(ask_of(chain, ada))
    said = [query["sql"] for query in queries if "openrouter_app_hit" in query["sql"]]
    assert [sql.split()[0] for sql in said] == statements


# ---- questions about a key ----


def test_keys_are_asked_about_so_often_a_minute_and_no_more(ada):
    for _ in range(a_minute.MOST_KEY_CHECKS):
        limits.count_key_check(ada)
    with pytest.raises(Refused) as caught:
        limits.count_key_check(ada)
    assert caught.value.code == "limit"
    assert 55 < caught.value.details["retry_after"] <= 60
    assert str(caught.value.details["retry_after"]) in caught.value.message
    limits.count_key_check(make_user("bob"))
    Hit.objects.filter(user=ada).update(created=ago(61))
    limits.count_key_check(ada)
    assert Hit.objects.filter(user=ada).count() == 1


def test_questions_about_a_key_are_no_starts(chain, ada, settings):
    settings.OPENROUTER = {"MAX_STARTS_PER_USER": 1}
    for _ in range(a_minute.MOST_KEY_CHECKS):
        limits.count_key_check(ada)
    let_in(ask_of(chain, ada))
    assert refusal_of(ask_of(chain, ada)).code == "limit"
