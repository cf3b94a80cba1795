"""A message and a decision from a page without JavaScript, and what the page says where one is refused."""

from __future__ import annotations

import asyncio

import pytest
from asgiref.sync import iscoroutinefunction
from django.db import connections
from django.test import AsyncClient
from django.urls import reverse

from openrouter_app import background, runs, tool_handlers
from openrouter_app.database import in_database_thread as make
from openrouter_app.engine import client as engine_client
from openrouter_app.models import Chain, Conversation, Message, Run, ToolSpec
from openrouter_app.urls import urlpatterns
from openrouter_app.views import sending

from .factories import make_chain, make_user
from .talking import browser_of, make_chat, make_conversation, visitor

pytestmark = pytest.mark.django_db(transaction=True)
JSON = {"Accept": "application/json"}


@pytest.fixture
def site(openrouter, settings):
    """A chat whose model is the fake, for requests that come over WSGI, one thread each."""
    settings.OPENROUTER = {"API_KEY": "test", "BASE_URL": openrouter.base_url, "FLUSH_INTERVAL": 0.02}
    make_chat()
    yield openrouter
    background.in_background(_closed()).result(10)


async def _closed():
    for live in runs.registry.all_executing():
        if live.loop is asyncio.get_running_loop():
            live.stop("user")
            await asyncio.wait([live.task], timeout=5)
    await engine_client.aclose()


def send(client, slug="chat", **fields):
    headers = fields.pop("headers", None)
    return client.post(reverse("openrouter_app:send", args=[slug]), fields, headers=headers)


def test_message_is_answered_and_the_page_comes_with_it(site):
    site.reply("Because ", "of Rayleigh.")
    client = browser_of(visitor())
    response = send(client, **{"input.message": "Why is it blue?", "client_id": "f1"})
    made = Conversation.objects.get()
    anchor = f"message-{made.head.uuid}"
    assert response["Location"] == reverse("openrouter_app:conversation", args=[made.uuid]) + f"#{anchor}"
    html = client.get(response["Location"]).content.decode()
    assert f'id="{anchor}"' in html
    assert "Why is it blue?" in html
    assert "Because of Rayleigh." in html
    assert made.title == "Why is it blue?"


def test_next_message_goes_to_the_end_and_the_model_hears_what_was_said(site):
    site.reply("one")
    site.reply("two")
    client = browser_of(visitor())
    send(client, message="first")
    made = Conversation.objects.get()
    send(client, conversation=made.uuid, message="second\r\nline")
    data = client.get(reverse("openrouter_app:conversation-data", args=[made.uuid])).json()
    assert [message.get("text") for message in data["messages"]] == ["first", None, "second\nline", None]
    told = site.requests[-1].json["messages"]
    assert [message["content"] for message in told] == ["Be brief.", "first", "one", "second\nline"]


def test_edit_and_regenerate_make_versions(site):
    for word in ("one", "two", "three"):
        site.reply(word)
    client = browser_of(visitor())
    send(client, message="first")
    made = Conversation.objects.get()
    question = Message.objects.get(role="user")
    send(client, conversation=made.uuid, parent=question.uuid)
    assert question.children.count() == 2
    send(client, conversation=made.uuid, parent="null", message="edited")
    assert Message.objects.filter(parent=None).count() == 2


def test_form_sent_twice_is_one_message_and_changed_it_is_another(site):
    site.reply("one")
    site.reply("two")
    client = browser_of(visitor())
    assert (
        send(client, message="hi", client_id="f1")["Location"]
        == (send(client, message="hi", client_id="f1")["Location"])
    )
    assert Conversation.objects.count() == 1
    send(client, message="hi there", client_id="f1")
    assert Conversation.objects.count() == 2


def test_another_model_chosen_makes_it_another_message(site):
    make_chat("choice", client_models=["a/c"])
    site.reply("one")
    site.reply("two")
    client = browser_of(visitor())
    send(client, "choice", message="hi", client_id="f1")
    send(client, "choice", message="hi", client_id="f1", model="a/c")
    assert [request.json["model"] for request in site.requests] == ["a/b", "a/c"]


@pytest.mark.parametrize("pattern", urlpatterns, ids=lambda pattern: pattern.name)
def test_view_that_waits_is_in_no_transaction_of_the_sites(pattern):
    if iscoroutinefunction(pattern.callback):
        assert pattern.callback._non_atomic_requests == {"default"}


