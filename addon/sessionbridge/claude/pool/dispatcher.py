"""Hands a plan to a Claude CLI and yields what the model answers.

The quickest process that can answer is tried first: the one of the turn before, then a spare, then
a new one. Where one of them fails before anything was said, the next takes its place.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol
from uuid import uuid4

from sessionbridge.claude.catalog import Model, api_name
from sessionbridge.claude.job import Job, Settings, TurnEnd
from sessionbridge.claude.models import DEFAULT
from sessionbridge.claude.pool.machine import has_room
from sessionbridge.claude.pool.pool import Keep, Pool, told_nobody
from sessionbridge.claude.profile import ClaudeProfile
from sessionbridge.claude.tools import names
from sessionbridge.claude.transcript import imports
from sessionbridge.claude.transcript.transcripts import Transcripts
from sessionbridge.claude.web_content import Sources, WebContent, given_by_url, with_sources
from sessionbridge.errors import ClaudeFailed, FeedRefused, SettingRefused, ToolsLost
from sessionbridge.model import (
    Delta,
    Dispatched,
    Finished,
    Instructions,
    KeptResponse,
    MemoryKind,
    Message,
    Plan,
    Point,
    Process,
)

if TYPE_CHECKING:
    from sessionbridge.claude.cli.launcher import Launcher
    from sessionbridge.claude.cli.live_process import LiveProcess
    from sessionbridge.claude.cli.process import CliProcess

logger = logging.getLogger(__name__)

_Way = Literal["live", "spare", "fed", "file"]
"""A process that is there already, or a new one and how it is given what was said before."""


class SharedTranscripts(Protocol):
    """Those that other nodes write, too, by session. All raise `StoreUnavailable`."""

    async def are_here(self, name: str) -> bool:
        """Whether this node has all that is kept."""

    async def bring_in(self, name: str) -> None:
        """Writes what is kept anew. No process may work with it."""

    def changing(self, name: str) -> AbstractAsyncContextManager[None]:
        """What is done to it is kept."""

    async def forget_files(self, name: str) -> None: ...


class Dispatcher(Protocol):
    @property
    def location(self) -> dict[str, str]:
        """Where its transcripts are, kept with each session: nothing else tells."""

    def run(self, job: Job) -> AsyncGenerator[Dispatched | Delta]:
        """Yields `Dispatched`, `Started`, what is said, and last `Finished`; raises `BridgeError`
        for any failure. Where a process had to be given up it yields `Dispatched` again."""

    async def prepare(self, job: Job) -> None:
        """Asks nothing, and has a process there for a turn such as this. Raises `BridgeError`."""

    async def discard(self, session_id: str) -> None:
        """Deletes what is kept of a session of ours; one that is not there is none to delete."""

    async def said(self, session_id: str, upto: str, after: str | None) -> tuple[Message, ...]:
        """What was said in a session between two of its entries, the latter included. Raises
        `SessionLost` where it is no longer known."""

    async def instructions(self, session_id: str, entry: str) -> Instructions:
        """Those that were part of the conversation at this entry. Raises OSError."""

    async def keep_instructions(self, session_id: str, entry: str, told: Instructions) -> None:
        """For whoever goes on from there. Raises OSError."""

    async def response(self, session_id: str, id_: str) -> KeptResponse | None:
        """A response by its id; None where it is not kept. Raises OSError."""

    async def has_responses(self, session_id: str) -> bool:
        """Whether any is kept of this session. Raises OSError."""

    async def keep_response(self, session_id: str, response: KeptResponse) -> None:
        """For whoever asks for it by its id. Raises OSError."""

    async def forget_response(self, session_id: str, id_: str) -> None:
        """Raises OSError."""


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
        shared: SharedTranscripts | None = None,
        waits: Callable[[str, bool], None] = told_nobody,
    ) -> None:
        self._profile = profile
        self._shared = shared
        self._web = web or WebContent()
        self._keep = keep = keep or Keep()
        self._transcripts = Transcripts(profile)
        self._launching: asyncio.Task[Launcher] | None = None
        self._pool = Pool(self._launch, self._transcripts, keep, room, waits)
        self._feeding_works = True
        self._version: str | None = None
        """Of the CLI that has begun last."""
        self._models: tuple[Model, ...] = ()
        self._listing = asyncio.Lock()

    def start(self, memory: MemoryKind = "session") -> None:
        """Starts processes ahead of the first turn."""
        self._launcher()
        self._pool.fill(memory)

    @property
    def location(self) -> dict[str, str]:
        known = {
            "cwd": str(self._profile.work_dir("session")),
            "config_dir": str(self._profile.config_dir),
        }
        return known if self._version is None else {**known, "cli_version": self._version}

    @property
    def processes(self) -> tuple[int, int]:
        """Those that answer or wait for the next turn of their session, and the spares."""
        return self._pool.counts

    async def models(self) -> tuple[Model, ...]:
        """Those the CLI offers, by any that has been started. Raises `ClaudeFailed`."""
        async with self._listing:
            if self._version is None:
                asked = await self._launch(Settings(DEFAULT), "none", str(uuid4()))
                self._heard_of(asked.cli)
                await asked.cli.kill()
        return self._models

    async def _launch(
        self,
        settings: Settings | None,
        memory: MemoryKind,
        session_id: str,
        base: Point | None = None,
        *,
        fork: bool = False,
    ) -> LiveProcess:
        launcher = await asyncio.shield(self._launcher())
        return await launcher.start(settings, memory, session_id, base, fork=fork)

    def _launcher(self) -> asyncio.Task[Launcher]:
        """The SDK, which it needs, takes half a second to import: the proxy is there before. What
        has failed, as without file descriptors, is tried again."""
        if self._launching is None or _has_failed(self._launching):
            self._launching = asyncio.create_task(asyncio.to_thread(_launcher, self._profile))
        return self._launching

    def _heard_of(self, cli: CliProcess) -> None:
        self._version, self._models = cli.version, cli.models
        self._pool.begins_ahead = cli.has_login

    async def prepare(self, job: Job) -> None:
        if job.plan.base is not None:
            await self._bring_in(job.plan.base.session_id)
        await self._pool.prepare(job)

    async def delete(self, session_id: str) -> None:
        """What this node has of it, where no database has anything of it."""
        await self._pool.leave(session_id)
        await self._transcripts.delete(session_id)

    async def discard(self, session_id: str) -> None:
        await self.delete(session_id)
        if self._shared is not None:
            await self._shared.forget_files(session_id)

    async def said(self, session_id: str, upto: str, after: str | None) -> tuple[Message, ...]:
        await self._bring_in(session_id)
        return await self._transcripts.said(session_id, upto, after)

    async def instructions(self, session_id: str, entry: str) -> Instructions:
        await self._bring_in(session_id)
        return await self._transcripts.instructions(session_id, entry)

    async def keep_instructions(self, session_id: str, entry: str, told: Instructions) -> None:
        await self._transcripts.keep_instructions(session_id, entry, told)

    async def response(self, session_id: str, id_: str) -> KeptResponse | None:
        await self._bring_in(session_id)
        return await self._transcripts.response(session_id, id_)

    async def has_responses(self, session_id: str) -> bool:
        await self._bring_in(session_id)
        return await self._transcripts.has_responses(session_id)

    async def keep_response(self, session_id: str, response: KeptResponse) -> None:
        await self._transcripts.keep_response(session_id, response)

    async def forget_response(self, session_id: str, id_: str) -> None:
        await self._bring_in(session_id)
        async with self._shared.changing(session_id) if self._shared else nullcontext():
            await self._transcripts.forget_response(session_id, id_)

    async def _bring_in(self, session_id: str) -> None:
        """What another node has added. A process that waits in the session has not heard it."""
        if self._shared is not None and not await self._shared.are_here(session_id):
            await self._pool.leave(session_id)
            await self._shared.bring_in(session_id)

    async def leave(self, session_id: str) -> None:
        """Ends the process that waits in this session: others have gone on with it."""
        await self._pool.leave(session_id)

    async def close(self) -> None:
        """Ends the processes that wait; turns under way come to their end, and so do theirs."""
        await self._pool.close()

    def kill(self) -> None:
        """Ends all processes now."""
        self._pool.kill()

    async def run(self, job: Job) -> AsyncGenerator[Dispatched | Delta]:
        alone = job.memory == "none" and self._puts_notes_into(job.plan.ask)
        job = self._brought_in_whole(job)
        if job.plan.base is not None:
            await self._bring_in(job.plan.base.session_id)
        try:
            async with aclosing(self._run(job)) as deltas:
                async for delta in deltas:
                    yield delta
        finally:
            if alone:
                await self.delete(job.session_id)

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
                if isinstance(error, SettingRefused):
                    self._pool.fixed_models.add(job.model)
                if said or other is None or (way == "fed" and not refused):
                    if _is_lost(job, said=said):
                        raise ToolsLost(error.message) from error
                    raise
                logger.warning("dispatch by %s failed, now by %s: %s", way, other, error.message)

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
        return (not plan.feed or few) and self._pool.has_spare(job)

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
        outcome: TurnEnd | None = None
        process: LiveProcess | None = None
        try:
            taken = await self._take(way, job, sources)
            process, session = taken.process, taken.process.session_id
            began = time.monotonic()
            told = await process.change(job.settings)
            told_ms = round((time.monotonic() - began) * 1000)
            self._heard_of(process.cli)
            command = replace(job, plan=taken.plan, session_id=session).command
            yield Dispatched(taken.plan, session, command, taken.kind, told, told_ms)
            plan = _given(taken.plan, job, sources)
            async with aclosing(self._turn(taken, plan, job)) as deltas:
                async for delta in deltas:
                    if not isinstance(delta, TurnEnd):
                        yield delta
                        continue
                    await self._check_kept(process, delta)
                    outcome = delta
        finally:
            if process is not None:
                # Before its end is told: the next request may come at once, and is to find it.
                await self._pool.release(process, outcome)
            if outcome is None and job.memory == "session" and job.plan.name != "resume":
                await self.delete(session)  # nobody will ever name it
        if outcome is not None and process is not None:
            yield await self._as_told(process, plan, outcome)

    async def _check_kept(self, process: LiveProcess, outcome: TurnEnd) -> None:
        """Of a turn that has ended; what an open one has said is written when it goes on, and what
        one has that is cut is added to the file by us."""
        ended = outcome.goes_on and not process.waits_for
        if ended and process.memory == "session" and outcome.end.tip:
            tip = outcome.end.tip
            await self._transcripts.check_kept(process.session_id, tip, process.kept)
            process.kept = tip

    def _turn(self, taken: _Taken, plan: Plan, job: Job) -> AsyncGenerator[Delta | TurnEnd]:
        written = taken.entries
        return taken.process.turn(
            plan.feed[len(written) :], plan.ask, written, job.stop, job.meter, job.patience
        )

    async def _take(self, way: _Way, job: Job, sources: Sources) -> _Taken:
        plan, written = job.plan, None
        match way:
            case "live":
                return _Taken(await self._pool.acquire(job, "live"), "live", plan)
            case "spare":
                whole = plan.from_nothing
                assert whole is not None
                return _Taken(await self._pool.acquire(job, "spare"), "spare", whole)
            case "file":
                written = await self._write(job, sources)
        if written is None:
            return _Taken(await self._pool.acquire(job, "new"), "new", plan)
        tip = Point("", job.session_id, written.tip, 0, is_tip=True)
        at_tip = replace(job, plan=replace(plan, base=tip))
        return _Taken(await self._pool.acquire(at_tip, "new"), "new", plan, written.entries)

    async def _as_told(self, process: LiveProcess, plan: Plan, outcome: TurnEnd) -> Finished:
        """The end of a turn, with the transcript as the client was told that it ends. A CLI that
        was ended at once has not written all that was said, or holds something else."""
        end = outcome.end
        if outcome.goes_on or process.memory != "session":
            return end
        *earlier, last = end.entries
        if not outcome.holds_it or last is None:
            last = str(uuid4()) if outcome.said else None
        # Results have an entry of the CLI's, if any.
        said = [
            (entry or end.results_entry or str(uuid4()), message)
            for entry, message in zip(earlier, (*plan.feed, plan.ask), strict=True)
        ]
        asked, _ = said[-1]
        if outcome.said and last:
            said.append((last, outcome.said))
        base = plan.base.entry_uuid if plan.base else None
        await self._transcripts.complete(process.session_id, process.cli.model, said, base)
        results = asked if plan.ask.brings_results else None
        return replace(end, entries=(*earlier, last), results_entry=results, exact=True)

    async def _api_name(self, job: Job) -> str:
        """Of the job's model. Only where a process was started is it known, and only what was
        thought is written with it, and notes."""
        plan = job.plan
        needed = plan.ask.brings_results or any(map(imports.holds_thoughts, plan.feed))
        return api_name(job.model, await self.models() if needed else ())

    async def _write(self, job: Job, sources: Sources) -> imports.Written | None:
        """Writes what can be written; the rest is fed to the process that resumes it."""
        model = await self._api_name(job)
        feed = _given(job.plan, job, sources).feed
        noted = self._puts_notes_into(job.plan.ask)
        return await self._transcripts.write(job.session_id, model, feed, noted=noted)


def _given(plan: Plan, job: Job, sources: Sources) -> Plan:
    """The plan with its messages as the CLI is given them."""
    plan = with_sources(plan, sources)
    return replace(plan, feed=names.inside(plan.feed, job.parameters.tools))


def _has_failed(task: asyncio.Task[Launcher]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)


def _is_lost(job: Job, *, said: bool) -> bool:
    """Whether only one process could go on with this turn, which can be had in another way."""
    return job.plan.base is not None and job.plan.base.is_open and not said


def _launcher(profile: ClaudeProfile) -> Launcher:
    from sessionbridge.claude.cli.launcher import Launcher

    # What has been loaded stays: left out of Python's looks for circles, those take less.
    gc.collect()
    gc.freeze()
    return Launcher(profile)
