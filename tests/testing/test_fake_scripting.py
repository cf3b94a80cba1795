"""The queue, what was asked, who may ask, and the other addresses."""

from __future__ import annotations

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from openrouter_app.engine.client import httpx
from openrouter_app.testing import ErrorReply, FakeOpenRouter, Reply, ToolCallScript, simulated_reply

KEY = "sk-or-v1-very-secret"


def content(response):
    return response.json()["choices"][0]["message"]["content"]


def test_scripts_are_used_first_in_first_out(fake, ask):
    fake.reply("one")
    fake.error(429)
    fake.reply("three")
    assert [ask().status_code for _ in range(2)] == [200, 429]
    assert content(ask()) == "three"


def test_a_request_without_a_script_gets_the_simulation(fake, ask):
    fake.reply("scripted")
    assert content(ask()) == "scripted"
    assert "simulated reply" in content(ask())


def test_the_default_can_be_any_function_of_the_request(fake, ask):
    fake.default = lambda request: Reply((request["messages"][-1]["content"],))
    assert content(ask()) == "Hello"


def test_functions_and_values_may_be_queued(fake, ask):
    fake.queue(Reply(("value",)), lambda request: ErrorReply(418, {"message": request["model"]}))
    assert content(ask()) == "value"
    assert ask().json()["error"]["message"] == "example/model"


def test_a_function_that_raises_is_told_to_the_client(fake, ask):
    fake.queue(lambda request: request["missing"])
    response = ask()
    assert response.status_code == 500
    assert "KeyError('missing')" in response.json()["error"]["message"]


def test_round_of_tools_is_scripted_and_looked_at(fake, ask):
    fake.calls(("weather", {"city": "Rome"}), ("weather", '{"city": "Oslo"}'))
    fake.reply("Rome is warmer.")
    first = ask(tools=[{"type": "function", "function": {"name": "weather"}}])
    calls = first.json()["choices"][0]["message"]["tool_calls"]
    assert [json.loads(call["function"]["arguments"]) for call in calls] == [
        {"city": "Rome"},
        {"city": "Oslo"},
    ]
    assert fake.requests[-1].tool_results == []
    told = [{"type": "text", "text": "4 "}, {"type": "text", "text": "C"}, {"type": "image_url"}]
    messages = [
        {"role": "tool", "content": "of before"},
        {"role": "assistant", "tool_calls": calls},
        {"role": "tool", "tool_call_id": calls[0]["id"], "content": "22 C"},
        {"role": "tool", "tool_call_id": calls[1]["id"], "content": told},
    ]
    assert content(ask(messages=messages)) == "Rome is warmer."
    assert fake.requests[-1].tool_results == ["22 C", "4 C"]


def test_unused_scripts_can_be_seen_and_cleared(fake):
    fake.reply("a")
    fake.call("b", {})
    assert fake.unused == (Reply(("a",)), Reply((ToolCallScript("b", {}),)))
    fake.clear()
    assert fake.unused == ()


def test_reset_forgets_everything(fake, ask, client):
    fake.route("GET", "/nothing", {})
    ask()
    fake.reply("left over")
    fake.reset()
    assert (fake.unused, fake.requests, fake.closed_early, fake.active) == ((), (), (), ())
    assert client.get("/nothing").status_code == 404


def test_requests_are_kept_as_they_came(fake, ask):
    ask(temperature=0.5)
    (request,) = fake.requests
    assert (request.method, request.path) == ("POST", "/api/v1/chat/completions")
    assert request.json["temperature"] == 0.5
    assert request.headers["Content-Type"] == request.headers["content-type"] == "application/json"
    assert request.headers.get("X-Title") is None
    assert "Authorization" in request.headers
    assert request.api_key == KEY


def test_only_so_many_requests_are_kept(mounts, question):
    fake = FakeOpenRouter(remember=2)
    with mounts.mounted(fake) as base_url:
        for number in range(3):
            httpx.post(f"{base_url}/{number}", trust_env=False, verify=False)
    assert [request.path for request in fake.requests] == ["/api/v1/1", "/api/v1/2"]


def test_no_repr_shows_an_api_key(fake, ask):
    fake.api_keys = frozenset({KEY})
    ask()
    (request,) = fake.requests
    for shown in (fake, fake.requests, request, request.headers, {"deep": [request.headers]}):
        assert KEY not in repr(shown)
    assert repr(request) == "<RecordedRequest POST /api/v1/chat/completions model='example/model'>"


def test_a_key_must_be_sent(fake, question):
    fake.reply("for somebody else")
    url = f"{fake.base_url}/chat/completions"
    for headers in ({}, {"Authorization": "Basic abc"}, {"Authorization": "Bearer"}):
        response = httpx.post(url, json=question, headers=headers, trust_env=False, verify=False)
        assert response.status_code == 401
        assert response.json() == {"error": {"message": "No auth credentials found", "code": 401}}
    assert len(fake.unused) == 1


