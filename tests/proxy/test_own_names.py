"""By which names the proxy is known, and whose pages are its own machine's."""

from __future__ import annotations

import socket

import pytest
from mitmproxy.http import HTTPFlow
from mitmproxy.proxy.mode_specs import ProxyMode

from sessionbridge.proxy.own_names import host_and_port, is_reached_as, own_names
from tests.support.addon_fixtures import KEYED, Proxy, is_bridged, make_flow, proxy, refusal

__all__ = ["proxy"]

REVERSE = "reverse:https://target.example"
MACHINE = socket.gethostname().lower()


def at(address: str, mode: str = REVERSE, **headers: str) -> HTTPFlow:
    """A flow of a client that has connected to this address of the proxy's."""
    flow = make_flow({**KEYED, **headers})
    flow.client_conn.sockname = (address, 8080)
    flow.client_conn.proxy_mode = ProxyMode.parse(mode)
    return flow


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("Localhost.:8080", "localhost"),
        ("[::1]:8080", "::1"),
        ("192.168.0.7", "192.168.0.7"),
        ("a, b", None),
        ("http://a", None),
        ("a:b:c", None),
    ],
)
def test_the_name_of_a_host_header(host: str, name: str | None) -> None:
    assert host_and_port(host)[0] == (name or "")


@pytest.mark.parametrize(
    ("listen", "address", "known", "unknown"),
    [
        ("127.0.0.1", "127.0.0.1", ["localhost", "a.localhost:1", "127.8.8.8"], [MACHINE]),
        ("192.168.0.7", "192.168.0.7", ["192.168.0.7:8080", "[::1]"], [MACHINE, "192.168.0.8"]),
        ("bridge.lan", "192.168.0.7", ["Bridge.lan:8080", "192.168.0.7"], [MACHINE]),
        ("", "192.168.0.7", ["192.168.0.7", MACHINE, "0.0.0.0:8080"], ["192.168.0.8", "evil.org"]),
        ("0.0.0.0", "::ffff:192.168.0.7", ["192.168.0.7", MACHINE], ["evil.org"]),
        ("::", "fe80::1%eth0", ["[fe80::1]", MACHINE.partition(".")[0]], ["[fe80::2]"]),
    ],
)
async def test_by_what_the_listener_is_bound_to(
    proxy: Proxy, listen: str, address: str, known: list[str], unknown: list[str]
) -> None:
    proxy.context.options.update(listen_host=listen)
    flow = at(address)
    assert [name for name in known if not is_reached_as(name, flow)] == []
    assert [name for name in unknown if is_reached_as(name, flow)] == []


async def test_a_mode_may_listen_elsewhere(proxy: Proxy) -> None:
    proxy.context.options.update(listen_host="")
    flow = at("127.0.0.1", f"{REVERSE}@127.0.0.1:8080")
    assert own_names(flow) == {"127.0.0.1"}


async def test_a_server_that_a_client_has_connected_to_is_not_the_proxy(proxy: Proxy) -> None:
    assert own_names(at("203.0.113.9", "transparent")) == frozenset()


async def test_its_own_pages_may_use_the_bridge(proxy: Proxy) -> None:
    proxy.context.options.update(listen_host="192.168.0.7")
    own = at("192.168.0.7", "regular", origin="http://192.168.0.7:3000", host="api.anthropic.com")
    assert is_bridged(await proxy.request(own))
    other = at("192.168.0.7", "regular", origin="http://192.168.0.8", host="api.anthropic.com")
    assert refusal(await proxy.request(other))[0] == 403


@pytest.mark.parametrize(
    ("host", "bridged"),
    [
        ("127.0.0.1:8080", True),
        ("target.example", True),
        ("api.anthropic.com", True),
        ("listed.example:8080", True),
        ("listed.example", False),
        ("evil.example:8080", False),
        ("not a name", False),
    ],
)
async def test_in_reverse_mode_other_names_are_refused(
    proxy: Proxy, host: str, bridged: bool
) -> None:
    proxy.set(
        mode=[REVERSE], sessionbridge_allow_origins=["http://listed.example:8080", "app://evil"]
    )
    flow = await proxy.request(at("127.0.0.1", host=host))
    assert is_bridged(flow) == bridged
    if not bridged:
        status, error = refusal(flow)
        assert status == 403 and "sessionbridge_allow_origins" in error["error"]["message"]
