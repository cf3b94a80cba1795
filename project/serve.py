"""``python -m project.serve`` (``make demo``): the whole demo in one command.

Migrates, seeds, finds out who answers, and serves. Read from the environment: ``HOST``, ``PORT``,
``OPENROUTER_API_KEY``, ``OPENROUTER_BASE_URL``, ``MODEL=local``. What it starts, it ends.
"""

from __future__ import annotations

import importlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import IO, NamedTuple, NoReturn, cast

from . import hosts, var

ROOT = Path(__file__).resolve().parent.parent
FRAME_LIMIT = 4 * 65_536
"""Bytes after which the server closes a socket; from a quarter of it on the app answers with an error."""


class Provider(NamedTuple):
    """Who answers: its name, what the settings need, and the command that starts it, if one must."""

    name: str
    environment: dict[str, str]
    command: list[str] | None = None


def choose(environ: dict[str, str]) -> Provider:
    """Who answers, from the environment: the local model, a server of the user's, OpenRouter, or the fake."""
    if environ.get("MODEL") == "local":
        return Provider("local", {"OPENROUTER_API_KEY": ""}, [sys.executable, "-m", "project.local_model"])
    if environ.get("OPENROUTER_BASE_URL"):
        return Provider("server", {})
    if environ.get("OPENROUTER_API_KEY"):
        return Provider("openrouter", {})
    return Provider(
        "fake",
        {"OPENROUTER_API_KEY": "simulated"},
        [sys.executable, "manage.py", "openrouter_fake", "--port", "0"],
    )


def main() -> None:
    """Serve until Ctrl-C or a signal."""
    signal.signal(signal.SIGTERM, _leave)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, _leave)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    os.chdir(ROOT)
    var.prepare()
    try:
        with _listen() as listening, _started(choose(dict(os.environ))) as environment:
            os.environ.update(environment)
            _prepare_site()
            _serve(listening)
    except KeyboardInterrupt:
        _say("")


@contextmanager
def _listen() -> Iterator[socket.socket]:
    """The socket, taken first: nothing is started when the port is somebody else's."""
    host = os.environ.get("HOST") or "127.0.0.1"
    port = os.environ.get("PORT") or "8000"
    if not port.isdecimal() or int(port) > 65_535:
        _give_up(f"PORT is {port!r}, which is no port. Use a number from 1 to 65535.")
    try:
        address = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listening = socket.create_server(address[4][:2], family=address[0])
    except OSError as error:
        why = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
        _give_up(f"Cannot listen on {host}, port {port}: {why}. Try another: make demo PORT=8001")
    with listening:
        yield listening


@contextmanager
def _started(provider: Provider) -> Iterator[dict[str, str]]:
    """The environment the site needs, with the provider's process running where it has one."""
    environment = {**provider.environment, "DEMO_PROVIDER": provider.name}
    if provider.command is None:
        yield environment
        return
    # In a session of its own, so that Ctrl-C reaches this process alone, which then ends it.
    with subprocess.Popen(  # noqa: S603  (our own commands)
        provider.command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            # It starts while this process loads what it needs itself.
            for module in ("django.core.management", "channels.routing", "uvicorn"):
                importlib.import_module(module)
            output = cast("IO[str]", process.stdout)
            first_line = output.readline()
            address = re.search(r"https?://[^\s)]+", first_line)
            if address is None:
                _give_up(f"{' '.join(provider.command)} did not start. {first_line}".rstrip())
            # A pipe that nobody reads would stop it once it is full.
            threading.Thread(target=output.read, daemon=True).start()
            yield {**environment, "OPENROUTER_BASE_URL": address.group()}
        finally:
            _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()


def _prepare_site() -> None:
    """Check the settings, migrate, seed."""
    import django
    from django.core.checks import run_checks
    from django.core.management import call_command

    django.setup()
    if serious := [str(message) for message in run_checks() if message.is_serious()]:
        _give_up("\n".join(serious))
    call_command("migrate", verbosity=0)
    call_command("seed_demo")


def _serve(listening: socket.socket) -> None:
    import uvicorn

    host, port = listening.getsockname()[:2]
    site = f"http://{_reachable(host)}:{port}/"
    _say(f"\n  The page   {site}\n  The admin  {site}admin/{_login()}\n  {_answers()}\n  Ctrl-C ends it.\n")
    config = uvicorn.Config(
        "project.asgi:application",
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        ws_max_size=FRAME_LIMIT,
        lifespan="off",
        log_level="warning",
        timeout_graceful_shutdown=5,
    )
    uvicorn.Server(config).run(sockets=[listening])


def _reachable(host: str) -> str:
    """A name under which a browser finds the server."""
    if host in hosts.ANY:
        host = next((name for name in hosts.allowed_hosts(host) if name not in hosts.LOOPBACK), "127.0.0.1")
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def _login() -> str:
    from django.conf import settings

    return "  (demo, password demo)" if settings.DEBUG else "  (demo, with the password that was shown once)"


def _answers() -> str:
    from django.conf import settings

    match settings.DEMO_PROVIDER:
        case "fake":
            return (
                "Answers are simulated: no model is asked. Set OPENROUTER_API_KEY to talk to OpenRouter, "
                "or MODEL=local for a small model on this machine."
            )
        case "local":
            return "A small model on this machine answers."
        case _:
            return f"Answers come from {settings.OPENROUTER['BASE_URL']}."


def _leave(signum: int, frame: FrameType | None) -> NoReturn:
    """Leave through every ``finally``, which end what was started."""
    sys.exit(128 + signum)


def _give_up(sentence: str) -> NoReturn:
    sys.exit(sentence)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
