"""The model step over real sockets, against the fake OpenRouter: both drivers, every failure."""

from __future__ import annotations

import asyncio
import json
import socketserver
import threading
import time
from contextlib import aclosing, contextmanager

import pytest

from openrouter_app import (
    BadRequestError,
    BrokenStreamError,
    ChatOpenRouter,
    ChatPromptTemplate,
    ConfigurationError,
    ConnectError,
    CreditError,
    ForbiddenError,
    KeyRejectedError,
    OpenRouterError,
    RateLimitError,
    ReadTimeoutError,
    StringOutputParser,
    ToolChoice,
    ToolsOutputParser,
    ToolSpec,
    UpstreamError,
)
from openrouter_app.engine import client
from openrouter_app.engine.client import Timeouts
from openrouter_app.engine.messages import ReplyStarted, TextDelta
from openrouter_app.testing import Stall

pytestmark = pytest.mark.usefixtures("transport")

KEY = "sk-or-v1-CANARYCANARYCANARY"


@pytest.fixture
def model(openrouter):
    def make(*, retries=0, **options):
        return ChatOpenRouter(
            model="a/b", api_key=KEY, base_url=openrouter.base_url, retries=retries, **options
        )

    return make


async def both(chain, value="hi"):
    """What sync and async faces answer, which must be the same: the items, or the error."""

    def sync():
        return list(chain.stream(value))

    async def items():
        return [item async for item in chain.astream(value)]

    results = [await outcome(asyncio.to_thread(sync)), await outcome(items())]
    assert results[0] == results[1]
    return results[0]


async def outcome(awaitable):
    try:
        return await awaitable
    except OpenRouterError as error:
        return type(error), error.message


async def test_translate_example_invokes(openrouter):
    chain = (
        ChatPromptTemplate.from_templates(
            [
                (
                    "system",
                    "You are a helpful assistant that translates {input_language} to {output_language}.",
                ),
                ("human", "{text}"),
            ]
        )
        | ChatOpenRouter(model="mistralai/mistral-small", api_key=KEY, base_url=openrouter.base_url)
        | StringOutputParser()
    )
    openrouter.reply("J'aime ", "la programmation.")
    values = {"input_language": "English", "output_language": "French", "text": "I love programming."}
    assert await chain.ainvoke(values) == "J'aime la programmation."
    asked = openrouter.requests[0].json
    assert "stream" not in asked
    assert asked["messages"][0]["content"].endswith("translates English to French.")


async def test_stream_comes_in_pieces_as_they_are_sent(openrouter, model):
    openrouter.reply("123", "456", "789", delay=0.05)
    begun = time.monotonic()
    times = [
        (item, time.monotonic() - begun) async for item in (model() | StringOutputParser()).astream("hi")
    ]
    assert [item for item, _ in times] == ["123", "456", "789"]
    assert times[-1][1] - times[0][1] > 0.05


async def test_joke_example_grows(openrouter, model):
    joke = ToolSpec(name="joke", description="A joke")
    openrouter.call("joke", ["", '{"setup": "', "Why", '?", "punchline": "', 'Paws"}'])
    chain = model(tools=[joke], tool_choice=ToolChoice.forced("joke")) | ToolsOutputParser()
    seen = [calls[0].arguments async for calls in chain.astream("tell me a joke")]
    assert seen == [
        {},
        {"setup": ""},
        {"setup": "Why"},
        {"setup": "Why?", "punchline": ""},
        {"setup": "Why?", "punchline": "Paws"},
    ]


@pytest.mark.parametrize(
    ("what", "kind"),
    [
        (400, BadRequestError),
        (401, KeyRejectedError),
        (402, CreditError),
        (403, ForbiddenError),
        (404, BadRequestError),
        (408, UpstreamError),
        (413, BadRequestError),
        (429, RateLimitError),
        (500, UpstreamError),
        (502, UpstreamError),
        (503, UpstreamError),
        (504, UpstreamError),
        (524, UpstreamError),
        (529, UpstreamError),
    ],
)
async def test_documented_errors_are_typed_and_say_what_to_do(openrouter, model, what, kind):
    openrouter.error(what)
    openrouter.error(what)
    assert (await both(model() | StringOutputParser()))[0] is kind
    openrouter.error(what)
    with pytest.raises(kind) as caught:
        await model().ainvoke("hi")
    assert caught.value.status == what
    assert caught.value.message.endswith(".")


