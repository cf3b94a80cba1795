"""A3, A35: with somebody else's ids every command answers as with ids that are not there.

The matrix is made from the URL patterns and from the types of the client's frames. What is new there has to
be entered here: an unknown pattern, frame or field fails.
"""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from asgiref.testing import ApplicationCommunicator
from django.test import AsyncClient
from django.urls import reverse

import openrouter_app
from openrouter_app import protocol, sockets
from openrouter_app.database import in_database_thread as make
from openrouter_app.models import Conversation, Message, Owner, Run, ToolCall
from openrouter_app.models.tool_calls import arguments_hash
from openrouter_app.urls import urlpatterns
from project.asgi import application

from .factories import make_user
from .sockets import Socket, connected
from .talking import browser_of, make_conversation, say, visitor

pytestmark = pytest.mark.django_db(transaction=True)

KINDS = ("run", "conversation", "message", "version", "call", "tool_call")
MISSING = {"missing": str(uuid4()), "other missing": str(uuid4())}
MALFORMED = {
    "empty": "",
    "number": "7",
    "long": "x" * 500,
    "nul": "\x00" * 36,
    "braces": "{" + str(uuid4())[:34] + "}",
    "quote": "' OR 1=1 --",
}

NO_IDS = {
    *("index", "chain", "conversations", "conversation-list", "health"),
    *("account", "connect", "callback", "replace", "refresh", "paste", "disconnect"),
}
"""Addresses without an id of a visitor's: an account is the one of who is signed in. What a foreign nonce or
key does at them is A8's and A12's, in `test_attacks_connecting`.
"""
HTTP: dict[str, tuple[str, dict[str, str]]] = {
    "conversation": ("get", {}),
    "conversation-data": ("get", {}),
    "conversation-export-json": ("get", {}),
    "conversation-export-md": ("get", {}),
    "conversation-rename": ("post", {"title": "stolen"}),
    "conversation-delete": ("post", {}),
    "conversation-head": ("post", {"message": "{message}"}),
    "decide": ("post", {"call": "call-1", "approve": "true"}),
}
"""Each address with an id in its path: the method, and what is sent with it."""
IN_DATA: dict[str, tuple[str, str, dict[str, str]]] = {
    "chat ?conversation": ("get", "chat", {"conversation": "{id}"}),
    "send conversation": ("post", "send", {"conversation": "{id}", "message": "x"}),
    "send parent": ("post", "send", {"conversation": "{own}", "parent": "{id}", "message": "x"}),
    "head message": ("post", "conversation-head", {"message": "{id}"}),
    "conversation ?message": ("get", "conversation", {"message": "{id}"}),
    "data ?message": ("get", "conversation-data", {"message": "{id}"}),
    "export ?message": ("get", "conversation-export-md", {"message": "{id}"}),
    "decide call": ("post", "decide", {"call": "{id}", "approve": "true"}),
}
"""Ids in a query or a form, on the visitor's own page where its path has one."""

FRAMES: dict[type, dict[str, Any]] = {
    protocol.RunStart: {"id": "k1", "chain": "chat", "input": {"message": "x"}},
    protocol.RunFollow: {},
    protocol.RunUnfollow: {},
    protocol.RunStop: {},
    protocol.ToolDecide: {"call": "call-1", "approve": True},
    protocol.Ping: {},
}
"""Each frame with what it needs beside ids."""
ID_FIELDS = {"run", "conversation", "parent", "call"}
OTHER_FIELDS = {"id", "chain", "input", "version", "options", "approve", "reason"}


def make_victim(owner: Owner) -> dict[str, str]:
    """A conversation with everything that has an id, one call waiting for its owner; the ids by kind."""
    made = make_conversation(owner, "a private word")
    say(made, "pay", status="waiting")
    run = Run.objects.get(conversation=made, status="waiting")
    call = ToolCall.objects.create(
        run=run,
        call="call-1",
        name="pay",
        arguments="{}",
        hash=arguments_hash("pay", "{}"),
        status="waiting",
        approval="owner",
    )
    return {
        "run": str(run.uuid),
        "conversation": str(made.uuid),
        "message": str(made.head.uuid),
        "version": str(made.chain.published.uuid),
        "call": "call-1",
        "tool_call": str(call.uuid),
    }


