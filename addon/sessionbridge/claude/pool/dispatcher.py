"""Hands a plan to a Claude CLI and yields what the model answers.

The quickest process that can answer is tried first: the one of the turn before, then a spare, then
a new one. Where one of them fails before anything was said, the next takes its place.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from typing import Literal, Protocol
from uuid import uuid4

from sessionbridge.claude.catalog import Model, api_name
from sessionbridge.claude.cli.launcher import ClaudeProfile, Launcher
from sessionbridge.claude.cli.process import FeedRefused
from sessionbridge.claude.job import Job, Mode
from sessionbridge.claude.models import DEFAULT
from sessionbridge.claude.pool.live import LiveProcess
from sessionbridge.claude.pool.machine import has_room
from sessionbridge.claude.pool.pool import Pool
from sessionbridge.claude.pool.spares import Spares
from sessionbridge.claude.tools import client_tools
from sessionbridge.claude.transcript import imports
from sessionbridge.claude.transcript.disk import on_thread
from sessionbridge.claude.transcript.files import delete, file_id, has_entry, said
from sessionbridge.claude.transcript.instructions import keep, kept
from sessionbridge.claude.transcript.notes import Note, Notes
from sessionbridge.claude.web_content import Sources, WebContent, given_by_url, with_sources
from sessionbridge.errors import ClaudeFailed, ToolsLost
from sessionbridge.model import (
    Delta,
    Dispatched,
    Finished,
    MemoryKind,
    Message,
    Plan,
    Point,
    Process,
)

logger = logging.getLogger(__name__)

_PATIENCE = 2.0
"""Seconds until the CLI has written what it has said; it takes a few milliseconds (measured)."""

_Way = Literal["live", "spare", "fed", "file"]
"""A process that is there already, or a new one and how it is given what was said before."""


class Dispatcher(Protocol):
    @property
    def place(self) -> dict[str, str]:
        """Where its transcripts are, kept with each session: nothing else tells."""

    def run(self, job: Job) -> AsyncGenerator[Dispatched | Delta]:
        """Yields `Dispatched`, `Started`, what is said, and last `Finished`; raises `BridgeError`
        for any failure. Where a process had to be given up it yields `Dispatched` again."""

    async def discard(self, internal_id: str) -> None:
        """Deletes what is kept of a session of ours; one that is not there is none to delete."""

    async def said(self, internal_id: str, upto: str, after: str | None) -> tuple[Message, ...]:
        """What was said in a session between two of its entries, the latter included. Raises
        `SessionLost` where it is no longer known."""

    async def instructions(self, internal_id: str, entry: str) -> tuple[str, ...]:
        """Those that were part of the conversation at this entry. Raises OSError."""

    async def keep_instructions(self, internal_id: str, entry: str, texts: tuple[str, ...]) -> None:
        """For whoever goes on from there. Raises OSError."""


@dataclass(frozen=True, slots=True)
class Keep:
    """How many processes there may be, how many spares beside them, and how many seconds each may
    wait for its next turn, or within one for the results of the client's tools. A conversation that
    a new process has to be given whole is imported as a file from `long` messages on."""

    live: int = 0
    spare: int = 0
    idle: float = 600.0
    tool_wait: float = 600.0
    long: int = imports.LONG


@dataclass(slots=True)
class _Taken:
    """A process for a job, and the plan as it is carried out there. The first messages of its feed
    are the `entries` that it found in its transcript."""

    process: LiveProcess
    kind: Process
    plan: Plan
    entries: Sequence[str] = ()


class ClaudeDispatcher:
    def __init__(
        self,
        profile: ClaudeProfile,
        keep: Keep | None = None,
        room: Callable[[], bool] = has_room,
        web: WebContent | None = None,
    ) -> None:
        self._profile = profile
        self._web = web or WebContent()
        self._keep = keep = keep or Keep()
        self._launcher = Launcher(profile)
        self._pool = Pool(keep.live, keep.idle, keep.tool_wait, self._retire)
        self._spares = Spares(keep.spare, keep.idle, self._spare, room)
        self._notes = Notes()
        self._feeding_works = True
        self._listing = asyncio.Lock()

    @property
    def place(self) -> dict[str, str]:
        known = {
            "cwd": str(self._profile.work_dir("session")),
            "config_dir": str(self._profile.config_dir),
        }
        version = self._launcher.version
        return known if version is None else {**known, "cli_version": version}

    @property
    def processes(self) -> tuple[int, int]:
        """Those that answer or wait for the next turn of their session, and the spares."""
        return len(self._pool), len(self._spares)

    async def models(self) -> tuple[Model, ...]:
        """Those the CLI offers, by any that has been started. Raises `ClaudeFailed`."""
        async with self._listing:
            if self._launcher.version is None:
                asked = await self._launcher.start(Mode("", DEFAULT, "none", False), str(uuid4()))
                self._pool.enter(asked)
                await self._pool.drop(asked)
        return self._launcher.models

    async def discard(self, internal_id: str) -> None:
        await self._pool.leave(internal_id)
        await on_thread(lambda: delete(self._profile.transcript(internal_id)))

    async def said(self, internal_id: str, upto: str, after: str | None) -> tuple[Message, ...]:
        path = self._profile.transcript(internal_id)
        return await on_thread(lambda: said(path, upto, after))

    async def instructions(self, internal_id: str, entry: str) -> tuple[str, ...]:
        path = self._profile.transcript(internal_id)
        return await on_thread(lambda: kept(path, entry))

    async def keep_instructions(self, internal_id: str, entry: str, texts: tuple[str, ...]) -> None:
        path = self._profile.transcript(internal_id)
        await on_thread(lambda: keep(path, entry, texts))

    async def close(self) -> None:
        """Ends the processes that wait; turns under way come to their end, and so do theirs."""
        await self._pool.close()
        await self._spares.close()

    def kill(self) -> None:
        """Ends all processes now."""
        self._pool.kill()
        self._spares.kill()

    async def run(self, job: Job) -> AsyncGenerator[Dispatched | Delta]:
        alone = job.memory == "none" and self._puts_notes_into(job.plan.ask)
        job = self._brought_in_whole(job)
        try:
            async with aclosing(self._run(job)) as deltas:
                async for delta in deltas:
                    yield delta
        finally:
            if alone:
                await self.discard(job.session_id)

    def _puts_notes_into(self, ask: Message) -> bool:
        """Whether a CLI that has yet to tell its notes would put them into what is asked."""
        return ask.brings_results and not self._profile.bare

    def _brought_in_whole(self, job: Job) -> Job:
        """Results are brought in behind notes of today and of this model, where all that comes
        before them is known; that takes a transcript, also for a conversation that is not kept."""
        plan = job.plan
        waits = plan.base is not None and plan.base.is_open
        if not self._puts_notes_into(plan.ask) or waits or plan.from_nothing is None:
            return job
        memory: MemoryKind = "session" if job.memory == "none" else job.memory
        return replace(job, plan=plan.from_nothing, memory=memory)

    async def _run(self, job: Job) -> AsyncGenerator[Dispatched | Delta]:
        ways = self._ways(job)
        # Before a process is taken: what cannot be had is to cost nothing.
        if sources := await self._web.sources(job.plan):
            ways = self._ways(job)  # the processes may be others by now
        for way, other in zip(ways, [*ways[1:], None], strict=True):
            said = False
            try:
                async with aclosing(self._by(way, job, sources)) as deltas:
                    async for delta in deltas:
                        said = said or not isinstance(delta, Dispatched)
                        yield delta
                return
            except ClaudeFailed as error:
                refused = isinstance(error, FeedRefused)
                self._feeding_works = self._feeding_works and not refused
                if said or other is None or (way == "fed" and not refused):
                    raise self._told(error, job, said=said) from error
                logger.warning("dispatch by %s failed, now by %s: %s", way, other, error.message)

    def _told(self, error: ClaudeFailed, job: Job, *, said: bool) -> ClaudeFailed:
        """A turn that only one process could go on with can be had in another way."""
        base = job.plan.base
        return ToolsLost(error.message) if base and base.is_open and not said else error

    def _ways(self, job: Job) -> list[_Way]:
        """The quickest first; each of those after it can take its place."""
        ways: list[_Way] = []
        if self._pool.holds(job):
            ways.append("live")
        if job.plan.base is not None and job.plan.base.is_open:
            if not ways:
                raise ToolsLost("The process that waited for these tool results is gone.")
            return ways
        if self._fits_a_spare(job):
            ways.append("spare")
        return [*ways, *self._new_ways(job)]

    def _fits_a_spare(self, job: Job) -> bool:
        """Resuming is left to a process that resumes, or a session would be left behind; results to
        one that need not put notes into them; and what a transcript holds of a URL is not fetched
        again."""
        plan = job.plan.from_nothing
        if plan is None or job.plan.name == "resume" or job.memory == "continue":
            return False
        if plan.ask.brings_results:
            return False
        known = plan.feed[: len(plan.feed) - len(job.plan.feed)]
        if given_by_url(known):
            return False
        few = self._feeding_works and len(plan.feed) <= imports.LONG_FOR_A_SPARE
        return (not plan.feed or few) and self._spares.fits(job.mode)

    def _new_ways(self, job: Job) -> tuple[_Way, ...]:
        """Only a session of its own that starts from nothing can be written as a file."""
        plan = job.plan
        new = plan.base is None and job.memory == "session"
        if new and plan.ask.brings_results:
            return ("file", "fed")
        if not new or not imports.writable(plan.feed):
            return ("fed",)
        if not self._feeding_works:
            return ("file",)
        return ("file", "fed") if len(plan.feed) > self._keep.long else ("fed", "file")

    async def _by(
        self, way: _Way, job: Job, sources: Sources
    ) -> AsyncGenerator[Dispatched | Delta]:
        session = job.session_id
        end = None
        process = None
        try:
            taken = await self._take(way, job, sources)
            process, session = taken.process, taken.process.session_id
            carried_out = replace(job, plan=taken.plan, session_id=session)
            yield Dispatched(taken.plan, session, carried_out.command, taken.kind)
            plan, written = _given(taken.plan, job, sources), taken.entries
            feed = plan.feed[len(written) :]
            running = process.turn(
                feed, plan.ask, written, job.stop, meter=job.meter, patience=job.patience
            )
            async with aclosing(running) as deltas:
                async for delta in deltas:
                    if isinstance(delta, Finished):
                        end = delta
                    else:
                        yield delta
            if end is not None:
                # Before it is told: the client's next request may come at once, and is to find it.
                end = await self._keep_or_end(process, plan, end)
        finally:
            if end is None and process is not None:
                await self._pool.drop(process)
            if end is None and job.memory == "session" and job.plan.name != "resume":
                await self.discard(session)  # nobody will ever name it
        if end is not None:
            self._pool.let_go(job)
            yield end
        if job.plan.name != "resume" and job.memory != "continue":
            self._spares.prepare(job.mode)

    async def _take(self, way: _Way, job: Job, sources: Sources) -> _Taken:
        plan = job.plan
        match way:
            case "live":
                return _Taken(await self._live(job), "live", plan)
            case "spare":
                whole = plan.from_nothing
                assert whole is not None
                process = await self._spares.take(job.mode)
                self._pool.enter(process)
                return _Taken(process, "spare", whole)
            case "fed":
                return _Taken(await self._started(job, plan.base), "new", plan)
            case "file":
                model = await self._api_name(job)
                written = await on_thread(lambda: self._write(job, sources, model))
                if written is None:
                    return _Taken(await self._started(job, None), "new", plan)
                tip = Point("", job.session_id, written.tip, 0, is_tip=True)
                return _Taken(await self._started(job, tip), "new", plan, written.entries)

    async def _live(self, job: Job) -> LiveProcess:
        """A session must outlive its process: what is written to a deleted file is not kept."""
        process = self._pool.take(job)
        try:
            # In the middle of a turn the CLI may still be writing.
            if not process.waits_for and await self._file_id(process) != process.transcript:
                raise ClaudeFailed("The transcript of this Claude session is gone.")
        except BaseException:
            await self._pool.drop(process)
            raise
        return process

    async def _keep_or_end(self, process: LiveProcess, plan: Plan, end: Finished) -> Finished:
        """The end of the turn, by the place where it can be gone on from."""
        if process.astray or not process.holds_what_it_said:
            try:
                if process.cli.alive:
                    await self._written(process)
            finally:
                await self._pool.drop(process)
            return await self._as_told(process, plan, end)
        try:
            if process.waits_for:
                await self._written(process)
            process.transcript = await self._file_id(process)
        except BaseException:
            await self._pool.drop(process)
            raise
        await self._pool.park(process)
        return end

    async def _as_told(self, process: LiveProcess, plan: Plan, end: Finished) -> Finished:
        """The transcript ends as the client was told that the turn does. A CLI that was ended at
        once has not written all that was said, and what it holds may be something else."""
        if process.mode.memory != "session":
            return end
        *earlier, last = end.entries
        if not process.holds_what_it_said or last is None:
            last = str(uuid4()) if process.said else None
        # Results have an entry of the CLI's, if any.
        said = [
            (entry or end.results_entry or str(uuid4()), message)
            for entry, message in zip(earlier, (*plan.feed, plan.ask), strict=True)
        ]
        asked, _ = said[-1]
        if process.said and last:
            said.append((last, process.said))
        place = self._written_at(process.session_id, process.cli.model)
        base = plan.base.entry_uuid if plan.base else None
        await on_thread(lambda: imports.complete(place, said, base))
        results = asked if plan.ask.brings_results else None
        return replace(end, entries=(*earlier, last), results_entry=results, exact=True)

    async def _written(self, process: LiveProcess) -> None:
        """Until the end of its answer is in the transcript: another process may have to go on from
        there, and this one in the middle of its turn may take its time to write."""
        path, entry = self._profile.transcript(process.session_id), process.tip
        if entry is None:
            return
        read: tuple[int, ...] | None = None
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                # No event tells what another process has written. Only what has grown is read
                # again: it may hold megabytes.
                while (there := await self._file_id(process)) == read or not await on_thread(
                    lambda: has_entry(path, entry)
                ):
                    read = there
                    await asyncio.sleep(0.005)

    async def _file_id(self, process: LiveProcess) -> tuple[int, ...] | None:
        path = self._profile.transcript(process.session_id)
        return await on_thread(lambda: file_id(path))

    async def _started(self, job: Job, base: Point | None) -> LiveProcess:
        await self._pool.leave(job.session_id)
        self._pool.make_room()
        forks = base is not None and base.internal_id != job.session_id
        if base is not None:
            # As it ends it writes what the session has cost, and a fork starts from that.
            await self._pool.ended(base.internal_id)
        process = await self._launcher.start(job.mode, job.session_id, base, fork=forks)
        self._pool.enter(process)
        return process

    async def _api_name(self, job: Job) -> str:
        """Of the job's model. Only where a process was started is it known, and only what was
        thought is written with it, and notes."""
        plan = job.plan
        needed = plan.ask.brings_results or any(map(imports.holds_thoughts, plan.feed))
        return api_name(job.mode.model, await self.models() if needed else ())

    def _write(self, job: Job, sources: Sources, model: str) -> imports.Written | None:
        """Writes what can be written; the rest is fed to the process that resumes it."""
        feed = _given(job.plan, job, sources).feed
        place = self._written_at(job.session_id, model)
        notes: tuple[Note, ...] = ()
        if self._puts_notes_into(job.plan.ask):
            notes = self._notes.today(self._profile.transcripts, model)
        count = imports.writable(feed, notes)
        return imports.write(place, feed[:count], notes) if count else None

    def _written_at(self, session_id: str, model: str) -> imports.Place:
        profile = self._profile
        return imports.Place(profile.transcript(session_id), profile.work_dir("session"), model)

    async def _spare(self, mode: Mode) -> LiveProcess:
        return await self._launcher.start(mode, str(uuid4()))

    async def _retire(self, process: LiveProcess) -> None:
        # A CLI that ends adds to its transcript: it would make one anew that was deleted, and hide
        # from the next resume what another proxy has added since (measured).
        try:
            unchanged = not process.transcript or await self._file_id(process) == process.transcript
            if unchanged and not process.waits_for:
                await process.cli.finish()
        finally:
            await process.cli.kill()


def _given(plan: Plan, job: Job, sources: Sources) -> Plan:
    """The plan with its messages as the CLI is given them."""
    plan = with_sources(plan, sources)
    return replace(plan, feed=client_tools.inside(plan.feed, job.parameters.tools))
