"""How many turns may run at once, and how many may wait.

A turn waits up to twice: for its session, then for a slot. From the first of these waits until it
runs it counts against the queue, and only before the first can it be refused; a turn that need not
wait is not refused however full the queue is. Slots are given in order of arrival. A turn that ends
while it waits, because its client has left, gives its ticket to others at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager

from sessionbridge.errors import ConversationBusy, Overloaded


class Admission:
    """`concurrency` turns may run, and `queue` more may wait."""

    def __init__(self, concurrency: int, queue: int) -> None:
        self._concurrency = concurrency
        self._queue = queue
        self._slots = asyncio.Semaphore(concurrency)
        self._waiting: set[Ticket] = set()
        self._running: set[Ticket] = set()

    @property
    def running_now(self) -> int:
        return len(self._running)

    @property
    def waiting_now(self) -> int:
        return len(self._waiting)

    @contextmanager
    def turn(self, *, waits: bool = True) -> Iterator[Ticket]:
        """From a turn's arrival to its end. One that does not wait is refused instead."""
        ticket = Ticket(self, waits=waits)
        try:
            yield ticket
        finally:
            self._waiting.discard(ticket)

    def _queue_up(self, ticket: Ticket, refusal: type[Overloaded]) -> None:
        room = ticket in self._waiting or len(self._waiting) < self._queue
        if not (ticket.waits and room):
            raise refusal(
                f"The bridge is busy (turns running: {self.running_now} of {self._concurrency}, "
                f"waiting: {self.waiting_now} of {self._queue}); try again later, or raise "
                "sessionbridge_concurrency or sessionbridge_queue."
            )
        self._waiting.add(ticket)

    @asynccontextmanager
    async def _slot(self, ticket: Ticket) -> AsyncIterator[None]:
        if self._slots.locked():
            self._queue_up(ticket, Overloaded)
        try:
            await self._slots.acquire()
        finally:
            self._waiting.discard(ticket)
        self._running.add(ticket)
        try:
            yield
        finally:
            self._running.discard(ticket)
            self._slots.release()


class Ticket:
    """What a turn that is inside may ask for."""

    def __init__(self, admission: Admission, *, waits: bool) -> None:
        self.waits = waits
        self._admission = admission

    def queue_up(self) -> None:
        """To be called before a wait for a turn of the same session; there may be several in a row.
        Raises `ConversationBusy` where the queue is full."""
        self._admission._queue_up(self, ConversationBusy)

    def slot(self) -> AbstractAsyncContextManager[None]:
        """Within it the turn runs. Raises `Overloaded` where it would have to begin to wait for
        that, and the queue is full."""
        return self._admission._slot(self)
