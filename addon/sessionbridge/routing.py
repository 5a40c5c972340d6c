"""Which requests are ours: by host, path and sender. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from sessionbridge.config import BUILT_IN_HOSTS, BUILT_IN_PATHS, Endpoint


class Routes:
    """The endpoints that are bridged. `reverse_hosts` are the targets of reverse mode."""

    def __init__(self, endpoints: Iterable[Endpoint], reverse_hosts: Iterable[str] = ()) -> None:
        self._apis: dict[tuple[str, str], str] = {
            (host.lower(), path): api
            for host in (*BUILT_IN_HOSTS, *reverse_hosts)
            for path, api in BUILT_IN_PATHS.items()
        }
        self._apis |= {(row.host.lower(), row.path): row.api for row in endpoints}
        self._hosts = {host for host, _ in self._apis}

    def bridged_host(self, host: str) -> bool:
        return host.lower() in self._hosts

    def api(self, method: str, host: str, path: str) -> str | None:
        """The API shape spoken there, or None where the request is not for us."""
        if method != "POST":
            return None
        return self._apis.get((host.lower(), path.partition("?")[0]))


def is_loopback(address: str) -> bool:
    """Whether a peer's address is this machine's own; IPv4 written as IPv6 counts as IPv4."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(ip, "ipv4_mapped", None)
    return (mapped or ip).is_loopback


def foreign_page(origin: str | None) -> bool:
    """Whether an Origin header names a web page that is not this machine's own.

    A browser sends it with every POST a page makes, also where the page has brought a name of its
    own to resolve to this machine, so it tells programs from pages (Fetch standard, 3.2).
    """
    if not origin:
        return False
    try:
        host = urlsplit(origin).hostname or ""
    except ValueError:  # brackets without an IPv6 address in them: nothing of this machine's
        return True
    return not (host == "localhost" or is_loopback(host))
