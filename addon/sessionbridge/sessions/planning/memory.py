"""What is remembered of a request's conversation: how a turn begins and what is kept of it.

Four kinds, all with the same few verbs, so that the walk need not know which it holds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from sessionbridge.errors import BadRequest, ConversationNotFound, MemoryLost, SessionLost
from sessionbridge.model import (
    Attempt,
    Finished,
    History,
    MemoryKind,
    Message,
    Origin,
    Plan,
    Point,
    Process,
    SessionKey,
    TurnRequest,
)
from sessionbridge.names import shown
from sessionbridge.sessions.planning.lineage import ROOT, Link, beginnings, chain, extend
from sessionbridge.sessions.planning.manner import Manner
from sessionbridge.sessions.planning.plan import (
    plan_client_held,
    plan_server_held,
    plan_unknown,
    resolve_history,
)
from sessionbridge.sessions.store.ledger import TurnRecord, UnkeptTurn
from sessionbridge.sessions.store.queries import Lineage
from sessionbridge.sessions.store.spending import Settlement
from sessionbridge.sessions.store.store_thread import StoreThread


@dataclass(frozen=True, slots=True)
class Answered:
    """A turn that succeeded, as it goes into the ledger. Times: epoch seconds, milliseconds.

    `plan` is how it was planned. It may have been carried out from another `base`, after which the
    model was `shown` these messages. The `settlement` of what it has reserved is kept with it.
    """

    plan: Plan
    base: Point | None
    shown: Sequence[Message]
    finished: Finished
    answer: Message
    api: str
    model: str
    process: Process | None
    response_id: str
    started_at: float
    ttft_ms: int
    duration_ms: int
    location: Mapping[str, Any]
    settlement: Settlement | None = None


class Memory(Protocol):
    """`kind` is what the CLI is told to keep, `compaction` allows the CLI to shorten a conversation
    that nobody else holds. After `plan`, `lock` names what only one turn at a time may use, if it
    shares anything with others, and `moved` the provider whose conversation it takes up, and where
    that has ended."""

    kind: MemoryKind
    lock: str | None
    compaction: bool
    moved: tuple[str, Point] | None

    @property
    def holds(self) -> bool:
        """Whether the request has only what is new, and the history is kept here."""

    async def plan(self) -> Plan:
        """How the turn begins. Asked again once its lock is had: others may have ended since."""

    def completed(self, turn: TurnRequest) -> TurnRequest:
        """The turn as the plan has it asked, where it holds more than its request."""

    async def begin(self, plan: Plan) -> None:
        """The turn is about to be dispatched."""

    async def plan_again(self, lost: Plan) -> Plan:
        """How it begins once the CLI has said that the session of `lost` is gone."""

    async def commit(self, answered: Answered) -> int | None:
        """Keeps the turn; its number in the ledger, or None where nothing is kept."""

    async def count(self, turn: UnkeptTurn) -> int | None:
        """Keeps what a turn used that failed, and nothing else of it; returns as `commit` does."""

    async def superseded(self, plan: Plan, turn: int | None) -> str | None:
        """A session that nothing will continue any more now that this turn is kept."""


ReadMessages = Callable[[str, str, str | None], Awaitable[Sequence[Message]]]
"""Session, last entry, and the entry before the first: the messages between. Raises `SessionLost`
where they are not known any more."""


class Remembered:
    """A conversation with a session key, in the store. `links` are the request's messages, `manner`
    is how it asks; `refuse_loss` makes losing a history that only the bridge held an error. `said`
    tells what a session holds."""

    kind: MemoryKind = "session"
    moved: tuple[str, Point] | None = None

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
        said: ReadMessages,
    ) -> None:
        self._store = store
        self._manner = manner
        self._origin = origin
        self._key = SessionKey(origin.scope, origin.external_id, provider)
        self._links = links
        self._attempt = attempt
        self._refuse_loss = refuse_loss
        self._said = said
        self._history: History = origin.history
        self._mapped: str | None = None
        self._answers: Point | None = None
        self.lock: str | None = None
        self.compaction = False

    @property
    def _learnt(self) -> Mapping[str, Any]:
        return {"kind": self._origin.kind, "history": self._history}

    @property
    def holds(self) -> bool:
        return self._history == "server"

    @property
    def _hashes(self) -> list[str]:
        return [link.hash for link in self._links]

    @property
    def _ask_hash(self) -> str:
        return self._links[-1].hash

    def completed(self, turn: TurnRequest) -> TurnRequest:
        return turn

    async def plan(self) -> Plan:
        if self._origin.by_caller:
            await self._check_caller()
        here = self._origin.history != "client"
        lineage = await self._lineage() if here else await self._without_tip()
        self._mapped = lineage.row.session_id if lineage.row else None
        learned = "client" if self._resends_the_unanswered(lineage) else _learned(lineage)
        self._history = resolve_history(self._origin.history, self._links, learned)
        # No first turn is too long. Until a key is known it is taken for one whose client keeps the
        # history: most do, and then the next turn finds its process as it wants it.
        known = self._origin.history == "server" or lineage.row is not None
        self.compaction = self._history == "server" and known
        if self._attempt.anew:
            plan = plan_unknown(self._links, "started_over")
        elif self._history == "client":
            points = lineage.points
            plan = plan_client_held(self._links, points, lineage.open_turn, self._manner)
        else:
            plan = self._plan_server_held(lineage)
        self.lock = self._lock(plan, _learned(lineage))
        return plan

    async def _check_caller(self) -> None:
        """Raises `ConversationNotFound` for one that somebody else has."""
        if await self._store.caller(self._key) not in (None, self._attempt.caller):
            named = shown(self._key.external_id)
            raise ConversationNotFound(f"Conversation with id {named} not found.")

    async def _lineage(self) -> Lineage:
        waits = self._links[-1].message.brings_results
        return await self._store.lineage(
            self._key, self._hashes, asked_so=self._looked_for, waits=waits
        )

    def _resends_the_unanswered(self, lineage: Lineage) -> bool:
        """Where the model said nothing, the client has no answer to show: what it asked before and
        what it asks now are one message."""
        tip, alone = lineage.tip, len(self._links) == 1
        if tip is None or not tip.is_open or not alone:
            return False
        return tip.hash in beginnings(self._links[0].message)

    async def _without_tip(self) -> Lineage:
        return await self._store.lineage(self._key, self._hashes, tip=False)

    @property
    def _looked_for(self) -> Manner | None:
        """Until it is known who keeps the history, a lone message goes on from what was asked like
        it: it may be a side call, or what a side call came before."""
        return self._manner if self._origin.history == "learn" else None

    def _plan_server_held(self, lineage: Lineage) -> Plan:
        if self._looked_for and lineage.row and (lineage.tip is None or self._manner.is_task):
            return plan_unknown(self._links, "other_settings")
        results = self._links[-1].message.brings_results
        repeats = self._repeats(lineage, results=results)
        tip = lineage.tip
        end = lineage.before if repeats else tip
        waits = end is not None and end.is_open
        if results and not waits and _brings_calls(self._links):
            return plan_unknown(self._links)
        return plan_server_held(self._links, tip, repeats=repeats, before=lineage.before)

    def _repeats(self, lineage: Lineage, *, results: bool) -> bool:
        """Whether it is the turn of the tip once more. `results` says that it brings some."""
        tip, key = lineage.tip, self._attempt.key
        same = lineage.asked == self._ask_hash
        # Where saying the same once more was tried after the tip and did not come to its end, this
        # is the retry of that: the tip only sounds alike, and stays.
        tried = tip is not None and _trying(lineage) == self._noted(tip.turn_id)
        known = key is not None and key == lineage.request
        # No two calls have one id: results that were asked before are the same ones.
        return same and (known or results or (self._attempt.again and not tried))

    def _lock(self, plan: Plan, learned: str | None) -> str | None:
        """Where the history is kept here, or that is still to be learnt, turns of one key wait for
        each other. Where the client keeps it, only those do that continue one session in place: a
        fork or an import has a session of its own, so a side call never waits for the main one."""
        learning = self._origin.history == "learn" and learned != "client"
        if self._history == "server" or learning:
            return key_lock(self._key)
        return plan.base.session_id if plan.base and plan.name == "resume" else None

    async def begin(self, plan: Plan) -> None:
        """Notes what is being tried, so that a retry after a crash is known for what it is."""
        if self._history == "server" and self._mapped is not None:
            turn_id = plan.base.turn_id if plan.base else None
            await self._store.note(self._key, self._mapped, {_TRYING: self._noted(turn_id)})

    def _noted(self, turn_id: int | None) -> str:
        return f"{self._ask_hash}@{turn_id}"

    async def plan_again(self, lost: Plan) -> Plan:
        if plan := await self._brought_in(lost, self._links[-1:]):
            return plan
        alone = len(self._links) == 1
        refuse = alone and self._refuse_loss
        if lost.base is not None:
            await self._store.forget_session(lost.base.session_id, unmap=refuse)
        if refuse:
            raise MemoryLost(
                "The Claude session of this conversation is gone, and nothing of it is in the "
                "request; send it once more to begin anew."
            )
        return plan_unknown(self._links, "memory_lost" if alone else None)

    async def _brought_in(self, lost: Plan, new: Sequence[Link]) -> Plan | None:
        """How it goes on without what is lost: the process of an open turn, or then the session
        that this followed, which its own one holds all of; or a session that the CLI no longer goes
        on with. Where the history is kept here, `new` is what is not part of it yet. None where
        nothing of it is known any more."""
        process_is_lost = lost.base is not None and lost.base.is_open
        turn, reason = (lost.base, None) if process_is_lost else (self._answers, None)
        if turn is None and self._history == "server":
            turn, reason = lost.base, "rebuilt"
        if turn is None:
            return None
        with suppress(SessionLost):
            return await self._plan_from_file(turn, new, reason, follows=process_is_lost)
        return None

    async def _plan_from_file(
        self, turn: Point, new: Sequence[Link], reason: str | None, *, follows: bool
    ) -> Plan:
        """What is new is brought in, with all that the file of the turn's session holds since the
        last turn that can be gone on from, or from the beginning unless it `follows` that."""
        if self._history == "client":
            lineage = await self._without_tip()
            return plan_client_held(self._links, lineage.points, asked=self._manner)
        base = await self._store.last_ended(turn.turn_id) if follows else None
        after = base.entry_uuid if base else None
        said = await self._said(turn.session_id, turn.entry_uuid, after)
        plan = self._plan_with(said, [link.message for link in new], base, reason)
        if plan is not None:
            self._answers = turn
        return plan or plan_unknown(self._links)

    def _plan_with(
        self,
        said: Sequence[Message],
        new: Sequence[Message],
        base: Point | None,
        reason: str | None,
    ) -> Plan | None:
        """Brings in what was `said` since the base, and what is new. None where the request shows
        itself how its results came about. Raises `BadRequest` for results that answer nothing."""
        *earlier, ask = chain([*said, *new])
        made, given = earlier[-1].message.calls if earlier else [], ask.message.results
        if sorted(made) != sorted(given):
            if _brings_calls(self._links):
                return None
            if missing := [call for call in made if call not in given]:
                raise BadRequest(f"No tool output found for function call {shown(missing[0])}.")
            raise BadRequest(
                "These tool results answer no call that waits here; send the conversation from its "
                "beginning."
            )
        feed = tuple(link.message for link in earlier)
        brought = "tools_imported" if given else "imported"
        return Plan("import", reason or brought, base, feed, ask.message)

    async def superseded(self, plan: Plan, turn: int | None) -> str | None:
        """A client that shows another history each turn (a sliding window) has it brought in each
        time; the one before it, never continued, would only pile up."""
        if turn is None or self._history != "client" or plan.name != "import" or plan.base:
            return None
        return await self._store.replaced_import(self._key, turn)

    async def commit(self, answered: Answered) -> int | None:
        finished, plan = answered.finished, answered.plan
        follows = self._answers or plan.base
        hashes, ends = _hashes(answered), finished.entries
        # Nothing goes on from where the transcript holds something else, or waits for results.
        whole = finished.exact and finished.stop_reason != "tool_use"
        said = (*answered.shown, answered.answer)
        places = zip(hashes, said, ends if whole else (*ends[:-1], None), strict=True)
        # Results have to follow calls: the CLI would put its own there, were it to begin there.
        points = [(hash_, end) for hash_, message, end in places if end and not message.calls]
        return await self._store.commit(
            TurnRecord(
                key=self._key,
                internal_id=finished.session_id,
                parent_id=follows.turn_id if follows else None,
                ask_hash=self._ask_hash,
                history_hash=hashes[-1],
                tip_uuid=finished.tip or "",
                response_id=answered.response_id,
                idempotency_key=self._attempt.key,
                plan=plan.name,
                reason=plan.reason,
                process=answered.process,
                status=finished.stop_reason,
                api=answered.api,
                model=answered.model,
                usage=finished.usage,
                cost_usd=finished.cost_usd,
                started_at=answered.started_at,
                ttft_ms=answered.ttft_ms,
                duration_ms=answered.duration_ms,
                settings_hash=self._manner.settings,
                settings_sketch=self._manner.sketch or None,
                model_asked=self._manner.model,
                unsaid=ends[-1] is None,
                caller=self._attempt.caller or None,
                client=self._attempt.client or None,
                may_be_aside=self.moved is None
                and (self._history == "client" or self._origin.history == "learn"),
                points=tuple(points),
                metadata={
                    **self._learnt,
                    _TRYING: None,
                    **answered.location,
                },
            ),
            self.lock,
            answered.settlement,
        )

    async def count(self, turn: UnkeptTurn) -> int | None:
        return await self._store.count_unkept(self._key, turn)


class Fleeting:
    """Nothing is kept: no origin and `stateless`, or the session map switched off."""

    kind: MemoryKind = "none"
    lock: str | None = None
    compaction = False
    moved: tuple[str, Point] | None = None
    holds = False

    def __init__(self, reason: str, links: Sequence[Link]) -> None:
        self._reason = reason
        self._links = links

    async def plan(self) -> Plan:
        return plan_unknown(self._links, self._reason)

    def completed(self, turn: TurnRequest) -> TurnRequest:
        return turn

    async def begin(self, plan: Plan) -> None:
        return None

    async def plan_again(self, lost: Plan) -> Plan:
        return lost

    async def commit(self, answered: Answered) -> int | None:
        return None

    async def count(self, turn: UnkeptTurn) -> int | None:
        return None

    async def superseded(self, plan: Plan, turn: int | None) -> str | None:
        return None


class Summarized(Fleeting):
    """A conversation that is to be summarised, with the question for that at its end: in a session
    of its own that is gone afterwards, and counted under the key."""

    kind: MemoryKind = "session"
    """Which processes that were started ahead have."""

    def __init__(self, store: StoreThread, origin: Origin, provider: str, links: Sequence[Link]):
        super().__init__("summarized", links)
        self._store = store
        self._key = SessionKey(origin.scope, origin.external_id, provider)
        self._client = origin.client or None
        self._session: str | None = None

    async def commit(self, answered: Answered) -> int | None:
        finished, plan = answered.finished, answered.plan
        self._session = finished.session_id
        return await self._store.count_unkept(
            self._key,
            UnkeptTurn(
                plan=plan.name,
                reason=plan.reason,
                process=answered.process,
                status=finished.stop_reason,
                api=answered.api,
                model=answered.model,
                usage=finished.usage,
                cost_usd=finished.cost_usd,
                started_at=answered.started_at,
                ttft_ms=answered.ttft_ms,
                duration_ms=answered.duration_ms,
                client=self._client,
            ),
            answered.settlement,
        )

    async def count(self, turn: UnkeptTurn) -> int | None:
        return await self._store.count_unkept(self._key, turn)

    async def superseded(self, plan: Plan, turn: int | None) -> str | None:
        return self._session


class Continued(Fleeting):
    """No origin and `continue`: everybody's last message goes to the CLI's most recent session."""

    kind: MemoryKind = "continue"
    lock: str | None = "continue"
    compaction = True

    def __init__(self, links: Sequence[Link]) -> None:
        super().__init__("continue", links[-1:])


def key_lock(key: SessionKey) -> str:
    """The lock of all turns of a key, and of those of its id that other providers have: one may
    take up what another has begun. Nodes that know of one provider call it so."""
    return "\n".join((key.scope, key.external_id, "claude"))  # none has a control character


def _hashes(answered: Answered) -> list[str]:
    """One for each message fed, for the one asked, and for the answer.

    Counted on from the base, not from the request: where the history is kept here, a request holds
    only its end, and a point must stand for everything the model has seen.
    """
    hashes = [answered.base.hash if answered.base else ROOT]
    for message in (*answered.shown, answered.answer):
        hashes.append(extend(hashes[-1], message))
    return hashes[1:]


def _brings_calls(links: Sequence[Link]) -> bool:
    """Whether the results at the end answer calls that the request shows as well, together with
    how they came about: what begins with the calls is the end of something longer."""
    return links[0].message.role == "user" and bool(links[1:] and links[-2].message.calls)


_TRYING = "trying"
"""In the map row's metadata: what the turn under way was asked, and the turn it goes on from."""


def _trying(lineage: Lineage) -> str | None:
    return lineage.row.metadata.get(_TRYING) if lineage.row else None


def _learned(lineage: Lineage) -> str | None:
    return lineage.row.metadata.get("history") if lineage.row else None
