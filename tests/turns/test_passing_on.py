"""What becomes of a turn that is passed on, by what the other node does with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from tornado import web
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port

from sessionbridge.errors import Unreachable
from sessionbridge.model import Attempt, Origin
from sessionbridge.sessions.store.postgres.place import Postgres as Place
from sessionbridge.sessions.store.store_thread import StoreThread
from sessionbridge.turns.exchange import Chunk, Exchange, Head
from sessionbridge.turns.holders import Holders
from sessionbridge.turns.passing_on import HEADER, PassingOn
from sessionbridge.turns.response_headers import NODE_HEADER
from tests.turns.test_holders import ONE, Wire, until

SESSION = "a-session"
BODY = b'{"messages": []}'
EXCHANGE = Exchange(
    "chat",
    Origin("openclaw", "é" * 255, "conversation", "learn", by_caller=True),
    Attempt(again=True, key="k", anew=True, caller="c"),
    model="m",
    path="/v1/chät/\udce9completions?key=hidden",
)


@dataclass
class Other:
    """A node that holds the session. It answers a turn in `pieces`, then leaves unless that was
    `whole`; after `silence` it answers nobody at all."""

    address: str = ""
    known: bool = True
    stream: bool = True
    pieces: tuple[bytes, ...] = ()
    whole: bool = True
    silence: bool = False
    asked: list[tuple[str, str, bytes]] = field(default_factory=list)
    quiet: asyncio.Event = field(default_factory=asyncio.Event)


class Handler(web.RequestHandler):
    def initialize(self, other: Other) -> None:
        self.other = other

    async def get(self) -> None:
        if self.other.quiet.is_set():
            await asyncio.Event().wait()
        self.set_status(204)
        self.set_header(NODE_HEADER, self.other.address)

    async def post(self) -> None:
        other = self.other
        other.asked.append((self.request.path, self.request.headers[HEADER], self.request.body))
        if other.known:
            self.set_header(NODE_HEADER, other.address)
        self.set_header("content-type", "text/event-stream" if other.stream else "application/json")
        if not other.stream:
            whole = sum(map(len, other.pieces)) + (0 if other.whole else 1)
            self.set_header("content-length", str(whole))
        for piece in other.pieces:
            self.write(piece)
            await self.flush()
        if other.silence:
            other.quiet.set()
            await asyncio.Event().wait()
        if not other.whole:
            self.detach().close()


@dataclass
class Passing:
    passing_on: PassingOn
    holders: Holders
    other: Other

    async def answer(self) -> list[Head | Chunk]:
        return [part async for part in self.passing_on.answer(SESSION, EXCHANGE, BODY)]


@asynccontextmanager
async def another(database: str, other: Other) -> AsyncIterator[Passing]:
    socket, port = bind_unused_port()
    server = HTTPServer(web.Application([(".*", Handler, {"other": other})]))
    server.add_socket(socket)
    other.address = f"http://127.0.0.1:{port}"
    database_place, wire = Place(database), Wire()
    store = StoreThread(database_place)
    here = Holders(wire, ONE, lambda session: None)
    passing_on = PassingOn(here, store, longest_silence=0.2)
    there = Holders(wire, other.address, lambda session: None)
    try:
        for node in (here, there):
            node.start()
        there.changed(SESSION, True)
        await until(here, SESSION, other.address)
        yield Passing(passing_on, here, other)
    finally:
        await passing_on.close()
        for node in (here, there):
            node.stop()
        server.stop()
        await server.close_all_connections()
        store.close()
        database_place.close()


EVENTS = b"event: a\ndata: 1\n\nevent: b\ndata: 2\n\n"


async def test_a_stream_comes_event_by_event(database: str) -> None:
    cut = tuple(EVENTS[place : place + 1] for place in range(len(EVENTS)))
    async with another(database, Other(pieces=cut)) as place:
        head, *chunks = await place.answer()
    assert isinstance(head, Head)
    told = dict(head.headers)
    assert (head.status, told["content-type"]) == (200, "text/event-stream")
    assert told[NODE_HEADER] == place.other.address
    assert [chunk.data for chunk in chunks if isinstance(chunk, Chunk)] == [
        b"event: a\ndata: 1\n\n",
        b"event: b\ndata: 2\n\n",
        b"",
    ]


async def test_of_a_stream_that_breaks_whole_events_alone(database: str) -> None:
    told: list[bytes] = []
    async with another(database, Other(pieces=(EVENTS + b"event: c\nda",), whole=False)) as place:
        with pytest.raises(Unreachable, match=r"The node http://127\S+, where this conversation"):
            async for part in place.passing_on.answer(SESSION, EXCHANGE, BODY):
                if isinstance(part, Chunk):
                    told.append(part.data)
    assert told == [EVENTS]


async def test_nothing_of_another_answer_that_breaks(database: str) -> None:
    other = Other(stream=False, pieces=(b'{"content": ',), whole=False)
    async with another(database, other) as place:
        answer = place.passing_on.answer(SESSION, EXCHANGE, BODY)
        with pytest.raises(Unreachable):
            await anext(answer)


async def test_what_is_silent_and_does_not_say_that_it_is_there(database: str) -> None:
    async with another(database, Other(pieces=(EVENTS,), silence=True)) as place:
        with pytest.raises(Unreachable):
            await place.answer()
        assert place.holders.elsewhere(SESSION) is None


@pytest.mark.parametrize("pieces", [(), (b'{"error": "407"}',)])
async def test_what_the_bridge_there_has_not_answered_was_not_taken(
    database: str, pieces: tuple[bytes, ...]
) -> None:
    other = Other(known=False, stream=False, pieces=pieces)
    async with another(database, other) as place:
        assert await place.answer() == []
    assert len(other.asked) == 1


async def test_the_other_reads_what_this_one_has_read(database: str) -> None:
    async with another(database, Other(stream=False, pieces=(b"{}",))) as place:
        head, chunk = await place.answer()
        assert chunk == Chunk(b"{}", last=True)
        ((path, sealed, body),) = place.other.asked
        assert (path, body) == ("/v1/ch%C3%A4t/%E9completions", BODY)
        for hidden in ("openclaw", "hidden"):
            assert hidden not in sealed + path
        read = await place.passing_on.passed(sealed, body)
        assert read is not None
        assert (read.api, read.origin, read.attempt, read.model) == (
            EXCHANGE.api,
            EXCHANGE.origin,
            EXCHANGE.attempt,
            EXCHANGE.model,
        )
        assert read.path is None, "so that it is not passed on once more"
        assert read.node == ONE
        assert await place.passing_on.passed(sealed, body + b" ") is None
        assert await place.passing_on.passed(sealed[:-4] + "AAA=", body) is None
        assert await place.passing_on.is_held(sealed) is None
