"""What becomes of a turn that is passed on, by what the other node does with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest
from cryptography.fernet import Fernet
from tornado import web
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port

from sessionbridge.allowances import Budget, ClientRules
from sessionbridge.errors import ApiFailed, Refused, Unreachable
from sessionbridge.model import Attempt, Origin, Usage
from sessionbridge.sessions.store.postgres.place import Postgres as Place
from sessionbridge.sessions.store.store_thread import StoreThread
from sessionbridge.turns.exchange import Chunk, Exchange, Head, Outcome
from sessionbridge.turns.holders import Holders
from sessionbridge.turns.node_messages import NodeMessages
from sessionbridge.turns.passing_on import HEADER, PassingOn, with_used
from sessionbridge.turns.response_headers import NODE_HEADER
from tests.turns.test_holders import ONE, Wire, until

SESSION = "a-session"
BODY = b'{"messages": []}'
USAGE = Usage(3, 8, 56, 300)
EXCHANGE = Exchange(
    "chat",
    Origin("openclaw", "é" * 255, "conversation", "learn", by_caller=True, client="ann"),
    Attempt(again=True, key="k", anew=True, caller="c", client="ann"),
    model="m",
    rules=ClientRules(budgets=(Budget(per="day", usd=0.5),), providers=("key",), fallback=False),
    path="/v1/chät/\udce9completions?key=hidden",
    trace={"traceparent": "00-a-b-01"},
)


@dataclass
class Other:
    """A node that holds the session. It answers a turn in `pieces`, the last of a stream once it
    `goes_on`, then leaves unless that was `whole`; after `silence` it answers nobody at all. What
    it `shows` is what it says to a question, which has this answer."""

    address: str = ""
    known: bool = True
    stream: bool = True
    pieces: tuple[bytes, ...] = ()
    whole: bool = True
    silence: bool = False
    shows: Callable[[str, str], str | None] = lambda question, answer: answer
    outcome: Outcome = field(default_factory=Outcome)
    asked: list[tuple[str, str, bytes]] = field(default_factory=list)
    quiet: asyncio.Event = field(default_factory=asyncio.Event)
    goes_on: asyncio.Event = field(default_factory=asyncio.Event)
    passing_on: PassingOn = field(init=False)

    def __post_init__(self) -> None:
        self.goes_on.set()

    async def told(self, question: str) -> str | None:
        answer = await self.passing_on.told(question)
        assert answer is not None
        return self.shows(question, answer)

    async def parts(self) -> AsyncGenerator[Head | Chunk]:
        """What a turn has used is known when it has ended."""
        headers = [(NODE_HEADER, self.address)] if self.known else []
        if self.stream:
            yield Head(200, [*headers, ("content-type", "text/event-stream")])
        *first, last = self.pieces or (b"",)
        for piece in first if self.stream else ():
            yield Chunk(piece)
        await self.goes_on.wait()
        if self.stream:
            yield Chunk(last)
        self.outcome.usage, self.outcome.cost_usd = USAGE, 0.25
        if not self.stream:
            whole = b"".join(self.pieces)
            length = len(whole) + (0 if self.whole else 1)
            yield Head(200, [*headers, ("content-length", str(length))])
        yield Chunk(b"" if self.stream else whole, last=self.whole)


class Handler(web.RequestHandler):
    def initialize(self, other: Other) -> None:
        self.other = other

    async def get(self) -> None:
        if self.other.quiet.is_set():
            await asyncio.Event().wait()
        self.set_status(204)
        if (question := self.request.headers.get(HEADER)) and (
            told := await self.other.told(question)
        ):
            self.set_header(HEADER, told)

    async def post(self) -> None:
        other = self.other
        other.asked.append((self.request.path, self.request.headers[HEADER], self.request.body))
        async with aclosing(with_used(other.parts(), other.outcome)) as parts:
            async for part in parts:
                match part:
                    case Head():
                        for name, value in part.headers:
                            self.set_header(name, value)
                    case Chunk():
                        self.write(part.data)
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
    wire: Wire

    async def answer(self, exchange: Exchange = EXCHANGE) -> list[Head | Chunk]:
        return [part async for part in self.passing_on.answer(SESSION, exchange, BODY)]


@asynccontextmanager
async def another(database: str, other: Other) -> AsyncIterator[Passing]:
    socket, port = bind_unused_port()
    server = HTTPServer(web.Application([(".*", Handler, {"other": other})]))
    server.add_socket(socket)
    other.address = f"http://127.0.0.1:{port}"
    database_place, wire = Place(database), Wire()
    store = StoreThread(database_place)

    def passing_on(holders: Holders) -> PassingOn:
        messages = NodeMessages(store, wire.clock, holders.address)
        return PassingOn(holders, messages, longest_silence=0.2)

    here = Holders(wire, ONE, lambda session: None)
    there = Holders(wire, other.address, lambda session: None)
    asking, other.passing_on = passing_on(here), passing_on(there)
    try:
        for node in (here, there):
            node.start()
        there.changed(SESSION, True)
        await until(here, SESSION, other.address)
        yield Passing(asking, here, other, wire)
    finally:
        await asking.close()
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
        there = place.other.passing_on
        assert await there.passed(sealed[:-4] + "AAA=", body) is None
        read = await there.passed(sealed, body)
        assert read is not None
        assert (read.api, read.origin, read.attempt, read.model, read.rules) == (
            EXCHANGE.api,
            EXCHANGE.origin,
            EXCHANGE.attempt,
            EXCHANGE.model,
            EXCHANGE.rules,
        )
        assert read.trace == EXCHANGE.trace
        assert read.path is None, "so that it is not passed on once more"
        assert read.node == place.other.address


async def refusal(answering: Awaitable[object]) -> str:
    with pytest.raises(Refused) as refused:
        await answering
    assert refused.value.status == 403
    return refused.value.message


async def test_a_turn_is_taken_once_there_and_nowhere_else(database: str) -> None:
    async with another(database, Other(stream=False, pieces=(b"{}",))) as place:
        await place.answer()
        await place.answer()
        (_, sealed, body), (_, second, _) = place.other.asked
        there = place.other.passing_on
        assert place.other.address in await refusal(place.passing_on.passed(sealed, body))
        assert await there.passed(sealed, body)
        assert "taken once" in await refusal(there.passed(sealed, body))
        assert "not the body" in await refusal(there.passed(second, body + b" "))
        assert "taken once" in await refusal(there.passed(second, body))
        assert "not known here" in await refusal(there.told(sealed))


async def test_one_that_was_passed_on_long_ago_is_not_taken(database: str) -> None:
    async with another(database, Other(stream=False, pieces=(b"{}",))) as place:
        await place.answer()
        ((_, sealed, body),) = place.other.asked
        place.wire.now += 31
        assert "for 30 s" in await refusal(place.other.passing_on.passed(sealed, body))


FOREIGN = Fernet(Fernet.generate_key())


def answer_to_another(earlier: list[str]) -> Callable[[str, str], str]:
    def shown(question: str, answer: str) -> str:
        earlier.append(answer)
        return earlier[0]

    return shown


@pytest.mark.parametrize(
    "shows",
    [
        lambda question, answer: None,
        lambda question, answer: "x",
        lambda question, answer: question,
        lambda question, answer: FOREIGN.encrypt(b'{"once":"x","held":true}').decode(),
    ],
    ids=["nothing", "nonsense", "the question", "a foreign key"],
)
async def test_a_stranger_that_says_204_gets_nothing(
    database: str, shows: Callable[[str, str], str | None], caplog: pytest.LogCaptureFixture
) -> None:
    async with another(database, Other(pieces=(EVENTS,), shows=shows)) as place:
        assert await place.answer() == []
        assert place.other.asked == []
        assert place.holders.elsewhere(SESSION) is None
    assert f"The node {place.other.address} does not answer" in caplog.text


async def test_nor_one_that_has_heard_an_earlier_answer(database: str) -> None:
    async with another(database, Other(pieces=(EVENTS,), shows=answer_to_another([]))) as place:
        assert await place.answer() != []
        assert await place.answer() == []
        assert len(place.other.asked) == 1


@pytest.mark.parametrize("stream", [True, False])
async def test_what_it_has_used_is_told_and_no_client_hears_it(database: str, stream: bool) -> None:
    async with another(database, Other(stream=stream, pieces=(EVENTS,))) as place:
        asked = replace(EXCHANGE, outcome=Outcome())
        head, *chunks = await place.answer(asked)
    assert isinstance(head, Head) and HEADER not in dict(head.headers)
    assert b"".join(chunk.data for chunk in chunks if isinstance(chunk, Chunk)) == EVENTS
    assert (asked.outcome.usage, asked.outcome.cost_usd) == (USAGE, 0.25)


async def test_whether_its_provider_could_not_answer_is_told(database: str) -> None:
    other = Other(stream=False, pieces=(b"{}",))
    other.outcome.fail(ApiFailed(429, "The account has reached its limit."), 429)
    async with another(database, other) as place:
        asked = replace(EXCHANGE, outcome=Outcome())
        await place.answer(asked)
    assert (asked.outcome.error, asked.outcome.is_unable) == ("429 ApiFailed", True)


async def test_it_is_closed_when_its_turns_have_ended(database: str) -> None:
    other = Other(pieces=(EVENTS, EVENTS))
    async with (
        another(database, other) as place,
        aclosing(place.passing_on.answer(SESSION, EXCHANGE, BODY)) as parts,
    ):
        other.goes_on.clear()
        assert [await anext(parts), await anext(parts)][1] == Chunk(EVENTS)
        closing = asyncio.create_task(place.passing_on.close())
        done, _ = await asyncio.wait([closing], timeout=0)
        assert not done
        async with asyncio.timeout(10):
            assert await place.answer() == [], "what comes now is answered here"
        other.goes_on.set()
        assert [part async for part in parts] == [Chunk(EVENTS), Chunk(b"", last=True)]
        await closing
    assert len(other.asked) == 1
