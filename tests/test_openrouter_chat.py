"""The template tag: a chat in any template of a project."""

from __future__ import annotations

import json
import logging
import re

import pytest
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.backends.db import SessionStore
from django.template import Context, RequestContext, Template, TemplateSyntaxError
from django.test import RequestFactory
from django.urls import reverse

from openrouter_app.models import Chain, Owner

from .factories import make_chain, make_user
from .talking import browser_of, make_chat, make_conversation, visitor

pytestmark = pytest.mark.django_db
ONE = '{% load openrouter_app %}{% openrouter_chat "chat" %}'


def request_of(owner: Owner | None = None):
    request = RequestFactory().get("/somewhere/")
    request.user, request.session = AnonymousUser(), SessionStore()
    if owner is not None and owner.user_id is not None:
        from django.contrib.auth import get_user_model

        request.user = get_user_model().objects.get(pk=owner.user_id)
    elif owner is not None:
        request.session["openrouter_visitor"] = str(owner.visitor)
    return request


def rendered(source: str, request=None, **context) -> str:
    return Template(source).render(RequestContext(request or request_of(), context))


def configs(html: str) -> list[dict]:
    return [
        json.loads(text) for text in re.findall(r"<script[^>]*data-config>(.*?)</script>", html, re.DOTALL)
    ]


def test_one_line_brings_a_chat_into_a_template():
    make_chat()
    html = rendered(ONE)
    assert html.count("<openrouter-chat ") == 1
    assert 'chain="chat"' in html
    assert 'type="module"' in html
    [config] = configs(html)
    assert (config["chain"], config["conversation"], config["data"]) == ("chat", None, None)
    assert config["message_variable"] == "message"
    assert [field["name"] for field in config["fields"]] == ["message"]
    assert config["urls"]["rename"] == "/conversations/{conversation}/rename/"
    assert config["urls"]["decide"] == "/runs/{run}/decide/"
    assert config["urls"]["page"] == "/chains/chat/"
    assert config["socket"] == "/ws/openrouter/"
    assert "csrfmiddlewaretoken" in html


def test_visitor_gets_an_id_by_which_his_answers_find_him():
    make_chat()
    request = request_of()
    rendered(ONE, request)
    assert request.session["openrouter_visitor"]


def test_stylesheets_and_script_come_once():
    make_chat()
    make_chat("other")
    html = rendered(
        ONE + '{% openrouter_chat "chat" %}{% for x in "ab" %}{% openrouter_chat slug %}{% endfor %}',
        slug="other",
    )
    assert html.count("<openrouter-chat ") == 4
    assert len(configs(html)) == 4
    assert html.count("js/openrouter-chat.js") == 1
    assert html.count("css/chat.css") == 1


def test_conversation_of_the_visitor_is_opened():
    made = make_conversation(visitor(), "hello there")
    source = '{% load openrouter_app %}{% openrouter_chat "chat" conversation=uuid list=False %}'
    html = rendered(source, request_of(visitor()), uuid=made.uuid)
    [config] = configs(html)
    assert config["conversation"] == str(made.uuid)
    assert config["data"]["messages"][0]["text"] == "hello there"
    assert config["list"] is False
    assert f'conversation="{made.uuid}"' in html


@pytest.mark.parametrize("uuid", ["foreign", "", "x", "{'a': 1}", None])
def test_a3_conversation_of_somebody_else_is_a_new_one(uuid):
    made = make_conversation(visitor(2), "private words")
    source = '{% load openrouter_app %}{% openrouter_chat "chat" conversation=uuid %}'
    html = rendered(source, request_of(visitor()), uuid=made.uuid if uuid == "foreign" else uuid)
    assert configs(html)[0]["conversation"] is None
    assert "private words" not in html


def test_chain_that_is_not_there_is_said_to_be_missing_while_debugging(settings, caplog):
    make_chain("once")
    make_chat("draft", publish=False)
    for slug, words in (("<b>", "no chain"), ("once", "no chat"), ("draft", "not been published")):
        source = f'{{% load openrouter_app %}}{{% openrouter_chat "{slug}" %}}'
        settings.DEBUG = False
        with caplog.at_level(logging.ERROR, "openrouter_app.templates"):
            assert rendered(source) == ""
        assert words in caplog.records[-1].getMessage()
        settings.DEBUG = True
        html = rendered(source)
        assert words in html
        assert "<b>" not in html


