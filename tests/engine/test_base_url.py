"""Base URLs: which are one, and which may be sent a key."""

from __future__ import annotations

import pytest

from openrouter_app.engine.base_url import check_base_url
from openrouter_app.engine.errors import ConfigurationError


@pytest.mark.parametrize(
    "url",
    [
        "",
        "openrouter.ai",
        "ftp://a/v1",
        "https://",
        "http://[bad",
        "https://[::1",
        "https://a:port/v1",
        "https://a:99999999/v1",
        "https://a/v1?b=c",
        "https://a/v1#b",
        "https://user:pass@a/v1",
        "http://example.com/v1",
    ],
)
def test_what_is_no_base_url_is_refused(url):
    with pytest.raises(ConfigurationError) as caught:
        check_base_url(url)
    assert caught.value.__context__ is None


def test_a_base_url_loses_its_last_slash():
    assert check_base_url("https://a/v1/") == "https://a/v1"
    assert check_base_url("http://[::1]:8000/v1") == "http://[::1]:8000/v1"
