"""Web pages that may use the bridge: those of this machine, and those an option lists."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from mitmproxy.http import Headers, HTTPFlow, Response

from sessionbridge.proxy import cors
from tests.support.addon_fixtures import KEYED, Proxy, is_bridged, make_flow, proxy, refusal

__all__ = ["proxy"]

PAGE = "http://localhost:5173"
FOREIGN = "https://example.com"
LISTED = ["app://obsidian.md", "vscode-webview://*", "chrome-extension://abc"]


@pytest.mark.parametrize(
    ("origin", "refused"),
    [
        (PAGE, False),
        ("http://127.0.0.1:3000", False),
        ("app://obsidian.md", False),
        ("vscode-webview://1b2c3d", False),
        ("chrome-extension://abc", False),
        ("chrome-extension://abcd", True),
        ("app://obsidian.md.evil", True),
        ("null", True),
        (FOREIGN, True),
    ],
)
def test_who_may(origin: str, refused: bool) -> None:
    assert cors.refuses({"origin": origin}, LISTED) is refused


def test_a_request_without_a_page() -> None:
    assert not cors.refuses({}, [])
    assert cors.refuses({"sec-fetch-site": "cross-site"}, LISTED)
    assert cors.answer_headers({}) == {}


def preflight(origin: str = PAGE, path: str = "/v1/messages", **more: str) -> HTTPFlow:
    headers = {"origin": origin, "access-control-request-method": "POST", **more}
    return make_flow(headers, b"", method=b"OPTIONS", path=path.encode())


def shared_with(headers: Headers) -> str | None:
    origin: str | None = headers.get("access-control-allow-origin")
    assert origin is None or headers["vary"] == "Origin"
    return origin


async def test_a_preflight_for_a_host_that_is_switched_on(proxy: Proxy, tmp_path: Path) -> None:
    flow = preflight(path="/api/v1/chat/completions")
    flow.request.data.host = "openrouter.ai"
    assert (await proxy.request(flow)).response is None
    toml = tmp_path / "bridge.toml"
    await asyncio.to_thread(toml.write_text, '[endpoints]\nuse = ["openrouter"]\n')
    proxy.set(sessionbridge_config=str(toml))
    answered = (await proxy.request(flow)).response
    assert answered is not None and answered.status_code == 204


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/chat/completions", "//v1/responses/"])
async def test_a_preflight_is_answered(proxy: Proxy, path: str) -> None:
    wanted = {"access-control-request-headers": "x-api-key,x-sessionbridge-session"}
    flow = await proxy.request(preflight(path=path, **wanted))
    assert flow.response is not None and flow.response.status_code == 204
    headers = flow.response.headers
    assert shared_with(headers) == PAGE
    assert headers["access-control-allow-headers"] == wanted["access-control-request-headers"]
    assert "POST" in headers["access-control-allow-methods"]
    assert "access-control-allow-private-network" not in headers


async def test_a_page_of_the_web_that_asks_for_this_network_is_told(proxy: Proxy) -> None:
    proxy.set(sessionbridge_allow_origins=["https://chat.example"])
    asks = {"access-control-request-private-network": "true"}
    flow = await proxy.request(preflight("https://chat.example", **asks))
    assert flow.response is not None
    assert flow.response.headers["access-control-allow-private-network"] == "true"


@pytest.mark.parametrize(
    "flow",
    [
        preflight(FOREIGN),
        preflight(path="/v1/embeddings"),
        make_flow({"origin": PAGE}, b"", method=b"OPTIONS"),
    ],
    ids=["of a foreign page", "of another path", "that is none"],
)
async def test_other_preflights_are_for_the_api(proxy: Proxy, flow: HTTPFlow) -> None:
    before = flow.get_state()
    assert (await proxy.request(flow)).get_state() == before


async def test_without_an_api_a_foreign_page_is_refused(proxy: Proxy) -> None:
    proxy.set(sessionbridge_upstream=False)
    status, body = refusal(await proxy.request(preflight(FOREIGN)))
    assert status == 403 and "sessionbridge_allow_origins" in json.dumps(body)
    asked = await proxy.request(preflight(path="/v1/models"))
    assert asked.response is not None


async def test_a_foreign_page_is_refused_before_its_turn(proxy: Proxy) -> None:
    flow = await proxy.request(make_flow({**KEYED, "origin": FOREIGN}))
    assert refusal(flow)[0] == 403 and not proxy.exchanges
    assert flow.response is not None and shared_with(flow.response.headers) is None
    proxy.set(sessionbridge_allow_origins=[FOREIGN])
    assert is_bridged(await proxy.request(make_flow({**KEYED, "origin": FOREIGN})))


async def test_answers_and_errors_can_be_read_by_the_page(proxy: Proxy) -> None:
    flow = await proxy.request(make_flow({**KEYED, "origin": PAGE}))
    assert is_bridged(flow)
    flow.response = Response.make(200, b"{}")
    proxy.responseheaders(flow)
    assert shared_with(flow.response.headers) == PAGE
    assert flow.response.headers["access-control-expose-headers"] == "*"
    refused = await proxy.request(make_flow({"x-sessionbridge-session": "\x01", "origin": PAGE}))
    assert refusal(refused)[0] == 400
    assert refused.response is not None and shared_with(refused.response.headers) == PAGE


async def test_what_passes_through_is_left_alone(proxy: Proxy) -> None:
    flow = make_flow({"origin": PAGE})
    flow.response = Response.make(200, b"{}")
    proxy.responseheaders(flow)
    assert shared_with(flow.response.headers) is None
