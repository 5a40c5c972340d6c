"""Responses that go on without their client: whoever was given the id can follow them, ask how far
they are, and stop them. Those that have ended are kept for a while, so that a client whose
connection broke finds the events that it has missed; after that a response is what is stored of it.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import aclosing

from sessionbridge.apis import SHAPES
from sessionbridge.apis.common import sse
from sessionbridge.apis.openai_responses.event_log import EventLog
from sessionbridge.errors import presentable
from sessionbridge.model import Delta, Origin
from sessionbridge.sessions.store.queries import given_to
from sessionbridge.turns.exchange import Chunk, Exchange, Head
from sessionbridge.turns.response_headers import headers

_KEPT = 600.0
"""Seconds for which the events of one that has ended are kept."""

_MOST_BYTES = 64 * 1024 * 1024
"""Of the events of those that have ended, in all."""

_SILENCE = 15.0
"""Seconds after which a follower is sent something, or proxies on the way close the connection."""


class Running:
    """One of them, from its first event to a while after its last."""

    def __init__(self, exchange: Exchange, log: EventLog) -> None:
        self.exchange = exchange
        self.log = log
        self.ended = False
        self.task: asyncio.Task[None] | None = None
        self._news = asyncio.Event()

    def is_for(self, origin: Origin | None, caller: str) -> bool:
        exchange = self.exchange
        return given_to(exchange.outcome.origin, exchange.attempt.caller, origin, caller)

    def tell(self) -> None:
        """Whoever follows is to look for what is new."""
        self._news.set()
        self._news = asyncio.Event()

    async def stop(self) -> None:
        """Where it is. What is being committed is no longer stopped: it comes to its end."""
        assert self.task is not None
        if not self.exchange.outcome.committing:
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
    yield Head(200, headers(running.exchange, sse.CONTENT_TYPE))
    async with aclosing(running.follow(after)) as events:
        async for event in events:
            yield Chunk(event)
    yield Chunk(b"", last=True)


class Background:
    def __init__(self) -> None:
        self._known: OrderedDict[str, Running] = OrderedDict()
        """By the id of the answer; of those that have ended the first has ended first."""

    def begin(self, running: Running, deltas: AsyncGenerator[Delta | None]) -> None:
        self._known[running.log.message_id] = running
        running.task = asyncio.create_task(self._run(running, deltas))
        running.exchange.outcome.goes_on = running.task

    def find(self, message_id: str, origin: Origin | None, caller: str) -> Running | None:
        """None where it is none of theirs, or is no longer known here."""
        running = self._known.get(message_id)
        return running if running and running.is_for(origin, caller) else None

    def forget(self, running: Running) -> None:
        self._known.pop(running.log.message_id, None)

    async def _run(self, running: Running, deltas: AsyncGenerator[Delta | None]) -> None:
        log, outcome = running.log, running.exchange.outcome
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
            outcome.fail(failure, SHAPES[running.exchange.api].status(failure))
            log.fail(failure)
        running.ended = True
        running.tell()
        self._keep(running)

    def _keep(self, running: Running) -> None:
        id_ = running.log.message_id
        if id_ not in self._known:
            return  # it was deleted
        self._known.move_to_end(id_)
        asyncio.get_running_loop().call_later(_KEPT, self.forget, running)
        ended = [one for one in self._known.values() if one.ended]
        size = sum(one.log.size for one in ended)
        for one in ended[:-1]:
            if size <= _MOST_BYTES:
                break
            size -= one.log.size
            self.forget(one)
