"""The WebSockets that are answered here: each frame that asks for a response is one turn of the
walk, and the events of its answer are the frames that leave.

Frames of one `stream_id` are answered one after the other, those of different ones side by side, as
the API does it (https://developers.openai.com/api/docs/guides/websocket-mode).
"""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from tornado.websocket import WebSocketClosedError, WebSocketHandler

from sessionbridge.apis.openai_responses import websocket as api
from sessionbridge.apis.openai_responses.answer import answered
from sessionbridge.errors import (
    BadRequest,
    BridgeError,
    Overloaded,
    RequestTooLarge,
    presentable,
)
from sessionbridge.turns.content_coding import MOST
from sessionbridge.turns.exchange import Chunk, Exchange, Walk
from sessionbridge.turns.frames import Frame
from sessionbridge.turns.request_handler import RequestHandler
from sessionbridge.turns.worker import Worker

_MOST_AT_ONCE = 16
_MOST_LANES = 32
"""The API's limits: responses at once, and names of lanes."""

_MOST_WAITING = 64
"""Responses of one WebSocket that run or wait; the API names no limit."""

_MOST_KNOWN = 32
"""Responses of one WebSocket that its frames can go on from as they need it. The API keeps the last
of each lane."""


@dataclass(slots=True, eq=False)
class Socket:
    """A WebSocket that is expected, or open. `read` and `exchange` say what a frame asks for and
    make a turn of it, or raise `BridgeError`; `begun` and `ended` are told of each turn."""

    worker: Worker
    read: Callable[[bytes], Awaitable[Frame]]
    exchange: Callable[[Frame], Awaitable[Exchange]]
    begun: Callable[[], None]
    ended: Callable[[Exchange], None]
    running: list[Exchange] = field(default_factory=list)

    @contextmanager
    def turn(self, exchange: Exchange) -> Iterator[None]:
        self.running.append(exchange)
        self.begun()
        try:
            yield
        finally:
            self.running.remove(exchange)
            self.ended(exchange)


@dataclass(slots=True, eq=False)
class _Turn:
    """`created` is the first event that was sent of it, `sent` how many there were."""

    frame: Frame
    body: bytes
    task: asyncio.Task[None] | None = None
    exchange: Exchange | None = None
    created: bytes = b""
    sent: int = 0
    cancelled: bool = False

    def is_meant(self, cancel: Frame) -> bool:
        """Whether it is the one under way that the client wants to have stopped. What is being
        committed is no longer stopped: the client gets its end."""
        if self.exchange is None or self.exchange.outcome.committing or self.cancelled:
            return False
        if cancel.response is not None:
            return answered(cancel.response) == self.exchange.outcome.response_id
        return cancel.lane == self.frame.lane


