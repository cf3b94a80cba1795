"""A web process of the demo as the tests run it: its clocks twenty times as fast, its log kept."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import get_type_hints

from openrouter_app.conf import Seconds, Settings
from project.web import WebProcess

FASTER = 20
LEAST = 0.05
"""Seconds below which a busy machine's own delays would be mistaken for faults."""
SLOWER = {"CONNECT_TIMEOUT": 2.0, "LAYER_TIMEOUT": 0.25, "TOTAL_TIMEOUT": 60.0}

CLOCKS: Mapping[str, float] = {
    name: SLOWER.get(name, max(getattr(Settings(), name) / FASTER, LEAST))
    for name, kind in get_type_hints(Settings, include_extras=True).items()
    if kind == Seconds
}
"""Every setting that is a number of seconds, at a twentieth of its default."""


def base_environment(folder: Path) -> dict[str, str]:
    """The environment of everything a test starts: nothing of the developer's, one secret key for all."""
    strange = ("OPENROUTER_", "DJANGO_", "DEMO_", "DATABASE_", "CHANNEL_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(strange)}
    return kept | {
        "DJANGO_SETTINGS_MODULE": "project.settings",
        "DEMO_VAR": str(folder),
        "DEMO_PROVIDER": "fake",
        "HOST": "127.0.0.1",
        "OPENROUTER_API_KEY": "simulated",
    }


class Site(WebProcess):
    """`start`, `kill` (at once), `freeze` and `thaw`, `terminate` (asked to leave), `said` (its log)."""

    def __init__(self, environment: Mapping[str, str], *, log: Path, **settings: float) -> None:
        clocks = {f"OPENROUTER_{name}": str(value) for name, value in {**CLOCKS, **settings}.items()}
        super().__init__(log=log, environment={**environment, **clocks})

    async def serves(self) -> None:
        """Start it where it does not run, and wait until it answers."""
        if not self.is_running:
            self.start()
        await asyncio.to_thread(self.wait_ready)

    async def terminate(self) -> int | None:
        """Ask it to leave, wait until it has; answers its exit code."""
        await asyncio.to_thread(self.end)
        return self.exit_code
