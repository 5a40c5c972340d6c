"""Options that change, a script that is reloaded, and what outlives them."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mitmproxy.addonmanager import _get_name, traverse

from sessionbridge import config
from sessionbridge.errors import StoreUnavailable
from sessionbridge.sessions.store.store import SessionStore
from tests.support.addon_fixtures import KEYED, Proxy, is_bridged, make_flow, proxy
from tests.support.proxy import ROOT

__all__ = ["proxy"]


@pytest.mark.acceptance(6)
async def test_nothing_is_made_before_it_is_needed(proxy: Proxy, tmp_path: Path) -> None:
    await proxy.request(make_flow())
    assert os.listdir(tmp_path) == []


@pytest.mark.acceptance(6, 20)
@pytest.mark.parametrize("value", ["0", "false", "no", "off"])
async def test_the_mapper_switch(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str
) -> None:
    monkeypatch.setenv("SESSIONBRIDGE_MAPPER", value)
    proxy.set(sessionbridge_retries=1)
    assert proxy.addon.runtime.store is None
    flow = make_flow({"x-openclaw-session": "chat-1"})
    assert is_bridged(await proxy.request(flow))
    assert os.listdir(tmp_path) == []


async def test_settings_that_keep_the_database_keep_turns_under_way(proxy: Proxy) -> None:
    store, locks = proxy.addon.runtime.store, proxy.addon.runtime.locks
    proxy.set(sessionbridge_strict=True)
    proxy.set(sessionbridge_strict=True)
    assert proxy.addon.runtime.store is store and proxy.addon.runtime.locks is locks


async def test_another_home_is_another_database(proxy: Proxy, tmp_path: Path) -> None:
    before = proxy.addon.runtime.store
    proxy.set(sessionbridge_home=str(tmp_path / "other"))
    assert proxy.addon.runtime.store is not None and before is not None
    assert proxy.addon.runtime.store.place.name == str(tmp_path / "other" / "session_map.db")
    with pytest.raises(StoreUnavailable, match="closed"):
        await before.ask(SessionStore.count)


async def test_other_options_are_none_of_ours(proxy: Proxy) -> None:
    walk = proxy.gateway.walk
    proxy.configure({"listen_port"})
    proxy.configure(set())
    assert proxy.gateway.walk is walk


async def test_a_reload_keeps_the_gateway_and_finds_the_store_again(proxy: Proxy) -> None:
    ports, addons = proxy.gateway.ports, proxy.context.master.addons
    under_way = await proxy.request(make_flow(KEYED))
    proxy.running()
    addons.remove(proxy.addon)
    assert proxy.addon.runtime.store is None and addons.get("sessionbridge.late") is None
    addons.add(proxy.addon)
    proxy.configure(set(proxy.context.options.keys()))
    proxy.running()
    assert proxy.gateway.ports == ports and proxy.addon.runtime.store is not None
    assert is_bridged(await proxy.request(make_flow(KEYED)))
    proxy.error(under_way)
    assert under_way.request.host == "api.anthropic.com"


async def test_every_option_is_read(proxy: Proxy) -> None:
    ours = {name for name in proxy.context.options.keys() if name.startswith("sessionbridge_")}  # noqa: SIM118
    assert ours == {option.name for option in config.OPTIONS}


async def test_no_part_is_called_as_an_addon_of_the_users_may_be(proxy: Proxy) -> None:
    """mitmproxy would not load it, and everything would pass on to the real API."""
    names = [_get_name(addon) for addon in traverse([proxy.addon])]
    assert all(name.startswith("sessionbridge") for name in names) and names[1:]
    for name in ("Options", "Commands", "Passthrough", "Connections"):
        proxy.context.master.addons.add(type(name, (), {})())


async def test_done_twice(proxy: Proxy) -> None:
    proxy.running()
    proxy.done()
    proxy.done()


async def test_it_says_when_everybody_can_reach_it(
    proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    proxy.running()
    assert "listens on all interfaces" in caplog.text
    proxy.done()
    caplog.clear()
    proxy.context.options.update(listen_host="127.0.0.1")
    proxy.running()
    assert caplog.text == ""


async def test_mitmproxy_waits_longer_than_a_turn_may_last(proxy: Proxy) -> None:
    assert proxy.context.options.tcp_timeout == 1800 + 60
    proxy.set(sessionbridge_timeout=10)
    assert proxy.context.options.tcp_timeout == 1800 + 60
    proxy.context.options.update(tcp_timeout=5000)
    proxy.set(sessionbridge_timeout=2000)
    assert proxy.context.options.tcp_timeout == 5000


@pytest.mark.parametrize(
    ("sni", "address", "first"),
    [
        ("api.anthropic.com", None, False),
        (None, ("api.openai.com", 443), False),
        ("localhost", ("api.openai.com", 443), False),  # in reverse mode
        (None, ("192.0.2.7", 443), False),  # the request may name any host
        ("example.com", ("192.0.2.7", 443), True),
        ("example.com", ("example.com", 443), True),
        (None, None, True),
    ],
)
async def test_no_server_is_asked_for_a_certificate_of_bridged_hosts(
    proxy: Proxy, sni: str | None, address: Any, first: bool
) -> None:
    hello: Any = SimpleNamespace(
        context=SimpleNamespace(server=SimpleNamespace(address=address)),
        client_hello=SimpleNamespace(sni=sni),
        establish_server_tls_first=True,
    )
    late: Any = proxy.addon.connections._late
    late.tls_clienthello(hello)
    assert hello.establish_server_tls_first is first


def test_the_proxy_does_not_wait_for_the_sdk() -> None:
    """It takes half a second to import."""
    program = "import sys, sessionbridge.proxy.addon; sys.exit('claude_agent_sdk' in sys.modules)"
    path = {"PYTHONPATH": str(ROOT / "addon")}
    subprocess.run([sys.executable, "-c", program], check=True, env=path)
