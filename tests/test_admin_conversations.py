"""Conversations in the admin: found, looked at, never changed."""

from __future__ import annotations

import html
import re

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from openrouter_app.models import Conversation, Owner
from tests.factories import make_user
from tests.talking import make_chat, make_conversation, visitor

pytestmark = pytest.mark.django_db

LIST = reverse("admin:openrouter_app_conversation_changelist")


def page(conversation):
    return reverse("admin:openrouter_app_conversation_change", args=[conversation.pk])


def said(response):
    return html.unescape(response.content.decode())


def test_conversation_shows_whose_it_is_and_leads_to_its_runs(admin_client):
    ada = make_user("ada")
    made = make_conversation(Owner.of_user(ada), "About bears", "And wolves")
    text = said(admin_client.get(page(made)))
    for piece in ("About bears", "Chat", "ada", str(made.uuid)):
        assert piece in text, piece
    for run in made.runs.all():
        assert reverse("admin:openrouter_app_run_change", args=[run.pk]) in text


def test_many_runs_are_cut_and_counted(admin_client, monkeypatch):
    from openrouter_app.admin import conversations

    monkeypatch.setattr(conversations, "RUNS_SHOWN", 1)
    made = make_conversation(visitor(), "one", "two", "three")
    assert "And 2 older ones." in said(admin_client.get(page(made)))


def test_conversation_without_runs_or_title_can_be_looked_at(admin_client):
    made = make_conversation(visitor(), chain=make_chat())
    assert "untitled" in said(admin_client.get(page(made)))
    assert "untitled" in said(admin_client.get(LIST))


def test_conversation_is_found_by_title_owner_and_id(admin_client):
    bears = make_conversation(Owner.of_user(make_user("zoe")), "About bears")
    wolves = make_conversation(visitor(), "About wolves")
    for query, found in [
        ("bears", {bears.pk}),
        ("zoe", {bears.pk}),
        (str(wolves.uuid), {wolves.pk}),
        (str(wolves.visitor), {wolves.pk}),
        ("About", {bears.pk, wolves.pk}),
    ]:
        text = said(admin_client.get(LIST, {"q": query}))
        assert {made.pk for made in (bears, wolves) if page(made) in text} == found, query


def test_list_takes_a_fixed_number_of_queries(admin_client, django_assert_num_queries):
    make_conversation(Owner.of_user(make_user("one")), "hello")
    with CaptureQueriesContext(connection) as queries:
        admin_client.get(LIST)
    for number in range(4):
        chain = make_chat(f"chat-{number}")
        make_conversation(Owner.of_user(make_user(f"u{number}")), "hello", "again", chain=chain)
    with django_assert_num_queries(len(queries)):
        response = admin_client.get(LIST)
    assert [row.run_count for row in response.context["cl"].result_list] == [2, 2, 2, 2, 1]


def test_runs_are_counted_for_the_rows_of_a_page_alone(admin_client):
    make_conversation(visitor(), "one", "two")
    empty = make_conversation(visitor(), title="empty")
    with CaptureQueriesContext(connection) as queries:
        response = admin_client.get(LIST)
    [rows] = [query["sql"] for query in queries if "run_count" in query["sql"]]
    outside = re.sub(r"\(SELECT .*? GROUP BY [^)]*\)", "", rows)
    assert "GROUP BY" not in outside
    assert {row.pk: row.run_count for row in response.context["cl"].result_list}[empty.pk] == 0
    assert admin_client.get(LIST, {"o": "4"}).status_code == 200


def test_nothing_is_added_changed_or_deleted(admin_client):
    made = make_conversation(visitor(), "hello")
    assert admin_client.get(reverse("admin:openrouter_app_conversation_add")).status_code == 403
    assert admin_client.post(page(made), {"title": "x"}).status_code == 403
    delete = reverse("admin:openrouter_app_conversation_delete", args=[made.pk])
    assert admin_client.post(delete, {"post": "yes"}).status_code == 403
    data = {"action": "delete_selected", "_selected_action": [made.pk], "post": "yes"}
    admin_client.post(LIST, data)
    assert Conversation.objects.filter(title=made.title).exists()


def test_user_can_be_deleted_with_what_he_said(admin_client):
    user = make_user("ada")
    make_conversation(Owner.of_user(user), "hello")
    admin_client.post(reverse("admin:auth_user_delete", args=[user.pk]), {"post": "yes"})
    assert not Conversation.objects.exists()


def test_A32_what_a_visitor_wrote_is_text(admin_client):
    attack = "<script>alert(1)</script><img src=x onerror=alert(1)>"
    made = make_conversation(visitor(), "hello", title=attack)
    for address in (page(made), LIST):
        text = admin_client.get(address).content.decode()
        assert "<script>alert" not in text
        assert "<img src=x" not in text


def test_who_may_not_look_does_not(client):
    made = make_conversation(visitor(), "hello")
    user = make_user("eve", is_staff=True)
    client.force_login(user)
    for address in (page(made), LIST):
        assert client.get(address).status_code == 403
    user.user_permissions.add(Permission.objects.get(codename="view_conversation"))
    for address in (page(made), LIST):
        assert client.get(address).status_code == 200
