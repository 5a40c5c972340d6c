"""Budgets and rates: a turn reserves what it may use before it begins, and once it has ended it
counts for what it has used.

The estimate: what the model read and wrote in the turn before is read again, from the cache; all
that is new is read and written to it, by the usual four characters a token; and an answer may be as
long as `max_tokens`, or as is usual where the request does not say.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from sessionbridge.allowances import Allowance
from sessionbridge.claude.prices import has_price, price_at_most
from sessionbridge.errors import BridgeError, StoreUnavailable, TimedOut
from sessionbridge.model import Delta, Finished, Plan, TurnRequest, Usage
from sessionbridge.sessions.store.engine import CommitUnknown
from sessionbridge.sessions.store.spending import Limited, Reserved, Settlement, Used
from sessionbridge.sessions.store.store_thread import StoreThread
from sessionbridge.turns.exchange import Exchange, Outcome

logger = logging.getLogger(__name__)

_PATIENCE = 5.0
"""Seconds until what a turn has used is settled; nobody waits longer for the end of an answer."""

_CHARACTERS = 4
"""A token."""

_ANSWER = 4096
"""Tokens, where a request does not limit them."""

_IMAGE = 1600
"""Tokens of the largest that the API does not make smaller
(https://docs.anthropic.com/en/docs/build-with-claude/vision)."""

_DOCUMENT = 10 * _IMAGE
"""Tokens of a file whose pages nobody has counted."""


class Budgets:
    """Those of one provider, and of each client. `store` is None when the session map is switched
    off; a turn has ended `lasts` seconds after it has begun."""

    def __init__(
        self, store: StoreThread | None, provider: str, allowance: Allowance, lasts: float
    ) -> None:
        self._store = store
        self._provider = Limited("provider", provider, allowance)
        self._lasts = lasts

    def within(
        self,
        turn: TurnRequest,
        plan: Plan,
        exchange: Exchange,
        deltas: AsyncGenerator[Delta | None],
    ) -> AsyncGenerator[Delta | None]:
        """The same deltas, which are not asked for where there is no room for the turn: then it
        raises `RateLimited`. Where nothing is limited, nothing is counted."""
        client = Limited("client", exchange.attempt.client, exchange.rules)
        limits = [limited for limited in (client, self._provider) if limited.allowance.is_limited]
        if not limits:
            return deltas
        if self._store is None:
            raise StoreUnavailable(
                f"The budgets of {limits[0].of} {limits[0].name} cannot be counted, as "
                "SESSIONBRIDGE_MAPPER=0 says; without it they are."
            )
        return _Counted(self._store, turn, plan, exchange).turn(
            Reserved.anew(client.name, self._provider.name, self._lasts), limits, deltas
        )


class _Counted:
    """One turn that is."""

    def __init__(
        self, store: StoreThread, turn: TurnRequest, plan: Plan, exchange: Exchange
    ) -> None:
        self._store = store
        self._turn = turn
        self._plan = plan
        self._outcome = exchange.outcome
        self._expected: tuple[str, Usage] | None = None
        """Of which model, once that was estimated."""

    async def turn(
        self, reserved: Reserved, limits: Sequence[Limited], deltas: AsyncGenerator[Delta | None]
    ) -> AsyncGenerator[Delta | None]:
        await self._reserve(reserved, limits)
        self._outcome.reserved = reserved
        is_settled = False
        settling: asyncio.Task[None] | None = None
        try:
            async with aclosing(deltas):
                async for delta in deltas:
                    if isinstance(delta, Finished):
                        is_settled = self._outcome.turn is not None  # where it is kept
                        if not is_settled:
                            settling = await self._begin_to_settle(reserved)
                    yield delta
        except BaseException as error:
            if settling is None and not is_settled:
                await self._settle(reserved, self._used(error))
            raise
        finally:
            if settling is not None:
                await settling

    async def _begin_to_settle(self, reserved: Reserved) -> asyncio.Task[None]:
        """Asked of the store before the client sees the end, whose next turn may come at once: it
        stands behind this in the store's line."""
        settling = asyncio.create_task(self._settle(reserved, self._used()))
        await asyncio.sleep(0)
        return settling

    async def _reserve(self, reserved: Reserved, limits: Sequence[Limited]) -> None:
        base = self._plan.base.turn_id if self._plan.base else None
        try:
            await self._store.reserve(reserved, limits, self._estimate, base)
        except (asyncio.CancelledError, CommitUnknown):
            # It may be there by now, or soon.
            await self._settle(reserved, None)
            raise

    def _estimate(self, base: tuple[str, Usage] | None) -> Used:
        usage = estimated(self._turn, self._plan, base[1] if base else None)
        # The CLI's alias for a model has no price; what it has answered with before has one.
        model = self._turn.model
        if base is not None and not has_price(model):
            model = base[0]
        self._expected = model, usage
        return _priced(model, usage)

    def _used(self, error: BaseException | None = None) -> Used | None:
        """None where the model was not asked, as far as that is known. Of one that was given up it
        is known what it was going to read, and has written nothing."""
        if (used := _used(self._outcome, self._turn.model)) is not None:
            return used
        if self._expected is None or not _is_given_up(self._outcome, error):
            return None
        model, usage = self._expected
        return _priced(model, replace(usage, output_tokens=0))

    async def _settle(self, reserved: Reserved, used: Used | None) -> None:
        """Once it is asked the store goes on by itself, whoever no longer waits for it. Where it
        cannot, the estimate stays."""
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._store.settle(reserved, used)
        except (BridgeError, TimeoutError) as error:
            logger.warning("what a turn has used was not settled: %s", type(error).__name__)


def settlement(outcome: Outcome, asked: str) -> Settlement | None:
    """Of a turn that was answered, and had reserved anything; it was `asked` of this model."""
    used = _used(outcome, asked)
    if outcome.reserved is None or used is None:
        return None
    return Settlement(outcome.reserved, used)


def _used(outcome: Outcome, asked: str) -> Used | None:
    """None where nothing is known."""
    if outcome.usage is None:
        return None
    known = _priced(outcome.model or asked, outcome.usage)
    return known if outcome.cost_usd is None else replace(known, cost_usd=outcome.cost_usd)


def _is_given_up(outcome: Outcome, error: BaseException | None) -> bool:
    """By us, while the model may have been reading: what fails by itself is told of by the API."""
    left = isinstance(error, asyncio.CancelledError | GeneratorExit | TimedOut)
    return left and outcome.session is not None


def estimated(turn: TurnRequest, plan: Plan, before: Usage | None) -> Usage:
    """What the turn may use; `before` is what the one used that it goes on from. What is new may be
    written to the cache for an hour, as by a login, which costs the most."""
    known = 0 if before is None else before.prompt_tokens + before.output_tokens
    new: list[Any] = [message.blocks for message in (*plan.feed, plan.ask)]
    if before is None:
        tools = turn.parameters.tools
        new += [turn.system, *((tool.name, tool.description, tool.schema) for tool in tools)]
    longest, written = turn.parameters.max_tokens, 1 + _size(new) // _CHARACTERS
    return Usage(
        output_tokens=_ANSWER if longest is None else longest,
        cache_creation_input_tokens=written,
        cache_read_input_tokens=known,
        cache_creation_1h_input_tokens=written,
    )


def _size(value: Any) -> int:
    """In characters. What is no text counts for as many as have its tokens."""
    match value:
        case str():
            return len(value)
        case {"type": "image"}:
            return _IMAGE * _CHARACTERS
        case {"type": "document", "source": {"type": "base64" | "url"}}:
            return _DOCUMENT * _CHARACTERS
        case Mapping():
            return sum(map(_size, value.values()))
        case list() | tuple():
            return sum(map(_size, value))
    return 0


def _priced(model: str, usage: Usage) -> Used:
    return Used(price_at_most(model, usage), usage.prompt_tokens + usage.output_tokens)