async def test_rate_limit_says_how_long_to_wait(openrouter, model):
    openrouter.error(429, headers={"Retry-After": "7"})
    with pytest.raises(RateLimitError) as caught:
        await model().ainvoke("hi")
    assert caught.value.retry_after == 7
    assert caught.value.retryable


async def test_credit_error_says_what_can_be_afforded(openrouter, model):
    openrouter.error(
        402, "This request requires more credits. You requested 9000 tokens, but can only afford 1234."
    )
    with pytest.raises(CreditError) as caught:
        await model().ainvoke("hi")
    assert caught.value.affordable_tokens == 1234


async def test_text_before_a_cut_is_kept_and_the_cut_is_no_success(openrouter, model):
    openrouter.cut("Hel", "lo")
    seen = []
    with pytest.raises(BrokenStreamError):
        async for item in (model() | StringOutputParser()).astream("hi"):
            seen.append(item)
    assert seen == ["Hel", "lo"]


@pytest.mark.parametrize("verb", ["cut", "truncate", "fail"])
async def test_broken_answers_end_alike_on_both_drivers(openrouter, model, verb):
    for _ in range(2):
        getattr(openrouter, verb)("Hel")
    kind, _ = await both(model())
    assert kind in (BrokenStreamError, UpstreamError)


async def test_connection_closed_before_the_answer_is_a_connect_error(openrouter, model):
    openrouter.cut(headers=False)
    openrouter.cut(headers=False)
    assert (await both(model()))[0] is ConnectError


async def test_nobody_listening_is_a_connect_error():
    chain = ChatOpenRouter(model="a/b", api_key=KEY, base_url="http://127.0.0.1:9/v1")
    assert (await both(chain))[0] is ConnectError


async def test_silence_ends_in_a_timeout(openrouter, model):
    limits = Timeouts(first_content=0.2, idle=0.2)
    openrouter.stall("Hel", seconds=30)
    openrouter.stall("Hel", seconds=30)
    begun = time.monotonic()
    assert (await both(model(timeouts=limits)))[0] is ReadTimeoutError
    assert time.monotonic() - begun < 10


async def test_comments_do_not_count_as_content(openrouter, model):
    limits = Timeouts(first_content=0.3, idle=0.3)
    for _ in range(2):
        openrouter.stall("Hel", seconds=30, comment_every=0.05)
    begun = time.monotonic()
    assert (await both(model(timeouts=limits) | StringOutputParser()))[0] is ReadTimeoutError
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize(
    ("limits", "sentence"),
    [
        (Timeouts(first_content=20, idle=0.2), "fell silent"),
        (Timeouts(first_content=20, idle=20, total=0.3), "longer than 0.3 seconds"),
    ],
)
async def test_deadlines_are_kept_in_complete_silence(openrouter, model, limits, sentence):
    openrouter.stall("Hel", seconds=30)
    begun = time.monotonic()
    with pytest.raises(ReadTimeoutError, match=sentence):
        [event async for event in model(timeouts=limits).astream("hi")]
    assert time.monotonic() - begun < 10
    await openrouter.await_until(lambda: not openrouter.active)


async def test_deadline_passes_a_cancellation_by_others_through(openrouter, model):
    openrouter.stall("Hel", seconds=30)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            [event async for event in model().astream("hi")]
    await openrouter.await_until(lambda: not openrouter.active)


