"""Whether the place of the sessions answers, for those who ask all the time."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

from sessionbridge.errors import StoreUnavailable
from sessionbridge.sessions.store.places import Place

logger = logging.getLogger(__name__)

PATIENCE = 0.5
"""Seconds. A load balancer that asks every second hears the answer before it asks again."""

_FRESH_SECONDS = 1.0


class Reachability:
    """Asks at most once a second, on a thread of its own: neither waits for the other, a turn or
    who asks here. What is wrong is logged when it begins, as is its end."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sessionbridge-health")
        self._asking: asyncio.Task[bool] | None = None
        self._asked_at = 0.0
        self._answers = True

    async def ask(self) -> bool:
        """An answer that takes longer than `PATIENCE` is none."""
        if self._asking is None or (self._asking.done() and self._is_old):
            self._asked_at = monotonic()
            self._asking = asyncio.create_task(self._ask())
        done, _ = await asyncio.wait([self._asking], timeout=PATIENCE)
        return bool(done) and self._asking.result()

    @property
    def _is_old(self) -> bool:
        return monotonic() - self._asked_at >= _FRESH_SECONDS

    async def _ask(self) -> bool:
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._thread, self._place.check, PATIENCE)
        except StoreUnavailable as error:
            if self._answers:
                logger.warning("This node is not healthy: %s", error)
            self._answers = False
        else:
            if not self._answers:
                logger.warning("The session database %s can be used again.", self._place.name)
            self._answers = True
        return self._answers

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)
