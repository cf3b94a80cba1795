"""The websocket and the server's start and end, ready to be mounted beside the site's own application::

    ProtocolTypeRouter(
        {"http": ..., "websocket": websocket_application, "lifespan": lifespan_application}
    )

The handshake's origin is checked before a session is read or anything else is done.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Any, cast
from urllib.parse import urlsplit

from channels.routing import URLRouter
from channels.sessions import CookieMiddleware
from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.http.request import split_domain_port, validate_host
from django.urls import re_path

from .conf import get_settings
from .consumers import RunConsumer
from .lifespan import lifespan_application

__all__ = ["SameOrigin", "lifespan_application", "websocket_application"]

ASGIApp = Callable[[dict[str, Any], Any, Any], Awaitable[None]]
_PORTS = {"http": "80", "https": "443", "ws": "80", "wss": "443"}


class SameOrigin:
    """Lets a handshake through when its page comes from this host, or from ``ALLOWED_ORIGINS``.

    This host is the ``Host`` header, where ``ALLOWED_HOSTS`` knows it; scheme, name and port must
    all be the page's. A handshake without an ``Origin``, or with ``null``, comes from no page of
    ours. Browsers let any site open a socket to any other and send its cookies along, so this check
    is what keeps strangers' pages out.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "websocket" and not is_same_origin(scope):
            await send({"type": "websocket.close", "code": 1008})
            return
        await self.app(scope, receive, send)


class ReadSession:
    """Puts the session of the handshake's cookie into the scope, where no other middleware has.

    It is only read (`identity`), so no message passes through here; Channels' own middleware asks the
    session at every frame that is sent whether it has changed.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if "session" not in scope:
            store = import_module(django_settings.SESSION_ENGINE).SessionStore
            scope = {**scope, "session": store(scope["cookies"].get(django_settings.SESSION_COOKIE_NAME))}
        await self.app(scope, receive, send)


def is_same_origin(scope: dict[str, Any]) -> bool:
    """Whether the handshake's ``Origin`` is one of ours."""
    headers: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        headers.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    origins = headers.get("origin", [])
    hosts = headers.get("host", [])
    if len(origins) != 1 or len(hosts) != 1:
        return False
    origin = _origin(origins[0])
    if origin is None:
        return False
    if origin in {_origin(allowed) for allowed in get_settings().ALLOWED_ORIGINS}:
        return True
    domain, port = split_domain_port(hosts[0])
    if not domain or not validate_host(domain, _allowed_hosts()):
        return False
    scheme = "https" if _is_secure(scope, headers) else "http"
    return origin == (scheme, domain, port or _PORTS[scheme])


def _origin(text: str) -> tuple[str, str, str] | None:
    """(scheme, host, port) of an origin, None where it is none."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return None
    if (
        parts.scheme not in ("http", "https")
        or not parts.hostname
        or parts.path
        or parts.query
        or parts.fragment
    ):
        return None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return parts.scheme, host, str(port) if port is not None else _PORTS[parts.scheme]


def _is_secure(scope: dict[str, Any], headers: dict[str, list[str]]) -> bool:
    """As `HttpRequest.is_secure`: the proxy's header where the site trusts one, else the connection."""
    trusted = django_settings.SECURE_PROXY_SSL_HEADER
    if trusted:
        name, value = trusted
        given = headers.get(name.removeprefix("HTTP_").replace("_", "-").lower())
        if given:
            return given[0].split(",", 1)[0].strip() == value
    return scope.get("scheme", "ws") in ("wss", "https")


def _allowed_hosts() -> list[str]:
    """As `HttpRequest.get_host`: in debug mode, without a setting, this machine's own names."""
    if django_settings.DEBUG and not django_settings.ALLOWED_HOSTS:
        return [".localhost", "127.0.0.1", "[::1]"]
    return list(django_settings.ALLOWED_HOSTS)


def _pattern() -> str:
    path = get_settings().WEBSOCKET_PATH
    if not path.startswith("/"):
        raise ImproperlyConfigured("OPENROUTER['WEBSOCKET_PATH'] must begin with '/'.")
    return "^" + path.lstrip("/").replace(".", r"\.") + "$"


async def _not_found(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Close a socket at a path that nobody serves, instead of an error in the log."""
    await send({"type": "websocket.close", "code": 1008})


websocket_urlpatterns = [re_path(_pattern(), RunConsumer.as_asgi())]
websocket_application = SameOrigin(
    # Who is logged in, the consumer asks `identity`, which only reads.
    CookieMiddleware(ReadSession(URLRouter([*websocket_urlpatterns, re_path(r"", cast(Any, _not_found))])))
)
