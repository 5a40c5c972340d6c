"""Connections of the proxy's own that come back to it.

A redirect of the system's that leaves nobody out leads them there: each would make another one,
without end. Or a client asks the proxy for one of the proxy's own ports, and would be taken for
this machine there: mitmproxy refuses that by the usual names of loopback alone (read in 12.3,
`addons/proxyserver.py`).

Such a client has the address from which the proxy has connected to its server.
"""

from __future__ import annotations

import asyncio
import logging
import os

from mitmproxy import ctx
from mitmproxy.connection import Address, Client
from mitmproxy.proxy.server_hooks import ServerConnectionHookData

from sessionbridge.errors import Refused
from sessionbridge.proxy.options import LEADS_ALL_HERE
from sessionbridge.proxy.own_names import is_on_this_machine, plain_address
from sessionbridge.proxy.routing import is_loopback

logger = logging.getLogger(__name__)

_MOMENT = 1.0
"""Seconds. A connection that is led back is there within a millisecond."""

_ASKED = "A request that comes by way of this proxy itself is not answered; send it here directly."


class Loops:
    def __init__(self) -> None:
        self._own: set[tuple[str, int]] = set()
        """The addresses from which the proxy is connected to servers, where all is led here."""
        self._to_itself: set[tuple[str, int]] = set()
        """Those from which it is connected to a port of its own."""
        self._connecting: dict[str, tuple[Address | None, asyncio.Future[None]]] = {}
        """By the id of the connection, to which server, until its own address is known."""
        self._is_logged = False

    def check(self, client: Client) -> None:
        """Raises `Refused` for a request of the proxy itself."""
        if (wrong := self._wrong_with(client)) is not None:
            raise Refused(wrong)

    async def server_connect(self, data: ServerConnectionHookData) -> None:
        if data.server.error:
            return
        is_led_here, to = isinstance(data.client.proxy_mode, LEADS_ALL_HERE), data.server.address
        alike = [known for server, known in self._connecting.values() if server == to]
        if is_led_here and alike:
            # The client may be one of these, which has not told its address yet.
            await asyncio.wait(alike, timeout=_MOMENT)
        if (wrong := self._wrong_with(data.client)) is not None:
            data.server.error = wrong
        elif is_led_here:
            self._connecting[data.server.id] = to, asyncio.get_running_loop().create_future()

    def server_connected(self, data: ServerConnectionHookData) -> None:
        server = data.server
        if server.sockname and server.id in self._connecting:
            self._own.add(server.sockname[:2])
        elif server.sockname and server.peername and _is_own_port(server.peername):
            self._to_itself.add(_plain(server.sockname))
        self._has_connected(data)

    def server_connect_error(self, data: ServerConnectionHookData) -> None:
        self._has_connected(data)

    def server_disconnected(self, data: ServerConnectionHookData) -> None:
        if data.server.sockname:
            self._own.discard(data.server.sockname[:2])
            self._to_itself.discard(_plain(data.server.sockname))

    def _has_connected(self, data: ServerConnectionHookData) -> None:
        if (waiting := self._connecting.pop(data.server.id, None)) and not waiting[1].done():
            waiting[1].set_result(None)

    def _told(self) -> str:
        """What is wrong; the log has it once."""
        sentence = _sentence()
        if not self._is_logged:
            self._is_logged = True
            logger.error(sentence)
        return sentence

    def _wrong_with(self, client: Client) -> str | None:
        """None for a client that is not the proxy itself."""
        if client.peername is None:
            return None
        if client.peername[:2] in self._own:
            return self._told()
        return _ASKED if self._to_itself and _plain(client.peername) in self._to_itself else None


def _is_own_port(address: Address) -> bool:
    """Whether the proxy listens there."""
    host, port, *_ = address
    ports = {own for _, own, *_ in ctx.master.addons.get("proxyserver").listen_addrs()}
    return port in ports and (is_loopback(host) or is_on_this_machine(host))


def _plain(address: Address) -> tuple[str, int]:
    return plain_address(address[0]), address[1]


def _sentence() -> str:
    user = f" ({os.getuid()})" if hasattr(os, "getuid") else ""
    return (
        "The system leads the proxy's own connections back to the proxy; leave the user it runs as"
        f"{user} out of the redirect, as `meta skuid` of nftables does."
    )
