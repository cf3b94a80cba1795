"""``manage.py openrouter_stop RUN ...``, ``--chain joke`` or ``--all``: stop runs, wherever they are."""

from __future__ import annotations

import asyncio
from argparse import ArgumentTypeError
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ... import runs
from ...models import Chain, Run


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no run's id") from None


class Command(BaseCommand):
    help = "Stop runs that have not ended. What they have said so far is kept."
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("run", nargs="*", type=_uuid, help="a run's id")
        parser.add_argument("--chain", help="every unfinished run of this chain")
        parser.add_argument("--all", action="store_true", help="every unfinished run")

    def handle(self, *args: Any, **options: Any) -> None:
        if not (options["run"] or options["chain"] or options["all"]):
            raise CommandError("Say which: one or more ids of runs, --chain NAME, or --all.")
        chosen = Run.objects.all() if options["all"] else self._chosen(options["run"], options["chain"])
        unfinished = chosen.filter(status__in=Run.UNFINISHED)
        stopping = list(unfinished.values_list("uuid", flat=True))
        asyncio.run(runs.stop_everywhere(stopping))
        self.stdout.write(f"{len(stopping)} run{'' if len(stopping) == 1 else 's'} asked to stop.")

    def _chosen(self, named: list[UUID], chain: str | None) -> Any:
        known = set(Run.objects.filter(uuid__in=named).values_list("uuid", flat=True))
        if unknown := [str(run) for run in named if run not in known]:
            raise CommandError(f"There is no run {', '.join(unknown)}.")
        if chain and not Chain.objects.filter(slug=chain).exists():
            raise CommandError(f"There is no chain {chain}.")
        by_name = Run.objects.filter(uuid__in=named)
        return by_name | Run.objects.filter(chain__slug=chain) if chain else by_name
