"""The model step: messages to OpenRouter, its answer's events back."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..base_url import check_base_url
from ..client import Headers, Request, Timeouts
from ..connections import Connection
from ..defaults import BASE_URL, defaults
from ..errors import (
    ConfigurationError,
    CreditError,
    ForbiddenError,
    KeyRejectedError,
    MissingKeyError,
    OpenRouterError,
    ReadTimeoutError,
    UpstreamError,
)
from ..failures import failure_of_response, generation_of, hide_key
from ..flows import Close, Finish, Flow, Open, Read, Sleep
from ..fold import ReplyFold
from ..messages import Event, Message, Reply
from ..replies import reply_of
from ..requests import encode_body, messages_of, present_names, wire_messages
from ..secret import Secret
from ..tools import ToolChoice, ToolSpec
from ..wire import ReplyDecoder, decode_completion
from .steps import Call, Step, Upstream

if TYPE_CHECKING:
    from ..async_connections import AsyncConnection

MAX_BODY = 10_500_000
"""Bytes, nearly all of them pictures (`engine.pictures`); for a moment they are held twice."""
MAX_ERROR_BODY = 100_000
FIRST_PAUSE = 0.5
"""Seconds that the first retry waits at most; each further one twice as long."""
MAX_RETRY_AFTER = 30
"""Seconds that a provider may ask for; beyond that its error is raised at once."""
_BODY = frozenset({"messages", "stream", "stream_options"})
_OWN = frozenset({"model", "tools", "tool_choice", "timeouts", "retries"})
_MODELS = frozenset({"api_key", "base_url", "app_url", "app_title", "headers", "allow_insecure_base_url"})
"""What belongs to a model and not to one of its calls."""
_FINAL = frozenset({400, 401, 402, 403})
_TELLING, _BLANK = 6, 1_000  # bytes that tell what comes; blank ones to wait for them
_STREAM = (b"data:", b":", b"event:", b"id:", b"retry:")
_NO_SECRETS = frozenset(
    {"content-type", "accept", "accept-encoding", "http-referer", "x-openrouter-title", "x-title"}
)
_REFUSED = (KeyRejectedError, CreditError, ForbiddenError)


class ChatOpenRouter(Step[Any]):
    """A chat model behind OpenRouter's API, or behind any server that speaks it.

    ``stream()`` gives the events of `openrouter_app.engine.messages`, ``invoke()`` a `Reply`; the
    input is a prompt's value, a list of messages, or a text. ``options`` are members of the
    request as OpenRouter names them (``temperature``, ``provider``, ...) and are passed on as they
    are, but for ``max_tokens``, which goes by its present name ``max_completion_tokens``. Options
    given to a call win; ``model``, ``tools``, ``tool_choice``, ``timeouts`` and ``retries`` can be
    given to a call, too.

    ``retries``: how often a request is sent again before its first content, for connect errors, 408,
    429, 502 to 504, 520 to 524, 529 and what says that it is retryable, after a random pause of up to
    0.5, 1, 2, ... seconds or the ``Retry-After`` of up to 30; the total timeout spans them all.

    ``on_answer`` is called with the generation's id ("" where the headers do not say it) when an answer
    has begun to come, before its first content; also for one that breaks off and is asked for again.

    What is left out comes, at each call, from the Django setting ``OPENROUTER``, or without
    Django from ``OPENROUTER_API_KEY`` and ``OPENROUTER_BASE_URL``. Raises `ConfigurationError`
    for a base URL that would send the key over plain http to another machine.
    """

    def __init__(
        self,
        *,
        model: str,
        api_key: Secret | str | None = None,
        base_url: str | None = None,
        app_url: str | None = None,
        app_title: str | None = None,
        headers: Mapping[str, str] | None = None,
        tools: Sequence[ToolSpec] = (),
        tool_choice: ToolChoice | None = None,
        timeouts: Timeouts | None = None,
        retries: int = 2,
        on_answer: Callable[[str], object] | None = None,
        allow_insecure_base_url: bool | None = None,
        **options: Any,
    ) -> None:
        if not model:
            raise ConfigurationError("A chat model needs a model, such as 'mistralai/mistral-small'.")
        if owned := _BODY & options.keys():
            raise ConfigurationError(f"{', '.join(sorted(owned))} cannot be given as an option.")
        _check_retries(retries)
        self.model = model
        self.tools = tuple(tools)
        self.tool_choice = tool_choice
        self.retries = retries
        self.on_answer = on_answer
        self.options = present_names(options)
        self._api_key = Secret(api_key) if isinstance(api_key, str) else api_key
        self._base_url = base_url
        self._app_url = app_url
        self._app_title = app_title
        self._headers = dict(headers or {})
        self._timeouts = timeouts
        self._allow_insecure = allow_insecure_base_url

    def request(self, messages: Sequence[Message], call: Call) -> Request:
        """The HTTP request for these messages. Raises `ConfigurationError` where no key is set."""
        # First, and its errors' frames hold no key.
        body = encode_body(self._body(messages, call))
        timeouts = _kind(call.options.get("timeouts"), Timeouts)
        common = defaults()
        insecure = common.allow_insecure_base_url if self._allow_insecure is None else self._allow_insecure
        base_url = check_base_url(self._base_url or common.base_url, allow_insecure=insecure)
        api_key = Secret(common.api_key) if self._api_key is None else self._api_key
        if not api_key and base_url == BASE_URL:
            raise MissingKeyError(
                "No OpenRouter API key is set here yet. Whoever runs this sets OPENROUTER['API_KEY'] in "
                "Django's settings, or OPENROUTER_API_KEY in the environment."
            )
        headers = Headers(
            {
                "Content-Type": "application/json",
                "Accept": "text/event-stream, application/json",
                "Accept-Encoding": "identity",
            }
        )
        if api_key:
            headers["Authorization"] = f"Bearer {api_key.reveal()}"
        if app_url := common.app_url if self._app_url is None else self._app_url:
            headers["HTTP-Referer"] = app_url
        if app_title := common.app_title if self._app_title is None else self._app_title:
            headers["X-OpenRouter-Title"] = headers["X-Title"] = app_title
        headers.update(self._headers)
        return Request(
            url=f"{base_url}/chat/completions",
            headers=headers,
            body=body,
            timeouts=timeouts or self._timeouts or common.timeouts,
        )

    def _body(self, messages: Sequence[Message], call: Call) -> dict[str, Any]:
        given = call.options
        if foreign := _MODELS & given.keys():
            raise ConfigurationError(
                f"{', '.join(sorted(foreign))} cannot be given to a call: make a model with it."
            )
        body: dict[str, Any] = {
            "model": given.get("model") or self.model,
            "messages": wire_messages(messages),
        }
        if tools := given.get("tools", self.tools):
            body["tools"] = [_spec(tool).wire() for tool in tools]
            choice = _kind(given.get("tool_choice", self.tool_choice), ToolChoice)
            if choice is not None:
                body["tool_choice"] = choice.wire()
        body.update(self.options)
        own = _BODY | _OWN
        body.update((name, value) for name, value in present_names(given).items() if name not in own)
        if call.streaming:
            body["stream"] = True
            body["stream_options"] = {"include_usage": True}
        return body

    def flow(self, upstream: Upstream, call: Call) -> Flow:
        request = self.request(messages_of((yield from upstream.value())), call)
        retries = _check_retries(call.options.get("retries", self.retries))
        clock = _Clock(request.timeouts, call)
        for attempt in range(retries + 1):
            answer, connection = _Answer(clock, self.on_answer), None
            failure: OpenRouterError
            try:
                connection = yield Open(request, clock.due)
                yield from answer.events(connection)
                yield Finish(connection)
                return
            except TimeoutError:
                failure = clock.expired(answer.has_begun)
            except OpenRouterError as error:
                failure = error
            if connection is not None:
                yield Close(connection)
            pause = None if answer.has_begun or attempt == retries else _pause(failure, attempt)
            if pause is None or not clock.has(pause):
                raise answer.signed(failure, request).with_traceback(None)  # it ends where frames hold bodies
            yield Sleep(pause)
            clock.restart()

    def reduce(self, items: Sequence[Event]) -> Reply:
        return reply_of(items)

    def __repr__(self) -> str:
        return f"ChatOpenRouter(model={self.model!r})"


class _Answer:
    """One attempt's answer. ``has_begun``: events of it were handed out."""

    __slots__ = ("_clock", "_decoder", "_on_answer", "has_begun")

    def __init__(self, clock: _Clock, on_answer: Callable[[str], object] | None) -> None:
        self._clock = clock
        self._on_answer = on_answer
        self._decoder = ReplyDecoder()
        self.has_begun = False

    def signed(self, error: OpenRouterError, request: Request) -> OpenRouterError:
        """The error, with what is known of the answer it ended; without a key, which that may echo."""
        fold = self._decoder.fold
        error.provider = error.provider or fold.provider or None
        error.generation_id = error.generation_id or fold.id or None
        error.__cause__ = error.__context__ = None
        for name in request.headers:
            if name.lower() not in _NO_SECRETS and request.headers[name].strip():
                hide_key(error, Secret(request.headers[name].split()[-1]))
        return error

    def events(self, connection: Connection | AsyncConnection) -> Flow:
        """The flow of its events. Raises the error it stands for or ends in."""
        if connection.status >= 300:
            raise failure_of_response(
                connection.status,
                connection.headers,
                (yield from _body(connection, MAX_ERROR_BODY, self._clock, cut=True)),
            )
        if self._on_answer is not None:
            self._on_answer(generation_of(connection.headers))
        events: list[Event] = []
        data = yield from self._head(connection)
        if _is_one_body(data, connection.headers.get("content-type", "")):
            body = yield from _body(connection, MAX_BODY, self._clock, data)
            failed = _completed(body, events, self._decoder.fold)
            del body  # while its events are taken
            self.has_begun = failed is None or self._decoder.fold.has_content
            if self.has_begun:
                yield from events
            if failed is not None:
                raise failed
            return
        decoder = self._decoder
        feed, fold = decoder.feed, decoder.fold
        clock, monotonic = self._clock, time.monotonic
        idle, end = clock.idle, clock.end
        read = Read(connection, clock.due)
        while True:
            failure = None
            try:
                if data:
                    feed(data, events)
                else:
                    decoder.close(events)
            except OpenRouterError as error:
                failure = error
            # The first event waits for content, so that an attempt which gives none leaves no trace.
            if events and (self.has_begun or fold.has_content or decoder.done):
                self.has_begun = True
                yield from events
                events.clear()
                # after they were taken: a reader that is slow is no provider that is silent
                now = monotonic()
                due = now + idle
                read.due = clock.due = due if due < end else end
                if now > end and failure is None and not decoder.done:
                    raise clock.expired(True)
            elif monotonic() > read.due:
                raise clock.expired(self.has_begun)
            if failure is not None:
                raise failure
            if decoder.done:
                return
            data = yield read

    def _head(self, connection: Connection | AsyncConnection) -> Generator[Any, Any, bytes]:
        """The first bytes, as many as tell a stream from one body."""
        head, read = b"", Read(connection, self._clock.due)
        while len(head.lstrip()) < _TELLING and len(head) < _BLANK and (data := (yield read)):
            head += data
            if time.monotonic() > self._clock.due:
                raise TimeoutError
        return head


