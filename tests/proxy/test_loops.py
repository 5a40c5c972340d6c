"""Which connections of the proxy's own come back to it. End to end, where the system leads them:
`test_transparent`."""

from __future__ import annotations

import asyncio
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import pytest
from mitmproxy.addons.next_layer import NextLayer
from mitmproxy.proxy import mode_specs

from sessionbridge.errors import Refused
from sessionbridge.proxy import loops
from sessionbridge.proxy.loops import Loops
from tests.support.addon_fixtures import Proxy, proxy

__all__ = ["proxy"]

MODE = mode_specs.ProxyMode.parse("transparent")
ONE, OTHER = ("198.51.100.7", 443), ("198.51.100.8", 443)


def connecting(number: int, to: tuple[str, int], asked_from: tuple[str, int]) -> Any:
    """The n-th connection; its own address is port n of this machine's."""
    server = SimpleNamespace(id=str(number), address=to, sockname=("10.0.0.1", number), error=None)
    client = SimpleNamespace(proxy_mode=MODE, peername=asked_from)
    return SimpleNamespace(client=client, server=server)


async def test_one_that_waits_for_its_server_holds_up_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loops, "_MOMENT", 3600)
    checked = Loops()
    await checked.server_connect(connecting(1, ONE, ("10.0.0.1", 90)))
    async with asyncio.timeout(30):
        await checked.server_connect(connecting(2, OTHER, ("10.0.0.1", 91)))


async def test_one_that_is_led_back_waits_until_it_is_known() -> None:
    checked, first = Loops(), connecting(1, ONE, ("10.0.0.1", 90))
    await checked.server_connect(first)
    back = connecting(2, ONE, ("10.0.0.1", 1))
    waiting = asyncio.create_task(checked.server_connect(back))
    await asyncio.sleep(0)
    checked.server_connected(first)
    await waiting
    assert "back to the proxy" in back.server.error
    with pytest.raises(Refused, match="back to the proxy"):
        checked.check(back.client)
    checked.server_disconnected(first)
    checked.check(back.client)


@pytest.mark.parametrize(
    "asked",
    [
        "GET http://LOCALHOST:{}/ HTTP/1.1\r\nHost: sessionbridge.local",
        "CONNECT LOCALHOST:{0} HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\nHost: sessionbridge.local",
    ],
)
async def test_by_way_of_the_proxy_itself_nobody_is_taken_for_this_machine(
    proxy: Proxy, asked: str
) -> None:
    """Through it other machines would reach what is for this one alone. By other names of loopback
    than this mitmproxy connects to itself."""
    addons = proxy.context.master.addons
    addons.add(NextLayer())
    server = addons.get("proxyserver")
    proxy.context.configure(server, listen_host="127.0.0.1", listen_port=0)
    assert await server.setup_servers()
    server.running()
    try:
        ((_, port, *_),) = server.listen_addrs()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with closing(writer):
            writer.write(f"{asked.format(port)}\r\n\r\n".encode())
            async with asyncio.timeout(30):
                told = await reader.readuntil(b"by way of this proxy itself")
        assert b"HTTP/1.1 403" in told
        assert b"<html" not in told
    finally:
        proxy.context.configure(server, server=False)
        await server.setup_servers()
