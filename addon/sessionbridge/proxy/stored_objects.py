"""Requests for what the bridge has answered before, by its id: answered here where the id tells
that it was made here, and where no API is behind the proxy. All others pass on."""

from __future__ import annotations

import json
from collections.abc import Mapping

from mitmproxy import http

from sessionbridge.apis.common.ids import is_made_here
from sessionbridge.errors import NotFound
from sessionbridge.proxy.direct_responses import answer, share
from sessionbridge.proxy.guard import Guard
from sessionbridge.proxy.local_server import LocalServer
from sessionbridge.proxy.options import Options
from sessionbridge.proxy.routing import ObjectPath
from sessionbridge.turns.naming import named
from sessionbridge.turns.request_meta import attempt
from sessionbridge.turns.runtime import Runtime


class StoredObjects:
    def __init__(
        self, options: Options, runtime: Runtime, guard: Guard, local: LocalServer
    ) -> None:
        self._options = options
        self._runtime = runtime
        self._guard = guard
        self._local = local

    def asked(self, flow: http.HTTPFlow) -> ObjectPath | None:
        """What the flow asks for, where that is ours to answer."""
        found = self._options.routes.object_at(flow.request, flow.client_conn.sni)
        if found is None or not (is_made_here(found.rest[0]) or self._local.is_meant(flow)):
            return None
        return found

    async def serve(
        self, flow: http.HTTPFlow, path: ObjectPath, headers: Mapping[str, str]
    ) -> None:
        """Header names are in lower case. Raises `BridgeError`."""
        self._guard.check(flow, self._options.usable())
        found = await named(self._options.origins, headers, b"", self._runtime.worker)
        id_, *further = path.rest
        asks = id_, found.origin, attempt(headers).caller
        responses, query = self._runtime.responses, dict(flow.request.query)
        match flow.request.method, further:
            case "GET", []:
                told = await responses.retrieve(*asks)
            case "GET", ["input_items"]:
                told = await responses.input_items(*asks, query)
            case "DELETE", []:
                told = await responses.delete(*asks)
            case method, _:
                raise NotFound(f"There is no {method} at this address of a response.")
        answer(flow, 200, json.dumps(told).encode())
        share(flow, self._options.allow_origins)
        flow.comment = "answered here · response"