def test_site_with_a_transaction_for_each_request_gets_its_answer(site, monkeypatch):
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)
    site.reply("fine")
    client = browser_of(visitor())
    response = send(client, message="hi")
    assert "fine" in client.get(response["Location"]).content.decode()
    assert decide(client, Run.objects.get(), JSON, approve="true").status_code in (404, 409)
    made = Conversation.objects.get()
    client.post(reverse("openrouter_app:conversation-delete", args=[made.uuid]))
    assert not Conversation.objects.exists()


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({}, 400, "invalid_input"),
        ({"message": "x", "more": "y"}, 400, "invalid_input"),
        ({"message": "x", "model": "vendor/other"}, 400, "invalid_input"),
    ],
)
def test_refused_message_comes_back_with_a_sentence(site, fields, status, code):
    client = browser_of(visitor())
    response = send(client, **fields)
    assert response.status_code == status
    html = response.content.decode()
    assert 'role="alert"' in html
    assert fields.get("message", "") in html
    answer = send(client, **fields, headers=JSON)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert not Run.objects.exists()
    assert not Conversation.objects.exists()


def test_second_message_while_an_answer_is_written_is_refused_and_kept(site, settings):
    owner = visitor()
    made = make_conversation(owner, "hi")
    from .talking import say

    say(made, "two", status="waiting")
    response = send(browser_of(owner), conversation=made.uuid, message="keep this text")
    assert response.status_code == 409
    html = response.content.decode()
    assert "keep this text" in html
    assert " required autofocus " in html  # where the page opens, below what was said
    assert Run.objects.count() == 2


def test_failed_answer_says_why_on_the_page(site):
    site.error(402)
    client = browser_of(visitor())
    response = send(client, message="hi")
    assert response.status_code == 302
    run = Run.objects.get()
    assert run.error_message
    assert run.error_message in client.get(response["Location"]).content.decode()


def test_page_comes_back_while_a_long_answer_goes_on(site, monkeypatch):
    monkeypatch.setattr(sending, "WAIT", 0.3)
    site.reply("slow", "er", delay=1)
    response = send(browser_of(visitor()), message="hi")
    assert response.status_code == 302
    run = Run.objects.get()
    assert run.status == "running"
    background.in_background(runs.wait(run.uuid)).result(10)
    run.refresh_from_db()
    assert (run.status, run.output) == ("done", "slower")


async def test_under_asgi_the_run_is_the_servers(provider):
    await make(make_chat)()
    provider.reply("fine")
    client = AsyncClient()
    client.cookies = (await make(browser_of)(visitor())).cookies
    response = await client.post(reverse("openrouter_app:send", args=["chat"]), {"message": "hi"})
    assert response.status_code == 302
    run = await Run.objects.aget()
    assert (run.status, run.output) == ("done", "fine")
    assert (
        runs.registry.find(run.uuid) is None
        or runs.registry.find(run.uuid).loop is asyncio.get_running_loop()
    )


def test_chain_without_a_history_answers_on_its_own_page(site):
    make_chain("once")
    site.reply("Whales ", "are mammals.")
    client = browser_of(visitor())
    response = send(client, "once", text="a question")
    assert response.status_code == 200
    html = response.content.decode()
    assert "Whales are mammals." in html
    assert "a question" in html
    assert Conversation.objects.count() == 0


def test_chain_that_is_not_his_is_not_there(site):
    make_chain("crew", access="staff")
    make_chain("members", access="authenticated")
    client = browser_of(visitor())
    for slug in ("crew", "missing"):
        assert send(client, slug, text="x").status_code == 404
    response = send(client, "members", text="x")
    assert (response.status_code, response["Location"]) == (302, "/admin/login/?next=/chains/members/")
    assert not Run.objects.exists()


def test_conversation_of_another_chain_is_not_there(site):
    owner = visitor()
    made = make_conversation(owner, "hi", chain=make_chat("other"))
    assert send(browser_of(owner), conversation=made.uuid, message="x").status_code == 404


def test_a4_who_was_switched_off_or_signed_out_sends_nothing_more(site):
    user = make_user()
    from openrouter_app.models import Owner

    owner = Owner.of_user(user)
    made = make_conversation(owner, "hi")
    client = browser_of(owner)
    address = reverse("openrouter_app:conversation", args=[made.uuid])
    assert client.get(address).status_code == 200
    user.set_password("another")
    user.save()
    assert client.get(address).status_code == 404
    assert send(client, conversation=made.uuid, message="x").status_code == 404
    client.force_login(user)
    assert client.get(address).status_code == 200
    user.is_active = False
    user.save()
    assert client.get(address).status_code == 404
    assert send(client, conversation=made.uuid, message="x").status_code == 404
    assert Run.objects.count() == 1


