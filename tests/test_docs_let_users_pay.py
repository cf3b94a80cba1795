"""docs/let-users-pay.md is true: its blocks run."""

from __future__ import annotations

import os
import re
from decimal import Decimal
from html import unescape
from pathlib import Path

import pytest
from django.contrib.auth import get_user_model
from django.template import engines
from django.urls import include, path

from openrouter_app import keys
from openrouter_app.background import in_background
from openrouter_app.conf import get_settings
from openrouter_app.engine import client as engine_client
from openrouter_app.engine.accounts import KeyInfo
from openrouter_app.engine.client import httpx
from openrouter_app.engine.secret import Secret
from openrouter_app.models import Chain, UserKey

from .factories import make_chain

TEXT = (Path(__file__).parents[1] / "docs" / "let-users-pay.md").read_text()
BLOCK = re.compile(r"^```\w+\n(?:# |\{# )([\w ]+?)(?: #\})?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = dict(BLOCK.findall(TEXT))
pytestmark = pytest.mark.django_db
urlpatterns = [path("chat/", include("openrouter_app.urls"))]


@pytest.fixture(autouse=True)
def closed():
    """The connections that a request has opened."""
    yield
    in_background(engine_client.aclose()).result(10)


def run(block: str, **names):
    names |= {"os": os, "re": re, "httpx": httpx, "unescape": unescape, "keys": keys}
    exec(BLOCKS[block], names)
    return names


def test_every_payer_is_explained():
    rows = re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE)
    assert rows == ["payer", *Chain.Payer.values]


def test_payer_is_set():
    chain = make_chain("support")
    run("payer")
    chain.refresh_from_db()
    assert chain.payer == "user_or_site"
    assert chain.users_may_pay


def test_settings_are_settings(settings, monkeypatch):
    monkeypatch.setenv("OPENROUTER_ENCRYPTION_KEY", "k" * 44)
    settings.OPENROUTER = run("settings", OPENROUTER={})["OPENROUTER"]
    assert get_settings().KEY_LIMIT == 5
    named = re.findall(r"`([A-Z_]+)`", TEXT.split("## Settings")[1].split("## Link")[0])
    own = set(get_settings().__struct_fields__)
    assert own & set(named) >= {*settings.OPENROUTER, "ALLOW_PASTED_KEYS", "WEB_URL"}


def test_link_comes_back(rf):
    template = engines["django"].from_string(BLOCKS["account link"])
    html = template.render({"request": rf.get("/help/", {"a": "b"})}, rf.get("/help/?a=b"))
    assert '/account/?next=/help/%3Fa%3Db"' in html


def test_connected_account_is_looked_up():
    user = get_user_model().objects.create_user("ada")
    assert run("look", user=user)["connected"] is False
    left = KeyInfo(limit_remaining=Decimal(2))
    keys.store(user, Secret("sk-or-v1-CANARYCANARY"), UserKey.Origin.OAUTH, left)
    found = run("look", user=user)
    assert (found["connected"], found["left"]) == (True, 2)


@pytest.mark.urls(__name__)
def test_example_of_a_test_passes(client, django_user_model, openrouter, settings):
    run("test")["test_user_pays"](client, django_user_model, openrouter, settings)


def test_page_is_found_from_the_readme():
    assert "(docs/let-users-pay.md)" in (Path(__file__).parents[1] / "README.md").read_text()
