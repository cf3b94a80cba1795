"""What holds for every test: nothing leaves this machine, and no setting of the developer's gets in."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from .engine.properties import MANY

# How much the property tests try: 100 examples each, or many small ones where the environment asks.
hypothesis_settings.register_profile("usual", deadline=None)
hypothesis_settings.register_profile(
    "many",
    max_examples=2_000,
    deadline=None,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow, HealthCheck.data_too_large],
)
hypothesis_settings.load_profile("many" if MANY else "usual")


def pytest_unconfigure() -> None:
    """SQLite's side files outlive the test database where a thread still held a connection."""
    from django.conf import settings

    name = settings.DATABASES["default"].get("TEST", {}).get("NAME")
    for suffix in ("-wal", "-shm") if name else ():
        Path(f"{name}{suffix}").unlink(missing_ok=True)


@pytest.fixture(autouse=True)
def language() -> Iterator[None]:
    """A test that asked for a page in another language leaves it to no other."""
    yield
    from django.utils import translation

    translation.deactivate()


@pytest.fixture
def noon(settings: Any) -> None:
    """The site is where it is about noon: in no test does a day end, and a budget start anew, by itself."""
    from .pots import zone_at_noon

    settings.TIME_ZONE = zone_at_noon()


@pytest.fixture(autouse=True)
def layer_of_its_own() -> Iterator[None]:
    """A loop that ends with a follower on it leaves the groups of its channel joined: in no other's layer."""
    yield
    from channels.layers import channel_layers

    channel_layers.backends.clear()


@pytest.fixture(scope="session", autouse=True)
def closed_network() -> Iterator[None]:
    """A connection to another machine fails the test that makes it. Datagrams are let through."""

    def checked(original: Any) -> Any:
        def connect(self: socket.socket, address: Any) -> Any:
            if self.family in {socket.AF_INET, socket.AF_INET6} and self.type == socket.SOCK_STREAM:
                try:
                    loopback = ipaddress.ip_address(address[0]).is_loopback
                except ValueError:
                    loopback = address[0] == "localhost"
                if not loopback:
                    raise RuntimeError(f"A test tried to reach {address[0]}.")
            return original(self, address)

        return connect

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", checked(socket.socket.connect))
        patch.setattr(socket.socket, "connect_ex", checked(socket.socket.connect_ex))
        yield


@pytest.fixture(autouse=True)
def plain_settings(settings: Any) -> None:
    """The app's defaults, whatever the environment says, and passwords that cost nothing to check."""
    settings.OPENROUTER = {}
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


HAS_AIOHTTP = bool(find_spec("httpx") and find_spec("httpx_aiohttp"))


@pytest.fixture(
    params=[
        "httpx",
        pytest.param(
            "aiohttp", marks=pytest.mark.skipif(not HAS_AIOHTTP, reason="httpx-aiohttp is not installed")
        ),
    ]
)
async def transport(request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """Each transport in turn, for what runs on an event loop; threads have httpx's own. Closed at the end."""
    from openrouter_app.engine import client

    client.set_transport(request.param)
    yield request.param
    await client.aclose()
    client.close()
    client.set_transport("auto")


@pytest.fixture
async def provider(openrouter: Any, settings: Any) -> AsyncIterator[Any]:
    """The fake OpenRouter, which the settings name; at the end no run is left, and no connection to it."""
    from openrouter_app import runs
    from openrouter_app.engine import client

    given = {"API_KEY": "sk-or-v1-CANARYCANARYCANARY", "BASE_URL": openrouter.base_url}
    settings.OPENROUTER = {"FLUSH_INTERVAL": 0.02, **given, **settings.OPENROUTER}
    yield openrouter
    for live in runs.registry.all_executing():
        live.stop("user")
        await asyncio.wait([live.task], timeout=5)
    await client.aclose()


@pytest.fixture
def handle(monkeypatch: pytest.MonkeyPatch, transactional_db: None) -> Callable[..., None]:
    """Registers functions as handlers of tools for one test; their name is ``act`` unless one is given."""
    from django.contrib.auth.models import Group

    from openrouter_app import tool_handlers

    # A handler that an earlier test left in its thread may have done its work after that test was cleaned up.
    Group.objects.all().delete()

    def register(function: Callable[..., Any], name: str = "act", **fields: Any) -> None:
        handler = tool_handlers.Handler(name, function, **fields)
        monkeypatch.setitem(tool_handlers._handlers, name, handler)

    return register
