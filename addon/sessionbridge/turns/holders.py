"""Which node has the Claude process that waits for a conversation's next turn, as the nodes tell
each other. What is not known, or not so any more, costs time and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import aclosing, suppress
from itertools import batched

from pydantic import BaseModel, ValidationError

from sessionbridge.errors import StoreUnavailable
from sessionbridge.sessions.store.places import Channel

_MOST = 100
"""Sessions in one message."""

_AGAIN = 1.0
"""Seconds until what could not be said is said again."""


class _Said(BaseModel):
    """By the node that is reached at this address. `anew` takes back all it has said before, `asks`
    wants to hear what all others hold."""

    node: str
    anew: bool = False
    asks: bool = False
    held: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()


class Holders:
    """`address` is that of this node. `taken` is told of a session of its own that another holds by
    now: the process that waits here does not know what was said there."""

    def __init__(self, channel: Channel, address: str, taken: Callable[[str], None]) -> None:
        self.address = address
        self._channel = channel
        self._taken = taken
        self._here: set[str] = set()
        self._elsewhere: dict[str, str] = {}
        self._changed: set[str] = set()
        """Sessions of which the others are yet to be told whether they are here."""
        self._anew = self._asks = False
        self._to_say = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._speak())]

    async def close(self) -> None:
        """From now on the others hold whatever this node did."""
        self.stop()
        with suppress(StoreUnavailable):  # they will find out
            await self._channel.say([self._said(anew=True)])

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()

    def changed(self, session: str, here: bool) -> None:
        """Whether a process waits here."""
        if here != (session in self._here):
            (self._here.add if here else self._here.discard)(session)
            self._changed.add(session)
            self._to_say.set()
        if here:
            self._elsewhere.pop(session, None)

    def is_here(self, session: str) -> bool:
        return session in self._here

    def elsewhere(self, session: str) -> str | None:
        """The address of the other node that holds it."""
        return self._elsewhere.get(session)

    def forget(self, node: str) -> None:
        """All that this one holds, until it says so again."""
        held = self._elsewhere.items()
        self._elsewhere = {session: holder for session, holder in held if holder != node}

    async def _listen(self) -> None:
        async with aclosing(self._channel.heard()) as texts:
            async for text in texts:
                if text is None:
                    self._elsewhere.clear()
                    self._say_all(asks=True)
                else:
                    self._hear(text)

    def _hear(self, text: str) -> None:
        try:
            said = _Said.model_validate_json(text)
        except ValidationError:
            return  # of whoever else uses the database
        if said.node == self.address:
            return
        if said.anew:
            self.forget(said.node)
        for session in said.gone:
            if self._elsewhere.get(session) == said.node:
                del self._elsewhere[session]
        for session in said.held:
            self._elsewhere[session] = said.node
            if session in self._here:
                self._taken(session)
        if said.asks:
            self._say_all()

    def _say_all(self, *, asks: bool = False) -> None:
        self._anew, self._asks = True, self._asks or asks
        self._to_say.set()

    async def _speak(self) -> None:
        """What comes while something is being said is said together."""
        while True:
            await self._to_say.wait()
            self._to_say.clear()
            try:
                await self._channel.say(list(self._texts()))
            except StoreUnavailable:
                await asyncio.sleep(_AGAIN)
                self._say_all(asks=True)

    def _texts(self) -> Iterator[str]:
        if self._anew or self._asks:
            yield self._said(anew=self._anew, asks=self._asks)
        changed = self._here if self._anew else self._changed
        for some in batched(sorted(changed), _MOST):
            held = tuple(session for session in some if session in self._here)
            gone = tuple(session for session in some if session not in self._here)
            yield self._said(held=held, gone=gone)
        self._anew = self._asks = False
        self._changed.clear()

    def _said(self, **what: object) -> str:
        said = _Said.model_validate({"node": self.address, **what})
        return said.model_dump_json(exclude_defaults=True)
