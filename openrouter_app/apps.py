"""The app as Django sees it. Nothing is opened, read or sent at start-up; only the checks are registered."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class OpenRouterAppConfig(AppConfig):
    """``INSTALLED_APPS += ["openrouter_app"]``."""

    name = "openrouter_app"
    label = "openrouter_app"
    verbose_name = _("OpenRouter chains")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the system checks, let the engine ask this site's settings, and keep its threads tidy."""
        from django.db import connections

        from . import checks  # noqa: F401
        from .conf import engine_defaults
        from .engine.defaults import set_defaults
        from .engine.threads import at_thread_end

        set_defaults(engine_defaults)
        # Tools and functions of chains that run in threads may use the database there.
        at_thread_end(connections.close_all)
