"""The processes that wait for their session's next turn.

A start costs most of a second of one core, a process that waits costs some 200 MB and no time
(measured): how many there are is bounded, and so is for how long each waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from sessionbridge.claude.job import Job
from sessionbridge.claude.pool.live import LiveProcess
from sessionbridge.model import Plan


class Pool:
    """At most `size` processes, those in a turn included; each waits for `idle` seconds at most, or
    for `tool_wait` in the middle of a turn. `retire` ends one that waits."""

    def __init__(
        self,
        size: int,
        idle: float,
        tool_wait: float,
        retire: Callable[[LiveProcess], Awaitable[None]],
    ) -> None:
        self._size = size
        self._idle = idle
        self._tool_wait = tool_wait
        self._retire = retire
        self._busy: set[LiveProcess] = set()
        self._waiting: dict[str, LiveProcess] = {}
        """By session, the one that was used longest ago first."""
        self._alarms: dict[str, asyncio.TimerHandle] = {}
        self._ending: dict[asyncio.Future[None], LiveProcess] = {}
        """Their sessions are not free until then."""
        self._closed = False

    def __len__(self) -> int:
        return len(self._busy) + len(self._waiting)

    def holds(self, job: Job) -> bool:
        base = job.plan.base
        if base is None or job.plan.name != "resume":
            return False
        waiting = self._waiting.get(base.internal_id)
        return waiting is not None and waiting.goes_on_with(job)

    def take(self, job: Job) -> LiveProcess:
        """The process that `holds` the job's session."""
        assert job.plan.base is not None
        process = self._removed(job.plan.base.internal_id)
        self._busy.add(process)
        return process

    def make_room(self) -> None:
        """Before one more is started."""
        self._shrink(self._size - 1)

    def enter(self, process: LiveProcess) -> None:
        """One that was started for a turn, or as a spare, and is now in use."""
        self._busy.add(process)
        self._shrink(self._size)

    async def park(self, process: LiveProcess) -> None:
        """After a turn that succeeded."""
        self._busy.discard(process)
        if process.mode.memory != "session" or self._closed or not process.cli.alive:
            await self._retire(process)
            return
        session = process.session_id
        self._waiting[session] = process
        patience = self._tool_wait if process.waits_for else self._idle
        self._alarms[session] = asyncio.get_running_loop().call_later(patience, self._end, session)
        self._shrink(self._size)
        await self.ended(session)

    def let_go(self, job: Job) -> None:
        """Ends those that wait for results which the job's turn has had: they came in a way that
        their process could not take, and nobody will bring them again."""
        waiting = {
            session: process
            for session, process in self._waiting.items()
            if process.waits_for and process.mode == job.mode
        }
        if waiting:
            had = _results(job.plan)
            for session, process in waiting.items():
                if not had.isdisjoint(process.waits_for):
                    self._end(session)

    async def drop(self, process: LiveProcess) -> None:
        """After any other turn: it holds more than was committed."""
        self._busy.discard(process)
        await process.cli.kill()

    async def leave(self, session_id: str) -> None:
        """Returns when no process waits in this session any more: two would silently fork it."""
        if session_id in self._waiting:
            self._end(session_id)
        await self.ended(session_id)

    async def close(self) -> None:
        """Ends all that wait; those in a turn end with it."""
        self._closed = True
        for session in list(self._waiting):
            self._end(session)
        if self._ending:
            await asyncio.wait(self._ending)

    def kill(self) -> None:
        """Ends all of them now, whatever they do."""
        self._closed = True
        for process in (*self._busy, *self._waiting.values(), *self._ending.values()):
            process.cli.kill_now()

    def _shrink(self, size: int) -> None:
        while self._waiting and len(self) > size:
            self._end(min(self._waiting, key=lambda session: _worth(self._waiting[session])))

    def _end(self, session_id: str) -> None:
        process = self._removed(session_id)
        ending = asyncio.ensure_future(self._retire(process))
        self._ending[ending] = process
        ending.add_done_callback(self._ending.pop)

    def _removed(self, session_id: str) -> LiveProcess:
        self._alarms.pop(session_id).cancel()
        return self._waiting.pop(session_id)

    async def ended(self, session_id: str) -> None:
        """Returns when no process is ending in this session."""
        if ending := [task for task, p in self._ending.items() if p.session_id == session_id]:
            await asyncio.wait(ending)


def _results(plan: Plan) -> set[str]:
    """The ids of the calls whose results the plan holds."""
    messages = (*(plan.whole or ()), *plan.feed, plan.ask)
    blocks = (block for message in messages for block in message.blocks)
    return {block["tool_use_id"] for block in blocks if block["type"] == "tool_result"}


def _worth(process: LiveProcess) -> bool:
    """In the middle of a turn most: without its process that costs more than a new one."""
    return bool(process.waits_for)
