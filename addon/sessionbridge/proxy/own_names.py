"""The names and addresses by which a listener of the proxy is reached, beside those of loopback."""

from __future__ import annotations

import ipaddress
import re
import socket

from mitmproxy import ctx, http
from mitmproxy.net.http import url
from mitmproxy.proxy import mode_specs

from sessionbridge.addresses import plain_host
from sessionbridge.proxy.routing import is_own

LISTENING = (
    mode_specs.RegularMode,
    mode_specs.UpstreamMode,
    mode_specs.ReverseMode,
    mode_specs.Socks5Mode,
)
"""In the other modes a client has connected to some server's address, which is not the proxy's."""

ALL_INTERFACES = {"", "0.0.0.0", "::"}

_LOOPBACK = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:[0-9]+)?")


def own_names(flow: http.HTTPFlow) -> frozenset[str]:
    """The address that the client has connected to, and what the listener is bound to. Where that
    is all addresses, the machine's own name too, as it is and without its domain: that is how other
    machines call it."""
    mode = flow.client_conn.proxy_mode
    if not isinstance(mode, LISTENING):
        return frozenset()
    bound = mode.listen_host(ctx.options.listen_host)
    names = {flow.client_conn.sockname[0], bound}
    if bound in ALL_INTERFACES:
        machine = socket.gethostname()
        names |= ALL_INTERFACES | {machine, machine.partition(".")[0]}
    return frozenset(map(plain_address, names)) - {""}


def is_reached_as(host: str, flow: http.HTTPFlow) -> bool:
    """Whether a Host header names this machine, as loopback or as the client's listener."""
    if _LOOPBACK.fullmatch(host):
        return True  # as nearly all do
    name, _ = host_and_port(host)
    # What else there is takes more than the name.
    return bool(name) and (is_own(name) or is_own(name, own_names(flow)))


def is_on_this_machine(address: str) -> bool:
    """Whether one of the machine's interfaces has it: from there the machine would send to it."""
    plain = plain_address(address)
    family = socket.AF_INET6 if ":" in plain else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:  # nothing is sent
        try:
            probe.connect((address if ":" in plain else plain, 9))
        except OSError:
            return False
        return plain_address(probe.getsockname()[0]) == plain


def host_and_port(host: str) -> tuple[str, int | None]:
    """Of a Host header; the name is empty where it is none."""
    try:
        name, port = url.parse_authority(host, check=True)
    except ValueError:
        return "", None
    return plain_address(name), port


def plain_address(name: str) -> str:
    """Of the forms of an address the usual one."""
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return plain_host(name)
    return str(getattr(address, "ipv4_mapped", None) or address)
