"""Turns that are given up: what they have used goes into the ledger all the same."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sessionbridge.claude.job import Meter
from sessionbridge.errors import ApiFailed, BridgeError, TimedOut
from sessionbridge.model import Spent
from sessionbridge.sessions.planning.memory import Memory
from sessionbridge.sessions.store.ledger import UnkeptTurn
from sessionbridge.turns.exchange import Exchange

logger = logging.getLogger(__name__)

_PATIENCE = 5.0
"""Seconds until what a failed turn used is in the ledger; nobody waits longer to be told of it."""


@asynccontextmanager
async def counted(meter: Meter, memory: Memory, exchange: Exchange) -> AsyncIterator[None]:
    """What is spent within it goes into the ledger also when it does not come to its end."""
    try:
        yield
    except BaseException as error:
        spent = meter.read()
        if spent is not None and not exchange.outcome.committing:
            exchange.outcome.spend(spent)
            await _count(_unkept(spent, error, exchange), memory, exchange)
        raise


async def _count(turn: UnkeptTurn, memory: Memory, exchange: Exchange) -> None:
    """Once it is asked the store goes on by itself, whoever no longer waits for it."""
    try:
        async with asyncio.timeout(_PATIENCE):
            exchange.outcome.turn = await memory.count(turn)
    except (BridgeError, TimeoutError) as error:
        logger.warning("what a turn has used was not counted: %s", type(error).__name__)


def _unkept(spent: Spent, error: BaseException, exchange: Exchange) -> UnkeptTurn:
    outcome, plan = exchange.outcome, exchange.outcome.plan
    assert plan is not None
    return UnkeptTurn(
        plan=plan.name,
        reason=plan.reason,
        process=outcome.process,
        status=_became(spent, error, outcome.failure),
        api=exchange.api,
        model=spent.model,
        usage=spent.usage,
        cost_usd=spent.cost_usd,
        started_at=outcome.started_at,
        ttft_ms=outcome.ttft_ms or None,
        duration_ms=outcome.duration_ms,
        client=exchange.attempt.client or None,
    )


def _became(spent: Spent, error: BaseException, noted: BridgeError | None) -> str:
    """What to call the end of a turn that was given up by `error`."""
    match error:
        case TimedOut():
            return "timed_out"
        case ApiFailed() if spent.stop_reason == "refusal":
            return "refusal"
        case asyncio.CancelledError() | GeneratorExit() if noted is None:
            return "left"
    return "failed"
