"""The websocket: what a page may send, and what it is told."""

from __future__ import annotations

import asyncio
import json
from uuid import UUID, uuid4

import pytest
from asgiref.sync import sync_to_async
from channels.layers import InMemoryChannelLayer
from django.contrib.sessions.models import Session
from django.db import OperationalError

from openrouter_app import consumers, runs, sockets
from openrouter_app.models import Run
from openrouter_app.routing import SameOrigin
from tests.factories import make_chain, make_joke_chain, make_user
from tests.followers import parts_of, until
from tests.sockets import connected, session_of, socket

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("provider")]
make = sync_to_async


async def test_hello_says_what_the_server_speaks():
    sock = socket()
    assert (await sock.connect())[0]
    assert await sock.frame() == {
        "type": "hello",
        "protocol": 1,
        "heartbeat": 20.0,
        "max_frame": 65536,
        "features": [],
    }
    await sock.disconnect()


async def test_start_is_accepted_then_snapshot_then_events(provider):
    await make(make_chain)()
    provider.reply("Hel", "lo", delay=0.02)
    async with connected() as sock:
        await sock.send_frame("run.start", id="k1", chain="echo", input={"text": "hi"})
        accepted = await sock.frame()
        assert accepted == {"type": "run.accepted", "id": "k1", "run": accepted["run"], "conversation": None}
        snapshot = await sock.frame()
        assert (snapshot["type"], snapshot["run"]) == ("run.snapshot", accepted["run"])
        events = await sock.frame()
        assert (events["type"], events["after"]) == ("run.events", snapshot["seq"])
    await runs.wait(UUID(accepted["run"]))


async def test_page_sees_the_whole_answer(provider):
    await make(make_joke_chain)()
    provider.call("joke_tool", ['{"setup": "Why', '?", "punchline": "', 'So."}'], delay=0.02)
    async with connected() as sock:
        await sock.send_frame("run.start", id="k1", chain="joke", input={"foo": "bears"})
        run = (await sock.until("run.accepted"))["run"]
        view = await sock.watch(run)
    row = await Run.objects.aget(uuid=run)
    assert view.state["parts"] == row.parts
    assert view.state["output"] == row.output
    assert view.frames >= 3
    assert row.origin == "websocket"


async def test_socket_hears_a_stop_while_an_answer_streams(provider):
    await make(make_chain)()
    provider.stall("Hel", seconds=60)
    async with connected() as sock:
        await sock.send_frame("run.start", id="k1", chain="echo", input={"text": "hi"})
        run = (await sock.until("run.accepted"))["run"]
        await asyncio.sleep(0.1)
        await sock.send_frame("ping")
        await sock.until("pong")
        await sock.send_frame("run.stop", run=run)
        last = await sock.until("run.events")
        while last["events"][-1]["type"] != "stopped":
            last = await sock.until("run.events")
        assert last["events"][-1] == {"type": "stopped", "by": "user"}


async def test_one_socket_carries_many_runs(provider):
    await make(make_chain)()
    for word in ("one", "two", "three"):
        provider.reply(*word, delay=0.01)
    async with connected() as sock:
        ids = {}
        for number in range(3):
            await sock.send_frame("run.start", id=f"k{number}", chain="echo", input={"text": "hi"})
        ended = set()
        while len(ended) < 3:
            frame = await sock.frame()
            if frame["type"] == "run.accepted":
                ids[frame["id"]] = frame["run"]
            elif frame["type"] == "run.events" and frame["events"][-1]["type"] == "finished":
                ended.add(frame["run"])
    assert set(ids.values()) == ended


