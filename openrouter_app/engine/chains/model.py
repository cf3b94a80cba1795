"""The model step: messages to OpenRouter, its answer's events back."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from ..client import AsyncConnection, Connection, Request, Timeouts, check_base_url
from ..errors import (
    BrokenStreamError,
    ConfigurationError,
    InputError,
    MissingKeyError,
    ReadTimeoutError,
    UpstreamError,
)
from ..failures import failure_of_response
from ..flows import Finish, Flow, Open, Read
from ..messages import (
    AIMessage,
    Event,
    HumanMessage,
    Message,
    ReasoningDelta,
    RefusalDelta,
    Reply,
    ReplyFinished,
    ReplyStarted,
    SystemMessage,
    TextDelta,
    ToolCall,
    ToolCallReady,
    ToolMessage,
)
from ..prompts import PromptValue
from ..tools import ToolChoice, ToolSpec
from ..wire import ReplyDecoder, decode_completion
from .steps import Call, Step, Upstream

BASE_URL = "https://openrouter.ai/api/v1"
MAX_BODY = 16_000_000
MAX_ERROR_BODY = 100_000
_OWN = frozenset({"messages", "model", "tools", "tool_choice", "stream"})


class Defaults(msgspec.Struct, frozen=True):
    """What a model takes where its caller said nothing. The repr does not show the key."""

    api_key: str = ""
    base_url: str = BASE_URL
    app_url: str = ""
    app_title: str = ""
    allow_insecure_base_url: bool = False
    timeouts: Timeouts = Timeouts()

    def __repr__(self) -> str:
        return f"Defaults(base_url={self.base_url!r})"


def environment_defaults() -> Defaults:
    """From ``OPENROUTER_API_KEY`` and ``OPENROUTER_BASE_URL``."""
    return Defaults(
        api_key=os.environ.get("OPENROUTER_API_KEY", ""),
        base_url=os.environ.get("OPENROUTER_BASE_URL", "") or BASE_URL,
    )


defaults: Callable[[], Defaults] = environment_defaults


def set_defaults(source: Callable[[], Defaults]) -> None:
    """Ask ``source`` for the defaults from now on, at each call: the Django app passes its settings."""
    global defaults
    defaults = source


class ChatOpenRouter(Step[Any]):
    """A chat model behind OpenRouter's API, or behind any server that speaks it.

    ``stream()`` gives the events of `openrouter_app.engine.messages`, ``invoke()`` a `Reply`; the
    input is a prompt's value, a list of messages, or a text. ``options`` are members of the
    request as OpenRouter names them (``temperature``, ``max_tokens``, ``provider``, ...) and are
    passed on as they are; options given to a call win.

    What is left out comes, at each call, from the Django setting ``OPENROUTER``, or without
    Django from ``OPENROUTER_API_KEY`` and ``OPENROUTER_BASE_URL``. Raises `ConfigurationError`
    for a base URL that would send the key over plain http to another machine.
    """

    def __init__(
        self,
        *,
        model: str,
        api_key: str | None = None,
        base_url: str | None = None,
        app_url: str | None = None,
        app_title: str | None = None,
        headers: Mapping[str, str] | None = None,
        tools: Sequence[ToolSpec] = (),
        tool_choice: ToolChoice | None = None,
        timeouts: Timeouts | None = None,
        allow_insecure_base_url: bool | None = None,
        **options: Any,
    ) -> None:
        if not model:
            raise ConfigurationError("A chat model needs a model, such as 'mistralai/mistral-small'.")
        if owned := _OWN & options.keys():
            raise ConfigurationError(f"{', '.join(sorted(owned))} cannot be given as an option.")
        self.model = model
        self.tools = tuple(tools)
        self.tool_choice = tool_choice
        self.options = options
        self._api_key = api_key
        self._base_url = base_url
        self._app_url = app_url
        self._app_title = app_title
        self._headers = dict(headers or {})
        self._timeouts = timeouts
        self._allow_insecure = allow_insecure_base_url

    def request(self, messages: Sequence[Message], call: Call) -> Request:
        """The HTTP request for these messages. Raises `ConfigurationError` where no key is set."""
        common = defaults()
        insecure = common.allow_insecure_base_url if self._allow_insecure is None else self._allow_insecure
        base_url = check_base_url(self._base_url or common.base_url, allow_insecure=insecure)
        api_key = common.api_key if self._api_key is None else self._api_key
        if not api_key and base_url == BASE_URL:
            raise MissingKeyError(
                "No OpenRouter API key is set here yet. Whoever runs this sets OPENROUTER['API_KEY'] in "
                "Django's settings, or OPENROUTER_API_KEY in the environment."
            )
        headers = {
            "Content-Type": "application/json",
            "Accept": "text/event-stream, application/json",
            "Accept-Encoding": "identity",
        }
        if api_key:
            headers["Authorization"] = f"Bearer {api_key}"
        if app_url := common.app_url if self._app_url is None else self._app_url:
            headers["HTTP-Referer"] = app_url
        if app_title := common.app_title if self._app_title is None else self._app_title:
            headers["X-OpenRouter-Title"] = headers["X-Title"] = app_title
        headers.update(self._headers)
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [_wire_message(message) for message in messages],
        }
        if self.tools:
            body["tools"] = [tool.wire() for tool in self.tools]
            if self.tool_choice is not None:
                body["tool_choice"] = self.tool_choice.wire()
        body.update(self.options)
        body.update((name, value) for name, value in call.options.items() if name not in _OWN - {"model"})
        if call.streaming:
            body["stream"] = True
            body["stream_options"] = {"include_usage": True}
        return Request(
            url=f"{base_url}/chat/completions",
            headers=headers,
            body=_encoded(body),
            timeouts=self._timeouts or common.timeouts,
        )

    def flow(self, upstream: Upstream, call: Call) -> Flow:
        messages = _messages((yield from upstream.value()))
        request = self.request(messages, call)
        clock = _Clock(request.timeouts)
        try:
            yield from self._answer(request, clock)
        except TimeoutError:
            raise clock.expired() from None

    def _answer(self, request: Request, clock: _Clock) -> Flow:
        connection = yield Open(request, clock.due)
        if connection.status >= 300:
            body = yield from _body(connection, MAX_ERROR_BODY, clock, cut=True)
            raise failure_of_response(connection.status, connection.headers, body)
        if "event-stream" not in connection.headers.get("content-type", ""):
            yield from decode_completion((yield from _body(connection, MAX_BODY, clock)))
            return
        decoder = ReplyDecoder()
        while not decoder.done:
            data = yield Read(connection, clock.due)
            if not data:
                yield from decoder.close()
                break
            for event in decoder.feed(data):
                if not isinstance(event, ReplyStarted):
                    clock.content()
                yield event
            clock.check()
        yield Finish(connection)

    def reduce(self, items: Sequence[Event]) -> Reply:
        text: list[str] = []
        reasoning: list[str] = []
        refusal: list[str] = []
        calls: list[ToolCall] = []
        for event in items:
            match event:
                case TextDelta(delta):
                    text.append(delta)
                case ReasoningDelta(delta):
                    reasoning.append(delta)
                case RefusalDelta(delta):
                    refusal.append(delta)
                case ToolCallReady(id, name, arguments):
                    calls.append(ToolCall(id, name, arguments))
                case ReplyFinished():
                    message = AIMessage("".join(text), tuple(calls), "".join(reasoning), "".join(refusal))
                    return Reply(
                        message,
                        event.reason,
                        event.native_reason,
                        event.usage,
                        event.id,
                        event.model,
                        event.provider,
                    )
        raise BrokenStreamError("The answer broke off before its end.")

    def __repr__(self) -> str:
        return f"ChatOpenRouter(model={self.model!r})"


class _Clock:
    """The deadlines of one answer. Only content moves them: comments and blank deltas do not.

    ``due`` is the next one (`time.monotonic`): until then the driver may wait.
    """

    __slots__ = ("_end", "_timeouts", "due")

    def __init__(self, timeouts: Timeouts) -> None:
        now = time.monotonic()
        self._timeouts = timeouts
        self._end = now + timeouts.total
        self.due = min(now + timeouts.first_content, self._end)

    def content(self) -> None:
        """Content has come."""
        self.due = min(time.monotonic() + self._timeouts.idle, self._end)

    def check(self) -> None:
        """Raise where the deadline has passed while bytes kept coming."""
        if time.monotonic() > self.due:
            raise self.expired()

    def expired(self) -> ReadTimeoutError:
        """The error for the deadline that has passed."""
        if self.due >= self._end:
            return ReadTimeoutError(f"The answer took longer than {self._timeouts.total:g} seconds.")
        return ReadTimeoutError("The model's provider fell silent in mid-answer. Try again.")


def _body(connection: Connection | AsyncConnection, limit: int, clock: _Clock, *, cut: bool = False) -> Any:
    """All bytes of a body: at most ``limit``, then it is cut or refused."""
    pieces: list[bytes] = []
    size = 0
    while data := (yield Read(connection, clock.due)):
        pieces.append(data)
        size += len(data)
        if size > limit:
            if cut:
                break
            raise UpstreamError("The provider sent an answer that is too large.")
        clock.check()
    return b"".join(pieces)


def _messages(value: Any) -> Sequence[Message]:
    match value:
        case PromptValue(messages):
            return messages
        case str():
            return (HumanMessage(value),)
        case SystemMessage() | HumanMessage() | AIMessage() | ToolMessage():
            return (value,)
        case Reply(message):
            return (message,)
        case list() | tuple() if value and all(isinstance(item, Message) for item in value):
            return value
    raise InputError(f"A model takes a prompt's value, messages or a text; it got {type(value).__name__}.")


def _wire_message(message: Message) -> dict[str, Any]:
    match message:
        case SystemMessage(content):
            return {"role": "system", "content": content}
        case HumanMessage(content):
            return {"role": "user", "content": content}
        case ToolMessage(content, tool_call_id):
            return {"role": "tool", "tool_call_id": tool_call_id, "content": content}
        case AIMessage(content, tool_calls):
            wire: dict[str, Any] = {"role": "assistant", "content": content or (None if tool_calls else "")}
            if tool_calls:
                wire["tool_calls"] = list(_wire_calls(tool_calls))
            return wire


def _wire_calls(calls: Sequence[ToolCall]) -> Iterator[dict[str, Any]]:
    for call in calls:
        arguments = msgspec.json.encode(call.arguments).decode()
        yield {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def _encoded(body: Mapping[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(body)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"The request cannot be written as JSON: {error}") from None
