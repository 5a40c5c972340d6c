"""The loopback server, over real sockets on this machine."""

from __future__ import annotations

import asyncio
import gzip
import logging
import zlib
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator

import pytest

from sessionbridge.errors import BridgeError
from sessionbridge.turns.exchange import Chunk, Exchange, Head
from sessionbridge.turns.loopback import HOST, TICKET_HEADER, Loopback

SECRET = "what nobody may read in a log"


class Walk:
    """Answers with `chunks`, each after a turn of `gate`; keeps the bodies it was given."""

    def __init__(self, *chunks: bytes) -> None:
        self.chunks = chunks
        self.bodies: list[bytes] = []
        self.refused: list[BridgeError | None] = []
        self.gate: asyncio.Event | None = None
        self.fails: Exception | None = None
        self.begun, self.ended = asyncio.Event(), asyncio.Event()

    async def prepare(self, exchange: Exchange, body: bytes) -> None:
        raise NotImplementedError

    async def handle(self, exchange: Exchange, body: bytes) -> AsyncGenerator[Head | Chunk]:
        self.bodies.append(body)
        self.refused.append(exchange.refused)
        self.begun.set()
        try:
            if self.fails is not None:
                raise self.fails
            yield Head(201, [("content-type", "text/event-stream"), ("x-told", exchange.api)])
            for chunk in self.chunks:
                yield Chunk(chunk)
                if self.gate is not None:
                    await self.gate.wait()
            yield Chunk(b"last", last=True)
        finally:
            self.ended.set()


@pytest.fixture
async def gateway() -> AsyncIterator[Loopback]:
    opened = Loopback()
    opened.listen()
    yield opened
    await opened.close()


@pytest.fixture
def walk(gateway: Loopback) -> Walk:
    gateway.walk = made = Walk(b"one ", b"two ")
    return made


