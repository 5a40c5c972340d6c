"""What there is to know of the bridge at this moment, and what its operator may do."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sessionbridge.dashboard.state import LiveTurn, State
from sessionbridge.errors import SessionLost, StoreUnavailable
from sessionbridge.model import Message, SessionKey
from sessionbridge.sessions.planning.memory import ReadMessages, key_lock
from sessionbridge.sessions.store.locks import batches
from sessionbridge.sessions.store.store import SessionStore, SessionSummary
from sessionbridge.sessions.store.store_thread import StoreThread
from sessionbridge.turns.exchange import Exchange
from sessionbridge.turns.runtime import Runtime


class Admin:
    """`exchanges` tells the requests that are under way."""

    def __init__(self, runtime: Runtime, exchanges: Callable[[], Sequence[Exchange]]) -> None:
        self._runtime = runtime
        self._exchanges = exchanges

    def state(self) -> State:
        accounts = self._runtime.accounts.values()
        processes = [account.dispatcher.processes for account in accounts]
        return State(
            turns=[_live_turn(exchange) for exchange in self._exchanges()],
            waiting=sum(account.admission.waiting_now for account in accounts),
            running=sum(account.admission.running_now for account in accounts),
            live=sum(live for live, _ in processes),
            spares=sum(spares for _, spares in processes),
        )

    def said(self, provider: str) -> ReadMessages:
        """What the provider's sessions hold."""
        dispatcher = self._runtime.dispatcher(provider)
        return _not_known if dispatcher is None else dispatcher.said

    async def sessions(self) -> list[SessionSummary]:
        """Every mapped key, the one used last first. Raises `StoreUnavailable`."""
        return await self._reports.ask(SessionStore.sessions)

    async def forget(self, name: str) -> list[SessionKey]:
        """Forgets the conversation of that name, and deletes what Claude keeps of it now. Returns
        the keys that the name may mean: where they are several, none is forgotten. Raises
        `StoreUnavailable`."""
        found = await self._reports.ask(lambda store: store.find(name))
        if len(found) != 1:
            return found
        (key,) = found
        locks, dispatcher = self._runtime.locks, self._runtime.dispatcher(key.provider)
        assert locks is not None
        # The commit of a turn under way would bring back what is forgotten.
        *first, last = batches(await self._reports.ask(lambda store: store.usable(key)))
        for some in first:
            async with locks.hold_all(some):
                await self._reports.forget_points(key, some)
        async with locks.hold_all([key_lock(key), *last]):
            held = await self._reports.delete(key)
            if held and dispatcher:
                for name in held.files:
                    await dispatcher.delete(name)
        return found if held else []

    @property
    def _reports(self) -> StoreThread:
        if self._runtime.reports is None:
            raise StoreUnavailable("No sessions are kept: the session map is switched off.")
        return self._runtime.reports


async def _not_known(session: str, upto: str, after: str | None) -> Sequence[Message]:
    raise SessionLost("The provider of this session is no longer in the config.")


def _live_turn(exchange: Exchange) -> LiveTurn:
    outcome = exchange.outcome
    origin, plan = outcome.origin or exchange.origin, outcome.plan
    return LiveTurn(
        client=exchange.attempt.client,
        platform=origin.platform if origin else "",
        external_id=origin.external_id if origin else "",
        api=exchange.api,
        plan=plan.name if plan else None,
        reason=plan.reason if plan else None,
        model=outcome.model,
        started_at=outcome.started_at,
        ttft_ms=outcome.ttft_ms,
    )
