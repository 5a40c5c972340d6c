"""A loopback server and a load generator that cost next to nothing, so that the proxy between them
is what is measured: HTTP/1.1 with content lengths over connections that stay open."""

from __future__ import annotations

import asyncio
import re
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_ANSWER = b'{"id": "msg_1", "type": "message", "content": [{"type": "text", "text": "%s"}]}' % (
    b"An answer of ordinary length. " * 10
)
_RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
    len(_ANSWER),
    _ANSWER,
)


class _Messages(asyncio.Protocol, ABC):
    """Cuts what arrives into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._end()) is not None:
            message = bytes(self._buffer[:end])
            del self._buffer[:end]
            self.got(message)

    def _end(self) -> int | None:
        head = self._buffer.find(b"\r\n\r\n")
        if head < 0:
            return None
        length = _LENGTH.search(self._buffer, 0, head + 2)
        end = head + 4 + (int(length[1]) if length else 0)
        return end if len(self._buffer) >= end else None

    @abstractmethod
    def got(self, message: bytes) -> None: ...


class _Upstream(_Messages):
    """Gives the same answer to everything."""

    def got(self, message: bytes) -> None:
        self.transport.write(_RESPONSE)


class Client(_Messages):
    """One connection, which asks the same again as soon as it is answered, until time is up."""

    def __init__(self) -> None:
        super().__init__()
        self._request = b""
        self._until = 0.0
        self._done: asyncio.Future[None] | None = None
        self.answers = 0

    def begin(self, request: bytes, until: float) -> asyncio.Future[None]:
        self._request, self._until = request, until
        self._done = asyncio.get_running_loop().create_future()
        self.answers = 0
        if self.transport.is_closing():
            self.connection_lost(None)
        self.transport.write(request)
        return self._done

    def got(self, message: bytes) -> None:
        assert self._done is not None
        if not message.startswith(b"HTTP/1.1 200 "):
            self._done.set_exception(RuntimeError(f"not answered: {message[:300]!r}"))
            return
        self.answers += 1
        if time.perf_counter() < self._until:
            self.transport.write(self._request)
        else:
            self._done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(exc or ConnectionError("the connection was closed"))


@asynccontextmanager
async def upstream(host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[int]:
    """Its port."""
    server = await asyncio.get_running_loop().create_server(_Upstream, host, port)
    async with server:
        yield int(server.sockets[0].getsockname()[1])


@asynccontextmanager
async def clients(
    port: int, number: int, host: str = "127.0.0.1"
) -> AsyncIterator[Sequence[Client]]:
    loop = asyncio.get_running_loop()
    made: list[Client] = []
    try:
        for _ in range(number):
            made.append((await loop.create_connection(Client, host, port))[1])
        yield made
    finally:
        for client in made:
            client.transport.close()


async def rate(asking: Sequence[Client], request: bytes, seconds: float) -> float:
    """Requests per second that all of them together are answered."""
    begun = time.perf_counter()
    await asyncio.gather(*(client.begin(request, begun + seconds) for client in asking))
    return sum(client.answers for client in asking) / (time.perf_counter() - begun)
