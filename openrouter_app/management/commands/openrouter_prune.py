"""``manage.py openrouter_prune --days 90``: delete what is older; for a nightly job.

Only runs that have ended are deleted, in batches, so that no lock is held for long. With
``--keep-rows`` a run's texts go and its figures stay: what it cost can still be counted.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from ...models import Chain, Run

BATCH = 500
MOST_DAYS = 100_000


class Command(BaseCommand):
    help = "Delete runs that ended so many days ago."
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--days", type=float, required=True, help="older than this many days")
        parser.add_argument("--chain", help="only runs of this chain")
        parser.add_argument(
            "--keep-rows", action="store_true", help="empty the texts and keep the figures instead"
        )
        parser.add_argument("--dry-run", action="store_true", help="only count")

    def handle(self, *args: Any, **options: Any) -> None:
        if not 0 <= options["days"] <= MOST_DAYS:
            raise CommandError(f"--days takes a number from 0 to {MOST_DAYS}.")
        if options["chain"] and not Chain.objects.filter(slug=options["chain"]).exists():
            raise CommandError(f"There is no chain {options['chain']}.")
        before = timezone.now() - timedelta(days=options["days"])
        old = Run.objects.filter(status__in=Run.FINAL, ended__lt=before)
        if options["chain"]:
            old = old.filter(chain__slug=options["chain"])
        if options["keep_rows"]:
            old = old.exclude(input={}, parts=[], private={}, output=None, error_detail="")
        count = old.count() if options["dry_run"] else sum(self._batches(old, options["keep_rows"]))
        verb = "would be" if options["dry_run"] else "was" if count == 1 else "were"
        what = "emptied" if options["keep_rows"] else "deleted"
        self.stdout.write(f"{count} run{'' if count == 1 else 's'} {verb} {what}.")

    def _batches(self, old: Any, keep_rows: bool) -> Any:
        while keys := list(old.order_by("pk").values_list("pk", flat=True)[:BATCH]):
            batch = Run.objects.filter(pk__in=keys)
            if keep_rows:
                batch.update(input={}, parts=[], private={}, output=None, error_detail="")
            else:
                batch.delete()
            yield len(keys)
