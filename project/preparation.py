"""``python -m project.preparation``: the site's settings checked, its database migrated and seeded.

`project.serve` and `project.cluster` do this before they serve.
"""

from __future__ import annotations

import os
from contextlib import suppress

from . import var
from .console import give_up


def prepare_site() -> None:
    """Check the settings, migrate, seed; with the fake's models, where that is what answers."""
    import django
    from django.conf import settings
    from django.core.checks import run_checks
    from django.core.management import call_command

    django.setup()
    if serious := [str(message) for message in run_checks() if message.is_serious()]:
        give_up("\n".join(serious))
    call_command("migrate", verbosity=0)
    call_command("seed_demo")
    if settings.DEMO_PROVIDER == "fake":
        _list_models()


def _list_models() -> None:
    """The catalogue is no reason not to start: what is missing can be fetched in the admin."""
    from openrouter_app import OpenRouterError, catalogue

    with suppress(OpenRouterError):
        catalogue.sync()


def login() -> str:
    """How one gets into the admin, as the start says it."""
    from django.conf import settings

    return "  (demo, password demo)" if settings.DEBUG else "  (demo, with the password that was shown once)"


def answers() -> str:
    """Who answers, as the start says it."""
    from django.conf import settings

    match settings.DEMO_PROVIDER:
        case "fake":
            return (
                "Answers are simulated: no model is asked. Set OPENROUTER_API_KEY to talk to OpenRouter, "
                "or MODEL=local for a small model on this machine."
            )
        case "local":
            return "A small model on this machine answers."
        case _:
            return f"Answers come from {settings.OPENROUTER['BASE_URL']}."


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    var.prepare()
    prepare_site()
