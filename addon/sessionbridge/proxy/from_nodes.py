"""What another node of the database passes on, or asks before it does. Who it came from, and what
that may do, has been judged there."""

from __future__ import annotations

from mitmproxy import ctx, http

from sessionbridge import descriptors
from sessionbridge.errors import ShuttingDown
from sessionbridge.proxy.direct_responses import answer
from sessionbridge.proxy.flow_list import FlowList
from sessionbridge.proxy.http_message import check_head
from sessionbridge.proxy.rerouting import Rerouting
from sessionbridge.turns.passing_on import HEADER, PassingOn
from sessionbridge.turns.runtime import Runtime
from sessionbridge.turns.shutdown import Shutdown


class FromNodes:
    def __init__(
        self, runtime: Runtime, shutdown: Shutdown, rerouting: Rerouting, flow_list: FlowList
    ) -> None:
        self._runtime = runtime
        self._shutdown = shutdown
        self._rerouting = rerouting
        self._list = flow_list

    async def serve(self, flow: http.HTTPFlow) -> bool:
        """Whether the flow is one of these. The header of anybody else goes no further. An answer
        that does not name this node is not the turn's, and the other takes it over then. Raises
        `Refused` for what a node has sealed and is not to be answered here, or not again."""
        sealed, passing_on = flow.request.headers.pop(HEADER, None), self._runtime.passing_on
        if sealed is None or passing_on is None:
            return False
        if flow.request.method == "GET":
            return await self._tell(flow, sealed, passing_on)
        exchange = await passing_on.passed(sealed, flow.request.raw_content or b"")
        if exchange is None:
            return False
        self._check_open()
        check_head(flow.request)
        descriptors.check(descriptors.OF_A_TURN)
        self._rerouting.begin(flow, exchange)
        return True

    async def _tell(self, flow: http.HTTPFlow, sealed: str, passing_on: PassingOn) -> bool:
        told = await passing_on.told(sealed)
        if told is None:
            return False
        self._check_open()
        answer(flow, 204, b"", {HEADER: told})
        self._list.page(flow, ctx.master.addons.get("view"))
        return True

    def _check_open(self) -> None:
        if self._shutdown.begun:
            raise ShuttingDown("The proxy is shutting down; try again.")
