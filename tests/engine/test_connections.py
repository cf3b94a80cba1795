"""Connections, on both transports and both faces: deadlines, leaving, hostile answers, no slot lost."""

from __future__ import annotations

import asyncio
import gzip
import random
import socket
import threading
import time
import traceback
import tracemalloc
import zlib

import pytest

from openrouter_app.engine import client, connections, watchdog
from openrouter_app.engine.chains import ChatOpenRouter, ParallelMap, StringOutputParser
from openrouter_app.engine.chains import model as model_module
from openrouter_app.engine.client import Timeouts
from openrouter_app.engine.errors import (
    BrokenStreamError,
    ConfigurationError,
    ConnectError,
    CreditError,
    OpenRouterError,
    RateLimitError,
    ReadTimeoutError,
    TransportError,
    UpstreamError,
)

from .loopback import CHUNKED, CONTENT, END, SSE_HEAD, framed, serving

pytestmark = pytest.mark.usefixtures("transport")

KEY = "sk-or-v1-CANARYCANARY"


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(model_module, "FIRST_PAUSE", 0.02)


def chain(server, **options):
    options = {"retries": 0, **options}
    model = ChatOpenRouter(model="a/b", api_key=KEY, base_url=server.base_url, **options)
    return model | StringOutputParser()


async def both(make, value="hi", at_once=True):
    """Items and error of both faces, with the seconds each took; threads have httpx's transport alone."""

    async def on_loop(items):
        async for item in make().astream(value):
            items.append(item)

    async def in_thread(items):
        await asyncio.to_thread(lambda: items.extend(make().stream(value)))

    async def timed(run):
        items, error, begun = [], None, time.monotonic()
        try:
            await run(items)
        except OpenRouterError as raised:
            error = raised
        return items, error, time.monotonic() - begun

    faces = [on_loop, in_thread] if client._transport == "httpx" else [on_loop]
    if at_once:
        return await asyncio.gather(*map(timed, faces))
    return [await timed(face) for face in faces]


def answers(*parts, head=CHUNKED, keep=True):
    """A handler that sends these parts, waiting where a part is a number of seconds."""

    def answer(server, connection):
        connection.sendall(head)
        for part in parts:
            if isinstance(part, (int, float)):
                server.ended.wait(part)
            else:
                connection.sendall(framed(part))
        if keep:
            connection.sendall(framed(b""))
        return not keep

    return answer


async def test_silence_before_the_first_content_ends_at_its_deadline():
    limits = Timeouts(first_content=0.3, idle=5)
    with serving(answers(5, CONTENT, END)) as server:
        for _, error, seconds in await both(lambda: chain(server, timeouts=limits)):
            assert isinstance(error, ReadTimeoutError)
            assert 0.2 < seconds < 4


async def test_gotcha_02_comments_and_blank_deltas_do_not_hold_off_the_idle_deadline():
    noise = b": OPENROUTER PROCESSING\n\n" + b'data: {"choices":[{"delta":{"content":""}}]}\n\n'
    with serving(answers(CONTENT, *(noise, 0.05) * 100)) as server:
        for items, error, seconds in await both(lambda: chain(server, timeouts=Timeouts(idle=0.4))):
            assert items == ["x"]
            assert isinstance(error, ReadTimeoutError)
            assert 0.3 < seconds < 4


async def test_gotcha_03_silence_in_mid_answer_ends_at_the_idle_deadline_however_long_the_first_may_take():
    limits = Timeouts(first_content=30, idle=0.2)
    with serving(answers(0.3, CONTENT, 30)) as server:
        for items, error, seconds in await both(lambda: chain(server, timeouts=limits)):
            assert items == ["x"]
            assert isinstance(error, ReadTimeoutError)
            assert 0.4 < seconds < 15


async def test_total_deadline_ends_an_answer_that_never_stops():
    limits = Timeouts(total=0.5)
    with serving(answers(*(CONTENT, 0.01) * 2000)) as server:
        for items, error, seconds in await both(lambda: chain(server, timeouts=limits)):
            assert len(items) > 3
            assert isinstance(error, ReadTimeoutError)
            assert "longer than 0.5 seconds" in error.message
            assert 0.4 < seconds < 5