def test_who_may_not_run_the_chain_sees_nothing_but_what_he_said_before():
    make_chat(access="staff")
    user = make_user()
    owner = Owner.of_user(user)
    assert rendered(ONE, request_of(owner)) == ""
    made = make_conversation(owner, "said before")
    source = '{% load openrouter_app %}{% openrouter_chat "chat" conversation=uuid %}'
    [config] = configs(rendered(source, request_of(owner), uuid=made.uuid))
    assert config["may_send"] is False
    assert config["data"]["messages"][0]["text"] == "said before"


def test_template_without_a_request_is_told_the_way_out():
    make_chat()
    with pytest.raises(TemplateSyntaxError, match=r"context_processors\.request"):
        Template(ONE).render(Context({}))


@pytest.mark.urls("tests.empty_urls")
def test_site_without_the_addresses_is_told_the_way_out():
    make_chat()
    with pytest.raises(TemplateSyntaxError, match=r"include\(\"openrouter_app\.urls\"\)"):
        rendered(ONE)


@pytest.mark.urls("tests.test_views")
def test_addresses_follow_the_prefix_they_are_mounted_at():
    make_chat()
    [config] = configs(rendered(ONE))
    assert config["urls"]["data"] == "/ask/conversations/{conversation}/data/"


def test_fragment_is_what_the_tag_renders_inside():
    make_chat()
    client = browser_of(visitor())
    fragment = client.get(reverse("openrouter_app:chat", args=["chat"])).content.decode()
    assert "<html" not in fragment
    assert "<openrouter-chat" not in fragment
    [config] = configs(fragment)
    assert set(config) == set(configs(rendered(ONE))[0])
    assert client.get(reverse("openrouter_app:chat", args=["none"])).status_code == 404
    Chain.objects.update(access="staff")
    assert client.get(reverse("openrouter_app:chat", args=["chat"])).status_code == 404


def test_words_of_others_end_no_script():
    hostile = "</script><script>alert(1)</script><!--"
    make_chat(title=hostile)
    made = make_conversation(visitor(), hostile, title=hostile)
    source = '{% load openrouter_app %}{% openrouter_chat "chat" conversation=uuid %}'
    html = rendered(source, request_of(visitor()), uuid=made.uuid)
    assert "<script>" not in html
    assert configs(html)[0]["data"]["title"] == hostile


def test_a33_no_prompt_stands_in_any_answer_of_the_site():
    chain = make_chat("secret", model="a/b")
    chain.prompt.rows.filter(role="system").update(text="CANARY sings")
    chain.publish()
    owner = visitor()
    made = make_conversation(owner, "hi", chain=chain)
    run = made.runs.get()
    run.private, run.error_detail = {"hidden": {"c": "CANARY result"}}, "CANARY detail"
    run.save()
    client = browser_of(owner)
    names = ("conversation", "conversation-data", "conversation-export-json", "conversation-export-md")
    addresses = [reverse(f"openrouter_app:{name}", args=[made.uuid]) for name in names]
    addresses += [
        reverse(f"openrouter_app:{name}") for name in ("index", "conversations", "conversation-list")
    ]
    addresses += [reverse(f"openrouter_app:{name}", args=["secret"]) for name in ("chain", "chat")]
    for address in addresses:
        response = client.get(address)
        assert response.status_code == 200
        assert b"CANARY" not in response.content, address
    source = '{% load openrouter_app %}{% openrouter_chat "secret" conversation=uuid %}'
    assert "CANARY" not in rendered(source, request_of(owner), uuid=made.uuid)
    assert (
        client.get(reverse("openrouter_app:conversation-list"), {"q": "CANARY"}).json()["conversations"] == []
    )


def test_inside_of_a_chat_is_overridden_block_by_block(settings, tmp_path):
    make_chat()
    own = tmp_path / "openrouter_app" / "_chat.html"
    own.parent.mkdir()
    own.write_text(
        '{% extends "openrouter_app/_chat.html" %}'
        "{% block empty %}<p>Good morning!</p>{% endblock %}"
        "{% block composer %}{{ block.super }}<small>Answers may be wrong.</small>{% endblock %}"
    )
    settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": [tmp_path]}]
    html = rendered(ONE)
    assert "<p>Good morning!</p>" in html
    assert "<small>Answers may be wrong.</small>" in html
    assert 'data-target="list"' in html
    assert 'data-target="form"' in html
    assert 'data-target="heading"' in html