def test_sync_stream_ends_though_the_server_goes_on_sending(openrouter, model):
    openrouter.raw(
        b'data: {"choices": [{"delta": {"content": "x"}}]}\n\ndata: [DONE]\n\n',
        *[piece for _ in range(100) for piece in (Stall(0.1), b": still here\n\n")],
        headers={"Content-Type": "text/event-stream"},
    )
    begun = time.monotonic()
    assert (model() | StringOutputParser()).invoke("hi") == "x"
    assert time.monotonic() - begun < 5
    client.close()


def test_leaving_a_sync_loop_closes_the_connection(openrouter, model):
    openrouter.stall("Hel", seconds=30)
    for _ in model().stream("hi"):
        break
    openrouter.wait_until(lambda: not openrouter.active)
    client.close()


async def test_providers_cookies_are_neither_kept_nor_sent(openrouter, model):
    body = b'{"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]}'
    for _ in range(2):
        openrouter.raw(body, headers={"Content-Type": "application/json", "Set-Cookie": "who=ada; Path=/"})
        await model().ainvoke("hi")
    assert "cookie" not in openrouter.requests[1].headers


def test_each_loop_has_one_client_of_its_own():
    async def clients():
        pair = client.async_client(), client.async_client()
        await client.aclose()
        return pair

    (one, same), (other, _) = asyncio.run(clients()), asyncio.run(clients())
    assert one is same
    assert one is not other


async def test_cancelling_closes_the_connection(openrouter, model):
    openrouter.stall("Hel", seconds=30)
    began = asyncio.Event()

    async def read():
        async for _ in (model() | StringOutputParser()).astream("hi"):
            began.set()

    task = asyncio.create_task(read())
    await asyncio.wait_for(began.wait(), 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await openrouter.await_until(lambda: not openrouter.active)
    assert openrouter.closed_early


async def test_leaving_the_loop_closes_the_connection(openrouter, model):
    openrouter.stall("Hel", seconds=30)
    async with aclosing(model().astream("hi")) as events:
        async for _ in events:
            break
    await openrouter.await_until(lambda: not openrouter.active)


async def test_connections_are_used_again(openrouter, model, transport):
    for _ in range(3):
        openrouter.reply("x")
        await model().ainvoke("hi")
    used = client.async_client()._transport
    if transport == "httpx":
        assert len(used._pool.connections) == 1
    else:
        assert sum(map(len, used.client.connector._conns.values())) == 1


@contextmanager
def forgetful_server():
    """Answers the first request of each connection and hangs up on the second; yields its port."""
    connections = []

    class Forgetful(socketserver.StreamRequestHandler):
        def handle(self):
            connections.append(self)
            body = b'{"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]}'
            for answered in (False, True):
                size = 0
                while (line := self.rfile.readline().strip()) != b"":
                    if line.lower().startswith(b"content-length:"):
                        size = int(line.split(b":")[1])
                self.rfile.read(size)
                if answered:
                    return
                head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
                self.wfile.write(head % len(body) + body)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Forgetful) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1], connections
        server.shutdown()


async def test_stale_connection_is_replaced_unseen():
    with forgetful_server() as (port, connections):
        chain = ChatOpenRouter(model="a/b", api_key=KEY, base_url=f"http://127.0.0.1:{port}/v1")
        answers = [(await chain.ainvoke("hi")).message.content for _ in range(3)]
        answers += await asyncio.to_thread(lambda: [chain.invoke("hi").message.content for _ in range(3)])
        assert answers == ["x"] * 6
        assert len(connections) == 6
        await client.aclose()
        client.close()


async def test_many_streams_at_once_stay_apart(openrouter, model):
    openrouter.default = lambda request: _echo(request)
    chain = model() | StringOutputParser()
    answers = await asyncio.gather(*(chain.ainvoke(f"n{number}") for number in range(20)))
    assert answers == [f"n{number}" for number in range(20)]


def _echo(request):
    from openrouter_app.testing import Reply

    return Reply(tuple(request["messages"][-1]["content"]))