def test_only_known_keys_pass_where_some_are_known(fake, ask):
    fake.api_keys = frozenset({"sk-or-v1-other"})
    response = ask(stream=True)
    assert response.status_code == 401
    assert response.json()["error"]["message"] == "User not found."
    fake.api_keys = frozenset({KEY})
    assert ask().status_code == 200


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"{}", b'{"messages": "Hello"}', b"\xff", b"[" * 100_000, b'"\\ud83d"']
)
def test_a_request_that_makes_no_sense_uses_up_no_script(fake, client, body):
    fake.reply("for somebody else")
    response = client.post("/chat/completions", content=body)
    assert response.status_code == 400
    assert response.json()["error"]["code"] == 400
    assert len(fake.unused) == 1


def test_models_are_listed_with_prices_as_text(client):
    response = client.get("/models")
    models = {model["id"]: model for model in response.json()["data"]}
    assert {"mistralai/mistral-small", "openai/gpt-4o"} <= models.keys()
    assert float(models["openai/gpt-4o"]["pricing"]["prompt"]) > 0
    assert all(isinstance(model["pricing"]["prompt"], str) for model in models.values())


def test_models_need_no_key_and_can_be_set(fake):
    fake.models = [{"id": "example/model"}]
    response = httpx.get(f"{fake.base_url}/models", trust_env=False, verify=False)
    assert response.json()["data"] == [{"id": "example/model"}]


def test_routes_answer_every_time(fake, client):
    fake.route("GET", "/key", {"data": {"label": "test"}})
    fake.route("post", "/auth/keys", {"error": {"code": 403, "message": "Invalid code"}}, status=403)
    for _ in range(2):
        assert client.get("/key").json() == {"data": {"label": "test"}}
        assert client.post("/auth/keys").status_code == 403


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/chat/completions"), ("GET", "/x"), ("POST", "/models")]
)
def test_everything_else_is_not_found(client, method, path):
    response = client.request(method, path)
    assert response.status_code == 404
    assert response.json() == {"error": {"message": "Not Found", "code": 404}}


def test_any_prefix_will_do(fake, question):
    origin = fake.base_url.removesuffix("/api/v1")
    headers = {"Authorization": "Bearer x"}
    for prefix in ("", "/v1", "/some/where/else"):
        fake.reply("here")
        url = f"{origin}{prefix}/chat/completions"
        assert httpx.post(url, json=question, headers=headers, trust_env=False, verify=False).is_success


def test_many_threads_may_script_while_many_ask(fake, client, question):
    wanted = [f"answer {number}" for number in range(100)]
    ready = threading.Barrier(8)
    got = []

    def script(texts):
        ready.wait()
        for text in texts:
            fake.reply(text)

    def asking(count):
        ready.wait()
        for _ in range(count):
            fake.wait_until(lambda: fake.unused)
            got.append(content(client.post("/chat/completions", json=question)))

    with ThreadPoolExecutor(8) as pool:
        tasks = [pool.submit(script, wanted[start::4]) for start in range(4)]
        tasks += [pool.submit(asking, 20) for _ in range(4)]
    for task in tasks:
        task.result()
    scripted = [text for text in got if text in wanted]
    assert len(scripted) == len(set(scripted))
    assert len(scripted) + len(fake.unused) == 100
    assert len(fake.requests) == 80


async def test_it_answers_in_process_as_well(question):
    fake = FakeOpenRouter()
    fake.reply("in process")
    fake.cut("gone")
    transport = httpx.ASGITransport(fake)
    headers = {"Authorization": "Bearer x"}
    async with httpx.AsyncClient(
        transport=transport, base_url="http://fake/api/v1", headers=headers
    ) as client:
        assert content(await client.post("/chat/completions", json=question)) == "in process"
        with pytest.raises(ConnectionAbortedError):
            await client.post("/chat/completions", json=question)


async def test_a_server_that_tells_of_a_leaver_by_an_exception_is_understood(question):
    fake = FakeOpenRouter()
    messages = [{"type": "http.request", "body": json.dumps(question).encode()}]
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/chat/completions",
        "headers": [(b"authorization", b"Bearer x")],
    }

    async def receive():
        return messages.pop() if messages else await asyncio.Event().wait()

    async def send(message):
        raise BrokenPipeError

    await fake(scope, receive, send)
    assert len(fake.closed_early) == 1


async def test_a_client_that_leaves_in_mid_request_is_no_request():
    fake = FakeOpenRouter()

    async def receive():
        return {"type": "http.disconnect"}

    await fake({"type": "http"}, receive, None)
    assert fake.requests == ()


async def test_lifespan_is_answered():
    sent = []
    messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

    async def receive():
        return next(messages)

    async def send(message):
        sent.append(message["type"])

    await FakeOpenRouter()({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_websockets_are_refused():
    with pytest.raises(NotImplementedError, match="websocket"):
        await FakeOpenRouter()({"type": "websocket"}, None, None)


def test_a_fake_that_is_not_served_says_so():
    fake = FakeOpenRouter()
    assert fake.default is simulated_reply
    with pytest.raises(RuntimeError, match="with serve"):
        _ = fake.base_url
