"""Conversations that several providers may have turns of: where one of them cannot answer, the next
takes the conversation up, and goes on with it.

What the client resends is planned there as anywhere. What is kept here is read out of the provider
that has its newest turn, and brought in whole. Where a client has named two providers itself, the
same id is two conversations, and neither takes up the other's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sessionbridge.errors import BridgeError, MemoryLost, NotMoved, ProviderGone, SessionLost
from sessionbridge.model import Attempt, Origin, Plan, Point
from sessionbridge.sessions.planning.lineage import Link
from sessionbridge.sessions.planning.manner import Manner
from sessionbridge.sessions.planning.memory import ReadMessages, Remembered, key_lock
from sessionbridge.sessions.planning.plan import plan_unknown
from sessionbridge.sessions.store.queries import Held, Lineage, Response
from sessionbridge.sessions.store.store_thread import StoreThread

SaidBy = Callable[[str], ReadMessages | None]
"""By a provider; None for one that is not there any more."""


def newest(held: Mapping[str, Held], provider: str) -> str:
    """The provider that has the newest turn of what this one goes on with."""
    linked = linked_with(held, provider)
    having = [name for name in linked if name in held and held[name].newest is not None]
    return max(having, key=lambda name: held[name].newest or 0, default=provider)


def linked_with(held: Mapping[str, Held], provider: str) -> set[str]:
    """Those between which a conversation has been moved to this one, or from it."""
    pairs = [{name, one.moved_from} for name, one in held.items() if one.moved_from]
    linked = {provider}
    while more := [pair for pair in pairs if pair & linked and not pair <= linked]:
        linked |= {name for pair in more for name in pair if name is not None}
    return linked


class Movable(Remembered):
    """`after` are the providers that could not answer, the last one last."""

    def __init__(
        self,
        store: StoreThread,
        origin: Origin,
        provider: str,
        links: Sequence[Link],
        attempt: Attempt,
        manner: Manner,
        *,
        refuse_loss: bool,
        said_by: SaidBy,
        said: ReadMessages,
        after: Sequence[str],
    ) -> None:
        how = links, attempt, manner
        super().__init__(store, origin, provider, *how, refuse_loss=refuse_loss, said=said)
        self._said_by = said_by
        self._after = after
        self._noted_moves: Mapping[str, str | None] = {}
        self._tip_reason: str | None = None

    @property
    def _learnt(self) -> Mapping[str, Any]:
        return {**super()._learnt, **self._noted_moves}

    async def plan(self) -> Plan:
        self.moved, self._noted_moves, self._tip_reason = None, {}, None
        held: Mapping[str, Held] = {}
        if self._origin.history != "client":
            held = await self._store.whereabouts(self._key)
            there = self._whose(held)
            if there is not None and not self._attempt.anew:
                plan = await self._taken_up(there)
                if plan is not None:
                    return plan
        plan, here = await super().plan(), held.get(self._key.provider, Held())
        if here.stands_in is not None and not self._after:
            self._noted_moves = {"stands_in": None}  # from now on it has a conversation of its own
        begins_again = plan.reason == "retried" and plan.base is None
        if begins_again and self._tip_reason == "moved" and here.moved_from is not None:
            return await self._taken_up(here.moved_from) or plan
        if plan.name == "import" and await self._is_moved(plan):
            return replace(plan, reason="moved")
        return plan

    async def _lineage(self) -> Lineage:
        lineage = await super()._lineage()
        self._tip_reason = lineage.reason
        return lineage

    def _whose(self, held: Mapping[str, Held]) -> str | None:
        """The other provider whose conversation this goes on with. Raises `NotMoved`."""
        provider = self._key.provider
        if self._after and not linked_with(held, provider) & set(self._after):
            # Of one that only stands in nothing is gone on with here.
            if held.get(provider, Held(stands_in=self._after[0])).stands_in is None:
                raise NotMoved(
                    f"The provider {provider} has a conversation of its own under this id, and "
                    "does not take up that of another."
                )
            held = {**held, provider: Held(moved_from=self._after[0])}
            self._noted_moves = {"moved_from": self._after[0], "stands_in": None}
        there = newest(held, provider)
        if there != provider:
            return there
        is_here = provider in held and held[provider].newest is not None
        return None if is_here or self._after else self._left_by(held)

    def _left_by(self, held: Mapping[str, Held]) -> str | None:
        """The provider that has the newest turn of those that are not there any more."""
        gone = {name: one.newest for name, one in held.items() if self._said_by(name) is None}
        return max(gone, key=lambda name: gone[name] or 0, default=None)

    async def _taken_up(self, there: str) -> Plan | None:
        """None where it is planned as any other: the client resends it, or it goes on from nothing
        there either, as a side call does. Raises `ProviderGone`."""
        like = Remembered(
            *(self._store, self._origin, there, self._links, self._attempt, self._manner),
            refuse_loss=self._refuse_loss,
            said=self._said,
        )
        plan = await like.plan()
        if not like.holds:
            return None
        if plan.base is None:
            if self._noted_moves:
                self._noted_moves = {"stands_in": there}
            return None
        if (said := self._said_by(there)) is None:
            raise ProviderGone(there)
        self._history = "server"
        self.compaction = True
        self.lock = key_lock(self._key)
        self._mapped = None
        new = [*plan.feed, plan.ask]
        try:
            spoken = await said(plan.base.session_id, plan.base.entry_uuid, None)
        except SessionLost as error:
            if self._refuse_loss:
                raise MemoryLost(
                    f"What the provider {there} holds of this conversation is gone, and nothing of "
                    "it is in the request; begin anew, under another id or with "
                    "X-SessionBridge-New: 1."
                ) from error
            return plan_unknown(self._links, "memory_lost")
        self._noted_moves = {"moved_from": there, "stands_in": None}
        self.moved = there, plan.base
        return self._plan_with(spoken, new, None, "moved") or plan_unknown(self._links, "moved")

    async def _is_moved(self, plan: Plan) -> bool:
        """Whether another provider has what is brought in."""
        brought = self._links[-1 - len(plan.feed) : -1]
        return await self._store.is_known_elsewhere(self._key, [link.hash for link in brought])


class MovedAfter(Remembered):
    """What follows an answer of another provider's."""

    def __init__(
        self,
        response: Response,
        store: StoreThread,
        provider: str,
        links: Sequence[Link],
        attempt: Attempt,
        manner: Manner,
        *,
        gone: BridgeError,
        said: ReadMessages,
    ) -> None:
        how = links, attempt, manner
        super().__init__(store, response.origin, provider, *how, refuse_loss=True, said=said)
        self._response = response
        self._gone = gone

    @property
    def _learnt(self) -> Mapping[str, Any]:
        return {"moved_from": self._response.key.provider}

    async def plan(self) -> Plan:
        response = await self._store.response(self._response.id)
        if response is None:
            raise self._gone
        end: Point = response.end
        try:
            spoken = await self._said(end.session_id, end.entry_uuid, None)
        except SessionLost as error:
            raise self._gone from error
        new = [link.message for link in self._links]
        return self._plan_with(spoken, new, None, "moved") or plan_unknown(self._links, "moved")
