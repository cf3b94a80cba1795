"""The demo's own server from outside: real sockets, hostile frames, and a second start."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.demo import ROOT, served

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Iterator[str]:
    with served(tmp_path_factory.mktemp("var")) as (address, _):
        yield address


def socket(address: str, **options) -> connect:
    url = address.replace("http", "ws", 1) + "/ws/openrouter/"
    return connect(url, origin=address, proxy=None, max_size=None, **options)


async def is_alive(connection: ClientConnection) -> bool:
    await connection.send('{"type": "ping"}')
    return json.loads(await connection.recv()) == {"type": "pong"}


async def test_a5_hostile_frames_close_their_own_socket_at_most(demo):
    async with socket(demo) as bystander:
        await bystander.recv()
        async with socket(demo) as sock:
            await sock.recv()
            with pytest.raises(ConnectionClosed) as caught:
                await sock.send("x" * 10_000_000)
                await sock.recv()
            assert caught.value.rcvd.code == 1009
        async with socket(demo) as sock:
            await sock.recv()
            await sock.send(b'{"type": "\xff\xfe"}', text=True)
            with pytest.raises(ConnectionClosed) as caught:
                await sock.recv()
            assert caught.value.rcvd.code == 1007
        async with socket(demo) as sock:
            await sock.recv()
            for frame in ("[" * 60_000, b"\x00", '{"type":'):
                await sock.send(frame)
                assert json.loads(await sock.recv())["code"] == "bad_frame"
            assert await is_alive(sock)
        assert await is_alive(bystander)


async def test_a1_foreign_origin_is_turned_away_at_the_door(demo):
    from websockets.exceptions import InvalidStatus

    url = demo.replace("http", "ws", 1) + "/ws/openrouter/"
    for origin in ("http://evil.example", "null", None):
        with pytest.raises(InvalidStatus) as caught:
            async with connect(url, origin=origin, proxy=None):
                pass
        assert caught.value.response.status_code == 403


async def test_frames_are_not_compressed(demo):
    async with socket(demo, compression="deflate") as sock:
        assert "Sec-WebSocket-Extensions" not in sock.response.headers


async def count(address: str) -> tuple[str, int]:
    async with socket(address) as sock:
        await sock.recv()
        await sock.send(
            json.dumps({"type": "run.start", "id": "k1", "chain": "count", "input": {"max_num": "9"}})
        )
        while True:
            frame = json.loads(await sock.recv())
            if frame["type"] == "run.snapshot":
                version = frame["state"]["version"]
            for event in frame.get("events", []):
                assert event["type"] not in ("failed", "interrupted"), event
                if event["type"] == "finished":
                    return event["output"], version


async def test_second_start_keeps_the_data(tmp_path):
    with served(tmp_path) as (address, said):
        assert "Made the chains" in said
        assert (await count(address))[0] == "123456789"
    edit = (
        "from openrouter_app.models import Chain;"
        "chain = Chain.objects.get(slug='count');"
        "row = chain.prompt.rows.get(role='system'); row.text += ', backwards'; row.save();"
        "chain.publish()"
    )
    env = {**os.environ, "DEMO_VAR": str(tmp_path)}
    command = [sys.executable, "manage.py", "shell", "-c", edit]
    await asyncio.to_thread(subprocess.run, command, cwd=ROOT, env=env, check=True)
    with served(tmp_path) as (address, said):
        assert "Made" not in said
        output, version = await count(address)
        assert version == 2
        assert output.startswith("98")
