"""Every admin page of the app: works under the site's policy, and knows no secret."""

from __future__ import annotations

import re
from uuid import uuid4

import pytest
from django.contrib.staticfiles import finders
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from openrouter_app import keys
from openrouter_app.engine.accounts import KeyInfo
from openrouter_app.engine.secret import Secret
from openrouter_app.models import Conversation, Run, ToolCall
from tests.factories import make_joke_chain, make_user

pytestmark = pytest.mark.django_db

CANARY = "sk-or-v1-CANARYCANARYCANARY"
MODELS = ("prompttemplate", "toolspec", "chain", "chainversion", "run", "toolcall", "conversation", "userkey")
INLINE = re.compile(
    r"<style|\sstyle=|\son\w+=|javascript:|<script(?![^>]*\ssrc=)(?![^>]*application/json)", re.I
)


@pytest.fixture
def addresses():
    """Every page there is, with something on it."""
    chain = make_joke_chain()
    run = Run.objects.create(chain=chain, version=chain.published, input={"foo": "bears"})
    call = ToolCall.objects.create(run=run, call="c", name="joke", arguments="{}", status="waiting")
    rows = {
        "prompttemplate": chain.prompt,
        "toolspec": chain.forced_tool,
        "chain": chain,
        "chainversion": chain.published,
        "run": run,
        "toolcall": call,
        "conversation": Conversation.objects.create(chain=chain, visitor=uuid4(), title="About bears"),
        "userkey": keys.store(make_user("payer"), Secret(CANARY), "oauth", KeyInfo(label="Example")),
    }
    pages = ["admin:index"]
    found = [reverse(page) for page in pages]
    for model in MODELS:
        found.append(reverse(f"admin:openrouter_app_{model}_changelist"))
        found.append(reverse(f"admin:openrouter_app_{model}_change", args=[rows[model].pk]))
        found.append(reverse(f"admin:openrouter_app_{model}_history", args=[rows[model].pk]))
        if model in ("prompttemplate", "toolspec", "chain"):
            found.append(reverse(f"admin:openrouter_app_{model}_add"))
    return found


def test_pages_have_no_inline_script_or_style_and_send_the_policy(admin_client, addresses):
    for address in addresses:
        response = admin_client.get(address)
        assert response.status_code == 200, address
        assert INLINE.search(response.content.decode()) is None, address
        assert "script-src 'self'" in response.headers["Content-Security-Policy"]


@pytest.mark.parametrize("model", MODELS)
def test_list_asks_as_much_for_ten_chains_as_for_one(admin_client, django_assert_num_queries, model):
    def run_a_new_chain(name):
        chain = make_joke_chain(name)
        user = make_user(name)
        conversation = Conversation.objects.create(chain=chain, user=user, title=name)
        run = Run.objects.create(
            chain=chain, version=chain.published, user=user, conversation=conversation, status="waiting"
        )
        ToolCall.objects.create(
            run=run, call="c", name="joke", arguments="{}", status="waiting", approval="staff"
        )
        keys.store(user, Secret(CANARY), "oauth", KeyInfo())

    address = reverse(f"admin:openrouter_app_{model}_changelist")
    run_a_new_chain("first")
    with CaptureQueriesContext(connection) as queries:
        admin_client.get(address)
    for number in range(9):
        run_a_new_chain(f"more-{number}")
    with django_assert_num_queries(len(queries)):
        response = admin_client.get(address)
    assert len(response.context["cl"].result_list) == 10


def test_A13_no_page_knows_the_key(admin_client, addresses, settings):
    settings.OPENROUTER = {"API_KEY": CANARY}
    for address in addresses:
        assert CANARY not in admin_client.get(address).content.decode(), address


def test_static_files_are_where_the_pages_look_for_them(admin_client, addresses):
    for address in addresses:
        for path in re.findall(
            r'"/static/(openrouter_app/[^"]+)"', admin_client.get(address).content.decode()
        ):
            assert finders.find(path), path


def test_stylesheet_takes_its_colours_from_the_admin():
    with open(finders.find("openrouter_app/admin/admin.css")) as file:
        css = file.read()
    assert not re.search(r"#[0-9a-f]{3,8}\b|rgb\(|hsl\(", css)
