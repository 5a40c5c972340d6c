"""WebSockets of the Responses API: those that are answered here, and those that pass on.

The upgrade tells by its headers whose conversations a WebSocket is for, as a rule. Where it does
not, it passes on, and a frame that names one of ours all the same is kept back.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from weakref import WeakKeyDictionary, WeakSet

from mitmproxy import ctx, http

from sessionbridge import descriptors
from sessionbridge.apis.openai_responses.websocket import error_frame
from sessionbridge.errors import BadRequest, NoWebSocket, presentable
from sessionbridge.proxy import proxy_user
from sessionbridge.proxy.clients import Asking, Clients
from sessionbridge.proxy.guard import Guard
from sessionbridge.proxy.http_message import check_head, lowered
from sessionbridge.proxy.options import Options
from sessionbridge.proxy.ownership import check_unread, is_ours
from sessionbridge.proxy.rerouting import Rerouting
from sessionbridge.turns import frames
from sessionbridge.turns.exchange import Exchange
from sessionbridge.turns.frames import Frame
from sessionbridge.turns.naming import named
from sessionbridge.turns.request_meta import attempt, trace, wanted
from sessionbridge.turns.runtime import Runtime
from sessionbridge.turns.websocket import Socket

_KEPT_BYTES = 16 * 1024 * 1024
"""Of the frames of one WebSocket, which mitmproxy keeps as long as it is open."""

_FRAME = 500
"""Bytes that one takes beside its own."""

_NOT_SENT = (
    "This frame names a conversation of the bridge, and this WebSocket leads to the real API: it "
    "was not sent on. Name the conversation in a header of the upgrade, or send the request by "
    "POST."
)
_NAMES_NONE = (
    "This frame names no conversation, and this WebSocket leads to the bridge alone: name one, or "
    "send the request by POST."
)


class WebSockets:
    def __init__(
        self,
        options: Options,
        runtime: Runtime,
        rerouting: Rerouting,
        guard: Guard,
        clients: Clients,
    ) -> None:
        self._options = options
        self._clients = clients
        self._runtime = runtime
        self._rerouting = rerouting
        self._guard = guard
        self._passed: WeakSet[http.HTTPFlow] = WeakSet()
        self._kept: WeakKeyDictionary[http.HTTPFlow, int] = WeakKeyDictionary()

    async def serve(self, flow: http.HTTPFlow, api: str, headers: Mapping[str, str]) -> None:
        """An upgrade to a WebSocket on which turns may be asked for. Header names are in lower
        case. Raises `BridgeError`."""
        _check_upgrade(headers)
        if not await self._leads_here(headers):
            self._passed.add(flow)
            return
        self._guard.check(flow, self._options.usable())
        check_head(flow.request)
        descriptors.check(descriptors.OF_A_TURN)
        read = partial(self._read, headers)
        exchange = _Exchanges(self, flow, api, headers)
        begun, ended = self._rerouting.count, partial(self._rerouting.turn_ended, flow)
        socket = Socket(self._runtime.worker, read, exchange.of, begun, ended)
        self._rerouting.begin(flow, socket)
        flow.comment = "answered here · WebSocket"  # until a turn says more

    async def websocket_message(self, flow: http.HTTPFlow) -> None:
        if flow in self._rerouting:
            self._keep_few(flow)
        elif flow in self._passed:
            await self._look_at(flow)

    def asking(self, flow: http.HTTPFlow) -> Asking:
        return self._clients.asking(flow)

    async def allowed(self, flow: http.HTTPFlow, headers: Mapping[str, str], frame: Frame) -> None:
        """Raises `BridgeError` where it may not have a turn, or no longer."""
        await self._clients.identify(flow)
        self._guard.check(flow, self._options.usable())
        if not is_ours(frame.named, headers, self._options):
            raise BadRequest(_NAMES_NONE)

    async def _leads_here(self, headers: Mapping[str, str]) -> bool:
        """Also where these are the headers of a client that names conversations in its bodies."""
        origins = self._options.origins
        found = await named(origins, headers, b"", self._runtime.worker)
        if is_ours(found, headers, self._options):
            return True
        return found.origin is None and origins.named_in_body(headers)

    async def _read(self, headers: Mapping[str, str], body: bytes) -> Frame:
        return await frames.read(self._options.origins, headers, body, self._runtime.worker)

    async def _look_at(self, flow: http.HTTPFlow) -> None:
        """Keeps a frame back that may be ours. It is the last: the others wait for this hook."""
        assert flow.websocket is not None
        message, headers = flow.websocket.messages[-1], lowered(flow.request.headers)
        if not message.from_client:
            return
        origins, worker = self._options.origins, self._runtime.worker
        try:
            found = await named(origins, headers, message.content, worker)
            if not is_ours(found, headers, self._options):
                return check_unread(message.content, found, origins)
            error = presentable(BadRequest(_NOT_SENT))
        except Exception as failure:
            error = presentable(failure)
        message.drop()
        told = json.dumps(error_frame(error)).encode()
        ctx.master.commands.call("inject.websocket", flow, True, told)

    def _keep_few(self, flow: http.HTTPFlow) -> None:
        """Long ones are not kept whole, as those of event streams are not."""
        assert flow.websocket is not None
        messages = flow.websocket.messages
        size = self._kept.get(flow, 0) + len(messages[-1].content) + _FRAME
        if size > _KEPT_BYTES:
            del messages[:-1]
            size = 0
        self._kept[flow] = size


class _Exchanges:
    """Makes those of the turns of one WebSocket."""

    def __init__(
        self, sockets: WebSockets, flow: http.HTTPFlow, api: str, headers: Mapping[str, str]
    ) -> None:
        self._sockets = sockets
        self._flow = flow
        self._api = api
        self._headers = headers
        # They were sent with the upgrade: what they say of it they do not say of each turn.
        client = sockets.asking(flow).name
        self._attempt = replace(attempt(headers, client), again=False, key=None)

    async def of(self, frame: Frame) -> Exchange:
        await self._sockets.allowed(self._flow, self._headers, frame)
        sent = self._attempt
        if frame.generates:
            self._attempt = replace(sent, anew=False)  # that is asked for once
        run = proxy_user.run(self._flow)
        asking = self._sockets.asking(self._flow)
        return Exchange(
            self._api,
            asking.owning(frame.named.origin),
            sent,
            framed=True,
            run=run,
            rules=asking.rules,
            wanted=wanted(self._headers, frame.named),
            trace=trace(self._headers),
        )


def _check_upgrade(headers: Mapping[str, str]) -> None:
    """What mitmproxy does not know as a WebSocket it would pass on unseen."""
    if not ctx.options.websocket:
        raise NoWebSocket(
            "WebSockets are switched off at this proxy (mitmproxy's option websocket); send the "
            "request by POST."
        )
    version, key = (headers.get(f"sec-websocket-{name}") for name in ("version", "key"))
    upgrade, connection = (headers.get(name, "").lower() for name in ("upgrade", "connection"))
    alone = upgrade.strip() == "websocket" and "upgrade" in connection
    if version != "13" or not key or not alone:
        raise NoWebSocket(
            "This upgrade needs the headers Connection: Upgrade, Upgrade: websocket alone, "
            "Sec-WebSocket-Key and Sec-WebSocket-Version: 13 (RFC 6455); send them, or the request "
            "by POST."
        )
