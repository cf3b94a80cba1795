"""The system checks, one test a mistake."""

from __future__ import annotations

import pytest
from django.core.checks import run_checks

GOOD = {"API_KEY": "sk-or-v1-x"}


def found(settings, **given):
    settings.OPENROUTER = {**GOOD, **given}
    return {message.id: message for message in run_checks(tags=["openrouter"])}


@pytest.fixture(autouse=True)
def own_hosts(settings):
    settings.ALLOWED_HOSTS = ["example.com"]


def test_good_settings_give_nothing(settings):
    assert found(settings) == {}


def test_unknown_key_is_an_error_that_says_what_was_meant(settings):
    error = found(settings, BASE_ULR="https://x")["openrouter_app.E001"]
    assert "BASE_ULR" in error.msg
    assert error.hint == "Did you mean 'BASE_URL'?"


def test_wrong_type_is_an_error_that_names_the_key(settings):
    assert "IDLE_TIMEOUT" in found(settings, IDLE_TIMEOUT="long")["openrouter_app.E001"].msg


def test_no_dict_is_an_error(settings):
    settings.OPENROUTER = "sk-or-v1-x"
    (message,) = run_checks(tags=["openrouter"])
    assert message.id == "openrouter_app.E001"
    assert "sk-or" not in str(message)


@pytest.mark.parametrize(
    "url", ["openrouter.ai/api/v1", "ftp://x/v1", "", "https://", "https://x/v1?a=1", "http://["]
)
def test_base_url_must_be_an_address(settings, url):
    assert "openrouter_app.E002" in found(settings, BASE_URL=url)


@pytest.mark.parametrize(
    "url", ["http://openrouter.ai/api/v1", "http://192.168.1.4:8080/v1", "http://127.evil.com/v1"]
)
def test_plain_http_to_another_machine_is_an_error_that_names_the_setting(settings, url):
    error = found(settings, BASE_URL=url)["openrouter_app.E003"]
    assert "ALLOW_INSECURE_BASE_URL" in error.hint
    assert found(settings, BASE_URL=url, ALLOW_INSECURE_BASE_URL=True) == {}


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080/v1", "http://localhost/v1", "http://[::1]:80/v1"])
def test_plain_http_to_this_machine_is_fine_and_needs_no_key(settings, url):
    assert found(settings, BASE_URL=url, API_KEY="") == {}


def test_no_key_is_a_warning(settings):
    warning = found(settings, API_KEY="")["openrouter_app.W001"]
    assert not warning.is_serious()


@pytest.mark.parametrize("origin", ["app.example.com", "https://app.example.com/", "https://", "*", "null"])
def test_an_allowed_origin_must_be_an_origin(settings, origin):
    assert "openrouter_app.E004" in found(settings, ALLOWED_ORIGINS=[origin])


def test_real_origins_are_fine(settings):
    assert found(settings, ALLOWED_ORIGINS=["https://app.example.com", "http://localhost:3000"]) == {}


def test_websocket_path_begins_with_a_slash(settings):
    assert "openrouter_app.E005" in found(settings, WEBSOCKET_PATH="ws/")


def test_A1_hosts_of_everybody_are_a_warning(settings):
    settings.ALLOWED_HOSTS = ["*"]
    assert "openrouter_app.W002" in found(settings)
