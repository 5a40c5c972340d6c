"""Which requests are ours: by host, path and sender. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from mitmproxy import http

from sessionbridge.addresses import is_address, plain_host, plain_path
from sessionbridge.apis import FRAMES
from sessionbridge.endpoints import (
    ANY,
    BUILT_IN_HOSTS,
    BUILT_IN_PATHS,
    MODEL,
    Endpoint,
    known,
)
from sessionbridge.model import Origin

OWN_HEADER = "x-sessionbridge-session"


class ObjectPath(NamedTuple):
    """The path of what an API keeps: `kind` is `responses` or `conversations`, `rest` what follows,
    the id first. `beside` is where the turns are asked for that such things come from."""

    kind: str
    rest: tuple[str, ...]
    beside: str

    def asks_for(self, word: str) -> bool:
        """Whether this word stands in the place of an id."""
        return [part.lower() for part in self.rest] == [word]


_OBJECT = re.compile(
    r"(.*)/(?:(responses)((?:/[^/]+)+)|(conversations)((?:/[^/]+)*))", re.IGNORECASE
)


def object_path(path: str) -> ObjectPath | None:
    found = _OBJECT.fullmatch(plain_path(path))
    if found is None:
        return None
    before, kind, rest = (group for group in found.groups() if group is not None)
    return ObjectPath(kind.lower(), tuple(rest.split("/")[1:]), f"{before}/responses")


class Routes:
    """The endpoints that are bridged. `reverse_hosts` are the targets of reverse mode, where the
    paths that are known anywhere are spoken, whatever the target is; but Ollama's only where there
    is no other API than this one (`alone`): web applications have a path of that name."""

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        reverse_hosts: Iterable[str] = (),
        *,
        alone: bool = False,
    ) -> None:
        self._apis: dict[str, dict[str, str]] = {}
        self._patterns: dict[re.Pattern[str], dict[str, str]] = {}
        for path, api in BUILT_IN_PATHS.items():
            for host in BUILT_IN_HOSTS:
                self._add(path, host, api)
        for row in reversed(endpoints):  # of two for one place the first counts
            self._add(row.path, row.host, row.api)
        self._named = {host for hosts in self._all() for host in hosts}
        for host in reverse_hosts:
            for path, api in _KNOWN_PATHS.items():
                if alone or api != "ollama":
                    self._add(path, host, api)
        self._hosts = {host for hosts in self._all() for host in hosts}

    def bridged_host(self, host: str, port: int) -> bool:
        return _found(self._hosts, host, port) is not None

    def bridged_there(self, host: str, port: int) -> bool:
        """Whether at this port above all, and not only because it is at any."""
        if plain_host(host) in BUILT_IN_HOSTS:
            return True
        return any(f"{name}:{port}" in self._hosts for name in _names(host))

    def is_asked(self, request: http.Request, sni: str | None = None) -> bool:
        """Whether it is for a bridged host."""
        return any(self.bridged_host(host, request.port) for host in hosts_of(request, sni))

    def bridged_by_name(self, host: str, port: int) -> bool:
        """Whether it is bridged wherever it is met, and not as the target of reverse mode alone."""
        return _found(self._named, host, port) is not None

    def api_of_turn(self, request: http.Request, sni: str | None = None) -> str | None:
        """The API shape in which a turn is asked for; None for any other request."""
        if request.method != "POST":
            return None
        return self.api_at(request, sni) or self.api_of_summary(request, sni)

    def api_of_summary(self, request: http.Request, sni: str | None = None) -> str | None:
        """The API shape where the request is to one's own address for a summary."""
        found = self.object_at(request, sni)
        return found.kind if found is not None and found.asks_for("compact") else None

    def api_of_socket(self, request: http.Request, sni: str | None = None) -> str | None:
        """The API shape in which turns are asked for on a WebSocket, where the request is the
        upgrade to one; one of the APIs has that."""
        api = self.api_at(request, sni) if is_upgrade(request) else None
        return api if api in FRAMES else None

    def api_at(self, request: http.Request, sni: str | None = None) -> str | None:
        """The path is asked first: other hosts than the first take parsing."""
        return self._api_under(request.path, request, sni)

    def _api_under(self, path: str, request: http.Request, sni: str | None) -> str | None:
        for apis in self._apis_under(path):
            for host in hosts_of(request, sni):
                if (found := _found(apis, host, request.port)) is not None:
                    return apis[found]
        return None

    def object_at(self, request: http.Request, sni: str | None = None) -> ObjectPath | None:
        """What a request of the Responses API asks for by its id, where that API is spoken."""
        if (found := object_path(request.path)) is None:
            return None
        beside = self._api_under(found.beside, request, sni)
        return found if beside == "responses" else None

    def speaks(self, path: str) -> bool:
        """Whether any host does under this path, or keeps something there."""
        kept = object_path(path)
        paths = [path, kept.beside] if kept else [path]
        return any(True for one in paths for _ in self._apis_under(one))

    def model_at(self, request: http.Request) -> str | None:
        """The model that the path names, where an API has it there."""
        plain = plain_path(request.path)
        matches = (pattern.fullmatch(plain) for pattern in self._patterns)
        return next((match["model"] for match in matches if match and match.re.groups), None)

    def _add(self, path: str, host: str, api: str) -> None:
        plain = plain_path(path)
        if {MODEL, ANY} & set(plain.split("/")):
            apis = self._patterns.setdefault(_pattern(plain), {})
        else:
            apis = self._apis.setdefault(plain.lower(), {})
        apis[plain_host(host)] = api

    def _all(self) -> Iterator[dict[str, str]]:
        yield from self._apis.values()
        yield from self._patterns.values()

    def _apis_under(self, path: str) -> Iterator[Mapping[str, str]]:
        """The API shapes spoken under this path, by host as the endpoints have it."""
        if apis := self._apis.get(path):
            yield apis
        plain = plain_path(path)
        if apis := self._apis.get(plain.lower()):
            yield apis
        yield from (apis for pattern, apis in self._patterns.items() if pattern.fullmatch(plain))


