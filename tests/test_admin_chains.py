"""Chains in the admin: edited by who may edit, published by who may publish."""

from __future__ import annotations

import html

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from openrouter_app.models import Chain, ChainVersion, ToolSpec
from tests.factories import make_chain, make_joke_chain, make_prompt, make_user

pytestmark = pytest.mark.django_db

LIST = "admin:openrouter_app_chain_changelist"


def page(chain):
    return reverse("admin:openrouter_app_chain_change", args=[chain.pk])


def publish(client, chain, **data):
    return client.post(reverse("admin:openrouter_app_chain_publish", args=[chain.pk]), data, follow=True)


def form(prompt, **fields):
    return {
        "title": "Greet",
        "slug": "greet",
        "description": "",
        "prompt": prompt.pk,
        "model": "a/b",
        "options": "{}",
        "tool_choice": "auto",
        "parser": "text",
        "access": "public",
        "payer": "site",
        "enabled": "on",
        "client_options": "[]",
        "client_models": "[]",
        "message_variable": "",
        "history_messages": "50",
        "history_tokens": "32000",
        **fields,
    }


def said(response):
    return html.unescape(response.content.decode())


def messages(response):
    return [str(message) for message in response.context["messages"]]


@pytest.fixture
def editor(client):
    """Staff who may edit chains, and nothing more."""
    user = make_user("editor", is_staff=True)
    user.user_permissions.set(
        Permission.objects.filter(codename__in=["view_chain", "add_chain", "change_chain"])
    )
    client.force_login(user)
    return client


@pytest.fixture
def publisher():
    """Staff who may see chains and publish them, but not edit."""
    user = make_user("publisher", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=["view_chain", "publish_chain"]))
    client = Client()
    client.force_login(user)
    return client


def test_chain_is_made_and_published_without_code(admin_client):
    prompt = make_prompt()
    response = admin_client.post(reverse("admin:openrouter_app_chain_add"), form(prompt), follow=True)
    chain = Chain.objects.get()
    assert chain.published is None
    assert response.status_code == 200
    response = publish(admin_client, chain, note="the first")
    assert "Greet: v1 is published." in messages(response)
    assert (chain.published.note, chain.published.author.username) == ("the first", "admin")
    assert LogEntry.objects.filter(change_message="Greet: v1 is published.").count() == 1


def test_save_and_publish_publishes_what_was_just_typed(admin_client):
    prompt = make_prompt()
    add = reverse("admin:openrouter_app_chain_add")
    assert "Save and publish" in said(admin_client.get(add))
    admin_client.post(add, form(prompt, _publish="yes"))
    chain = Chain.objects.get()
    assert chain.published.number == 1
    tool = ToolSpec.objects.create(name="one")
    data = form(prompt, model="new/model", tools=[tool.pk], tool_choice="forced", forced_tool=tool.pk)
    response = admin_client.post(page(chain), {**data, "_publish": "yes"}, follow=True)
    assert "Greet: v2 is published." in messages(response)
    body = Chain.objects.get().published.body
    assert (body["model"], body["tool_choice"]) == ("new/model", {"forced": "one"})


def test_what_concerns_conversations_is_edited_and_published(admin_client):
    rows = (("messages_placeholder", "history"), ("human", "{topic} {message}"))
    given = {
        "client_models": '["a/b", "c/d"]',
        "message_variable": "message",
        "history_messages": "7",
        "history_tokens": "900",
        "_publish": "yes",
    }
    admin_client.post(reverse("admin:openrouter_app_chain_add"), form(make_prompt("talk", *rows), **given))
    body = Chain.objects.get().published.body
    assert body["client_models"] == ["a/b", "c/d"]
    assert body["history"] == {"variable": "message", "messages": 7, "tokens": 900}
    given["client_models"] = '["a/b", "a/b"]'
    response = admin_client.post(page(Chain.objects.get()), form(make_prompt("again", *rows), **given))
    assert "stands twice" in response.context["adminform"].errors["client_models"][0]


def test_chain_whose_handlers_would_not_run_is_saved_with_a_warning(admin_client):
    acting = ToolSpec.objects.create(name="acting", handler="find_orders")
    plain = ToolSpec.objects.create(name="plain")
    address = reverse("admin:openrouter_app_chain_add")
    for slug, tool, parser, warned in [
        ("one", acting, "tools", True),
        ("two", acting, "text", False),
        ("three", plain, "tools", False),
    ]:
        data = form(make_prompt(slug), slug=slug, tools=[tool.pk], parser=parser)
        response = admin_client.post(address, data, follow=True)
        assert any("no handler of its tools will run" in said for said in messages(response)) == warned


def test_save_and_publish_saves_even_when_it_cannot_publish(admin_client):
    prompt = make_prompt()
    prompt.rows.all().delete()
    response = admin_client.post(
        reverse("admin:openrouter_app_chain_add"), form(prompt, _publish="yes"), follow=True
    )
    assert messages(response)[0] == "Greet was saved."
    assert "The prompt has no rows." in messages(response)[1]
    assert Chain.objects.get().published is None


def test_publish_says_what_keeps_it_from_being_published(admin_client):
    chain = make_chain(publish=False)
    chain.prompt.rows.update(text="Hello {name")
    response = publish(admin_client, chain)
    (message,) = messages(response)
    assert "Echo: Prompt “echo-prompt”: Row 1: The '{' at line 1, column 7 is never closed." in message
    assert not ChainVersion.objects.exists()


