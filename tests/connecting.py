"""Signing in at the fake OpenRouter as a browser does, without one."""

from __future__ import annotations

import re
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlsplit

from django.test import Client
from django.urls import reverse

from openrouter_app.engine.client import httpx

ACCOUNT = "/account/"


def go_to_openrouter(client: Client, **posted: str) -> str:
    """Press "Connect": the address that the page goes on to."""
    response = client.post(reverse("openrouter_app:connect"), posted)
    assert response.status_code == 200, response.content
    return address_in(response)


def address_in(response: Any) -> str:
    """Where a page goes on to by itself."""
    [found] = re.findall(r'http-equiv="refresh" content="0; url=([^"]*)"', response.content.decode())
    return unescape(found)


def asked(url: str) -> dict[str, str]:
    """The query of an address."""
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


def consent(url: str) -> str:
    """Press "Authorize": the address one is led back to, without its host."""
    response = httpx.post(url)
    assert response.status_code == 303, response.text
    parts = urlsplit(response.headers["location"])
    return f"{parts.path}?{parts.query}"


def connect(client: Client, **posted: str) -> Any:
    """The whole sign-in: the answer of the callback."""
    return client.get(consent(go_to_openrouter(client, **posted)))


def key_at(fake: Any) -> str:
    """The newest key that the fake has issued."""
    return list(fake.accounts.keys)[-1]


def browser_of(user: Any = None, **options: Any) -> Client:
    """A browser at this machine's own site, where the user is signed in."""
    client = Client(SERVER_NAME="localhost", **options)
    if user is not None:
        client.force_login(user)
    return client
