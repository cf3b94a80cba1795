"""From a script and a request to what goes over the wire, as actions in order.

Pure: nothing is sent and nobody waits here; `fake` does that. The same reply answers a streamed
request as events (`streamed`) and any other as one JSON body (`whole`).
The one rule: everything OpenRouter would send is spelled below this function and nowhere else.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from .answers import Action, Answer, Body, HangUp, Head, Pause, json_head, stalled
from .scripts import Cut, ErrorReply, Gate, JSONObject, RawReply, Script, Stall, compact
from .streamed import render_stream
from .whole import render_whole


def render(
    script: Script,
    request: JSONObject,
    *,
    chunk_delay: float = 0.0,
    begun: Callable[[Answer], object] = lambda answer: None,
) -> Iterator[Action]:
    """The actions that answer ``request`` with ``script``; ``chunk_delay`` in seconds. ``begun`` is called
    with the answer where there is one: it knows at any time what was said so far.

    Raises `ScriptError` before the first action where the script cannot answer such a request.
    """
    match script:
        case ErrorReply():
            return _render_error(script)
        case RawReply():
            return _render_raw(script, chunk_delay)
    delay = chunk_delay if script.delay is None else script.delay
    answer = Answer.to(request, replace(script, delay=delay))
    begun(answer)
    return render_stream(answer) if request.get("stream") else render_whole(answer)


def _render_error(script: ErrorReply) -> Iterator[Action]:
    error, headers = dict(script.error), dict(script.headers)
    if script.resets_in is not None:
        headers["X-RateLimit-Reset"] = str(math.ceil((time.time() + script.resets_in) * 1000))
        limits = {name: value for name, value in headers.items() if name.lower().startswith("x-ratelimit")}
        error["metadata"] = {**(error.get("metadata") or {}), "headers": limits}
    yield json_head(script.status, headers)
    user = {"user_id": script.user_id} if script.user_id else {}
    yield Body(compact({"error": error, **user}).encode())


def _render_raw(script: RawReply, chunk_delay: float) -> Iterator[Action]:
    if script.status is not None:
        yield Head(script.status, tuple((name.lower(), str(v)) for name, v in script.headers.items()))
    delay = chunk_delay if script.delay is None else script.delay
    for number, write in enumerate(script.writes):
        if delay and number:
            yield Pause(delay)
        match write:
            case bytes():
                yield Body(write)
            case Stall():
                yield from stalled(write)
            case Gate():
                yield write
            case Cut():
                yield HangUp()
                return
