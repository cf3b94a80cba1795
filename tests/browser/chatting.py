"""The chat as it is shipped, templates and all, talking to a server that the test plays."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

from django.template.loader import render_to_string
from django.utils import translation
from django.utils.safestring import mark_safe
from playwright.sync_api import Browser, Locator, Page, Route, WebSocketRoute, expect

from openrouter_app.pages.account import Offer, account_config
from openrouter_app.pages.fields import Field
from project.csp import POLICY

from .conftest import STATIC, blank_page

HEADERS = {"Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": POLICY}
URLS = {
    "page": "/chains/talk/",
    "conversation": "/conversations/{conversation}/",
    "data": "/conversations/{conversation}/data/",
    "list": "/conversations/data/?chain=talk",
    "list_page": "/conversations/?chain=talk",
    "rename": "/conversations/{conversation}/rename/",
    "delete": "/conversations/{conversation}/delete/",
    "head": "/conversations/{conversation}/head/",
    "export_json": "/conversations/{conversation}/export.json",
    "export_md": "/conversations/{conversation}/export.md",
    "send": "/chains/talk/send/",
    "decide": "/runs/{run}/decide/",
}
MESSAGE = Field("message", "What can you do?", required=True)
TITLE = "Order 1041"
USAGE = {
    "type": "usage",
    "prompt_tokens": 812,
    "completion_tokens": 96,
    "cost": "0.00031",
    "estimated": False,
    "model": "openai/gpt-4o-mini",
    "provider": "OpenAI",
    "ms": 2140,
}
DONE = {"type": "finished", "reason": "stop"}


def ident(number: int) -> str:
    """An id as the server makes them."""
    return str(UUID(int=number))


def text(delta: str, part: int = 0) -> dict[str, Any]:
    return {"type": "text", "part": part, "delta": delta}


class Conversation:
    """A tree of messages, and the path of it that is shown."""

    def __init__(self, number: int = 1, title: str = TITLE) -> None:
        self.id = ident(number)
        self.title = title
        self.run: str | None = None
        self._numbers = count(number * 1_000)
        self.messages: list[dict[str, Any]] = []
        self.others: dict[str, list[dict[str, Any]]] = {}
        """What is shown when another version is asked for."""

    @property
    def head(self) -> str | None:
        return self.messages[-1]["message"] if self.messages else None

    def ask(self, said: str, siblings: int = 1) -> str:
        return self._add("user", {"input": {"message": said}, "text": said}, siblings)

    def answer(self, *parts: dict[str, Any], siblings: int = 1, run: str | None = None, **state: Any) -> str:
        whole = {"status": "done", "version": 3, "usage": USAGE, "parts": list(parts), **state}
        number = ident(next(self._numbers))
        return self._add("assistant", {"run": run or number, "state": whole}, siblings)

    def _add(self, role: str, more: dict[str, Any], siblings: int) -> str:
        ids = [ident(next(self._numbers)) for _ in range(siblings)]
        message = {"message": ids[-1], "parent": self.head, "role": role, "siblings": ids, **more}
        self.messages.append({**message, "created": "2026-11-25T20:00:00+00:00"})
        return ids[-1]

    def data(self, message: str | None = None) -> dict[str, Any]:
        messages = self.others.get(message or "", self.messages)
        known = {"conversation": self.id, "title": self.title, "chain": "talk", "run": self.run}
        return {**known, "head": self.head, "messages": messages}

    def row(self) -> dict[str, Any]:
        return {
            "conversation": self.id,
            "title": self.title,
            "chain": "talk",
            "updated": "2026-11-25T20:00:00+00:00",
            "url": f"/conversations/{self.id}/",
            "running": self.run is not None,
        }


def said(words: str, *blocks: str) -> dict[str, Any]:
    """A text part of an answer that has ended."""
    return {"type": "text", "text": words, **({"blocks": list(blocks), "rest": ""} if blocks else {})}


class Talk:
    """A page with a chat, and its server's end."""

    def __init__(self, page: Page, address: str, expected: list[str]) -> None:
        self.page = page
        self.address = address
        self.expected = expected
        """Words of what the browser may say in its console."""
        self.sockets: list[WebSocketRoute] = []
        self.heard: list[dict[str, Any]] = []
        self.posted: list[tuple[str, dict[str, str]]] = []
        self.conversations: list[Conversation] = []
        self.fields = [MESSAGE]
        self.models: list[str] = []
        self.owner = "0123456789abcdef"
        self.offer: Offer | None = None
        self.silent = False
        self.may_send = True
        self.seq: dict[str, int] = {}
        self.language = "en"
        page.set_default_timeout(10_000)
        if not (STATIC / "openrouter_app/css/markdown.css").exists():
            page.route("**/css/markdown.css", lambda route: route.fulfill(body="", content_type="text/css"))
        page.route_web_socket("**/ws/openrouter/**", self._greet)
        page.route("**/chains/talk/", lambda route: self._page(route, None))
        page.route("**/chains/talk/chat/**", lambda route: self._fragment(route))
        page.route(re.compile(r"/conversations/"), self._conversations)

    # what the page gets

    def context(self, conversation: Conversation | None) -> dict[str, Any]:
        data = conversation.data() if conversation else None
        config = {
            "chain": "talk",
            "title": "Ask the shop",
            "fields": [
                {"name": each.name, "label": each.label, "example": each.example, "required": each.required}
                for each in self.fields
            ],
            "message_variable": "message",
            "socket": "/ws/openrouter/",
            "model": "openai/gpt-4o-mini",
            "models": self.models,
            "may_send": self.may_send,
            "owner": self.owner,
            **account_config(self.offer),
            "conversation": conversation and conversation.id,
            "data": data,
            "urls": URLS,
        }
        in_script = json.dumps(config).replace("<", "\\u003C").replace("&", "\\u0026")
        lead = "Knows every order, and can change what has not been sent yet."
        chain = SimpleNamespace(slug="talk", title="Ask the shop", description=lead)
        chat = {
            "chain": chain,
            "conversation": conversation and SimpleNamespace(uuid=conversation.id),
            "config": config,
            "config_json": mark_safe(in_script),
            "history": data["messages"] if data else [],
            "fields": self.fields,
            "message_variable": "message",
            "may_send": self.may_send,
            "show_list": True,
            "title": conversation.title if conversation else "Ask the shop",
            "chain_title": "Ask the shop",
            "problem": "",
            "offer": self.offer,
        }
        return {"chat": chat, "chain": chain, "csrf_token": "token"}

    def _render(self, template: str, conversation: Conversation | None) -> str:
        with translation.override(self.language):
            return render_to_string(f"openrouter_app/{template}.html", self.context(conversation))

    def _page(self, route: Route, conversation: Conversation | None) -> None:
        route.fulfill(body=self._render("chat", conversation), headers=HEADERS)

    def _fragment(self, route: Route) -> None:
        asked = parse_qs(urlsplit(route.request.url).query).get("conversation", [""])[0]
        route.fulfill(body=self._render("_chat", self._find(asked)), headers=HEADERS)

    def _find(self, id: str) -> Conversation | None:
        return next((known for known in self.conversations if known.id == id), None)

    def _conversations(self, route: Route) -> None:
        url = urlsplit(route.request.url)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        parts = url.path.strip("/").split("/")[1:]
        if route.request.method == "POST":
            sent = parse_qs(route.request.post_data or "")
            self.posted.append((url.path, {name: values[0] for name, values in sent.items()}))
        if parts == ["data"]:
            words = query.get("q", "").lower()
            rows = [each.row() for each in self.conversations if words in each.title.lower()]
            return route.fulfill(json={"conversations": rows, "more": False})
        found = self._find(parts[0]) if parts else None
        if found is None:
            return route.fulfill(status=404, json={"error": {"message": "There is no such conversation."}})
        match parts[1:]:
            case []:
                return self._page(route, found)
            case ["data"]:
                return route.fulfill(json=found.data(query.get("message")))
            case ["rename"]:
                found.title = self.posted[-1][1]["title"]
            case ["delete"]:
                self.conversations.remove(found)
        return route.fulfill(json={"conversation": found.id})

    # what the page says and hears

    def _greet(self, socket: WebSocketRoute) -> None:
        self.sockets.append(socket)
        socket.on_message(lambda sent: self._hear(socket, json.loads(sent)))
        if not self.silent:
            self.say(type="hello", protocol=1, heartbeat=20, max_frame=65_536, features=[])

    def _hear(self, socket: WebSocketRoute, frame: dict[str, Any]) -> None:
        self.heard.append(frame)
        followed = self._find(frame.get("conversation", "")) if frame["type"] == "run.follow" else None
        if followed is not None:
            news = {"conversation": followed.id, "head": followed.head, "run": followed.run}
            socket.send(json.dumps({"type": "conversation", **news}))

    def say(self, **frame: Any) -> None:
        self.sockets[-1].send(json.dumps(frame))

    def asked_for(self, kind: str) -> list[dict[str, Any]]:
        return [frame for frame in self.heard if frame["type"] == kind]

    def wait_for(self, happened: Callable[[], object]) -> None:
        for _ in range(400):
            if happened():
                return
            self.page.wait_for_timeout(20)
        raise AssertionError("It did not happen.")

    def open(self, conversation: Conversation | None = None) -> Page:
        if conversation and conversation not in self.conversations:
            self.conversations.append(conversation)
        path = f"/conversations/{conversation.id}/" if conversation else "/chains/talk/"
        self.page.goto(self.address + path)
        self.connected()
        return self.page

    def connected(self) -> None:
        expect(self.page.locator("[data-target=connection]")).to_have_attribute("data-status", "ready")

    def accept(
        self,
        run: str = "R",
        conversation: str | None = None,
        message: int = 9002,
        parent: int = 9001,
        **state: Any,
    ) -> None:
        """Let the newest start become a run."""
        start = self.asked_for("run.start")[-1]
        id = conversation or (ident(77) if start["conversation"] == "new" else start["conversation"])
        self.say(type="run.accepted", id=start["id"], run=run, conversation=id)
        asked = {"input": start.get("input", {}), "message": ident(message)}
        asked["parent"] = start["parent"] if start.get("parent") and "input" not in start else ident(parent)
        self.snapshot(run, conversation=id, **asked, **state)
        self.say(type="conversation", conversation=id, head=ident(message), run=run)

    def snapshot(self, run: str = "R", **state: Any) -> None:
        self.seq[run] = 0
        whole = {"status": "queued", "version": 3, "parts": [], **state}
        self.say(type="run.snapshot", run=run, seq=0, state=whole)

    def tell(self, *events: dict[str, Any], run: str = "R") -> None:
        after = self.seq.setdefault(run, 0)
        self.seq[run] = after + len(events)
        self.say(type="run.events", run=run, after=after, seq=self.seq[run], events=list(events))

    # what stands on the page

    @property
    def field(self) -> Locator:
        return self.page.get_by_role("textbox", name="Message", exact=True)

    @property
    def questions(self) -> Locator:
        return self.page.locator(".openrouter-question__text")

    @property
    def answers(self) -> Locator:
        return self.page.locator(".openrouter-reply .openrouter-answer")

    @property
    def status(self) -> Locator:
        return self.page.locator("[data-target=status]")

    def send(self, words: str) -> None:
        before = len(self.asked_for("run.start"))
        self.field.fill(words)
        self.field.press("Enter")
        self.wait_for(lambda: len(self.asked_for("run.start")) > before)

    def talk(self, words: str, answer: str, run: str, number: int) -> None:
        """A question and its whole answer."""
        self.send(words)
        self.accept(run, message=number + 1, parent=number)
        self.tell({"type": "started", "chain": "talk", "version": 3}, text(answer), USAGE, DONE, run=run)
        expect(self.status).to_have_text("Answer complete.")


@contextmanager
def talking(browser: Browser, address: str) -> Iterator[Talk]:
    expected: list[str] = []
    with blank_page(browser, address, expected) as page:
        yield Talk(page, address, expected)
