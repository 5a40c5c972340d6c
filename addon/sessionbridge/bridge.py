"""The walk: one request from its bytes to the answer's last byte, top to bottom.

    parse → lock → look up → plan → dispatch → encode at once → commit → close

A turn is committed before the client sees the end of its answer, and only when it succeeded: a
failed, aborted or timed-out turn leaves the conversation where it was.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import asdict, replace
from uuid import uuid4

from sessionbridge.apis import SHAPES
from sessionbridge.apis.shape import Encoder, Shape
from sessionbridge.claude.dispatcher import Dispatcher, Job
from sessionbridge.config import PROVIDER, Settings
from sessionbridge.errors import BadRequest, BridgeError, SessionLost, presentable
from sessionbridge.exchange import Chunk, Exchange, Head
from sessionbridge.pacing import Limits, paced
from sessionbridge.sessions.fingerprint import fingerprint
from sessionbridge.sessions.lineage import Link, chain
from sessionbridge.sessions.locks import Locks
from sessionbridge.sessions.memory import Answered, Continued, Fleeting, Memory, Remembered
from sessionbridge.sessions.store_thread import StoreThread
from sessionbridge.turn import Delta, Finished, Plan, Turn

logger = logging.getLogger(__name__)

_LARGE_BODY = 1_000_000
_REQUIRED = {"max_tokens"}
"""Clients of the Messages API cannot leave it out: being strict about it would refuse them all."""


class Bridge:
    """`store` is None when the session map is switched off. `locks` are shared with a bridge made
    before, under other options, whose last turns may still be under way."""

    def __init__(
        self,
        settings: Settings,
        store: StoreThread | None,
        dispatcher: Dispatcher,
        locks: Locks,
    ) -> None:
        self._settings = settings
        self._store = store
        self._dispatcher = dispatcher
        self._locks = locks
        self._limits = Limits(settings.first_token_timeout, settings.timeout)

    async def handle(self, exchange: Exchange, body: bytes) -> AsyncGenerator[Head | Chunk]:
        """Answers in the API's own form, whatever happens: an error before the first byte has its
        true status, a later one is the API's in-stream error."""
        shape = SHAPES[exchange.api]
        encoder = None
        begun = False
        try:
            turn, links = await self._parse(shape, body)
            encoder = shape.encoder(turn)
            async with aclosing(self._answer(turn, links, exchange)) as answer:
                async for delta in answer:
                    last = isinstance(delta, Finished)
                    data = _encoded(encoder, delta)
                    if data and not begun:
                        begun = True
                        yield Head(200, _headers(exchange, encoder.content_type))
                    if data:
                        yield Chunk(data, last)
        except Exception as error:
            failure = presentable(error)
            exchange.outcome.error = f"{failure.status} {type(failure).__name__}"
            if begun and encoder is not None:
                yield Chunk(encoder.error(failure), last=True)
            else:
                yield Head(failure.status, _error_headers(exchange, failure))
                yield Chunk(shape.error_body(failure), last=True)

    async def _parse(self, shape: Shape, body: bytes) -> tuple[Turn, Sequence[Link]]:
        if len(body) > _LARGE_BODY:
            turn, links = await asyncio.to_thread(_read, shape, body)
        else:
            turn, links = _read(shape, body)
        if not self._dispatcher.knows(turn.model):
            turn = replace(turn, ignored=("model", *turn.ignored))
        refused = set(turn.ignored) - _REQUIRED
        if self._settings.strict and refused:
            name = min(refused)
            raise BadRequest(
                f"{name}: this has no effect through the bridge, and sessionbridge_strict is on; "
                "leave it out or turn that option off.",
                param=name,
            )
        return turn, links

    async def _answer(
        self, turn: Turn, links: Sequence[Link], exchange: Exchange
    ) -> AsyncGenerator[Delta | None]:
        exchange.outcome.ignored = turn.ignored
        memory = self._memory(links, exchange)
        async with self._planned(memory) as plan:
            await memory.begin(plan)
            while True:
                try:
                    async with aclosing(self._turn(turn, plan, memory, exchange)) as deltas:
                        async for delta in deltas:
                            yield delta
                    return
                except SessionLost:
                    # Raised before the model was asked, so nothing has been said or spent yet.
                    if plan.base is None:
                        raise
                    lost = plan.base.internal_id
                    plan = await memory.plan_again(plan)
                    logger.warning("session %s is gone: %s", lost, plan.reason)

    @asynccontextmanager
    async def _planned(self, memory: Memory) -> AsyncIterator[Plan]:
        """A plan together with the lock it needs, which only the plan can tell. What was planned
        before a wait may no longer hold after it, so it is planned once more."""
        while True:
            plan = await memory.plan()
            lock, name = self._locks.of(memory.lock), memory.lock
            waited = lock.locked()
            async with lock:
                if waited:
                    plan = await memory.plan()
                if memory.lock == name:
                    yield plan
                    return

    def _memory(self, links: Sequence[Link], exchange: Exchange) -> Memory:
        origin, unkeyed = exchange.origin, self._settings.unkeyed
        if origin is None and unkeyed == "fingerprint":
            origin = fingerprint(exchange.attempt.caller, links[0])
        exchange.outcome.origin = origin
        if origin is None:
            return Continued(links) if unkeyed == "continue" else Fleeting("stateless", links)
        if self._store is None:
            return Fleeting("mapper_off", links)
        return Remembered(
            self._store,
            origin,
            PROVIDER,
            links,
            exchange.attempt,
            refuse_loss=self._settings.memory_lost == "error",
        )

    async def _turn(
        self, turn: Turn, plan: Plan, memory: Memory, exchange: Exchange
    ) -> AsyncGenerator[Delta | None]:
        resumed = plan.base.internal_id if plan.base and plan.name == "resume" else None
        job = Job(
            plan=plan,
            session_id=resumed or str(uuid4()),
            system=turn.system,
            model=turn.model,
            memory=memory.kind,
            compaction=memory.compaction,
        )
        exchange.outcome.begin(plan, job.session_id, job.command)
        async with aclosing(paced(self._dispatcher.run(job), self._limits)) as deltas:
            async for delta in deltas:
                if delta is not None:
                    exchange.outcome.hear(delta)
                if isinstance(delta, Finished):
                    if delta.compacted:
                        plan = exchange.outcome.plan = replace(plan, reason="compacted")
                    answered = _answered(plan, delta, exchange, self._dispatcher.place)
                    exchange.outcome.turn = await memory.commit(answered)
                yield delta
        await self._tidy(memory, plan, exchange.outcome.turn)

    async def _tidy(self, memory: Memory, plan: Plan, turn: int | None) -> None:
        """After the client has its answer; what fails here only leaves something lying about."""
        try:
            if superseded := await memory.superseded(plan, turn):
                await self._dispatcher.discard(superseded)
        except (BridgeError, OSError) as error:
            logger.warning("a superseded session was not deleted: %s", type(error).__name__)