async def test_total_deadline_ends_an_answer_that_comes_faster_than_it_is_read():
    def answer(server, connection):
        connection.sendall(CHUNKED)
        while not server.ended.is_set():
            connection.sendall(framed(CONTENT) * 1000)

    with serving(answer) as server:
        for _, error, seconds in await both(lambda: chain(server, timeouts=Timeouts(total=0.4))):
            assert isinstance(error, ReadTimeoutError)
            assert seconds < 5


async def test_reader_that_is_slow_is_no_provider_that_is_silent():
    limits = Timeouts(idle=0.05)
    with serving(answers(CONTENT, CONTENT, END)) as server:
        seen = []
        async for item in chain(server, timeouts=limits).astream("hi"):
            await asyncio.sleep(0.1)
            seen.append(item)
        assert seen == ["x"] * 2

        def read():
            for item in chain(server, timeouts=limits).stream("hi"):
                time.sleep(0.1)
                seen.append(item)

        await asyncio.to_thread(read)
        assert seen == ["x"] * 4


def refusing(*statuses, then=(CONTENT, END), headers=b"", body=b'{"error":{"message":"no","code":%d}}'):
    """Answers the first requests with these statuses, the rest with an answer."""

    def answer(server, connection):
        if len(server.requests) > len(statuses):
            return answers(*then)(server, connection)
        status = statuses[len(server.requests) - 1]
        if status == 0:
            return True  # hangs up
        payload = body % status if b"%d" in body else body
        connection.sendall(
            b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s\r\n%s"
            % (status, len(payload), headers, payload)
        )
        return False

    return answer


@pytest.mark.parametrize("statuses", [(408,), (429,), (502,), (503,), (504,), (0,), (503, 429)])
async def test_request_is_sent_again_where_that_may_help(statuses):
    for face in (0, 1):
        with serving(refusing(*statuses)) as server:
            made = chain(server, retries=2)
            answer = await (made.ainvoke("hi") if face else asyncio.to_thread(made.invoke, "hi"))
            assert answer == "x"
            assert len(server.requests) == len(statuses) + 1


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413, 422, 500])
async def test_request_that_was_refused_for_what_it_is_is_not_sent_again(status):
    with serving(refusing(status, 200, 200)) as server:
        with pytest.raises(OpenRouterError):
            await chain(server, retries=2).ainvoke("hi")
        assert len(server.requests) == 1


async def test_provider_that_calls_a_402_retryable_is_not_believed():
    body = b'{"error":{"message":"no","code":402,"availability":{"retryable":true}}}'
    with serving(refusing(402, 200, body=body)) as server:
        with pytest.raises(CreditError):
            await chain(server, retries=2).ainvoke("hi")
        assert len(server.requests) == 1


async def test_error_that_says_it_is_retryable_is_retried():
    body = b'{"error":{"message":"no","code":500,"availability":{"retryable":true}}}'
    with serving(refusing(500, body=body)) as server:
        assert await chain(server, retries=2).ainvoke("hi") == "x"


async def test_error_in_the_stream_before_its_first_content_is_retried_unseen():
    error = (
        b'data: {"id":"gen-1","choices":[{"delta":{"content":""}}]}\n\n'
        b'data: {"error":{"code":502,"message":"no"}}\n\n'
    )

    def answer(server, connection):
        return answers(*((error,) if len(server.requests) == 1 else (CONTENT, END)))(server, connection)

    for face in ("async", "sync"):
        with serving(answer) as server:
            model = ChatOpenRouter(model="a/b", api_key=KEY, base_url=server.base_url)
            if face == "async":
                events = [event async for event in model.astream("hi")]
            else:
                events = await asyncio.to_thread(list, model.stream("hi"))
            assert [type(event).__name__ for event in events] == [
                "ReplyStarted",
                "TextDelta",
                "ReplyFinished",
            ]
            assert len(server.requests) == 2


async def test_answer_that_broke_off_after_its_first_content_is_not_asked_for_again():
    with serving(answers(CONTENT, b'data: {"error":{"code":502,"message":"no"}}\n\n')) as server:
        results = await both(lambda: chain(server, retries=2))
        for items, error, _ in results:
            assert items == ["x"]
            assert isinstance(error, UpstreamError)
        assert len(server.requests) == len(results)  # none was sent again


