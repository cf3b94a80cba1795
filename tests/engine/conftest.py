"""How much the property tests try: 100 examples each, or many small ones where the environment asks."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

from .properties import MANY

settings.register_profile("usual", deadline=None)
settings.register_profile(
    "many",
    max_examples=2_000,
    deadline=None,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("many" if MANY else "usual")
