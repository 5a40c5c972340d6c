"""What is remembered of a request's conversation: how a turn begins and what is kept of it.

Three kinds, all with the same few verbs, so that the walk need not know which it holds.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sessionbridge.sessions.ledger import Lineage, TurnRecord
from sessionbridge.sessions.lineage import ROOT, chain, extend
from sessionbridge.sessions.plan import (
    plan_client_held,
    plan_server_held,
    plan_unknown,
    resolve_history,
)
from sessionbridge.sessions.store_thread import StoreThread
from sessionbridge.turn import Finished, History, MemoryKind, Message, Origin, Plan, SessionKey


@dataclass(frozen=True, slots=True)
class Answered:
    """A turn that succeeded, as it goes into the ledger. Times: epoch seconds, milliseconds."""

    plan: Plan
    finished: Finished
    text: str
    api: str
    model: str
    response_id: str
    started_at: float
    ttft_ms: int
    duration_ms: int
    place: Mapping[str, Any]


class Memory(Protocol):
    """`kind` is what the CLI is told to keep, `lock` names what only one turn at a time may use,
    `compaction` allows the CLI to shorten a conversation that nobody else holds."""

    kind: MemoryKind
    lock: Hashable
    compaction: bool

    async def plan(self) -> Plan:
        """How the turn begins."""

    async def plan_again(self, lost: Plan) -> Plan:
        """How it begins once the CLI has said that the session of `lost` is gone."""

    async def commit(self, answered: Answered) -> int | None:
        """Keeps the turn; its number in the ledger, or None where nothing is kept."""


class Remembered:
    """A conversation with a session key, in the store."""

    kind: MemoryKind = "session"

    def __init__(
        self, store: StoreThread, origin: Origin, provider: str, messages: Sequence[Message]
    ) -> None:
        self._store = store
        self._origin = origin
        self._key = SessionKey(origin.platform, origin.external_id, provider)
        self._links = chain(messages)
        self._history: History = origin.history
        self.lock: Hashable = self._key
        self.compaction = False

    async def plan(self) -> Plan:
        lineage = await self._store.lineage(self._key, [link.hash for link in self._links])
        self._history = resolve_history(self._history, self._links, _learned(lineage))
        self.compaction = self._history == "server"
        if self._history == "client":
            return plan_client_held(self._links, lineage.points)
        return plan_server_held(self._links, lineage.tip)

    async def plan_again(self, lost: Plan) -> Plan:
        if lost.base is not None:
            await self._store.forget_session(lost.base.internal_id)
        return plan_unknown(self._links, lost=True)

    async def commit(self, answered: Answered) -> int | None:
        finished, plan = answered.finished, answered.plan
        hashes = _hashes(plan, answered.text)
        return await self._store.commit(
            TurnRecord(
                key=self._key,
                internal_id=finished.internal_id,
                parent_id=plan.base.turn_id if plan.base else None,
                ask_hash=self._links[-1].hash,
                history_hash=hashes[-1],
                tip_uuid=finished.entries[-1],
                response_id=answered.response_id,
                idempotency_key=None,
                plan=plan.name,
                reason=plan.reason,
                status=finished.stop_reason,
                api=answered.api,
                model=answered.model,
                usage=finished.usage,
                cost_usd=finished.cost_usd,
                started_at=answered.started_at,
                ttft_ms=answered.ttft_ms,
                duration_ms=answered.duration_ms,
                points=tuple(zip(hashes, finished.entries, strict=True)),
                metadata={"kind": self._origin.kind, "history": self._history, **answered.place},
            )
        )


class Fleeting:
    """Nothing is kept: no origin and `stateless`, or the session map switched off."""

    kind: MemoryKind = "none"
    compaction = False

    def __init__(self, reason: str, messages: Sequence[Message]) -> None:
        self._reason = reason
        self._links = chain(messages)
        self.lock: Hashable = object()

    async def plan(self) -> Plan:
        *earlier, ask = self._links
        feed = tuple(link.message for link in earlier)
        return Plan("import" if feed else "fresh", self._reason, None, feed, ask.message)

    async def plan_again(self, lost: Plan) -> Plan:
        return lost

    async def commit(self, answered: Answered) -> int | None:
        return None


class Continued(Fleeting):
    """No origin and `continue`: everybody's last message goes to the CLI's most recent session."""

    kind: MemoryKind = "continue"
    compaction = True

    def __init__(self, messages: Sequence[Message]) -> None:
        super().__init__("continue", messages[-1:])
        self.lock: Hashable = "continue"


def _hashes(plan: Plan, text: str) -> list[str]:
    """One for each message fed, for the one asked, and for the answer.

    Counted on from the base, not from the request: where the history is kept here, a request holds
    only its end, and a point must stand for everything the model has seen.
    """
    answer = Message("assistant", ({"type": "text", "text": text},))
    hashes = [plan.base.hash if plan.base else ROOT]
    for message in (*plan.feed, plan.ask, answer):
        hashes.append(extend(hashes[-1], message))
    return hashes[1:]


def _learned(lineage: Lineage) -> str | None:
    return lineage.row.metadata.get("history") if lineage.row else None
