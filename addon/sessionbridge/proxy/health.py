"""Whether this node is to be sent turns, as load balancers ask it.

It holds nothing of a conversation, so it is for all whose turns are bridged, by whatever name: a
node that refuses the turns of another machine is not healthy for that machine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from mitmproxy import http

from sessionbridge.proxy.direct_responses import answer
from sessionbridge.proxy.guard import Guard
from sessionbridge.proxy.options import Options
from sessionbridge.turns.runtime import Runtime
from sessionbridge.turns.shutdown import Shutdown

PATH = "/health"

_FRESH = {"cache-control": "no-store"}


class Health:
    def __init__(
        self, options: Options, runtime: Runtime, guard: Guard, shutdown: Shutdown
    ) -> None:
        self._options = options
        self._runtime = runtime
        self._guard = guard
        self._shutdown = shutdown

    async def serve(self, flow: http.HTTPFlow) -> None:
        """Raises `Refused` for a machine that may not use the bridge, and `BridgeError` where the
        options are wrong."""
        if flow.request.method not in ("GET", "HEAD"):
            return answer(flow, 405, b"", {"allow": "GET, HEAD"})
        self._guard.check_machine(flow, self._options.usable())
        document = await self._document()
        status = 200 if document["status"] == "ready" else 503
        body = json.dumps(document).encode()
        answer(flow, status, body, _FRESH)
        if flow.request.method == "HEAD" and flow.response is not None:
            flow.response.data.content = b""  # the headers stay those of GET

    async def _document(self) -> Mapping[str, str]:
        if self._shutdown.begun:
            return {"status": "draining"}
        reachability = self._runtime.reachability
        if reachability is None:
            return {"status": "ready", "store": "off"}
        if await reachability.ask():
            return {"status": "ready", "store": "reachable"}
        return {"status": "unavailable", "store": "unreachable"}