async def test_reloaded_page_follows_the_run_again(provider):
    await make(make_chain)()
    provider.reply("Hel", "lo", delay=0.15)
    browser = await make(session_of)()
    async with connected(client=browser) as sock:
        await sock.send_frame("run.start", id="k1", chain="echo", input={"text": "hi"})
        run = (await sock.until("run.accepted"))["run"]
    async with connected(client=browser) as sock:
        await sock.send_frame("run.follow", run=run)
        view = await sock.watch(run)
        assert view.state["output"] == "Hello"
        await sock.send_frame("run.follow", run=run)
        again = await sock.until("run.snapshot")
        assert again["state"] == view.state


async def test_following_twice_never_doubles_the_stream(provider):
    await make(make_chain)()
    provider.reply(*"abcdef", delay=0.03)
    async with connected() as sock:
        await sock.send_frame("run.start", id="k1", chain="echo", input={"text": "hi"})
        run = (await sock.until("run.accepted"))["run"]
        for _ in range(3):
            await sock.send_frame("run.follow", run=run)
        view = await sock.watch(run)
        assert view.state["output"] == "abcdef"
        assert await sock.receive_nothing(0.2)


async def test_unfollowed_run_goes_on_in_silence(provider):
    await make(make_chain)()
    provider.reply("Hel", "lo", delay=0.1)
    async with connected() as sock:
        await sock.send_frame("run.start", id="k1", chain="echo", input={"text": "hi"})
        run = (await sock.until("run.accepted"))["run"]
        await sock.send_frame("run.unfollow", run=run)
        await asyncio.sleep(0.05)
        while not await sock.receive_nothing(0.01):
            await sock.receive_from()
        assert await sock.receive_nothing(0.3)
    assert (await Run.objects.aget(uuid=run)).status == "done"


async def test_visitor_without_a_session_owns_his_runs_while_the_socket_is_open(provider):
    await make(make_chain)()
    provider.stall("Hel", seconds=60)
    async with connected(anonymous=True) as sock:
        await sock.send_frame("run.start", id="k1", chain="echo", input={"text": "hi"})
        run = (await sock.until("run.accepted"))["run"]
        await until(lambda: any("text" in part for part in parts_of(run)))
    await runs.wait(UUID(run))
    row = await Run.objects.aget(uuid=run)
    assert (row.status, row.reason) == ("stopped", "socket")


async def test_visitor_who_may_not_run_it_gets_an_error_frame():
    await make(make_chain)("members", access="authenticated")
    await make(make_chain)("crew", access="staff")
    async with connected() as sock:
        for slug in ("members", "crew"):
            await sock.send_frame("run.start", id="k1", chain=slug, input={"text": "hi"})
            error = await sock.frame()
            assert (error["type"], error["code"], error["id"]) == ("error", "forbidden", "k1")
            assert error["message"].endswith(".")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"chain": "nothing", "input": {}}, "not_found"),
        ({"chain": "echo", "input": {}}, "invalid_input"),
        ({"chain": "echo", "input": {"text": "x", "more": "y"}}, "invalid_input"),
        ({"chain": "echo", "input": {"text": 3}}, "bad_frame"),
        ({"chain": "echo", "input": {"text": "x"}, "options": {"model": "x"}}, "invalid_input"),
        ({"chain": "echo", "input": {"text": "x"}, "parent": None}, "invalid_input"),
        ({"chain": "echo", "input": {"text": "x"}, "conversation": str(uuid4())}, "not_found"),
        ({"chain": "echo", "input": {"text": "x"}, "conversation": "newer"}, "not_found"),
        ({"chain": "echo", "input": {"text": "x"}, "conversation": "new", "parent": "x"}, "not_found"),
        ({"chain": "echo", "input": {"text": "x"}, "surprise": 1}, "bad_frame"),
        ({"chain": "draft", "input": {"text": "x"}}, "unpublished"),
        ({"chain": ""}, "bad_frame"),
        ({}, "bad_frame"),
    ],
)
async def test_bad_start_gets_an_error_with_its_id_and_the_socket_stays_up(fields, code):
    await make(make_chain)()
    await make(make_chain)("draft", publish=False)
    async with connected() as sock:
        await sock.send_frame("run.start", id="k1", **fields)
        error = await sock.frame()
        assert (error["type"], error["code"], error["id"]) == ("error", code, "k1")
        assert error["message"].endswith(".")
        await sock.send_frame("ping")
        assert await sock.frame() == {"type": "pong"}
    assert await Run.objects.acount() == 0


