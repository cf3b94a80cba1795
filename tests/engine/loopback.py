"""Servers on loopback that do on the wire what a test says, byte for byte."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Any

SSE_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
CHUNKED = SSE_HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
CONTENT = b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n'
END = b"data: [DONE]\n\n"


def framed(data: bytes) -> bytes:
    """As one HTTP chunk."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def request_of(connection: socket.socket) -> bytes:
    """One whole request; nothing at the connection's end, in mid-request too."""
    data, size = b"", None
    while size is None or len(data) < size:
        more = connection.recv(65536)
        if not more:
            return b""
        data += more
        if size is None and (end := data.find(b"\r\n\r\n") + 4) > 3:
            length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", data[:end])
            size = end + (int(length[1]) if length else 0)
    return data


class Server:
    """What a test sees of its server: the base URL, the requests, and whether somebody hung up."""

    def __init__(self, port: int) -> None:
        self.base_url = f"http://127.0.0.1:{port}/v1"
        self.requests: list[bytes] = []
        self.asked = threading.Event()
        self.hung_up = threading.Event()
        self.ended = threading.Event()

    def wait_for_hang_up(self, connection: socket.socket, seconds: float = 5) -> None:
        """Until the client closes the connection."""
        connection.settimeout(seconds)
        with suppress(OSError):
            if connection.recv(1) == b"":
                self.hung_up.set()


@contextmanager
def serving(answer: Callable[[Server, socket.socket], Any]) -> Iterator[Server]:
    """Calls ``answer(server, connection)`` for each request, until it returns something true."""

    class Handler(BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                while request := request_of(self.request):
                    served.requests.append(request)
                    served.asked.set()
                    if answer(served, self.request):
                        return

    class Threads(ThreadingTCPServer):
        daemon_threads = True
        request_queue_size = 100
        block_on_close = False

    with Threads(("127.0.0.1", 0), Handler) as server:
        served = Server(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield served
        finally:
            served.ended.set()
            server.shutdown()
            thread.join()
