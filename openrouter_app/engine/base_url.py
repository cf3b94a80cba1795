"""Where requests go, and whether a key may go there."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from .errors import ConfigurationError
from .failures import redact


def check_base_url(base_url: str, *, allow_insecure: bool = False) -> str:
    """The base URL without its last slash, when it may be sent a key.

    Raises `ConfigurationError` for anything but https, or plain http to a loopback address.
    """
    parts = _parts(base_url)
    if (
        parts is None
        or parts.scheme not in ("http", "https")
        or not parts.hostname
        or parts.query
        or parts.fragment
    ):
        raise ConfigurationError(
            f"'{redact(base_url)}' is no base URL. Give a full prefix such as 'https://openrouter.ai/api/v1'."
        )
    if parts.username or parts.password:
        raise ConfigurationError("The base URL must not hold a user name or password.")
    if parts.scheme == "http" and not allow_insecure and not is_loopback(parts.hostname):
        raise ConfigurationError(
            f"The base URL '{base_url}' would send the API key unencrypted. Use https, or set "
            "ALLOW_INSECURE_BASE_URL if that network is yours."
        )
    return base_url.rstrip("/")


def _parts(base_url: str) -> SplitResult | None:
    """Its parts; None where it, or its port, cannot be read."""
    try:
        parts = urlsplit(base_url)
        _ = parts.port
    except ValueError:
        return None
    return parts


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
