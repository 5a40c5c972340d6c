"""Watches over an answer: silence becomes pings, too long a silence becomes an error."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from sessionbridge.errors import ClaudeFailed, TimedOut
from sessionbridge.model import Delta, Dispatched, Finished

PING_INTERVAL = 10.0
"""Seconds; below the 15 after which some clients and proxies give a silent connection up."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds until the first words, and until the last."""

    first: float
    whole: float

    @property
    def longest(self) -> float:
        """Also of a turn whose session turned out to be lost before the first words."""
        return self.first + self.whole


async def timed(
    deltas: AsyncGenerator[Dispatched | Delta],
    limits: Limits,
    ping_interval: float = PING_INTERVAL,
) -> AsyncGenerator[Dispatched | Delta | None]:
    """The same deltas; None marks each ping interval of silence. Raises `TimedOut`, and
    `ClaudeFailed` where they end without `Finished`: half an answer must not pass for a whole one.

    The deltas are drawn by a task of their own, so that waiting for one can be given up and taken
    up again. However this ends, that task has ended too: stopped in the middle of an answer, and
    given the time to end properly after `Finished`, whether or not that was read.
    """
    queue: asyncio.Queue[Dispatched | Delta | Exception | None] = asyncio.Queue()
    finished = asyncio.Event()
    task = asyncio.create_task(_draw(deltas, queue, finished))
    clock = asyncio.get_running_loop().time
    begun, ready, said = clock(), False, False
    try:
        while True:
            deadline = begun + (limits.whole if said else min(limits.first, limits.whole))
            try:
                async with asyncio.timeout_at(min(clock() + ping_interval, deadline)):
                    item = await queue.get()
            except TimeoutError:
                if clock() < deadline:
                    yield None
                    continue
                raise _too_late(limits, ready, said) from None
            if item is None:
                if not finished.is_set():
                    raise ClaudeFailed("The Claude CLI ended before its answer did; try again.")
                return
            if isinstance(item, Exception):
                raise item
            ready = True
            said = said or not isinstance(item, Dispatched)
            yield item
    finally:
        if not finished.is_set():
            task.cancel()
        await _ended(task)


async def _draw(
    deltas: AsyncGenerator[Dispatched | Delta],
    queue: asyncio.Queue[Dispatched | Delta | Exception | None],
    finished: asyncio.Event,
) -> None:
    end: Exception | None = None
    try:
        async with aclosing(deltas) as drawn:
            async for delta in drawn:
                queue.put_nowait(delta)
                if isinstance(delta, Finished):
                    finished.set()
    except Exception as error:
        end = error
    finally:
        # Also when cancelled from within: nobody else would tell the reader that nothing comes.
        queue.put_nowait(end)


async def _ended(task: asyncio.Task[None]) -> None:
    """Waits even while being cancelled: a session is free only when its process has ended."""
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError


def _too_late(limits: Limits, ready: bool, said: bool) -> TimedOut:
    if said:
        return TimedOut(
            f"The answer was not complete after {limits.whole:g} s (sessionbridge_timeout); it was "
            "stopped."
        )
    first = min(limits.first, limits.whole)
    if ready:
        return TimedOut(f"Claude gave no first token within {first:g} s; try again.")
    return TimedOut(
        f"The Claude CLI was not ready within {first:g} s; try again, and if that does not help "
        "see with `sessionbridge doctor`, on the proxy's machine, whether it works."
    )
