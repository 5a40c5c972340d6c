"""A client may ask what is left of its budgets, and nobody else may."""

from __future__ import annotations

import json

import pytest
from mitmproxy.http import HTTPFlow
from mitmproxy.proxy.mode_specs import ProxyMode

from sessionbridge.allowances import Budget, ClientRules
from sessionbridge.proxy import operator_pages
from tests.support.addon_fixtures import Proxy, make_flow, proxy
from tests.support.known_clients import add_client

__all__ = ["proxy"]

RULES = ClientRules(budgets=(Budget(per="day", tokens=500),), turns_at_once=3)


def asked(
    peer: str = "127.0.0.1", method: bytes = b"GET", query: str = "", **headers: str
) -> HTTPFlow:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    path = f"/.sessionbridge/usage{query}".encode()
    flow = make_flow({"host": "127.0.0.1:8080"} | named, b"", path=path, method=method)
    flow.client_conn.proxy_mode = ProxyMode.parse("reverse:https://a.example")
    flow.client_conn.peername = (peer, 50000)
    return flow


async def status(proxy: Proxy, flow: HTTPFlow) -> int:
    await proxy.request(flow)
    assert flow.response is not None
    return flow.response.status_code


@pytest.mark.parametrize("peer", ["127.0.0.1", "192.0.2.9"])
async def test_a_client_is_told_by_its_token(proxy: Proxy, peer: str) -> None:
    proxy.set(sessionbridge_allow_remote=True)
    token = add_client(proxy.settings.home, "ann", RULES)
    add_client(proxy.settings.home, "bob")
    by_name = make_flow(
        {"x-sessionbridge-token": token},
        b"",
        host=operator_pages.HOST,
        path=b"/usage",
        method=b"GET",
    )
    for flow in (asked(peer, x_api_key=token), by_name):
        assert await status(proxy, flow) == 200
        assert flow.response is not None and flow.response.content is not None
        document = json.loads(flow.response.content)
        assert document.pop("budgets")[0]["left"] == 500
        assert document == {
            "name": "ann",
            "rates": {
                "turns_a_minute": {"limit": None, "used": 0},
                "turns_at_once": {"limit": 3, "used": 0},
            },
        }


async def test_nobody_else_is(proxy: Proxy) -> None:
    token = add_client(proxy.settings.home, "ann", RULES)
    assert await status(proxy, asked()) == 401
    assert await status(proxy, asked(x_api_key=f"{token}x")) == 401
    for sent in (token, f"{token}x"):  # nor told whether it is a right one
        assert await status(proxy, asked("192.0.2.9", x_api_key=sent)) == 403
    assert proxy.addon.errors.counts == {"Unauthorized": 2, "Refused": 2}
    assert await status(proxy, asked(query=f"?token={token}")) == 400
    assert await status(proxy, asked(method=b"POST", x_api_key=token)) == 405