def request(ticket: str, body: bytes = b"{}", *headers: str, method: str = "POST") -> bytes:
    lines = [f"{method} /v1/messages HTTP/1.1", "Host: api.anthropic.com", "Connection: close"]
    lines += [f"{TICKET_HEADER}: {ticket}", *headers]
    if not any(header.lower().startswith("transfer-encoding") for header in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


async def send(port: int, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        writer.write(data)
        return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


async def bridged(gateway: Loopback, body: bytes = b"{}", *headers: str) -> bytes:
    ticket, port = gateway.expect(Exchange("messages", None))
    return await send(port, request(ticket, body, *headers))


async def test_an_answer(gateway: Loopback, walk: Walk) -> None:
    answer = await bridged(gateway, b'{"a": 1}')
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 201")
    assert b"X-Told: messages" in head and b"Server:" not in head
    assert body == b"4\r\none \r\n4\r\ntwo \r\n4\r\nlast\r\n0\r\n\r\n"
    assert walk.bodies == [b'{"a": 1}']


async def test_each_chunk_leaves_at_once(gateway: Loopback, walk: Walk) -> None:
    walk.gate = asyncio.Event()
    ticket, port = gateway.expect(Exchange("messages", None))
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(request(ticket))
    assert await reader.readuntil(b"one ")
    walk.gate.set()
    assert (await reader.read()).endswith(b"last\r\n0\r\n\r\n")
    writer.close()


@pytest.mark.parametrize("ticket", ["", "wrong", "wr\xf6ng"])
async def test_without_its_ticket_nobody_is_served(
    gateway: Loopback, walk: Walk, ticket: str
) -> None:
    gateway.expect(Exchange("messages", None))
    assert (await send(gateway.ports[0], request(ticket))).startswith(b"HTTP/1.1 403")
    assert walk.bodies == []


@pytest.mark.parametrize(
    "announced",
    ["Content-Length: 1000000", "Transfer-Encoding: chunked", "Content-Length: 1073741825"],
)
@pytest.mark.parametrize("more", ["", "Expect: 100-continue"])
async def test_without_its_ticket_a_body_is_not_waited_for(
    gateway: Loopback, walk: Walk, announced: str, more: str
) -> None:
    """The client sends none and keeps its side open: to be answered and closed is to be refused by
    the headers alone."""
    lines = ["POST /v1/messages HTTP/1.1", "Host: api.anthropic.com", announced]
    head = "\r\n".join([*lines, *([more] if more else []), "", ""]).encode()
    async with asyncio.timeout(10):
        answer = await send(gateway.ports[0], head)
    assert answer.startswith(b"HTTP/1.1 403") and b"Connection: close" in answer
    assert b"100 (Continue)" not in answer


async def test_no_bridge_yet(gateway: Loopback) -> None:
    assert (await bridged(gateway)).startswith(b"HTTP/1.1 403")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_whatever_the_method_a_ticket_is_needed(
    gateway: Loopback, walk: Walk, method: str
) -> None:
    """What is refused before its body is there may be anything."""
    ticket, port = gateway.expect(Exchange("messages", None))
    answer = await send(port, request("not " + ticket, method=method))
    assert answer.startswith(b"HTTP/1.1 403") and walk.bodies == []
    await send(port, request(ticket, method=method))
    assert len(walk.bodies) == 1


async def test_forgotten_tickets_are_worth_nothing(gateway: Loopback, walk: Walk) -> None:
    ticket, port = gateway.expect(Exchange("messages", None))
    assert gateway.expected(ticket) is not None
    gateway.forget(ticket)
    gateway.forget(ticket)
    assert gateway.expected(ticket) is None
    assert (await send(port, request(ticket))).startswith(b"HTTP/1.1 403")


async def test_the_ports_share_the_load(gateway: Loopback) -> None:
    expected = [gateway.expect(Exchange("messages", None)) for _ in range(32)]
    assert set(Counter(port for _, port in expected).values()) == {2}
    freed = expected[5]
    gateway.forget(freed[0])
    assert gateway.expect(Exchange("messages", None))[1] == freed[1]
    assert len({ticket for ticket, _ in expected}) == 32


async def test_it_listens_on_this_machine_only(gateway: Loopback) -> None:
    sockets = gateway._server._sockets.values()
    assert {socket.getsockname()[0] for socket in sockets} == {"127.0.0.1"}


async def test_chunked_requests(gateway: Loopback, walk: Walk) -> None:
    body = b'2\r\n{"\r\n5\r\na": 1\r\n1\r\n}\r\n0\r\n\r\n'
    answer = await bridged(gateway, body, "Transfer-Encoding: chunked")
    assert answer.startswith(b"HTTP/1.1 201") and walk.bodies == [b'{"a": 1}']


async def test_codings_are_undone_from_the_last(gateway: Loopback, walk: Walk) -> None:
    body = zlib.compress(gzip.compress(b'{"a": 1}'))
    await bridged(gateway, body, "Content-Encoding: x-gzip", "Content-Encoding: deflate")
    assert walk.bodies == [b'{"a": 1}']


@pytest.mark.parametrize(
    ("coding", "status", "says"),
    [
        ("gzip", 400, "is not gzip, as its content-encoding says"),
        ("gzip, sometime", 415, "content-encoding: 'sometime' is not known here; use gzip, "),
        ("caf\xe9", 415, "content-encoding: this value is not known here"),
    ],
)
async def test_a_body_that_cannot_be_decoded_is_refused_by_the_walk(
    gateway: Loopback, walk: Walk, coding: str, status: int, says: str
) -> None:
    await bridged(gateway, b"{}", f"Content-Encoding: {coding}")
    (refused,) = walk.refused
    assert refused is not None and refused.status == status and says in refused.message


@pytest.mark.parametrize("coding", [None, "gzip"])
async def test_a_body_that_is_too_large_is_refused_by_the_walk(
    gateway: Loopback, walk: Walk, coding: str | None
) -> None:
    """Also one that is larger than tornado itself would take."""
    body = bytes(101 * 1024 * 1024)
    if coding:
        await bridged(gateway, gzip.compress(body, 1), f"Content-Encoding: {coding}")
    else:
        await bridged(gateway, body)
    (refused,) = walk.refused
    assert refused is not None and refused.status == 413
    assert "more than 67,108,864 bytes" in refused.message


async def test_a_body_beyond_all_limits(
    gateway: Loopback, walk: Walk, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "tornado.general")
    ticket, port = gateway.expect(Exchange("messages", None))
    head = request(ticket).replace(b"Content-Length: 2", b"Content-Length: 1073741825")
    assert (await send(port, head)).startswith(b"HTTP/1.1 400") and walk.bodies == []


async def test_a_client_that_leaves_ends_the_walk(gateway: Loopback, walk: Walk) -> None:
    walk.gate = asyncio.Event()
    ticket, port = gateway.expect(Exchange("messages", None))
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(request(ticket))
    await reader.readuntil(b"one ")
    writer.close()
    await asyncio.wait_for(walk.ended.wait(), 10)


async def test_a_client_that_leaves_before_the_first_byte(gateway: Loopback) -> None:
    class Silent(Walk):
        async def handle(self, exchange: Exchange, body: bytes) -> AsyncGenerator[Head | Chunk]:
            self.begun.set()
            try:
                await asyncio.Event().wait()
                yield Head(200, [])
            finally:
                self.ended.set()

    gateway.walk = walk = Silent()
    ticket, port = gateway.expect(Exchange("messages", None))
    _, writer = await asyncio.open_connection(HOST, port)
    writer.write(request(ticket))
    await asyncio.wait_for(walk.begun.wait(), 10)
    writer.close()
    await asyncio.wait_for(walk.ended.wait(), 10)


async def test_who_has_left_before_the_body_was_there_begins_no_turn(
    gateway: Loopback, walk: Walk
) -> None:
    """The flow is over by then: nobody would be told of the turn."""
    ticket, port = gateway.expect(Exchange("messages", None))
    reader, writer = await asyncio.open_connection(HOST, port)
    head, body = request(ticket, b"{}", "Expect: 100-continue")[:-2], b"{}"
    writer.write(head)
    await reader.readuntil(b"100 (Continue)")
    gateway.forget(ticket)
    writer.write(body)
    await reader.readuntil(b"\r\n\r\n")
    writer.close()
    assert walk.bodies == []


async def test_closing_ends_what_is_under_way(walk: Walk, gateway: Loopback) -> None:
    walk.gate = asyncio.Event()
    ticket, port = gateway.expect(Exchange("messages", None))
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(request(ticket))
    await reader.readuntil(b"one ")
    await gateway.close()
    await asyncio.wait_for(walk.ended.wait(), 10)
    writer.close()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(HOST, port)


async def test_a_fault_of_the_walk_tells_nothing(
    gateway: Loopback, walk: Walk, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    walk.fails = RuntimeError(SECRET)
    answer = await bridged(gateway, SECRET.encode())
    assert answer.startswith(b"HTTP/1.1 500")
    assert SECRET.encode() not in answer and SECRET not in caplog.text
    assert "RuntimeError" in caplog.text
