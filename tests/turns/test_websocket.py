"""WebSockets at the loopback server, without a proxy before it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tornado.httpclient import HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

from sessionbridge.allowances import Budget, ClientRules
from sessionbridge.errors import ShuttingDown
from sessionbridge.model import Attempt
from sessionbridge.sessions.origins.table import Origins
from sessionbridge.sessions.store.spending import Limited
from sessionbridge.turns import frames
from sessionbridge.turns.content_coding import MOST
from sessionbridge.turns.exchange import Chunk, Exchange, Head
from sessionbridge.turns.frames import Frame
from sessionbridge.turns.loopback import HOST, TICKET_HEADER, Loopback
from sessionbridge.turns.websocket import Socket
from sessionbridge.turns.worker import Worker
from tests.support.bridge_fixtures import housed

CREATED = b'{"type": "response.created", "response": {"id": "resp_sb1"}}'
COMPLETED = b'{"type": "response.completed", "response": {"id": "resp_sb1"}}'


class Turns:
    """Answers each frame when its gate is open, and notes the bodies and what has become of them.
    `refuses` makes it take none."""

    def __init__(self) -> None:
        self.bodies: list[Any] = []
        self.prepared: list[Any] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.stopped = 0
        self.ended: asyncio.Queue[Exchange] = asyncio.Queue()
        self.refuses = False
        self.socket = Socket(Worker(), self.read, self.exchange, self.nothing, self.note)

    async def read(self, body: bytes) -> Frame:
        return await frames.read(Origins.default(), {}, body, Worker())

    async def exchange(self, frame: Frame) -> Exchange:
        if self.refuses:
            raise ShuttingDown("No more.")
        return Exchange("responses", frame.named.origin, framed=True)

    def nothing(self) -> None:
        pass

    def note(self, exchange: Exchange) -> None:
        self.ended.put_nowait(exchange)

    async def prepare(self, exchange: Exchange, body: bytes) -> None:
        self.prepared.append(json.loads(body)["input"])

    async def handle(self, exchange: Exchange, body: bytes) -> AsyncGenerator[Head | Chunk]:
        self.bodies.append(json.loads(body))
        exchange.outcome.response_id = "msg_1"
        try:
            yield Head(200, [])
            yield Chunk(CREATED)
            await self.gate.wait()
            yield Chunk(b'{"type": "one"}\n{"type": "two"}')
            yield Chunk(COMPLETED, last=True)
        except (asyncio.CancelledError, GeneratorExit):
            self.stopped += 1
            raise


@pytest.fixture
def turns() -> Turns:
    return Turns()


@pytest.fixture
async def client(turns: Turns) -> AsyncIterator[WebSocketClientConnection]:
    gateway = Loopback()
    gateway.listen()
    gateway.walk = turns
    ticket, port = gateway.expect(turns.socket)
    request = HTTPRequest(f"ws://{HOST}:{port}/", headers={TICKET_HEADER: ticket})
    connection = await websocket_connect(request)
    yield connection
    connection.close()
    await gateway.close()


async def heard(client: WebSocketClientConnection, end: str = "response.completed") -> list[Any]:
    events = [json.loads(await client.read_message() or "null")]
    while events[-1]["type"] != end:
        events.append(json.loads(await client.read_message() or "null"))
    return events


async def ended(turns: Turns, count: int) -> None:
    async with asyncio.timeout(10):
        for _ in range(count):
            await turns.ended.get()
    assert turns.socket.running == []


def create(**fields: Any) -> str:
    return json.dumps({"type": "response.create", "input": "hi", **fields})


async def test_each_line_is_a_frame(client: WebSocketClientConnection, turns: Turns) -> None:
    await client.write_message(create())
    types = [event["type"] for event in await heard(client)]
    assert types == ["response.created", "one", "two", "response.completed"]
    await client.write_message(create(stream_id="a.b"))
    assert {event["stream_id"] for event in await heard(client)} == {"a.b"}
    await ended(turns, 2)


async def test_a_frame_is_as_large_as_a_body_may_be(
    client: WebSocketClientConnection, turns: Turns
) -> None:
    await client.write_message(" " * (MOST + 1))
    (told,) = await heard(client, "error")
    assert told["status"] == 413 and f"more than {MOST:,} bytes" in told["error"]["message"]
    await client.write_message(create())
    await heard(client)
    assert len(turns.bodies) == 1


async def test_who_leaves_stops_all_that_runs(
    client: WebSocketClientConnection, turns: Turns
) -> None:
    turns.gate.clear()
    for lane in ("a", "b"):
        await client.write_message(create(stream_id=lane))
        await heard(client, "response.created")
    assert len(turns.socket.running) == 2
    client.close()
    await ended(turns, 2)
    assert turns.stopped == 2


async def test_a_cancel_may_name_its_response(
    client: WebSocketClientConnection, turns: Turns
) -> None:
    turns.gate.clear()
    await client.write_message(create(stream_id="a"))
    await heard(client, "response.created")
    for wrong in ({"response_id": "resp_sb2"}, {"stream_id": "b"}, {}):
        await client.write_message(json.dumps({"type": "response.cancel", **wrong}))
        (told,) = await heard(client, "error")
        assert told["error"]["code"] == "response_cancel_not_active"
    await client.write_message('{"type": "response.cancel", "response_id": "resp_sb1"}')
    (end,) = await heard(client, "response.incomplete")
    assert end == {
        "stream_id": "a",
        "type": "response.incomplete",
        "response": {
            "id": "resp_sb1",
            "status": "cancelled",
            "incomplete_details": {"reason": "cancelled"},
        },
        "sequence_number": 1,
    }
    await ended(turns, 1)
    assert turns.stopped == 1


async def test_what_is_not_taken_is_an_error_in_its_lane(
    client: WebSocketClientConnection, turns: Turns
) -> None:
    turns.refuses = True
    await client.write_message(create(stream_id="a"))
    (told,) = await heard(client, "error")
    assert (told["status"], told["stream_id"]) == (503, "a")
    assert told["headers"] == told["error"]["headers"] == {"retry-after": "1"}
    assert turns.bodies == []


async def test_tools_of_earlier_items_hold_on(
    client: WebSocketClientConnection, turns: Turns
) -> None:
    """Codex brings them as the first item of a conversation, and what is new after that."""
    tools = {"type": "additional_tools", "role": "developer", "tools": [{"name": "exec"}]}
    hello = {"role": "user", "content": "hello"}
    await client.write_message(create(input=[hello], model="m", generate=False))
    ahead = (await heard(client))[-1]["response"]["id"]
    await client.write_message(create(input=[tools], previous_response_id=ahead))
    await heard(client)
    await client.write_message(create(previous_response_id="resp_sb1"))
    await heard(client)
    assert [items[:-1] for items in turns.prepared] == [[hello]]
    said = {"role": "user", "content": "hi"}
    assert [(b["input"], b["previous_response_id"]) for b in turns.bodies] == [
        ([hello, tools], None),
        ([tools, said], "resp_sb1"),
    ]


async def test_a_ticket_of_a_websocket_is_for_nothing_else(turns: Turns) -> None:
    gateway = Loopback()
    gateway.listen()
    gateway.walk = turns
    ticket, port = gateway.expect(turns.socket)
    gateway.forget(ticket)
    asked = {
        TICKET_HEADER: ticket,
        "connection": "Upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    async with httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(f"http://{HOST}:{port}/", headers=asked)).status_code == 403
    await gateway.close()


async def test_over_a_budget_a_frame_is_answered_by_an_error(tmp_path: Path) -> None:
    """And the WebSocket goes on: under the next one's rules there may be room."""
    rules = [ClientRules(budgets=(Budget(per="day", usd=usd),)) for usd in (0.0, 1.0)]
    turns = Turns()

    async def exchange(frame: Frame) -> Exchange:
        who = Attempt(client="ann")
        return Exchange("responses", None, who, framed=True, rules=rules.pop(0))

    async with housed(tmp_path) as house:
        gateway = Loopback()
        gateway.listen()
        gateway.walk = house.bridge
        socket = Socket(Worker(), turns.read, exchange, turns.nothing, turns.note)
        ticket, port = gateway.expect(socket)
        request = HTTPRequest(f"ws://{HOST}:{port}/", headers={TICKET_HEADER: ticket})
        client = await websocket_connect(request)
        await client.write_message(create(model="claude-x"))
        (told,) = await heard(client, "error")
        assert (told["status"], told["error"]["code"]) == (429, "insufficient_quota")
        await client.write_message(create(model="claude-x", max_output_tokens=9))
        await heard(client)
        await ended(turns, 2)
        known = await house.thread.use(Limited("client", "ann", ClientRules(turns_at_once=9)))
        assert (known.lately, known.at_once, len(house.dispatcher.jobs)) == (1, 0, 1)
        client.close()
        await gateway.close()