def _read(shape: Shape, body: bytes) -> tuple[Turn, Sequence[Link]]:
    turn = shape.parse(body)
    return turn, chain(turn.messages)


def _encoded(encoder: Encoder, delta: Delta | None) -> bytes:
    if delta is None:
        return encoder.ping()
    return encoder.close(delta) if isinstance(delta, Finished) else encoder.delta(delta)


def _answered(
    plan: Plan, finished: Finished, exchange: Exchange, place: Mapping[str, str]
) -> Answered:
    outcome = exchange.outcome
    return Answered(
        plan=plan,
        finished=finished,
        text=outcome.text,
        api=exchange.api,
        model=outcome.model or "",
        response_id=outcome.response_id,
        started_at=outcome.started_at,
        ttft_ms=outcome.ttft_ms,
        duration_ms=outcome.duration_ms,
        place=place,
    )


def _headers(exchange: Exchange, content_type: str) -> list[tuple[str, str]]:
    """What the user may know of the turn. A stream's headers leave before its counts are known."""
    outcome, plan = exchange.outcome, exchange.outcome.plan
    headers = [("content-type", content_type), ("cache-control", "no-cache")]
    if plan is not None and outcome.session is not None:
        headers += [
            ("x-sessionbridge-session", outcome.session),
            ("x-sessionbridge-plan", plan.name),
            ("x-sessionbridge-reason", plan.reason),
        ]
    if outcome.ignored:
        headers.append(("x-sessionbridge-ignored", ", ".join(outcome.ignored)))
    if outcome.turn is not None:
        headers.append(("x-sessionbridge-turn", str(outcome.turn)))
    if outcome.usage is not None:
        counts = (f"{name}={count}" for name, count in asdict(outcome.usage).items())
        headers.append(("x-sessionbridge-usage", ", ".join(counts)))
    if outcome.cost_usd is not None:
        headers.append(("x-sessionbridge-cost-usd", f"{outcome.cost_usd:.6f}"))
    return headers


def _error_headers(exchange: Exchange, failure: BridgeError) -> list[tuple[str, str]]:
    headers = _headers(exchange, "application/json")
    if failure.retry_after is not None:
        headers.append(("retry-after", str(failure.retry_after)))
    return headers
