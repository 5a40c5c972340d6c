"""Whether a node is healthy, as load balancers ask it: in mitmproxy's own test context."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from mitmproxy.http import HTTPFlow
from mitmproxy.proxy.mode_specs import ProxyMode

from sessionbridge.errors import StoreUnavailable
from sessionbridge.proxy import operator_pages
from sessionbridge.sessions.store.places import Home
from sessionbridge.sessions.store.reachability import Reachability
from tests.support.addon_fixtures import Proxy, make_flow, proxy
from tests.support.proxy import free_port

__all__ = ["proxy"]

READY = (200, {"status": "ready", "store": "reachable"})
UNAVAILABLE = (503, {"status": "unavailable", "store": "unreachable"})


def asked(method: bytes = b"GET", peer: str = "127.0.0.1", **headers: str) -> HTTPFlow:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    path = b"/.sessionbridge/health"
    flow = make_flow({"host": "127.0.0.1:8080"} | named, b"", path=path, method=method)
    flow.client_conn.proxy_mode = ProxyMode.parse("reverse:https://a.example")
    flow.client_conn.peername = (peer, 50000)
    return flow


async def health(proxy: Proxy, flow: HTTPFlow | None = None) -> tuple[int, Any]:
    flow = await proxy.request(flow or asked())
    assert flow.response is not None and flow.response.content is not None
    assert flow.response.headers["content-type"] == "application/json"
    assert flow.response.headers["cache-control"] == "no-store"
    return flow.response.status_code, json.loads(flow.response.content)


async def test_it_is_ready_before_anybody_has_used_it(proxy: Proxy) -> None:
    assert await health(proxy) == READY
    assert not proxy.settings.home.exists()
    by_name = make_flow(content=b"", host=operator_pages.HOST, path=b"/health", method=b"GET")
    assert await health(proxy, by_name) == READY


async def test_without_a_store_there_is_none_to_reach(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SESSIONBRIDGE_MAPPER", "0")
    proxy.set(sessionbridge_retries=1)
    assert await health(proxy) == (200, {"status": "ready", "store": "off"})


async def test_it_is_asked_by_head_too(proxy: Proxy) -> None:
    got, head = asked(), asked(b"HEAD")
    for flow in (got, head):
        await proxy.request(flow)
    assert got.response is not None and head.response is not None
    assert head.response.raw_content == b""
    assert head.response.headers == got.response.headers
    posted = await proxy.request(asked(b"POST"))
    assert posted.response is not None and posted.response.status_code == 405
    assert posted.response.headers["allow"] == "GET, HEAD"


async def test_it_drains_at_its_end(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = asyncio.Event()
    proxy.addon.shutdown._stop = ended.set
    proxy.addon.shutdown.turns(1)
    proxy.addon.shutdown.begin()
    assert await health(proxy) == (503, {"status": "draining"})
    proxy.addon.shutdown.turns(0)
    await ended.wait()


async def test_it_is_for_all_whose_turns_are_bridged(proxy: Proxy) -> None:
    """By whatever name, and whoever has passed it on."""
    assert await health(proxy, asked(host="node-1.lan:8080")) == READY
    assert await health(proxy, asked(x_forwarded_for="192.0.2.7")) == READY
    assert await health(proxy, asked(origin="http://a.example")) == READY
    refused = await proxy.request(asked(peer="192.0.2.7"))
    assert refused.response is not None and refused.response.status_code == 403
    assert "sessionbridge_allow_remote" in (refused.response.text or "")
    proxy.set(sessionbridge_allow_remote=True)
    assert await health(proxy, asked(peer="192.0.2.7")) == READY


async def test_without_usable_options_it_is_not_healthy(proxy: Proxy) -> None:
    proxy.addon.options.settings = None
    flow = await proxy.request(asked())
    assert flow.response is not None and flow.response.status_code == 500


async def test_a_file_that_cannot_be_used_is_told(
    proxy: Proxy, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    proxy.set(sessionbridge_home=str(tmp_path / "file" / "home"))
    assert await health(proxy) == UNAVAILABLE
    assert "This node is not healthy: The session database" in caplog.text


async def test_a_database_that_is_away_is_told(proxy: Proxy) -> None:
    """Whoever asks is answered while it is still being looked for."""
    proxy.set(sessionbridge_store=f"postgresql://127.0.0.1:{free_port()}/sessions")
    assert await health(proxy) == UNAVAILABLE


async def test_a_database_that_is_there_is_reached(proxy: Proxy, database: str) -> None:
    proxy.set(sessionbridge_store=database)
    assert await health(proxy) in (READY, UNAVAILABLE)  # while it connects
    reachability = proxy.addon.runtime.reachability
    assert reachability is not None and reachability._asking is not None
    assert await reachability._asking


class SlowHome(Home):
    """Answers when it may."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.may_answer = Event()
        self.fails = False
        self.checks = 0

    def check(self, patience: float) -> None:
        self.checks += 1
        self.may_answer.wait()
        if self.fails:
            raise StoreUnavailable("The session database is away.")


@contextmanager
def reachability(home: SlowHome) -> Iterator[Reachability]:
    made = Reachability(home)
    yield made
    home.may_answer.set()
    made.close()


async def test_it_is_asked_once_for_all_who_ask(tmp_path: Path) -> None:
    home = SlowHome(tmp_path)
    with reachability(home) as asking:
        assert await asyncio.gather(*(asking.ask() for _ in range(20))) == [False] * 20
        assert await asking.ask() is False  # nor is it asked again before it has answered
        assert home.checks == 1
        home.may_answer.set()
        assert asking._asking is not None
        assert await asking._asking


async def test_what_goes_wrong_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sessionbridge.sessions.store.reachability._FRESH_SECONDS", 0.0)
    home = SlowHome(tmp_path)
    home.may_answer.set()
    with reachability(home) as asking:
        home.fails = True
        assert [await asking.ask() for _ in range(3)] == [False] * 3
        home.fails = False
        assert [await asking.ask() for _ in range(3)] == [True] * 3
    assert [record.message for record in caplog.records] == [
        "This node is not healthy: The session database is away.",
        f"The session database {home.name} can be used again.",
    ]