async def test_redirect_is_not_followed_and_is_an_error(openrouter, model):
    openrouter.raw(b"", status=302, headers={"Location": "http://127.0.0.1:9/steal"})
    with pytest.raises(UpstreamError):
        await model().ainvoke("hi")


async def test_key_is_in_no_error(openrouter, model, caplog):
    caplog.set_level("DEBUG")
    openrouter.error(401, f"Invalid key {KEY}", metadata={"raw": f"Authorization: Bearer {KEY}"})
    with pytest.raises(KeyRejectedError) as caught:
        await model().ainvoke("hi")
    error = caught.value
    said = f"{error} {error.detail} {error!r} {error.__cause__} {error.__context__}"
    assert "CANARY" not in said
    assert "CANARY" not in caplog.text


async def test_header_that_cannot_be_sent_is_the_callers_mistake(model):
    with pytest.raises(ConfigurationError):
        await model(headers={"X-Bad": "a\r\nX-Injected: b"}).ainvoke("hi")


async def test_missing_key_is_said_before_anything_is_sent(monkeypatch):
    from openrouter_app.engine.chains import model as module
    from openrouter_app.engine.defaults import Defaults

    monkeypatch.setattr(module, "defaults", Defaults)
    with pytest.raises(ConfigurationError, match="API key"):
        await ChatOpenRouter(model="a/b").ainvoke("hi")


PARTIAL = {
    "choices": [{"message": {"content": "Hello partial"}, "finish_reason": None, "error": {"code": 502}}]
}


async def test_gotcha_09_content_beside_an_error_in_one_body_is_kept_and_not_asked_for_again(
    openrouter, model
):
    for _ in range(2):
        openrouter.raw(json.dumps(PARTIAL).encode(), headers={"content-type": "application/json"})
    shown, step = [], model(retries=2)

    def in_thread():
        for event in step.stream("hi"):
            shown.append(event)

    with pytest.raises(UpstreamError):
        await asyncio.to_thread(in_thread)
    with pytest.raises(UpstreamError):
        async for event in step.astream("hi"):
            shown.append(event)
    assert [event.text for event in shown if isinstance(event, TextDelta)] == ["Hello partial"] * 2
    assert len(openrouter.requests) == 2


@pytest.mark.parametrize("said", ["", "TEXT/Event-Stream", "text/plain", "application/json"])
async def test_stream_is_known_by_what_it_is(openrouter, model, said):
    data = b'data: {"choices": [{"delta": {"content": "Hi"}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
    for _ in range(2):
        openrouter.raw(data, headers={"content-type": said})
    assert await both(model() | StringOutputParser()) == ["Hi"]


@pytest.mark.parametrize("said", ["", "text/event-stream", "application/json"])
async def test_one_body_is_known_by_what_it_is(openrouter, model, said):
    data = b'\n {"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}'
    for _ in range(2):
        openrouter.raw(data, headers={"content-type": said})
    assert await both(model() | StringOutputParser()) == ["Hi"]


@pytest.mark.parametrize("word", ["payment_required", "authentication"])
async def test_refusal_without_a_number_is_not_tried_again(openrouter, model, word):
    error = {"error": {"code": word, "message": "no", "availability": {"retryable": True}}}
    for _ in range(2):
        openrouter.raw(json.dumps(error).encode(), headers={"content-type": "application/json"})
    assert (await both(model(retries=2)))[0] in (CreditError, KeyRejectedError)
    assert len(openrouter.requests) == 2


def held_by(error):
    """What the error says, and what the frames hold that its traceback keeps, written out."""
    said, frame = (
        [repr(vars(error)), str(error), repr(error.__cause__), repr(error.__context__)],
        error.__traceback__,
    )
    while frame is not None:
        if "openrouter_app" in frame.tb_frame.f_code.co_filename:
            said.append(repr(frame.tb_frame.f_locals))
        frame = frame.tb_next
    return "\n".join(said)


ECHO = "own-form-CANARY-0123456789"
ECHOES = {
    "code": 400,
    "message": f"bad key {ECHO}",
    "metadata": {"provider_name": ECHO, "raw": "x" * 1950 + ECHO},
}


