"""The real addon with its gateway in mitmproxy's own test context, and flows to hand to it."""

from __future__ import annotations

import json
import warnings
from collections.abc import AsyncIterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mitmproxy.hooks import ConfigureHook, DoneHook, Hook, RunningHook
from mitmproxy.http import Headers, HTTPFlow
from mitmproxy.proxy.layers.http import _hooks as http

from sessionbridge.config import Settings
from sessionbridge.proxy.addon import SessionBridge
from sessionbridge.turns.exchange import Exchange
from sessionbridge.turns.loopback import HOST, TICKET_HEADER, Loopback

with warnings.catch_warnings():
    # mitmproxy 12.2 calls pyparsing by names that pyparsing 3.3 deprecates.
    warnings.simplefilter("ignore", DeprecationWarning)
    from mitmproxy.addons.proxyserver import Proxyserver
    from mitmproxy.test import taddons, tflow, tutils

KEYED = {"x-sessionbridge-session": "chat-1"}
HELLO = json.dumps(
    {"model": "claude-x", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
).encode()


@dataclass
class Proxy:
    """`set` changes options as a user would."""

    addon: SessionBridge
    context: taddons.context

    def set(self, **values: Any) -> None:
        self.context.configure(self.addon, **values)

    @property
    def gateway(self) -> Loopback:
        return self.addon.loopback

    @property
    def settings(self) -> Settings:
        return self.addon.options.usable()

    @property
    def exchanges(self) -> list[Exchange]:
        """Those on their way through the gateway."""
        return self.addon.rerouting.exchanges()

    def told(self, event: Hook) -> None:
        """A hook, as mitmproxy calls it: that of each of the addons, in their order."""
        self.context.master.addons.invoke_addon_sync(self.addon, event)

    def configure(self, updated: AbstractSet[str]) -> None:
        self.told(ConfigureHook({*updated}))

    def running(self) -> None:
        self.told(RunningHook())

    def done(self) -> None:
        self.told(DoneHook())

    def http_connect(self, flow: HTTPFlow) -> None:
        self.told(http.HttpConnectHook(flow))

    def http_connected(self, flow: HTTPFlow) -> None:
        self.told(http.HttpConnectedHook(flow))

    async def request(self, flow: HTTPFlow) -> HTTPFlow:
        """The hooks of a request, as far as they lead before the server is connected to."""
        await self.requestheaders(flow)
        await self.requested(flow)
        return flow

    async def requestheaders(self, flow: HTTPFlow) -> None:
        await self.context.master.addons.invoke_addon(self.addon, http.HttpRequestHeadersHook(flow))

    async def requested(self, flow: HTTPFlow) -> None:
        await self.context.master.addons.invoke_addon(self.addon, http.HttpRequestHook(flow))

    def responseheaders(self, flow: HTTPFlow) -> None:
        self.told(http.HttpResponseHeadersHook(flow))

    def response(self, flow: HTTPFlow) -> None:
        self.told(http.HttpResponseHook(flow))

    def error(self, flow: HTTPFlow) -> None:
        self.told(http.HttpErrorHook(flow))


def make_flow(
    headers: dict[str, str] | None = None, content: bytes | None = HELLO, **request: Any
) -> HTTPFlow:
    """A POST to the Messages API from this machine; fields of the request by name."""
    fields = {
        "method": b"POST",
        "scheme": b"https",
        "host": "api.anthropic.com",
        "port": 443,
        "path": b"/v1/messages",
        "authority": b"",
        "content": content,
        "headers": Headers(
            [(b"host", b"api.anthropic.com"), (b"content-type", b"application/json")]
        ),
    }
    flow = tflow.tflow(req=tutils.treq(**fields | request))
    flow.client_conn.peername = ("127.0.0.1", 50000)
    for name, value in (headers or {}).items():
        flow.request.headers[name] = value
    return flow


def is_bridged(flow: HTTPFlow) -> bool:
    """On its way to the gateway, and nowhere else."""
    data = flow.request.data
    there = (data.scheme, data.host, data.port) == (b"http", HOST, data.port)
    return (
        there
        and flow.server_conn.address == (HOST, data.port)
        and flow.server_conn.via is None
        and TICKET_HEADER in flow.request.headers
        and flow.response is None
    )


def refusal(flow: HTTPFlow) -> tuple[int, Any]:
    """Status and JSON of an answer given by the addon itself."""
    assert flow.response is not None and flow.response.content is not None
    assert flow.response.headers["content-type"] == "application/json"
    return flow.response.status_code, json.loads(flow.response.content)


def new_context(addon: SessionBridge | None = None) -> taddons.context:
    """With mitmproxy's own addon that has the options of the proxy itself."""
    return taddons.context(Proxyserver(), *([addon] if addon else []))


@pytest.fixture
async def proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Proxy]:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SESSIONBRIDGE_HOME", raising=False)
    monkeypatch.delenv("SESSIONBRIDGE_MAPPER", raising=False)
    addon = SessionBridge()
    with new_context(addon) as context:
        made = Proxy(addon, context)
        made.set(sessionbridge_home=str(tmp_path / "home"), sessionbridge_spare=0)
        yield made
        made.done()
        await made.gateway.close()
