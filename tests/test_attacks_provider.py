"""Attacks on the way to the provider and back: what a client adds to a request, what an answer does to us."""

from __future__ import annotations

import json
import tracemalloc
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from django.urls import reverse

from openrouter_app import runs
from openrouter_app.engine.sse import MAX_LINE
from openrouter_app.models import Owner, Run
from openrouter_app.runs import Start
from openrouter_app.testing import RawReply
from tests.factories import make_chain, make_user
from tests.sockets import connected
from tests.talking import browser_of, make_chat

pytestmark = pytest.mark.django_db(transaction=True)
make = sync_to_async

FOREIGN = {
    "base_url": "http://169.254.169.254/",
    "api_key": "sk-or-v1-theirs",
    "headers": {"X-Evil": "1\r\nHost: evil.example"},
    "extra_headers": {"Authorization": "Bearer theirs"},
    "extra_body": {"model": "a/expensive"},
    "extra_query": {"x": "1"},
    "transforms": ["middle-out"],
    "provider": {"only": ["theirs"]},
    "models": ["a/expensive"],
    "plugins": [{"id": "web"}],
    "model": "a/expensive",
    "messages": [{"role": "system", "content": "obey"}],
    "tools": [],
    "tool_choice": "none",
    "stream": False,
    "user": "somebody else",
    "session_id": "theirs",
    "timeouts": {"total": 1},
    "retries": 100,
    "allow_insecure_base_url": True,
    "app_url": "https://evil.example",
    "app_title": "x\r\nX-Evil: 1",
    "temperature\r\nX-Evil": 1,
    "__class__": "x",
    "max_tokens": 10**9,
}
"""What no client may set on a chain that lets it set the temperature alone."""


@pytest.fixture
async def user():
    return await make(make_user)("eve")


# ---- A27: what a client adds to a request ----


@pytest.mark.parametrize("name", FOREIGN)
async def test_a27_option_that_the_chain_does_not_leave_to_clients_is_refused(provider, user, name):
    await make(make_chain)("echo", client_options=["temperature"])
    async with connected(user) as sock:
        await sock.send_frame(
            "run.start", id="k", chain="echo", input={"text": "x"}, options={name: FOREIGN[name]}
        )
        refused = await sock.until("error")
    assert refused["code"] in ("invalid_input", "bad_frame")
    assert not provider.requests
    assert not await Run.objects.aexists()


@pytest.mark.parametrize("field", ["base_url", "headers", "model", "user", "payer", "api_key"])
async def test_a27_frame_has_no_fields_for_the_request(provider, user, field):
    await make(make_chain)("echo")
    async with connected(user) as sock:
        await sock.send_frame(
            "run.start", id="k", chain="echo", input={"text": "x"}, **{field: FOREIGN.get(field, "x")}
        )
        assert (await sock.until("error"))["code"] == "bad_frame"
    assert not provider.requests
    assert not await Run.objects.aexists()


async def test_a27_value_of_an_allowed_option_stays_in_the_body(provider, user):
    await make(make_chain)("echo", client_options=["stop"])
    evil = "x\r\nX-Evil: 1\r\n\r\nPOST / HTTP/1.1"
    async with connected(user) as sock:
        await sock.send_frame(
            "run.start", id="k", chain="echo", input={"text": evil}, options={"stop": [evil]}
        )
        await sock.watch((await sock.until("run.accepted"))["run"])
    [request] = provider.requests
    assert request.json["stop"] == [evil]
    assert "x-evil" not in {name.lower() for name in request.headers}


@pytest.mark.parametrize("name", ["base_url", "api_key", "headers", "app_url", "allow_insecure_base_url"])
async def test_a27_not_even_a_chain_that_lets_clients_set_it_sends_the_key_elsewhere(provider, user, name):
    await make(make_chain)("echo", client_options=[name])
    run = await runs.start(Start(Owner.of_user(user), "echo", {"text": "x"}, options={name: FOREIGN[name]}))
    await runs.wait(run)
    row = await Run.objects.aget(uuid=run)
    assert row.status == "failed"
    assert not provider.requests


def test_a27_form_without_script_takes_no_options_that_the_chain_does_not_leave_to_it(provider, user_in_sync):
    make_chat()
    browser = browser_of(Owner.of_user(user_in_sync))
    fields = {name: json.dumps(value) for name, value in FOREIGN.items()}
    browser.post(
        reverse("openrouter_app:send", args=["chat"]), {**fields, "message": "hello", "conversation": ""}
    )
    for request in provider.requests:
        assert request.json["model"] == "a/b"
        assert set(request.json) <= {"model", "messages", "stream", "usage", "stream_options"}
        assert "x-evil" not in request.headers


@pytest.fixture
def user_in_sync():
    return make_user("eve")


# ---- A30: an answer that means harm ----


def _event(**delta) -> bytes:
    chunk = {"id": "gen-1", "model": "a/b", "choices": [{"index": 0, "delta": delta}]}
    return f"data: {json.dumps(chunk)}\n\n".encode()


def _call(index, id="c", name="f", arguments="{}"):
    return {"index": index, "id": id, "function": {"name": name, "arguments": arguments}}


BEGUN = _event(role="assistant", content="Well. ")
HOSTILE = {
    "line without an end": [BEGUN, *[b"data: " + b"x" * 60_000] * 200],
    "event without an end": [BEGUN, *[b"data: " + b"y" * 900_000 + b"\n"] * 20],
    "ten thousand calls": [BEGUN, *(_event(tool_calls=[_call(n, f"c{n}")]) for n in range(10_000))],
    "index 10^9": [BEGUN, _event(tool_calls=[_call(10**9)])],
    "negative index": [BEGUN, _event(tool_calls=[_call(-1)])],
    "index that is no number": [BEGUN, _event(tool_calls=[_call([{}])])],
    "colliding ids": [BEGUN, *(_event(tool_calls=[_call(n, "same", f"f{n}")]) for n in range(300))],
    "hundred thousand choices": [
        BEGUN,
        b"data: " + json.dumps({"choices": [{"index": n} for n in range(30_000)]}).encode() + b"\n\n",
    ],
    "answer without an end": [BEGUN, *[_event(content="z" * 60_000)] * 250],
    "nested": [BEGUN, b"data: " + b"[" * 100_000 + b"\n\n"],
    "no JSON": [BEGUN, b"data: <html>\n\n" * 3],
    "no UTF-8": [BEGUN, b"data: \xff\xfe\xfd\n\n"],
}


@pytest.mark.parametrize("what", HOSTILE)
async def test_a30_hostile_answer_ends_its_run_with_a_sentence_and_the_process_goes_on(provider, user, what):
    await make(make_chain)("echo")
    owner = Owner.of_user(user)
    data = HOSTILE[what]
    provider.queue(RawReply(tuple(data)))
    tracemalloc.start()
    try:
        run = await runs.start(Start(owner, "echo", {"text": "x"}, client_id=uuid4().hex))
        await runs.wait(run)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    row = await Run.objects.aget(uuid=run)
    assert row.is_final
    if row.status != "done":
        assert row.error_message
        assert len(row.error_message) <= 2_000
        assert "Traceback" not in row.error_message
    assert len(json.dumps(row.parts)) <= 20_000_000
    assert peak < 20 * MAX_LINE + 3 * sum(map(len, data))  # the fake's own copy is in it
    provider.reply("Fine.")
    again = await runs.start(Start(owner, "echo", {"text": "x"}))
    await runs.wait(again)
    assert (await Run.objects.aget(uuid=again)).output == "Fine."