def everything() -> Any:
    """All rows a command could have changed."""
    return [
        list(model.objects.order_by("pk").values_list(*columns))
        for model, columns in (
            (Conversation, ("pk", "user", "visitor", "title", "head", "updated")),
            (Message, ("pk", "parent", "role")),
            (Run, ("pk", "user", "visitor", "status", "stop_requested_at", "fence")),
            (ToolCall, ("pk", "status", "decided_at")),
        )
    ]


@pytest.fixture
def matrix():
    """(the victim's ids, the attackers: another user and another visitor)"""
    ids = make_victim(Owner.of_user(make_user("victim")))
    return ids, [Owner.of_user(make_user("attacker", is_staff=True)), visitor(2)]


def test_a3_every_address_has_its_row():
    names = {pattern.name for pattern in urlpatterns}
    with_ids = {name for name in names if name not in NO_IDS}
    rows = set(HTTP) | {name for _, name, _ in IN_DATA.values()}
    assert rows == with_ids
    for pattern in urlpatterns:
        ids = set(pattern.pattern.converters) - {"slug", "nonce"}
        assert (pattern.name in HTTP) is bool(ids), pattern.name


def test_a3_every_frame_and_field_has_its_row():
    assert set(FRAMES) == set(protocol.ClientFrame.__args__)
    for kind in FRAMES:
        assert set(kind.__struct_fields__) <= ID_FIELDS | OTHER_FIELDS, kind


def answer_of(client, method: str, address: str, data: dict[str, str], accept: str) -> Any:
    response = getattr(client, method)(address, data, headers={"Accept": accept})
    kept = {
        name: value for name, value in response.headers.items() if name not in ("Content-Length", "Expires")
    }
    return response.status_code, response.content, sorted(kept)


@pytest.mark.parametrize("accept", ["text/html", "application/json"])
@pytest.mark.parametrize("name", HTTP)
def test_a3_a35_foreign_id_in_an_address_is_answered_like_a_missing_one(matrix, name, accept):
    ids, attackers = matrix
    method, data = HTTP[name]
    before = everything()
    for attacker in attackers:
        client = browser_of(attacker)
        given = {field: text.format(**ids) for field, text in data.items()}
        tried = {**{kind: ids[kind] for kind in KINDS}, **MISSING, **MALFORMED}
        answers = {}
        for word, id in tried.items():
            if not id or "\x00" in id:
                continue  # no path can have it
            answers[word] = answer_of(
                client, method, reverse(f"openrouter_app:{name}", args=[id]), given, accept
            )
        assert {status for status, *_ in answers.values()} == {404}
        assert len(set(map(str, answers.values()))) == 1, answers
    assert everything() == before


@pytest.mark.parametrize("row", IN_DATA)
def test_a3_a35_foreign_id_in_a_form_or_query_is_answered_like_a_missing_one(matrix, row):
    ids, attackers = matrix
    method, name, data = IN_DATA[row]
    for attacker in attackers:
        own = make_conversation(attacker, "mine")
        run = Run.objects.get(conversation=own)
        path = {"chat": "chat", "send": "chat", "decide": str(run.uuid)}.get(name, str(own.uuid))
        before = everything()
        client = browser_of(attacker)
        answers = {}
        for word, id in {**{kind: ids[kind] for kind in KINDS}, **MISSING, **MALFORMED}.items():
            if not id:
                continue  # the same as none at all
            given = {field: text.format(id=id, own=own.uuid) for field, text in data.items()}
            answers[word] = answer_of(
                client, method, reverse(f"openrouter_app:{name}", args=[path]), given, "*/*"
            )
        assert {status for status, *_ in answers.values()} == {404}, answers
        assert len(set(map(str, answers.values()))) == 1, answers
        assert everything() == before


def frames_with(ids: dict[str, str], own: dict[str, str]) -> list[tuple[str, str, dict[str, Any]]]:
    """(row, word, frame): each id field of each frame with each id."""
    rows = []
    for kind, rest in FRAMES.items():
        for field in set(kind.__struct_fields__) & ID_FIELDS:
            for word, id in {**{kind: ids[kind] for kind in KINDS}, **MISSING, **MALFORMED}.items():
                frame = {"type": kind.__struct_config__.tag, **rest, field: id}
                if field == "parent":
                    frame["conversation"] = own["conversation"]
                if field == "call":
                    frame["run"] = own["run"]
                rows.append((f"{frame['type']} {field}", word, frame))
    return rows


