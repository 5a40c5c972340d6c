"""An orderly end: what runs may finish, nothing new comes in, and it does not take for ever.

mitmproxy ends at once on SIGTERM, and so would the turns under way. Ctrl-C still does that: whoever
presses it sits in front of the proxy and waits for it.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress

logger = logging.getLogger(__name__)

LIMIT = 25.0
"""Seconds for the turns under way; a little less than Kubernetes gives a container to end."""

_LAST_BYTES = 0.1
"""Seconds for what the last turn has said to leave the proxy, which tells nobody when it has."""


class Shutdown:
    """`finish` ends what only waits, `stop` ends the proxy."""

    def __init__(self, finish: Callable[[], Awaitable[None]], stop: Callable[[], None]) -> None:
        self._finish = finish
        self._stop = stop
        self._idle = asyncio.Event()
        self._idle.set()
        self._task: asyncio.Task[None] | None = None

    @property
    def begun(self) -> bool:
        return self._task is not None

    def listen(self) -> None:
        """Takes SIGTERM over from mitmproxy, where there are signals."""
        with suppress(NotImplementedError):
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.begin)

    def turns(self, under_way: int) -> None:
        """To be told whenever their number has changed."""
        if under_way:
            self._idle.clear()
        else:
            self._idle.set()

    def begin(self) -> None:
        """Asked a second time, it no longer waits."""
        if self.begun:
            self._stop()
        else:
            self._task = asyncio.create_task(self._drain())

    async def _drain(self) -> None:
        try:
            async with asyncio.timeout(LIMIT):
                if not self._idle.is_set():
                    logger.warning(
                        "Ending when the turns under way have, in %g s at most; a second SIGTERM "
                        "ends them.",
                        LIMIT,
                    )
                await self._idle.wait()
                await asyncio.sleep(_LAST_BYTES)
                await self._finish()
        except TimeoutError:
            logger.warning("Turns were stopped that had not ended within %g s.", LIMIT)
        finally:
            self._stop()
