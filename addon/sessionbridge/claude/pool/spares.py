"""Processes started ahead, so that a new conversation need not wait for one.

A spare has a session of its own that nothing has been said in. It fits where the next conversation
has the same system prompt and model as one before.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from sessionbridge.claude.job import Mode
from sessionbridge.claude.pool.live import LiveProcess
from sessionbridge.errors import BridgeError, ClaudeFailed

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class _Spare:
    mode: Mode
    started: asyncio.Task[LiveProcess]
    alarm: asyncio.TimerHandle

    @property
    def usable(self) -> bool:
        """Also while it starts: waiting for that takes no longer than a start of one's own."""
        if not self.started.done():
            return True
        failed = self.started.cancelled() or self.started.exception() is not None
        return not failed and self.started.result().cli.alive


class Spares:
    """At most `size` of them, each for `idle` seconds; none while there is no `room` for one."""

    def __init__(
        self,
        size: int,
        idle: float,
        start: Callable[[Mode], Awaitable[LiveProcess]],
        room: Callable[[], bool],
    ) -> None:
        self._size = size
        self._idle = idle
        self._start = start
        self._room = room
        self._spares: list[_Spare] = []
        self._ending: dict[asyncio.Task[None], _Spare] = {}

    def __len__(self) -> int:
        return len(self._spares)

    def fits(self, mode: Mode) -> bool:
        return self._for(mode) is not None

    async def take(self, mode: Mode) -> LiveProcess:
        """One that `fits`. Raises `ClaudeFailed` where it came to nothing."""
        spare = self._for(mode)
        assert spare is not None
        self._forget(spare)
        try:
            return await asyncio.shield(spare.started)
        except asyncio.CancelledError:
            self._finish(spare)
            raise

    def prepare(self, mode: Mode) -> None:
        """Starts one in the background, unless there is one."""
        if self._size == 0 or self.fits(mode) or not self._room():
            return
        while len(self._spares) >= self._size:
            self._end(self._spares[0])
        started = asyncio.create_task(self._started(mode))
        alarm = asyncio.get_running_loop().call_later(self._idle, self._expire, started)
        self._spares.append(_Spare(mode, started, alarm))

    async def close(self) -> None:
        self._size = 0
        for spare in list(self._spares):
            self._end(spare)
        if self._ending:
            await asyncio.wait(self._ending)

    def kill(self) -> None:
        """Ends all of them now; one that is just starting ends with its start."""
        self._size = 0
        for spare in (*self._spares, *self._ending.values()):
            spare.started.cancel()  # has no effect on one that has started
            if spare.started.done() and spare.usable:
                spare.started.result().cli.kill_now()

    def _for(self, mode: Mode) -> _Spare | None:
        return next((s for s in self._spares if s.mode == mode and s.usable), None)

    async def _started(self, mode: Mode) -> LiveProcess:
        try:
            return await self._start(mode)
        except (BridgeError, OSError) as error:
            logger.warning("a spare process was not started: %s", error)
            raise ClaudeFailed(str(error)) from error

    def _expire(self, started: asyncio.Task[LiveProcess]) -> None:
        for spare in self._spares:
            if spare.started is started:
                return self._end(spare)

    def _end(self, spare: _Spare) -> None:
        self._forget(spare)
        self._finish(spare)

    def _forget(self, spare: _Spare) -> None:
        self._spares.remove(spare)
        spare.alarm.cancel()

    def _finish(self, spare: _Spare) -> None:
        task = asyncio.create_task(_ended(spare.started))
        self._ending[task] = spare
        task.add_done_callback(self._ending.pop)


async def _ended(started: asyncio.Task[LiveProcess]) -> None:
    started.cancel()  # has no effect on one that has started
    with suppress(BridgeError, asyncio.CancelledError):
        await (await started).cli.finish()
