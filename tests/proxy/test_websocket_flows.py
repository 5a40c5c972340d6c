"""The flows of WebSockets as mitmproxy hands them to the addon."""

from __future__ import annotations

import json

from mitmproxy.http import HTTPFlow, Response
from mitmproxy.proxy.layers.websocket import WebsocketEndHook, WebsocketMessageHook
from mitmproxy.websocket import WebSocketData, WebSocketMessage

from sessionbridge.turns.loopback import TICKET_HEADER
from sessionbridge.turns.websocket import Socket
from tests.support.addon_fixtures import KEYED, Proxy, is_bridged, make_flow, proxy, refusal

__all__ = ["proxy"]

TEXT = 1
"""The opcode of a text frame (RFC 6455, 5.2)."""

ASKED = {"type": "response.create", "model": "gpt-5", "input": "hi"}


def upgrade(headers: dict[str, str] | None = None, path: bytes = b"/v1/responses") -> HTTPFlow:
    asked = {
        "host": "api.openai.com",
        "connection": "Upgrade",
        "upgrade": "WebSocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==",
        **(headers or {}),
    }
    return make_flow(asked, b"", method=b"GET", host="api.openai.com", path=path)


async def test_an_upgrade_is_led_here_as_it_is(proxy: Proxy) -> None:
    proxy.context.options.update(stream_large_bodies="1k")
    flow = await proxy.request(upgrade(KEYED))
    assert is_bridged(flow) and "transfer-encoding" not in flow.request.headers
    assert proxy.exchanges == []  # an idle one keeps no proxy from ending
    flow.response = Response.make(101, b"", {"upgrade": "websocket"})
    flow.websocket = WebSocketData()
    proxy.responseheaders(flow)
    proxy.response(flow)
    assert flow.request.host == "api.openai.com" and flow in proxy.addon.rerouting
    proxy.told(WebsocketEndHook(flow))
    assert flow not in proxy.addon.rerouting


async def test_its_turns_are_in_the_trace_of_the_upgrade(proxy: Proxy) -> None:
    trace = {"traceparent": "00-a-b-01", "tracestate": "vendor=1"}
    flow = await proxy.request(upgrade({**KEYED, **trace}))
    socket = proxy.gateway.expected(flow.request.headers[TICKET_HEADER])
    assert isinstance(socket, Socket)
    frame = await socket.read(json.dumps(ASKED).encode())
    assert (await socket.exchange(frame)).trace == trace


async def test_what_mitmproxy_would_not_see_into_does_not_pass(proxy: Proxy) -> None:
    flow = await proxy.request(upgrade({"sec-websocket-version": "8"}))
    assert refusal(flow)[0] == 426
    assert refusal(await proxy.request(upgrade({"upgrade": "websocket/13"})))[0] == 426
    proxy.context.options.update(websocket=False)
    assert refusal(await proxy.request(upgrade()))[0] == 426
    assert (await proxy.request(upgrade(path=b"/v1/realtime"))).response is None


async def test_while_the_options_are_wrong_nothing_passes(proxy: Proxy) -> None:
    flow = await proxy.request(upgrade())
    assert flow.response is None
    flow.websocket = WebSocketData()
    proxy.addon.options.settings = None
    assert refusal(await proxy.request(upgrade()))[0] == 500
    message = WebSocketMessage(TEXT, True, json.dumps(ASKED).encode())
    flow.websocket.messages.append(message)
    await proxy.context.master.addons.invoke_addon(proxy.addon, WebsocketMessageHook(flow))
    assert message.dropped


async def test_a_long_one_is_not_kept_whole(proxy: Proxy) -> None:
    flow = await proxy.request(upgrade(KEYED))
    flow.websocket = WebSocketData()
    for _ in range(20):
        flow.websocket.messages.append(WebSocketMessage(TEXT, False, b"x" * 1_000_000))
        await proxy.context.master.addons.invoke_addon(proxy.addon, WebsocketMessageHook(flow))
    assert 1 <= len(flow.websocket.messages) < 17


async def test_other_machines_may_not_open_one(proxy: Proxy) -> None:
    flow = upgrade(KEYED)
    flow.client_conn.peername = ("192.0.2.1", 50000)
    assert refusal(await proxy.request(flow))[0] == 403