async def test_retries_end_and_the_last_error_is_raised():
    with serving(refusing(503, 503, 429, 200)) as server:
        with pytest.raises(RateLimitError):
            await chain(server, retries=2).ainvoke("hi")
        assert len(server.requests) == 3
        with pytest.raises(OpenRouterError):
            await chain(server).ainvoke("hi", retries=0)


async def test_retry_after_is_waited_for_up_to_30_seconds():
    with serving(refusing(429, headers=b"Retry-After: 0.4\r\n")) as server:
        begun = time.monotonic()
        assert await chain(server, retries=1).ainvoke("hi") == "x"
        assert time.monotonic() - begun > 0.39
    with serving(refusing(429, headers=b"Retry-After: 31\r\n")) as server:
        with pytest.raises(RateLimitError) as caught:
            await chain(server, retries=2).ainvoke("hi")
        assert caught.value.retry_after == 31
        assert len(server.requests) == 1


async def test_no_retry_is_begun_that_the_total_deadline_leaves_no_time_for():
    with serving(refusing(429, 429, headers=b"Retry-After: 20\r\n")) as server:
        begun = time.monotonic()
        with pytest.raises(RateLimitError):
            await chain(server, retries=2, timeouts=Timeouts(total=5)).ainvoke("hi")
        assert time.monotonic() - begun < 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"connect": 0},
        {"idle": -1},
        {"total": "5"},
        {"first_content": True},
        {"total": float("inf")},
        {"idle": float("nan")},
        {"connect": 1e12},
        {"total": 10**400},
    ],
)
def test_timeouts_are_positive_numbers_of_some_days_at_most(wrong):
    with pytest.raises(ConfigurationError):
        Timeouts(**wrong)


async def test_gotcha_48_cancelling_closes_the_connection_within_half_a_second():
    def answer(server, connection):
        connection.sendall(CHUNKED + framed(CONTENT))
        server.wait_for_hang_up(connection)
        return True

    with serving(answer) as server:
        seen = asyncio.Event()

        async def read():
            async for _ in chain(server).astream("hi"):
                seen.set()

        task = asyncio.create_task(read())
        await seen.wait()
        begun = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(server.hung_up.wait, 2)
        assert time.monotonic() - begun < 0.5


@pytest.mark.parametrize("cancels", [1, 2])
async def test_f30_cancelling_leaks_no_connection(monkeypatch, transport, cancels):
    """httpx 0.28 loses places of its pool: for streams cancelled before they were sent, or twice."""
    monkeypatch.setattr(client, "MAX_CONNECTIONS", 10)
    rounds, rng = 15, random.Random(7)
    calm = threading.Event()

    def answer(server, connection):
        if calm.is_set():
            return answers(CONTENT, END)(server, connection)
        # nothing, content, or an answer whose end is waited for
        connection.sendall(rng.choice([b"", CHUNKED + framed(CONTENT), CHUNKED + framed(END)]))
        server.wait_for_hang_up(connection, 20)
        return True

    async def read(server):
        async for _ in chain(server).astream("hi"):
            pass

    async def cancelled(task):
        await asyncio.sleep(rng.choice([0, 0.001, 0.003, 0.005, 0.01]) * rng.random())
        for _ in range(cancels):
            task.cancel()
            for _ in range(rng.randrange(4)):
                await asyncio.sleep(0)

    with serving(answer) as server:
        for _ in range(rounds):
            # more than there are connections: some are given one while they are cancelled
            tasks = [asyncio.create_task(read(server)) for _ in range(12)]
            await asyncio.gather(*(cancelled(task) for task in tasks))
            await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 10)
        calm.set()
        together = asyncio.Barrier(10)

        async def whole():
            stream = chain(server).astream("hi")
            items = [await anext(stream)]
            await together.wait()  # all ten have a connection at the same time
            return items + [item async for item in stream]

        results = await asyncio.wait_for(asyncio.gather(*(whole() for _ in range(10))), 10)
        assert results == [["x"]] * 10
        used = client.async_client()._transport
        size = used.client.connector.limit if transport == "aiohttp" else used._pool._max_connections
        assert size == 10


