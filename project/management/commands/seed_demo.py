"""``manage.py seed_demo``: the demo's chains and its staff user, as far as they are missing."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from project import demo_data


class Command(BaseCommand):
    """Says what it made; says nothing when all is there."""

    help = "Make the demo's chains and its staff user, where they are missing."

    def handle(self, *args: Any, **options: Any) -> None:
        """Seed; the password is shown only now, when it was made."""
        if made := demo_data.seed_chains():
            self.stdout.write(f"Made the chains {', '.join(made)}.")
        if password := demo_data.seed_user():
            self.stdout.write(f"Made the staff user: demo, password: {password}")
