"""The proxy as a local API server, where no API is behind it (`sessionbridge_upstream=false`)."""

from __future__ import annotations

from collections.abc import Mapping

from mitmproxy import http
from mitmproxy.proxy import mode_specs

from sessionbridge.errors import NoWebSocket
from sessionbridge.proxy import local_api
from sessionbridge.proxy.clients import Clients
from sessionbridge.proxy.direct_responses import answer, share
from sessionbridge.proxy.guard import Guard
from sessionbridge.proxy.options import Options
from sessionbridge.proxy.routing import hosts_of, is_upgrade
from sessionbridge.turns.providers import names_for
from sessionbridge.turns.runtime import Runtime


class LocalServer:
    def __init__(self, options: Options, runtime: Runtime, guard: Guard, clients: Clients) -> None:
        self._options = options
        self._runtime = runtime
        self._guard = guard
        self._clients = clients

    def is_meant(self, flow: http.HTTPFlow) -> bool:
        """In reverse mode everything is meant for the target, whatever host the client names;
        elsewhere the target's name is that of some other server."""
        if self._options.upstream:
            return False
        if isinstance(flow.client_conn.proxy_mode, mode_specs.ReverseMode):
            return True
        routes, request = self._options.routes, flow.request
        hosts = hosts_of(request, flow.client_conn.sni)
        return any(routes.bridged_by_name(host, request.port) for host in hosts)

    async def serve(self, flow: http.HTTPFlow, headers: Mapping[str, str]) -> None:
        """Raises `BridgeError` for what it does not answer. Header names are in lower case."""
        settings = self._options.usable()
        self._guard.check(flow, settings)
        request = flow.request
        if is_upgrade(request):
            raise NoWebSocket(local_api.NO_WEBSOCKET)
        body = request.raw_content or b""
        inquiry = local_api.inquiry(request.method, request.path, headers, body)
        # The first time a process has to be started for it, which takes most of a second.
        models = () if inquiry.version else await self._runtime.models()
        asking = self._clients.asking(flow)
        names = names_for(asking.name, asking.rules, settings)
        answer(flow, 200, local_api.answer(inquiry, models, names))
        if request.method == "HEAD" and flow.response:
            flow.response.raw_content = b""  # its length stays told
        share(flow, self._options.allow_origins)
        flow.comment = "answered here · models"