def _is_one_body(head: bytes, content_type: str) -> bool:
    """Whether an answer is one JSON body. What it is called comes second: not all say what they send."""
    head = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if head.startswith((b"{", b"[")):
        return True
    return "event-stream" not in content_type.lower() and not head.startswith(_STREAM)


def _completed(body: bytearray, events: list[Event], fold: ReplyFold) -> OpenRouterError | None:
    """Append the events of one body; the error it carries."""
    try:
        decode_completion(body, events, fold)
    except OpenRouterError as error:
        return error
    return None


class _Clock:
    """The deadlines of one answer. Only content moves them: comments and blank deltas do not.

    ``due`` is the next one (`time.monotonic`): until then the driver may wait. ``end`` is the last.
    """

    __slots__ = ("_first", "_total", "due", "end", "idle")

    def __init__(self, timeouts: Timeouts, call: Call) -> None:
        # One answer comes all at once, at its end: how long its first content takes says nothing.
        self._first = timeouts.first_content if call.streaming else timeouts.total
        self._total = timeouts.total
        self.idle = timeouts.idle
        self.end = min(time.monotonic() + timeouts.total, call.due)
        self.restart()

    def restart(self) -> None:
        """Another attempt begins."""
        self.due = min(time.monotonic() + self._first, self.end)

    def has(self, seconds: float) -> bool:
        """Whether so much time is left in all."""
        return time.monotonic() + seconds < self.end

    def expired(self, has_begun: bool) -> ReadTimeoutError:
        """The error for the deadline that has passed."""
        if self.due >= self.end:
            return ReadTimeoutError(f"The answer took longer than {self._total:g} seconds.")
        if has_begun:
            return ReadTimeoutError("The model's provider fell silent in mid-answer. Try again.")
        return ReadTimeoutError(f"The model said nothing for {self._first:g} seconds. Try again.")


