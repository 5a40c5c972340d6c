"""The walk: one request from its bytes to the answer's last byte, top to bottom.

    parse → plan, lock, budget → dispatch → encode at once → commit → close

A turn is committed before the client sees the end of its answer, and only when it succeeded: a
failed, aborted or timed-out turn leaves the conversation where it was.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from uuid import uuid4

from sessionbridge.allowances import Allowance
from sessionbridge.apis import FRAMES, SHAPES, SUMMARIES
from sessionbridge.apis.common.ids import made
from sessionbridge.apis.common.shape import Encoder, Shape
from sessionbridge.claude.job import Job
from sessionbridge.claude.pool.dispatcher import Dispatcher
from sessionbridge.config import Settings
from sessionbridge.errors import (
    ApiFailed,
    BadRequest,
    BridgeError,
    ConversationBusy,
    Overloaded,
    SessionLost,
    ThreadInFlight,
    ThreadNotFound,
    presentable,
)
from sessionbridge.model import (
    Delta,
    Dispatched,
    Finished,
    Plan,
    Point,
    Started,
    TurnRequest,
    Usage,
)
from sessionbridge.sessions.planning.memory import Answered, Memory, ReadMessages
from sessionbridge.sessions.planning.references import References
from sessionbridge.sessions.store.locks import Locks
from sessionbridge.sessions.store.spending import Settlement
from sessionbridge.sessions.store.store_thread import StoreThread
from sessionbridge.stored.kept_conversations import KeptConversations
from sessionbridge.stored.seals import Seals
from sessionbridge.turns.admission import Admission, Ticket
from sessionbridge.turns.background import Background, followed
from sessionbridge.turns.beside import Beside
from sessionbridge.turns.budgets import Budgets, settlement
from sessionbridge.turns.exchange import Chunk, Exchange, Head
from sessionbridge.turns.kept_instructions import KeptInstructions
from sessionbridge.turns.memories import Memories
from sessionbridge.turns.passing_on import PassingOn, with_used
from sessionbridge.turns.plan_windows import PlanWindows
from sessionbridge.turns.request_body import Reader
from sessionbridge.turns.response_headers import error_headers, headers
from sessionbridge.turns.timeouts import Limits, timed
from sessionbridge.turns.unkept_turns import counted
from sessionbridge.turns.worker import Worker

logger = logging.getLogger(__name__)

NOT_LIMITED = Allowance()


class Bridge:
    """`store` is None when the session map is switched off. `locks` and `background` are shared
    with a bridge made before, under other options, whose last turns may still be under way.
    `conversations` are those that clients have created; `passing_on` is None where no other node is
    known. `allowance` is the provider's; `dispatchers` has that of each provider, where there are
    several."""

    def __init__(
        self,
        settings: Settings,
        store: StoreThread | None,
        dispatcher: Dispatcher,
        locks: Locks,
        admission: Admission,
        worker: Worker,
        background: Background,
        conversations: KeptConversations | None = None,
        passing_on: PassingOn | None = None,
        allowance: Allowance = NOT_LIMITED,
        dispatchers: Callable[[str], Dispatcher | None] | None = None,
    ) -> None:

        def of(provider: str) -> Dispatcher | None:
            # Its own it has also once the config no longer names it.
            if dispatchers is None or provider == settings.provider:
                return dispatcher
            return dispatchers(provider)

        def said_by(provider: str) -> ReadMessages | None:
            found = of(provider)
            return None if found is None else found.said

        self._provider = settings.provider
        self._vendor = settings.environment(os.environ).vendor
        self._store = store
        self._dispatcher = dispatcher
        self._locks = locks
        self._admission = admission
        self._background = background
        self._passing_on = passing_on
        self._memories = Memories(settings, store, said_by, conversations)
        self._instructions = KeptInstructions(dispatcher, of)
        self._beside = Beside(dispatcher, self._instructions, conversations)
        seals = Seals(settings.home, store)
        references = References(store, said_by)
        self._reader = Reader(settings, seals, references, self._instructions, worker, background)
        self._limits = Limits(settings.first_token_timeout, settings.timeout)
        self._plan_windows = PlanWindows(store, settings.provider, settings.plan_share)
        self._budgets = Budgets(store, settings.provider, allowance, self._limits.longest)

    def handle(self, exchange: Exchange, body: bytes) -> AsyncGenerator[Head | Chunk]:
        """Answers in the API's own form, whatever happens: an error before the first byte has its
        true status, a later one is the API's in-stream error."""
        parts = self._handle(exchange, body)
        return parts if exchange.node is None else with_used(parts, exchange.outcome)

    async def _handle(self, exchange: Exchange, body: bytes) -> AsyncGenerator[Head | Chunk]:
        shape = _shape(exchange)
        encoder = None
        begun = False
        exchange.outcome.provider, exchange.outcome.vendor = self._provider, self._vendor
        exchange.outcome.enter("parse")
        try:
            if exchange.refused is not None:
                raise exchange.refused
            turn, spoken = await self._reader.read(shape, body, exchange)
            encoder = shape.encoder(turn)
            exchange.outcome.call_input = partial(shape.call_input, turn)
            exchange.outcome.asked, exchange.outcome.ignored = turn, turn.ignored
            exchange.outcome.enter("plan")
            if turn.purpose == "summary" and spoken.previous is not None:
                turn, spoken, exchange = await self._memories.whole(
                    turn, spoken, spoken.previous, exchange
                )
            memory = await self._memories.of(turn, spoken, exchange)
            async with aclosing(self._not_here(turn, memory, exchange, body)) as parts:
                async for part in parts:
                    begun = True
                    yield part
            if begun:
                return
            async with aclosing(self._answer(turn, memory, exchange)) as answer:
                async for delta in answer:
                    last = isinstance(delta, Finished)
                    data = _encoded(encoder, delta, exchange)
                    if data and not begun:
                        begun = True
                        yield Head(200, headers(exchange, encoder.content_type))
                    if data:
                        yield Chunk(data, last)
        except Exception as error:
            failure = presentable(error)
            if begun and encoder is not None:
                exchange.outcome.fail(failure, shape.status(failure))
                yield Chunk(encoder.error(failure), last=True)
            else:
                head, told = refusal(exchange, failure)
                yield head
                yield told

    def _not_here(
        self, turn: TurnRequest, memory: Memory, exchange: Exchange, body: bytes
    ) -> AsyncGenerator[Head | Chunk]:
        """Nothing, where the turn is to be answered by whom it was asked."""
        if turn.background:
            return self._in_background(turn, memory, exchange)
        return self._elsewhere(memory, exchange, body)

    async def _elsewhere(
        self, memory: Memory, exchange: Exchange, body: bytes
    ) -> AsyncGenerator[Head | Chunk]:
        """The answer of another node whose process waits where this goes on, if there is one."""
        if self._passing_on is None or exchange.path is None:
            return
        plan = await memory.plan()
        if plan.base is None or plan.name != "resume":
            return
        session = plan.base.session_id
        exchange.outcome.enter("pass_on")
        async with aclosing(self._passing_on.answer(session, exchange, body)) as parts:
            async for part in parts:
                yield part

    async def _in_background(
        self, turn: TurnRequest, memory: Memory, exchange: Exchange
    ) -> AsyncGenerator[Head | Chunk]:
        """Is answered at once, and goes on whether or not its client stays."""
        exchange.outcome.given_id = f"msg_{uuid4().hex}"
        running = self._background.begin(turn, exchange, self._answer(turn, memory, exchange))
        if turn.stream:
            async with aclosing(followed(running)) as parts:
                async for part in parts:
                    yield part
        else:
            yield Head(200, headers(exchange, "application/json"))
            yield Chunk(json.dumps(running.log.document).encode(), last=True)

    async def _answer(
        self, turn: TurnRequest, memory: Memory, exchange: Exchange
    ) -> AsyncGenerator[Delta | None]:
        if turn.purpose == "prewarm":
            exchange.outcome.enter("prepare")
            await self._prewarm(turn, memory)
            yield Started(made("msg", uuid4().hex), turn.model, Usage())
            yield Finished("", (), "max_tokens", Usage(), cost_usd=None)
            return
        exchange.outcome.enter("plan")
        async with self._alone(turn), self._admitted(memory) as plan:
            turn = memory.completed(turn)
            running = self._carried_out(turn, plan, memory, exchange)
            async with aclosing(self._budgets.within(turn, plan, exchange, running)) as deltas:
                async for delta in deltas:
                    yield delta

    async def _carried_out(
        self, turn: TurnRequest, plan: Plan, memory: Memory, exchange: Exchange
    ) -> AsyncGenerator[Delta | None]:
        # Once there is room in its budgets: the one turn that may find out is to be one that runs.
        async with self._plan_windows.room(exchange.outcome):
            await memory.begin(plan)
            turn = await self._instructed(turn, plan, memory)
            while True:
                _refuse_results_alone(plan, turn)
                try:
                    async with aclosing(self._turn(turn, plan, memory, exchange)) as deltas:
                        async for delta in deltas:
                            yield delta
                    return
                except SessionLost:
                    # Raised before the model was asked, so nothing has been said or spent yet.
                    if plan.base is None:
                        raise
                    lost = plan.base
                    plan = await memory.plan_again(plan)
                    _log_loss(lost, plan)

    async def _instructed(self, turn: TurnRequest, plan: Plan, memory: Memory) -> TurnRequest:
        """Under what the conversation was told earlier, where the request does not hold that."""
        provider, point = memory.moved or (self._provider, plan.base)
        if point is None or not memory.holds or turn.previous is not None:
            return turn
        return await self._instructions.under(turn, provider, point)

    async def prepare(self, exchange: Exchange, body: bytes) -> None:
        """Of a turn that is only announced. What is wrong with it, the turn itself will tell."""
        try:
            shape = _shape(exchange)
            turn, spoken = await self._reader.read(shape, body, exchange)
            memory = await self._memories.of(turn, spoken, exchange)
            await self._prewarm(turn, memory)
        except BridgeError as error:
            logger.debug("an announced turn was not prepared: %s", type(error).__name__)

    async def _prewarm(self, turn: TurnRequest, memory: Memory) -> None:
        """Nothing where turns are under way that it would have to wait for: what it is for is there
        then, or has to be left to them. Nor where the session is lost: the turn that follows finds
        that out."""
        with suppress(Overloaded, SessionLost):
            async with self._admitted(memory, waits=False) as plan:
                turn = await self._instructed(turn, plan, memory)
                await self._dispatcher.prepare(_job(turn, plan, memory, self._limits.first))

    @asynccontextmanager
    async def _alone(self, turn: TurnRequest) -> AsyncIterator[None]:
        """Only one request at a time goes on with a thread from the same answer."""
        if turn.thread is None or turn.previous is None:
            yield
            return
        async with self._locks.hold(f"thread {turn.previous}", _refuse_to_wait):
            yield

    @asynccontextmanager
    async def _admitted(self, memory: Memory, *, waits: bool = True) -> AsyncIterator[Plan]:
        """The plan, once it is this turn's turn in its session, and there is a place for it."""
        limit = self._limits.first
        refusal: type[Overloaded] = ConversationBusy
        with self._admission.turn(waits=waits) as ticket:
            async with AsyncExitStack() as held:
                if self._store is not None:
                    held.enter_context(self._store.during_turn())
                try:
                    async with asyncio.timeout(limit):
                        plan = await held.enter_async_context(self._planned(memory, ticket))
                        refusal = Overloaded
                        await held.enter_async_context(ticket.slot())
                except TimeoutError as error:
                    raise refusal(
                        f"This turn has waited {limit:g} s for others to end; try again later."
                    ) from error
                yield plan

    @asynccontextmanager
    async def _planned(self, memory: Memory, ticket: Ticket) -> AsyncIterator[Plan]:
        """A plan together with the lock it needs, which only the plan can tell. Another process may
        have changed what it rests on before the lock was had, so it is planned once more."""
        plan = await memory.plan()
        while (lock := memory.lock) is not None:
            async with self._locks.hold(lock, ticket.queue_up):
                plan = await memory.plan()
                if memory.lock == lock:
                    yield plan
                    return
        yield plan

    async def _turn(
        self, turn: TurnRequest, plan: Plan, memory: Memory, exchange: Exchange
    ) -> AsyncGenerator[Delta | None]:
        outcome = exchange.outcome
        outcome.plan = carried_out = plan
        outcome.enter("dispatch")
        job = _job(turn, plan, memory, self._limits.first)
        running = self._dispatcher.run(job)
        async with (
            self._windows_heard(),
            counted(job.meter, memory, exchange),
            aclosing(timed(running, self._limits)) as deltas,
        ):
            async for delta in deltas:
                if delta is not None:
                    outcome.hear(delta)
                if isinstance(delta, Dispatched):
                    carried_out = delta.plan
                    continue
                if isinstance(delta, Finished):
                    self._plan_windows.hear(delta.limits)
                    if delta.compacted:
                        outcome.plan = plan = replace(plan, reason="compacted")
                    await self._beside.keep(turn, delta, memory, exchange)
                    location = self._dispatcher.location
                    settled = settlement(outcome, turn.model)
                    answered = _answered(plan, carried_out, delta, exchange, location, settled)
                    outcome.committing = True
                    outcome.turn = await memory.commit(answered)
                    outcome.enter("close")
                yield delta
        await self._tidy(memory, plan, outcome.turn)

    @asynccontextmanager
    async def _windows_heard(self) -> AsyncIterator[None]:
        """What the API has told with an error, too."""
        try:
            yield
        except ApiFailed as error:
            self._plan_windows.hear(error.headers)
            raise

    async def _tidy(self, memory: Memory, plan: Plan, turn: int | None) -> None:
        """After the client has its answer; what fails here only leaves something lying about."""
        try:
            if superseded := await memory.superseded(plan, turn):
                await self._dispatcher.discard(superseded)
        except (BridgeError, OSError) as error:
            logger.warning("a superseded session was not deleted: %s", type(error).__name__)


