"""``manage.py openrouter_rotate_keys``: seal what is stored with the newest of ``ENCRYPTION_KEYS``.

Put the new key before the old one, restart the site, run this, then take the old one away. It can be
run while the site works, and again: what is sealed with the newest key already is left alone, and what
somebody replaces meanwhile stays as he made it.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import models

from ... import sealing
from ...models import OfferedKey, SignIn, UserKey
from ...models.sealed import SealedTextField

SEALED: dict[type[models.Model], str] = {UserKey: "key", OfferedKey: "offered key", SignIn: "sign-in"}
"""Everything that is sealed, and what one is called. The last two are good for ten minutes."""
BATCH = 500


class Command(BaseCommand):
    help = "Seal users' keys with the newest of OPENROUTER['ENCRYPTION_KEYS']."
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only count")

    def handle(self, *args: Any, **options: Any) -> None:
        for model, what in SEALED.items():
            counted = _rotate(model, options["dry_run"])
            if counted.total() or model is UserKey:
                self._say(what, counted, options["dry_run"])

    def _say(self, what: str, counted: Counter[str], dry_run: bool) -> None:
        done = "would be" if dry_run else "was" if counted["old"] == 1 else "were"
        self.stdout.write(
            f"{_counted(counted['old'], what)} {done} sealed with the newest key; "
            f"{counted['current']} had it already."
        )
        if counted["lost"]:
            self.stderr.write(
                f"{_counted(counted['lost'], what)} could not be opened: what was used to seal is neither in "
                "ENCRYPTION_KEYS nor in SECRET_KEY_FALLBACKS, or somebody changed the row. It stays as it "
                "is; the user is asked to connect again."
            )


def _rotate(model: type[models.Model], dry_run: bool) -> Counter[str]:
    """How many rows were sealed with an ``old`` key, are ``current``, are ``lost``."""
    field = next(field for field in model._meta.fields if isinstance(field, SealedTextField))
    counted: Counter[str] = Counter()
    last: Any = None
    while rows := _batch(model, last):
        last = rows[-1].pk
        for row in rows:
            counted[_rotated(row, field, dry_run)] += 1
    return counted


def _batch(model: type[models.Model], last: Any) -> list[models.Model]:
    rows = model._default_manager.order_by("pk")
    return list((rows if last is None else rows.filter(pk__gt=last))[:BATCH])


def _rotated(row: models.Model, field: SealedTextField, dry_run: bool) -> str:
    token = getattr(row, field.attname)
    secret = field.opened(row)
    if secret is None:
        return "lost"
    if sealing.is_current(token):
        return "current"
    if not dry_run:
        anew = sealing.seal(secret, bound_to=field.binding(row))
        type(row)._default_manager.filter(pk=row.pk, **{field.attname: token}).update(**{field.attname: anew})
    return "old"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
