"""Whose runs they are, before and after somebody signs in."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.backends.db import SessionStore
from django.test import Client, RequestFactory
from django.urls import reverse

from openrouter_app.identity import SESSION_KEY, owner_of_request
from openrouter_app.models import Owner, Run
from tests.factories import make_chain, make_user
from tests.talking import make_conversation

pytestmark = pytest.mark.django_db


@pytest.fixture
def make_run():
    chain = make_chain()
    return lambda **fields: Run.objects.create(chain=chain, version=chain.published, **fields)


def browser_of(visitor):
    client = Client()
    session = client.session
    session[SESSION_KEY] = str(visitor)
    session.save()
    client.cookies["openrouter_demo_session"] = session.session_key
    return client


def test_what_a_visitor_ran_is_the_users_once_he_has_signed_in(make_run):
    visitor, user = uuid4(), make_user()
    mine, strange = make_run(visitor=visitor, client_id="k1"), make_run(visitor=uuid4())
    client = browser_of(visitor)
    assert client.login(username="ada", password="secret")
    assert list(Run.objects.for_owner(Owner.of_user(user))) == [mine]
    assert not Run.objects.for_owner(Owner.of_visitor(visitor)).exists()
    assert Run.objects.get(pk=strange.pk).visitor == strange.visitor
    assert SESSION_KEY not in client.session


def test_start_id_that_the_user_has_used_stays_with_his_run(make_run):
    visitor, user = uuid4(), make_user()
    his, claimed = make_run(user=user, client_id="k1"), make_run(visitor=visitor, client_id="k1")
    browser_of(visitor).login(username="ada", password="secret")
    assert set(Run.objects.for_owner(Owner.of_user(user))) == {his, claimed}
    assert list(Run.objects.filter(client_id="k1")) == [his]


def test_sign_in_without_a_visitor_changes_nothing(make_run):
    run = make_run(visitor=uuid4())
    make_user()
    assert Client().login(username="ada", password="secret")
    assert Run.objects.get(pk=run.pk).visitor == run.visitor


def test_conversations_become_the_users_with_their_runs():
    visitor = uuid4()
    mine = make_conversation(Owner.of_visitor(visitor), "hello")
    strange = make_conversation(Owner.of_visitor(uuid4()), "other")
    user = make_user()
    client = browser_of(visitor)
    assert client.login(username="ada", password="secret")
    mine.refresh_from_db()
    assert (mine.user, mine.visitor) == (user, None)
    assert {run.owner for run in mine.runs.all()} == {mine.owner}
    assert client.get(reverse("openrouter_app:conversation", args=[mine.uuid])).status_code == 200
    strange.refresh_from_db()
    assert strange.user is None


def test_owner_of_a_request_is_the_owner_of_its_sockets():
    request = RequestFactory().get("/")
    assert owner_of_request(request) is None  # a site without sessions
    assert owner_of_request(request, make=True) is None
    request.session, request.user = SessionStore(), AnonymousUser()
    assert owner_of_request(request) is None
    made = owner_of_request(request, make=True)
    assert made.visitor is not None
    assert owner_of_request(request) == made
    request.user = make_user()
    assert owner_of_request(request) == Owner.of_user(request.user)
    request.user.is_active = False
    assert owner_of_request(request) == made
