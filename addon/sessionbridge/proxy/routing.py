"""Which requests are ours: by host, path and sender. Pure."""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from urllib.parse import urlsplit

from mitmproxy import http

from sessionbridge.addresses import plain_host, plain_path
from sessionbridge.apis import FRAMES
from sessionbridge.config import BUILT_IN_HOSTS, BUILT_IN_PATHS, Endpoint
from sessionbridge.model import Origin

_OWN_HEADER = "x-sessionbridge-session"


class Routes:
    """The endpoints that are bridged. `reverse_hosts` are the targets of reverse mode."""

    def __init__(self, endpoints: Sequence[Endpoint], reverse_hosts: Iterable[str] = ()) -> None:
        self._apis: defaultdict[str, dict[str, str]] = defaultdict(dict)
        for path, api in BUILT_IN_PATHS.items():
            for host in (*BUILT_IN_HOSTS, *reverse_hosts):
                self._apis[path][plain_host(host)] = api
        for row in endpoints:
            self._apis[plain_path(row.path).lower()][plain_host(row.host)] = row.api
        self._hosts = {host for hosts in self._apis.values() for host in hosts}
        self._named = {*BUILT_IN_HOSTS, *(plain_host(row.host) for row in endpoints)}

    def bridged_host(self, host: str) -> bool:
        return plain_host(host) in self._hosts

    def bridged_by_name(self, host: str) -> bool:
        """Whether it is bridged wherever it is met, and not as the target of reverse mode alone."""
        return plain_host(host) in self._named

    def api_of_turn(self, request: http.Request) -> str | None:
        """The API shape in which a turn is asked for; None for any other request."""
        return self.api_at(request) if request.method == "POST" else None

    def api_of_socket(self, request: http.Request) -> str | None:
        """The API shape in which turns are asked for on a WebSocket, where the request is the
        upgrade to one; one of the APIs has that."""
        api = self.api_at(request) if is_upgrade(request) else None
        return api if api in FRAMES else None

    def api_at(self, request: http.Request) -> str | None:
        """By the host the request would go to, or by the one the client names: in transparent mode
        the former is a bare address, and in reverse mode with `keep_host_header` it alone is the
        target's. The path is asked first, and last `pretty_host`, which searches and parses the
        Host header.
        """
        apis = self.apis(request.path)
        if not apis:
            return None
        return apis.get(plain_host(request.host)) or apis.get(plain_host(request.pretty_host))

    def apis(self, path: str) -> Mapping[str, str]:
        """The API shapes spoken under this path, by plain host; empty where no host's are for
        us."""
        return self._apis.get(path) or self._apis.get(plain_path(path).lower(), {})


def is_upgrade(request: http.Request) -> bool:
    """Whether it is to become a WebSocket (RFC 6455, 4.1)."""
    asked = request.headers.get("upgrade", "")
    names = [name.strip().lower() for name in asked.split(",")]
    return request.method == "GET" and "websocket" in names


def is_claude_code(headers: Mapping[str, str], origin: Origin | None) -> bool:
    """Claude Code remembers by itself. Who gives it our own header wants it bridged. Header names
    are in lower case."""
    if _OWN_HEADER in headers:
        return False
    named = origin is not None and origin.platform == "claude-code"
    return named or headers.get("user-agent", "").startswith("claude-cli/")


def is_loopback(address: str) -> bool:
    """Whether a peer's address is this machine's own; IPv4 written as IPv6 counts as IPv4."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(ip, "ipv4_mapped", None)
    return (mapped or ip).is_loopback


def is_own(host: str, names: Collection[str] = ()) -> bool:
    """Whether a host is this machine: by loopback, or by one of these further names of its."""
    plain = plain_host(host)
    # Names below localhost are this machine's too (RFC 6761, 6.3).
    by_name = plain == "localhost" or plain.endswith(".localhost")
    return by_name or is_loopback(host) or plain in names


def foreign_page(origin: str | None, site: str | None = None, names: Collection[str] = ()) -> bool:
    """Whether an Origin header names a web page that is not this machine's own; `names` are those
    it has beside loopback.

    A browser sends it with every POST a page makes, also where the page has brought a name of its
    own to resolve to this machine, so it tells programs from pages (Fetch standard, 3.2). A GET may
    come without one, from an image for example; then its Sec-Fetch-Site tells.
    """
    if not origin:
        return site == "cross-site"
    try:
        host = urlsplit(origin).hostname or ""
    except ValueError:  # brackets without an IPv6 address in them: nothing of this machine's
        return True
    return not is_own(host, names)
