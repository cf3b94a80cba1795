"""Whose runs they are, before and after somebody signs in."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.test import Client

from openrouter_app.identity import SESSION_KEY
from openrouter_app.models import Owner, Run
from tests.factories import make_chain, make_user

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
