"""The typed settings: late, complete, and silent about keys."""

from __future__ import annotations

from typing import get_type_hints

import pytest
from django.core.exceptions import ImproperlyConfigured

from openrouter_app.conf import Seconds, Settings, get_settings, mistakes

CANARY = "sk-or-v1-CANARYCANARYCANARY"


def test_without_a_setting_every_key_has_its_default(settings):
    del settings.OPENROUTER
    assert get_settings() == Settings()
    assert get_settings().BASE_URL == "https://openrouter.ai/api/v1"
    assert get_settings().MAX_FRAME == 65_536


FIGURES = {
    "HEARTBEAT": 20,
    "CONNECT_TIMEOUT": 5,
    "FIRST_CONTENT_TIMEOUT": 60,
    "IDLE_TIMEOUT": 45,
    "TOTAL_TIMEOUT": 600,
    "QUEUE_TIMEOUT": 60,
    "SETTLE_TIMEOUT": 24 * 3_600,
    "CATALOGUE_MAX_AGE": 7 * 24 * 3_600,
    "APPROVAL_TIMEOUT": 3 * 24 * 3_600,
    "FLUSH_INTERVAL": 0.25,
    "DATABASE_PATIENCE": 10,
    "LEASE": 30,
    "LEASE_RENEWAL": 10,
    "REAP_INTERVAL": 10,
    "FOLLOW_POLL": 1,
    "PRESENCE_INTERVAL": 10,
    "PRESENCE_TIMEOUT": 25,
    "LAYER_TIMEOUT": 1,
    "SESSION_RECHECK": 25,
    "DRAIN_TIMEOUT": 30,
    "MAX_FRAME": 65_536,
    "MAX_RUNS_PER_SOCKET": 20,
    "MAX_SOCKETS_PER_USER": 100,
    "MAX_RUNS": 200,
    "MAX_QUEUED_RUNS": 100,
    "MAX_RUNS_PER_USER": 20,
    "MAX_RUNS_PER_CHAIN": 0,
    "MAX_STARTS_PER_USER": 60,
    "MAX_STARTS_PER_CHAIN": 0,
    "MAX_TOOL_STEPS": 10,
    "MAX_TOOL_CALLS": 50,
}


@pytest.mark.parametrize(("name", "value"), FIGURES.items())
def test_durable_runs_are_kept_with_these_figures(settings, name, value):
    assert getattr(get_settings(), name) == value


def test_every_time_and_every_limit_has_its_figure_here():
    kinds = get_type_hints(Settings, include_extras=True)
    times = {name for name, kind in kinds.items() if kind == Seconds}
    limits = {name for name in kinds if name.startswith("MAX_")}
    assert set(FIGURES) == times | limits


def test_a_change_is_seen_at_once(settings):
    settings.OPENROUTER = {"APP_TITLE": "One"}
    assert get_settings().APP_TITLE == "One"
    settings.OPENROUTER = {"APP_TITLE": "Two"}
    assert get_settings().APP_TITLE == "Two"
    settings.OPENROUTER["APP_TITLE"] = "Three"
    assert get_settings().APP_TITLE == "Three"


def test_lists_become_tuples_and_whole_numbers_become_seconds(settings):
    settings.OPENROUTER = {"ALLOWED_ORIGINS": ["https://a.example"], "IDLE_TIMEOUT": 7}
    assert get_settings().ALLOWED_ORIGINS == ("https://a.example",)
    assert get_settings().IDLE_TIMEOUT == 7.0


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"API_KYE": "x"}, "Did you mean 'API_KEY'?"),
        ({"api_key": "x"}, "Did you mean 'API_KEY'?"),
        ({"COLOUR_OF_THE_SKY": 1}, "The settings are API_KEY, BASE_URL"),
        ({"HEARTBEAT": "20"}, "OPENROUTER['HEARTBEAT'] is wrong: expected `float`, got `str`."),
        ({"HEARTBEAT": 0}, "OPENROUTER['HEARTBEAT'] is wrong: expected `float` > 0.0."),
        ({"MAX_FRAME": True}, "expected `int`, got `bool`"),
        ({"ALLOWED_ORIGINS": "https://a.example"}, "expected `array`, got `str`"),
        (["API_KEY"], "must be a dict, not list"),
    ],
)
def test_a_mistake_is_named_with_the_way_out(settings, given, said):
    settings.OPENROUTER = given
    with pytest.raises(ImproperlyConfigured) as raised:
        get_settings()
    assert said in str(raised.value)


def test_every_mistake_is_found_not_only_the_first():
    assert len(list(mistakes({"A": 1, "B": 2, "API_KEY": 3}))) == 3


def test_A13_repr_and_errors_never_show_a_key(settings):
    settings.OPENROUTER = {"API_KEY": CANARY}
    shown = repr(get_settings()) + str(get_settings()) + f"{get_settings()!r}"
    assert CANARY not in shown
    assert "BASE_URL='https://openrouter.ai/api/v1'" in shown
    wrong = list(mistakes({"API_KEY": [CANARY], "BASE_URL": 5}))
    assert wrong
    assert CANARY not in repr(wrong)
