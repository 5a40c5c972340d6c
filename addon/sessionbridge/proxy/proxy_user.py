"""The user that a client names in the proxy's address, `http://my-chat@127.0.0.1:8080`.

Clients send it as `Proxy-Authorization: Basic` (RFC 9110, 11.7.2; RFC 7617): for https once, with
the CONNECT of a connection, for http with each request. mitmproxy reads it only where its option
`proxyauth` is set, and then takes the header away; without that option it would send the header of
an http request on to the server (read in mitmproxy 12.3, `addons/proxyauth.py`).
"""

from __future__ import annotations

from base64 import b64decode
from weakref import WeakKeyDictionary

from mitmproxy import connection, http
from mitmproxy.proxy import mode_specs

HEADER = "proxy-authorization"
_METADATA = "sessionbridge_proxy_user"


class ProxyUser:
    name = "sessionbridge.proxy_user"

    def __init__(self) -> None:
        self._of_connection: WeakKeyDictionary[connection.Client, str] = WeakKeyDictionary()

    def http_connect(self, flow: http.HTTPFlow) -> None:
        if user := _told(flow):
            self._of_connection[flow.client_conn] = user

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        """Noted in the flow: one that is replayed comes by a connection that names nobody."""
        if user := _told(flow) or self._of_connection.get(flow.client_conn):
            flow.metadata[_METADATA] = user
        if isinstance(flow.client_conn.proxy_mode, mode_specs.RegularMode):
            flow.request.headers.pop(HEADER, None)  # it was for this proxy


def named(flow: http.HTTPFlow) -> str | None:
    """As the client wrote it."""
    return flow.metadata.get(_METADATA)


def _told(flow: http.HTTPFlow) -> str | None:
    """mitmproxy's own note comes first: with `proxyauth` the header is gone. A password is nobody's
    business here."""
    if noted := flow.metadata.get("proxyauth"):
        return str(noted[0])
    scheme, _, told = flow.request.headers.get(HEADER, "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        return b64decode(told.strip(), validate=True).decode().partition(":")[0] or None
    except ValueError:  # neither base64 nor UTF-8
        return None
