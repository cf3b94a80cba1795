"""Runs and owners: whose a run is, and which rows cannot exist."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from openrouter_app.models import Owner, Run
from tests.factories import make_chain, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def make_run():
    chain = make_chain()
    version = chain.published

    def make(**fields):
        return Run.objects.create(chain=chain, version=version, **fields)

    return make


def refused(make, **fields):
    with pytest.raises(IntegrityError), transaction.atomic():
        make(**fields)


def test_owner_sees_his_runs_and_no_others(make_run):
    ada, bob, visitor = make_user("ada"), make_user("bob"), uuid4()
    hers, his = make_run(user=ada), make_run(user=bob)
    strangers, systems = make_run(visitor=visitor), make_run()
    assert list(Run.objects.for_owner(Owner.of_user(ada))) == [hers]
    assert list(Run.objects.for_owner(Owner.of_user(bob))) == [his]
    assert list(Run.objects.for_owner(Owner.of_visitor(visitor))) == [strangers]
    assert list(Run.objects.for_owner(Owner.of_visitor(uuid4()))) == []
    assert list(Run.objects.for_owner(Owner.system())) == []
    assert [run.owner for run in (hers, strangers, systems)] == [
        Owner.of_user(ada),
        Owner.of_visitor(visitor),
        Owner.system(),
    ]


def test_owner_is_a_user_or_a_visitor_or_the_system():
    with pytest.raises(ValueError, match="not both"):
        Owner(user_id=1, visitor=uuid4())
    with pytest.raises(ValueError, match="Only a visitor"):
        Owner(user_id=1, ephemeral=True)
    with pytest.raises(ValueError, match="anonymous"):
        Owner.of_user(make_user().__class__())
    assert Owner.system().is_system
    assert not Owner.of_visitor(uuid4(), ephemeral=True).is_system


def test_invariant_10_an_owners_id_gives_one_run(make_run):
    ada, bob, visitor = make_user("ada"), make_user("bob"), uuid4()
    make_run(user=ada, client_id="k1")
    make_run(user=bob, client_id="k1")
    make_run(visitor=visitor, client_id="k1")
    refused(make_run, user=ada, client_id="k1")
    refused(make_run, visitor=visitor, client_id="k1")


def test_runs_without_an_id_are_any_number(make_run):
    for _ in range(2):
        make_run()
        make_run(user=make_user(str(uuid4())))
        make_run(client_id="same")


def test_run_has_at_most_one_owner(make_run):
    refused(make_run, user=make_user(), visitor=uuid4())


@pytest.mark.parametrize("status", Run.Status.values)
def test_run_has_ended_exactly_when_its_status_is_final(make_run, status):
    final = status in Run.FINAL
    assert make_run(status=status, ended=timezone.now() if final else None).is_final == final
    refused(make_run, status=status, ended=None if final else timezone.now())


def test_final_states_are_the_last_four():
    assert {"done", "stopped", "failed", "interrupted"} == Run.FINAL


def test_runs_go_with_their_user_and_leave_the_chain(make_run):
    ada = make_user("ada")
    run = make_run(user=ada)
    ada.delete()
    assert not Run.objects.filter(pk=run.pk).exists()
    assert run.version.chain.published == run.version


def test_newest_run_stands_first(make_run):
    first, second = make_run(), make_run()
    assert list(Run.objects.all()) == [second, first]
