"""``manage.py openrouter_fake``: the simulation on a port, for a site without a key.

It serves what `openrouter_app.testing` has and nothing more; no model is asked and nothing is stored.
The one rule: it answers anybody who can reach it, so it stays on the loopback unless told otherwise.
"""

from __future__ import annotations

import signal
import threading
from argparse import ArgumentTypeError
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 60:
        raise ArgumentTypeError(f"{text!r} is no number of seconds from 0 to 60")
    return seconds


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise ArgumentTypeError(f"{text!r} is no port from 0 to 65535")
    return int(text)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Command(BaseCommand):
    help = "Serve a fake OpenRouter that simulates answers: no key is needed and no model is asked."
    requires_system_checks = ()  # it needs no database and no settings of the site

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
        parser.add_argument("--port", type=_port, default=0, help="port to listen on; 0 takes a free one")
        parser.add_argument(
            "--chunk-delay", type=_seconds, default=0.04, help="seconds between chunks (%(default)s)"
        )
        parser.add_argument("--port-file", type=Path, help="write the port to this file while serving")
        parser.add_argument(
            "--allow-remote", action="store_true", help="allow a host that other machines can reach"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        from openrouter_app.testing import FakeOpenRouter, serve

        host, port_file = options["host"], options["port_file"]
        if not _is_loopback(host) and not options["allow_remote"]:
            raise CommandError(
                f"{host} can be reached from other machines, and the fake answers anybody: "
                "use 127.0.0.1, or add --allow-remote if that is what you want."
            )
        fake = FakeOpenRouter(chunk_delay=options["chunk_delay"], remember=100)
        try:
            with (
                _stop_signal() as stop,
                serve(fake, host, options["port"]) as base_url,
                _written(port_file, base_url),
            ):
                self.stdout.write(f"Fake OpenRouter at {base_url} (a simulation: no model is asked)")
                self.stdout.flush()
                while not stop.wait(timeout=0.5):  # without a timeout Windows would not hear Ctrl+C
                    pass
        except (OSError, ImportError) as error:
            raise CommandError(f"The fake cannot be served: {error}") from error


@contextmanager
def _stop_signal() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set, where this thread may listen to signals."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: stop.set()) for number in signals]
    try:
        yield stop
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)


@contextmanager
def _written(port_file: Path | None, base_url: str) -> Iterator[None]:
    if port_file is None:
        yield
        return
    port = base_url.removesuffix("/api/v1").rpartition(":")[2]
    unfinished = port_file.with_name(f"{port_file.name}.{port}")
    unfinished.write_text(f"{port}\n", encoding="ascii")
    unfinished.replace(port_file)  # whoever waits for the file never reads half of it
    try:
        yield
    finally:
        port_file.unlink(missing_ok=True)
