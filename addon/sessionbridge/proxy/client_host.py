"""The host that a client names in reverse mode.

mitmproxy puts the target's in its place before any hook. But that name alone tells a page that has
brought a name of its own to resolve to this machine (DNS rebinding): to the browser this is the
page's own server, and a GET to it has no Origin header.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary, WeakSet

from mitmproxy import connection, ctx, http
from mitmproxy.net.http import url
from mitmproxy.proxy import layer, mode_specs

from sessionbridge.proxy.connection_options import ConnectionOptions


class ClientHost:
    def __init__(self) -> None:
        self._left: WeakSet[connection.Client] = WeakSet()
        self._named: WeakKeyDictionary[http.HTTPFlow, str | None] = WeakKeyDictionary()

    def named(self, flow: http.HTTPFlow) -> str | None:
        """As the header has it, with its port; None where there is none, which no browser leaves
        out."""
        return self._named.get(flow, flow.request.host_header)

    def next_layer(self, nextlayer: layer.NextLayer) -> None:
        """Has mitmproxy leave the header for us to replace. To set its option would do more: the
        target would be asked for a certificate of the client's name."""
        context = nextlayer.context
        client = context.client
        if isinstance(client.proxy_mode, mode_specs.ReverseMode) and client not in self._left:
            _HostIsLeft(context.options).put_into(context)
            self._left.add(client)

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        if flow.client_conn not in self._left or flow.is_replay:
            return
        self._named[flow] = flow.request.host_header
        target = flow.server_conn
        if target.address and not ctx.options.keep_host_header:
            scheme = "https" if target.tls else "http"
            flow.request.host_header = url.hostport(scheme, *target.address[:2])


class _HostIsLeft(ConnectionOptions):
    keep_host_header = True