def _pause(error: OpenRouterError, attempt: int) -> float | None:
    """Seconds until a request is sent again; None where that is no use."""
    status = getattr(error, "status", None)
    # a timeout has cost the reader its whole patience already
    if not error.retryable or status in _FINAL or isinstance(error, (*_REFUSED, ReadTimeoutError)):
        return None
    asked = getattr(error, "retry_after", None)
    if asked is not None:
        return None if asked > MAX_RETRY_AFTER else float(asked)
    return random.uniform(0, FIRST_PAUSE * 2**attempt)  # noqa: S311


def _body(
    connection: Connection | AsyncConnection,
    limit: int,
    clock: _Clock,
    head: bytes = b"",
    *,
    cut: bool = False,
) -> Generator[Any, Any, bytearray]:
    """All bytes of a body, the first of which are known: at most ``limit``, then it is cut or refused."""
    body = bytearray(head)
    read = Read(connection, clock.due)
    while data := (yield read):
        body += data
        if len(body) > limit:
            if cut:
                break
            body.clear()  # the error's traceback would keep it
            raise UpstreamError("The provider sent an answer that is too large.")
        if time.monotonic() > clock.due:
            raise TimeoutError
    return body


def _spec(tool: Any) -> ToolSpec:
    spec = getattr(tool, "spec", tool)
    if not isinstance(spec, ToolSpec):
        raise ConfigurationError("The option 'tools' takes tools: ToolSpec, or functions made into one.")
    return spec


def _kind(value: Any, kind: Any) -> Any:
    if value is not None and not isinstance(value, kind):
        raise ConfigurationError(f"This option takes a {kind.__name__}, not {type(value).__name__}.")
    return value


def _check_retries(retries: Any) -> int:
    if not isinstance(retries, int) or isinstance(retries, bool) or retries < 0:
        raise ConfigurationError("The option 'retries' takes a number from 0 on.")
    return retries