def test_a4_access_is_looked_at_again_with_each_message(site):
    site.reply("fine")
    owner = visitor()
    client = browser_of(owner)
    send(client, message="hi")
    made = Conversation.objects.get()
    Chain.objects.update(enabled=False)
    response = send(client, conversation=made.uuid, message="keep me", headers=JSON)
    assert (response.status_code, response.json()["error"]["code"]) == (403, "forbidden")
    assert Run.objects.count() == 1


def bake(context, cake):
    """Bake a cake."""
    return {"baked": cake}


@pytest.fixture
def asking(site, monkeypatch):
    """A chat that wants to bake, and has to ask who it talks to."""
    monkeypatch.setitem(tool_handlers._handlers, "bake", tool_handlers.Handler("bake", bake))
    schema = {"type": "object", "properties": {"cake": {"type": "string"}}, "required": ["cake"]}
    tool = ToolSpec.objects.create(name="bake", schema=schema, handler="bake", approval="owner")
    make_chat("baker", tools=(tool,))
    make_chain("once", tools=(tool,))
    site.call("bake", {"cake": "cheese"}, id="c1")
    return site


def decide(client, run, headers=None, **fields):
    address = reverse("openrouter_app:decide", args=[run.uuid])
    return client.post(address, {"call": "c1", **fields}, headers=headers)


def test_approval_by_a_form_lets_the_answer_go_on(asking):
    asking.reply("It is baked.")
    client = browser_of(visitor())
    response = send(client, "baker", message="bake")
    run = Run.objects.get()
    assert run.status == "waiting"
    html = client.get(response["Location"]).content.decode()
    assert f'action="{reverse("openrouter_app:decide", args=[run.uuid])}"' in html
    response = decide(client, run, approve="true")
    run.refresh_from_db()
    page = reverse("openrouter_app:conversation", args=[run.conversation.uuid])
    assert response["Location"] == f"{page}#message-{run.message.uuid}"
    assert (run.status, run.output) == ("done", "It is baked.")
    assert "It is baked." in client.get(response["Location"]).content.decode()


def test_refusal_by_a_form_reaches_the_model_with_its_reason(asking):
    asking.reply("As you like.")
    client = browser_of(visitor())
    send(client, "baker", message="bake")
    run = Run.objects.get()
    response = decide(client, run, JSON, approve="false", reason="I am on a diet")
    assert response.json() == {"run": str(run.uuid)}
    run.refresh_from_db()
    assert run.output == "As you like."
    assert "I am on a diet" in str(asking.requests[-1].json["messages"])


def test_second_decision_and_none_at_all_are_refused_with_a_sentence(asking):
    asking.reply("Fine.")
    client = browser_of(visitor())
    send(client, "baker", message="bake")
    run = Run.objects.get()
    assert decide(client, run, JSON, approve="perhaps").status_code == 400
    assert decide(client, run, JSON).json()["error"]["code"] == "invalid_input"
    assert decide(client, run, approve="true").status_code == 302
    assert decide(client, run, approve="true").status_code == 302  # the same again does nothing
    other = decide(client, run, JSON, approve="false")
    assert (other.status_code, other.json()["error"]["code"]) == (409, "decided")
    html = decide(client, run, approve="false").content.decode()
    assert "This call has been decided already." in html


def test_answer_outside_a_conversation_is_there_after_the_decision(asking):
    asking.reply("It is baked.")
    client = browser_of(visitor())
    assert decides(send(client, "once", text="bake me something"))
    run = Run.objects.get()
    refused = decide(client, run, approve="perhaps")
    assert (refused.status_code, decides(refused)) == (400, True)
    assert "Say whether the call may run or not." in refused.content.decode()
    response = decide(client, run, approve="true")
    assert response.status_code == 200
    html = response.content.decode()
    assert "It is baked." in html
    assert "bake me something" in html
    again = decide(client, run, approve="false")
    assert again.status_code == 409
    html = again.content.decode()
    assert "This call has been decided already." in html
    assert "It is baked." in html


def decides(response):
    """Whether the page asks for a decision."""
    return reverse("openrouter_app:decide", args=[Run.objects.get().uuid]) in response.content.decode()


def test_a3_decision_of_somebody_else_is_none(asking):
    send(browser_of(visitor(1)), "baker", message="bake")
    run = Run.objects.get()
    assert decide(browser_of(visitor(2)), run, approve="true").status_code == 404
    run.refresh_from_db()
    assert run.status == "waiting"


def test_failure_speaks_the_readers_language(site):
    site.error(402)
    client = browser_of(visitor())
    address = reverse("openrouter_app:send", args=["chat"])
    client.post(address, {"message": "Hallo"}, headers={"Accept-Language": "de"})
    assert Run.objects.get().error_message.startswith("Das Guthaben des OpenRouter-Kontos reicht nicht")
