"""Who answers the demo, and its process where it needs one."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, NamedTuple, cast

from .children import ROOT
from .console import give_up


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


@contextmanager
def started(provider: Provider) -> Iterator[dict[str, str]]:
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
                give_up(f"{' '.join(provider.command)} did not start. {first_line}".rstrip())
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
