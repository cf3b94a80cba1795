"""``GET /generation``: what an answer has cost, as OpenRouter tells it afterwards."""

from __future__ import annotations

import json

import pytest

from openrouter_app.testing import Gate
from tests.testing.conftest import KEY


@pytest.fixture
def ask(client):
    def ask(id, **headers):
        return client.get("generation", params={"id": id}, headers=headers)

    return ask


def streamed(client, question):
    """The events of an answer that is read to its end."""
    answer = client.post("chat/completions", json={**question, "stream": True})
    lines = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def test_answer_costs_what_its_usage_said(fake, client, question, ask):
    fake.unlisted_asks = 0
    fake.reply("Why did the bear", " cross?")
    last = streamed(client, question)[-1]
    data = ask(last["id"]).json()["data"]
    assert data["total_cost"] == last["usage"]["cost"] > 0
    assert data["native_tokens_completion"] == last["usage"]["completion_tokens"]
    assert (data["cancelled"], data["finish_reason"], data["model"]) == (False, "stop", "example/model")


def test_answer_is_found_only_when_it_was_asked_for_before(fake, client, question, ask):
    fake.unlisted_asks = 2
    fake.reply("Hi")
    id = streamed(client, question)[-1]["id"]
    assert [ask(id).status_code for _ in range(3)] == [404, 404, 200]


def test_answer_is_not_found_for_a_while(fake, client, question, ask):
    fake.unlisted_asks, fake.unlisted_seconds = 0, 3600
    fake.reply("Hi")
    assert ask(streamed(client, question)[-1]["id"]).status_code == 404


def test_answer_that_was_closed_early_costs_what_was_sent(fake, client, question, ask):
    fake.unlisted_asks = 0
    fake.reply("one ", Gate(), "two " * 1000)
    with client.stream("POST", "chat/completions", json={**question, "stream": True}) as answer:
        lines = answer.iter_lines()
        line = next(line for line in lines if "one " in line)
        id = json.loads(line.removeprefix("data: "))["id"]
        assert ask(id).status_code == 404, "it is still being written"
    fake.wait_until(lambda: fake.closed_early)
    data = ask(id).json()["data"]
    assert (data["cancelled"], data["finish_reason"], data["native_tokens_completion"]) == (True, None, 1)
    assert data["total_cost"] == pytest.approx(data["tokens_prompt"] * 1e-7 + 3e-7)


def test_answer_is_told_of_to_its_own_key_alone(fake, client, question, ask):
    fake.unlisted_asks = 0
    fake.reply("Hi")
    id = streamed(client, question)[-1]["id"]
    assert ask(id, Authorization="Bearer sk-or-v1-another").status_code == 404
    assert ask(id, Authorization="").status_code == 401
    assert ask(id, Authorization=f"Bearer {KEY}").status_code == 200
    assert ask("gen-unknown").status_code == 404
