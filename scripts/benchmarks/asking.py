"""Turns asked of the ticking proxy, a raw connection for each, as cheaply as possible."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scripts.benchmarks.inside.ticking import TICK, Score
from scripts.benchmarks.inside.watch import PATH

PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Tick:
    """Times of the machine's monotonic clock, in seconds."""

    due: float
    said: float
    heard: float


class Listener(asyncio.Protocol):
    """One streamed turn. While it runs only the arrivals are kept, and read when all is over: a
    client that is busy reading would measure itself."""

    def __init__(self, request: bytes) -> None:
        loop = asyncio.get_running_loop()
        self._request = request
        self._clock = loop.time  # the monotonic clock
        self._parts: list[tuple[float, bytes]] = []
        self.begun = loop.create_future()
        self.ended = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._parts.append((self._clock(), data))
        if not self.begun.done():
            self._begin(data)
        if data.endswith(b"0\r\n\r\n"):
            self._transport.close()

    def _begin(self, data: bytes) -> None:
        if len(self._parts) == 1 and not data.startswith(b"HTTP/1.1 200 "):
            self.begun.set_exception(RuntimeError(f"not answered: {data[:300]!r}"))
        elif TICK.search(data):
            self.begun.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        for future in (self.begun, self.ended):
            if not future.done():
                future.set_result(None)

    def leave(self) -> None:
        self._transport.close()

    def ticks(self) -> list[Tick]:
        """Each was heard when the last byte of it was."""
        ends, size = [], 0
        for _, data in self._parts:
            size += len(data)
            ends.append(size)
        whole = b"".join(data for _, data in self._parts)
        return [
            Tick(float(match[1]), float(match[2]), self._parts[bisect_left(ends, match.end())][0])
            for match in TICK.finditer(whole)
        ]


async def listen(port: int, request: bytes) -> Listener:
    loop = asyncio.get_running_loop()
    return (await loop.create_connection(lambda: Listener(request), "127.0.0.1", port))[1]


async def ask(port: int, request: bytes) -> None:
    """A whole turn, over a connection of its own."""
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200 "):
                raise RuntimeError(f"not answered: {head!r}")
            lines = head.lower().split(b"\r\n")
            lengths = [int(line[15:]) for line in lines if line.startswith(b"content-length:")]
            if lengths:
                await reader.readexactly(sum(lengths))
            else:
                await reader.readuntil(b"\r\n0\r\n\r\n")
        finally:
            writer.close()


def request(session: str, said: Sequence[str], score: Score, *, stream: bool) -> bytes:
    """`said` is what both have said so far, the user first; the score is what is asked now."""
    texts = (*said, score.written())
    messages = [{"role": ("user", "assistant")[n % 2], "content": t} for n, t in enumerate(texts)]
    body = json.dumps(
        {"model": "claude-sonnet-5", "max_tokens": 900, "messages": messages, "stream": stream}
    )
    lines = (
        "POST /v1/messages HTTP/1.1",
        "Host: 127.0.0.1",
        "Content-Type: application/json",
        f"X-SessionBridge-Session: {session}",
        f"Content-Length: {len(body)}",
    )
    return "\r\n".join((*lines, "", body)).encode()


def next_phase(port: int, name: str) -> dict[str, Any]:
    """Begins it in the proxy's watch; what the watch saw in the phase before."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{port}{PATH}{name}", timeout=PATIENCE) as answer:
        found: dict[str, Any] = json.load(answer)
    return found
