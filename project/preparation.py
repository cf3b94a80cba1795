"""``python -m project.preparation``: the site's settings checked, its database migrated and seeded.

`project.serve` and `project.cluster` do this before they serve.
"""

from __future__ import annotations

import os

from . import var
from .console import give_up


def prepare_site() -> None:
    """Check the settings, migrate, seed."""
    import django
    from django.core.checks import run_checks
    from django.core.management import call_command

    django.setup()
    if serious := [str(message) for message in run_checks() if message.is_serious()]:
        give_up("\n".join(serious))
    call_command("migrate", verbosity=0)
    call_command("seed_demo")


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
