"""``manage.py openrouter_reap``: end the runs whose process is gone, once; what they said is kept. Calls
that nobody decided on in time are denied; a server goes on with their runs, or their deadline ends them.

A site that mounts `openrouter_app.lifespan` needs no such job: each of its processes looks by itself.
"""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from ... import runs


class Command(BaseCommand):
    help = "End the runs whose process is gone: as interrupted, or as stopped where that was asked for."
    requires_migrations_checks = False

    def handle(self, *args: Any, **options: Any) -> None:
        ended = 0
        runs.expire()
        while some := runs.reap():
            ended += len(some)
        self.stdout.write(f"{ended} run{'' if ended == 1 else 's'} ended.")
