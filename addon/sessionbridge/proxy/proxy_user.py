"""The user that a client names in the proxy's address, `http://my-chat@127.0.0.1:8080`.

Clients send it as `Proxy-Authorization: Basic` (RFC 9110, 11.7.2; RFC 7617): for https once, with
the CONNECT of a connection, for http with each request. mitmproxy reads it only where its option
`proxyauth` is set, and then takes the header away; without that option it would send the header of
an http request on to the server (read in mitmproxy 12.3, `addons/proxyauth.py`).
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from weakref import WeakKeyDictionary

from mitmproxy import connection, ctx, http
from mitmproxy.proxy import mode_specs

from sessionbridge.program_runs import NOBODY, RUN_ID

HEADER = "proxy-authorization"
_USER = "sessionbridge_proxy_user"
_RUN = "sessionbridge_run"
_CHECKED = "proxyauth"
"""In the metadata of flows; the others are ours."""

type _Told = tuple[str | None, str | None]


class ProxyUser:
    def __init__(self) -> None:
        self._of_connection: WeakKeyDictionary[connection.Client, _Told] = WeakKeyDictionary()

    def http_connected(self, flow: http.HTTPFlow) -> None:
        self._of_connection[flow.client_conn] = _told(flow)

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        """Noted in the flow: one that is replayed comes by a connection that names nobody."""
        tunnel = self._of_connection.get(flow.client_conn)
        told = _told(flow) if tunnel is None else tunnel
        for name, value in zip((_USER, _RUN), told, strict=True):
            if value:
                flow.metadata[name] = value
        if isinstance(flow.client_conn.proxy_mode, mode_specs.RegularMode) and tunnel is None:
            flow.request.headers.pop(HEADER, None)  # it was for this proxy


def named(flow: http.HTTPFlow) -> str | None:
    """As the client wrote it."""
    return flow.metadata.get(_USER)


def name_nothing(flow: http.HTTPFlow) -> None:
    """The user is who asks, and no conversation."""
    flow.metadata.pop(_USER, None)


def credentials(flow: http.HTTPFlow) -> tuple[str, str]:
    """User and password for this proxy; empty where there are none. With mitmproxy's option
    `proxyauth` the header is gone, and they are noted."""
    if noted := flow.metadata.get(_CHECKED):
        user, password = noted
        return user, password
    return basic(flow.request.headers.get(HEADER, ""))


def is_checked(flow: http.HTTPFlow) -> bool:
    """Whether mitmproxy's option `proxyauth` has been."""
    return _CHECKED in flow.metadata


def replace_credentials(flow: http.HTTPFlow, user: str, password: str) -> None:
    if is_checked(flow):
        flow.metadata[_CHECKED] = user, password
    if HEADER in flow.request.headers:
        told = b64encode(f"{user}:{password}".encode()).decode()
        flow.request.headers[HEADER] = f"Basic {told}"


def with_user(headers: dict[str, str], flow: http.HTTPFlow) -> dict[str, str]:
    """The headers of the flow, by name in lower case; where the proxy's user is told, there is his
    name alone, without scheme and password."""
    headers.pop(HEADER, None)
    if name := named(flow):
        headers[HEADER] = name
    return headers


def run(flow: http.HTTPFlow) -> str | None:
    """The id of the program's run that the flow comes from."""
    return flow.metadata.get(_RUN)


def _told(flow: http.HTTPFlow) -> _Told:
    """User and run. A user whom mitmproxy has checked is a person, all of whose conversations would
    become one. A password that is no id of a run is nobody's business here."""
    if is_checked(flow) and ctx.options.proxyauth != "any":
        return None, None
    user, password = credentials(flow)
    known = None if user == NOBODY else user or None
    return known, password if RUN_ID.fullmatch(password) else None


def basic(value: str) -> tuple[str, str]:
    """User and password of a header; empty where it has another scheme."""
    scheme, _, told = value.partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        user, _, password = b64decode(told.strip(), validate=True).decode().partition(":")
    except ValueError:  # neither base64 nor UTF-8
        return "", ""
    return user, password
