"""Which names the page answers to, and which pages may ask it: only itself.

A page elsewhere can have its own name point at this machine (DNS rebinding); then ``Host`` is that name. One that asks
by our name says so in ``Origin``, which a browser lets no page change.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
ANY = frozenset({"0.0.0.0", "::", ""})


class Hosts:
    """The names of one server.

    Args:
        host: where it listens. For every address of the machine (0.0.0.0) its name and any address are right, since no
            name that somebody else owns is an address.
        further: other names under which it is known, such as a proxy's before it.
    """

    def __init__(self, host: str, further: Iterable[str] = ()) -> None:
        self.further = frozenset(name.strip().strip("[]").rstrip(".").lower() for name in further)
        self.everywhere = host in ANY
        own = {socket.gethostname().lower(), socket.getfqdn().lower()} if self.everywhere else {host.lower()}
        self.names = LOOPBACK | own | self.further

    def refusal(self, host: str | None, origin: str | None) -> str | None:
        """Why a request with these headers is not answered; None where it is.

        Args:
            host, origin: the headers, None where they are missing.
        """
        name = _name(f"//{host}") if host else None
        if name is None or not (name in self.names or (self.everywhere and _is_address(name))):
            return "this page does not answer to that host name; who runs it can allow it"
        if origin is None:
            return None
        own = _place(f"{origin.partition('://')[0]}://{host}")
        if (own is not None and _place(origin) == own) or _name(origin) in self.further:
            return None
        return "this page takes requests from itself only"


def _name(url: str) -> str | None:
    try:
        name = urlsplit(url).hostname
    except ValueError:
        return None
    return name.rstrip(".") if name else None


def _place(url: str) -> tuple[str, int | None] | None:
    """Host and port, with the scheme's own where none is given."""
    try:
        parts = urlsplit(url)
        usual = {"http": 80, "https": 443}[parts.scheme]
        return (parts.hostname or "", parts.port or usual)
    except (ValueError, KeyError):
        return None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
