"""Which language a websocket speaks: what Django's `LocaleMiddleware` does for requests."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

from django.http import HttpRequest
from django.utils import translation


def activate_for(scope: Mapping[str, Any]) -> str:
    """Speak the visitor's language from here on, in this task and those it makes; answers which.

    It is the one of the language cookie, else the best of ``Accept-Language``, else ``LANGUAGE_CODE``.
    """
    accepted = b",".join(value for name, value in scope.get("headers", ()) if name == b"accept-language")
    request = SimpleNamespace(
        COOKIES=scope.get("cookies", {}),
        META={"HTTP_ACCEPT_LANGUAGE": accepted.decode("latin-1")[:500]},
        path_info=scope.get("path", "/"),
    )
    language = translation.get_language_from_request(cast(HttpRequest, request))
    translation.activate(language)
    return language
