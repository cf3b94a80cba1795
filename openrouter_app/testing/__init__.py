"""A fake OpenRouter: for the tests of this app, for yours, and for the demo without a key.

It speaks OpenRouter's protocol over real sockets and asks no model::

    def test_joke(openrouter):                              # a pytest fixture of this package
        openrouter.reply("Why did the bear", " cross?")     # each argument is one chunk
        chain = chat_chain(base_url=openrouter.base_url)
        assert chain.invoke({"foo": "bears"}) == "Why did the bear cross?"

Answers are queued, first in, first out. The verbs: `reply`, `call` (a tool call), `calls` (several),
`error` (a refusal, by status or by a name of `DOCUMENTED_ERRORS`), `fail` (an error in mid-stream), `cut`
(the connection is closed), `truncate` (an end without an end), `stall` (silence), `raw` and `events`
(bytes and events as they are), `queue` (values, or functions of the request), `route` (other addresses).
Afterwards: `requests`, `closed_early`, `active`, `unused`. It plays people's accounts, too: the page that
asks for consent, keys and what they have spent (`accounts`, `revoke`).

Where no fixture helps, `serve` does, anywhere::

    with serve(FakeOpenRouter(chunk_delay=0.03)) as base_url:      # answers with the simulation
        ...

No Django in here. The extra ``testing`` brings uvicorn, which `serve` and the fixture need.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .documented import DOCUMENTED_ERRORS
    from .fake import FakeOpenRouter
    from .models_listed import DEFAULT_MODELS
    from .recorded import RecordedRequest
    from .scripts import (
        Comment,
        Cut,
        Delta,
        End,
        ErrorReply,
        Event,
        Gate,
        RawBytes,
        RawReply,
        Reasoning,
        Reply,
        ScriptError,
        Stall,
        StreamError,
        ToolCallScript,
        sse,
    )
    from .serving import serve
    from .simulation import simulated_reply

__all__ = [
    "DEFAULT_MODELS",
    "DOCUMENTED_ERRORS",
    "Comment",
    "Cut",
    "Delta",
    "End",
    "ErrorReply",
    "Event",
    "FakeOpenRouter",
    "Gate",
    "RawBytes",
    "RawReply",
    "Reasoning",
    "RecordedRequest",
    "Reply",
    "ScriptError",
    "Stall",
    "StreamError",
    "ToolCallScript",
    "serve",
    "simulated_reply",
    "sse",
]

_HOMES = ("scripts", "recorded", "documented", "simulation", "fake", "models_listed", "serving")


def __getattr__(name: str) -> object:
    """Import on use: pytest loads this package in every project that has it installed."""
    if name in __all__:
        for home in _HOMES:
            found = getattr(import_module(f"{__name__}.{home}"), name, None)
            if found is not None:
                globals()[name] = found
                return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