HOSTILE = {
    "no json": "hello",
    "empty": "",
    "array": "[]",
    "null": "null",
    "deep": "[" * 20_000,
    "deep in a field": '{"type":"run.start","id":"a","chain":"b","options":{"x":' + "[" * 20_000,
    "many keys": json.dumps({"type": "ping", **{str(i): i for i in range(3_000)}}),
    "nan": '{"type": "ping", "x": NaN}',
    "huge int": '{"type":"run.start","id":"a","chain":"b","version":' + "9" * 5_000 + "}",
    "lone surrogate": '{"type":"run.start","id":"\\ud800","chain":"b"}',
    "raw surrogate": '{"type":"run.start","id":"\ud800","chain":"b"}',
    "dunder type": '{"type": "__class__"}',
    "no type": '{"id": "a"}',
    "type is no string": '{"type": {}}',
    "missing fields": '{"type": "run.stop"}',
    "wrong types": '{"type": "run.stop", "run": 7}',
    "layer message": '{"type": "run.event"}',
    "channel layer handler": '{"type": "websocket.disconnect", "code": 1000}',
    "underscored handler": '{"type": "run_start"}',
    "server frame": '{"type": "run.accepted", "id": "a", "run": "b"}',
    "group name": '{"type": "run.follow", "run": "a", "group": "everybody"}',
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
async def test_a5_a7_hostile_frame_gets_a_typed_error_and_the_socket_stays_up(text):
    async with connected() as sock:
        await sock.send_to(text_data=text)
        error = await sock.frame()
        assert error["type"] == "error"
        assert error["code"] in ("bad_frame", "not_found")
        await sock.send_frame("ping")
        assert await sock.frame() == {"type": "pong"}


async def test_a5_duplicate_keys_are_read_like_everybody_reads_them():
    async with connected() as sock:
        await sock.send_to(text_data='{"type": "run.stop", "type": "ping"}')
        assert (await sock.frame())["type"] in ("pong", "error")
        await sock.send_frame("ping")
        assert await sock.frame() == {"type": "pong"}


async def test_a5_binary_frame_is_refused_and_the_socket_stays_up():
    async with connected() as sock:
        await sock.send_to(bytes_data=b"\x00\xff")
        assert (await sock.frame())["code"] == "bad_frame"
        await sock.send_frame("ping")
        assert await sock.frame() == {"type": "pong"}


async def test_a5_over_long_frame_is_refused_and_far_too_long_closes_the_socket():
    async with connected() as sock:
        await sock.send_frame("ping", pad="x" * 66_000)
        assert (await sock.frame())["code"] == "too_large"
        await sock.send_frame("ping")
        assert await sock.frame() == {"type": "pong"}
        await sock.send_to(text_data="x" * 300_000)
        assert (await sock.receive_output(1))["code"] == 1009


async def test_foreign_missing_and_malformed_ids_get_the_same_answer(provider):
    await make(make_chain)()
    provider.reply("x")
    async with connected() as owner:
        await owner.send_frame("run.start", id="k1", chain="echo", input={"text": "hi"})
        run = (await owner.until("run.accepted"))["run"]
        await owner.watch(run)
    async with connected() as stranger:
        for frame in ("run.follow", "run.stop", "run.unfollow", "tool.decide"):
            answers = set()
            for id in (run, str(uuid4()), "7", "", "x" * 36, "\x00" * 36):
                more = {"call": "c", "approve": True} if frame == "tool.decide" else {}
                await stranger.send_frame(frame, run=id, **more)
                if frame == "run.unfollow":
                    continue
                error = await stranger.frame()
                answers.add((error["type"], error["code"], error["message"]))
            if frame == "run.unfollow":
                await asyncio.sleep(0.05)
                while not await stranger.receive_nothing(0.01):
                    assert (await stranger.frame())["type"] == "error"
            else:
                assert len(answers) == 1
                assert next(iter(answers))[:2] == ("error", "not_found")


async def test_too_many_runs_on_one_socket_are_refused(provider, settings):
    settings.OPENROUTER = {**settings.OPENROUTER, "MAX_RUNS_PER_SOCKET": 2}
    await make(make_chain)()
    async with connected() as sock:
        for number in range(2):
            provider.stall(seconds=60)
            await sock.send_frame("run.start", id=f"k{number}", chain="echo", input={"text": "hi"})
            await sock.until("run.accepted")
        await sock.send_frame("run.start", id="k9", chain="echo", input={"text": "hi"})
        assert (await sock.until("error"))["code"] == "limit"
        for live in list(runs.registry._live.values()):
            live.stop("user")
            await asyncio.wait([live.task], timeout=5)
        provider.clear()


async def test_unfollowing_makes_no_room_for_more_runs(provider, settings):
    settings.OPENROUTER = {**settings.OPENROUTER, "MAX_RUNS_PER_SOCKET": 1}
    await make(make_chain)()
    provider.stall(seconds=60)
    async with connected() as sock:
        await sock.send_frame("run.start", id="k1", chain="echo", input={"text": "hi"})
        run = (await sock.until("run.accepted"))["run"]
        await sock.send_frame("run.unfollow", run=run)
        await sock.send_frame("run.start", id="k2", chain="echo", input={"text": "hi"})
        assert (await sock.until("error"))["code"] == "limit"
        await sock.send_frame("run.stop", run=run)
        await runs.wait(UUID(run))
    provider.clear()


@pytest.mark.parametrize(
    ("origin", "host", "allowed"),
    [
        ("http://localhost", "localhost", True),
        ("http://localhost:8000", "localhost:8000", True),
        ("http://127.0.0.1:8000", "127.0.0.1:8000", True),
        ("http://evil.example", "localhost", False),
        ("null", "localhost", False),
        (None, "localhost", False),
        ("https://localhost.evil.example", "localhost", False),
        ("http://localhost:9000", "localhost:8000", False),
        ("https://localhost", "localhost", False),
        ("http://localhost@evil.example", "localhost", False),
        ("http://evil.example", "evil.example", False),
        ("http://localhost/path", "localhost", False),
        ("http://localhost:99999", "localhost", False),
        ("", "localhost", False),
    ],
)
async def test_a1_only_pages_of_this_site_may_open_the_socket(origin, host, allowed):
    sock = socket(origin=origin, host=host)
    assert (await sock.connect())[0] is allowed
    await sock.disconnect()


async def test_a1_wildcard_hosts_still_need_the_pages_own_origin(settings):
    settings.ALLOWED_HOSTS = ["*"]
    for origin, allowed in (("http://site.example", True), ("http://evil.example", False)):
        sock = socket(origin=origin, host="site.example")
        assert (await sock.connect())[0] is allowed
        await sock.disconnect()


async def test_a1_other_origins_can_be_allowed_by_name(settings):
    settings.OPENROUTER = {**settings.OPENROUTER, "ALLOWED_ORIGINS": ["https://app.example"]}
    for origin, allowed in (("https://app.example", True), ("http://app.example", False)):
        sock = socket(origin=origin)
        assert (await sock.connect())[0] is allowed
        await sock.disconnect()


async def test_a1_refused_handshake_reaches_neither_session_nor_consumer():
    async def inside(scope, receive, send):
        raise AssertionError("a foreign page came in")

    sent = []

    async def send(message):
        sent.append(message)

    scope = {"type": "websocket", "headers": [(b"host", b"localhost"), (b"origin", b"http://evil.example")]}
    await SameOrigin(inside)(scope, None, send)
    assert sent == [{"type": "websocket.close", "code": 1008}]


async def test_socket_closes_when_its_user_logs_out(provider):
    await make(make_chain)(access="authenticated")
    user = await make(make_user)()
    browser = await make(session_of)(user)
    async with connected(client=browser) as sock:
        await make(browser.logout)()
        await sock.send_frame("run.start", id="k1", chain="echo", input={"text": "hi"})
        assert (await sock.receive_output(2))["code"] == consumers.SESSION_GONE
    assert await Run.objects.acount() == 0


async def test_idle_socket_closes_when_its_user_is_switched_off(settings):
    settings.OPENROUTER = {**settings.OPENROUTER, "SESSION_RECHECK": 0.05}
    user = await make(make_user)()
    async with connected(user) as sock:
        user.is_active = False
        await user.asave()
        assert (await sock.receive_output(2))["code"] == consumers.SESSION_GONE


async def test_checks_go_on_after_a_database_error(monkeypatch, caplog, settings):
    settings.OPENROUTER = {**settings.OPENROUTER, "SESSION_RECHECK": 0.05}
    owner_of, failures = consumers.identity.owner_of, iter([True])

    async def flaky(scope, *, fresh=False):
        if fresh and next(failures, False):
            raise OperationalError("database is locked")
        return await owner_of(scope, fresh=fresh)

    monkeypatch.setattr(consumers.identity, "owner_of", flaky)
    user = await make(make_user)()
    async with connected(user) as sock:
        await until(lambda: "could not be checked" in caplog.text)
        user.is_active = False
        await user.asave()
        assert (await sock.receive_output(2))["code"] == consumers.SESSION_GONE


async def test_handshake_leaves_the_session_alone_while_keys_rotate(settings):
    user = await make(make_user)()
    browser = await make(session_of)(user)
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "a new key for this site, which is long enough"
    key = browser.cookies[settings.SESSION_COOKIE_NAME].value
    async with connected(client=browser) as sock:
        await sock.send_frame("run.follow", run=str(uuid4()))
        assert (await sock.frame())["code"] == "not_found"
    assert await Session.objects.filter(session_key=key).aexists()


async def test_database_error_is_told_and_the_socket_stays_up(monkeypatch, caplog):
    async def broken(*args):
        raise RuntimeError("canary of the inside")

    monkeypatch.setattr(runs, "start", broken)
    async with connected() as sock:
        await sock.send_frame("run.start", id="k1", chain="echo", input={"text": "hi"})
        error = await sock.frame()
        assert error["code"] == "provider"
        assert "canary" not in error["message"]
        await sock.send_frame("ping")
        assert await sock.frame() == {"type": "pong"}
    assert "canary" in caplog.text


async def test_page_that_leaves_in_mid_answer_is_no_error(provider, monkeypatch, caplog):
    async def gone(self, *args, **kwargs):
        raise OSError("the client is gone")

    await make(make_chain)()
    provider.reply("Hel", "lo", delay=0.05)
    async with connected() as sock:
        await sock.send_frame("run.start", id="k1", chain="echo", input={"text": "hi"})
        run = (await sock.until("run.accepted"))["run"]
        monkeypatch.setattr(consumers.RunConsumer, "send", gone)
        await runs.wait(UUID(run))
        await asyncio.sleep(0.05)
    assert (await Run.objects.aget(uuid=run)).status == "done"
    assert not caplog.records


async def test_page_that_floods_its_socket_is_cut_off(monkeypatch):
    monkeypatch.setattr(sockets, "BURST", 5)
    monkeypatch.setattr(sockets, "FRAMES_A_SECOND", 0.001)
    async with connected() as sock:
        for _ in range(6):
            await sock.send_frame("ping")
        for _ in range(5):
            assert (await sock.frame())["type"] == "pong"
        assert (await sock.receive_output(2))["code"] == consumers.FLOOD


async def test_socket_stands_while_the_channel_layer_is_away(monkeypatch):
    async def away(self, channel):
        raise ConnectionError("no layer")

    monkeypatch.setattr(InMemoryChannelLayer, "receive", away)
    async with connected() as sock:
        await sock.send_frame("ping")
        assert (await sock.frame())["type"] == "pong"


async def test_follow_waits_for_a_database_that_is_away(provider, settings, monkeypatch):
    settings.OPENROUTER = {**settings.OPENROUTER, "FOLLOW_POLL": 0.05}
    await make(make_chain)()
    provider.reply("Hello", delay=0.01)
    async with connected() as sock:
        await sock.send_frame("run.start", id="k1", chain="echo", input={"text": "hi"})
        run = (await sock.until("run.accepted"))["run"]
        assert (await sock.watch(run)).state["status"] == "done"
        follow, failures = runs.follow, iter([True, True])

        async def away(owner, run, turn, html):
            if next(failures, False):
                raise OperationalError("the database is away")
            async for update in follow(owner, run):
                yield update

        monkeypatch.setattr(consumers.runs, "follow", away)
        await sock.send_frame("run.follow", run=run)
        assert (await sock.until("run.snapshot"))["state"]["status"] == "done"


async def test_watching_a_conversation_waits_for_a_database_that_is_away(settings, monkeypatch):
    settings.OPENROUTER = {**settings.OPENROUTER, "FOLLOW_POLL": 0.05}
    follow, failures = runs.follow_conversation, iter([True, True])

    async def away(owner, conversation):
        if next(failures, False):
            raise OperationalError("the database is away")
        async for place in follow(owner, conversation):
            yield place

    monkeypatch.setattr(consumers.runs, "follow_conversation", away)
    async with connected() as sock:
        await sock.send_frame("run.follow", conversation=str(uuid4()))
        assert (await sock.frame())["code"] == "not_found"


async def test_handshake_is_refused_while_the_database_is_away(monkeypatch, caplog):
    async def away(scope, *, fresh=False):
        raise OperationalError("the database is away")

    monkeypatch.setattr(consumers.identity, "owner_of", away)
    assert (await socket().connect())[0] is False


async def test_f34_stop_is_heard_while_an_earlier_frame_waits_for_the_database(provider, monkeypatch):
    await make(make_chain)()
    provider.stall("Hel", seconds=60)
    held = asyncio.Event()

    async def slow(request):
        await held.wait()
        raise consumers.Refused("limit", "No.")

    async with connected() as sock:
        await sock.send_frame("run.start", id="k1", chain="echo", input={"text": "hi"})
        run = (await sock.until("run.accepted"))["run"]
        await until(lambda: provider.active)
        monkeypatch.setattr(consumers.runs, "start", slow)
        await sock.send_frame("run.start", id="k2", chain="echo", input={"text": "hi"})
        await sock.send_frame("run.stop", run=run)
        assert (await sock.watch(run)).state["status"] == "stopped"
        await sock.send_frame("ping")
        await sock.until("pong")
        held.set()
        assert (await sock.until("error"))["id"] == "k2"


async def test_runs_of_a_socket_have_their_turns_one_after_another():
    turn, order = sockets.SocketTurn(None), []

    async def one(name):
        if not turn.begin():
            await turn.wait()
        order.append(name)
        await asyncio.sleep(0)
        assert order[-1] == name, "nobody else meanwhile"
        turn.end()

    assert turn.begin()
    tasks = [asyncio.create_task(one(name)) for name in "abcd"]
    await asyncio.sleep(0)
    tasks[1].cancel()
    turn.end()
    tasks[0].cancel()  # whose turn it is in this very moment
    await asyncio.wait(tasks)
    assert order == ["c", "d"]
    assert turn.begin()