@pytest.mark.parametrize("how", ["status", "body", "stream", "no JSON", "cut", "late"])
async def test_key_that_an_answer_echoes_is_in_no_error_and_no_frame(openrouter, how):
    body = json.dumps({"id": ECHO, "error": ECHOES}).encode()
    begun = b'data: {"id": "%s", "choices": [{"delta": {"content": "x"}}]}\n\n' % ECHO.encode()
    kind = {"content-type": "application/json" if how in ("status", "body") else "text/event-stream"}
    answers = {
        "status": body,
        "body": body,
        "stream": b"data: " + body + b"\n\n",
        "no JSON": b"data: " + ECHO.encode() + b"\n\n",
        "cut": begun,
        "late": begun + b"data: " + body + b"\n\n",
    }
    step = ChatOpenRouter(model="a/b", api_key=ECHO, base_url=openrouter.base_url, retries=0)
    for _ in range(2):
        openrouter.raw(answers[how], status=400 if how == "status" else 200, headers=kind)
    with pytest.raises(OpenRouterError) as caught:
        await asyncio.to_thread(lambda: list(step.stream("hi")))
    assert "CANARY" not in held_by(caught.value)
    with pytest.raises(OpenRouterError) as caught:
        [event async for event in step.astream("hi")]
    assert "CANARY" not in held_by(caught.value)


@pytest.mark.parametrize("options", [{"odd": object()}, {"timeouts": 3}, {"api_key": "x"}])
def test_key_is_in_no_frame_of_a_request_that_cannot_be_made(openrouter, options):
    step = ChatOpenRouter(model="a/b", api_key=ECHO, base_url=openrouter.base_url)
    with pytest.raises(OpenRouterError) as caught:
        list(step.stream("hi", **options))
    assert "CANARY" not in held_by(caught.value)


def test_secrets_in_other_headers_are_blotted_out_as_well(openrouter):
    step = ChatOpenRouter(
        model="a/b", api_key="k", base_url=openrouter.base_url, headers={"X-Gateway": ECHO}, retries=0
    )
    openrouter.raw(json.dumps({"error": ECHOES}).encode(), status=400)
    with pytest.raises(OpenRouterError) as caught:
        step.invoke("hi")
    assert "CANARY" not in held_by(caught.value)


async def test_answer_that_says_nothing_is_asked_for_again(openrouter, model, monkeypatch):
    monkeypatch.setattr("openrouter_app.engine.chains.model.FIRST_PAUSE", 0.01)
    kind = {"content-type": "text/event-stream"}
    openrouter.raw(b"data: [DONE]\n\n", headers=kind)
    openrouter.raw(b'data: {"choices": [{}]}\n\ndata: [DONE]\n\n', headers=kind)
    openrouter.reply("Hi")
    events = [event async for event in model(retries=2).astream("hi")]
    assert [event.text for event in events if isinstance(event, TextDelta)] == ["Hi"]
    assert [type(event) for event in events].count(ReplyStarted) == 1


async def test_each_answer_that_begins_is_told_by_its_id_before_its_content(openrouter, model, monkeypatch):
    """Also one that breaks off before it has said anything and is asked for again: it may cost something."""
    monkeypatch.setattr("openrouter_app.engine.chains.model.FIRST_PAUSE", 0)
    for _ in range(2):
        openrouter.error("rate_limited")
        openrouter.cut()
        openrouter.reply("At last.")
    told, shown = [], []
    chain = model(retries=2, on_answer=lambda id: told.append((id, len(shown))))
    for event in chain.stream("hi"):
        shown.append(event)
    assert told == [(id, 0) for id in openrouter.generations]
    assert len(told) == 2
    assert shown[-1].id == told[-1][0]
    told.clear()
    async for _event in chain.astream("hi"):
        pass
    assert [id for id, _ in told] == list(openrouter.generations)[2:]
