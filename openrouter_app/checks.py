"""System checks: the mistakes in a site's settings that can be seen before the first request.

========  ==========================================================================
E001      ``OPENROUTER`` is no dict, has an unknown key or a value of the wrong type
E002      ``BASE_URL`` is no http(s) address
E003      ``BASE_URL`` would send the key over plain http to another machine
E004      an entry of ``ALLOWED_ORIGINS`` is no origin
E005      ``WEBSOCKET_PATH`` does not begin with a slash
W001      no ``API_KEY``
W002      ``ALLOWED_HOSTS = ["*"]``: any site's page could open the websocket
========  ==========================================================================
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any
from urllib.parse import SplitResult, urlsplit

from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error, Warning, register

from .conf import Settings, get_settings, mistakes


@register("openrouter")
def check_settings(**kwargs: Any) -> list[CheckMessage]:
    """Every mistake in ``OPENROUTER``; what depends on right types is only looked at when they are."""
    wrong: list[CheckMessage] = [
        Error(mistake.message, hint=mistake.hint or None, id="openrouter_app.E001")
        for mistake in mistakes(getattr(django_settings, "OPENROUTER", {}))
    ]
    return wrong or [*_base_url(get_settings()), *_websocket(get_settings())]


def _base_url(settings: Settings) -> Iterator[CheckMessage]:
    try:
        url = urlsplit(settings.BASE_URL)
        host = url.hostname
    except ValueError:
        url, host = SplitResult("", "", "", "", ""), None
    if url.scheme not in {"http", "https"} or not host or url.query or url.fragment:
        yield Error(
            "OPENROUTER['BASE_URL'] is no http or https address.",
            hint="Use the full prefix of the API, such as 'https://openrouter.ai/api/v1'.",
            id="openrouter_app.E002",
        )
    elif url.scheme == "http" and not _is_loopback(host) and not settings.ALLOW_INSECURE_BASE_URL:
        yield Error(
            f"OPENROUTER['BASE_URL'] would send the API key unencrypted to {host}.",
            hint="Use https, or set OPENROUTER['ALLOW_INSECURE_BASE_URL'] = True "
            "where the network between is your own.",
            id="openrouter_app.E003",
        )
    if not settings.API_KEY and (not host or not _is_loopback(host)):
        yield Warning(
            "OPENROUTER has no 'API_KEY': OpenRouter will refuse every run.",
            hint="Make one at https://openrouter.ai/settings/keys and set OPENROUTER['API_KEY'].",
            id="openrouter_app.W001",
        )


def _websocket(settings: Settings) -> Iterator[CheckMessage]:
    for origin in settings.ALLOWED_ORIGINS:
        if not _is_origin(origin):
            yield Error(
                f"OPENROUTER['ALLOWED_ORIGINS'] has {origin!r}, which is no origin.",
                hint="An origin is a scheme and a host, and a port where it is not the usual one: "
                "'https://app.example.com'.",
                id="openrouter_app.E004",
            )
    if not settings.WEBSOCKET_PATH.startswith("/"):
        yield Error(
            "OPENROUTER['WEBSOCKET_PATH'] must begin with a slash.",
            hint=f"Did you mean '/{settings.WEBSOCKET_PATH}'?",
            id="openrouter_app.E005",
        )
    if "*" in django_settings.ALLOWED_HOSTS:
        yield Warning(
            "ALLOWED_HOSTS contains '*': no Host header is refused, so the websocket's same-host rule is "
            "all that keeps other sites' pages out.",
            hint="Name the site's hosts in ALLOWED_HOSTS.",
            id="openrouter_app.W002",
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _is_origin(origin: str) -> bool:
    try:
        url = urlsplit(origin)
        return (
            url.scheme in {"http", "https"}
            and bool(url.hostname)
            and origin == f"{url.scheme}://{url.netloc}"
        )
    except ValueError:
        return False
