"""The loopback HTTP server behind the proxy: mitmproxy sends it the requests that are ours.

mitmproxy can stream a response only from a server it is connected to, so there is one, in the same
process and on the same event loop. Several ports, because mitmproxy opens at most five connections
to one address for each client connection, and a stream occupies one for as long as it lasts.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import Any

from tornado import web
from tornado.http1connection import HTTP1Connection
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPServerRequest
from tornado.iostream import IOStream, StreamClosedError
from tornado.netutil import bind_sockets
from tornado.routing import Matcher

from sessionbridge.errors import (
    BadRequest,
    BridgeError,
    RequestTooLarge,
    UnknownEncoding,
)
from sessionbridge.names import shown
from sessionbridge.turns.content_coding import MOST, TooLarge, UnknownCoding, decoded, known
from sessionbridge.turns.exchange import Chunk, Exchange, Head, Replay, Walk
from sessionbridge.turns.request_handler import RequestHandler
from sessionbridge.turns.websocket import Socket, SocketHandler

logger = logging.getLogger(__name__)

HOST = "127.0.0.1"
TICKET_HEADER = "x-sessionbridge-ticket"
"""Names the exchange a request belongs to. A secret: any local process can reach the ports."""

_PORTS = 16
_MAX_BODY = 1024 * 1024 * 1024
MAX_HEAD = 64 * 1024
"""Bytes of a request's address and headers: tornado's own limit, and more than the real APIs
take."""


class Loopback:
    """`ports` are there once it listens, `walk` once the options are known."""

    def __init__(self) -> None:
        self.walk: Walk | None = None
        self.ports: list[int] = []
        self._expected: dict[str, tuple[Exchange | Socket | Replay, int]] = {}
        self._answering: dict[str, asyncio.Task[None]] = {}
        self._under_way: Counter[int] = Counter()
        application = web.Application(
            [(_ForSocket(self), SocketHandler), (".*", _Handler, {"loopback": self})],
            log_function=_quiet,
        )
        self._server = HTTPServer(
            application,
            max_buffer_size=_MAX_BODY,
            max_body_size=_MAX_BODY,
            max_header_size=MAX_HEAD,
        )

    def listen(self) -> None:
        """To be called before the first request can come; on the ports it has, if it listens."""
        while len(self.ports) < _PORTS:
            sockets = bind_sockets(0, HOST)
            self._server.add_sockets(sockets)
            self.ports.append(sockets[0].getsockname()[1])

    def expect(self, what: Exchange | Socket | Replay) -> tuple[str, int]:
        """Announces an exchange; its request is to bring the ticket to the port returned. So for
        the upgrade to a WebSocket."""
        ticket = secrets.token_urlsafe(24)
        port = min(self.ports, key=lambda port: self._under_way[port])
        self._under_way[port] += 1
        self._expected[ticket] = what, port
        return ticket, port

    def forget(self, ticket: str) -> asyncio.Task[None] | None:
        """The flow is over, whether or not its request ever came. Returns what has answered it,
        where it was no WebSocket."""
        if found := self._expected.pop(ticket, None):
            self._under_way[found[1]] -= 1
        return self._answering.pop(ticket, None)

    def answers(self, ticket: str, task: asyncio.Task[None]) -> None:
        self._answering[ticket] = task

    def expected(self, ticket: str) -> Exchange | Socket | Replay | None:
        found = self._expected.get(ticket)
        return found[0] if found else None

    def the_walk(self) -> Walk:
        assert self.walk is not None
        return self.walk

    async def close(self) -> None:
        self._server.stop()
        await self._server.close_all_connections()


class _ForSocket(Matcher):
    """The requests that are to become WebSockets."""

    def __init__(self, loopback: Loopback) -> None:
        self._loopback = loopback

    def match(self, request: HTTPServerRequest) -> dict[str, Any] | None:
        socket = self._loopback.expected(request.headers.get(TICKET_HEADER, ""))
        if not isinstance(socket, Socket):
            return None
        return {"target_kwargs": {"socket": socket, "walk": self._loopback.the_walk}}


@web.stream_request_body
class _Handler(RequestHandler):
    """Is there once the headers are, so that nobody without a ticket has a body read."""

    def initialize(self, loopback: Loopback) -> None:
        self._loopback = loopback
        self._what: Exchange | Replay | None = None
        self._body: list[bytes] = []
        self._task: asyncio.Task[None] | None = None

    async def prepare(self) -> None:
        what = self._loopback.expected(self._ticket)
        if isinstance(what, Replay) or (isinstance(what, Exchange) and self._loopback.walk):
            self._what = what
            return
        self.set_status(403)
        self.set_header("Connection", "close")
        await self.finish("This port serves the proxy only.\n")
        self._stream.close()

    def data_received(self, chunk: bytes) -> None:
        self._body.append(chunk)

    async def post(self) -> None:
        assert self._what is not None
        if self._stream.closed() or self._loopback.expected(self._ticket) is None:
            return  # the flow ended before this began: nobody would stop the turn, or be told of it
        # Small chunks must leave at once: with Nagle's algorithm the first took 43 ms, now 2.5.
        self._stream.set_nodelay(True)
        self._task = asyncio.create_task(self._answer(self._what))
        self._loopback.answers(self._ticket, self._task)
        # The walk answers its own errors; what is left is being cancelled, here or at the end.
        with suppress(asyncio.CancelledError):
            await self._task

    # What is sent here with any other method is sent to be refused.
    get = head = put = patch = delete = options = post

    @property
    def _ticket(self) -> str:
        return self.request.headers.get(TICKET_HEADER, "")

    @property
    def _stream(self) -> IOStream:
        assert isinstance(self.request.connection, HTTP1Connection)
        return self.request.connection.stream

    async def _answer(self, what: Exchange | Replay) -> None:
        told = what.parts if isinstance(what, Replay) else await self._turn(what)
        async with aclosing(told) as parts:
            async for part in parts:
                try:
                    await self._write(part)
                except StreamClosedError:
                    return

    async def _turn(self, exchange: Exchange) -> AsyncGenerator[Head | Chunk]:
        body, coding = b"".join(self._body), self.request.headers.get("content-encoding")
        self._body.clear()  # the request stays as long as its answer lasts
        if coding is not None or len(body) > MOST:
            try:
                body = await asyncio.to_thread(decoded, body, coding or "", MOST)
            except ValueError as error:
                body, exchange = b"", replace(exchange, refused=_undecodable(error))
        return self._loopback.the_walk().handle(exchange, body)

    async def _write(self, part: Head | Chunk) -> None:
        match part:
            case Head():
                self.set_status(part.status)
                for name, value in part.headers:
                    self.set_header(name, value)
            case Chunk(last=True):
                await self.finish(part.data)
            case Chunk():
                self.write(part.data)
                await self.flush()

    def on_connection_close(self) -> None:
        """The client has left: stop the turn where it is."""
        if self._task is not None and not self._finished:
            self._task.cancel()


def _undecodable(error: ValueError) -> BridgeError:
    match error:
        case UnknownCoding():
            name = shown(str(error))
            return UnknownEncoding(f"content-encoding: {name} is not known here; use {known()}.")
        case TooLarge():
            return RequestTooLarge(
                f"The request body has more than {MOST:,} bytes once it is decoded; send less."
            )
    return BadRequest(f"The request body is not {error}, as its content-encoding says.")


def _quiet(handler: web.RequestHandler) -> None:
    """The proxy logs requests; a second line for each would only repeat it."""
