"""The app as Django sees it. Nothing is opened, read or sent at start-up; checks and receivers register."""

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
        """Register the checks, find the handlers of tools, give the engine this site's settings, hear who
        signs in or is deleted and which runs have ended, keep threads tidy.
        """
        from django.contrib.auth import get_user_model
        from django.contrib.auth.signals import user_logged_in
        from django.db import connections
        from django.db.models.signals import pre_delete

        from . import checks, tool_handlers  # noqa: F401
        from .conf import engine_defaults
        from .engine.defaults import set_defaults
        from .engine.threads import at_thread_end
        from .identity import claim_runs, lock_runs
        from .naming import name_after_first_answer
        from .signals import run_finished

        set_defaults(engine_defaults)
        tool_handlers.discover()
        user_logged_in.connect(claim_runs, dispatch_uid="openrouter_app.claim_runs")
        for model in (get_user_model(), self.get_model("Conversation")):
            pre_delete.connect(lock_runs, model, dispatch_uid="openrouter_app.lock_runs")
        run_finished.connect(name_after_first_answer, dispatch_uid="openrouter_app.name_after_first_answer")
        # Tools and functions of chains that run in threads may use the database there.
        at_thread_end(connections.close_all)
