"""Connections of the proxy's own that the system leads back to it, as a redirect does that leaves
nobody out: each would make another one, without end.

Such a client has the address from which the proxy has connected to its server.
"""

from __future__ import annotations

import asyncio
import logging
import os

from mitmproxy.connection import Address, Client
from mitmproxy.proxy.server_hooks import ServerConnectionHookData

from sessionbridge.errors import Refused
from sessionbridge.proxy.options import LEADS_ALL_HERE

logger = logging.getLogger(__name__)

_MOMENT = 1.0
"""Seconds. A connection that is led back is there within a millisecond."""


class Loops:
    def __init__(self) -> None:
        self._own: set[tuple[str, int]] = set()
        """The addresses from which the proxy is connected to servers."""
        self._connecting: dict[str, tuple[Address | None, asyncio.Future[None]]] = {}
        """By the id of the connection, to which server, until its own address is known."""
        self._is_logged = False

    def check(self, client: Client) -> None:
        """Raises `Refused` for a request of the proxy itself."""
        if self._is_own(client):
            raise Refused(self._told())

    async def server_connect(self, data: ServerConnectionHookData) -> None:
        if not isinstance(data.client.proxy_mode, LEADS_ALL_HERE) or data.server.error:
            return
        to = data.server.address
        if alike := [known for server, known in self._connecting.values() if server == to]:
            # The client may be one of these, which has not told its address yet.
            await asyncio.wait(alike, timeout=_MOMENT)
        if self._is_own(data.client):
            data.server.error = self._told()
            return
        self._connecting[data.server.id] = to, asyncio.get_running_loop().create_future()

    def server_connected(self, data: ServerConnectionHookData) -> None:
        if data.server.id in self._connecting and data.server.sockname:
            self._own.add(data.server.sockname[:2])
        self._has_connected(data)

    def server_connect_error(self, data: ServerConnectionHookData) -> None:
        self._has_connected(data)

    def server_disconnected(self, data: ServerConnectionHookData) -> None:
        if data.server.sockname:
            self._own.discard(data.server.sockname[:2])

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

    def _is_own(self, client: Client) -> bool:
        return client.peername is not None and client.peername[:2] in self._own


def _sentence() -> str:
    user = f" ({os.getuid()})" if hasattr(os, "getuid") else ""
    return (
        "The system leads the proxy's own connections back to the proxy; leave the user it runs as"
        f"{user} out of the redirect, as `meta skuid` of nftables does."
    )
