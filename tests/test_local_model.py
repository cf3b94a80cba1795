"""A real small model, over the websocket (`make test-local-model`): no wording and no timing is asserted."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from asgiref.sync import sync_to_async

from openrouter_app.engine import client
from openrouter_app.engine.client import httpx
from openrouter_app.models import Run
from tests.factories import make_chain, make_joke_chain
from tests.sockets import connected

pytestmark = [
    pytest.mark.local_model,
    pytest.mark.django_db(transaction=True),
    pytest.mark.timeout(300),
]
make = sync_to_async
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def local_model() -> Iterator[str]:
    """The base URL of the model's server."""
    command = [sys.executable, "-m", "project.local_model"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"http://\S+", line := process.stdout.readline())
            assert found, f"{line} (make install-local-model brings the model)"
            yield found.group()
        finally:
            process.terminate()
            process.wait(20)


@pytest.fixture(autouse=True)
async def provider(local_model, settings):
    settings.OPENROUTER = {"BASE_URL": local_model}
    yield
    await client.aclose()


async def busy_slots(local_model: str) -> int:
    async with httpx.AsyncClient() as http:
        slots = (await http.get(local_model.removesuffix("/v1") + "/slots")).json()
    return sum(slot["is_processing"] for slot in slots)


async def test_text_of_a_real_model_arrives_in_several_frames():
    await make(make_chain)("echo", ("system", "You are a helpful assistant."), ("human", "{text}"))
    async with connected() as sock:
        await sock.send_frame("run.start", id="k1", chain="echo", input={"text": "Tell me about the sea."})
        run = (await sock.until("run.accepted"))["run"]
        view = await asyncio.wait_for(sock.watch(run), 200)
    row = await Run.objects.aget(uuid=run)
    assert view.state["status"] == "done", view.state
    assert view.frames > 5
    assert view.state["output"] == row.output != ""
    assert row.completion_tokens > 5


async def test_arguments_of_a_real_model_fill_in(local_model):
    await make(make_joke_chain)()
    async with connected() as sock:
        await sock.send_frame("run.start", id="k1", chain="joke", input={"foo": "bears"})
        run = (await sock.until("run.accepted"))["run"]
        view = await asyncio.wait_for(sock.watch(run), 200)
    row = await Run.objects.aget(uuid=run)
    assert view.state["parts"] == row.parts
    (call,) = [part for part in row.parts if part["type"] == "call"]
    assert call["status"] in ("ready", "invalid")
    assert view.frames > 5


async def test_stop_frees_the_models_slot(local_model):
    await make(make_chain)("echo", ("system", "You are a helpful assistant."), ("human", "{text}"))
    text = "Write a very long story about a ship, in many chapters."
    async with connected() as sock:
        await sock.send_frame("run.start", id="k1", chain="echo", input={"text": text})
        run = (await sock.until("run.accepted"))["run"]
        while not any(event["type"] == "text" for event in (await sock.until("run.events"))["events"]):
            pass
        assert await busy_slots(local_model) == 1
        await sock.send_frame("run.stop", run=run)
        view = None
        while view != "stopped":
            view = (await sock.until("run.events"))["events"][-1]["type"]
    for _ in range(200):
        if not await busy_slots(local_model):
            break
        await asyncio.sleep(0.05)
    assert not await busy_slots(local_model)
    row = await Run.objects.aget(uuid=run)
    assert row.status == "stopped"
    assert row.parts[-1]["text"]
