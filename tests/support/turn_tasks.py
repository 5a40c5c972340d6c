"""Turns as tasks of their own, for tests of what a turn waits for."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager


class TurnTask:
    """Runs once it has come into its place, until it is told to end."""

    def __init__(self, place: AbstractAsyncContextManager[None]) -> None:
        self.runs = asyncio.Event()
        self._end = asyncio.Event()
        self.task = asyncio.create_task(self._turn(place))

    async def _turn(self, place: AbstractAsyncContextManager[None]) -> None:
        async with place:
            self.runs.set()
            await self._end.wait()

    async def end(self) -> None:
        self._end.set()
        await self.task

    async def leave(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])
        assert self.task.cancelled()