def test_publishing_nothing_new_says_so(admin_client):
    chain = make_chain()
    assert messages(publish(admin_client, chain)) == ["Echo: nothing has changed since v1."]


def test_state_is_shown_on_the_page_and_in_the_list(admin_client):
    chain = make_chain(publish=False)
    for address in (page(chain), reverse(LIST)):
        assert "not published" in said(admin_client.get(address))
    chain.publish()
    for address in (page(chain), reverse(LIST)):
        assert "v1 published" in said(admin_client.get(address))
        assert "unpublished changes" not in said(admin_client.get(address))
    chain.prompt.rows.update(text="new")
    for address in (page(chain), reverse(LIST)):
        assert "unpublished changes" in said(admin_client.get(address))


def test_publish_button_stands_where_there_is_something_to_publish(admin_client):
    chain = make_chain(publish=False)
    assert "Publish what is saved" in said(admin_client.get(page(chain)))
    chain.publish()
    assert "Publish what is saved" not in said(admin_client.get(page(chain)))


def test_versions_are_listed_with_author_note_and_label(admin_client):
    chain = make_chain(publish=False)
    chain.publish(author=make_user("ada"), note="first words")
    text = said(admin_client.get(page(chain)))
    assert reverse("admin:openrouter_app_chainversion_change", args=[chain.published.pk]) in text
    for word in ("ada", "first words", "production"):
        assert word in text


def test_published_chain_links_to_its_page(admin_client):
    chain = make_chain(publish=False)
    link = reverse("openrouter_app:chain", args=[chain.slug])
    assert link not in said(admin_client.get(page(chain)))
    chain.publish()
    assert link in said(admin_client.get(page(chain)))


def test_forced_tool_must_be_among_the_tools(admin_client):
    tool = ToolSpec.objects.create(name="one")
    data = form(make_prompt(), tool_choice="forced", forced_tool=tool.pk)
    response = admin_client.post(reverse("admin:openrouter_app_chain_add"), data)
    assert "Choose one of the chain's tools" in response.context["adminform"].errors["forced_tool"][0]


def test_wrong_options_are_refused_with_line_and_column(admin_client):
    data = form(make_prompt(), options='{"temperature": 0.2,\n}')
    response = admin_client.post(reverse("admin:openrouter_app_chain_add"), data)
    assert "at line " in response.context["adminform"].errors["options"][0]


def test_selected_chains_are_published_each_by_itself(admin_client):
    good, bad = make_chain("good", publish=False), make_chain("bad", publish=False)
    bad.prompt.rows.all().delete()
    data = {"action": "publish_selected", "_selected_action": [good.pk, bad.pk]}
    response = admin_client.post(reverse(LIST), data, follow=True)
    assert "Good: v1 is published." in messages(response)
    assert any("The prompt has no rows" in message for message in messages(response))
    assert good.published
    assert not bad.published


def test_A32_who_may_only_edit_cannot_publish_in_any_way(editor):
    chain = make_chain(publish=False)
    text = said(editor.get(page(chain)))
    assert "Publish what is saved" not in text
    assert "Save and publish" not in text
    assert "publish_selected" not in said(editor.get(reverse(LIST)))
    assert publish(editor, chain).status_code == 403
    prompt = chain.prompt
    assert editor.post(page(chain), form(prompt, slug="echo", _publish="yes")).status_code == 403
    editor.post(reverse(LIST), {"action": "publish_selected", "_selected_action": [chain.pk]})
    assert not ChainVersion.objects.exists()


def test_who_may_only_publish_publishes_and_cannot_edit(publisher):
    chain = make_chain(publish=False)
    assert "Publish what is saved" in said(publisher.get(page(chain)))
    publish(publisher, chain)
    assert chain.published
    assert publisher.post(page(chain), form(chain.prompt, title="New")).status_code == 403


def test_publishing_needs_post_a_csrf_token_and_a_staff_member(admin_client, admin_user, client):
    chain = make_chain(publish=False)
    address = reverse("admin:openrouter_app_chain_publish", args=[chain.pk])
    assert admin_client.get(address).status_code == 405
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(admin_user)
    assert strict.post(address).status_code == 403
    client.force_login(make_user())
    assert client.post(address).status_code == 302
    assert Client().post(address).status_code == 302
    assert not ChainVersion.objects.exists()


def test_publishing_what_is_not_there_is_not_found(admin_client):
    address = reverse("admin:openrouter_app_chain_publish", args=[999])
    assert admin_client.post(address).status_code == 404


def test_list_takes_a_fixed_number_of_queries(admin_client, django_assert_num_queries):
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    make_joke_chain("one")
    with CaptureQueriesContext(
        connection,
    ) as queries:
        admin_client.get(reverse(LIST))
    for name in ("two", "three", "four"):
        make_joke_chain(name)
    with django_assert_num_queries(len(queries)):
        admin_client.get(reverse(LIST))


def test_what_a_chain_is_called_is_text(admin_client):
    chain = make_chain(title="<script>alert(1)</script>", publish=False)
    responses = [admin_client.get(page(chain)), publish(admin_client, chain), admin_client.get(reverse(LIST))]
    for response in responses:
        assert "<script>alert" not in response.content.decode()
