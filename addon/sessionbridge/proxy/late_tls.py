"""The last word on whether a server is asked for its certificate before a request is seen."""

from __future__ import annotations

from mitmproxy import tls

from sessionbridge.proxy.served_hosts import ServedHosts, is_unknown


class LateTls:
    """mitmproxy's own TLS addon runs after scripts and asks for a server connection first; this one
    is added later still, and has the last word for what may be bridged."""

    def __init__(self, served: ServedHosts) -> None:
        self._served = served

    def tls_clienthello(self, data: tls.ClientHelloData) -> None:
        """In reverse mode the client names the proxy, so the target is asked for too. Who is at a
        bare address and named by nobody is told by the request alone."""
        sni = data.client_hello.sni or ""
        host, port = (data.context.server.address or ("", 0))[:2]
        unnamed = not sni and is_unknown(host, port)
        if unnamed or any(self._served.are_at(name, port) for name in (sni, host)):
            data.establish_server_tls_first = False
