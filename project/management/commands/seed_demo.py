"""``manage.py seed_demo``: the demo's chains, orders and staff user, as far as they are missing."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from project import demo_data, demo_orders


class Command(BaseCommand):
    """Says what it made; says nothing when all is there."""

    help = "Make the demo's chains, its orders and its staff user, where they are missing."

    def handle(self, *args: Any, **options: Any) -> None:
        """Seed; the password is shown only now, when it was made."""
        made, unpublished = demo_data.seed_chains()
        if made:
            self.stdout.write(f"Made the chains {', '.join(made)}.")
        if unpublished:
            self.stdout.write(
                f"Made the chains {', '.join(unpublished)}, but could not publish them: publish them in the "
                "admin, which says why."
            )
        if orders := demo_orders.seed_orders():
            self.stdout.write(f"Made {orders} orders of a small shop.")
        if password := demo_data.seed_user():
            self.stdout.write(f"Made the staff user: demo, password: {password}")
