"""All Claude processes there are, from their start to their end.

A start costs a third of a second of one core, a process that waits costs some 110 MB and no time
(measured with CLI 2.1.332): how many there are is bounded, and so is for how long each waits.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

from sessionbridge.claude.cli.settings import can_change
from sessionbridge.claude.job import Job, Settings, TurnEnd
from sessionbridge.claude.models import DEFAULT
from sessionbridge.claude.pool.machine import has_room
from sessionbridge.claude.pool.state import Event, State, after
from sessionbridge.claude.transcript import imports
from sessionbridge.claude.transcript.transcripts import Transcripts
from sessionbridge.errors import BridgeError, ClaudeFailed
from sessionbridge.model import MemoryKind, Plan, Point, Process

if TYPE_CHECKING:
    from sessionbridge.claude.cli.live_process import LiveProcess

logger = logging.getLogger(__name__)

_IN_USE = (State.BUSY, State.IDLE, State.WAITING)
_SPARES = (State.STARTING, State.SPARE)
_AT_REST = (State.IDLE, State.WAITING)

_LONGEST_UNREST = 5.0
"""Seconds. Where there is never a quiet moment, a start is no worse at any other."""

_MEMORY_CHECKED = 10.0
"""Seconds between two looks at what the machine has left."""


@dataclass(frozen=True, slots=True)
class Keep:
    """How many processes there may be, how many spares beside them, and how many seconds each may
    wait for its next turn, or within one for the results of the client's tools. A spare is started
    when no turn has begun or ended for `quiet` seconds. A conversation that a new process has to be
    given whole is imported as a file from `long` messages on."""

    live: int = 0
    spare: int = 0
    idle: float = 600.0
    tool_wait: float = 600.0
    quiet: float = 1.0
    long: int = imports.LONG


class Start(Protocol):
    async def __call__(
        self,
        settings: Settings | None,
        memory: MemoryKind,
        session_id: str,
        base: Point | None = None,
        *,
        fork: bool = False,
    ) -> LiveProcess:
        """Returns when it is ready to be asked, or where there are no settings, to be told what its
        first turn is to be like. Raises `BridgeError` and OSError."""


@dataclass(eq=False, slots=True)
class _Member:
    """A process, from the moment its start is decided on. `job` is the one it has, or had last."""

    memory: MemoryKind
    start: asyncio.Task[LiveProcess]
    settings: Settings | None
    """Those it is started with; None where its first turn is yet to tell any."""
    session: str
    state: State = State.STARTING
    job: Job | None = None
    alarm: asyncio.TimerHandle | None = None
    end: asyncio.Task[None] | None = None

    @property
    def process(self) -> LiveProcess | None:
        """None until it has started, and where it never will."""
        failed = not self.start.done() or self.start.cancelled() or self.start.exception()
        return None if failed else self.start.result()

    @property
    def session_id(self) -> str:
        """The one it was started for, until the CLI has told."""
        return self.process.session_id if self.process else self.session

    @property
    def waits_for(self) -> frozenset[str]:
        return self.process.waits_for if self.process else frozenset()

    def can_have(self, job: Job) -> bool:
        """Whether it can be told the settings of the job, with which its conversation begins."""
        if not self.usable:
            return False
        return self.settings is None or can_change(self.settings, job.settings, begun=False)

    @property
    def usable(self) -> bool:
        """Also while it starts: waiting for that takes no longer than a start of one's own."""
        return not self.start.done() or (self.process is not None and self.process.cli.alive)


def told_nobody(session: str, waits: bool) -> None:
    """Where there is no other node."""


