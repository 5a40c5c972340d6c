"""Turns that are passed on to the node where a Claude process waits for them.

That node is told what this one has read of the request, sealed with a key that only nodes of the
database have: it asks neither who sends it nor whose conversation it is, and answers it itself. Of
the request's headers it gets none, for they may hold credentials and it needs nothing of them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Mapping
from contextlib import AsyncExitStack, aclosing, suppress
from hashlib import sha256
from urllib.parse import quote

import httpcore2
from cryptography.fernet import Fernet, InvalidToken
from pydantic import BaseModel, ValidationError

from sessionbridge.errors import Unreachable
from sessionbridge.model import Attempt, Origin
from sessionbridge.sessions.store.store_thread import StoreThread
from sessionbridge.turns.exchange import Chunk, Exchange, Head
from sessionbridge.turns.holders import Holders
from sessionbridge.turns.response_headers import NODE_HEADER

logger = logging.getLogger(__name__)

HEADER = "x-sessionbridge-passed-on"
PATH = "/.sessionbridge/session"
"""Where a node is asked whether it holds a session: who does not answer that is frozen, or ends."""

_KEY = "node-key"
_TO_CONNECT = 1.0
_TO_ANSWER = 2.0
_SILENCE = 15.0
"""Seconds. A stream says something every ten, and an answer that is none may take its time: after
so long the node is asked whether it is there, and has as long to say so."""

_FAILURES = (
    OSError,
    httpcore2.NetworkError,
    httpcore2.ProtocolError,
    httpcore2.TimeoutException,
)
_NOT_CONNECTED = (httpcore2.ConnectError, httpcore2.ConnectTimeout)
_OF_A_CONNECTION = {"connection", "content-length", "date", "keep-alive", "transfer-encoding"}


class _Asked(BaseModel, extra="forbid"):
    session: str


class _Passed(BaseModel, extra="forbid"):
    """`digest` is that of the body this is told of (SHA-256). Fields that are not known here, of a
    newer release, make it nobody's."""

    api: str
    origin: Origin | None
    attempt: Attempt
    model: str | None
    digest: str


class PassingOn:
    def __init__(
        self, holders: Holders, store: StoreThread, longest_silence: float = _SILENCE
    ) -> None:
        self._holders = holders
        self._store = store
        self._longest_silence = longest_silence
        self._seal: Fernet | None = None
        self._pool = httpcore2.AsyncConnectionPool(max_connections=None, keepalive_expiry=60)

    async def close(self) -> None:
        """Once no turn is under way any more."""
        await self._pool.aclose()

    # --- the node that a turn came to ---------------------------------------------------------

    async def answer(
        self, session: str, exchange: Exchange, body: bytes
    ) -> AsyncGenerator[Head | Chunk]:
        """Ends without a part where no other node takes the turn. Raises `Unreachable` where one
        has, and goes away."""
        node = self._holders.elsewhere(session)
        if node is None or not await self._holds(node, session):
            return
        digest = await asyncio.to_thread(_digest, body)
        passed = _Passed(
            api=exchange.api,
            origin=exchange.origin,
            attempt=exchange.attempt,
            model=exchange.model,
            digest=digest,
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
                async for part in self._parts(response, told, node):
                    yield part
            except _NOT_CONNECTED:
                self._holders.forget(node)
            except _FAILURES as error:
                raise _went_away(node) from error

    async def _holds(self, node: str, session: str) -> bool:
        headers = await self._sealed(_Asked(session=session))
        try:
            async with asyncio.timeout(_TO_ANSWER):
                response = await self._pool.request("GET", f"{node}{PATH}", headers=headers)
        except (*_FAILURES, TimeoutError):
            pass
        else:
            if NODE_HEADER in _told(response):
                return response.status == 204
        logger.warning("The node %s does not answer; its conversations are taken over.", node)
        self._holders.forget(node)
        return False

    async def _parts(
        self, response: httpcore2.Response, told: Mapping[str, str], node: str
    ) -> AsyncGenerator[Head | Chunk]:
        """A stream event by event, so that an error can follow; anything else as a whole."""
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
            yield Chunk(begun, last=True)

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
        return {HEADER: (await self._key()).encrypt(told.model_dump_json().encode()).decode()}

    # --- the node that it is passed on to -----------------------------------------------------

    async def is_held(self, sealed: str) -> bool | None:
        """Whether a process waits here in the session that another node asks for; None where it is
        none who asks."""
        asked = await self._opened(sealed, _Asked)
        return None if asked is None else self._holders.is_here(asked.session)

    async def passed(self, sealed: str, body: bytes) -> Exchange | None:
        """As the other node has read it; None where it is none who sends it."""
        passed = await self._opened(sealed, _Passed)
        if passed is None or passed.digest != await asyncio.to_thread(_digest, body):
            return None
        read = passed.api, passed.origin, passed.attempt
        return Exchange(*read, model=passed.model, node=self.address)

    @property
    def address(self) -> str:
        """Of this node."""
        return self._holders.address

    async def _opened[M: BaseModel](self, sealed: str, kind: type[M]) -> M | None:
        try:
            return kind.model_validate_json((await self._key()).decrypt(sealed.encode()))
        except (InvalidToken, ValidationError, UnicodeError):
            return None

    async def _key(self) -> Fernet:
        if self._seal is None:
            self._seal = Fernet(await self._store.common(_KEY, Fernet.generate_key()))
        return self._seal


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
