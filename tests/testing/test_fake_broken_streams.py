"""Answers that break off, fall silent, or are left by their reader."""

from __future__ import annotations

import asyncio
import json

import pytest

from openrouter_app.engine.client import httpx
from openrouter_app.testing import Cut, Gate, Stall, StreamError

KEY = "sk-or-v1-another-secret"


def test_an_error_in_mid_stream_comes_beside_finish_reason_error(fake, events):
    fake.fail("Hel", "lo", status=502, metadata={"provider_name": "Example"})
    last = events()[-1]
    assert last["choices"][0]["finish_reason"] == "error"
    assert last["error"] == {
        "code": 502,
        "message": "Provider disconnected",
        "metadata": {"provider_name": "Example"},
    }


def test_an_error_in_mid_stream_may_have_no_choices(fake, events):
    fake.fail("Hel", code="server_error", shape="no_choices")
    *_, last, done = events()
    assert last["choices"] == []
    assert last["error"]["code"] == "server_error"
    assert last["id"].startswith("gen-")
    assert done == "[DONE]"


def test_an_error_in_mid_stream_may_be_bare(fake, events):
    fake.fail("Hel", shape="bare")
    assert events()[-1] == {"error": {"code": 502, "message": "Provider disconnected"}}


def test_an_error_may_be_all_there_is(fake, events):
    fake.fail(shape="bare")
    assert len(events()) == 1


def test_an_error_may_come_after_the_finish_reason(fake, events):
    fake.fail("Hel", status=400, shape="after_finish")
    *_, finish, last, done = events()
    assert finish["choices"][0]["finish_reason"] == "length"
    assert last["choices"][0]["finish_reason"] is None
    assert last["error"]["code"] == 400
    assert last["usage"]["cost"] > 0
    assert done == "[DONE]"


def test_nothing_follows_an_error(fake, ask):
    fake.reply("Hel", StreamError(), "lo")
    assert '"lo"' not in ask(stream=True).text


def test_without_streaming_an_error_stands_beside_what_was_said(fake, ask):
    fake.fail("Hel", "lo")
    fake.fail("Hel", shape="bare")
    choice = ask().json()["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("Hello", "error")
    assert choice["error"]["code"] == 502
    response = ask()
    assert response.status_code == 200
    assert response.json() == {"error": {"code": 502, "message": "Provider disconnected"}}


@pytest.mark.parametrize("streamed", [True, False])
def test_cut_closes_the_connection_in_the_middle(fake, client, question, streamed):
    fake.cut("Hel", "lo")
    got = b""
    with (
        pytest.raises(httpx.RemoteProtocolError),
        client.stream("POST", "/chat/completions", json=question | {"stream": streamed}) as response,
    ):
        for chunk in response.iter_raw():
            got += chunk
    assert b"Hel" in got or not streamed
    assert b"[DONE]" not in got
    fake.wait_until(lambda: not fake.active)
    assert not fake.closed_early


def test_cut_may_come_before_any_byte(fake, ask):
    fake.cut(headers=False)
    with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
        ask()


def test_a_raw_answer_may_be_cut_inside_an_event(fake, stream):
    fake.raw('data: {"choi', Cut())
    with pytest.raises(httpx.RemoteProtocolError), stream() as response:
        chunks = response.iter_raw()
        assert next(chunks) == b'data: {"choi'
        next(chunks)


def test_a_truncated_stream_ends_politely_but_has_no_end(fake, events):
    fake.truncate("Hel", "lo")
    got = events()
    assert got[-1]["choices"][0]["delta"]["content"] == "lo"
    assert all(event["choices"][0]["finish_reason"] is None for event in got)


def test_a_truncated_body_is_no_json(fake, ask):
    fake.truncate("Hello")
    with pytest.raises(json.JSONDecodeError):
        ask().json()


def test_a_stall_is_silent(fake, client, question):
    fake.stall("Hel", seconds=30)
    with (
        pytest.raises(httpx.ReadTimeout),
        client.stream("POST", "/chat/completions", json=question | {"stream": True}, timeout=0.2) as response,
    ):
        response.read()


def test_comments_may_go_on_during_a_stall(fake, ask):
    fake.reply("a", Stall(0.1, comment_every=0.02), "b")
    body = ask(stream=True).text
    between = body[body.index('"content":"a"') : body.index('"content":"b"')]
    assert between.count(": OPENROUTER PROCESSING\n\n") == 4


def test_a_reader_who_leaves_is_noticed(fake, stream):
    fake.stall("Hel", seconds=30)
    with stream(model="the/one") as response:
        chunks = response.iter_raw()
        next(chunks)
        assert [request.json["model"] for request in fake.active] == ["the/one"]
        assert not fake.closed_early
    fake.wait_until(lambda: fake.closed_early)
    assert [request.json["model"] for request in fake.closed_early] == ["the/one"]
    assert not fake.active


def test_a_reader_who_leaves_before_a_gate_is_noticed(fake, stream):
    gate = Gate()
    fake.reply("a", gate, "b")
    with stream() as response:
        next(response.iter_raw())
    fake.wait_until(lambda: fake.closed_early)
    gate.open()


async def test_a_cancelled_task_counts_as_closed_early(fake, question):
    fake.stall("Hel", seconds=30)
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {KEY}"}, trust_env=False) as client:
        reading = asyncio.create_task(
            client.post(f"{fake.base_url}/chat/completions", json=question | {"stream": True})
        )
        await fake.await_until(lambda: fake.active)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
    await fake.await_until(lambda: fake.closed_early)


def test_a_stream_read_to_its_end_is_not_closed_early(fake, ask):
    for _ in range(20):
        fake.reply(*"abc")
        ask(stream=True)
    assert not fake.active
    assert not fake.closed_early


def test_hang_up_cuts_every_answer_under_way(fake, stream):
    fake.stall("Hel", seconds=30)
    with stream() as response:
        chunks = response.iter_raw()
        next(chunks)
        fake.hang_up()
        with pytest.raises(httpx.RemoteProtocolError):
            list(chunks)
    fake.wait_until(lambda: not fake.active)
    assert not fake.closed_early


def test_waiting_in_vain_says_what_there_is(fake):
    with pytest.raises(TimeoutError, match="0 requests, 0 active"):
        fake.wait_until(lambda: fake.active, timeout=0.05)


async def test_awaiting_in_vain_says_what_there_is(fake):
    with pytest.raises(TimeoutError, match="0 requests, 0 active"):
        await fake.await_until(lambda: fake.active, timeout=0.05)