async def test_a3_a35_foreign_id_in_a_frame_is_answered_like_a_missing_one(matrix, monkeypatch):
    monkeypatch.setattr(sockets, "BURST", 10_000)
    ids, attackers = matrix
    for attacker in attackers:

        def prepare(attacker=attacker):
            own = make_conversation(attacker, "mine")
            run = Run.objects.get(conversation=own)
            return {"conversation": str(own.uuid), "run": str(run.uuid)}, browser_of(attacker)

        own, browser = await make(prepare)()
        before = await make(everything)()
        answers: dict[str, dict[str, Any]] = {}
        async with connected(client=browser) as sock:
            for row, word, frame in frames_with(ids, own):
                await sock.send_to(text_data=json.dumps(frame))
                answers.setdefault(row, {})[word] = await answer_to(sock, frame)
            assert await sock.receive_nothing(0.1)
        for row, by_word in answers.items():
            no_ids = {*MALFORMED, "call"} if row.startswith("run.unfollow") else MALFORMED
            said = {word: answer for word, answer in by_word.items() if word not in no_ids}
            assert len(set(map(str, said.values()))) == 1, (row, said)
            if row.startswith("run.unfollow"):
                continue  # of what nobody follows there is nothing to be said
            assert {json.loads(answer)["code"] for answer in said.values()} == {"not_found"}, (row, said)
            wrong = {json.loads(answer)["code"] for answer in by_word.values() if answer}
            assert wrong <= {"not_found", "bad_frame"}, (row, by_word)
        assert await make(everything)() == before


async def answer_to(sock, frame: dict[str, Any]) -> str:
    """The error a frame gets, without what it repeats of the frame; "" where it gets none."""
    await sock.send_frame("ping")
    answers, ponged = [], False
    for _ in range(200):
        if not await sock.receive_nothing(0.005):
            answer = await sock.frame()
            ponged = ponged or answer["type"] == "pong"
            if answer["type"] != "pong":
                answers.append(answer)
        elif answers or (ponged and frame["type"] == "run.unfollow"):
            break
        else:
            await asyncio.sleep(0.005)
    assert [answer["type"] for answer in answers] in ([], ["error"]), answers
    for answer in answers:
        for field in (*ID_FIELDS, "id"):
            if field in answer:
                assert str(frame.get(field)).startswith(answer.pop(field))
    return json.dumps(answers[0], sort_keys=True) if answers else ""


def test_a35_ids_are_random():
    made = [make_conversation(visitor(), "x") for _ in range(3)]
    uuids = [row.uuid for row in (*made, *Message.objects.all(), *Run.objects.all())]
    assert {uuid.version for uuid in uuids} == {4}
    assert len(set(uuids)) == len(uuids)


class _SocketWithQuery(Socket):
    """A page without cookies that says something in the socket's address."""

    def __init__(self, query: bytes) -> None:
        headers = [(b"host", b"localhost"), (b"origin", b"http://localhost")]
        scope = {"type": "websocket", "path": "/ws/openrouter/", "query_string": query, "headers": headers}
        ApplicationCommunicator.__init__(self, application, {**scope, "subprotocols": []})


@pytest.mark.parametrize(
    "name", ["token", "session", "sessionid", "openrouter_visitor", "visitor", "ticket", "user"]
)
async def test_a38_nothing_in_a_query_says_who_somebody_is(name):
    def prepare():
        owner = visitor(7)
        made = make_conversation(owner, "private")
        return owner, made, browser_of(owner).session.session_key

    owner, made, key = await make(prepare)()
    run = await Run.objects.aget(conversation=made)
    for value in (key, str(owner.visitor)):
        client = AsyncClient()
        address = reverse("openrouter_app:conversation", args=[made.uuid])
        assert (await client.get(address, {name: value})).status_code == 404
        sock = _SocketWithQuery(f"{name}={value}".encode())
        assert (await sock.connect())[0]
        await sock.until("hello")
        await sock.send_frame("run.follow", run=str(run.uuid))
        assert (await sock.until("error"))["code"] == "not_found"
        await sock.disconnect()


def test_a38_the_app_reads_no_query_of_a_socket():
    app = Path(openrouter_app.__file__).parent
    readers = {
        path.name
        for path in app.rglob("*.py")
        if "testing" not in path.parts and re.search(r"query_string", path.read_text())
    }
    assert readers <= {"consumers.py"}  # ?html=1
