"""Who may use the bridge: it answers with this machine's Claude login."""

from __future__ import annotations

from mitmproxy import http

from sessionbridge.config import Settings
from sessionbridge.errors import Refused, ShuttingDown
from sessionbridge.proxy import cors
from sessionbridge.proxy.routing import is_loopback
from sessionbridge.turns.shutdown import Shutdown


class Guard:
    def __init__(self, shutdown: Shutdown) -> None:
        self._shutdown = shutdown

    def check(self, flow: http.HTTPFlow, settings: Settings) -> None:
        """Raises the `BridgeError` that says why not."""
        if self._shutdown.begun:
            raise ShuttingDown("The proxy is shutting down; try again.")
        peer = flow.client_conn.peername
        if peer is not None and not settings.allow_remote and not is_loopback(peer[0]):
            raise Refused(
                f"Requests from {peer[0]} are not bridged; set sessionbridge_allow_remote to let "
                "other machines use this machine's Claude."
            )
        if cors.refuses(flow.request.headers, settings.allow_origins):
            raise page_refused()


def page_refused() -> Refused:
    return Refused(
        "Requests made by web pages of other hosts are not bridged; sessionbridge_allow_origins "
        "lists those that may."
    )
