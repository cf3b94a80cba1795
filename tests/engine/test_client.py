"""Clients: one for each loop, closed with it; one for all threads."""

from __future__ import annotations

import asyncio
import gc

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
    client.set_transport(transport)
    try:
        with serving(answer) as server:
            model = ChatOpenRouter(model="a/b", api_key="k", base_url=server.base_url)
            for _ in range(5):
                assert asyncio.run((model | StringOutputParser()).ainvoke("hi")) == "x"
                gc.collect()
                assert len(client._async_clients) == 0
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
