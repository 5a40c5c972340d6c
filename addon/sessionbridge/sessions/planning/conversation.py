"""The memory of a request in a conversation that was created here, before anything was said in it.

All its items are kept, so it goes on whatever becomes of its sessions. Those that came to it since
its last turn are asked together with what the request brings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from sessionbridge.model import Attempt, Origin, Plan, Point, TurnRequest
from sessionbridge.sessions.planning.lineage import ROOT, Link, chain
from sessionbridge.sessions.planning.manner import Manner
from sessionbridge.sessions.planning.memory import Remembered, key_lock
from sessionbridge.sessions.planning.plan import plan_after, plan_unknown
from sessionbridge.sessions.store.queries import Response
from sessionbridge.sessions.store.store_thread import StoreThread


@dataclass(frozen=True, slots=True)
class Reached:
    """Where a conversation has come to: its `last` turn, and whether items have come since."""

    last: Response | None
    has_more: bool


class Items(Protocol):
    """Those of one conversation, and the request for a turn in it. Raises `ConversationNotFound`
    for one that is not there, or is somebody else's."""

    async def reached(self) -> Reached: ...

    async def asked(self, end: Point | None, *, whole: bool) -> TurnRequest:
        """The turn with the items before it that came after this `end` of a turn; with the `whole`
        conversation up to there, too. Raises `BadRequest` where they make no conversation."""


class InConversation(Remembered):
    def __init__(
        self,
        items: Items,
        store: StoreThread,
        origin: Origin,
        provider: str,
        links: Sequence[Link],
        attempt: Attempt,
        manner: Manner,
    ) -> None:
        super().__init__(
            store, origin, provider, links, attempt, manner, refuse_loss=False, said=_nothing
        )
        self._items = items
        self._asked: TurnRequest | None = None
        self.conversation = origin.external_id
        self.end: Point | None = None
        self.lock = key_lock(self._key)
        self.compaction = True

    @property
    def _ask_hash(self) -> str:
        return self._links[-1].hash if self._links else ROOT

    async def plan(self) -> Plan:
        reached = await self._items.reached()
        repeats = await self._is_retry(reached)
        last = reached.last
        self.end = (last.before if repeats else last.end) if last else None
        if self._attempt.anew:
            self.end = None
        self._answers = None
        self._asked = await self._items.asked(self.end, whole=False)
        links = chain(self._asked.messages)
        if self.end is None:
            return plan_unknown(links, "started_over" if self._attempt.anew else None)
        plan = plan_after(links, self.end)
        if self.end.is_open and plan.feed:  # what waits takes results alone
            return await self._brought_in_whole()
        return replace(plan, reason="retried") if repeats else plan

    async def _is_retry(self, reached: Reached) -> bool:
        lineage = await self._store.lineage(self._key, (), tip=False)
        self._mapped = lineage.row.session_id if lineage.row else None
        if reached.last is None or reached.has_more:
            return False
        last, turn = reached.last, reached.last.turn
        known = replace(lineage, tip=last.end, asked=turn.ask_hash, request=turn.idempotency_key)
        results = bool(self._links) and self._links[-1].message.brings_results
        return self._repeats(known, results=results)

    async def plan_again(self, lost: Plan) -> Plan:
        return await self._brought_in_whole()

    async def _brought_in_whole(self) -> Plan:
        self._answers = self.end
        self._asked = await self._items.asked(self.end, whole=True)
        links = chain(self._asked.messages)
        brings_results = links[-1].message.brings_results
        return plan_unknown(links, None if brings_results else "rebuilt")

    def completed(self, turn: TurnRequest) -> TurnRequest:
        if self._asked is None:
            return turn
        told = self._asked
        return replace(turn, system=told.system, items=told.items, parameters=told.parameters)


async def _nothing(session: str, upto: str, after: str | None) -> tuple[()]:
    return ()
