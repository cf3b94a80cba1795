"""``manage.py openrouter_sync_models``: bring the catalogue of models up to date, for a daily job.

What OpenRouter lists no more is marked as missing. Where that would be more than half of the models
nothing is marked: the answer may be cut. ``--force`` believes it.
"""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ... import catalogue
from ...engine.errors import OpenRouterError


class Command(BaseCommand):
    help = "Fetch OpenRouter's list of models: prices, lengths, and what they can do."
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--force", action="store_true", help="mark as missing what is not listed, however much it is"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            synced = catalogue.sync(force=options["force"])
        except OpenRouterError as error:
            raise CommandError(f"OpenRouter's list of models cannot be had: {error}") from None
        said = [
            f"{_models(count)} {many if count > 1 else one}"
            for count, one, many in (
                (synced.added, "is new.", "are new."),
                (synced.changed, "has changed.", "have changed."),
                (synced.back, "is back.", "are back."),
                (synced.missing, "is missing now.", "are missing now."),
                (synced.skipped, "makes no sense and was skipped.", "make no sense and were skipped."),
            )
            if count
        ]
        if synced.doubted:
            said.append(
                f"{_models(synced.doubted)} {'is' if synced.doubted == 1 else 'are'} not listed, more than "
                "half of them: none was marked as missing, --force does it."
            )
        self.stdout.write("\n".join(said or ["Nothing has changed."]))


def _models(count: int) -> str:
    return f"{count} model{'' if count == 1 else 's'}"