def refusal(exchange: Exchange, failure: BridgeError) -> tuple[Head, Chunk]:
    """Instead of an answer, of which nothing was sent."""
    shape = _shape(exchange)
    status = shape.status(failure)
    exchange.outcome.fail(failure, status)
    head = Head(status, error_headers(exchange, failure))
    return head, Chunk(shape.error_body(failure), last=True)


def _shape(exchange: Exchange) -> Shape:
    if exchange.summary:
        return SUMMARIES[exchange.api]
    return (FRAMES if exchange.framed else SHAPES)[exchange.api]


def _refuse_to_wait() -> None:
    raise ThreadInFlight(
        "thread.previous_message_id: another request is still continuing from this response; wait "
        "for it and continue from its answer, or send the whole conversation with thread: "
        '{"type": "create"}.',
        param="thread.previous_message_id",
    )


def _log_loss(lost: Point, plan: Plan) -> None:
    if lost.is_open:
        logger.info("the process of session %s is gone: %s", lost.session_id, plan.reason)
    else:
        logger.warning("session %s is gone: %s", lost.session_id, plan.reason)


def _refuse_results_alone(plan: Plan, turn: TurnRequest) -> None:
    """The CLI would put words of its own in the place of results without calls."""
    first = (*plan.feed, plan.ask)[0]
    waits = plan.base is not None and plan.base.is_open
    if not waits and first.brings_results:
        if turn.previous is not None and turn.thread is not None:
            # The calls may have been cut off, and so not be kept: clients then send them.
            raise ThreadNotFound(
                "thread.previous_message_id: calls that these tool results answer are not kept; "
                'send the whole conversation with thread: {"type": "create"}.'
            )
        raise BadRequest(
            "These tool results answer no call that is known here; send the conversation from its "
            "beginning."
        )


