"""Opening and closing the port."""

from __future__ import annotations

import builtins
import socket
import threading
import time

import pytest

from openrouter_app.engine.client import httpx
from openrouter_app.testing import FakeOpenRouter, serve
from openrouter_app.testing.serving import Mounts

HEADERS = {"Authorization": "Bearer x"}


def post(base_url, **more):
    body = {"messages": [], "stream": True}
    return httpx.post(
        f"{base_url}/chat/completions", json=body, headers=HEADERS, trust_env=False, verify=False, **more
    )


def serving_threads():
    return [thread for thread in threading.enumerate() if thread.name == "fake-openrouter"]


def test_the_base_url_is_a_full_prefix_on_the_loopback():
    fake = FakeOpenRouter()
    with serve(fake) as base_url:
        assert base_url == fake.base_url
        assert base_url.startswith("http://127.0.0.1:")
        assert base_url.endswith("/api/v1")
        assert post(base_url).is_success


def test_ipv6_gets_brackets():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    with serve(FakeOpenRouter(), "::1") as base_url:
        assert base_url.startswith("http://[::1]:")
        assert post(base_url).is_success


def test_a_port_may_be_chosen_and_taken():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="in use"), serve(FakeOpenRouter(), port=port):
            pass
    with serve(FakeOpenRouter(), port=port) as base_url:
        assert base_url == f"http://127.0.0.1:{port}/api/v1"


def test_leaving_stops_quickly_and_cleanly_with_a_stalled_stream_open():
    fake = FakeOpenRouter()
    threads = len(serving_threads())
    fake.stall("Hel", seconds=60)
    with serve(fake) as base_url:
        errors = []

        def read():
            try:
                post(base_url)
            except httpx.HTTPError as error:
                errors.append(error)

        reader = threading.Thread(target=read)
        reader.start()
        fake.wait_until(lambda: fake.active)
        started = time.monotonic()
    assert time.monotonic() - started < 5
    reader.join(timeout=5)
    assert isinstance(errors[0], httpx.RemoteProtocolError)
    assert len(serving_threads()) == threads
    with pytest.raises(httpx.ConnectError):
        post(base_url)


def test_leaving_stops_the_server_after_an_error_too():
    threads = len(serving_threads())
    with pytest.raises(ZeroDivisionError), serve(FakeOpenRouter()):
        1 / 0  # noqa: B018
    assert len(serving_threads()) == threads


def test_nothing_is_logged_however_an_answer_ends(caplog):
    caplog.set_level("WARNING")
    fake = FakeOpenRouter()
    with serve(fake) as base_url:
        fake.cut("a")
        fake.fail("b")
        fake.raw()
        with pytest.raises(httpx.RemoteProtocolError):
            post(base_url)
        post(base_url)
        post(base_url)
    assert caplog.records == []


def test_without_uvicorn_the_error_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def no_uvicorn(name, *args, **kwargs):
        if name.startswith("uvicorn"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_uvicorn)
    with (
        pytest.raises(ImportError, match=r"pip install 'django-openrouter-chains\[testing\]'"),
        serve(FakeOpenRouter()),
    ):
        pass


def test_fakes_behind_one_port_do_not_see_each_others_requests():
    mounts, one, two = Mounts(), FakeOpenRouter(), FakeOpenRouter()
    with serve(mounts):
        with mounts.mounted(one) as first, mounts.mounted(two) as second:
            assert first != second
            two.reply("two")
            assert "two" in post(second).text
            assert (len(one.requests), len(two.requests)) == (0, 1)
            assert two.requests[0].path == "/api/v1/chat/completions"
        assert post(first).status_code == 404
        assert httpx.get(first.rpartition("/test")[0], trust_env=False, verify=False).status_code == 404
