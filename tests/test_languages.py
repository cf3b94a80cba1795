"""A socket speaks the language that the pages speak to the same browser."""

from __future__ import annotations

import pytest
from django.conf import settings
from django.utils import translation

from openrouter_app.languages import activate_for


@pytest.fixture(autouse=True)
def language_of_the_test():
    with translation.override("en"):
        yield


@pytest.mark.parametrize(
    ("scope", "language"),
    [
        ({}, "en"),
        ({"headers": [(b"accept-language", b"de-CH, fr;q=0.5")]}, "de"),
        ({"headers": [(b"accept-language", b"xx, fr;q=0.5"), (b"host", b"x")]}, "fr"),
        ({"headers": [(b"accept-language", b"fr")], "cookies": {settings.LANGUAGE_COOKIE_NAME: "de"}}, "de"),
        (
            {"headers": [(b"accept-language", b"fr")], "cookies": {settings.LANGUAGE_COOKIE_NAME: "../x"}},
            "fr",
        ),
        ({"headers": [(b"accept-language", b"\xff" * 10_000)]}, "en"),
    ],
)
def test_language_is_the_cookies_else_the_browsers_else_the_sites(scope, language):
    assert activate_for(scope) == language
    assert translation.get_language() == language
