"""Who guesses tokens gets answers ever later. Nobody else waits: right tokens are not held up, and
neither are wrong ones from elsewhere."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable

_FREE = 3
"""Wrong tokens of one address that are answered at once: somebody has mistyped one."""

_FIRST = 0.25
_LONGEST = 5.0
_FORGOTTEN = 300.0
"""Seconds."""

_MOST = 1024
"""Addresses that are remembered, those that failed last."""


class WrongTokens:
    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._failed: OrderedDict[str, tuple[int, float]] = OrderedDict()
        """How often each address has failed in a row, and when it did last."""

    async def wait(self, address: str) -> None:
        """Before one more from there is answered."""
        now = self._clock()
        count, last = self._failed.pop(address, (0, now))
        if now - last > _FORGOTTEN:
            count = 0
        self._failed[address] = count + 1, now
        if len(self._failed) > _MOST:
            self._failed.popitem(last=False)
        if count >= _FREE:
            await self._sleep(min(_LONGEST, _FIRST * 2 ** min(count - _FREE, 10)))
