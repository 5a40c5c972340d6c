"""One request by HTTP/3, with aioquic."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import QuicEvent


class _Client(QuicConnectionProtocol):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._http = H3Connection(self._quic)
        self._status, self._body = 0, b""
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None

    def ask(self, headers: Mapping[str, str], body: bytes) -> asyncio.Future[tuple[int, bytes]]:
        self._answer = asyncio.get_running_loop().create_future()
        stream = self._quic.get_next_available_stream_id()
        fields = [(name.encode(), value.encode()) for name, value in headers.items()]
        self._http.send_headers(stream, fields)
        self._http.send_data(stream, body, end_stream=True)
        self.transmit()
        return self._answer

    def quic_event_received(self, event: QuicEvent) -> None:
        for told in self._http.handle_event(event):
            match told:
                case HeadersReceived():
                    self._status = int(dict(told.headers)[b":status"])
                case DataReceived():
                    self._body += told.data
            if self._answer and getattr(told, "stream_ended", False) and not self._answer.done():
                self._answer.set_result((self._status, self._body))


def post(
    port: int, authority: str, path: str, headers: Mapping[str, str], body: bytes, ca: Path
) -> tuple[int, bytes]:
    """To 127.0.0.1. Returns the status and the body of the answer."""
    asked = {":method": "POST", ":scheme": "https", ":authority": authority, ":path": path}
    return asyncio.run(_post(port, authority, {**asked, **headers}, body, ca))


async def _post(
    port: int, authority: str, headers: Mapping[str, str], body: bytes, ca: Path
) -> tuple[int, bytes]:
    configuration = QuicConfiguration(
        alpn_protocols=H3_ALPN, server_name=authority, verify_mode=ssl.CERT_REQUIRED
    )
    configuration.load_verify_locations(str(ca))
    async with (
        asyncio.timeout(30),
        connect("127.0.0.1", port, configuration=configuration, create_protocol=_Client) as client,
    ):
        assert isinstance(client, _Client)
        return await client.ask(headers, body)