_KNOWN_PATHS = {
    **BUILT_IN_PATHS,
    **{row.path: row.api for rows in known().values() for row in rows},
}


def _pattern(path: str) -> re.Pattern[str]:
    parts = {MODEL: "(?P<model>[^/]+)", ANY: "[^/]+"}
    pattern = "/".join(parts.get(part, re.escape(part)) for part in path.split("/"))
    return re.compile(pattern, re.IGNORECASE)


def hosts_of(request: http.Request, sni: str | None) -> Iterator[str]:
    """The hosts that a request may be for: the one it would go to, and the one the client names. In
    transparent mode the former is a bare address, and in reverse mode with `keep_host_header` the
    latter alone is the target's. `sni` is what the client named when it connected by TLS, which
    counts where it asks a bare address."""
    yield request.host
    yield request.pretty_host
    if sni and is_address(request.host):
        yield sni


def _found(hosts: Collection[str], host: str, port: int) -> str | None:
    """The one among these that stands for this host: the nearest of those that do."""
    for name in _names(host):
        for spelled in (name, f"{name}:{port}"):
            if spelled in hosts:
                return spelled
    return None


def _names(host: str) -> Iterator[str]:
    """Those by which the endpoints may have a host, the nearest first."""
    yield (name := plain_host(host))
    _, *parents = name.split(".")
    for start in range(len(parents)):
        yield ".".join(["*", *parents[start:]])


def is_upgrade(request: http.Request) -> bool:
    """Whether it is to become a WebSocket (RFC 6455, 4.1). The name of a protocol may have a
    version behind it (RFC 9110, 7.8)."""
    asked = request.headers.get("upgrade", "")
    names = [name.partition("/")[0].strip().lower() for name in asked.split(",")]
    return request.method == "GET" and "websocket" in names


def is_claude_code(headers: Mapping[str, str], origin: Origin | None) -> bool:
    """Claude Code remembers by itself. Who gives it our own header wants it bridged. Header names
    are in lower case."""
    if OWN_HEADER in headers:
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
