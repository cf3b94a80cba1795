"""Clients: one for each loop, closed with it; one for all threads."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import textwrap

import pytest

from openrouter_app.engine import client
from openrouter_app.engine.chains import ChatOpenRouter, StringOutputParser
from openrouter_app.engine.connections import broken, build, unopened
from openrouter_app.engine.errors import BrokenStreamError, ConfigurationError, ConnectError, ReadTimeoutError

from .loopback import CHUNKED, CONTENT, END, framed, serving

TRANSPORTS = ["httpx"] + (["aiohttp"] if client._has_aiohttp() else [])


def answer(server, connection):
    connection.sendall(CHUNKED + framed(CONTENT) + framed(END) + framed(b""))


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_loop_that_ends_leaves_no_client_behind(transport):
    before = len(client._async_clients)  # of loops that go on in threads
    client.set_transport(transport)
    try:
        with serving(answer) as server:
            model = ChatOpenRouter(model="a/b", api_key="k", base_url=server.base_url)
            for _ in range(5):
                assert asyncio.run((model | StringOutputParser()).ainvoke("hi")) == "x"
                gc.collect()
                assert len(client._async_clients) == before
    finally:
        client.set_transport("auto")


async def test_loop_has_one_client_until_it_is_closed():
    one = client.async_client()
    assert client.async_client() is one
    await client.aclose()
    assert one.is_closed
    assert client.async_client() is not one
    await client.async_client().aclose()  # somebody else closed it
    assert not client.async_client().is_closed
    await client.aclose()
    await client.aclose()


def test_loop_that_was_closed_and_no_more_is_forgotten():
    async def made():
        return client.async_client()

    before = len(client._async_clients)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(made())
    loop.close()
    assert loop in client._async_clients
    asyncio.run(made())
    assert loop not in client._async_clients
    assert len(client._async_clients) == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_forked_process_has_connections_of_its_own():
    peers = []

    def noted(server, connection):
        peers.append(connection.getpeername())
        answer(server, connection)

    with serving(noted) as server:
        program = f"""
            import os, warnings
            warnings.simplefilter("ignore", DeprecationWarning)  # that forking with threads is dangerous
            from openrouter_app.engine.chains import ChatOpenRouter
            model = ChatOpenRouter(model="a/b", api_key="k", base_url="{server.base_url}")
            model.invoke("hi")
            child = os.fork()
            model.invoke("hi")
            if child == 0:
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
            model.invoke("hi")
        """
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60
        )
    assert done.returncode == 0, done.stderr
    assert len(peers) == 4
    assert len(set(peers)) == 2
    assert max(peers.count(peer) for peer in peers) == 3


def test_threads_have_one_client_until_it_is_closed():
    one = client.sync_client()
    assert client.sync_client() is one
    client.close()
    assert one.is_closed
    client.close()


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (client.httpx.ConnectTimeout("x"), ConnectError),
        (client.httpx.PoolTimeout("x"), ConnectError),
        (client.httpx.ReadTimeout("x"), ReadTimeoutError),
        (client.httpx.ReadError("x"), ConnectError),
        (client.httpx.ConnectError("x"), ConnectError),
    ],
)
def test_request_without_an_answer_is_an_error_of_ours(raised, kind):
    error = unopened(raised)
    assert type(error) is kind
    assert error.retryable
    assert type(raised).__name__ in error.detail


def test_answer_that_breaks_off_is_an_error_of_ours():
    assert type(broken(client.httpx.ReadTimeout("x"))) is ReadTimeoutError
    assert type(broken(client.httpx.ReadError("x"))) is BrokenStreamError


@pytest.mark.parametrize(
    ("url", "headers"),
    [
        ("http://127.0.0.1/v1", {"X": "a\nb"}),
        ("http://127.0.0.1/v1", {"": "a"}),
        ("http://127.0.0.1/v1", {"X": "日"}),
        ("http://127.0.0.1:port/v1", {}),
    ],
)
def test_request_that_cannot_be_sent_is_the_callers_mistake(url, headers):
    request = client.Request(url, headers, b"{}")
    with pytest.raises(ConfigurationError):
        build(client.sync_client(), request, 1e9)
    client.close()


def test_traceback_of_a_header_that_cannot_be_sent_does_not_show_the_key():
    request = client.Request("http://127.0.0.1/v1", {"Authorization": "Bearer CANARY\n"}, b"{}")
    with pytest.raises(ConfigurationError) as caught:
        build(client.sync_client(), request, 1e9)
    client.close()
    frames = [entry.frame for entry in caught.traceback if entry.path.parts[-2] == "engine"][1:]
    assert frames
    assert "CANARY" not in repr([frame.f_locals for frame in frames]) + repr(caught.value)
