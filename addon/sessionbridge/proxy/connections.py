"""No server is connected to for what is answered here: it may be out of reach, and whoever looks at
the wire would see a request that is none."""

from __future__ import annotations

from mitmproxy import connection, ctx, http
from mitmproxy.addonmanager import Loader
from mitmproxy.proxy import layer
from mitmproxy.proxy.layers.http import HttpLayer, HttpStream

from sessionbridge.proxy.api_errors import ApiErrors
from sessionbridge.proxy.joined_hooks import join
from sessionbridge.proxy.late_connections import waiting
from sessionbridge.proxy.late_http import LateHttp
from sessionbridge.proxy.late_tls import LateTls
from sessionbridge.proxy.options import Options, concern_us
from sessionbridge.proxy.patient_layer import PatientLayer
from sessionbridge.proxy.served_hosts import ServedHosts

_TCP_TIMEOUT_MARGIN = 60
"""Seconds mitmproxy waits longer for a silent client than a turn may last."""


class _Late:
    """Those whose place is behind mitmproxy's own addons, which come after scripts."""

    name = "sessionbridge.late"
    registered = False

    def __init__(self, *parts: object) -> None:
        join(self, parts)

    def load(self, loader: Loader) -> None:
        self.registered = True

    def done(self) -> None:
        self.registered = False


class Connections:
    def __init__(self, options: Options) -> None:
        self._options = options
        self._served = ServedHosts(options)
        self._late = _Late(LateTls(self._served), LateHttp(self._served), ApiErrors(options))

    def configure(self, updated: set[str]) -> None:
        if not concern_us(updated):
            return
        patience = self._options.usable().timeout + _TCP_TIMEOUT_MARGIN
        if ctx.options.tcp_timeout < patience:
            ctx.options.update(tcp_timeout=patience)

    def running(self) -> None:
        ctx.master.addons.add(self._late)

    def done(self) -> None:
        if self._late.registered:
            ctx.master.addons.remove(self._late)

    def client_connected(self, client: connection.Client) -> None:
        handler = ctx.master.addons.get("proxyserver").connections.get(client.id)
        if handler is not None and client.transport_protocol == "tcp":
            handler.layer = waiting(handler.layer, self._served)

    def http_connect(self, flow: http.HTTPFlow) -> None:
        """Accepts the tunnel without a connection to the server."""
        if flow.response is None and self._served.are_at(flow.request.host, flow.request.port):
            flow.response = http.Response.make(200)
            flow.response.headers.clear()

    def http_connected(self, flow: http.HTTPFlow) -> None:
        """Has a tunnel that was accepted so wait no longer than a second where others are served as
        well. mitmproxy has made its own layer for it by now, and has yet to start it."""
        place = flow.request.host, flow.request.port
        if not (self._served.are_at(*place) and self._served.share(*place)):
            return
        if ctx.options.connection_strategy != "eager":
            return
        stream = _stream(flow)
        if stream is not None and isinstance(stream.child_layer, layer.NextLayer):
            stream.child_layer = PatientLayer(stream.context)


def _stream(flow: http.HTTPFlow) -> HttpStream | None:
    handler = ctx.master.addons.get("proxyserver").connections.get(flow.client_conn.id)
    if handler is None:
        return None
    http_layers = (one for one in handler.layer.context.layers if isinstance(one, HttpLayer))
    streams = (stream for one in http_layers for stream in one.streams.values())
    return next((stream for stream in streams if stream.flow is flow), None)
