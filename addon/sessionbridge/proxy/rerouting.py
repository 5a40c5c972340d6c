"""The way of a flow to the loopback server and back: its address is changed there, and is its own
again as soon as the answer begins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from mitmproxy import connection, ctx, hooks, http

from sessionbridge.proxy.direct_responses import share
from sessionbridge.proxy.flow_notes import annotate
from sessionbridge.proxy.options import Options
from sessionbridge.turns.exchange import Exchange, Replay
from sessionbridge.turns.loopback import HOST, TICKET_HEADER, Loopback
from sessionbridge.turns.shutdown import Shutdown
from sessionbridge.turns.websocket import Socket


@dataclass(frozen=True, slots=True)
class _Way:
    """The address is the one that the flow was really for."""

    what: Exchange | Socket | Replay
    ticket: str
    scheme: bytes
    host: str
    port: int

    @property
    def exchanges(self) -> Sequence[Exchange]:
        match self.what:
            case Exchange():
                return [self.what]
            case Socket():
                return self.what.running
        return ()  # what is sent once more is no turn


class Rerouting:
    """`ended` is told of each turn with what became of it, `closed` of each flow that is over. A
    WebSocket is one flow, with as many turns as are asked for on it."""

    def __init__(
        self,
        options: Options,
        loopback: Loopback,
        shutdown: Shutdown,
        ended: Callable[[http.HTTPFlow, Exchange], None],
        closed: Callable[[http.HTTPFlow], None],
    ) -> None:
        self._options = options
        self._loopback = loopback
        self._shutdown = shutdown
        self._ended = ended
        self._closed = closed
        self._under_way: dict[str, _Way] = {}
        self._going_on: list[Exchange] = []
        """Those whose flows are over, in the order these ended."""

    def __contains__(self, flow: http.HTTPFlow) -> bool:
        return flow.id in self._under_way

    def exchanges(self) -> list[Exchange]:
        """Those under way, in the order their flows came."""
        theirs = [exchange for way in self._under_way.values() for exchange in way.exchanges]
        return [*self._going_on, *theirs]

    def begin(self, flow: http.HTTPFlow, what: Exchange | Socket | Replay) -> None:
        request, data = flow.request, flow.request.data
        ticket, port = self._loopback.expect(what)
        self._under_way[flow.id] = _Way(what, ticket, data.scheme, data.host, data.port)
        request.headers[TICKET_HEADER] = ticket
        request.trailers = None  # the API has none, and mitmproxy cannot send them over HTTP/1
        request.method = request.method  # in capitals, as it is told, whatever the client wrote
        if "transfer-encoding" in request.headers:
            pass  # mitmproxy cuts the body into chunks again; a length beside them is refused
        elif request.raw_content is not None:
            # HTTP/2 requests may lack it, and would reach the loopback server without a body.
            request.headers["content-length"] = str(len(request.raw_content))
        # The fields, not the properties: those would rewrite the Host header too.
        data.scheme, data.host, data.port = b"http", HOST, port
        # A new connection: in upstream mode the old one leads through the upstream proxy.
        flow.server_conn = connection.Server(address=(HOST, port))
        self.count()

    def count(self) -> None:
        """To be called whenever a turn has begun or ended."""
        self._shutdown.turns(len(self.exchanges()))

    def turn_ended(self, flow: http.HTTPFlow, exchange: Exchange) -> None:
        """One on a WebSocket, which may have ended before it."""
        if exchange in self._going_on:
            self._going_on.remove(exchange)
        else:
            annotate(flow, exchange)
        self._ended(flow, exchange)
        self.count()

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        if self._restore(flow):
            share(flow, self._options.allow_origins)

    def response(self, flow: http.HTTPFlow) -> None:
        if flow.websocket is None:
            self._end(flow)

    def websocket_end(self, flow: http.HTTPFlow) -> None:
        self._end(flow)

    def error(self, flow: http.HTTPFlow) -> None:
        self._restore(flow)
        self._end(flow, is_left=True)

    def _restore(self, flow: http.HTTPFlow) -> bool:
        """The saved flow shows where the client wanted to go, and keeps no secret. Whether it was
        one of these."""
        way = self._under_way.get(flow.id)
        if way is None:
            return False
        data = flow.request.data
        data.scheme, data.host, data.port = way.scheme, way.host, way.port
        flow.request.headers.pop(TICKET_HEADER, None)
        return True

    def _end(self, flow: http.HTTPFlow, *, is_left: bool = False) -> None:
        """What a turn has used that its client has left is known only once its CLI has ended; flows
        are looked at now."""
        way = self._under_way.pop(flow.id, None)
        if way is None:
            return
        answering = self._loopback.forget(way.ticket)
        for exchange in way.exchanges:
            task = exchange.outcome.goes_on or (answering if is_left else None)
            if exchange.framed:
                annotate(flow, exchange)
                self._going_on.append(exchange)
            elif task is None or task.done():
                annotate(flow, exchange)
                self._ended(flow, exchange)
            else:
                if task is answering:
                    annotate(flow, exchange)
                self._going_on.append(exchange)
                task.add_done_callback(partial(self._is_over, flow, exchange))
        self._closed(flow)
        self.count()

    def _is_over(self, flow: http.HTTPFlow, exchange: Exchange, _: object) -> None:
        goes_on = exchange.outcome.goes_on
        if goes_on is not None and not goes_on.done():  # it began to once the client had left
            goes_on.add_done_callback(partial(self._is_over, flow, exchange))
            return
        self._going_on.remove(exchange)
        annotate(flow, exchange)
        self._ended(flow, exchange)
        ctx.master.addons.trigger(hooks.UpdateHook([flow]))  # mitmweb has shown it by now
        self.count()
