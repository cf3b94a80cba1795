"""Where a run lacks an OpenRouter account, its page offers one: two clicks, and the way back."""

from __future__ import annotations

from urllib.parse import unquote

import pytest
from django.contrib.auth import get_user_model
from django.template import engines

from openrouter_app import keys
from openrouter_app.background import in_background
from openrouter_app.engine import client as engine_client
from openrouter_app.engine.accounts import KeyInfo
from openrouter_app.engine.secret import Secret
from openrouter_app.models import Owner, Run, SignIn, UserKey

from .connecting import ACCOUNT, address_in, browser_of, consent, key_at
from .factories import make_chain
from .pressing import buttons, press
from .talking import make_chat, make_conversation, say

pytestmark = pytest.mark.django_db
sends = pytest.mark.django_db(transaction=True)
CONNECT = "Connect your OpenRouter account"
OWN = "Your OpenRouter account"
SHORTER = "Ask for a shorter answer (512 tokens at most)"


@pytest.fixture
def ada(openrouter, settings):
    settings.OPENROUTER = {"BASE_URL": openrouter.base_url, "API_KEY": "the-sites"}
    yield get_user_model().objects.create_user("ada")
    in_background(engine_client.aclose()).result(10)


@pytest.fixture
def client(ada):
    return browser_of(ada, enforce_csrf_checks=True)


def have_a_key(user):
    return keys.store(user, Secret("sk-or-v1-" + "0" * 49), UserKey.Origin.OAUTH, KeyInfo())


def said(response) -> str:
    return unquote(response.content.decode())


def texts(response) -> list[str]:
    return [button.text for button in buttons(response)]


def send(client, slug="chat", **fields):
    """From the page's own form, token and all."""
    page = client.get(f"/chains/{slug}/")
    [form] = {id(each.form): each.form for each in buttons(page) if each.text in ("", "Run Ctrl ↵")}.values()
    return client.post(form.attributes["action"], {**form.fields, **fields})


def failed(user, chain, code="key_rejected", **fields):
    """The address of a conversation whose answer came to no good end."""
    made = make_conversation(Owner.of_user(user), chain=chain)
    say(made, "Hello", status="failed", error_code=code, error_message="No.", **fields)
    return f"/conversations/{made.uuid}/"


# ---- two clicks ----


@sends
@pytest.mark.parametrize(("slug", "field"), [("chat", "message"), ("once", "text")])
def test_refused_question_is_two_clicks_from_an_account_and_from_being_asked_again(
    client, ada, openrouter, slug, field
):
    make_chat(payer="user")
    make_chain("once", payer="user")
    refused = send(client, slug, **{field: "Hello"})
    assert refused.status_code == 402
    assert "Hello" in said(refused)
    assert not openrouter.requests
    going_on = press(client, refused, CONNECT)  # the first click
    back = client.get(consent(address_in(going_on)))  # and the second one
    assert back["Location"] == f"/chains/{slug}/"
    openrouter.reply("Here I am.")
    answered = send(client, slug, **{field: "Hello"})
    if answered.status_code == 302:
        answered = client.get(answered["Location"])
    assert "Here I am." in said(answered)
    assert openrouter.requests[-1].api_key == key_at(openrouter)


@sends
def test_answer_that_lacked_an_account_is_asked_again_when_there_is_one(client, ada, openrouter):
    here = failed(ada, make_chat(payer="user"))
    going_on = press(client, client.get(here), CONNECT)
    assert client.get(consent(address_in(going_on)))["Location"] == here
    page = client.get(here)
    assert "Your OpenRouter account is connected: ask again." in said(page)
    assert CONNECT not in [*texts(page), *said(page).split('class="openrouter-offer"')]
    openrouter.reply("Here I am.")
    again = press(client, page, "Try again")
    assert "Here I am." in said(client.get(again["Location"]))
    assert openrouter.requests[-1].api_key == key_at(openrouter)


def test_page_is_come_back_to_as_it_was(client, ada, settings):
    make_chat(payer="user")
    made = make_conversation(Owner.of_user(ada))
    say(made, "Hello", status="failed", error_code="needs_key", error_message="No.")
    page = client.get(f"/conversations/{made.uuid}/?message={made.head.uuid}")
    [form] = [button.form for button in buttons(page) if button.text == CONNECT]
    assert form.fields["next"] == f"/conversations/{made.uuid}/?message={made.head.uuid}"


def test_two_chats_of_a_page_have_a_form_each(rf, ada):
    make_chat(payer="user")
    request = rf.get("/help/", headers={"host": "localhost"})
    request.user, request.session = ada, {}
    source = '{% load openrouter_app %}{% openrouter_chat "chat" %}{% openrouter_chat "chat" %}'
    html = engines["django"].from_string(source).render({"request": request}, request)
    assert html.count('data-target="connect"') == 2
    assert len(set(html.split('id="openrouter-connect-')[1:])) == 2
    assert html.count('name="next" value="/help/"') == 2


# ---- A12: what starts a sign-in ----


@sends
@pytest.mark.parametrize("origin", ["https://evil.com", "null"])
def test_a12_offer_pressed_on_another_site_begins_nothing(client, origin):
    make_chat(payer="user")
    refused = send(client, message="Hello")
    assert press(client, refused, CONNECT, origin=origin).status_code == 403
    assert not SignIn.objects.exists()


@sends
def test_a12_offer_without_its_token_begins_nothing(client):
    make_chat(payer="user")
    [form] = [button.form for button in buttons(send(client, message="Hello")) if button.text == CONNECT]
    del form.fields["csrfmiddlewaretoken"]
    assert client.post(form.attributes["action"], form.fields).status_code == 403
    assert not SignIn.objects.exists()


# ---- where one goes by the account's page ----


