"""The last word on whether a server is asked for its certificate before a request is seen."""

from __future__ import annotations

from collections.abc import Callable

from mitmproxy import tls
from mitmproxy.addonmanager import Loader


class LateTls:
    """mitmproxy's own TLS addon runs after scripts and asks for a server connection first; this one
    is added later still, and has the last word for hosts that are bridged."""

    name = "sessionbridge.late_tls"
    registered = False

    def __init__(self, bridged_host: Callable[[str], bool]) -> None:
        self._bridged_host = bridged_host

    def load(self, loader: Loader) -> None:
        self.registered = True

    def done(self) -> None:
        self.registered = False

    def tls_clienthello(self, data: tls.ClientHelloData) -> None:
        address = data.context.server.address
        host = data.client_hello.sni or (address[0] if address else "")
        if self._bridged_host(host):
            data.establish_server_tls_first = False
