"""``manage.py openrouter_settle``: ask what answers have cost that were stopped or broke off, once.

A site that mounts `openrouter_app.lifespan` needs no such job: each of its processes asks by itself.
"""

from __future__ import annotations

import asyncio
from typing import Any

from django.core.management.base import BaseCommand

from ... import runs


class Command(BaseCommand):
    help = "Ask OpenRouter for the exact cost of answers of which it is an estimate, as far as it is due."
    requires_migrations_checks = False

    def handle(self, *args: Any, **options: Any) -> None:
        settled = asyncio.run(runs.settle())
        released = runs.release_reservations()
        self.stdout.write(
            f"{settled} cost{'' if settled == 1 else 's'} settled, "
            f"{released} reservation{'' if released == 1 else 's'} of ended runs released."
        )
