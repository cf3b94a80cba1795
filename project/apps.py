"""The demo as an app of its own: a small shop that its chat can act on."""

from __future__ import annotations

from django.apps import AppConfig


class ProjectConfig(AppConfig):
    """The demo site."""

    name = "project"
    label = "project"
    verbose_name = "Demo shop"
    default_auto_field = "django.db.models.BigAutoField"
