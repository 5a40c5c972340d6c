"""Where the operator's pages are, and for whom: in mitmproxy's own test context."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NoReturn

import pytest
from mitmproxy.http import HTTPFlow
from mitmproxy.proxy.mode_specs import ProxyMode

from sessionbridge.proxy import operator_pages
from tests.support.addon_fixtures import Proxy, make_flow, proxy

__all__ = ["proxy"]


def page(path: str, method: bytes = b"GET", **headers: str) -> HTTPFlow:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return make_flow(
        named, content=b"", host=operator_pages.HOST, path=path.encode(), method=method
    )


def below(path: str, method: bytes = b"GET", mode: str = "reverse:https://a.example") -> HTTPFlow:
    flow = make_flow({"host": "127.0.0.1:8080"}, b"", path=path.encode(), method=method)
    flow.client_conn.proxy_mode = ProxyMode.parse(mode)
    return flow


async def answered(proxy: Proxy, flow: HTTPFlow) -> int:
    await proxy.request(flow)
    return flow.response.status_code if flow.response else 0


async def test_the_page_has_a_host_of_its_own(proxy: Proxy) -> None:
    flow = page("/")
    assert await answered(proxy, flow) == 200
    assert flow.response is not None and flow.response.headers["content-type"].startswith("text/")
    assert "'self'" in flow.response.headers["content-security-policy"]
    assert flow.response.headers["x-content-type-options"] == "nosniff"


async def test_in_reverse_mode_it_is_below_a_reserved_path(proxy: Proxy) -> None:
    assert await answered(proxy, below("/.sessionbridge/?since=7d")) == 200
    flow = below("/.sessionbridge")
    assert await answered(proxy, flow) == 308
    assert flow.response is not None and flow.response.headers["location"] == "/.sessionbridge/"
    other = below("/.sessionbridges/")
    assert await answered(proxy, other) == 0


@pytest.mark.parametrize("path", ["/", "/metrics", "/plotly.js"])
async def test_in_reverse_mode_it_has_no_other_name(proxy: Proxy, path: str) -> None:
    """A page that has brought its own to resolve to this machine reads nothing by it."""
    proxy.set(sessionbridge_allow_origins=["http://listed.example"])
    for host, status in OTHER_NAMES.items():
        flow = below(f"/.sessionbridge{path}")
        flow.request.headers["host"] = host
        assert (await answered(proxy, flow) == 403) == (status == 403), host


OTHER_NAMES = {
    "evil.example:8080": 403,
    "listed.example": 403,
    "a.example": 403,  # the target
    "sessionbridge.local": 403,
    "": 200,
    "localhost:8080": 200,
    "[::1]:8080": 200,
}


async def test_its_host_is_found_through_the_proxy_alone(proxy: Proxy) -> None:
    """Asked at the proxy's own port, that name has been brought to resolve to this machine."""
    flow = page("/metrics")
    flow.client_conn.sockname = ("127.0.0.1", 8080)
    flow.request.port = 8080
    assert await answered(proxy, flow) == 403


async def test_elsewhere_that_path_is_the_servers(proxy: Proxy) -> None:
    assert await answered(proxy, below("/.sessionbridge/", mode="regular")) == 0


async def test_what_is_said_is_asked_by_post(proxy: Proxy) -> None:
    flow = page("/api/overview?since=24h", b"POST")
    assert await answered(proxy, flow) == 200
    assert flow.response is not None and flow.response.content is not None
    assert json.loads(flow.response.content)["ledger"]["totals"]["turns"] == 0
    assert await answered(proxy, page("/api/overview")) == 405
    assert await answered(proxy, page("/metrics", b"POST")) == 405
    # mitmproxy would send a body with the answer to it.
    assert await answered(proxy, page("/", b"HEAD")) == 405


async def test_budgets_are_those_of_the_config(proxy: Proxy, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[providers.work]\nbudgets = [{ per = "day", usd = 0 }]')
    proxy.set(sessionbridge_config=str(config))
    flow = page("/metrics")
    assert await answered(proxy, flow) == 200
    assert flow.response is not None and flow.response.text is not None
    assert 'budget_used_ratio{client="",per="day",provider="work",unit="usd"} 1.0' in (
        flow.response.text
    )


@pytest.mark.parametrize(
    "headers", [{"origin": "http://evil.example"}, {"sec_fetch_site": "cross-site"}]
)
async def test_pages_of_other_hosts_are_refused(proxy: Proxy, headers: dict[str, str]) -> None:
    assert await answered(proxy, page("/api/overview", b"POST", **headers)) == 403


OWN = ["http://sessionbridge.local", "https://SessionBridge.local:8080", "http://127.0.0.1:8080"]


@pytest.mark.parametrize("origin", OWN)
async def test_its_own_page_is_not(proxy: Proxy, origin: str) -> None:
    assert await answered(proxy, page("/api/overview", b"POST", origin=origin)) == 200


async def test_in_reverse_mode_its_name_is_anybodys(proxy: Proxy) -> None:
    flow = below("/.sessionbridge/api/overview", b"POST")
    flow.request.headers["origin"] = "http://sessionbridge.local"
    assert await answered(proxy, flow) == 403


@pytest.mark.parametrize("name", ["forwarded", "via", "x-forwarded-for", "x-real-ip"])
async def test_what_another_server_passes_on_is_refused(proxy: Proxy, name: str) -> None:
    """Whoever it comes from, its peer is that server."""
    flow = page("/")
    flow.request.headers[name] = "192.0.2.7"
    assert await answered(proxy, flow) == 403


async def test_without_usable_options_there_is_none(proxy: Proxy) -> None:
    proxy.addon.options.settings = None
    assert await answered(proxy, page("/")) == 500


@pytest.mark.parametrize("peer", [("192.0.2.7", 5000), None])
async def test_other_machines_are_refused_whatever_may_be_bridged(
    proxy: Proxy, peer: tuple[str, int] | None
) -> None:
    proxy.set(sessionbridge_allow_remote=True)
    flow = page("/")
    flow.client_conn.peername = peer  # type: ignore[assignment]
    assert await answered(proxy, flow) == 403


async def test_a_tunnel_to_the_page_needs_no_server(proxy: Proxy) -> None:
    flow = make_flow(host=operator_pages.HOST, method=b"CONNECT")
    proxy.http_connect(flow)
    assert flow.response is not None and flow.response.status_code == 200


async def test_what_goes_wrong_is_answered(proxy: Proxy) -> None:
    class Broken:
        async def answer(self, path: str, query: object) -> NoReturn:
            raise RuntimeError("secret")

    proxy.addon.pages._dashboard = Broken  # type: ignore[method-assign, assignment]
    flow = page("/")
    assert await answered(proxy, flow) == 500
    assert flow.response is not None and "secret" not in (flow.response.text or "")
