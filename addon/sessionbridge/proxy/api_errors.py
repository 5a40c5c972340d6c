"""What mitmproxy itself answers for a host of these APIs, as when the server cannot be reached: in
the words of the API, instead of a page for people."""

from __future__ import annotations

from typing import NamedTuple

from mitmproxy import http
from mitmproxy.proxy import events, layer, tunnel
from mitmproxy.proxy.layers.http import HttpLayer, HttpStream
from mitmproxy.proxy.layers.http._base import HttpEvent
from mitmproxy.proxy.layers.http._events import (
    ResponseData,
    ResponseEndOfMessage,
    ResponseHeaders,
    ResponseProtocolError,
)
from mitmproxy.proxy.layers.http._http1 import Http1Server

from sessionbridge.apis import SHAPES
from sessionbridge.errors import BadRequest, BridgeError, RequestTooLarge, Unreachable
from sessionbridge.names import shown
from sessionbridge.proxy import local_api
from sessionbridge.proxy.http_message import lowered
from sessionbridge.proxy.options import Options


class ApiErrors:
    """Added when mitmproxy's own addons are there: one of them chooses the layer for HTTP."""

    def __init__(self, options: Options) -> None:
        self._options = options

    def next_layer(self, nextlayer: layer.NextLayer) -> None:
        chosen = nextlayer.layer
        while isinstance(chosen, tunnel.TunnelLayer):  # a stack, as for TLS to the proxy itself
            chosen = chosen.child_layer
        if type(chosen) is HttpLayer:
            # There is no other way in; made anew it would stand in the stack of layers twice.
            chosen.__class__ = _HttpLayer
            chosen.api_errors = self  # type: ignore[attr-defined]  # it is ours since the line above

    def answer(self, flow: http.HTTPFlow, status: int) -> http.Response | None:
        """In the place of mitmproxy's page with this status; None where it is to be that."""
        request, sni, routes = flow.request, flow.client_conn.sni, self._options.routes
        if not routes.is_asked(request, sni):
            return None
        api = routes.api_at(request, sni)
        api = api or local_api.spoken(request.path, lowered(request.headers))
        failure, shape = _failure(status, request.pretty_host), SHAPES[api]
        body = shape.error_body(failure)
        told = {"content-type": "application/json"}
        response = http.Response.make(shape.status(failure), body, told)
        if request.method == "HEAD":
            response.raw_content = b""  # its length stays told
        return response


class _Answer(NamedTuple):
    """To the stream of this id, and what is sent behind it."""

    id: int
    response: http.Response
    end: HttpEvent


class _HttpLayer(HttpLayer):
    api_errors: ApiErrors

    def event_to_child(
        self, child: layer.Layer | HttpStream, event: events.Event
    ) -> layer.CommandGenerator[None]:
        """By this way all goes that is sent to the client, so it costs as little as can be."""
        if isinstance(event, ResponseProtocolError) and not isinstance(child, HttpStream):
            return self._told(child, event)
        return super().event_to_child(child, event)

    def _told(
        self, child: layer.Layer, event: ResponseProtocolError
    ) -> layer.CommandGenerator[None]:
        if (answer := self._answer(child, event)) is None:
            yield from super().event_to_child(child, event)
            return
        id_, content = answer.id, answer.response.raw_content
        yield from super().event_to_child(child, ResponseHeaders(id_, answer.response))
        if content:
            yield from super().event_to_child(child, ResponseData(id_, content))
        yield from super().event_to_child(child, answer.end)

    def _answer(self, child: layer.Layer, event: ResponseProtocolError) -> _Answer | None:
        status, stream = event.code.http_status_code(), self.streams.get(event.stream_id)
        flow = getattr(stream, "flow", None)  # it has none before it knows a request
        if status is None or flow is None or flow.response is not None:
            return None
        response = self.api_errors.answer(flow, status)
        if response is None:
            return None
        if isinstance(child, Http1Server):
            response.headers["connection"] = "close"
            return _Answer(event.stream_id, response, event)  # which ends the connection
        return _Answer(event.stream_id, response, ResponseEndOfMessage(event.stream_id))


def _failure(status: int, host: str) -> BridgeError:
    match status:
        case 400:
            return BadRequest("The request is no valid HTTP; the log of this proxy says why.")
        case 413:
            return RequestTooLarge(
                "The request body is larger than this proxy takes (body_size_limit); send less."
            )
    return Unreachable(
        f"There is no answer of {shown(host)} that could be passed on; the log of this proxy says "
        "why."
    )
