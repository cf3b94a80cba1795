"""``manage.py openrouter_run joke --input foo=bears``: run a chain and stream the answer to the terminal."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ... import runs
from ...engine import client
from ...models import Owner, Run
from ...runs import Refused, Snapshot, Start, Update, notices
from ...runs.state import FINAL


class Command(BaseCommand):
    help = "Run a published chain and stream its answer. Exit status 1 where the run does not end well."
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("chain", help="the chain's name")
        parser.add_argument(
            "--input",
            action="append",
            default=[],
            metavar="NAME=VALUE",
            help="a variable's value; once for each variable",
        )
        parser.add_argument("--chain-version", metavar="VERSION", help="a version's number or label")
        parser.add_argument(
            "--json", action="store_true", help="print the snapshot and the events as JSON, one a line"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        start = Start(
            Owner.system(),
            chain=options["chain"],
            input=dict(_pair(text) for text in options["input"]),
            version=options["chain_version"],
            origin=Run.Origin.COMMAND,
        )
        show = self._json if options["json"] else self._plain()
        try:
            last = asyncio.run(_run(start, show))
        except Refused as error:
            raise CommandError(error.message) from error
        except KeyboardInterrupt:
            raise CommandError("stopped") from None
        except BrokenPipeError:
            # As the interpreter's documentation has it: nothing more may be flushed there at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        if last != "done":
            raise CommandError(_printable(last))

    def _json(self, update: Update) -> None:
        items = [_snapshot(update)] if isinstance(update, Snapshot) else update.events
        for item in items:
            self.stdout.write(json.dumps(item))
        self.stdout.flush()

    def _plain(self) -> Callable[[Update], None]:
        """Text as it comes; a tool's fields a line each, the last one growing in place."""
        at_line_start = True

        def put(text: str) -> None:
            nonlocal at_line_start
            if text:
                self.stdout.write(_printable(text), ending="")
                at_line_start = text.endswith("\n")

        def new_line() -> None:
            if not at_line_start:
                put("\n")

        def show(update: Update) -> None:
            for event in _events(update):
                match event:
                    case {"type": "text", "delta": delta}:
                        put(delta)
                    case {"type": "tool.started", "name": name}:
                        new_line()
                        put(f"{name}\n")
                    case {"type": "tool.arguments", "ops": operations}:
                        for operation in operations:
                            if operation["op"] == "add" and operation["path"]:
                                new_line()
                                put(f"  {operation['path'][1:]}: ")
                            if operation["path"]:
                                put(_shown(operation["value"]))
                    case {"type": "finished" | "stopped" | "failed" | "interrupted" | "tool.invalid"}:
                        new_line()
            self.stdout.flush()

        return show


async def _run(start: Start, show: Callable[[Update], None]) -> str:
    """Run to the end; answers ``done``, or a sentence. Ctrl-C stops the run and keeps what came."""
    ended = "The run was lost."
    try:
        run = await runs.start(start)
        try:
            async with aclosing(runs.follow(start.owner, run)) as updates:
                async for update in updates:
                    show(update)
                    ended = _end(update) or ended
        except (asyncio.CancelledError, OSError):  # Ctrl-C, or nobody reads the output any more
            await runs.stop(start.owner, run)
            await runs.wait(run)
            raise
    finally:
        await client.aclose()
        await asyncio.to_thread(notices.settled, notices.AT_EXIT)
    return ended


def _end(update: Update) -> str:
    """How the run ended, where this update says so: ``done``, or a sentence."""
    if isinstance(update, Snapshot):
        state = update.state
        status = state["status"] if state["status"] in FINAL else ""
        return str(state.get("error", {}).get("message") or status)
    last = update.events[-1]
    match last["type"]:
        case "finished":
            return "done"
        case "stopped" | "failed" | "interrupted":
            return str(last.get("message") or "The run was stopped.")
    return ""


def _events(update: Update) -> list[dict[str, Any]]:
    """The events of a range; of a snapshot, those that would have led to its parts."""
    if not isinstance(update, Snapshot):
        return update.events
    events: list[dict[str, Any]] = []
    for part in update.state["parts"]:
        match part:
            case {"type": "text", "text": text}:
                events.append({"type": "text", "delta": text})
            case {"type": "call", "name": name, "arguments": arguments}:
                events.append({"type": "tool.started", "name": name})
                operations = [
                    {"op": "add", "path": f"/{key}", "value": value} for key, value in arguments.items()
                ]
                events.append({"type": "tool.arguments", "ops": operations})
    return events


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise CommandError(f"--input takes NAME=VALUE, not '{_printable(text)}'.")
    return name, value


def _snapshot(update: Snapshot) -> dict[str, Any]:
    return {"type": "snapshot", "run": str(update.run), "seq": update.seq, "state": update.state}


def _printable(text: str) -> str:
    """Model text without control characters: a terminal would obey them."""
    return "".join(char if char.isprintable() or char in "\n\t" else "\ufffd" for char in text)
