"""The kill switch in the admin, and the action that switches a chain off."""

from __future__ import annotations

import html

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.db import connection, connections
from django.urls import reverse
from django.utils import timezone

from openrouter_app import limits
from openrouter_app.admin import chains, kill_switch
from openrouter_app.models import Chain, KillSwitch, Run
from openrouter_app.refusals import Refused
from tests.factories import make_chain, make_run, make_user
from tests.pots import ask_of, refusal_of

pytestmark = pytest.mark.django_db

PAGE = "admin:openrouter_app_killswitch_changelist"


def said(response):
    return html.unescape(response.content.decode())


def test_button_switches_everything_off_and_on_again(admin_client):
    shown = said(admin_client.get(reverse(PAGE)))
    assert "Runs can be started." in shown
    assert "Switch everything off" in shown
    response = admin_client.post(reverse(PAGE), {"on": "1", "reason": "Back at noon."}, follow=True)
    assert "nobody can start a run" in said(response)
    assert "Back at noon." in said(response)
    assert "Let runs start again" in said(response)
    with pytest.raises(Refused, match=r"Back at noon\."):
        limits.check_kill_switch()
    response = admin_client.post(reverse(PAGE), {"off": "1"}, follow=True)
    assert "Runs can be started." in said(response)
    limits.check_kill_switch()
    switch = KillSwitch.objects.get()
    assert (switch.is_on, switch.changed_by.username) == (False, "admin")


def test_history_says_who_turned_it_and_why(admin_client):
    for data in ({"on": "1", "reason": "Too dear."}, {"off": "1"}):
        admin_client.post(reverse(PAGE), data)
    entries = [entry.change_message for entry in LogEntry.objects.order_by("pk")]
    assert entries == ["Switched off: nobody can start a run. Too dear.", "Switched on again."]
    history = reverse("admin:openrouter_app_killswitch_history", args=[1])
    assert "Too dear." in said(admin_client.get(history))
    assert "Too dear." in said(admin_client.get(reverse("admin:openrouter_app_killswitch_history", args=[1])))
    change = admin_client.get(reverse("admin:openrouter_app_killswitch_change", args=[1]))
    assert change.headers["Location"] == reverse(PAGE)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("stop", [True, False])
def test_what_is_running_is_stopped_too_if_that_is_asked_for(admin_client, stop):
    chain = make_chain("echo")
    waiting, running, done = (make_run(status, chain=chain) for status in ("queued", "running", "queued"))

    Run.objects.filter(pk=done.pk).update(status="done", ended=timezone.now())
    admin_client.post(reverse(PAGE), {"on": "1", **({"stop_running": "on"} if stop else {})})
    for run in (waiting, running, done):
        run.refresh_from_db()
    assert (waiting.status, done.status) == ("stopped" if stop else "queued", "done")
    assert (running.stop_requested_at is not None) is stop
    assert refusal_of(ask_of(chain)).code == "forbidden"


def test_reason_that_is_too_long_switches_nothing(admin_client):
    response = admin_client.post(reverse(PAGE), {"on": "1", "reason": "x" * 201})
    assert response.status_code == 200
    assert "at most 200 characters" in said(response)
    assert not KillSwitch.objects.exists()


def test_markup_in_a_reason_stays_text(admin_client):
    admin_client.post(reverse(PAGE), {"on": "1", "reason": "<script>alert(1)</script>"})
    assert b"<script>alert" not in admin_client.get(reverse(PAGE)).content


@pytest.mark.parametrize("permission", [None, "view_killswitch", "change_killswitch"])
def test_only_who_may_change_it_can_turn_it(client, permission):
    staff = make_user("staff", is_staff=True)
    if permission:
        staff.user_permissions.add(Permission.objects.get(codename=permission))
    client.force_login(staff)
    shown = client.get(reverse(PAGE))
    assert shown.status_code == (403 if permission is None else 200)
    assert (b"Switch everything off" in shown.content) is (permission == "change_killswitch")
    turned = client.post(reverse(PAGE), {"on": "1"})
    assert turned.status_code == (302 if permission == "change_killswitch" else 403)
    assert KillSwitch.objects.filter(is_on=True).exists() is (permission == "change_killswitch")


def test_a_get_turns_nothing_and_a_post_needs_its_token(admin_client):
    from django.test import Client

    admin_client.get(reverse(PAGE), {"on": "1"})
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = admin_client.cookies
    assert strict.post(reverse(PAGE), {"on": "1"}).status_code == 403
    assert not KillSwitch.objects.exists()


def test_chains_that_are_switched_off_are_named(admin_client):
    make_chain("echo", enabled=False)
    assert "Chains that are switched off by themselves" in said(admin_client.get(reverse(PAGE)))


def test_when_it_was_turned_is_said_also_where_code_did_it(admin_client):
    page = said(admin_client.get(reverse(PAGE)))
    assert "All runs have ended." in page
    assert "Last turned" not in page
    KillSwitch.objects.create(pk=1, is_on=True)
    assert "Last turned: " in said(admin_client.get(reverse(PAGE)))


# ---- one chain ----


def switch_off(client, *chains):
    data = {"action": "switch_off", "_selected_action": [chain.pk for chain in chains]}
    return client.post(reverse("admin:openrouter_app_chain_changelist"), data, follow=True)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_atomic", [False, True])
def test_action_switches_chains_off_and_stops_their_runs(admin_client, monkeypatch, is_atomic):
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", is_atomic)
    echo, other = make_chain("echo"), make_chain("other")
    mine, theirs = make_run(chain=echo), make_run(chain=other)
    response = switch_off(admin_client, echo)
    assert "1 run was asked to stop." in said(response)
    assert list(Chain.objects.filter(enabled=False)) == [echo]
    assert set(Run.objects.values_list("uuid", "status")) == {(mine.uuid, "stopped"), (theirs.uuid, "queued")}
    assert LogEntry.objects.get().change_message == "Switched off."
    assert refusal_of(ask_of(echo)).message == "This chain is switched off."


def test_who_may_not_change_chains_does_not_switch_them_off(client):
    staff = make_user("staff", is_staff=True)
    staff.user_permissions.add(Permission.objects.get(codename="view_chain"))
    client.force_login(staff)
    switch_off(client, make_chain("echo"))
    assert Chain.objects.get().enabled


@pytest.mark.django_db(transaction=True)
def test_switch_is_on_for_everybody_before_what_runs_is_looked_for(admin_client, monkeypatch):
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)
    in_transaction = []
    monkeypatch.setattr(
        kill_switch, "stop_all", lambda request, chosen: in_transaction.append(connection.in_atomic_block)
    )
    admin_client.post(reverse(PAGE), {"on": "1", "stop_running": "1"})
    assert in_transaction == [False]


@pytest.mark.django_db(transaction=True)
def test_chains_are_off_for_everybody_before_what_runs_is_looked_for(admin_client, monkeypatch):
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)
    in_transaction = []
    monkeypatch.setattr(
        chains, "stop_all", lambda request, chosen: in_transaction.append(connection.in_atomic_block)
    )
    switch_off(admin_client, make_chain("echo"))
    assert in_transaction == [False]
