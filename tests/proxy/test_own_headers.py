"""What is meant for the bridge alone goes no further with what passes on to the real API."""

from __future__ import annotations

from typing import Any

import pytest
from mitmproxy.http import HTTPFlow

from sessionbridge.claude.cli.child_mark import CHILD_HEADER, child_secret
from tests.support.addon_fixtures import Proxy, is_bridged, make_flow, proxy, refusal
from tests.support.known_clients import add_client

__all__ = ["proxy"]

PROVIDER = {"x-sessionbridge-provider": "key"}
SESSION = {"x-sessionbridge-session": "chat-1"}
MODELS: dict[str, Any] = {"path": b"/v1/models", "method": b"GET", "content": b""}
UPGRADE = {
    "connection": "Upgrade",
    "upgrade": "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
}


def passed(flow: HTTPFlow) -> dict[str, str]:
    """The headers that leave with it, but for those of every flow."""
    assert flow.response is None and not is_bridged(flow)
    usual = {"host", "content-type", "content-length"}
    return {name: value for name, value in flow.request.headers.items() if name not in usual}


@pytest.mark.parametrize("name", ["new", "fallback", "anything"])
async def test_alone_they_name_no_conversation(proxy: Proxy, name: str) -> None:
    headers = {f"X-SessionBridge-{name}": "1", "x-api-key": "sk-ant-1", "x-other": "kept"}
    flow = await proxy.request(make_flow(headers))
    assert passed(flow) == {"x-api-key": "sk-ant-1", "x-other": "kept"}


async def test_nor_does_a_token(proxy: Proxy) -> None:
    token = add_client(proxy.settings.home)
    headers = {"x-sessionbridge-token": token, "x-api-key": "sk-ant-1"}
    assert passed(await proxy.request(make_flow(headers))) == {"x-api-key": "sk-ant-1"}


@pytest.mark.parametrize("headers", [SESSION, PROVIDER, {**SESSION, **PROVIDER}])
@pytest.mark.parametrize("host", ["api.anthropic.com", "example.org"])
async def test_what_asks_for_no_turn_passes_on_without_them(
    proxy: Proxy, headers: dict[str, str], host: str
) -> None:
    assert (
        passed(await proxy.request(make_flow({**headers, "host": host}, host=host, **MODELS))) == {}
    )


async def test_with_a_turn_they_reach_the_bridge(proxy: Proxy) -> None:
    flow = await proxy.request(make_flow({**SESSION, **PROVIDER}))
    assert is_bridged(flow) and proxy.exchanges[-1].wanted.provider == "key"


async def test_a_turn_that_names_a_provider_and_no_conversation_is_refused(proxy: Proxy) -> None:
    """The API itself would answer it, and be paid for it."""
    socket: dict[str, Any] = {"host": "api.openai.com", "path": b"/v1/responses"}
    socket |= {"method": b"GET", "content": b""}
    for flow in (make_flow(PROVIDER), make_flow({**PROVIDER, **UPGRADE}, **socket)):
        status, body = refusal(await proxy.request(flow))
        assert status == 400
        assert "X-SessionBridge-Provider: this request names no" in body["error"]["message"]
    assert passed(await proxy.request(make_flow({"x-sessionbridge-provider": " "}))) == {}


async def test_where_any_turn_is_answered_here_it_need_not_name_one(proxy: Proxy) -> None:
    proxy.set(sessionbridge_unkeyed="stateless")
    assert is_bridged(await proxy.request(make_flow(PROVIDER)))


async def test_what_may_leave_before_its_body_is_there_leaves_without_them(proxy: Proxy) -> None:
    proxy.context.options.update(stream_large_bodies="1")
    flow = make_flow({**SESSION, "host": "example.org"}, host="example.org")
    await proxy.requestheaders(flow)
    assert passed(flow) == {}


async def test_the_mark_of_a_cli_of_ours_goes_on(proxy: Proxy) -> None:
    mark = {CHILD_HEADER: child_secret(proxy.settings.home)}
    assert passed(await proxy.request(make_flow({**SESSION, **PROVIDER, **mark}))) == mark