async def test_stopped_thread_of_a_map_lets_go_of_its_connection_at_once():
    def answer(server, connection):
        if len(server.requests) == 1:
            connection.sendall(CHUNKED + framed(CONTENT))
            server.wait_for_hang_up(connection)
            return True
        server.ended.wait(0.3)
        return refusing(400, 400)(server, connection)

    with serving(answer) as server:
        begun = time.monotonic()
        both_at_once = ParallelMap({"a": chain(server), "b": chain(server)})
        with pytest.raises(OpenRouterError):
            await asyncio.to_thread(both_at_once.invoke, "hi")
        assert time.monotonic() - begun < 2
        assert await asyncio.to_thread(server.hung_up.wait, 2)


async def test_compressed_answers_are_read_though_none_was_asked_for():
    body = CONTENT * 3 + END
    raw = zlib.compressobj(wbits=-15)
    for encoding, data in (
        (b"gzip", gzip.compress(body)),
        (b"deflate", raw.compress(body) + raw.flush()),
        (b"identity", body),
    ):
        head = CHUNKED.replace(b"Transfer", b"Content-Encoding: " + encoding + b"\r\nTransfer")
        with serving(answers(data[:10], data[10:], head=head)) as server:
            for items, error, _ in await both(lambda server=server: chain(server)):
                assert (items, error) == (["x"] * 3, None)
    for encoding, data in ((b"br", b"\x0b"), (b"gzip", b"no gzip"), (b"gzip", gzip.compress(body)[:30])):
        head = CHUNKED.replace(b"Transfer", b"Content-Encoding: " + encoding + b"\r\nTransfer")
        with serving(answers(data, head=head)) as server:
            for _, error, _ in await both(lambda server=server: chain(server)):
                assert isinstance(error, (UpstreamError, BrokenStreamError))


@pytest.mark.parametrize("kind", [b"text/event-stream", b"application/json"])
async def test_gzip_bomb_is_a_typed_error_and_takes_little_memory(kind):
    bomb = zlib.compressobj(9, wbits=31)
    data = b"".join(bomb.compress(b" " * 1_000_000) for _ in range(50)) + bomb.flush()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % (
        kind,
        len(data),
    )

    def answer(server, connection):
        connection.sendall(head + data)
        return True

    with serving(answer) as server:
        await both(lambda: chain(server), at_once=False)
        tracemalloc.start()
        try:
            results = await both(lambda: chain(server), at_once=False)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    for _, error, _ in results:
        assert isinstance(error, UpstreamError)
    assert peak < 20_000_000