class Pool:
    """Every turn acquires a process here and releases it. At most `keep.live` are in a turn or
    wait for one, unless more turns run at the same time; spares come on top, and give way while
    there is no `room` for them. `waits` is told of each session whether a process waits in it, or
    takes the turn that it waited for."""

    def __init__(
        self,
        start: Start,
        transcripts: Transcripts,
        keep: Keep,
        room: Callable[[], bool] = has_room,
        waits: Callable[[str, bool], None] = told_nobody,
    ) -> None:
        self._start = start
        self._transcripts = transcripts
        self._keep = keep
        self._room = room
        self._waits = waits
        self.fixed_models: set[str] = set()
        """Models with which a CLI has refused other settings than it was started with."""
        self._members: list[_Member] = []
        """The one that was used longest ago first."""
        self._turned = -math.inf
        """When a turn has begun or ended last, by the loop's clock."""
        self._wanted: MemoryKind = "session"
        """The kind of memory that the newest conversation has."""
        self._ahead = Settings(DEFAULT)
        """What a spare begins with: the less has it to be told. Those of the newest conversation,
        but for a system prompt, which could not be taken away again."""
        self.begins_ahead = True
        """Whether spares may begin, which they are not to do before there is a login."""
        self._filling: asyncio.Task[None] | None = None
        self._failed = False
        """Whether the last start of a spare has come to nothing."""
        self._checking: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def counts(self) -> tuple[int, int]:
        """Those that answer or wait for the next turn of their session, and the spares."""
        return len(self._in(*_IN_USE)), len(self._in(*_SPARES))

    # --- a turn's process ---------------------------------------------------------------------

    def holds(self, job: Job) -> bool:
        """Whether a process waits where the job goes on."""
        return self._waiting_for(job) is not None

    def has_spare(self, job: Job) -> bool:
        return self._spare_for(job) is not None

    async def acquire(self, job: Job, way: Process) -> LiveProcess:
        """The process that takes the job's turn; one that is `new` starts at the base of its plan.
        Raises `ClaudeFailed` where there is none of this kind any more, or its start came to
        nothing, and `SessionLost` where the base is gone."""
        match way:
            case "live":
                member = self._waiting_for(job)
            case "spare":
                member = self._spare_for(job)
            case "new":
                member = self._begun(job)
        if member is None:
            raise ClaudeFailed("The Claude process for this turn was taken by another or ended.")
        self._move(member, Event.ACQUIRED)
        member.job = job
        self._turned = asyncio.get_running_loop().time()
        self._shrink()
        if way == "new":
            self._give_way()
        if way == "spare" or (job.plan.name != "resume" and job.memory != "continue"):
            self._ahead = replace(job.settings, system="", schema=None)
            self.fill(job.memory)
        try:
            process = await asyncio.shield(member.start)
            if way == "live":
                await self._check_transcript(process)
        except BaseException:
            await self._drop(member)
            raise
        return process

    async def prepare(self, job: Job) -> None:
        """Has a process wait for a turn such as this job's, where it is worth it: one that goes on
        in a session takes its time to start, and one for a new conversation is a spare, which takes
        what it is told at once (measured with 2.1.332: 0.5 s the one, some 20 ms the other). Raises
        what `acquire` raises."""
        base = job.plan.base
        if base is None or job.plan.name != "resume" or job.memory != "session":
            return self.fill(job.memory)
        if base.is_open or not self._keep.live or self.holds(job):
            return
        process = await self.acquire(job, "new")
        member = next(member for member in self._members if member.process is process)
        try:
            process.transcript = await self._transcripts.version(process.session_id)
        except BaseException:
            await self._drop(member)
            raise
        await self._park(member)

    async def release(self, process: LiveProcess, outcome: TurnEnd | None) -> None:
        """After its turn, whose `outcome` is None where it failed or was left. The process stays
        for the next turn, or has ended when this returns; what it said is in its transcript."""
        member = next(member for member in self._members if member.process is process)
        self._turned = asyncio.get_running_loop().time()
        stays = outcome is not None and outcome.goes_on
        try:
            # Another process may have to go on from there, and one in the middle of its turn may
            # take its time to write.
            if outcome and process.cli.alive and (process.waits_for or not stays):
                await self._transcripts.written(process.session_id, process.tip)
            if stays:
                process.transcript = await self._transcripts.version(process.session_id)
        except BaseException:
            await self._drop(member)
            raise
        if stays:
            await self._park(member)
        else:
            await self._drop(member)
        if outcome and member.job:
            self._retire_passed_over(member.job)

    # --- spares -------------------------------------------------------------------------------

    def fill(self, memory: MemoryKind = "session") -> None:
        """Has spares started in the background, until there are as many as are to be kept, and one
        of them at least with this kind of memory. Where there are several, all but the last have
        begun, which takes most of the time that a first turn would: what an answer's schema is,
        only one can be told that has not."""
        if self._closed or not self._keep.spare:
            return
        self._wanted = memory
        if self._filling is None or self._filling.done():
            self._filling = asyncio.create_task(self._fill())
        if self._checking is None:
            self._check_memory()

    async def _fill(self) -> None:
        """One after the other: whoever needs the first is not to wait for all."""
        while self._lacks_spare():
            await self._quiet()
            if self._lacks_spare():
                member = self._spare()
                while len(spares := self._in(*_SPARES)) > self._keep.spare:
                    self._retire(spares[0])
                await asyncio.wait([member.start])
                self._failed = not member.start.cancelled() and member.process is None
                if self._failed:
                    return
                self._look_for_login(member)

    def _look_for_login(self, member: _Member) -> None:
        if member.settings and member.process and not member.process.cli.has_login:
            self.begins_ahead = False
            if member.state is State.SPARE:
                self._retire(member)

    def _spare(self) -> _Member:
        memory, spares = self._wanted, self._in(*_SPARES)
        is_last = len(spares) + 1 == self._keep.spare > 1
        begins = self.begins_ahead and not (is_last and all(m.settings for m in spares))
        settings, id_ = self._ahead if begins else None, str(uuid4())
        return self._add(memory, self._warned(settings, memory, id_), id_, settings)

    def _lacks_spare(self) -> bool:
        if self._closed or not self._room():
            return False
        for member in self._in(State.SPARE):
            if not member.usable:
                self._retire(member)
        spares = self._in(*_SPARES)
        there = any(member.memory == self._wanted for member in spares)
        return not there or len(spares) < self._keep.spare

    async def _quiet(self) -> None:
        """A start takes a processor, which those who are there are to have."""
        now = asyncio.get_running_loop().time
        longest = now() + _LONGEST_UNREST
        # The moment moves with each turn, of which there may be hundreds until it has come.
        while (left := min(self._turned + self._keep.quiet, longest) - now()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(left)

    def _check_memory(self) -> None:
        loop = asyncio.get_running_loop()
        self._checking = loop.call_later(_MEMORY_CHECKED, self._check_memory)
        self._give_way()
        if not self._failed:
            self.fill(self._wanted)

    def _give_way(self) -> None:
        """One at a time: it takes a moment until its memory is free."""
        spares = self._in(*_SPARES)
        if spares and not self._room():
            self._retire(spares[0])

    # --- ends ---------------------------------------------------------------------------------

    async def leave(self, session_id: str) -> None:
        """Returns when no process waits in this session any more: two would silently fork it."""
        self._retire_in(session_id)
        await self._ended(session_id)

    async def close(self) -> None:
        """Ends all that wait; those in a turn end with it."""
        self._start_no_more()
        for member in self._in(*_AT_REST, *_SPARES):
            self._retire(member)
        await _all(member.end for member in self._members)

    def kill(self) -> None:
        """Ends all of them now, whatever they do; one that is just starting ends with its start."""
        self._start_no_more()
        for member in self._members:
            if member.process is not None:
                member.process.cli.kill_now()
            elif member.state is not State.BUSY:
                member.start.cancel()

    def _start_no_more(self) -> None:
        self._closed = True
        if self._filling is not None:
            self._filling.cancel()
        if self._checking is not None:
            self._checking.cancel()

    # --- who takes a job ----------------------------------------------------------------------

    def _waiting_for(self, job: Job) -> _Member | None:
        if job.plan.name != "resume":
            return None
        at_rest = ((member, member.process) for member in self._in(*_AT_REST))
        return next(
            (
                member
                for member, process in at_rest
                if process and process.goes_on_with(job) and self._can_have(job, process)
            ),
            None,
        )

    def _can_have(self, job: Job, process: LiveProcess) -> bool:
        return job.model not in self.fixed_models or process.settings == job.settings

    def _spare_for(self, job: Job) -> _Member | None:
        """Rather one that has begun, and of those the first, which is the first to be ready."""
        if job.model in self.fixed_models:
            return None
        able = [m for m in self._in(*_SPARES) if m.memory == job.memory and m.can_have(job)]
        return min(able, key=lambda member: member.settings is None, default=None)

    def _begun(self, job: Job) -> _Member:
        self._retire_in(job.session_id)
        return self._add(job.memory, self._started(job), job.session_id, job.settings)

    async def _started(self, job: Job) -> LiveProcess:
        base = job.plan.base
        await self._ended(job.session_id)
        if base is not None:
            # As it ends it writes what the session has cost, and a fork starts from that.
            await self._ended(base.session_id)
            await self._transcripts.lead_to(base.session_id, base.entry_uuid)
        forks = base is not None and base.session_id != job.session_id
        return await self._start(job.settings, job.memory, job.session_id, base, fork=forks)

    async def _warned(
        self, settings: Settings | None, memory: MemoryKind, session_id: str
    ) -> LiveProcess:
        try:
            return await self._start(settings, memory, session_id)
        except Exception as error:
            # Nobody else may ever hear of it. What is none of our errors could quote anything.
            known = isinstance(error, BridgeError | OSError)
            why = str(error) if known else type(error).__name__
            logger.warning("a spare process was not started: %s", why)
            raise ClaudeFailed(why) from error

    async def _check_transcript(self, process: LiveProcess) -> None:
        """A session must outlive its process: what is written to a deleted file is not kept."""
        if process.waits_for:
            return  # in the middle of a turn the CLI may still be writing
        if await self._transcripts.version(process.session_id) != process.transcript:
            raise ClaudeFailed("The transcript of this Claude session is gone; try again.")

    # --- from state to state ------------------------------------------------------------------

    def _in(self, *states: State) -> list[_Member]:
        return [member for member in self._members if member.state in states]

    def _add(
        self,
        memory: MemoryKind,
        starting: Coroutine[Any, Any, LiveProcess],
        session: str,
        settings: Settings | None,
    ) -> _Member:
        member = _Member(memory, asyncio.create_task(starting), settings, session)
        self._members.append(member)
        member.start.add_done_callback(lambda _: self._has_started(member))
        return member

    def _has_started(self, member: _Member) -> None:
        if member.state is State.STARTING:
            self._move(member, Event.STARTED if member.process else Event.ENDED)

    def _move(self, member: _Member, event: Event) -> None:
        member.state = after(member.state, event)
        if member.alarm is not None and event is not Event.STARTED:
            member.alarm.cancel()
        if member.state is State.DEAD:
            self._members.remove(member)

    async def _park(self, member: _Member) -> None:
        open_turn = bool(member.waits_for)
        self._move(member, Event.CALLED if open_turn else Event.ANSWERED)
        self._members.remove(member)
        self._members.append(member)
        if member.memory != "session" or self._closed or not member.usable:
            self._retire(member)
        else:
            self._waits(member.session_id, True)
            self._wake_after(self._keep.tool_wait if open_turn else self._keep.idle, member)
            self._shrink()
        await _all([member.end])

    def _wake_after(self, seconds: float, member: _Member) -> None:
        member.alarm = asyncio.get_running_loop().call_later(seconds, self._retire, member)

    def _shrink(self) -> None:
        while (at_rest := self._in(*_AT_REST)) and len(self._in(*_IN_USE)) > self._keep.live:
            # In the middle of a turn most worth: without its process that costs more than a start.
            self._retire(min(at_rest, key=lambda member: member.state is State.WAITING))

    def _retire_in(self, session_id: str) -> None:
        for member in self._in(*_AT_REST):
            if member.session_id == session_id:
                self._retire(member)

    def _retire_passed_over(self, job: Job) -> None:
        """Those that wait for results which the job's turn has had: they came in a way that their
        process could not take, and nobody will bring them again."""
        waiting = [m for m in self._in(State.WAITING) if m.process and _is_asked_so(m.process, job)]
        had = _results(job.plan) if waiting else set()
        for member in waiting:
            if not had.isdisjoint(member.waits_for):
                self._retire(member)

    async def _drop(self, member: _Member) -> None:
        """It holds more than was committed."""
        if member.process is not None:
            member.process.cli.kill_now()  # first of all, for what follows can be cancelled
        self._retire(member, at_once=True)
        await _all([member.end])

    def _retire(self, member: _Member, *, at_once: bool = False) -> None:
        self._move(member, Event.RETIRED)
        self._waits(member.session_id, False)
        # A task of its own: it ends whoever gives up waiting for that.
        member.end = asyncio.create_task(self._end(member, at_once=at_once))

    async def _end(self, member: _Member, *, at_once: bool) -> None:
        member.start.cancel()  # has no effect on one that has started
        try:
            with suppress(Exception, asyncio.CancelledError):  # told to whoever it was started for
                await member.start
            if (process := member.process) is not None:
                await self._end_process(process, at_once=at_once)
                if member.job is None:
                    with suppress(OSError):
                        await self._transcripts.delete(process.session_id)
        finally:
            self._move(member, Event.ENDED)

    async def _end_process(self, process: LiveProcess, *, at_once: bool) -> None:
        try:
            if not at_once and await self._may_finish(process):
                await process.cli.finish()
        except OSError as error:
            logger.warning("a transcript was not looked at: %s", error.strerror)
        finally:
            await process.cli.kill()

    async def _may_finish(self, process: LiveProcess) -> bool:
        """A CLI that ends adds to its transcript: it would make one anew that was deleted, and hide
        from the next resume what another proxy has added since (measured with CLI 2.1.332)."""
        if process.waits_for:
            return False
        version = process.transcript
        return version is None or await self._transcripts.version(process.session_id) == version

    async def _ended(self, session_id: str) -> None:
        """Returns when no process is ending in this session."""
        ending = [m.end for m in self._in(State.ENDING) if m.session_id == session_id]
        await _all(ending)


async def _all(ends: Iterable[asyncio.Task[None] | None]) -> None:
    """Waits for those there are."""
    if waiting := [end for end in ends if end is not None]:
        await asyncio.wait(waiting)


def _is_asked_so(process: LiveProcess, job: Job) -> bool:
    return (process.memory, process.settings) == (job.memory, job.settings)


def _results(plan: Plan) -> set[str]:
    """The ids of the calls whose results the plan holds."""
    messages = (*(plan.whole or ()), *plan.feed, plan.ask)
    return {id_ for message in messages for id_ in message.results}
