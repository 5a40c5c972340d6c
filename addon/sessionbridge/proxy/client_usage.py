"""What a client has used of its budgets and rates, for the client itself: by its token, from
wherever it may use the bridge."""

from __future__ import annotations

import json

from mitmproxy import http

from sessionbridge.errors import StoreUnavailable, Unauthorized
from sessionbridge.proxy.clients import NEEDED, Clients
from sessionbridge.proxy.direct_responses import answer
from sessionbridge.proxy.guard import Guard
from sessionbridge.proxy.options import Options
from sessionbridge.sessions.reports.spending import document
from sessionbridge.sessions.store.spending import Limited
from sessionbridge.turns.runtime import Runtime

PATH = "/usage"

_FRESH = {"cache-control": "no-store"}


class ClientUsage:
    def __init__(self, options: Options, runtime: Runtime, guard: Guard, clients: Clients) -> None:
        self._options = options
        self._runtime = runtime
        self._guard = guard
        self._clients = clients

    async def serve(self, flow: http.HTTPFlow) -> None:
        """Raises `BridgeError`."""
        if flow.request.method != "GET":
            return answer(flow, 405, b"", {"allow": "GET"})
        settings = self._options.usable()
        self._guard.check_machine(flow, settings)  # or others could ask which tokens are right
        await self._clients.identify(flow)
        self._guard.check(flow, settings)
        asking = self._clients.asking(flow)
        if not asking.name:
            raise Unauthorized(NEEDED)
        if self._runtime.reports is None:
            raise StoreUnavailable("Nothing is counted, as SESSIONBRIDGE_MAPPER=0 says.")
        limited = Limited("client", asking.name, asking.rules)
        told = document(limited, await self._runtime.reports.use(limited))
        answer(flow, 200, json.dumps(told).encode(), _FRESH)