async def test_redirect_is_an_error_and_the_key_goes_nowhere_else():
    with serving(answers(CONTENT, END)) as elsewhere:
        target = elsewhere.base_url.encode()

        def answer(server, connection):
            connection.sendall(b"HTTP/1.1 307 X\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % target)

        with serving(answer) as server:
            for _, error, _ in await both(lambda: chain(server)):
                assert isinstance(error, OpenRouterError)
                assert error.status == 307
        assert elsewhere.requests == []


@pytest.mark.parametrize(
    "location",
    [
        b"javascript:alert(1)",
        b"http://[bad",
        b"//x:99999999/",
        b"http://\xe2\x98\x83..com/",
        b"http://\xff\xfe/",
        b"",
    ],
)
async def test_redirect_to_what_is_no_address_is_an_error_like_any_redirect(location):
    def answer(server, connection):
        connection.sendall(b"HTTP/1.1 307 X\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % location)

    with serving(answer) as server:
        results = await both(lambda: chain(server, retries=2))
        for _, error, _ in results:
            assert isinstance(error, UpstreamError)
            assert error.status == 307
            assert error.detail.startswith("Location: " + location.decode("latin1")[:7])
        assert len(server.requests) == len(results)


@pytest.mark.parametrize(("kept", "drip"), [(False, b"y"), (True, b"\r\n\r\nHTTP/1.1 100 Continue\r\nX: ")])
async def test_total_deadline_ends_a_head_that_never_ends(kept, drip):
    def answer(server, connection):
        if kept and b"first" in server.requests[-1]:
            return answers(CONTENT, END)(server, connection)
        connection.sendall(b"HTTP/1.1 100 Continue\r\nX: ")
        while not server.ended.wait(0.02):
            connection.sendall(drip)
        return True

    with serving(answer) as server:

        def made():
            return chain(server, timeouts=Timeouts(total=0.5))

        if kept:
            await both(made, "first")
        asked = len(server.requests)
        results = await both(made)
        for _, error, seconds in results:
            assert isinstance(error, ReadTimeoutError)
            assert "longer than 0.5 seconds" in error.message
            assert 0.4 < seconds < 5
        assert len(server.requests) == asked + len(results)


async def faces(transport):
    """How a chain is called: on the loop, and in a thread where that is another transport's turn."""
    on_loop = [lambda made: made.ainvoke("hi")]
    return on_loop + [lambda made: asyncio.to_thread(made.invoke, "hi")] * (transport == "httpx")


@pytest.mark.parametrize("recovers", [True, False])
async def test_stale_connection_is_replaced_by_a_new_one_once(transport, recovers):
    for call in await faces(transport):
        five, used = threading.Barrier(5), []

        def answer(server, connection, used=used, five=five):
            is_kept = connection in used
            used.append(connection)
            if len(used) <= 5:
                five.wait(10)  # so that each has a connection of its own
            elif is_kept or not recovers:
                return True
            return answers(CONTENT, END)(server, connection)

        with serving(answer) as server:
            assert await asyncio.gather(*(call(chain(server)) for _ in range(5))) == ["x"] * 5
            if recovers:
                assert await call(chain(server)) == "x"
            else:
                with pytest.raises(ConnectError):
                    await call(chain(server))
            assert len(server.requests) == 5 + 2


async def test_answer_that_stops_being_http_is_not_asked_for_again(transport):
    def answer(server, connection):
        if b"first" in server.requests[-1]:
            return answers(CONTENT, END)(server, connection)
        connection.sendall(CHUNKED + framed(CONTENT) + b"zz\r\nhello\r\n")
        return True

    with serving(answer) as server:
        await both(lambda: chain(server), "first")
        asked = len(server.requests)
        results = await both(lambda: chain(server, retries=2))
        for _, error, _ in results:
            assert isinstance(error, BrokenStreamError)
        assert len(server.requests) == asked + len(results)


def linked(error):
    """The error and all that it holds on to as its causes and contexts."""
    found, seen = [error], []
    while found:
        error = found.pop()
        if error is not None and error not in seen:
            seen.append(error)
            found += [error.__cause__, error.__context__]
    return seen


@pytest.mark.parametrize(
    "sent", [b"", b"no http\r\n\r\n", CHUNKED + b"zz\r\n", CHUNKED + framed(CONTENT) + b"5"]
)
async def test_no_error_holds_on_to_the_request_and_its_key(sent):
    def answer(server, connection):
        connection.sendall(sent)
        return True

    with serving(answer) as server:
        for _, error, _ in await both(lambda: chain(server)):
            assert isinstance(error, (ConnectError, BrokenStreamError))
            assert not [
                held for held in linked(error) if hasattr(held, "request") or hasattr(held, "request_info")
            ]
            for held in linked(error):
                frames = [frame for frame, _ in traceback.walk_tb(held.__traceback__)]
                assert KEY not in repr([frame.f_locals for frame in frames if "site-packages" in str(frame)])
                assert KEY not in repr([frame.f_locals for frame in frames if "/engine/" in str(frame)][1:])


async def test_hostile_answer_does_not_harm_the_streams_beside_it():
    def answer(server, connection):
        if b"hostile" in server.requests[-1]:
            return answers(b"data: " + b"x" * 1_500_000)(server, connection)
        return answers(*(CONTENT, 0.02) * 20, END)(server, connection)

    async def text(value):
        return await chain(server).ainvoke(value)

    with serving(answer) as server:
        good = [asyncio.create_task(text("good")) for _ in range(5)]
        await asyncio.sleep(0.1)
        with pytest.raises(UpstreamError):
            [item async for item in chain(server).astream("hostile")]
        assert await asyncio.gather(*good) == ["x" * 20] * 5


async def test_endless_error_body_is_cut():
    def answer(server, connection):
        connection.sendall(b"HTTP/1.1 502 X\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not server.ended.is_set():
            connection.sendall(framed(b"<html>" * 1000))

    with serving(answer) as server:
        for _, error, seconds in await both(lambda: chain(server)):
            assert isinstance(error, UpstreamError)
            assert error.status == 502
            assert seconds < 5


async def test_endless_body_is_refused():
    def answer(server, connection):
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head)
        while not server.ended.is_set():
            connection.sendall(framed(b" " * 100_000))

    with serving(answer) as server:
        for _, error, _ in await both(lambda: chain(server)):
            assert isinstance(error, UpstreamError)


async def test_answer_that_is_no_http_is_a_transport_error():
    for wrong in (b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 999999 X\r\n\r\n", b"\x00" * 200):

        def answer(server, connection, wrong=wrong):
            connection.sendall(wrong)
            return True

        with serving(answer) as server:
            for _, error, _ in await both(lambda server=server: chain(server)):
                assert isinstance(error, TransportError)
                assert error.retryable == isinstance(error, ConnectError)
                assert KEY not in repr(error) + error.detail


async def test_body_that_is_shorter_than_it_says_is_a_broken_stream():
    def answer(server, connection):
        connection.sendall(SSE_HEAD + b"Content-Length: 1000\r\n\r\n" + CONTENT)
        return True

    with serving(answer) as server:
        for items, error, _ in await both(lambda: chain(server)):
            assert items == ["x"]
            assert isinstance(error, BrokenStreamError)


async def test_transport_is_chosen_by_its_name(transport):
    with pytest.raises(ConfigurationError, match="auto, httpx, aiohttp"):
        client.set_transport("carrier pigeon")
    name = type(client.async_client()._transport).__module__
    assert name.endswith("aiohttp_transport" if transport == "aiohttp" else "engine.client")


async def test_transport_that_is_not_installed_says_what_to_install(monkeypatch):
    monkeypatch.setattr(client, "_has_aiohttp", lambda: False)
    with pytest.raises(ConfigurationError, match=r"django-openrouter-chains\[fast\]"):
        client.set_transport("aiohttp")
    client.set_transport("auto")
    await client.aclose()
    assert isinstance(client.async_client()._transport, client.httpx.AsyncHTTPTransport)


def test_watchdog_wakes_only_those_whose_deadline_has_passed():
    class Waiting:
        def __init__(self, due):
            self.due = due
            self.aborted = threading.Event()

        def abort(self):
            self.aborted.set()

    soon, later = Waiting(time.monotonic() + 0.05), Waiting(time.monotonic() + 60)
    for waiting in (soon, later):
        watchdog.watch(waiting)
    try:
        assert soon.aborted.wait(2)
        assert not later.aborted.is_set()
        assert soon.due == float("inf")
    finally:
        for waiting in (soon, later):
            watchdog.unwatch(waiting)


async def test_one_answer_may_take_longer_than_a_streams_first_content():
    body = b'{"choices":[{"message":{"content":"x"},"finish_reason":"stop"}]}'
    head = CHUNKED.replace(b"text/event-stream", b"application/json")
    with serving(answers(0.4, body, head=head)) as server:
        limits = Timeouts(first_content=0.1, idle=0.1)
        assert await chain(server, timeouts=limits).ainvoke("hi") == "x"
        with pytest.raises(ReadTimeoutError, match=r"longer than 0\.1 seconds"):
            await chain(server, timeouts=Timeouts(total=0.1)).ainvoke("hi")
        with pytest.raises(ReadTimeoutError, match=r"said nothing for 0\.1 seconds"):
            [item async for item in chain(server, timeouts=limits).astream("hi")]


async def test_error_in_mid_answer_says_whose_answer_it_was():
    begun = b'data: {"id":"gen-7","provider":"P","choices":[{"delta":{"content":"x"}}]}\n\n'
    with serving(answers(begun, 30)) as server:
        for _, error, _ in await both(lambda: chain(server, timeouts=Timeouts(idle=0.2))):
            assert (error.generation_id, error.provider) == ("gen-7", "P")


async def ten_at_once(server):
    """Ten answers of which each holds a connection while the others do."""
    together = asyncio.Barrier(10)

    async def whole():
        stream = chain(server).astream("hi")
        items = [await anext(stream)]
        await together.wait()
        return items + [item async for item in stream]

    return await asyncio.wait_for(asyncio.gather(*(whole() for _ in range(10))), 30)


@pytest.mark.parametrize("cancels", [1, 2])
@pytest.mark.parametrize(
    ("sent", "pause"),
    [
        pytest.param(b"", 0, id="connecting"),
        pytest.param(b"", 0.03, id="waiting for the head"),
        pytest.param(CHUNKED + framed(CONTENT), 0.03, id="in mid-answer"),
        pytest.param(CHUNKED + framed(CONTENT) + framed(END), 0.03, id="in the linger"),
        pytest.param(b"HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n", 0.03, id="in a retry's pause"),
    ],
)
async def test_cancelling_in_each_phase_leaks_no_connection(monkeypatch, transport, sent, pause, cancels):
    monkeypatch.setattr(client, "MAX_CONNECTIONS", 10)
    monkeypatch.setattr(model_module, "FIRST_PAUSE", 10)
    rng, calm = random.Random(3), threading.Event()

    def answer(server, connection):
        if calm.is_set():
            return answers(CONTENT, END)(server, connection)
        connection.sendall(sent)
        server.wait_for_hang_up(connection, 30)
        return True

    async def read(server):
        async for _ in chain(server, retries=1).astream("hi"):
            pass

    with serving(answer) as server:
        for _ in range(4):
            tasks = [asyncio.create_task(read(server)) for _ in range(10)]
            await asyncio.sleep(pause * rng.random())
            for _ in range(rng.randrange(12)):
                await asyncio.sleep(0)
            for _ in range(cancels):
                for task in tasks:
                    task.cancel()
                for _ in range(rng.randrange(4)):
                    await asyncio.sleep(0)
            await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 30)
        calm.set()
        assert await ten_at_once(server) == [["x"]] * 10


async def test_answers_that_are_refused_unread_leak_no_connection(monkeypatch, transport):
    monkeypatch.setattr(client, "MAX_CONNECTIONS", 3)
    client.close()
    head = CHUNKED.replace(b"Transfer", b"Content-Encoding: br\r\nTransfer")
    with serving(answers(b"\x0b", head=head)) as server:
        for _ in range(5):
            for _, error, _ in await both(lambda: chain(server, timeouts=Timeouts(connect=1))):
                assert isinstance(error, UpstreamError)


async def test_content_before_what_is_no_http_is_handed_out_however_it_is_cut():
    for cut in (0, 0.1):
        whole = CHUNKED + framed(CONTENT) + b"zz\r\nhello\r\n"

        def answer(server, connection, cut=cut, whole=whole):
            if not cut:
                connection.sendall(whole)
            else:
                connection.sendall(whole[: len(CHUNKED)])
                server.ended.wait(cut)
                connection.sendall(whole[len(CHUNKED) :])
            server.wait_for_hang_up(connection, 20)
            return True

        with serving(answer) as server:
            results = await both(lambda server=server: chain(server, retries=2, timeouts=Timeouts(idle=20)))
            for items, error, seconds in results:
                assert items == ["x"]
                assert isinstance(error, BrokenStreamError)
                assert seconds < 15
            assert len(server.requests) == len(results)


async def test_answer_in_another_protocol_is_an_error_of_the_providers():
    def answer(server, connection):
        connection.sendall(
            b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n\x81\x05hello"
        )
        server.wait_for_hang_up(connection, 20)
        return True

    with serving(answer) as server:
        results = await both(lambda: chain(server, retries=2))
        for _, error, _ in results:
            assert isinstance(error, (UpstreamError, BrokenStreamError))
        assert len(server.requests) == len(results)


def test_deadline_that_passes_in_a_tls_handshake_holds_for_the_head():
    """Nothing can wake a thread in its handshake; so it is woken as soon as that is over."""
    opening = connections.Opening(0)
    near, far = socket.socketpair()
    with near, far:
        opening.abort()
        opening.trace("connection.start_tls.complete", {"return_value": Stream(near)})
        far.settimeout(10)
        assert far.recv(1) == b""


class Stream:
    """What httpcore calls a network stream, as far as it is asked here."""

    def __init__(self, raw):
        self.raw = raw
        self.write = raw.sendall

    def get_extra_info(self, name):
        return self.raw
