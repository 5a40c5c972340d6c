"""Responses that go on without their client: whoever was given the id can follow them, ask how far
they are, and stop them. The events of those that have ended are kept for a while, so that a client
whose connection broke finds those that it has missed; after that a response is what is stored of
it.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from sessionbridge.apis import SHAPES
from sessionbridge.apis.common import sse
from sessionbridge.apis.openai_responses.event_log import EventLog
from sessionbridge.apis.openai_responses.stored import input_items
from sessionbridge.errors import presentable
from sessionbridge.model import Delta, Origin, TurnRequest
from sessionbridge.sessions.planning.lineage import alternating
from sessionbridge.sessions.store.queries import given_to
from sessionbridge.turns.exchange import Chunk, Exchange, Head
from sessionbridge.turns.response_headers import headers

_KEPT = 600.0
"""Seconds for which the events of one that has ended are kept."""

_MOST_BYTES = 64 * 1024 * 1024
"""Of the events of those that have ended, in all; the last of them are kept however many they
are."""

_SILENCE = 15.0
"""Seconds after which a follower is sent something, or proxies on the way close the connection."""


class Running:
    """One of them, from its first event to a while after its last. Once it has ended, nothing but
    its events is kept of its request and of what became of that."""

    def __init__(self, turn: TurnRequest, exchange: Exchange, log: EventLog) -> None:
        self.log = log
        self.task: asyncio.Task[None] | None = None
        self._asked: tuple[TurnRequest, Exchange] | None = (turn, exchange)
        self._given_to = exchange.outcome.origin, exchange.attempt.caller
        self._headers: Sequence[tuple[str, str]] = ()
        self._is_stored = False
        self._news = asyncio.Event()

    @property
    def ended(self) -> bool:
        return self._asked is None

    @property
    def is_kept(self) -> bool:
        """Whether it has ended, and is stored."""
        return self._is_stored and self.log.document["status"] in ("completed", "incomplete")

    @property
    def headers(self) -> Sequence[tuple[str, str]]:
        """Of its stream, as far as they are known."""
        return headers(self._asked[1], sse.CONTENT_TYPE) if self._asked else self._headers

    @property
    def input_items(self) -> list[dict[str, Any]] | None:
        """What it is asked with; None once it has ended."""
        if self._asked is None:
            return None
        turn, _ = self._asked
        return input_items(alternating(turn.messages), self.log.message_id, turn)

    def is_for(self, origin: Origin | None, caller: str) -> bool:
        return given_to(*self._given_to, origin, caller)

    def end(self) -> None:
        assert self._asked is not None
        self._headers = self.headers
        self._is_stored = self._asked[1].outcome.turn is not None
        self._asked = None
        self.tell()

    def tell(self) -> None:
        """Whoever follows is to look for what is new."""
        self._news.set()
        self._news = asyncio.Event()

    async def stop(self) -> None:
        """Where it is. What is being committed is no longer stopped: it comes to its end."""
        assert self.task is not None
        if self._asked and not self._asked[1].outcome.committing:
            self.task.cancel()
        await asyncio.wait([self.task])

    async def follow(self, after: int) -> AsyncGenerator[bytes]:
        """The events behind the one of this number (-1 for all), each as soon as it is there."""
        place = after + 1
        while place < len(self.log.events) or not self.ended:
            news = self._news
            if place < len(self.log.events):
                yield self.log.events[place]
                place += 1
                continue
            try:
                async with asyncio.timeout(_SILENCE):
                    await news.wait()
            except TimeoutError:
                yield sse.comment("ping")


async def followed(running: Running, after: int = -1) -> AsyncGenerator[Head | Chunk]:
    """As the stream that it is."""
    yield Head(200, running.headers)
    async with aclosing(running.follow(after)) as events:
        async for event in events:
            yield Chunk(event)
    yield Chunk(b"", last=True)


class Background:
    def __init__(self) -> None:
        self._known: OrderedDict[str, Running] = OrderedDict()
        """By the id of the answer; of those that have ended the first has ended first."""

    def begin(
        self, turn: TurnRequest, exchange: Exchange, deltas: AsyncGenerator[Delta | None]
    ) -> Running:
        """Its answer will have the id that the exchange has for it."""
        assert exchange.outcome.given_id is not None
        running = Running(turn, exchange, EventLog(turn, exchange.outcome.given_id))
        self._known[running.log.message_id] = running
        running.task = asyncio.create_task(self._run(running, exchange, deltas))
        exchange.outcome.goes_on = running.task
        return running

    def find(self, message_id: str, origin: Origin | None, caller: str) -> Running | None:
        """None where it is none of theirs, or is no longer known here."""
        running = self._known.get(message_id)
        return running if running and running.is_for(origin, caller) else None

    def forget(self, message_id: str) -> None:
        self._known.pop(message_id, None)

    async def _run(
        self, running: Running, exchange: Exchange, deltas: AsyncGenerator[Delta | None]
    ) -> None:
        log = running.log
        try:
            async with aclosing(deltas):
                async for delta in deltas:
                    if delta is not None:
                        log.hear(delta)
                        running.tell()
        except asyncio.CancelledError:
            log.cancel()
        except Exception as error:
            failure = presentable(error)
            exchange.outcome.fail(failure, SHAPES[exchange.api].status(failure))
            log.fail(failure)
        running.end()
        self._keep(log.message_id)

    def _keep(self, id_: str) -> None:
        if id_ not in self._known:
            return  # it was deleted
        self._known.move_to_end(id_)
        # By its id: what is forgotten before that is not to stay in memory for it.
        asyncio.get_running_loop().call_later(_KEPT, self.forget, id_)
        logs = [one.log for one in self._known.values() if one.ended]
        size = sum(log.size for log in logs)
        for log in logs[:-1]:
            if size <= _MOST_BYTES:
                break
            size -= log.size
            self.forget(log.message_id)
