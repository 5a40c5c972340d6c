"""The windows of a login's plan: what the CLI tells of them with each turn is kept, for all proxies
of the home and nodes of the database, and by option new turns are refused from a share on, so that
a person at the same login is not locked out by a program."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from sessionbridge.claude.cli.limits import Headers, plan_windows
from sessionbridge.errors import BridgeError, PlanShareReached, StoreUnavailable
from sessionbridge.plan_windows import PlanWindow
from sessionbridge.sessions.store.store_thread import StoreThread
from sessionbridge.turns.exchange import Outcome

logger = logging.getLogger(__name__)

NEVER = 100
"""Percent, from which on the API itself refuses."""

_STALE = 60.0
"""Seconds after which also what has not changed is kept, with the time when it was told."""


class PlanWindows:
    """Those of one provider. `share` is in percent; `store` is None where nothing is kept."""

    def __init__(self, store: StoreThread | None, provider: str, share: int) -> None:
        self._store = store
        self._provider = provider
        self._share = share
        self._told: dict[str, PlanWindow] = {}
        self._tried_at = 0.0
        self._keeping: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def room(self, outcome: Outcome) -> AsyncIterator[None]:
        """For a turn that is to begin. Raises `PlanShareReached`; without the option nothing is
        asked."""
        tells_anew = self._share < NEVER and await self._tells_anew(time.time())
        try:
            yield
        except BaseException:
            if tells_anew and outcome.session is None:
                self._tried_at = 0.0  # nobody was asked, so the next turn is to find out
            raise

    def hear(self, headers: Headers) -> None:
        """Keeps what has changed, beside the turn. Who uses a key is told nothing."""
        told = plan_windows(headers, self._provider, time.time())
        changed = [window for window in told if self._is_new(window)]
        self._told |= {window.name: window for window in changed}
        if changed and self._store is not None:
            keeping = asyncio.create_task(self._keep(self._store, changed))
            self._keeping.add(keeping)
            keeping.add_done_callback(self._keeping.discard)

    def _is_reached(self, window: PlanWindow, now: float) -> bool:
        """Without a time when it resets turns would be refused for good."""
        used, resets_at = window.used, window.resets_at
        return used is not None and used >= self._share / 100 and now < (resets_at or 0)

    async def _tells_anew(self, now: float) -> bool:
        """Whether this turn is to find out if a share is still reached, as those that are refused
        cannot: one is, each time that what was told has become old. A clock may have been ahead.
        Raises `PlanShareReached` for all others while it is."""
        known = await self._known(now)
        reached = [window for window in known if self._is_reached(window, now)]
        for window in reached:
            if min(abs(now - at) for at in (window.told_at, self._tried_at)) < window.holds:
                last = max(reached, key=lambda window: window.resets_at or 0)
                raise _refused(last, self._share, now)
        if reached:
            self._tried_at = now
        return bool(reached)

    def _is_new(self, window: PlanWindow) -> bool:
        known = self._told.get(window.name)
        if known is None or abs(window.told_at - known.told_at) >= _STALE:
            return True
        return _state(known) != _state(window)

    async def _known(self, now: float) -> Iterable[PlanWindow]:
        """What was told last of each, whoever has heard it. When that was by a clock that was ahead
        nobody knows."""

        def told_at(window: PlanWindow) -> float:
            return window.told_at if window.told_at <= now + _STALE else 0.0

        told = sorted([*self._told.values(), *await self._kept()], key=told_at)
        return {window.name: window for window in told}.values()

    async def _kept(self) -> Iterable[PlanWindow]:
        """As far as it can be known: a turn that needs the database says itself that it is away."""
        if self._store is None:
            return ()
        try:
            windows = await self._store.plan_windows()
        except StoreUnavailable:
            return ()
        return [window for window in windows if window.provider == self._provider]

    async def _keep(self, store: StoreThread, windows: Sequence[PlanWindow]) -> None:
        try:
            await store.keep_plan_windows(windows)
        except BridgeError as error:
            logger.warning("the use of a plan's windows was not kept: %s", type(error).__name__)


def _state(window: PlanWindow) -> tuple[object, ...]:
    return window.status, window.used, window.resets_at


def _refused(window: PlanWindow, share: int, now: float) -> PlanShareReached:
    assert window.used is not None
    assert window.resets_at is not None
    resets = datetime.fromtimestamp(window.resets_at, UTC)
    return PlanShareReached(
        f"{window.used:.0%} of the {window.name} window of {window.provider}'s plan have been "
        f"used; sessionbridge_plan_share={share} keeps the rest from the bridge until it resets, "
        f"at {resets:%Y-%m-%d %H:%M} UTC; try again then.",
        of="provider",
        retry_after=max(1, math.ceil(window.resets_at - now)),
    )