class SocketHandler(RequestHandler, WebSocketHandler):
    def initialize(self, socket: Socket, walk: Callable[[], Walk]) -> None:
        self._socket = socket
        self._walk = walk
        self._lanes: dict[str | None, asyncio.Lock] = {None: asyncio.Lock()}
        self._slots = asyncio.Semaphore(_MOST_AT_ONCE)
        self._turns: list[_Turn] = []
        self._known: OrderedDict[str, api.Before] = OrderedDict()

    def check_origin(self, origin: str) -> bool:
        return True  # looked at before it was sent here

    @property
    def max_message_size(self) -> int:
        """tornado ends the connection without a word for what is larger."""
        return 2**31

    def open(self, *_: str, **__: str) -> None:
        # Small frames must leave at once, as the chunks of other answers.
        self.set_nodelay(True)

    async def on_message(self, message: str | bytes) -> None:
        """Until it returns no further frame is read, so the order in which they came is kept."""
        try:
            body = _text(message)
            frame = await self._socket.read(body)
            if frame.kind == "response.cancel":
                self._cancel(frame)
            else:
                self._begin(_Turn(frame, body))
        except Exception as error:
            self._fail(presentable(error), None)

    def on_close(self) -> None:
        """The client has left: stop its turns where they are."""
        for turn in self._turns:
            assert turn.task is not None
            turn.task.cancel()

    def _begin(self, turn: _Turn) -> None:
        try:
            lane = self._lane(turn.frame.lane)
            if len(self._turns) >= _MOST_WAITING:
                raise Overloaded(
                    f"{_MOST_WAITING} responses run or wait on this WebSocket; ask for more when "
                    "they have ended."
                )
        except BridgeError as error:
            return self._fail(error, turn)
        self._turns.append(turn)
        turn.task = asyncio.create_task(self._run(turn, lane))

    def _lane(self, name: str | None) -> asyncio.Lock:
        """A lock that is had in the order in which it was asked for."""
        if name not in self._lanes:
            if len(self._lanes) > _MOST_LANES:
                raise BadRequest(
                    f"stream_id: this WebSocket has had {_MOST_LANES} of them, which is the most; "
                    "use one of those, or open another WebSocket.",
                    param="stream_id",
                    code="websocket_stream_limit_reached",
                )
            self._lanes[name] = asyncio.Lock()
        return self._lanes[name]

    async def _run(self, turn: _Turn, lane: asyncio.Lock) -> None:
        # What is left of being cancelled is that the client has gone.
        with suppress(WebSocketClosedError, asyncio.CancelledError):
            try:
                async with lane, self._slots:
                    await self._answer(turn)
            except asyncio.CancelledError:
                if turn.cancelled:
                    self._end_cancelled(turn)
            except BridgeError as error:
                self._fail(error, turn)
            except Exception as error:
                self._fail(presentable(error), turn)
        self._turns.remove(turn)

    async def _answer(self, turn: _Turn) -> None:
        frame, body = turn.frame, turn.body
        turn.body = b""  # a turn may last, and has it in other forms
        exchange = await self._socket.exchange(frame)
        before = self._known.get(frame.named.response or "")
        if not frame.generates:
            return await self._prepare(turn, exchange, body, before)
        if before is not None:
            body = await self._socket.worker.done(api.joined, body, before)
        turn.exchange = exchange
        with self._socket.turn(exchange):
            async with aclosing(self._walk().handle(exchange, body)) as parts:
                async for part in parts:
                    if isinstance(part, Chunk):
                        if part.last and exchange.outcome.failure is None:
                            message_id = exchange.outcome.response_id
                            self._know(*api.after(message_id, before, frame.tools))
                        await self._send(part.data, turn)

    async def _prepare(
        self, turn: _Turn, exchange: Exchange, body: bytes, before: api.Before | None
    ) -> None:
        """Nothing is asked of the model: the client says ahead what it is going to go on from. The
        next frame of its lane waits until the process is there, for which it would wait anyway."""
        response, known, events = await self._socket.worker.done(api.prepared, body, before)
        self._know(response, known)
        await self._send(events, turn)
        ahead = await self._socket.worker.done(api.announced, body, before)
        await self._walk().prepare(exchange, ahead)

    def _know(self, response: str, known: api.Before | None) -> None:
        if known is not None:
            self._known[response] = known
        if len(self._known) > _MOST_KNOWN:
            self._known.popitem(last=False)

    def _cancel(self, cancel: Frame) -> None:
        for turn in self._turns:
            if turn.is_meant(cancel):
                assert turn.task is not None
                turn.cancelled = True
                turn.task.cancel()
                return
        raise BadRequest(
            "response.cancel: no such response is under way on this WebSocket.",
            code="response_cancel_not_active",
        )

    def _end_cancelled(self, turn: _Turn) -> None:
        if turn.created:
            self._write(api.cancelled(turn.created, turn.sent), turn)
        else:
            self._fail(BadRequest("The response was cancelled.", code="response_cancelled"), turn)

    def _fail(self, error: BridgeError, turn: _Turn | None) -> None:
        with suppress(WebSocketClosedError):
            self._write(json.dumps(api.error_frame(error)).encode(), turn)

    async def _send(self, events: bytes, turn: _Turn) -> None:
        """JSON lines, of which there may be none. Waits while the client does not read."""
        if not events:
            return
        turn.created = turn.created or events.split(b"\n", 1)[0]
        turn.sent += events.count(b"\n") + 1
        await self._write(events, turn)

    def _write(self, events: bytes, turn: _Turn | None) -> Awaitable[Any]:
        lane = turn.frame.lane if turn else None
        # Its name needs no escapes.
        begin = b"{" if lane is None else b'{"stream_id": "%s", ' % lane.encode()
        for event in events.split(b"\n"):
            written = self.write_message(begin + event.removeprefix(b"{"))
        return written


def _text(message: str | bytes) -> bytes:
    """The bytes of a text frame. Raises `BridgeError`."""
    if isinstance(message, bytes):
        raise BadRequest("This WebSocket takes text frames of JSON only; this one was binary.")
    body = message.encode()
    if len(body) > MOST:
        raise RequestTooLarge(f"The frame has more than {MOST:,} bytes; send less.")
    return body
