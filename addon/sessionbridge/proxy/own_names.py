"""The names and addresses by which a listener of the proxy is reached, beside those of loopback."""

from __future__ import annotations

import ipaddress
import socket

from mitmproxy import ctx, http
from mitmproxy.net.http import url
from mitmproxy.proxy import mode_specs

from sessionbridge.addresses import plain_host
from sessionbridge.proxy.routing import is_own

_LISTENING = (
    mode_specs.RegularMode,
    mode_specs.UpstreamMode,
    mode_specs.ReverseMode,
    mode_specs.Socks5Mode,
)
"""In the other modes a client has connected to some server's address, which is not the proxy's."""

_ALL = {"", "0.0.0.0", "::"}


def own_names(flow: http.HTTPFlow) -> frozenset[str]:
    """The address that the client has connected to, and what the listener is bound to. Where that
    is all addresses, the machine's own name too, as it is and without its domain: that is how other
    machines call it."""
    mode = flow.client_conn.proxy_mode
    if not isinstance(mode, _LISTENING):
        return frozenset()
    bound = mode.listen_host(ctx.options.listen_host)
    names = {flow.client_conn.sockname[0], bound}
    if bound in _ALL:
        machine = socket.gethostname()
        names |= _ALL | {machine, machine.partition(".")[0]}
    return frozenset(map(_plain, names)) - {""}


def is_reached_as(host: str, flow: http.HTTPFlow) -> bool:
    """Whether a Host header names this machine, as loopback or as the client's listener."""
    name, _ = host_and_port(host)
    # Nearly all are loopback's, and the others are not read off the name alone.
    return bool(name) and (is_own(name) or is_own(name, own_names(flow)))


def host_and_port(host: str) -> tuple[str, int | None]:
    """Of a Host header; the name is empty where it is none."""
    try:
        name, port = url.parse_authority(host, check=True)
    except ValueError:
        return "", None
    return _plain(name), port


def is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _plain(name: str) -> str:
    """Of the forms of an address the usual one."""
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return plain_host(name)
    return str(getattr(address, "ipv4_mapped", None) or address)
