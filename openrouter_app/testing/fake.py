"""`FakeOpenRouter`: an ASGI application that speaks OpenRouter's protocol and asks no model.

It answers ``POST .../chat/completions`` (any prefix) from its script, ``GET .../models`` with a small
catalogue, people's accounts (`accounts`), what `route` was told, and everything else with a 404; it keeps
what it was asked.
It opens no port: `serve` does that, and any ASGI server can.
The one rule: a request that is not authorised or makes no sense never uses up a script.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection
from functools import partial
from time import monotonic

from . import accounts
from .answers import Answer
from .documented import documented
from .exchanges import Exchange, Page, Receive, Scope, Send, answer_lifespan, checked, plain, read_body
from .generations import Generation, get_generation
from .models_listed import DEFAULT_MODELS, list_endpoints, list_models
from .recorded import RecordedRequest
from .rendering import render
from .scripting import Scripting
from .scripts import ErrorReply, JSONObject, Responder, Script
from .simulation import simulated_reply

Endpoint = Callable[["FakeOpenRouter", RecordedRequest], "tuple[int, object] | Page | None"]
"""Status and JSON, or a page, for a request it knows, None for all others."""

ENDPOINTS: tuple[Endpoint, ...] = (list_models, list_endpoints, get_generation, *accounts.ENDPOINTS)
"""What the fake answers beside completions, the first that knows the request."""


class FakeOpenRouter(Scripting):
    """A fake OpenRouter, scripted with `reply`, `call`, `error`, `fail`, `cut`, `stall` and the like.

    ``api_keys``: the keys that pass; others get a 401. With None any key passes, but one must be sent.
    ``chunk_delay``: seconds between chunks where a reply does not say.
    ``default``: answers what nobody scripted; the simulation unless given.
    ``models``: the items ``GET .../models`` lists.
    ``remember``: how many requests are kept before the oldest are forgotten.
    """

    def __init__(
        self,
        *,
        api_keys: Collection[str] | None = None,
        chunk_delay: float = 0.0,
        default: Responder = simulated_reply,
        models: Collection[JSONObject] = DEFAULT_MODELS,
        remember: int = 10_000,
    ) -> None:
        super().__init__(default)
        self.api_keys = None if api_keys is None else frozenset(api_keys)
        self.chunk_delay = chunk_delay
        self.models = list(models)
        self.accounts = accounts.Accounts()
        """People's accounts: the codes and keys that its consent page has given."""
        self.generations: dict[str, Generation] = {}
        """Its answers by their ids, the oldest first."""
        self.unlisted_asks = 1
        """How often ``GET .../generation`` does not find an answer that has ended."""
        self.unlisted_seconds = 0.0
        """For how long after it was asked first."""
        self._remember = remember
        self._base_url: str | None = None
        self._routes: dict[tuple[str, str], tuple[int, object]] = {}
        self._requests: deque[RecordedRequest] = deque(maxlen=remember)
        self._closed_early: deque[RecordedRequest] = deque(maxlen=remember)
        self._exchanges: list[Exchange] = []

    def __repr__(self) -> str:
        with self._changed:
            return (
                f"<FakeOpenRouter {self._base_url or 'not served'}: {len(self._requests)} requests, "
                f"{len(self.active)} active, {len(self._closed_early)} closed early, "
                f"{len(self._queue)} scripts unused>"
            )

    @property
    def base_url(self) -> str:
        """Where it is served, e.g. ``http://127.0.0.1:40123/api/v1``; RuntimeError while it is not."""
        if self._base_url is None:
            raise RuntimeError("this fake is not served: `with serve(fake) as base_url:` does it")
        return self._base_url

    def served_at(self, base_url: str | None) -> None:
        """For servers: where the fake can be reached, None once it cannot."""
        self._base_url = base_url

    def route(self, method: str, path: str, answer: object, *, status: int = 200) -> None:
        """Answer ``method`` on paths that end with ``path`` with ``answer`` as JSON, every time.

        >>> fake.route("GET", "/key", {"data": {"label": "test", "limit": None}})
        """
        with self._changed:
            self._routes[method.upper(), path] = (status, answer)

    def revoke(self, key: str) -> None:
        """From now on this key gets a 401, as if its owner had deleted it."""
        self.accounts.revoke(key)

    def knows(self, key: str | None) -> bool:
        """Whether requests with this key pass: one of ``api_keys``, or one that `accounts` has issued."""
        if not key or self.accounts.has_ended(key):
            return False
        return self.api_keys is None or key in self.api_keys or self.accounts.find(key) is not None

    @property
    def requests(self) -> tuple[RecordedRequest, ...]:
        """Every request so far, oldest first, those that were refused included."""
        with self._changed:
            return tuple(self._requests)

    @property
    def closed_early(self) -> tuple[RecordedRequest, ...]:
        """The completions whose client left before the answer was written to its end."""
        with self._changed:
            return tuple(self._closed_early)

    @property
    def active(self) -> tuple[RecordedRequest, ...]:
        """The completions being answered now."""
        with self._changed:
            return tuple(exchange.request for exchange in self._exchanges if exchange.state == "open")

    def wait_until(self, condition: Callable[[], object], timeout: float = 5.0) -> None:
        """Block until ``condition()`` is true; TimeoutError after ``timeout`` seconds.

        >>> fake.wait_until(lambda: fake.closed_early)
        """
        deadline = monotonic() + timeout
        while not condition():
            with self._changed:
                if monotonic() > deadline:
                    raise TimeoutError(f"still not so after {timeout} s: {self!r}")
                self._changed.wait(0.01)  # the condition may look at more than the fake

    async def await_until(self, condition: Callable[[], object], timeout: float = 5.0) -> None:
        """`wait_until` for coroutines: the caller's event loop goes on meanwhile."""
        deadline = monotonic() + timeout
        while not condition():
            if monotonic() > deadline:
                raise TimeoutError(f"still not so after {timeout} s: {self!r}")
            await asyncio.sleep(0.005)

    def hang_up(self) -> None:
        """Cut every answer under way. Those do not count as closed early."""
        with self._changed:
            for exchange in self._exchanges:
                exchange.cut_soon()

    def reset(self) -> None:
        """Hang up, and forget scripts, routes and everything recorded."""
        self.hang_up()
        with self._changed:
            self._queue.clear()
            self._routes.clear()
            self._requests.clear()
            self._closed_early.clear()
            self.generations.clear()
            self.accounts = accounts.Accounts()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await answer_lifespan(receive, send)
        if scope["type"] != "http":
            raise NotImplementedError(f"OpenRouter speaks no {scope['type']}")
        body = await read_body(receive)
        if body is None:
            return None
        request = RecordedRequest.of(
            scope["method"], scope["path"], scope["headers"], body, scope.get("query_string", b"")
        )
        exchange = Exchange(request, asyncio.get_running_loop())
        with self._changed:
            self._requests.append(request)
            self._changed.notify_all()
        if request.method != "POST" or not request.path.endswith("/chat/completions"):
            return await exchange.run(plain(self._elsewhere(request)), scope, receive, send)
        script = self._refusal(request) or self._script(request)
        note = partial(self._note, exchange)
        actions = checked(render(script, request.json or {}, chunk_delay=self.chunk_delay, begun=note))
        with self._changed:
            self._exchanges.append(exchange)
            self._changed.notify_all()
        try:
            await exchange.run(actions, scope, receive, send)
        finally:
            with self._changed:
                newest = reversed(self.generations.values())
                if made := next((each for each in newest if each.exchange is exchange), None):
                    self.accounts.charge(request.api_key, made.cost)
                self._exchanges.remove(exchange)
                if exchange.state == "closed early":
                    self._closed_early.append(request)
                self._changed.notify_all()

    def _note(self, exchange: Exchange, answer: Answer) -> None:
        with self._changed:
            self.generations[answer.id] = Generation(answer, exchange)
            while len(self.generations) > self._remember:
                del self.generations[next(iter(self.generations))]

    def _elsewhere(self, request: RecordedRequest) -> tuple[int, object] | Page:
        with self._changed:
            for (method, path), answer in self._routes.items():
                if request.method == method and request.path.endswith(path):
                    return answer
        for endpoint in ENDPOINTS:
            if (found := endpoint(self, request)) is not None:
                return found
        return 404, {"error": {"message": "Not Found", "code": 404}}

    def _refusal(self, request: RecordedRequest) -> Script | None:
        if not request.api_key:
            return documented("no_credentials")
        if not self.knows(request.api_key):
            return documented("unknown_key")
        if self.accounts.is_used_up(request.api_key):
            return documented("key_limit")
        if not isinstance(request.json, dict) or not isinstance(request.json.get("messages"), list):
            return documented("bad_request")
        return None

    def _script(self, request: RecordedRequest) -> Script:
        try:
            return self._next(request.json)
        except Exception as error:
            # A responder is the test's own code: let the client's error show what went wrong in it.
            return ErrorReply(500, {"message": f"the fake's responder raised {error!r}", "code": 500})
