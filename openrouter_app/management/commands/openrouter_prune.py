"""``manage.py openrouter_prune --days 90``: delete what is older; for a nightly job.

Runs that have ended are deleted, and conversations in which nothing was said since; a run of a
conversation goes with it and not before. In batches, so that no lock is held for long. With
``--keep-rows`` a run's texts go and its figures stay: what it cost can still be counted. Sign-ins at
OpenRouter that nobody came back from go with them, and what counts against no limit a minute any more.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.utils import timezone

from ... import limits
from ...changing import BATCH, empty
from ...keys.connecting import sweep
from ...models import Chain, Conversation, Run

MOST_DAYS = 100_000


class Command(BaseCommand):
    help = "Delete runs that ended, and conversations that were left, so many days ago."
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--days", type=float, required=True, help="older than this many days")
        parser.add_argument("--chain", help="only runs and conversations of this chain")
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
        old = Run.objects.filter(status__in=Run.FINAL, ended__lt=before, conversation=None)
        left = Conversation.objects.filter(updated__lt=before).exclude(runs__status__in=Run.UNFINISHED)
        if options["chain"]:
            old, left = old.filter(chain__slug=options["chain"]), left.filter(chain__slug=options["chain"])
        keep_rows, dry_run = options["keep_rows"], options["dry_run"]
        if keep_rows:
            old = old.exclude(input={}, parts=[], private={}, output=None, error_detail="")
        conversations = left.count() if dry_run else sum(_delete_conversations(left, keep_rows))
        count = old.count() if dry_run else sum(_delete_runs(old, keep_rows))
        self._say(count, "run", "emptied" if keep_rows else "deleted", dry_run)
        if conversations:
            self._say(conversations, "conversation", "deleted", dry_run)
        if not dry_run:
            sweep()
            while limits.forget_hits():
                pass

    def _say(self, count: int, what: str, done: str, dry_run: bool) -> None:
        verb = "would be" if dry_run else "was" if count == 1 else "were"
        self.stdout.write(f"{count} {what}{'' if count == 1 else 's'} {verb} {done}.")


def _delete_runs(old: Any, keep_rows: bool) -> Iterator[int]:
    while keys := list(old.order_by("pk").values_list("pk", flat=True)[:BATCH]):
        if keep_rows:
            empty(keys)
        else:
            with transaction.atomic():
                # Their rows before what hangs on them, as whoever learns what one has cost.
                list(Run.objects.select_for_update().filter(pk__in=keys).order_by("pk").values_list("pk"))
                Run.objects.filter(pk__in=keys).delete()
        yield len(keys)


def _delete_conversations(left: Any, keep_rows: bool) -> Iterator[int]:
    last = -1
    while keys := list(left.filter(pk__gt=last).order_by("pk").values_list("pk", flat=True)[:BATCH]):
        last = keys[-1]
        with transaction.atomic():
            # Behind their locks, so that nothing begins in them; then those in which nothing has meanwhile.
            locked = Conversation.objects.select_for_update().filter(pk__in=keys).order_by("pk")
            list(locked.values_list("pk", flat=True))
            still = list(left.filter(pk__in=keys).values_list("pk", flat=True))
            if keep_rows:
                theirs = Run.objects.filter(conversation__in=still)
                empty(list(theirs.values_list("pk", flat=True)))
                theirs.update(conversation=None, message=None)
            Conversation.objects.filter(pk__in=still).delete()
        yield len(still)
