"""Which requests are ours: by host, path and sender. Pure."""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from sessionbridge.config import BUILT_IN_HOSTS, BUILT_IN_PATHS, Endpoint


class Routes:
    """The endpoints that are bridged. `reverse_hosts` are the targets of reverse mode."""

    def __init__(self, endpoints: Iterable[Endpoint], reverse_hosts: Iterable[str] = ()) -> None:
        self._apis: defaultdict[str, dict[str, str]] = defaultdict(dict)
        for path, api in BUILT_IN_PATHS.items():
            for host in (*BUILT_IN_HOSTS, *reverse_hosts):
                self._apis[path][host.lower()] = api
        for row in endpoints:
            self._apis[row.path][row.host.lower()] = row.api
        self._hosts = {host for hosts in self._apis.values() for host in hosts}

    def bridged_host(self, host: str) -> bool:
        return host.lower() in self._hosts

    def apis(self, method: str, path: str) -> Mapping[str, str]:
        """The API shapes spoken under this path, by host in lower case; empty where no host's are
        for us. The host is left to the caller, whom it costs more to find out than the path."""
        return self._apis.get(path.partition("?")[0], {}) if method == "POST" else {}


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
