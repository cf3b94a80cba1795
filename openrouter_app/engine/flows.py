"""A flow is written once and driven twice.

A flow is a generator. It yields *items*, which are for whoever reads the chain, and *effects*,
which are for the driver: open a connection, read from it, sleep, call a function, run other flows at
the same time. The driver performs an effect and sends its result in, or throws its error in.
`engine.drivers` has the two drivers; there is no third place where a chain is run. (httpx's
``auth_flow`` has the same shape.)
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from typing import Any

from .client import Request
from .errors import UsageError

Flow = Generator[Any, Any, None]


class Effect:
    """What a flow asks its driver for; everything else it yields is an item."""

    __slots__ = ()


class Open(Effect):
    """Effect: send the request. Its result is the connection, with status and headers read.

    ``due`` (`time.monotonic`, seconds) is when the driver throws a `TimeoutError` in instead.
    """

    __slots__ = ("due", "request")

    def __init__(self, request: Request, due: float) -> None:
        self.request = request
        self.due = due


class Read(Effect):
    """Effect: the next bytes of a connection, ``b""`` at its end. ``due`` as for `Open`.

    One is made for a connection and yielded again for each read, with ``due`` moved on.
    """

    __slots__ = ("connection", "due")

    def __init__(self, connection: Any, due: float) -> None:
        self.connection = connection
        self.due = due


class Finish(Effect):
    """Effect: the answer is complete; leave the connection ready for the next one where it can be."""

    __slots__ = ("connection",)

    def __init__(self, connection: Any) -> None:
        self.connection = connection


class Close(Effect):
    """Effect: drop a connection, or what `Fork` or `Transform` began, with whatever is still to come."""

    __slots__ = ("opened",)

    def __init__(self, opened: Any) -> None:
        self.opened = opened


class Opened(Effect):
    """Effect: note what is open now. Its result is for `CloseSince`."""

    __slots__ = ()


class CloseSince(Effect):
    """Effect: `Close` whatever was opened since and is open still, as a flow that failed has left it."""

    __slots__ = ("mark",)

    def __init__(self, mark: Any) -> None:
        self.mark = mark


class Sleep(Effect):
    """Effect: wait this many seconds."""

    __slots__ = ("seconds",)

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


class Invoke(Effect):
    """Effect: call a function, sync or async; the result is what it returns, awaited where it must be.

    On a loop a sync function runs in a thread; without one it runs in the caller's own. `TimedOut` is
    thrown in where it took longer than ``timeout`` seconds, `Cancelled` where something it awaited was
    cancelled. A thread cannot be interrupted, so on a loop its late result is dropped; the caller's own
    has waited for it, and ``keep_late`` says that it counts all the same.
    """

    __slots__ = ("arguments", "function", "keep_late", "named", "timeout")

    def __init__(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        named: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        keep_late: bool = False,
    ) -> None:
        self.function = function
        self.arguments = arguments
        self.named = named or {}
        self.timeout = timeout
        self.keep_late = keep_late


class TimedOut(TimeoutError):
    """`Invoke` took too long; not a `TimeoutError` of the function's own."""


class Cancelled(RuntimeError):
    """A function awaited something that somebody cancelled, while nobody cancelled the chain."""


class NoLoopHere(UsageError):
    """An async function in a chain that is run without a loop, in a thread where one runs."""


class Fork(Effect):
    """Effect: run flows at the same time, at most ``limit``; the result is for `Next`.

    ``flows`` are pairs of a key and a flow, taken as there is room. On a loop each runs in a task;
    without one in a thread, or, where ``here`` is set, one after another in the caller's own.
    """

    __slots__ = ("flows", "here", "limit")

    def __init__(self, flows: Iterable[tuple[Any, Flow]], *, limit: int, here: bool = False) -> None:
        self.flows = flows
        self.limit = limit
        self.here = here


class Transform(Effect):
    """Effect: a generator function, sync or async, over all items of a flow; the result is for `Next`,
    with None as the key.
    """

    __slots__ = ("flow", "function")

    def __init__(self, function: Callable[[Any], Any], flow: Flow) -> None:
        self.function = function
        self.flow = flow


class Next(Effect):
    """Effect: ``(key, item)`` of the forked flow that has one first; None when all have ended.

    The first error of any of them is thrown in.
    """

    __slots__ = ("branches",)

    def __init__(self, branches: Any) -> None:
        self.branches = branches


def pump(flow: Flow, take: Callable[[Any], Iterable[Any]]) -> Flow:
    """Run ``flow`` inside another flow: its effects pass through, its items go through ``take``, which
    answers any number of items for each; where it is a generator function, effects of its own too.
    """
    send = flow.send
    value: Any = None
    try:
        while True:
            try:
                out = send(value)
                while isinstance(out, Effect):
                    try:
                        value = yield out
                    except Exception as error:
                        out = flow.throw(error)
                    else:
                        out = send(value)
            except StopIteration:  # of the flow alone: ``take`` may raise its own
                return
            value = None
            yield from take(out)
    finally:
        flow.close()


def collected(flow: Flow) -> Generator[Any, Any, list[Any]]:
    """Every item of a flow, as a list, once it has ended: ``items = yield from collected(flow)``."""
    items: list[Any] = []

    def take(item: Any) -> Iterable[Any]:
        items.append(item)
        return ()

    yield from pump(flow, take)
    return items
