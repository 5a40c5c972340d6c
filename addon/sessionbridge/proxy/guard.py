"""Who may use the bridge: it answers with this machine's Claude login. And by which names it is
reached in reverse mode, where whatever arrives is meant for the target."""

from __future__ import annotations

from mitmproxy import connection, http
from mitmproxy.proxy import mode_specs

from sessionbridge.addresses import is_address, plain_host
from sessionbridge.config import Settings
from sessionbridge.errors import Refused, ShuttingDown, Unauthorized
from sessionbridge.names import shown
from sessionbridge.proxy import cors
from sessionbridge.proxy.client_host import ClientHost
from sessionbridge.proxy.clients import NEEDED, Clients
from sessionbridge.proxy.options import Options
from sessionbridge.proxy.own_names import (
    host_and_port,
    is_on_this_machine,
    is_reached_as,
    own_names,
)
from sessionbridge.proxy.routing import is_loopback
from sessionbridge.turns.shutdown import Shutdown


class Guard:
    def __init__(
        self, options: Options, shutdown: Shutdown, client_host: ClientHost, clients: Clients
    ) -> None:
        self._options = options
        self._shutdown = shutdown
        self._client_host = client_host
        self._clients = clients

    def check_host(self, flow: http.HTTPFlow) -> None:
        """Raises `Refused` in reverse mode for a name that is nobody's who may use the bridge. That
        of the target is the target's own, which others cannot have resolve to this machine."""
        if not isinstance(flow.client_conn.proxy_mode, mode_specs.ReverseMode):
            return
        host = self._client_host.named(flow)
        if not host or is_reached_as(host, flow):
            return
        name, port = host_and_port(host)
        target, routes = plain_host(flow.client_conn.proxy_mode.address[0]), self._options.routes
        if is_address(name) or name == target or routes.bridged_by_name(name, port or 443):
            return  # no name that others could have resolve to this machine
        listed = self._options.allow_origins
        known = f"{name}:{port}" if port else name
        if not any(cors.is_listed(f"{scheme}://{known}", listed) for scheme in ("http", "https")):
            raise Refused(
                f"Host: {shown(name)} is not what this proxy is known as; use an address of this "
                "machine, or list the name in sessionbridge_allow_origins, as http://name:port, or "
                "as http://name where the port is 80."
            )

    def check(self, flow: http.HTTPFlow, settings: Settings) -> None:
        """Raises the `BridgeError` that says why not."""
        if self._shutdown.begun:
            raise ShuttingDown("The proxy is shutting down; try again.")
        self.check_machine(flow, settings)
        if settings.require_token or is_remote(flow.client_conn):
            self._check_known(flow)
        if cors.refuses(flow.request.headers, settings.allow_origins, own_names(flow)):
            raise page_refused()

    def check_machine(self, flow: http.HTTPFlow, settings: Settings) -> None:
        """Raises `Refused` where only this machine may use the bridge, and another one asks."""
        if not settings.allow_remote and is_remote(flow.client_conn):
            address, mode = flow.client_conn.peername[0], flow.client_conn.proxy_mode
            raise Refused(
                f"Requests from {address}, another machine in {mode.type_name} mode, are not "
                "bridged; set sessionbridge_allow_remote to let clients on other machines use this "
                "machine's Claude (sessionbridge clients add NAME)."
            )

    def _check_known(self, flow: http.HTTPFlow) -> None:
        if not self._clients.asking(flow).name:
            raise Unauthorized(NEEDED)


def is_remote(client: connection.Client) -> bool:
    """Whether another machine asks. What the machine itself sends has other addresses than that of
    loopback where the system leads it to the proxy: in local mode some of mitmproxy's, else its own
    (measured with 12.3.1)."""
    if client.peername is None or is_loopback(client.peername[0]):
        return False
    match client.proxy_mode:
        case mode_specs.LocalMode():
            return False
        case mode_specs.TransparentMode() | mode_specs.TunMode():
            return not is_on_this_machine(client.peername[0])
    return True


def page_refused() -> Refused:
    return Refused(
        "Requests made by web pages of other hosts are not bridged; sessionbridge_allow_origins "
        "lists those that may."
    )
