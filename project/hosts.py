"""Which names the demo answers to, from the address it listens on."""

from __future__ import annotations

import socket
from ipaddress import ip_address

ANY = frozenset({"0.0.0.0", "::", ""})  # noqa: S104  (compared with, never bound by default)
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on ``host``."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def allowed_hosts(host: str) -> list[str]:
    """The ``Host`` headers to take: this machine's, and never every one."""
    names = dict.fromkeys(LOOPBACK)
    if host in ANY:
        names.update(dict.fromkeys(_own_names()))
    else:
        names[f"[{host}]" if ":" in host and not host.startswith("[") else host] = None
    return list(names)


def _own_names() -> list[str]:
    """This machine's names and the addresses it has, as far as they can be found without asking anybody."""
    name = socket.gethostname()
    names = [name.lower()]
    try:
        found = socket.getaddrinfo(name, None)
    except OSError:
        found = []
    addresses = {str(entry[4][0]).partition("%")[0] for entry in found}
    for family, target in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        try:  # connecting a datagram socket sends nothing; it only chooses the address it would use
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((target, 9))
                addresses.add(str(probe.getsockname()[0]))
        except OSError:
            continue
    return names + sorted(f"[{address}]" if ":" in address else address for address in addresses)
