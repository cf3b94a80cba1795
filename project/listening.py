"""The sockets that the demo serves on."""

from __future__ import annotations

import os
import socket

from . import hosts
from .console import give_up


def asked_for() -> tuple[str, int]:
    """``HOST`` and ``PORT``, as the environment says."""
    host = os.environ.get("HOST") or "127.0.0.1"
    port = os.environ.get("PORT") or "8000"
    if not port.isdecimal() or int(port) > 65_535:
        give_up(f"PORT is {port!r}, which is no port. Use a number from 1 to 65535.")
    return host, int(port)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket, or a sentence where there can be none."""
    try:
        address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listening = socket.create_server(address[4][:2], family=address[0])
    except OSError as error:
        why = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
        give_up(f"Cannot listen on {host}, port {port}: {why}. Try another: make demo PORT=8001")
    # What is accepted inherits it: asyncio sets it only on sockets it made itself, and without it every
    # second small frame waits for an acknowledgement.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def free_port() -> int:
    """A port of the loopback that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def reachable(host: str) -> str:
    """A name under which a browser finds a server that listens on ``host``."""
    if host in hosts.ANY:
        host = next((name for name in hosts.allowed_hosts(host) if name not in hosts.LOOPBACK), "127.0.0.1")
    return f"[{host}]" if ":" in host and not host.startswith("[") else host
