"""A server that streams answers as OpenRouter sends them: each event a chunk, a send, a packet of its own.

The request's message orders the answer: ``each 3000`` is 3,000 pieces of text as fast as they can be
sent, ``paced 500`` is 500 of them with a pause between. Prints its base URL first; needs no package.
"""

from __future__ import annotations

import json
import re
import time
from contextlib import suppress
from functools import cache
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any

MODEL = "openai/gpt-4o-mini"
PIECES = [" the", " stream", "ing", " token", " of", " café", ",", " a", ' "quoted"', "\n", " model", " is"]
PAUSE = 0.002
_ORDER = re.compile(rb"(each|paced) (\d+)")
HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
    b"Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n"
)


def text_of(count: int) -> str:
    """What an answer of that many pieces says."""
    return "".join(PIECES[number % len(PIECES)] for number in range(count))


def event(content: str, reason: str | None = None, **more: Any) -> bytes:
    """One event."""
    choice = {
        "index": 0,
        "delta": {"role": "assistant", "content": content},
        "finish_reason": reason,
        "native_finish_reason": reason,
        "logprobs": None,
    }
    chunk = {
        "id": "gen-1763000000-AbCdEfGhIjKlMnOpQrSt",
        "provider": "OpenAI",
        "model": MODEL,
        "object": "chat.completion.chunk",
        "created": 1763000000,
        "choices": [choice],
        **more,
    }
    return b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n"


@cache
def writes(count: int) -> list[bytes]:
    """An answer's events, each framed as an HTTP chunk."""
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": count,
        "total_tokens": count + 10,
        "cost": 0.001,
        "is_byok": False,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }
    events = [
        b": OPENROUTER PROCESSING\n\n",
        *(event(PIECES[number % len(PIECES)]) for number in range(count)),
        event("", "stop"),
        event("", usage=usage),
        b"data: [DONE]\n\n",
    ]
    return [b"%x\r\n%s\r\n" % (len(data), data) for data in events] + [b"0\r\n\r\n"]


class _Connection(StreamRequestHandler):
    disable_nagle_algorithm = True
    wbufsize = 0

    def handle(self) -> None:
        with suppress(ConnectionError):  # who asked has left
            while order := self._order():
                how, count = order.groups()
                self.connection.sendall(HEAD)
                for data in writes(int(count)):
                    self.connection.sendall(data)
                    if how == b"paced":
                        time.sleep(PAUSE)

    def _order(self) -> re.Match[bytes] | None:
        """What the next request asks for; None at the connection's end."""
        length = 0
        for line in self.rfile:
            if line == b"\r\n":
                return _ORDER.search(self.rfile.read(length))
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        return None


class _Server(ThreadingTCPServer):
    daemon_threads = True


def main() -> None:
    with _Server(("127.0.0.1", 0), _Connection) as server:
        print(f"http://127.0.0.1:{server.server_address[1]}/v1", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
