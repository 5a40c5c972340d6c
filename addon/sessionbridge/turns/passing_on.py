"""Turns that are passed on to the node where a Claude process waits for them.

That node is told what this one has read of the request, sealed: it asks neither who sends it nor
whose conversation it is, and answers it itself. Of the request's headers it gets those of its trace
alone, for others may hold credentials and it needs nothing of them. Nothing is sent to who has not
shown that it is a node of the database.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Iterator
from contextlib import AsyncExitStack, aclosing, contextmanager, suppress
from hashlib import sha256
from urllib.parse import quote

import httpcore2
from pydantic import BaseModel, ValidationError

from sessionbridge.errors import Refused, Unreachable
from sessionbridge.model import Usage
from sessionbridge.turns.exchange import Chunk, Exchange, Head, Outcome, Wanted
from sessionbridge.turns.holders import Holders
from sessionbridge.turns.node_messages import Answer, NodeMessages, Passed, Question, new_name
from sessionbridge.turns.response_headers import NODE_HEADER

logger = logging.getLogger(__name__)

HEADER = "x-sessionbridge-passed-on"
PATH = "/.sessionbridge/session"
"""Where a node is asked whether it holds a session: who does not answer that is frozen, or ends."""

_TO_CONNECT = 1.0
_TO_ANSWER = 2.0
_SILENCE = 15.0
"""Seconds. A stream says something every ten, and an answer that is none may take its time: after
so long the node is asked whether it is there, and has as long to say so."""

_COMMENT = b": "
"""With which a line of a stream begins that is for no client (HTML, 9.2.6)."""

_FAILURES = (
    OSError,
    httpcore2.NetworkError,
    httpcore2.ProtocolError,
    httpcore2.TimeoutException,
)
_NOT_CONNECTED = (httpcore2.ConnectError, httpcore2.ConnectTimeout)
_OF_A_CONNECTION = {"connection", "content-length", "date", "keep-alive", "transfer-encoding"}


class _Used(BaseModel):
    """What became of the turn, as far as it has been counted: `error` has status and class,
    `is_unable` is as in `Outcome`."""

    usage: Usage | None
    cost_usd: float | None
    error: str | None
    is_unable: bool = False


class PassingOn:
    def __init__(
        self, holders: Holders, messages: NodeMessages, longest_silence: float = _SILENCE
    ) -> None:
        self._holders = holders
        self._messages = messages
        self._longest_silence = longest_silence
        self._pool = httpcore2.AsyncConnectionPool(max_connections=None, keepalive_expiry=60)
        self._closing = False
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def close(self) -> None:
        """As soon as no turn is under way any more; what comes meanwhile is not passed on."""
        self._closing = True
        await self._idle.wait()
        await self._pool.aclose()

    @contextmanager
    def _turn(self) -> Iterator[None]:
        self._under_way += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()

    # --- the node that a turn came to ---------------------------------------------------------

    async def answer(
        self, session: str, exchange: Exchange, body: bytes
    ) -> AsyncGenerator[Head | Chunk]:
        """Ends without a part where no other node takes the turn. Raises `Unreachable` where one
        has, and goes away."""
        node = self._holders.elsewhere(session)
        if node is None or self._closing:
            return
        with self._turn():
            if await self._holds(node, session):
                async with aclosing(self._answered(node, exchange, body)) as parts:
                    async for part in parts:
                        yield part

    async def _answered(
        self, node: str, exchange: Exchange, body: bytes
    ) -> AsyncGenerator[Head | Chunk]:
        digest = await asyncio.to_thread(_digest, body)
        passed = Passed(
            node=node,
            once=new_name(),
            api=exchange.api,
            origin=exchange.origin,
            attempt=exchange.attempt,
            rules=exchange.rules,
            model=exchange.model,
            provider=exchange.wanted.provider,
            digest=digest,
            trace=exchange.trace,
        )
        headers = {**await self._sealed(passed), "content-type": "application/json"}
        timeout = {"timeout": {"connect": _TO_CONNECT}}
        url = f"{node}{_address(exchange)}"
        asked = self._pool.stream("POST", url, headers=headers, content=body, extensions=timeout)
        async with AsyncExitStack() as stack:
            try:
                response = await self._heard(stack.enter_async_context(asked), node)
                told = _told(response)
                if NODE_HEADER not in told:
                    return  # it was not taken
                exchange.outcome.node = node
                async for part in self._parts(response, told, exchange.outcome, node):
                    yield part
            except _NOT_CONNECTED:
                self._holders.forget(node)
            except _FAILURES as error:
                raise _went_away(node) from error

    async def _holds(self, node: str, session: str) -> bool:
        question = Question(node=node, once=new_name(), session=session)
        headers = await self._sealed(question)
        answer = None
        with suppress(*_FAILURES, TimeoutError, Refused):
            async with asyncio.timeout(_TO_ANSWER):
                response = await self._pool.request("GET", f"{node}{PATH}", headers=headers)
            answer = await self._messages.read(_told(response).get(HEADER, ""), Answer)
        if answer is not None and answer.once == question.once:
            return answer.held
        logger.warning(
            "The node %s does not answer, or not as a node of this database does; its "
            "conversations are taken over.",
            node,
        )
        self._holders.forget(node)
        return False

    async def _parts(
        self, response: httpcore2.Response, told: dict[str, str], outcome: Outcome, node: str
    ) -> AsyncGenerator[Head | Chunk]:
        """A stream event by event, so that an error can follow; anything else as a whole."""
        _hear_used(outcome, told.pop(HEADER, ""))
        head = Head(response.status, [it for it in told.items() if it[0] not in _OF_A_CONNECTION])
        async with aclosing(self._pieces(response, node)) as pieces:
            if "content-length" in told:
                whole = b"".join([piece async for piece in pieces])
                yield head
                yield Chunk(whole, last=True)
                return
            yield head
            is_sse = told.get("content-type", "").startswith("text/event-stream")
            end, begun = b"\n\n" if is_sse else b"\n", b""
            async for piece in pieces:
                events, found, begun = (begun + piece).rpartition(end)
                if found:
                    yield Chunk(events + found)
            is_told = begun.startswith(_COMMENT)
            if is_told:
                _hear_used(outcome, begun.removeprefix(_COMMENT))
            yield Chunk(b"" if is_told else begun, last=True)

    async def _pieces(self, response: httpcore2.Response, node: str) -> AsyncGenerator[bytes]:
        pieces = response.aiter_stream()
        while (piece := await self._heard(_next(pieces), node)) is not None:
            yield piece

    async def _heard[T](self, coming: Awaitable[T], node: str) -> T:
        """What comes of that node, for as long as it is there. Raises `Unreachable`."""
        task = asyncio.ensure_future(coming)
        try:
            while not (await asyncio.wait([task], timeout=self._longest_silence))[0]:
                with suppress(*_FAILURES, TimeoutError):
                    async with asyncio.timeout(self._longest_silence):
                        await self._pool.request("GET", f"{node}{PATH}")
                    continue
                self._holders.forget(node)
                raise _went_away(node)
            return await task
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def _sealed(self, told: BaseModel) -> dict[bytes | str, bytes | str]:
        return {HEADER: await self._messages.seal(told)}

    # --- the node that it is passed on to -----------------------------------------------------

    async def told(self, sealed: str) -> str | None:
        """Whether a process waits here in the session that another node asks for, sealed; None
        where it is none who asks. Raises `Refused` where it may not be answered."""
        question = await self._messages.take(sealed, Question)
        if question is None:
            return None
        held = self._holders.is_here(question.session)
        return await self._messages.seal(Answer(once=question.once, held=held))

    async def passed(self, sealed: str, body: bytes) -> Exchange | None:
        """As the other node has read it; None where it is none who sends it. Raises `Refused` where
        it may not be answered."""
        passed = await self._messages.take(sealed, Passed)
        if passed is None:
            return None
        if passed.digest != await asyncio.to_thread(_digest, body):
            raise Refused("This is not the body that was passed on; send that.")
        read = passed.api, passed.origin, passed.attempt
        return Exchange(
            *read,
            model=passed.model,
            node=passed.node,
            rules=passed.rules,
            wanted=Wanted(provider=passed.provider),
            trace=passed.trace,
        )


async def with_used(
    parts: AsyncGenerator[Head | Chunk], outcome: Outcome
) -> AsyncGenerator[Head | Chunk]:
    """The answer to a turn that was passed on, with what it has used: in a header where that is
    known by then, else behind the last event, where no other comes after it."""
    told = False
    async with aclosing(parts):
        async for part in parts:
            if not told and (outcome.usage or outcome.error):
                used = _Used.model_validate(outcome, from_attributes=True)
                written = used.model_dump_json()
                match part:
                    case Head():
                        told = True
                        part = Head(part.status, [*part.headers, (HEADER, written)])
                    case Chunk(last=True):
                        part = Chunk(part.data + _COMMENT + written.encode(), last=True)
            yield part


def _hear_used(outcome: Outcome, told: str | bytes) -> None:
    with suppress(ValidationError):  # it tells nothing
        used = _Used.model_validate_json(told)
        outcome.usage, outcome.cost_usd = used.usage, used.cost_usd
        outcome.error, outcome.is_unable = used.error, used.is_unable


async def _next(pieces: AsyncIterator[bytes]) -> bytes | None:
    return await anext(pieces, None)


def _address(exchange: Exchange) -> str:
    """For people who look at the other node: nothing is read from it there."""
    path = (exchange.path or "").partition("?")[0]
    return quote(path, safe="/%", errors="surrogateescape")


def _told(response: httpcore2.Response) -> dict[str, str]:
    """Its headers, by name in lower case."""
    return {name.decode().lower(): value.decode("latin-1") for name, value in response.headers}


def _digest(body: bytes) -> str:
    return sha256(body).hexdigest()


def _went_away(node: str) -> Unreachable:
    return Unreachable(
        f"The node {node}, where this conversation is held, went away while it answered; send this "
        "again, and see whether it runs there if this goes on."
    )