def _encoded(encoder: Encoder, delta: Delta | None, exchange: Exchange) -> bytes:
    try:
        if delta is None:
            return encoder.ping()
        return encoder.close(delta) if isinstance(delta, Finished) else encoder.delta(delta)
    except Exception as error:
        # Noted at once: to the turn it looks as if its client had left.
        exchange.outcome.failure = presentable(error)
        raise exchange.outcome.failure from error


def _job(turn: TurnRequest, plan: Plan, memory: Memory, patience: float) -> Job:
    resumed = plan.base.session_id if plan.base and plan.name == "resume" else None
    return Job(
        plan=plan,
        session_id=resumed or str(uuid4()),
        system=turn.system,
        model=turn.model,
        memory=memory.kind,
        compaction=memory.compaction,
        parameters=turn.parameters,
        stop=turn.stop,
        patience=patience,
    )


def _answered(
    plan: Plan,
    carried_out: Plan,
    finished: Finished,
    exchange: Exchange,
    location: Mapping[str, str],
    settled: Settlement | None,
) -> Answered:
    outcome = exchange.outcome
    return Answered(
        plan=plan,
        shown=(*carried_out.feed, carried_out.ask),
        base=carried_out.base,
        finished=finished,
        answer=outcome.answer,
        api=exchange.api,
        model=outcome.model or "",
        process=outcome.process,
        response_id=outcome.response_id,
        started_at=outcome.started_at,
        ttft_ms=outcome.ttft_ms,
        duration_ms=outcome.duration_ms,
        location=location,
        settlement=settled,
    )