def test_who_is_not_signed_in_is_led_to_sign_in(ada):
    make_chat(payer="user_or_site")
    stranger = browser_of()
    page = stranger.get("/chains/chat/")
    assert 'data-target="connect"' not in said(page)
    assert '"account": "/account/"' in said(page)


@sends
def test_refused_stranger_gets_a_link(ada):
    make_chat(payer="user", access="public")
    refused = browser_of().post("/chains/chat/send/", {"message": "Hello"})
    assert refused.status_code == 402
    assert CONNECT not in texts(refused)
    assert f'href="{ACCOUNT}?next=/chains/chat/">{CONNECT}</a>' in said(refused)


def test_site_that_openrouter_cannot_lead_back_to_says_so_on_the_accounts_page(ada, settings):
    settings.ALLOWED_HOSTS = ["shop.example"]
    here = failed(ada, make_chat(payer="user"))
    client = browser_of(ada)
    plain = client.get(here, SERVER_NAME="shop.example")
    assert f'href="{ACCOUNT}?next={here}">{CONNECT}</a>' in said(plain)
    assert CONNECT not in texts(plain)
    assert CONNECT in texts(client.get(here, SERVER_NAME="shop.example", secure=True))


@pytest.mark.parametrize(
    ("code", "button"), [("key_rejected", CONNECT), ("needs_key", CONNECT), ("credit", None)]
)
def test_credit_of_ones_own_is_looked_after_on_the_accounts_page(client, ada, code, button):
    page = client.get(failed(ada, make_chat(payer="user"), code, payer="user"))
    assert (button in texts(page)) is (button is not None)
    assert (f">{OWN}</a>" in said(page)) is (button is None)


def test_who_has_an_account_is_not_asked_to_connect_one(client, ada):
    have_a_key(ada)
    page = client.get(failed(ada, make_chat(payer="user"), "credit"))
    assert CONNECT not in texts(page)
    assert f">{OWN}</a>" in said(page)


def test_key_that_does_not_open_counts_as_none(client, ada):
    have_a_key(ada)
    UserKey.objects.update(uuid="00000000-0000-0000-0000-000000000000")
    assert CONNECT in texts(client.get(failed(ada, make_chat(payer="user"))))


def test_chain_that_the_site_pays_for_offers_none(client, ada):
    page = client.get(failed(ada, make_chat()))
    assert CONNECT not in texts(page)
    assert ACCOUNT not in said(page)


# ---- a shorter answer ----


@sends
@pytest.mark.parametrize(("slug", "field"), [("chat", "message"), ("once", "text")])
def test_answer_too_long_for_the_account_is_asked_for_again_without_a_script(
    client, ada, openrouter, slug, field
):
    make_chat()
    make_chain("once")
    openrouter.error("cannot_afford")
    page = send(client, slug, **{field: "One\r\n<two> &amp; “three”"})
    if page.status_code == 302:
        page = client.get(page["Location"])
    assert "Try again" not in texts(page)
    openrouter.reply("Short.")
    again = press(client, page, SHORTER)
    twice = press(client, page, SHORTER)
    shown = client.get(again["Location"]) if again.status_code == 302 else again
    assert "Short." in said(shown)
    assert openrouter.requests[-1].json["max_completion_tokens"] == 512
    first, second = Run.objects.order_by("pk")
    assert (second.input, second.options) == (first.input, {"max_tokens": 512})
    assert twice.status_code == again.status_code  # and no third run


@sends
@pytest.mark.parametrize("tokens", ["513", "0", "-1", "x", "5" * 30, "512.0", "\uff15"])
def test_more_than_the_account_can_pay_is_not_taken_from_a_form(client, ada, openrouter, tokens):
    make_chat()
    openrouter.error("cannot_afford")
    page = client.get(send(client, message="Hello")["Location"])
    [form] = [button.form for button in buttons(page) if button.text == SHORTER]
    refused = client.post(form.attributes["action"], {**form.fields, "options.max_tokens": tokens})
    assert refused.status_code == 400
    assert Run.objects.count() == 1


def test_number_of_tokens_is_sent_as_one_whatever_a_site_puts_between_its_digits(client, ada, settings):
    settings.USE_THOUSAND_SEPARATOR = True
    details = {"details": {"affordable_tokens": 2048}}
    page = client.get(failed(ada, make_chat(), "credit", private=details))
    [form] = [button.form for button in buttons(page) if "2,048" in button.text]
    assert form.fields["options.max_tokens"] == "2048"


@pytest.mark.parametrize("tokens", [0, -1, True, "512", None, {}])
def test_what_is_no_number_of_tokens_is_not_offered(client, ada, tokens):
    details = {"details": {"affordable_tokens": tokens}}
    page = client.get(failed(ada, make_chat(), "credit", private=details))
    assert "No." in said(page)
    assert [text for text in texts(page) if "shorter" in text] == []


def test_tokens_of_another_error_are_not_offered(client, ada):
    details = {"details": {"affordable_tokens": 512}}
    page = client.get(failed(ada, make_chat(), "provider", private=details))
    assert [text for text in texts(page) if "shorter" in text] == []


def test_who_may_only_read_is_not_told_to_ask_again(client, ada):
    chain = make_chat()
    here = failed(ada, chain, "credit", private={"details": {"affordable_tokens": 512}})
    chain.enabled = False
    chain.save()
    page = client.get(here)
    assert "No." in said(page)
    assert SHORTER not in texts(page)


@sends
def test_answer_that_may_come_the_next_time_is_asked_for_again(client, ada, openrouter):
    here = failed(ada, make_chat(), "provider", retryable=True)
    openrouter.reply("Fine.")
    again = press(client, client.get(here), "Try again")
    assert "Fine." in said(client.get(again["Location"]))
